"""The worker's metrics, as Prometheus would read them."""

from __future__ import annotations

import itertools
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from deploy.freeze import Freeze, Mode
from deploy.order import Verb
from deploy.verdict import VerdictState
from stream.metrics import MODES, MOST_ENVIRONMENTS, REASONS, STATES, VERBS, FreezeTimes, Metrics, freeze_times
from stream.metrics import __file__ as metrics_file

NOW = 1_763_716_443.0
NOW_MS = 1_763_716_443_000


def make_metrics(
    freezes: Callable[[], Iterable[FreezeTimes]] = tuple, clock: Callable[[], float] = lambda: NOW
) -> Metrics:
    return Metrics(CollectorRegistry(), version="1.2.3", topics=("haltline.changes",), freezes=freezes, clock=clock)


def active(metrics: Metrics, level: str = "L1", mode: str = "enforce", environment: str = "production") -> float | None:
    labels = {"level": level, "mode": mode, "environment": environment}
    return metrics.registry.get_sample_value("haltline_freezes_active", labels)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class TestActiveFreezes:
    @pytest.mark.parametrize(
        ("seconds", "expected"), [(-1, 0), (0, 1), (299, 1), (300, 0), (3600, 0)], ids=lambda value: str(value)
    )
    def test_a_freeze_is_active_from_its_start_until_before_its_end(self, seconds: int, expected: int) -> None:
        freeze = (1, "enforce", "production", NOW_MS, NOW_MS + 300_000)
        assert active(make_metrics(lambda: [freeze], lambda: NOW + seconds)) == expected

    def test_expiry_shows_at_the_next_scrape_without_any_call(self) -> None:
        clock = itertools.count(NOW, 200).__next__
        metrics = make_metrics(lambda: [(1, "enforce", "production", NOW_MS, NOW_MS + 300_000)], clock)
        assert [active(metrics), active(metrics), active(metrics)] == [1, 1, 0]

    def test_a_freeze_that_is_forgotten_leaves_a_zero_and_not_a_gap(self) -> None:
        freezes = [(1, "enforce", "production", NOW_MS, NOW_MS + 300_000)]
        metrics = make_metrics(lambda: freezes)
        assert active(metrics) == 1
        freezes.clear()
        assert active(metrics) == 0

    def test_modes_levels_and_environments_are_counted_apart(self) -> None:
        times = (NOW_MS, NOW_MS + 1000)
        metrics = make_metrics(
            lambda: [
                (1, "enforce", "production", *times),
                (1, "enforce", "production", *times),
                (2, "observe", "staging", *times),
                ("manual", "enforce", "any", *times),
            ]
        )
        assert active(metrics) == 2
        assert active(metrics, level="L2", mode="observe", environment="staging") == 1
        assert active(metrics, level="manual", environment="any") == 1

    def test_environments_without_end_become_other(self) -> None:
        freezes = [(1, "enforce", f"preview-{n}", NOW_MS, NOW_MS + 1000) for n in range(MOST_ENVIRONMENTS + 10)]
        metrics = make_metrics(lambda: freezes)
        families = {family.name: family for family in metrics.registry.collect()}
        assert len(families["haltline_freezes_active"].samples) == MOST_ENVIRONMENTS + 1
        assert active(metrics, environment="other") == 10

    def test_a_freeze_that_a_person_made_counts_as_manual(self) -> None:
        freeze = Freeze(
            id="fz-1",
            matchers=('environment="production"', 'service="checkout"'),
            starts_at=NOW_MS,
            ends_at=NOW_MS + 1,
            created_by="ann",
        )
        assert freeze_times(freeze) == ("manual", "enforce", "production", NOW_MS, NOW_MS + 1)

    def test_an_environment_pattern_counts_as_any(self) -> None:
        freeze = Freeze(
            id="fz-1", matchers=('environment=~"prod.*"',), starts_at=0, ends_at=1, caused_by="x-1", level=3
        )
        assert freeze_times(freeze) == (3, "enforce", "any", 0, 1)


class TestCounting:
    def test_known_labels_start_at_zero_so_that_the_first_event_is_an_increase(self) -> None:
        metrics = make_metrics()
        assert value(metrics, "haltline_freezes_total", level="L1", mode="enforce") == 0
        assert value(metrics, "haltline_verdicts_total", state="harmful") == 0
        assert value(metrics, "haltline_dead_letters_total", topic="haltline.changes", reason="syntax") == 0
        assert value(metrics, "haltline_orders_total", verb="freeze") == 0

    def test_words_of_the_domain_are_never_counted_as_other(self) -> None:
        assert {verb.value for verb in Verb} <= set(VERBS)
        assert {mode.value for mode in Mode} == set(MODES)
        assert {state.value for state in VerdictState} == set(STATES)

    def test_every_kind_of_unreadable_record_has_its_own_reason(self) -> None:
        stream = Path(metrics_file).parent
        kinds = {
            kind
            for source in stream.rglob("*.py")
            for kind in re.findall(r"""\b[uU]nreadable\(\s*"(\w+)\"""", source.read_text())
        }
        assert kinds
        assert kinds <= set(REASONS)

    def test_each_method_moves_its_metric(self) -> None:
        metrics = make_metrics()
        metrics.froze(1, "enforce", change="checkout-481", decision_seconds=0.02, sample_age_seconds=1.2)
        metrics.verdict("harmful")
        metrics.held("enforce")
        metrics.message("haltline.changes")
        metrics.points(50)
        metrics.lag("haltline.changes", records=7, seconds=1.5)
        metrics.dead_letter("haltline.changes", "syntax")
        metrics.order("unfreeze")
        metrics.series(12)
        metrics.watched(3)
        assert value(metrics, "haltline_freezes_total", level="L1", mode="enforce") == 1
        assert value(metrics, "haltline_decision_seconds_sum") == 0.02
        assert value(metrics, "haltline_sample_age_seconds_sum") == 1.2
        assert value(metrics, "haltline_verdicts_total", state="harmful") == 1
        assert value(metrics, "haltline_holds_total", mode="enforce") == 1
        assert value(metrics, "haltline_last_message_timestamp_seconds", topic="haltline.changes") == NOW
        assert value(metrics, "haltline_points_total") == 50
        assert value(metrics, "haltline_lag_records", topic="haltline.changes") == 7
        assert value(metrics, "haltline_lag_seconds", topic="haltline.changes") == 1.5
        assert value(metrics, "haltline_dead_letters_total", topic="haltline.changes", reason="syntax") == 1
        assert value(metrics, "haltline_orders_total", verb="unfreeze") == 1
        assert value(metrics, "haltline_series") == 12
        assert value(metrics, "haltline_changes_watched") == 3
        assert value(metrics, "haltline_build_info", version="1.2.3") == 1

    def test_a_reason_that_nobody_planned_for_counts_as_other(self) -> None:
        metrics = make_metrics()
        metrics.dead_letter("haltline.changes", "Traceback (most recent call last)")
        assert value(metrics, "haltline_dead_letters_total", topic="haltline.changes", reason="other") == 1

    def test_a_sample_from_the_future_counts_as_age_zero_and_nan_not_at_all(self) -> None:
        metrics = make_metrics()
        metrics.froze(1, "enforce", decision_seconds=float("nan"), sample_age_seconds=-30.0)
        assert value(metrics, "haltline_sample_age_seconds_sum") == 0
        assert value(metrics, "haltline_sample_age_seconds_count") == 1
        assert value(metrics, "haltline_decision_seconds_count") == 0


class TestExemplars:
    def exemplars(self, metrics: Metrics) -> list[dict[str, str]]:
        # Neither function is typed in the library.
        text = openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
        families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        return [sample.exemplar.labels for family in families for sample in family.samples if sample.exemplar]

    def test_the_change_is_an_exemplar_of_the_decision(self) -> None:
        metrics = make_metrics()
        metrics.froze(1, "enforce", change="checkout-481", decision_seconds=0.02)
        assert self.exemplars(metrics) == [{"change_id": "checkout-481"}]

    @pytest.mark.parametrize(("length", "kept"), [(119, True), (120, False), (5000, False)])
    def test_an_id_too_long_for_an_exemplar_is_left_out_and_the_freeze_is_counted(
        self, length: int, kept: bool
    ) -> None:
        metrics = make_metrics()
        metrics.froze(1, "enforce", change="x" * length, decision_seconds=0.02)
        assert bool(self.exemplars(metrics)) is kept
        assert value(metrics, "haltline_decision_seconds_count") == 1


class TestServing:
    def test_metrics_and_health_are_served_and_nothing_else(self) -> None:
        ill: list[str] = []
        server = make_metrics().serve(0, healthy=lambda: ill[0] if ill else None)
        base = f"http://127.0.0.1:{server.port}"
        try:
            status, text = fetch(f"{base}/metrics")
            assert status == 200
            assert 'haltline_build_info{version="1.2.3"} 1.0' in text
            assert "_created" not in text
            assert fetch(f"{base}/healthz") == (200, "ok\n")
            ill.append("no progress on haltline.changes for 60 s")
            assert fetch(f"{base}/healthz") == (503, "no progress on haltline.changes for 60 s\n")
            assert fetch(f"{base}/")[0] == 404
        finally:
            server.close()

    def test_a_closed_server_frees_its_port(self) -> None:
        metrics = make_metrics()
        server = metrics.serve(0)
        server.close()
        again = metrics.serve(server.port)
        again.close()
        assert again.port == server.port

    def test_a_taken_port_is_an_error_of_the_system(self) -> None:
        metrics = make_metrics()
        server = metrics.serve(0)
        try:
            with pytest.raises(OSError, match="in use"):
                metrics.serve(server.port)
        finally:
            server.close()

"""Simulated shops: what is put in comes out, a seed gives the same shop, and benches count what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench import attribution, minute_canaries, shops
from bench.data import Floats
from bench.judged import Judged, judge, policy, share
from bench.shops import CPU, GUARDRAILS, LATENCY, PERIOD_MS, SEEN, START_MS, SUCCESS, Harm, Incident, Release, Shop
from deploy.change import Phase
from deploy.verdict import Verdict, VerdictState

CHAIN = Shop({"web": {"cart": (0.5, 0.5)}, "cart": {"db": (0.5, 0.5)}, "db": {}})


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise without the public data."""
    rng = np.random.default_rng(0)
    rows = {metric: [rng.normal(0.0, 0.1, 900)] for metric in (LATENCY, CPU)}
    monkeypatch.setattr(shops, "noise", lambda: rows)
    for bench in (attribution, minute_canaries):
        monkeypatch.setattr(bench, "noise", lambda: rows)


def carried_out(*releases: Release, minutes: int = 100, guilty: str | None = None) -> Incident:
    return shops.incident(np.random.default_rng(1), "x", CHAIN, releases, minutes, guilty=guilty, kind="canary")


def lines(one: Incident, service: str, metric: str) -> dict[str, Floats]:
    """The values of a metric by instance, or by caller."""
    columns = one.columns
    return {
        key.instance or dict(key.attributes)["caller"]: columns.values[columns.series == i]
        for i, key in enumerate(columns.keys)
        if key.service == service and key.metric == metric
    }


def test_harm_shows_in_the_new_pods_and_spreads_to_callers_by_how_often_they_call() -> None:
    one = carried_out(Release("c0", "db", 50, "canary", 3, Harm(60, 40.0)), guilty="c0")
    db = lines(one, "db", SUCCESS)
    assert {name for name, values in db.items() if np.median(values[-30:]) < 70} == {f"db-c0-{i}" for i in range(3)}
    seen = {service: float(np.median(next(iter(lines(one, service, SEEN).values()))[-30:])) for service in CHAIN.calls}
    assert seen == pytest.approx({"db": 80.0, "cart": 90.0, "web": 95.0}, abs=3.0)
    assert one.onset_ms == START_MS + 60 * PERIOD_MS


def test_hidden_harm_is_seen_by_callers_alone() -> None:
    one = carried_out(Release("c0", "db", 50, "canary", 3, Harm(60, 40.0, hidden=True)), guilty="c0")
    assert all(np.median(values[-30:]) == 100.0 for values in lines(one, "db", SUCCESS).values())
    assert np.median(lines(one, "db", SEEN)["cart"][-30:]) < 90.0


def test_pods_that_never_report_and_pods_without_traffic() -> None:
    never = carried_out(Release("c0", "db", 50, "never", 2), guilty="c0")
    assert set(lines(never, "db", CPU)) == {f"db-v1-{i}" for i in range(3)}
    idle = carried_out(Release("c0", "db", 50, "idle", 2), guilty="c0")
    assert "db-c0-0" in lines(idle, "db", CPU)
    assert "db-c0-0" not in lines(idle, "db", SUCCESS)
    assert idle.onset_ms == START_MS + 50 * PERIOD_MS


def test_a_flag_has_no_version_and_harms_by_its_share() -> None:
    steps = ((0, 0.1), (10, 1.0))
    one = carried_out(Release("c0", "db", 50, "flag", harm=Harm(50, 50.0), shares=steps), guilty="c0")
    assert [(change.phase, change.rollout.share) for change in one.changes] == [
        (Phase.STARTED, 0.1), (Phase.PROGRESSED, 1.0),
    ]  # fmt: skip
    values = lines(one, "db", SUCCESS)["db-v1-0"]
    assert np.median(values[51:60]) == pytest.approx(95.0, abs=1.0)
    assert np.median(values[61:]) == pytest.approx(50.0, abs=1.0)


def test_a_rolling_release_replaces_every_pod() -> None:
    db = lines(carried_out(Release("c0", "db", 50, "rolling", 3)), "db", CPU)
    assert all(len(db[f"db-v1-{i}"]) < 60 for i in range(3))
    assert all(len(db[f"db-c0-{i}"]) < 50 for i in range(3))


def test_a_seed_gives_the_same_shop_and_another_one_another() -> None:
    for bench in (attribution, minute_canaries):
        first, again, other = bench.case(3), bench.case(3), bench.case(5)
        assert first.changes == again.changes
        assert (first.columns.values == again.columns.values).all()
        assert first.changes != other.changes


def test_every_kind_that_a_table_names_occurs() -> None:
    found = {minute_canaries.case(seed).kind for seed in range(1, 201, 2)}
    assert found == {"", *minute_canaries.KINDS}
    kinds = {attribution.case(seed).kind for seed in range(1, 121, 2)}
    assert kinds == {*attribution.NONE, "canary", "rolling", "flag", "flag, by share"}
    assert {attribution.case(seed, elsewhere=True).kind for seed in range(1, 21, 2)} == set(attribution.ELSEWHERE)


def test_a_guilty_change_is_judged_frozen_and_first() -> None:
    harm = Harm(60, 60.0)
    releases = [Release("c0", "cart", 50, "canary", 1), Release("c1", "db", 52, "canary", 3, harm)]
    one = shops.incident(np.random.default_rng(2), "x", CHAIN, releases, 75, guilty="c1", kind="canary")
    found = judge(one, policy(GUARDRAILS, one.calls, 20))
    assert set(found.frozen) == {"c1"}
    assert found.first()
    assert found.first("blame")
    assert not found.nobody
    assert 1 <= minute_canaries.delay(found) < 10
    assert judge(one, policy(GUARDRAILS, one.calls, 20), shuffle=1).said == found.said


def test_a_tie_is_not_first_and_a_freeze_before_the_harm_is_no_catch() -> None:
    one = carried_out(Release("c0", "db", 50, "canary", 1, Harm(60, 40.0)), Release("c1", "web", 50, "canary"),
                      guilty="c0")  # fmt: skip
    onset = one.onset_ms or 0
    calm = [Verdict(change=name, service="db", time=0, state=VerdictState.HEALTHY, log_e=-0.5) for name in ("c0", "c1")]
    tied = Judged(one, {verdict.change: verdict for verdict in calm}, {"c0": onset - 1}, b"", 0.0)
    assert tied.first() is False
    assert minute_canaries.delay(tied) == math.inf
    assert minute_canaries.delay(replace(tied, frozen={"c0": onset + PERIOD_MS})) == 2
    assert minute_canaries.middle([3.0, 1.0, math.inf]) == (1.0, 3.0)


def test_shares_have_an_interval() -> None:
    assert share(0, 0) == "-"
    assert share(10, 10).startswith("1.000 [")

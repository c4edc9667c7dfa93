"""Incidents: what people labelled, took back or saw fail, and the changes that may have done it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.change import Change, Phase
from stream.backtest.incidents import Incident, Label, blocked_of, incidents_of, read_labels, recorded
from stream.backtest.quiet import histories
from stream.replay import UnreadableInput
from tests.factories import NOON, change, columns, gauges, policy

MINUTE = 60_000


def found(*changes: Change, labels: tuple[Label, ...] = (), rules: str = "") -> tuple[list[Incident], list[Label]]:
    return incidents_of(recorded(changes), labels, policy(rules), {"checkout": MINUTE, "cart": MINUTE})


def window(start: int = 5, end: int = 20, **fields: str) -> Label:
    given = {"name": "inc", "service": "checkout"} | fields
    return Label(starts_at=NOON + start * MINUTE, ends_at=NOON + end * MINUTE, **given)


class TestReading:
    def read(self, tmp_path: Path, *records: object) -> list[Label]:
        path = tmp_path / "incidents.jsonl"
        path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
        return read_labels([path])

    def test_a_change_and_a_window_are_labels(self, tmp_path: Path) -> None:
        one, other = self.read(
            tmp_path,
            {"change": "c1", "severity": 1},
            {"starts_at": "2025-11-21T12:05:00Z", "ends_at": NOON + 20 * MINUTE, "name": "INC-7"},
        )
        assert (one.change, one.name) == ("c1", "c1")
        assert (other.starts_at, other.name, other.service) == (NOON + 5 * MINUTE, "INC-7", "")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{", "incident: "),
            ("[]", "a JSON object"),
            ('{"service": "cart"}', "needs `change`, or `starts_at` and `ends_at`"),
            ('{"starts_at": "2025-11-21T12:05:00Z"}', "needs `change`"),
            ('{"change": 7}', "Expected `str`"),
            ('{"starts_at": "noon", "ends_at": 1}', "`starts_at`"),
            ('{"starts_at": 1763726400000, "ends_at": 1763726300000}', "before"),
        ],
    )
    def test_what_is_no_label_is_refused_by_file_and_line(self, tmp_path: Path, line: str, said: str) -> None:
        with pytest.raises(UnreadableInput, match=r"incidents\.jsonl:2: ") as caught:
            self.read(tmp_path, {"change": "c1"}, line)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


class TestKnownByTheirEnd:
    @pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.FAILED])
    def test_a_change_that_was_rolled_back_or_failed_is_an_incident(self, phase: Phase) -> None:
        [one], _ = found(change(), change(phase=phase, time=NOON + 9 * MINUTE), change("c2"))
        assert (one.why, one.changes, one.noticed_at) == (phase.value, ("c1",), NOON + 9 * MINUTE)

    def test_a_change_that_another_reverts_is_one(self) -> None:
        [one], _ = found(change(), change("c2", time=NOON + 9 * MINUTE, reverts="c1"))
        assert (one.why, one.changes, one.noticed_at) == ("reverted", ("c1",), NOON + 9 * MINUTE)

    def test_a_change_that_was_finished_or_only_planned_is_none(self) -> None:
        assert found(change(), change(phase=Phase.FINISHED), change("c2", phase=Phase.PLANNED)) == ([], [])


class TestWindows:
    def test_a_window_belongs_to_the_change_watched_when_it_began(self) -> None:
        [one], alone = found(change(), labels=(window(),))
        assert (one.why, one.changes, one.harm_at, alone) == ("window", ("c1",), NOON + 5 * MINUTE, [])

    @pytest.mark.parametrize("fields", [{"service": "cart"}, {"environment": "sandbox"}])
    def test_a_window_elsewhere_has_no_change(self, fields: dict[str, str]) -> None:
        label = window(**fields)
        assert found(change(), labels=(label,)) == ([], [label])

    def test_a_window_of_no_service_belongs_to_whatever_was_changed(self) -> None:
        [one], _ = found(change(), change("c2", service="cart"), labels=(window(service=""),))
        assert one.changes == ("c1", "c2")

    def test_a_window_long_after_the_watch_has_no_change(self) -> None:
        assert found(change(), labels=(window(45, 60),))[0] == []

    def test_a_change_of_what_the_service_calls_may_have_done_it(self) -> None:
        rules = "services: {checkout: {calls: [cart]}}"
        [one], _ = found(change("c2", service="cart"), labels=(window(),), rules=rules)
        assert one.changes == ("c2",)

    def test_a_labelled_change_is_named_once(self) -> None:
        taken_back = change(phase=Phase.ROLLED_BACK, time=NOON + 9 * MINUTE)
        [one], [other] = found(
            change(), taken_back, labels=(Label(name="c1", change="c1"), Label(name="gone", change="gone"))
        )
        assert (one.why, one.noticed_at) == ("labelled", NOON + 9 * MINUTE)
        assert other.name == "gone"


def test_time_around_changes_and_incidents_is_blocked_for_the_service_and_its_callers() -> None:
    said = gauges({"latency": [1.0] * 50}) | gauges({"latency": [1.0] * 50}, service="cart")
    cart, checkout = histories([columns(said)])
    rules = policy("services: {checkout: {calls: [cart]}}")
    made, label = recorded([change()]), window(service="cart")
    half = 30 * MINUTE
    assert blocked_of(checkout, made, [label], rules) == [
        (NOON - half, NOON + 2 * half),
        (NOON + 5 * MINUTE - half, NOON + 20 * MINUTE + half),
    ]
    assert blocked_of(cart, made, [label], rules) == [(NOON + 5 * MINUTE - half, NOON + 20 * MINUTE + half)]

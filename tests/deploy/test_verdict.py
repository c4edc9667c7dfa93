"""The verdict record: what was promised is always there, and what is written can be read."""

from __future__ import annotations

import pytest
from msgspec import structs

from deploy.errors import DeployError
from deploy.freeze import Mode
from deploy.verdict import Share, Verdict, VerdictState, verdict_from_object, verdict_to_object
from tests.factories import NOON, finding

PLAIN = Verdict(change="c1", service="checkout", time=NOON, state=VerdictState.WARMING)
FULL = Verdict(
    change="c1", service="checkout", environment="production", time=NOON, state=VerdictState.HARMFUL, log_e=17.5,
    blame=0.9, reason="error_ratio 0.042 > 0.002",
    evidence=(finding(), finding(control="past", expected=0.002, attributes={"route": "/pay"})),
    onset=NOON - 5, ended=True,
    shares=(Share(change="c1", blame=0.9, reason="log p -18.0"), Share(change="", blame=0.1, reason="30 for chance")),
)  # fmt: skip


def test_the_promised_fields_come_first_and_always() -> None:
    promised = ["change", "service", "time", "state", "log_e", "blame", "reason", "evidence"]
    assert list(verdict_to_object(PLAIN)) == promised
    assert list(verdict_to_object(FULL))[: len(promised)] == promised
    for one in verdict_to_object(FULL)["evidence"]:
        assert {"service", "metric", "attributes", "control", "log_e", "effect", "samples", "reason"} <= set(one)


HOLDING = structs.replace(
    PLAIN, hold_until=NOON + 15_000, hold_mode=Mode.OBSERVE, hold_passes=(('reverts!=""',), ('version="v1"',))
)


@pytest.mark.parametrize("verdict", [PLAIN, FULL, HOLDING])
def test_a_verdict_is_read_as_it_was_written(verdict: Verdict) -> None:
    assert verdict_from_object(verdict_to_object(verdict)) == verdict


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"state": "fine"}, "state"),
        ({"blame": "much"}, "blame"),
        ({"time": "noon"}, "time"),
        ({"evidence": 1}, "evid"),
        ({"hold_until": "soon"}, "soon"),
        ({"hold_mode": "maybe"}, "hold_mode"),
        ({"hold_passes": [["reverts"]]}, "reverts"),
    ],
)
def test_a_verdict_that_cannot_be_read_is_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(DeployError, match=named):
        verdict_from_object(verdict_to_object(FULL) | change)


@pytest.mark.parametrize("record", [None, [], "verdict", {}])
def test_what_is_no_verdict_is_refused(record: object) -> None:
    with pytest.raises(DeployError):
        verdict_from_object(record)


def test_new_starts_wait_until_before_the_last_millisecond() -> None:
    assert [HOLDING.held_at(NOON + after) for after in (0, 14_999, 15_000)] == [True, True, False]
    assert not PLAIN.held_at(NOON)

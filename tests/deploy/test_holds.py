"""Freezes and watches at the gate: what holds, what only would, what passes, and what the line says."""

from __future__ import annotations

import pytest

from deploy.freeze import Freeze, Mode
from deploy.holds import holds_on
from deploy.verdict import Verdict, VerdictState

NOW = 1_795_255_200_000  # 2026-11-21T10:00:00Z
MINUTE = 60_000
CHECKOUT = {"service": ("checkout",), "environment": ("production",), "version": ("v3",)}


def freeze(identity: str = "fz-1", **fields: object) -> Freeze:
    defaults = {
        "matchers": ('service="checkout"',),
        "starts_at": NOW - MINUTE,
        "ends_at": NOW + 12 * MINUTE,
        "reason": "error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)",
        "caused_by": "checkout-481",
    }
    return Freeze(id=identity, **(defaults | fields))  # type: ignore[arg-type]  # a factory with defaults


def test_a_change_outside_every_freeze_may_go() -> None:
    answer = holds_on([freeze()], {"service": ("cart",)}, NOW)
    assert (answer.until, answer.reasons) == (None, ())


def test_a_frozen_change_is_held_with_the_end_and_the_numbers_in_the_line() -> None:
    answer = holds_on([freeze()], CHECKOUT, NOW)
    assert answer.until is not None
    assert answer.reasons == (
        "frozen by fz-1 until 10:12:00Z (12m left): error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)",
    )
    assert answer.until == NOW + 12 * MINUTE


def test_a_freeze_of_a_person_says_who() -> None:
    [reason] = holds_on([freeze(caused_by="", created_by="ada", reason="incident 7")], CHECKOUT, NOW).reasons
    assert reason == "frozen by fz-1 until 10:12:00Z (12m left): incident 7 (by ada)"


def test_an_end_on_another_day_has_its_date() -> None:
    [reason] = holds_on([freeze(ends_at=NOW + 49 * 60 * MINUTE)], CHECKOUT, NOW).reasons
    assert reason.startswith("frozen by fz-1 until 2026-11-23T11:00:00Z (2d1h left): ")


def test_a_freeze_holds_from_its_first_to_before_its_last_millisecond() -> None:
    one = freeze()
    held = [
        holds_on([one], CHECKOUT, now).until is not None
        for now in (one.starts_at - 1, one.starts_at, one.ends_at - 1, one.ends_at)
    ]
    assert held == [False, True, True, False]


def test_the_last_moment_of_a_freeze_is_not_zero_seconds() -> None:
    [reason] = holds_on([freeze()], CHECKOUT, NOW + 12 * MINUTE - 1).reasons
    assert "(1s left)" in reason


def test_an_observed_freeze_is_mentioned_and_holds_nothing() -> None:
    answer = holds_on([freeze(mode=Mode.OBSERVE)], CHECKOUT, NOW)
    assert answer.until is None
    assert answer.reasons[0].startswith("observed only: fz-1 until 10:12:00Z")
    assert [one.id for one in answer.observed] == ["fz-1"]


def test_a_freeze_passes_the_revert_of_the_change_that_caused_it_and_says_so() -> None:
    one = freeze(passes=(('reverts="checkout-481"',), ('version="v1"',)))
    for way_back in ({"reverts": ("checkout-481",)}, {"version": ("v1",)}):
        answer = holds_on([one], CHECKOUT | way_back, NOW)
        assert answer.until is None
        assert answer.passed == (one,)
        assert answer.reasons[0].startswith("passes fz-1 until 10:12:00Z")
    assert holds_on([one], CHECKOUT | {"reverts": ("checkout-480",)}, NOW).until is not None


def test_what_one_freeze_passes_another_still_holds() -> None:
    passing, holding = freeze("fz-passes", passes=(('version="v3"',),)), freeze("fz-holds")
    answer = holds_on([passing, holding], CHECKOUT, NOW)
    assert (answer.held_by, answer.passed) == ((holding,), (passing,))


def test_of_several_freezes_the_longest_is_told_first() -> None:
    freezes = [freeze("fz-short", ends_at=NOW + MINUTE), freeze("fz-long"), freeze("fz-also")]
    answer = holds_on(freezes, CHECKOUT, NOW)
    assert [one.id for one in answer.held_by] == ["fz-also", "fz-long", "fz-short"]
    assert answer.until == NOW + 12 * MINUTE
    assert answer == holds_on(reversed(freezes), CHECKOUT, NOW)


# -- a change that looks ill ------------------------------------------------------------------------------------------


def ill(**fields: object) -> Verdict:
    defaults = {
        "change": "c-17",
        "service": "checkout",
        "environment": "production",
        "time": NOW - 3_000,
        "state": VerdictState.WARMING,
        "reason": "error_ratio 0.011 > 0.006 (n=9/820, e=38), p=0.02",
        "hold_until": NOW + 12_000,
        "hold_passes": (('reverts!=""',), ('version="v1"',)),
    }
    return Verdict(**(defaults | fields))  # type: ignore[arg-type]  # a factory with defaults


def test_new_starts_wait_for_a_change_that_looks_ill_and_the_line_says_why_and_until_when() -> None:
    answer = holds_on([], CHECKOUT, NOW, [ill()])
    assert (answer.until, answer.watched) == (NOW + 12_000, (ill(),))
    assert answer.reasons == (
        "watch: c-17 on checkout looks ill, new starts wait until 10:00:12Z (12s left): "
        "error_ratio 0.011 > 0.006 (n=9/820, e=38), p=0.02",
    )


def test_the_wait_lapses_by_itself() -> None:
    held = [holds_on([], CHECKOUT, NOW + after, [ill()]).until is not None for after in (11_999, 12_000)]
    assert held == [True, False]
    assert holds_on([], CHECKOUT, NOW, [ill(hold_until=None)]).until is None


@pytest.mark.parametrize(
    ("labels", "waits"),
    [
        ({"version": ("v2",)}, True),
        ({"version": ()}, True),
        ({"version": ("v1",)}, False),
        ({"reverts": ("c-17",)}, False),
        ({"reverts": ("c-16",)}, False),
        ({"service": ("cart",)}, False),
        ({"environment": ("staging",)}, False),
    ],
)
def test_only_new_starts_of_the_same_service_and_environment_wait(
    labels: dict[str, tuple[str, ...]], waits: bool
) -> None:
    assert (holds_on([], CHECKOUT | labels, NOW, [ill()]).until is not None) is waits


def test_the_way_back_is_told_that_it_passes() -> None:
    [reason] = holds_on([], CHECKOUT | {"version": ("v1",)}, NOW, [ill()]).reasons
    assert reason == "passes the watch of c-17: it is a way back"


def test_in_observe_mode_the_wait_is_told_and_nothing_waits() -> None:
    answer = holds_on([], CHECKOUT, NOW, [ill(hold_mode=Mode.OBSERVE)])
    assert (answer.until, answer.watched) == (None, ())
    assert answer.reasons[0].startswith("observed only: c-17 on checkout looks ill, new starts would wait until ")


def test_a_freeze_and_a_wait_are_both_told_and_the_later_end_counts() -> None:
    answer = holds_on([freeze(ends_at=NOW + 5_000)], CHECKOUT, NOW, [ill()])
    assert [reason.split(":")[0] for reason in answer.reasons] == ["frozen by fz-1 until 10", "watch"]
    assert answer.until == NOW + 12_000

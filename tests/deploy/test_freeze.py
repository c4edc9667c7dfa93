"""Freezes: their state comes from the clock, their scope lets the way back through, their folding knows no order."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DeployError
from deploy.freeze import (
    Freeze,
    FreezeBook,
    Mode,
    State,
    freeze_from_object,
    freeze_id,
    freeze_to_object,
    holds,
    state_of,
)
from deploy.order import Order, Verb

T0 = 1_795_255_200_000
MINUTE = 60_000


def freeze(identity: str = "fz-1", **fields: object) -> Freeze:
    return Freeze(
        **{"id": identity, "matchers": ('service="checkout"',), "starts_at": T0, "ends_at": T0 + 30 * MINUTE, **fields}  # type: ignore[arg-type]  # a factory with defaults
    )


def unfreeze(identity: str = "", *matchers: str, at: int = T0 + 10 * MINUTE, order: str = "o-u") -> Order:
    return Order(id=order, verb=Verb.UNFREEZE, time=at, by="ada", reason="fixed", freeze=identity, matchers=matchers)


@pytest.mark.parametrize(
    ("now", "state"),
    [(-1, State.PENDING), (0, State.ACTIVE), (30 * MINUTE - 1, State.ACTIVE), (30 * MINUTE, State.EXPIRED)],
)
def test_the_state_is_a_function_of_the_clock(now: int, state: State) -> None:
    assert state_of(freeze(), T0 + now) is state


def test_a_freeze_holds_its_scope_and_passes_the_way_back() -> None:
    one = freeze(passes=(('reverts="c-1"',), ('version="v1"', 'service="checkout"')))
    assert holds(one, {"service": ("checkout",), "version": ("v3",)})
    assert not holds(one, {"service": ("cart",)})
    assert not holds(one, {"service": ("checkout",), "reverts": ("c-1",)})
    assert not holds(one, {"service": ("checkout",), "version": ("v1",)})


def test_the_same_cause_makes_the_same_freeze_and_another_cause_another() -> None:
    assert freeze_id("trip", "c-1", 1) == freeze_id("trip", "c-1", 1)
    assert len({freeze_id("trip", "c-1", 1), freeze_id("trip", "c-1", 2), freeze_id("trip", "c-11")}) == 3


def test_a_written_freeze_has_the_promised_fields_and_reads_back_as_itself() -> None:
    record = freeze_to_object(freeze())
    assert record.keys() >= {"id", "matchers", "starts_at", "ends_at", "caused_by", "level", "mode", "reason"}
    assert record["ends_at"] == "2026-11-21T10:30:00.000Z"
    other = freeze(mode=Mode.OBSERVE, passes=(('reverts="c-1"',),), caused_by="c-1", level=2, ended_by="ada: fixed")
    assert freeze_from_object(freeze_to_object(other)) == other


@pytest.mark.parametrize(
    "fields",
    [{"matchers": ["checkout"]}, {"passes": [["reverts=~("]]}, {"ends_at": None}, {"mode": "hard"}, {"id": 7}],
)
def test_a_record_that_no_gate_could_ask_is_refused_when_it_is_read(fields: dict[str, object]) -> None:
    with pytest.raises(DeployError):
        freeze_from_object(freeze_to_object(freeze()) | fields)


def test_a_persons_freeze_needs_nobody_to_carry_it_out() -> None:
    book = FreezeBook()
    order = Order(
        id="o-1",
        verb=Verb.FREEZE,
        time=T0,
        by="ada",
        reason="incident 7",
        matchers=("service=checkout",),
        ends_at=T0 + MINUTE,
    )
    [made] = book.order(order)
    assert (made.created_by, made.reason, made.mode) == ("ada", "incident 7", Mode.ENFORCE)
    assert book.active(T0) == [made]
    assert holds(made, {"service": ("checkout",)})
    assert not holds(made, {"service": ("checkout",), "reverts": ("checkout-481",)})  # the way back stays open
    assert book.order(order) == []  # a repeat changes nothing
    assert book.record(made) == []  # and neither does the judge's answer
    assert book.active(T0 + MINUTE) == []


def test_an_early_end_is_final_and_says_by_whom() -> None:
    book = FreezeBook()
    book.record(freeze())
    [ended] = book.order(unfreeze("fz-1"))
    assert (ended.ends_at, ended.ended_by) == (T0 + 10 * MINUTE, "ada: fixed")
    assert book.record(freeze()) == []
    assert list(book) == [ended]


def test_an_unfreeze_by_matchers_ends_what_had_begun_with_that_scope_and_nothing_later() -> None:
    book = FreezeBook()
    for one in (
        freeze("fz-now"),
        freeze("fz-later", starts_at=T0 + 20 * MINUTE),
        freeze("fz-other", matchers=('service="cart"',)),
        freeze("fz-wider", matchers=('service=~".*"',)),
    ):
        book.record(one)
    assert [one.id for one in book.order(unfreeze("", "service=checkout"))] == ["fz-now"]


def test_a_freeze_that_has_not_begun_can_be_ended_by_its_id() -> None:
    book = FreezeBook()
    book.record(freeze(starts_at=T0 + 20 * MINUTE))
    [ended] = book.order(unfreeze("fz-1"))
    assert state_of(ended, T0 + 10 * MINUTE) is State.EXPIRED
    assert state_of(ended, T0 + 25 * MINUTE) is State.EXPIRED


def test_an_order_for_an_expired_freeze_does_not_rewrite_its_end() -> None:
    one, late = freeze(), unfreeze("fz-1", at=T0 + 40 * MINUTE)
    assert list(folded((one, late))) == list(folded((late, one))) == [one]


def test_a_tombstone_forgets() -> None:
    book = FreezeBook()
    book.record(freeze())
    book.forget("fz-1")
    book.forget("fz-unknown")
    assert list(book) == []


def folded(events: Iterable[Freeze | Order]) -> FreezeBook:
    book = FreezeBook()
    for event in events:
        book.record(event) if isinstance(event, Freeze) else book.order(event)
    return book


EVENTS: tuple[Freeze | Order, ...] = (
    freeze("fz-1"),
    freeze("fz-2", starts_at=T0 + 5 * MINUTE),
    freeze("fz-3", matchers=('service="cart"',)),
    unfreeze("fz-1", at=T0 + 12 * MINUTE, order="o-1"),
    unfreeze("fz-1", at=T0 + 9 * MINUTE, order="o-2"),
    unfreeze("", 'service="checkout"', at=T0 + 7 * MINUTE, order="o-3"),
    unfreeze("fz-3", at=T0 - 1 * MINUTE, order="o-4"),
)


@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS), max_size=6))
def test_any_order_and_any_repeats_fold_to_the_same_freezes(
    events: list[Freeze | Order], again: list[Freeze | Order]
) -> None:
    assert list(folded((*events, *again))) == list(folded(EVENTS))


def test_reading_back_what_was_folded_folds_to_the_same() -> None:
    """A reader that starts later sees the judge's records first and the orders after them."""
    first = folded(EVENTS)
    assert list(folded((*first, *EVENTS))) == list(first)

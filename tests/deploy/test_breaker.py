"""The breaker of a scope: one trip a change, longer with every trip, never for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.breaker import BreakerState, trip
from deploy.freeze import freeze_from_object, freeze_to_object
from tests.factories import NOON, change, policy

MINUTE = 60_000
CLOSED = BreakerState("checkout", "production")


def test_a_change_trips_a_breaker_once() -> None:
    opened, freeze = trip(CLOSED, change(), NOON, "harm", policy())
    assert freeze is not None
    assert trip(opened, change(), NOON + MINUTE, "harm", policy()) == (opened, None)


@given(st.lists(st.integers(0, 30 * MINUTE), min_size=1, max_size=30))
def test_every_trip_lasts_longer_up_to_the_cap(waits: list[int]) -> None:
    rules, state, now = policy(), CLOSED, NOON
    times: list[int] = []
    for number, wait in enumerate(waits):
        now += wait
        state, freeze = trip(state, change(f"c{number}"), now, "harm", rules)
        assert freeze is not None
        times.append(now)
        assert freeze.trip == sum(time > now - rules.breaker.trips_window for time in times)
        due = min(freeze.trip * rules.breaker.open_for, rules.breaker.open_at_most)
        assert due <= freeze.ends_at - freeze.starts_at <= due * 1.1 + 1


def test_the_policy_says_how_long() -> None:
    rules = policy("breaker: {open_for: 1m, open_at_most: 90s}")
    state, first = trip(CLOSED, change(), NOON, "harm", rules)
    _, second = trip(state, change("c2"), NOON + MINUTE, "harm", rules)
    assert first is not None
    assert second is not None
    assert MINUTE <= first.ends_at - NOON <= 1.1 * MINUTE
    assert 90_000 <= second.ends_at - second.starts_at <= 99_000


def test_a_breaker_without_environment_freezes_the_service_everywhere() -> None:
    _, freeze = trip(BreakerState("checkout", ""), change(environment=""), NOON, "harm", policy())
    assert freeze is not None
    assert freeze.matchers == ('service="checkout"',)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_any_names_make_a_freeze_that_can_be_read_back(identity: str, service: str) -> None:
    """Quotes, newlines and backslashes of a name stay part of it."""
    one = change(identity, service=service)
    _, freeze = trip(BreakerState(service, "production"), one, NOON, "harm", policy(), last_good="v1")
    assert freeze is not None
    assert freeze_from_object(freeze_to_object(freeze)) == freeze

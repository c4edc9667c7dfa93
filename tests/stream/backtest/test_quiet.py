"""Quiet moments: never near anything that happened, never without a past, always the same."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.own_past import NEEDED
from stream.backtest.quiet import History, histories, quiet_moments, thin
from tests.factories import NOON, columns, gauges, key, policy, shop

MINUTE = 60_000
WATCH = 30 * MINUTE


def history(rows: int = 1_000, **fields: object) -> History:
    said = gauges({"latency": np.ones(rows).tolist()}, **fields)  # type: ignore[arg-type]
    [found] = histories([columns(said)])
    return found


def test_a_service_is_known_by_its_usual_step_and_its_most_talkative_series() -> None:
    said = gauges({"latency": [1.0] * 50, "cpu": [1.0] * 80, "rare": [1.0, 2.0]})
    [found] = histories([columns(said)])
    assert (found.service, found.environment, found.period) == ("checkout", "production", MINUTE)
    assert len(found.times) == 80
    assert found.samples == 132


def test_samples_told_twice_and_in_any_order_count_once() -> None:
    said = gauges({"latency": [1.0] * 50})
    once, [twice] = histories([columns(said)]), histories([columns(said), columns(said)])
    assert twice.samples == once[0].samples == 50


@given(
    blocked=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 90)), max_size=8),
    turn=st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_no_watch_of_a_quiet_moment_touches_what_happened(blocked: list[tuple[int, int]], turn: int) -> None:
    stretches = [(NOON + start * MINUTE, NOON + (start + length) * MINUTE) for start, length in blocked]
    one = history()
    found = quiet_moments(one, policy(), stretches, turn)
    for moment in found:
        assert moment - NOON >= NEEDED * MINUTE
        assert moment + WATCH + MINUTE <= one.times[-1]
        assert not any(start < moment + WATCH and moment < stop for start, stop in stretches)
        assert moment not in one.times
    assert all(b - a >= WATCH for a, b in itertools.pairwise(found))
    assert found == quiet_moments(one, policy(), stretches, turn)


def test_services_get_their_moments_at_different_times() -> None:
    one = history()
    assert not set(quiet_moments(one, policy(), (), 0)) & set(quiet_moments(one, policy(), (), 1))


def test_a_moment_at_which_telemetry_pauses_is_not_quiet() -> None:
    values = [1.0] * 400
    values[180:260] = [float("nan")] * 80
    [one] = histories([columns(gauges({"latency": values}))])
    pause = range(NOON + 180 * MINUTE, NOON + 259 * MINUTE)
    assert not [moment for moment in quiet_moments(one, policy(), (), 0) if moment in pause]


def test_a_short_history_has_no_quiet_moment() -> None:
    assert quiet_moments(history(rows=NEEDED + 29), policy(), (), 0) == []
    assert quiet_moments(history(rows=1), policy(), (), 0) == []


def test_instances_beside_each_other_are_those_that_ran_throughout() -> None:
    [one] = histories([columns(shop(seconds=400, before=300))])
    assert one.beside(NOON - 200_000, NOON - 10_000) == ["p0", "p1", "p2", "p3"]
    assert one.beside(NOON - 200_000, NOON + 90_000) == ["p1", "p2", "p3"]
    assert history().beside(NOON, NOON) == []


def test_a_success_rate_is_told_by_its_first_samples() -> None:
    [one] = histories([columns(gauges({"success": [100.0, 99.9, 100.0] * 20, "latency": [0.2, 0.3, 0.2] * 20}))])
    told = {series.metric: life.bounded for series, life in one.series.items()}
    assert told == {"success": True, "latency": False}
    assert key("success", version="", instance="") in one.series


def test_thinning_spreads_evenly_and_keeps_what_is_few() -> None:
    assert thin(range(10), 4) == [0, 2, 5, 7]
    assert thin(range(3), 4) == [0, 1, 2]

"""Signals: what is judged, at which period, and into which look each sample falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.columns import Float64, MetricKind, SeriesKey
from stream.series import Series
from stream.signals import SignalId, period_of, signals_of
from tests.factories import NOON, key, policy
from tests.stream.plain_looks import PlainLine as Line

REQUESTS, ERRORS = "http.server.requests", "http.server.errors"


def signals(*keys: SeriesKey, rules: str = "", service: str = "checkout") -> dict[str, list[SeriesKey]]:
    found = signals_of(keys, service, policy(f"guardrails: [{rules}]").guardrails)
    return {
        (signal.title if not signal.over else f"{signal.title}/{signal.over}"): keys for signal, keys in found.items()
    }


def series(times: list[int], values: list[float] | None = None, kind: MetricKind = MetricKind.GAUGE) -> Series:
    found = Series(key(kind=kind))
    found.extend(np.array(times, np.int64), np.array(values or [1.0] * len(times)))
    return found


def taken(line: Line, first: int, last: int) -> Float64:
    return line.place(line.plan(first, last), first, np.full(last - first + 1, 2**62))


# -- what is judged ---------------------------------------------------------------------------------------------------


def test_every_metric_is_a_signal_over_all_instances() -> None:
    found = signals(key("cpu"), key("cpu", instance="p1"), key("memory"))
    assert {name: len(keys) for name, keys in found.items()} == {"cpu": 2, "memory": 1}


def test_errors_and_requests_are_one_ratio_and_not_judged_again() -> None:
    found = signals(key(ERRORS), key(REQUESTS), key(REQUESTS, instance="p1"), key("cpu"))
    assert set(found) == {f"error_ratio/{REQUESTS}", "cpu"}
    assert len(found[f"error_ratio/{REQUESTS}"]) == 3


def test_errors_without_requests_are_judged_by_themselves() -> None:
    assert set(signals(key(ERRORS))) == {ERRORS}


def test_attribute_sets_are_signals_of_their_own() -> None:
    routes = [key("latency", attributes=(("route", name),)) for name in ("/a", "/b")]
    assert len(signals_of(routes, "checkout", ())) == 2


def test_a_guardrail_names_what_would_otherwise_be_found() -> None:
    rule = f"{{name: fails, errors: {ERRORS}, over: {REQUESTS}, least_effect: 0.01}}"
    assert set(signals(key(ERRORS), key(REQUESTS), rules=rule)) == {f"fails/{REQUESTS}"}


def test_a_guardrail_of_another_service_does_not_apply() -> None:
    rule = "{name: p99, value: latency, services: [frontend]}"
    assert set(signals(key("latency"), rules=rule)) == {"latency"}
    assert set(signals(key("latency"), rules=rule, service="frontend")) == {"p99"}


def test_a_guardrail_ratio_needs_only_its_requests() -> None:
    """Most libraries show a counter of errors with the first error."""
    rule = f"{{name: fails, errors: {ERRORS}, over: {REQUESTS}}}"
    assert signals(key(REQUESTS), rules=rule) == {f"fails/{REQUESTS}": [key(REQUESTS)]}


@given(st.permutations([key(m, instance=i) for m in (ERRORS, REQUESTS, "cpu") for i in ("p0", "p1")]))
def test_the_order_of_series_does_not_matter(keys: list[SeriesKey]) -> None:
    assert list(signals_of(keys, "checkout", ()).items()) == list(signals_of(sorted(keys), "checkout", ()).items())


def test_signals_can_be_sorted_whatever_their_fields() -> None:
    rules = policy("guardrails: [{name: a, value: m, least_effect: 5%}, {name: b, value: m}]").guardrails
    found = signals_of([key("m"), key("n")], "checkout", rules)
    assert sorted(found)[0] == min(found)
    assert SignalId("n") in found


# -- the period -------------------------------------------------------------------------------------------------------


@given(st.sampled_from([1_000, 5_000, 60_000, 300_000]), st.integers(0, 2**32), st.floats(0, 0.2))
def test_jitter_and_gaps_do_not_change_the_period(period: int, seed: int, jitter: float) -> None:
    rng = np.random.default_rng(seed)
    nominal = np.flatnonzero(rng.random(200) > 0.1) * period
    wobble = np.rint(rng.uniform(-jitter, jitter, len(nominal)) * period).astype(np.int64)
    found = period_of([series((NOON - 200 * period + nominal + wobble).tolist())], NOON)
    assert abs(found - period) <= 0.15 * period


@pytest.mark.parametrize(("step", "period"), [(1_000, 1_000), (1_015, 1_000), (995, 1_000), (1_500, 1_500), (250, 250)])
def test_clocks_a_little_off_are_read_as_whole_seconds(step: int, period: int) -> None:
    assert period_of([series([NOON - i * step for i in range(50)])], NOON) == period


def test_what_came_after_the_moment_tells_no_period() -> None:
    assert period_of([series([NOON + i for i in range(1, 9)])], NOON) == 0
    assert period_of([series([NOON - 500, NOON + 5])], NOON) == 0
    assert period_of([], NOON) == 0


# -- looks ------------------------------------------------------------------------------------------------------------


@given(st.integers(200, 800), st.integers(0, 2**32))
def test_each_sample_has_a_look_of_its_own_at_any_phase_and_jitter(phase: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = NOON - 20_000 + phase + np.arange(60) * 1_000 + np.rint(rng.uniform(-200, 200, 60)).astype(np.int64)
    line = Line(series(times.tolist(), list(map(float, range(60)))), NOON, 1_000)
    after = int((times > NOON).sum())
    assert taken(line, 1, after).tolist() == [float(i) for i in range(60 - after, 60)]


@given(st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_the_looks_are_the_same_however_they_are_taken(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    there = np.flatnonzero(rng.random(90) > 0.3)
    times = (NOON - 30_000 + there * 1_000).tolist()
    values = rng.normal(size=len(times)).tolist()
    whole = taken(Line(series(times, values), NOON, 1_000), 1, sum(cuts))
    line, parts, at = Line(series(times, values), NOON, 1_000), [], 1
    for cut in cuts:
        parts.append(taken(line, at, at + cut - 1))
        at += cut
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_slow_clock_is_never_overdue_while_it_ticks() -> None:
    times = [NOON - 100_000 + i * 1_020 for i in range(1_900)]
    line = Line(series(times), NOON, 1_000)
    for watermark in range(NOON + 1_000, NOON + 1_500_000, 50_000):
        reach = line.reach(watermark, watermark)
        assert reach is not None
        assert reach[1] == 0 or watermark - times[np.searchsorted(times, watermark) - 1] > 500


def test_a_series_that_stays_away_is_overdue_half_a_period_after_each_look() -> None:
    line = Line(series([NOON - 1_000, NOON]), NOON, 1_000)
    overdue = [line.reach(NOON + after, 2**62) for after in (1_000, 1_500, 1_501, 2_500, 2_501)]
    assert overdue == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2)]


def test_a_new_series_opens_the_look_that_its_first_sample_falls_into() -> None:
    line = Line(series([NOON + 4_300, NOON + 5_300]), NOON, 1_000)
    assert not line.existed
    assert line.reach(NOON + 9_000, NOON + 4_000) is None
    assert np.flatnonzero(np.isfinite(taken(line, 1, 8))).tolist() == [4, 5]


def test_a_sample_later_than_its_look_closed_is_not_counted() -> None:
    line = Line(series([NOON, NOON + 1_000, NOON + 2_300], [0.0, 1.0, 2.0]), NOON, 1_000)
    closed = np.array([NOON + 1_000, NOON + 2_200])
    found = line.place(line.plan(1, 2), 1, closed)
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_history_ends_at_the_moment_with_gaps_in_their_places() -> None:
    times = [NOON - 5_000, NOON - 4_000, NOON - 2_000, NOON]
    found = Line(series(times, [5.0, 4.0, 2.0, 0.0]), NOON, 1_000).history(7)
    np.testing.assert_array_equal(found, [np.nan, 5.0, 4.0, np.nan, 2.0, np.nan, 0.0])


def test_counts_of_one_look_add_up() -> None:
    line = Line(series([NOON, NOON + 1_000, NOON + 1_100], [1.0, 2.0, 3.0], MetricKind.DELTA), NOON, 1_000)
    assert taken(line, 1, 1).tolist() == [5.0]

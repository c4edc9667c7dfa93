"""Injected harm: nothing before it begins, what it says after, and counters that stay counters."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.policy import Effect
from stream.backtest.shifts import DROP, FAILING, ONSET_AFTER, SUCCEEDING, UP, Shift, shifted, shifts_of
from stream.columns import MetricKind, SeriesKey
from stream.series import Series
from stream.signals import SignalId
from tests.factories import NOON, Recording, change, gauges, shop

RATIO = SignalId("http.server.errors", "http.server.requests")
LATENCY = SignalId("latency")


def series(said: Recording) -> dict[SeriesKey, Series]:
    found = {}
    for key, (times, values) in said.items():
        one = found[key] = Series(key)
        one.extend(np.array(times, np.int64), np.array(values, np.float64))
    return found


def test_a_value_is_harmed_from_the_fifth_sample_after_the_change_on() -> None:
    said = series(gauges({"latency": [2.0] * 30}))
    moment = NOON + 10 * 60_000 + 1
    [one] = shifted(LATENCY, said, change(time=moment), UP[2]).values()
    first = 10 + ONSET_AFTER
    assert one.values.tolist() == [2.0] * first + [4.0] * (30 - first)
    assert one.times.tolist() == next(iter(said.values())).times.tolist()
    assert next(iter(said.values())).values.tolist() == [2.0] * 30, "the real samples stay as they are"


def test_only_the_named_instance_is_harmed() -> None:
    said = series(shop(canary=0))
    harmed = shifted(SignalId("http.server.duration.p99"), {
        key: one for key, one in said.items() if key.metric == "http.server.duration.p99"
    }, change(instances=("p1",)), DROP[0])  # fmt: skip
    assert {key.instance for key in harmed} == {"p1"}


@pytest.mark.parametrize("kind", [MetricKind.DELTA, MetricKind.CUMULATIVE])
@pytest.mark.parametrize("shift", FAILING)
def test_a_share_of_the_requests_fails_besides_and_counters_never_fall(kind: MetricKind, shift: Shift) -> None:
    said = series(shop(canary=0, instances=2, kind=kind, seconds=200))
    harmed = shifted(RATIO, said, change(instances=("p0",), version=""), shift)
    [(key, one)] = harmed.items()
    assert key.metric == RATIO.metric
    if kind is MetricKind.CUMULATIVE:
        assert (np.diff(one.values) >= 0).all()
    (before, errors), (after, more) = said[key].after(NOON), one.after(NOON)
    _, requests = next(
        other for name, other in said.items() if name.metric == RATIO.over and name.instance == "p0"
    ).after(NOON)
    assert before.tolist() == after.tolist()
    assert errors[: ONSET_AFTER - 1].tolist() == more[: ONSET_AFTER - 1].tolist()
    added, due = float((more - errors).sum()), shift.share * float(requests[ONSET_AFTER - 1 :].sum())
    assert due - 1 <= added <= due
    assert ((more - errors) % 1 == 0).all()


def test_requests_without_an_error_sample_had_none() -> None:
    said = series(shop(canary=0, instances=1))
    errors = next(key for key in said if key.metric == RATIO.metric)
    said[errors] = Series(errors)
    said[errors].extend(np.array([NOON - 1_000]), np.array([0.0]))
    [one] = shifted(RATIO, said, change(version=""), FAILING[2]).values()
    assert len(one.after(NOON)[0]) == 30 - ONSET_AFTER
    assert one.after(NOON)[1].sum() > 0


@pytest.mark.parametrize("top", [1.0, 100.0])
def test_a_success_rate_loses_points(top: float) -> None:
    said = series(gauges({"success": [top] * 30}))
    [one] = shifted(SignalId("success"), said, change(time=NOON + 10 * 60_000 + 1), SUCCEEDING[1]).values()
    assert one.values[-1] == pytest.approx(0.95 * top)


@pytest.mark.parametrize(
    ("signal", "bounded", "expected"),
    [
        (LATENCY, False, UP + DROP),
        (SignalId("latency", harm="up", guardrail=True), False, UP),
        (SignalId("traffic", harm="down", effect=Effect(0.1, True)), False, DROP),
        (RATIO, False, FAILING),
        (SignalId("success"), True, SUCCEEDING),
    ],
)
def test_each_kind_has_its_own_harms(signal: SignalId, bounded: bool, expected: tuple[Shift, ...]) -> None:
    assert shifts_of(signal, bounded) == expected

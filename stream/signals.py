"""Signals: what is judged. A metric with its attributes, or a ratio of two counters, over all instances that report it.

A signal puts its members (one an instance and version) on a grid of its own period, counted from the moment of the
change: look 0 is the last before it, look k the k-th after. Members keep their own phase; jitter and gaps are rounded
per step, so that nothing drifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from deploy.policy import Effect, Guardrail
from stream.columns import Float64, Int64, MetricKind, SeriesKey
from stream.series import Series

Member = tuple[str, str]  # version, instance
Attributes = tuple[tuple[str, str], ...]

#: Steps looked at to find the period of a signal.
_STEPS = 60
_ERRORS, _REQUESTS = ".errors", ".requests"


class SignalId(msgspec.Struct, frozen=True, order=True):
    """Names a signal of a service: `over` is the counter that `metric` is divided by, empty for plain values."""

    metric: str
    over: str = ""
    attributes: Attributes = ()
    name: str = ""
    guardrail: bool = False
    harm: str = "both"
    effect: Effect | None = None

    @property
    def title(self) -> str:
        return self.name or self.metric


def signals_of(
    keys: Iterable[SeriesKey], service: str, guardrails: Sequence[Guardrail]
) -> dict[SignalId, list[SeriesKey]]:
    """Group the series of a service into the signals to judge.

    Guardrails of the policy come first. A counter `X.errors` beside `X.requests` that no guardrail names is judged as
    their ratio. Everything else is a value, up and down; the counters inside a ratio are not judged again.
    """
    keys = sorted(keys)
    by_metric: dict[str, list[SeriesKey]] = {}
    for key in keys:
        by_metric.setdefault(key.metric, []).append(key)
    found: dict[SignalId, list[SeriesKey]] = {}
    used: set[str] = set()
    rails = [rail for rail in guardrails if rail.applies(service)]
    named = {metric for rail in rails for metric in rail.metrics}
    for rail in rails:
        if rail.value:
            for key in by_metric.get(rail.value, ()):
                signal = SignalId(rail.value, "", key.attributes, rail.name, True, rail.harm, rail.least_effect)
                found.setdefault(signal, []).append(key)
            used.add(rail.value)
        elif rail.over in by_metric:
            signal = SignalId(rail.errors, rail.over, (), rail.name, True, rail.harm, rail.least_effect)
            found[signal] = by_metric.get(rail.errors, []) + by_metric[rail.over]
            used |= {rail.errors, rail.over}
    for metric in by_metric:
        over = metric.removesuffix(_ERRORS) + _REQUESTS
        if metric.endswith(_ERRORS) and over in by_metric and not {metric, over} & named:
            ratio = SignalId(metric, over, (), "error_ratio", False, "up")
            found[ratio] = by_metric[metric] + by_metric[over]
            used |= {metric, over}
    for metric, members in by_metric.items():
        if metric not in used:
            for key in members:
                found.setdefault(SignalId(metric, "", key.attributes), []).append(key)
    return found


def period_of(series: Iterable[Series], moment: int) -> int:
    """The usual step in ms between samples around `moment`; 0 where fewer than two samples tell.

    Taken from the time before it where there is enough, so that it does not depend on what came later.
    """
    steps: list[Int64] = []
    for one in series:
        times = one.times
        end = int(np.searchsorted(times, moment, side="right"))
        before = np.diff(times[max(0, end - _STEPS) : end])
        steps.append(before if len(before) else np.diff(times[:4]))
    together = np.sort(np.concatenate(steps)) if steps else np.empty(0, np.int64)
    if not len(together):
        return 0
    period = int(together[(len(together) - 1) // 2])
    # Clocks are set to whole seconds and read a little off.
    whole = round(period / 1_000) * 1_000
    return whole if whole and abs(period - whole) <= 0.02 * whole else max(period, 1)


class Line:
    """One series on the grid of a change: where its next sample falls, and which samples are not yet taken."""

    __slots__ = ("_bin", "_time", "counted", "moment", "period", "series")

    def __init__(self, series: Series, moment: int, period: int) -> None:
        self.series, self.moment, self.period = series, moment, period
        self.counted = series.key.kind is not MetricKind.GAUGE
        before = series.times[: int(np.searchsorted(series.times, moment, side="right"))]
        self._time = int(before[-1]) if len(before) else moment
        # A series that had stopped before the change comes back so many looks later.
        self._bin = -((moment - self._time) // period) if len(before) else 0

    @property
    def existed(self) -> bool:
        """Whether it reported around the moment of the change, within ten periods."""
        end = int(np.searchsorted(self.series.times, self.moment, side="right"))
        return end > 0 and int(self.series.times[end - 1]) >= self.moment - 10 * self.period

    def _number(self, times: Int64) -> Int64:
        if self._time == self.moment and self._bin == 0 and len(times) and not self.existed:
            # A series that is new: its first sample opens the look that it falls into.
            first = -((self.moment - int(times[0])) // self.period)
            steps = np.rint(np.diff(times) / self.period).astype(np.int64)
            return max(1, first) + np.concatenate([[0], np.cumsum(steps)])
        steps = np.rint(np.diff(np.concatenate([[self._time], times])) / self.period).astype(np.int64)
        return self._bin + np.cumsum(steps)

    def progress(self) -> int:
        """The latest look that this series has a sample for; 0 before its first."""
        times, _ = self.series.after(self._time)
        return int(self._number(times)[-1]) if len(times) else self._bin

    def history(self, length: int) -> Float64:
        """float64[length]: the looks up to 0, NaN where no sample came."""
        out = np.full(length, np.nan)
        times, values = self.series.up_to(self.moment, length)
        if len(times):
            steps = np.rint(np.diff(times) / self.period).astype(np.int64)
            back = np.concatenate([np.cumsum(steps[::-1])[::-1], [0]]) - self._bin
            _place(out, length - 1 - back, values, self.counted)
        return out

    def take(self, first: int, last: int) -> tuple[Float64, Int64]:
        """Values (float64) and latest times (int64, 0 where none) of the looks first..last, then done with."""
        values_out = np.full(last - first + 1, np.nan)
        times_out = np.zeros(last - first + 1, np.int64)
        times, values = self.series.after(self._time)
        if len(times):
            numbers = self._number(times)
            done = numbers <= last
            count = int(np.count_nonzero(done))
            if count:
                # Numbers never fall, so what is done with comes first.
                _place(values_out, numbers[:count] - first, values[:count], self.counted)
                places = numbers[:count] - first
                inside = places >= 0
                times_out[places[inside]] = times[:count][inside]
                self._time, self._bin = int(times[count - 1]), int(numbers[count - 1])
        return values_out, times_out


def _place(out: Float64, places: Int64, values: Float64, counted: bool) -> None:
    """Put values on their places: what is counted adds up, of anything else the latest stays."""
    inside = (places >= 0) & (places < len(out))
    places, values = places[inside], values[inside]
    if counted:
        sums = np.bincount(places, weights=values, minlength=len(out))
        hit = np.bincount(places, minlength=len(out)) > 0
        out[hit] = sums[hit]
    else:
        out[places] = values

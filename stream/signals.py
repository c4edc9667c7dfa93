"""Signals: what is judged. A metric with its attributes, or a ratio of two counters, over all instances that report it.

A signal puts its members (one an instance and version) on a grid of its own period, counted from the moment of the
change: look 0 is the last before it, look k the k-th after. Members keep their own phase; jitter and gaps are rounded
per step, so that nothing drifts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from deploy.policy import Effect, Guardrail
from stream.columns import Float64, Int64, SeriesKey
from stream.paces import last_before, usual_steps
from stream.samples import NEVER
from stream.series import Series
from stream.whole import place

Member = tuple[str, str]  # version, instance
Attributes = tuple[tuple[str, str], ...]

#: A series that stayed away from this many looks no longer holds up those to come.
GIVEN_UP = 3
_ERRORS, _REQUESTS = ".errors", ".requests"
_BOUNDED = re.compile(r"success|availab|uptime|healthy", re.IGNORECASE)


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

    @property
    def bounded(self) -> bool:
        """Whether it is a success rate, in which 1 or 100 is perfect."""
        return not self.over and self.harm == "down" and _BOUNDED.search(self.metric) is not None


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


def awaited_ratios(
    keys: Iterable[SeriesKey], service: str, guardrails: Sequence[Guardrail]
) -> dict[SignalId, list[SeriesKey]]:
    """The ratios of counters `X.requests` beside which no `X.errors` has shown itself yet."""
    found: dict[SignalId, list[SeriesKey]] = {}
    keys = sorted(keys)
    metrics = {key.metric for key in keys}
    named = {metric for rail in guardrails if rail.applies(service) for metric in rail.metrics}
    for key in keys:
        errors = key.metric.removesuffix(_REQUESTS) + _ERRORS
        if key.metric.endswith(_REQUESTS) and errors not in metrics and not {key.metric, errors} & named:
            found.setdefault(SignalId(errors, key.metric, (), "error_ratio", False, "up"), []).append(key)
    return found


def kind_of(signal: SignalId, keys: Iterable[SeriesKey]) -> str:
    """What kind of metric it is, one of `detectors.transform.KINDS`."""
    if signal.over:
        return "ratio"
    if any(key.counted for key in keys):
        return "count"
    return "bounded" if signal.bounded else "value"


def period_of(series: Iterable[Series], moment: int) -> int:
    """The usual step in ms between samples up to `moment`; 0 where fewer than two samples tell."""
    return periods_of([list(series)], moment)[0]


def periods_of(signals: Sequence[Sequence[Series]], moment: int) -> list[int]:
    """The period in ms of each of these signals by its samples up to `moment`; 0 where fewer than two tell."""
    return [rounded(step) if step else 0 for step in usual_steps(signals, moment).tolist()]


def usual(steps: Int64) -> int:
    """The period in ms that these steps, int64[n], n > 0, are of."""
    return rounded(int(np.sort(steps)[(len(steps) - 1) // 2]))


def rounded(period: int) -> int:
    """The period that this step in ms is of."""
    # Clocks are set to whole seconds and read a little off.
    whole = round(period / 1_000) * 1_000
    return whole if whole and abs(period - whole) <= 0.02 * whole else max(period, 1)


def told_at(series: Iterable[Series]) -> int:
    """When one of these series had come three times, so that its step is known; far ahead where none has."""
    return min((int(one.times[2]) for one in series if len(one.times) > 2), default=2**62)


class Line:
    """One series on the grid of a change, as it stood at its moment."""

    __slots__ = ("_bin", "_known", "_time", "counted", "existed", "moment", "period", "series")

    def __init__(self, series: Series, moment: int, period: int, before: int | None = None) -> None:
        """`before` is when its last sample up to `moment` came, where that was asked for many series at once."""
        self.series, self.moment, self.period = series, moment, period
        self.counted = series.key.counted
        if before is None:
            before = int(last_before([series], moment)[0])
        self._known = before != NEVER
        self._time = before if self._known else moment
        # A series that had stopped before the change comes back so many looks later.
        # One that came a whole period before it, to the millisecond, was the last before the change.
        self._bin = -max(0, (moment - self._time - 1) // period) if self._known else 0
        #: Whether it reported around the moment of the change, within ten periods.
        self.existed = self._known and self._time >= moment - 10 * period

    @property
    def begun(self) -> tuple[bool, int, int]:
        """Whether it was heard of before the change; the time of the last sample then, and its look."""
        return self._known, self._time, self._bin

    def history(self, length: int) -> Float64:
        """float64[length]: the looks up to 0, NaN where no sample came."""
        out = np.full(length, np.nan)
        times, values = self.series.up_to(self.moment, length)
        if len(times):
            steps = np.rint(np.diff(times) / self.period).astype(np.int64)
            back = np.concatenate([np.cumsum(steps[::-1])[::-1], [0]]) - self._bin
            place(out, length - 1 - back, values, self.counted)
        return out

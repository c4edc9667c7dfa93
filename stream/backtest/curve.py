"""One metric before and after one change, with what was expected of it: what a plot of an incident shows."""

from __future__ import annotations

import msgspec
import numpy as np

from deploy.change import Change
from detectors.own_past import calibrate
from stream.change_watch import ChangeWatch
from stream.columns import Float64, SeriesKey
from stream.series import Series
from stream.service import ServiceSamples
from stream.signal_watch import WHOLE, SignalWatch
from stream.signals import SignalId, period_of

_BEFORE = 90
_MOST = 240


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Samples around a change: `times` in Unix ms, None where a sample is missing.

    `expected` is what the own past let expect after the change, `low` and `high` how far the largest single excursion
    of that past went from it. `beside` is what the old instances did meanwhile, where new and old can be told apart:
    `values` are then the new ones'.
    """

    metric: str
    unit: str
    times: list[int]
    values: list[float | None]
    beside: list[float | None] | None
    expected: list[float | None]
    low: list[float | None]
    high: list[float | None]


def curve_of(
    service: ServiceSamples, watch: ChangeWatch, signal: SignalId, keys: tuple[SeriesKey, ...]
) -> Curve | None:
    """The curve of one signal over the time of a watch that is over; None where it has no samples before."""
    change = watch.change
    series = [service.series[key] for key in keys if key in service.series]
    period = period_of(series, change.time)
    end = watch.end if watch.cut_off is None else watch.cut_off
    looks = (end - change.time) // period if period else 0
    if not looks:
        return None
    new = [one for one in series if _is_new(one, change)]
    old = [one for one in series if one not in new]
    apart = bool(new) and bool(old)
    history, after = values_of(service.name, signal, change, period, looks, old if apart else series)
    filled = np.flatnonzero(np.isfinite(history))
    if not len(filled):
        return None
    history = history[filled[0] :]
    times = change.time + (np.arange(len(history)) - (len(history) - 1)) * period
    past = calibrate(
        history, period=period / 1_000, end=change.time / 1_000, watch=int(looks), harm=signal.harm,
        usable=service.undisturbed(times, watch), kind="ratio" if signal.over else "value",
    )  # fmt: skip
    expected = low = high = np.full(int(looks), np.nan)
    if past.ready:
        expected = past.expected
        middle, reach = past.transform.forward(expected), past.yardsticks[-1].excursion
        low, high = (past.transform.inverse(middle + sign * reach[at]) for sign, at in ((-1.0, 4), (1.0, 0)))
    before = history[-_BEFORE:]
    shown = np.arange(-len(before) + 1, looks + 1)
    stride = max(1, -(-int(looks) // _MOST))
    told = np.concatenate([before, after])
    beside = None
    if apart:
        beside, (newer, latest) = told, values_of(service.name, signal, change, period, looks, new)
        told = np.concatenate([newer[len(newer) - len(before) :], latest])
    blank = np.full(len(before), np.nan)
    lines = [np.concatenate([blank, line]) for line in (expected, low, high)]
    some = np.flatnonzero((shown <= 0) | (shown % stride == 0))
    return Curve(
        metric=signal.title,
        unit=next((key.unit for key in keys if key.unit), ""),
        times=(change.time + shown[some] * period).tolist(),
        values=_plain(told[some]),
        beside=None if beside is None else _plain(beside[some]),
        expected=_plain(lines[0][some]),
        low=_plain(lines[1][some]),
        high=_plain(lines[2][some]),
    )


def _is_new(series: Series, change: Change) -> bool:
    key = series.key
    if change.instances and key.instance:
        return key.instance in change.instances
    if change.version and key.version:
        return key.version == change.version
    return bool(key.instance) and series.born > change.time


def values_of(
    service: str, signal: SignalId, change: Change, period: int, looks: int, series: list[Series]
) -> tuple[Float64, Float64]:
    """The signal over these series: float64[20,160] up to the change, float64[looks] after it."""
    watch = SignalWatch(service, signal, change, period, int(looks), change.time)
    watch.attach(series)
    for _ in watch.update(change.time + int(looks) * period + period):
        pass
    after = np.full(int(looks), np.nan)
    if watch.closed:
        after[: watch.closed] = watch.taken(1, watch.closed)[0]
    return watch.whole_history(WHOLE), after


def _plain(values: Float64) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]

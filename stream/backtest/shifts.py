"""Harm put into real samples: what each kind of metric is harmed by, and the samples as they would have been.

The harm begins at the fifth sample after the change. Where the change names instances only theirs are harmed, as a
rollout's first instances would be.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from deploy.change import Change
from stream.columns import Float64, Int64, SeriesKey
from stream.samples import Samples
from stream.series import Series
from stream.signal_watch import WHOLE
from stream.signals import SignalId, period_of

ONSET_AFTER = 5
"""The sample after the change at which the harm begins."""


class Shift(msgspec.Struct, frozen=True):
    """A harm: times `factor`, and `share` more of what is counted (a ratio) or less of what is perfect (a rate)."""

    name: str
    factor: float = 1.0
    share: float = 0.0


UP = (Shift("+25 %", 1.25), Shift("+50 %", 1.5), Shift("+100 %", 2.0))
DROP = (Shift("-50 %", 0.5),)
FAILING = (Shift("+1 point", share=0.01), Shift("+5 points", share=0.05), Shift("+20 points", share=0.2))
SUCCEEDING = (Shift("-1 point", share=0.01), Shift("-5 points", share=0.05), Shift("-20 points", share=0.2))

LARGEST = (UP[-1], FAILING[-1], SUCCEEDING[-1])


def shifts_of(signal: SignalId, bounded: bool) -> tuple[Shift, ...]:
    """The harms that this signal is tried with, the smallest of each direction first."""
    if signal.over:
        return FAILING
    if bounded:
        return SUCCEEDING
    return (UP if signal.harm != "down" else ()) + (DROP if signal.harm != "up" else ())


def with_harm(
    signal: SignalId, series: Mapping[SeriesKey, Series], change: Change, shift: Shift
) -> dict[SeriesKey, Series]:
    """The series of a signal with the harm in those that are harmed: copies, in a store of their own."""
    samples = Samples()
    harmed = shifted(signal, series, change, shift, samples)
    return {key: harmed[key] if key in harmed else _copied(one, samples) for key, one in series.items()}


def shifted(
    signal: SignalId, series: Mapping[SeriesKey, Series], change: Change, shift: Shift, samples: Samples | None = None
) -> dict[SeriesKey, Series]:
    """The series of a signal (or the errors of a ratio) that are harmed, with the harm in them, in this store."""
    samples = Samples() if samples is None else samples
    named = [key for key in series if key.instance in change.instances]
    found: dict[SeriesKey, Series] = {}
    for key in named or series:
        if signal.over and key.metric != signal.metric:
            continue
        one = series[key]
        over = _requests(signal, series, key) if signal.over else one
        if over is None:
            continue
        # A counter of errors may stand still; the requests tell when samples are taken.
        start = _onset(over, change.time)
        times, values = one.after(start)
        if signal.over:
            times, values = _failing(times, values, *over.after(start), shift.share)
        elif shift.share:
            top = 1.0 if float(one.values.max(initial=0.0)) <= 1.0 else 100.0
            values = np.maximum(values - shift.share * top, 0.0)
        else:
            values = values * shift.factor
        found[key] = _spliced(one, start, times, values, samples)
    return found


def _onset(series: Series, moment: int) -> int:
    """The time (Unix ms) after which the harm is seen."""
    after = series.times_after(moment)
    if len(after) >= ONSET_AFTER:
        return int(after[ONSET_AFTER - 1]) - 1
    return moment + (ONSET_AFTER - 1) * max(period_of([series], moment), 1)


def _requests(signal: SignalId, series: Mapping[SeriesKey, Series], errors: SeriesKey) -> Series | None:
    """The requests that these errors are a part of: of the same instance, and the same attributes where there are."""
    mine = [key for key in series if key.metric == signal.over and _member(key) == _member(errors)]
    best = min(mine, key=lambda key: (key.attributes != errors.attributes, key), default=None)
    return None if best is None else series[best]


def _member(key: SeriesKey) -> tuple[str, str]:
    return key.version, key.instance


def _failing(times: Int64, errors: Float64, over: Int64, requests: Float64, share: float) -> tuple[Int64, Float64]:
    """Errors at the times of the requests, with `share` of these failing besides, whole ones."""
    before = np.zeros(len(over))
    found = np.searchsorted(times, over)
    here = (found < len(times)) & (times[np.minimum(found, len(times) - 1)] == over) if len(times) else found < 0
    before[here] = errors[found[here]]
    return over, before + np.diff(np.floor(np.cumsum(share * requests)), prepend=0.0)


def _spliced(one: Series, start: int, times: Int64, values: Float64, samples: Samples) -> Series:
    """The series up to `start`, followed by these samples, a counter's as its increases."""
    kept = int(np.searchsorted(one.times, start, side="right"))
    first = max(0, kept - WHOLE)
    if one.grows:
        values = np.cumsum(values) + (float(one.values[kept - 1]) if kept else 0.0)
    whole = np.concatenate([one.times[first:kept], times]), np.concatenate([one.values[first:kept], values])
    return _made(one, *whole, samples)


def _copied(one: Series, samples: Samples) -> Series:
    return _made(one, one.times, one.values, samples)


def _made(like: Series, times: Int64, values: Float64, samples: Samples) -> Series:
    made = Series(like.key, samples)
    made.extend(times, values)
    made.born = min(like.born, made.born)
    return made

"""At which pace series came up to a moment, of very many in one compiled call, as the start of a watch asks."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from stream.columns import Int64
from stream.samples import NEVER, Samples
from stream.series import Series

#: Steps looked at of each series.
STEPS = 60


def usual_steps(signals: Sequence[Sequence[Series]], moment: int) -> Int64:
    """The median step in ms (of two the smaller) between the last samples of each signal's series up to `moment`.

    int64[signals]; 0 where fewer than two samples of any series tell.
    """
    stores = {id(one.samples): one.samples for series in signals for one in series}
    if len(stores) > 1:
        # Each series may have a store of its own.
        return np.array([_of_several(series, moment) for series in signals], np.int64)
    store = next(iter(stores.values()), _NONE)
    rows = np.array([one.row for series in signals for one in series], np.int64)
    ends = np.cumsum([len(series) for series in signals], dtype=np.int64)
    out = np.zeros(len(signals), np.int64)
    _usual_steps(store.facts, store.times, rows, ends, moment, out)
    return out


def last_before(series: Sequence[Series], moment: int) -> Int64:
    """When the last sample of each series up to `moment` came, int64[series]; `NEVER` where there is none."""
    out = np.full(len(series), NEVER, np.int64)
    stores = {id(one.samples): one.samples for one in series}
    for name, store in stores.items():
        mine = [place for place, one in enumerate(series) if id(one.samples) == name]
        rows = np.array([series[place].row for place in mine], np.int64)
        out[mine] = _last_before(store.facts, store.times, rows, moment)
    return out


_NONE = Samples()


def _of_several(series: Sequence[Series], moment: int) -> int:
    steps = [np.diff(one.times[: np.searchsorted(one.times, moment, side="right")][-STEPS:]) for one in series]
    together = np.concatenate([np.empty(0, np.int64), *steps])
    return int(np.sort(together)[(len(together) - 1) // 2]) if len(together) else 0


@numba.njit(cache=True, nogil=True)
def _usual_steps(facts, times, rows, ends, moment, out):  # type: ignore[no-untyped-def]
    most, begin = 0, 0
    for end in ends:
        most = max(most, end - begin)
        begin = end
    steps = np.empty(most * STEPS, np.int64)
    begin = 0
    for signal in range(len(ends)):
        count = 0
        for i in range(begin, ends[signal]):
            start, length = facts[rows[i], 0], facts[rows[i], 1]
            stop = start + np.searchsorted(times[start : start + length], moment, side="right")
            for at in range(max(start, stop - STEPS) + 1, stop):
                steps[count] = times[at] - times[at - 1]
                count += 1
        begin = ends[signal]
        if count:
            out[signal] = np.sort(steps[:count])[(count - 1) // 2]


@numba.njit(cache=True, nogil=True)
def _last_before(facts, times, rows, moment):  # type: ignore[no-untyped-def]
    out = np.full(len(rows), NEVER, np.int64)
    for i in range(len(rows)):
        start, length = facts[rows[i], 0], facts[rows[i], 1]
        at = np.searchsorted(times[start : start + length], moment, side="right")
        if at:
            out[i] = times[start + at - 1]
    return out

"""Counters that say when they began: a restart is a sample of zero.

A counter that is smaller than before was started again. One that was started again and has already come further than
before does not look like it; but its samples say since when they count, and at that time it was zero. That sample is
put in where a counter is seen to begin anew. It says nothing that is not so, and the same however often it comes, so
that neither the order of samples nor a repeat of them changes anything.
"""

from __future__ import annotations

import numba
import numpy as np

from deploy.times import EARLIEST_MS
from stream.columns import Columns, Float64, Int32, Int64
from stream.series_ids import SeriesIds


def columns_of(ids: SeriesIds, series: Int32, times: Int64, values: Float64, starts: Int64) -> Columns:
    """Columns of samples of the registry's series, each array of the same length.

    `series` are numbers of the registry; samples of those below zero are left out. `starts` are Unix ms since when a
    counter counts, 0 where the sample is none of a counter or nobody said.
    """
    where = np.empty(len(series), np.int64)
    restarted = where[: _restarts(series, times, starts, ids.begun, EARLIEST_MS, where)]
    if len(restarted):
        series = np.concatenate([series[restarted], series])
        times = np.concatenate([starts[restarted], times])
        values = np.concatenate([np.zeros(len(restarted)), values])
    if len(series) and series.min() < 0:
        wanted = series >= 0
        series, times, values = series[wanted], times[wanted], values[wanted]
    return Columns(keys=ids.keys, series=series, times=times, values=values)


@numba.njit(cache=True, nogil=True)
def _restarts(series, times, starts, begun, earliest, where):  # type: ignore[no-untyped-def]
    """Write into `where` which samples are the first after a restart, and take note; returns how many."""
    count = 0
    for i in range(len(series)):
        number, start = series[i], starts[i]
        if number < 0 or start < earliest or start > times[i]:
            continue
        # An exporter that works out its start anew each time is a little off: nothing begins before it was last seen.
        if start > begun[number, 0] and start >= begun[number, 1]:
            # One that begins with its own sample says that it does not know.
            if begun[number, 0] > 0 and start < times[i]:
                where[count] = i
                count += 1
            begun[number, 0] = start
        begun[number, 1] = max(begun[number, 1], times[i])
    return count

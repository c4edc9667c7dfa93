"""Collecting: which looks of a signal are complete, when each was, and what its members said at it.

A look is complete when every member that is still reporting has come to it, or when time has moved past it. Compiled,
all series of a signal in one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np

from stream.columns import Float64, Int64
from stream.samples import ALWAYS, Samples
from stream.signals import GIVEN_UP, Line

#: Of a series: its row in the store of samples, its member, whether it is below the line of a ratio, whether it counts,
#: whether it only ever grows; whether it was heard of, and time and look of its last sample that was taken.
_ROW, _MEMBER, _BELOW, _COUNTED, _GROWS, _KNOWN, _TIME, _LOOK = range(8)


class Collected(NamedTuple):
    """Looks that are complete: `closings` int64[n] is when each was, `whole` float64[n] what the signal said.

    `values` float64[members, n] is what each member said; of a ratio its events, and its `exposure` alike.
    """

    closings: Int64
    whole: Float64
    values: Float64
    exposure: Float64


class Collector:
    """The series of one signal, as `stream.rounds` takes them."""

    def __init__(self) -> None:
        #: int64[series, 8]; compiled code moves on what stands in it of samples taken.
        self.lines: Int64 = np.empty((0, 8), np.int64)
        self.samples: Samples | None = None

    def add(self, line: Line, member: int, *, below: bool = False) -> None:
        """Another series, of this member; `below` the line of a ratio. All must be rows of the same store."""
        self.add_all([(line, member, below)])

    def add_all(self, lines: Iterable[tuple[Line, int, bool]]) -> None:
        """Other series, each of a member, `below` the line of a ratio or not."""
        made = []
        for line, member, below in lines:
            series = line.series
            if self.samples is None:
                self.samples = series.samples
            elif self.samples is not series.samples:
                raise ValueError("series of one signal in two stores of samples")
            made.append((series.row, member, below, line.counted, series.grows, *line.begun))
        if made:
            self.lines = np.concatenate([self.lines, np.array(made, np.int64)])

    @property
    def members(self) -> int:
        """How many members there are."""
        return int(self.lines[:, _MEMBER].max()) + 1 if len(self.lines) else 0


@numba.njit(cache=True, nogil=True)
def collect(  # type: ignore[no-untyped-def]
    lines, ratio, series, times, values, moment, period, closed, closing, closings, whole, said, exposure
):
    """Take the looks after `closed`, as many as there is room for in `closings`; what is not known is left NaN.

    `closing` is when the last one was complete. `said` float64[members, n], and `exposure` alike of a ratio.
    """
    count, counts = len(closings), False
    for j in range(len(lines)):
        counts = counts or lines[j, _COUNTED] != 0
    said[:] = np.nan
    exposure[:] = np.nan
    whole[:] = np.nan
    _close(lines, series, times, moment, period, closed, closing, closings)
    row = np.empty(count)
    for j in range(len(lines)):
        line = lines[j]
        row[:] = np.nan
        _take(line, series, times, values, moment, period, closed + 1, closings, row)
        into = exposure[line[_MEMBER]] if line[_BELOW] else said[line[_MEMBER]]
        for i in range(count):
            if np.isnan(into[i]):
                into[i] = row[i]
            elif ratio and np.isfinite(row[i]):
                into[i] += row[i]
    for i in range(count):
        above, below, known = 0.0, 0.0, 0
        for m in range(len(said)):
            if ratio:
                # A counter of errors says nothing while there are none: where there were requests, that is zero.
                if np.isnan(exposure[m, i]):
                    said[m, i] = np.nan
                else:
                    said[m, i] = said[m, i] if np.isfinite(said[m, i]) else 0.0
                    above, below = above + said[m, i], below + exposure[m, i]
            elif np.isfinite(said[m, i]):
                above, known = above + said[m, i], known + 1
        if ratio and below > 0.0:
            whole[i] = above / below
        elif known:
            whole[i] = above if counts else above / known


@numba.njit(cache=True, nogil=True)
def _from(line, series, times):  # type: ignore[no-untyped-def]
    """Where the samples of a series begin that are not taken yet, and where they end."""
    start = series[line[_ROW], 0]
    end = start + series[line[_ROW], 1]
    at = start + np.searchsorted(times[start:end], line[_TIME], side="right")
    if at == start and line[_GROWS]:
        # The first sample of a counter has no increase yet.
        at = min(at + 1, end)
    return at, end


@numba.njit(cache=True, nogil=True)
def _number(known, look, before, time, moment, period):  # type: ignore[no-untyped-def]
    """The look that a sample falls into, counted from the one before it."""
    if known:
        return look + np.int64(np.rint((time - before) / period))
    # A series that is new: its first sample opens the look that it falls into.
    return max(1, -((moment - time) // period))


@numba.njit(cache=True, nogil=True)
def complete(lines, series, times, moment, period, watermark, horizon):  # type: ignore[no-untyped-def]
    """The last look of which nothing more is to come.

    Counted from the last sample of each series, so that a clock that runs a little slower than the period is never
    overdue.
    """
    furthest, awaited, heard = 0, ALWAYS, False
    for j in range(len(lines)):
        line = lines[j]
        known, time, look = line[_KNOWN], line[_TIME], line[_LOOK]
        at, end = _from(line, series, times)
        while at < end and times[at] <= horizon:
            look = _number(known, look, time, times[at], moment, period)
            known, time = 1, times[at]
            at += 1
        if not known:
            continue
        heard = True
        overdue = max(0, (watermark - time - period // 2 - 1) // period)
        furthest = max(furthest, look + overdue)
        if overdue < GIVEN_UP:
            awaited = min(awaited, look + overdue)
    if not heard:
        furthest = (watermark - moment - period // 2 - 1) // period
    return min(furthest, awaited)


@numba.njit(cache=True, nogil=True)
def _close(lines, series, times, moment, period, closed, closing, closings):  # type: ignore[no-untyped-def]
    """When each look was complete: the time of its last sample, or when none could be hoped for any more."""
    count = len(closings)
    latest, earliest = np.full(count, -1), np.full(count, ALWAYS)
    for j in range(len(lines)):
        line = lines[j]
        known, time, look = line[_KNOWN], line[_TIME], line[_LOOK]
        at, end = _from(line, series, times)
        number = _number(known, look, time, times[at], moment, period) if at < end else ALWAYS
        for i in range(count):
            here = closed + 1 + i
            while number < here:
                known, time, look = 1, times[at], number
                at += 1
                number = _number(known, look, time, times[at], moment, period) if at < end else ALWAYS
            expected = times[at] if number == here else time + (here - look) * period + period // 2 + 1
            # A series that lately reported is waited for, half a period at most.
            if known and here - look <= GIVEN_UP:
                latest[i] = max(latest[i], expected)
            if known or number == here:
                earliest[i] = min(earliest[i], expected)
    for i in range(count):
        if latest[i] >= 0:
            time = latest[i]
        elif earliest[i] < ALWAYS:
            # Where nothing is waited for, time alone closes the look.
            time = earliest[i]
        else:
            time = moment + (closed + 1 + i) * period + period // 2 + 1
        closing = max(closing, time)
        closings[i] = closing


@numba.njit(cache=True, nogil=True)
def _take(line, series, times, values, moment, period, first, closings, row):  # type: ignore[no-untyped-def]
    """Take what falls into the looks from `first` on, but for what came after its look had closed; it is done with."""
    known, time, look = line[_KNOWN], line[_TIME], line[_LOOK]
    at, end = _from(line, series, times)
    while at < end:
        number = _number(known, look, time, times[at], moment, period)
        if number >= first + len(closings):
            break
        known, time, look = 1, times[at], number
        place = number - first
        if place >= 0 and time <= closings[place]:
            value = values[at]
            if line[_GROWS] and value >= values[at - 1]:
                value -= values[at - 1]
            row[place] = row[place] + value if line[_COUNTED] and np.isfinite(row[place]) else value
        at += 1
    line[_KNOWN], line[_TIME], line[_LOOK] = known, time, look

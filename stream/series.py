"""Series as they came in: for each stream of numbers its samples in order of time, whatever order they arrived in."""

from __future__ import annotations

import numpy as np

from stream.columns import Columns, Float64, Int64, MetricKind, SeriesKey

_FIRST_CAPACITY = 32


class Series:
    """The recent samples of one series: strictly increasing times (Unix ms) and their values.

    A repeated time is dropped, the first value wins; a late sample is put where it belongs. What is no longer needed is
    dropped by `trim`, and dropped again should it come again.
    """

    __slots__ = ("_dropped", "_length", "_spans", "_times", "_values", "born", "key")

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        #: Time of the first sample that ever came.
        self.born = 2**62
        self._times: Int64 = np.empty(_FIRST_CAPACITY, np.int64)
        self._values: Float64 = np.empty(_FIRST_CAPACITY, np.float64)
        self._length = 0
        self._dropped = -(2**62)
        self._spans = (0, 0)

    @property
    def lateness(self) -> int:
        """How long, in ms, its samples lately waited for the end of their message: the longer of the last two."""
        return max(self._spans)

    def message(self, span: int) -> None:
        """Note that one message brought samples of `span` ms."""
        self._spans = (self._spans[1], span)

    @property
    def times(self) -> Int64:
        return self._times[: self._length]

    @property
    def values(self) -> Float64:
        return self._values[: self._length]

    @property
    def last_time(self) -> int:
        """Time of the newest sample; very long ago where there is none."""
        return int(self._times[self._length - 1]) if self._length else -(2**62)

    @property
    def nbytes(self) -> int:
        """Bytes of the samples, and of the room for those to come."""
        return self._times.nbytes + self._values.nbytes

    def extend(self, times: Int64, values: Float64) -> int:
        """Take in samples (int64[n], float64[n]) in any order; returns how many were new."""
        if len(times) > 1:
            # `unique` sorts, and names the first of equal times.
            times, first = np.unique(times, return_index=True)
            values = values[first]
        if len(times):
            self.born = min(self.born, int(times[0]))
            if times[0] <= self._dropped:
                kept = times > self._dropped
                times, values = times[kept], values[kept]
        if self._length and len(times) and times[0] <= self.last_time:
            return self._merge(times, values)
        self._reserve(len(times))
        end = self._length + len(times)
        self._times[self._length : end] = times
        self._values[self._length : end] = values
        self._length = end
        return len(times)

    def _merge(self, times: Int64, values: Float64) -> int:
        # Late samples are mostly a little late: what is older than the first of them stays where it is.
        start = int(np.searchsorted(self.times, times[0]))
        tail = self.times[start:]
        fresh = ~np.isin(times, tail)
        count = int(fresh.sum())
        if count:
            merged = np.concatenate([tail, times[fresh]])
            order = np.argsort(merged, kind="stable")
            told = np.concatenate([self.values[start:], values[fresh]])[order]
            self._reserve(count)
            self._length += count
            self._times[start : self._length] = merged[order]
            self._values[start : self._length] = told
        return count

    def _reserve(self, more: int) -> None:
        if self._length + more > len(self._times):
            self._move(0, max(_FIRST_CAPACITY, (self._length + more) * 5 // 4))

    def trim(self, before: int) -> None:
        """Drop the samples earlier than `before`, but for the last of them: a counter's next increase begins there."""
        start = int(np.searchsorted(self.times, before)) - 1
        if start > 0:
            self._dropped = int(self._times[start - 1])
            self._move(start, max(_FIRST_CAPACITY, (self._length - start) * 5 // 4))

    def _move(self, start: int, capacity: int) -> None:
        """Into arrays of another size, without the first samples."""
        for name in ("_times", "_values"):
            old = getattr(self, name)
            new = np.empty(capacity, old.dtype)
            new[: self._length - start] = old[start : self._length]
            setattr(self, name, new)
        self._length -= start

    def times_after(self, time: int) -> Int64:
        """Times of the samples later than `time`, without the first of a counter, which says no increase yet."""
        start = int(np.searchsorted(self.times, time, side="right"))
        return self._times[start + (start == 0 and self.key.kind is MetricKind.CUMULATIVE) : self._length]

    def after(self, time: int) -> tuple[Int64, Float64]:
        """Samples later than `time`, a counter's as its increases."""
        start = int(np.searchsorted(self.times, time, side="right"))
        return self._numbers(start, self._length)

    def between(self, time: int, until: int) -> tuple[Int64, Float64]:
        """Samples later than `time` and no later than `until`, a counter's as its increases."""
        start, end = np.searchsorted(self.times, (time, until), side="right")
        return self._numbers(int(start), int(end))

    def up_to(self, time: int, most: int) -> tuple[Int64, Float64]:
        """The last `most` samples at or before `time`, a counter's as its increases."""
        end = int(np.searchsorted(self.times, time, side="right"))
        return self._numbers(max(0, end - most), end)

    def _numbers(self, start: int, end: int) -> tuple[Int64, Float64]:
        times, values = self._times[start:end], self._values[start:end]
        if self.key.kind is not MetricKind.CUMULATIVE:
            return times, values
        if start == 0:
            # The first sample of a counter has no increase yet.
            times, before, values = times[1:], values[:-1], values[1:]
        else:
            before = self._values[start - 1 : end - 1]
        # A counter that fell was started again at zero: what it shows has all been counted since.
        return times, np.where(values >= before, values - before, values)


def split(columns: Columns) -> list[tuple[SeriesKey, Int64, Float64]]:
    """Cut columns into one block a series, in the order of the keys."""
    if not len(columns):
        return []
    if len(columns.keys) == 1:
        return [(columns.keys[0], columns.times, columns.values)]
    order = np.argsort(columns.series, kind="stable")
    present, starts = np.unique(columns.series[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    blocks = []
    for index, start, end in zip(present.tolist(), starts.tolist(), ends.tolist(), strict=True):
        chosen = order[start:end]
        blocks.append((columns.keys[index], columns.times[chosen], columns.values[chosen]))
    return blocks

"""Series as they came in: for each stream of numbers its samples in order of time, whatever order they arrived in."""

from __future__ import annotations

import numpy as np

from stream.columns import Float64, Int64, MetricKind, SeriesKey
from stream.samples import NEVER, Samples


class Series:
    """One series: a row of a store of samples, read as strictly increasing times (Unix ms) and their values.

    `times` and `values` are views that hold until a sample of any series of the store is taken in or dropped.
    """

    __slots__ = ("key", "row", "samples")

    def __init__(self, key: SeriesKey, samples: Samples | None = None, owner: int = 0, row: int | None = None) -> None:
        """The series of this row of a store (one of its own where none is given); by default a new one of `owner`."""
        if samples is None:
            samples = Samples()
            owner = samples.owner()
        self.key, self.samples = key, samples
        self.row = samples.add(owner) if row is None else row

    @property
    def grows(self) -> bool:
        """Whether it is a counter that only ever grows."""
        return self.key.kind is MetricKind.CUMULATIVE

    @property
    def born(self) -> int:
        """Time of the first sample that ever came; far ahead before it."""
        return self.samples.born(self.row)

    @born.setter
    def born(self, time: int) -> None:
        self.samples.set_born(self.row, time)

    @property
    def newest(self) -> int:
        """Time of the newest sample; very long ago where there is none."""
        times = self.times
        return int(times[-1]) if len(times) else NEVER

    @property
    def times(self) -> Int64:
        start, end = self.samples.bounds(self.row)
        return self.samples.times[start:end]

    @property
    def values(self) -> Float64:
        start, end = self.samples.bounds(self.row)
        return self.samples.values[start:end]

    def extend(self, times: Int64, values: Float64) -> int:
        """Take in samples (int64[n], float64[n]) in any order; returns how many were new."""
        return self.samples.take(np.full(len(times), self.row, np.int32), times, values)

    def trim(self, before: int) -> None:
        """Drop the samples earlier than `before`, but for the last of them: a counter's next increase begins there."""
        self.samples.trim(np.array([self.row]), np.array([before]))

    def times_after(self, time: int) -> Int64:
        """Times of the samples later than `time`, without the first of a counter, which says no increase yet."""
        times = self.times
        start = int(np.searchsorted(times, time, side="right"))
        return times[start + (start == 0 and self.key.kind is MetricKind.CUMULATIVE) :]

    def after(self, time: int) -> tuple[Int64, Float64]:
        """Samples later than `time`, a counter's as its increases."""
        start = int(np.searchsorted(self.times, time, side="right"))
        return self._numbers(start, None)

    def between(self, time: int, until: int) -> tuple[Int64, Float64]:
        """Samples later than `time` and no later than `until`, a counter's as its increases."""
        start, end = np.searchsorted(self.times, (time, until), side="right")
        return self._numbers(int(start), int(end))

    def up_to(self, time: int, most: int) -> tuple[Int64, Float64]:
        """The last `most` samples at or before `time`, a counter's as its increases."""
        end = int(np.searchsorted(self.times, time, side="right"))
        return self._numbers(max(0, end - most), end)

    def _numbers(self, start: int, end: int | None) -> tuple[Int64, Float64]:
        whole = self.values
        times, values = self.times[start:end], whole[start:end]
        if self.key.kind is not MetricKind.CUMULATIVE:
            return times, values
        if start == 0:
            # The first sample of a counter has no increase yet.
            times, before, values = times[1:], values[:-1], values[1:]
        else:
            before = whole[start - 1 : start - 1 + len(values)]
        # A counter that fell was started again at zero: what it shows has all been counted since.
        return times, np.where(values >= before, values - before, values)

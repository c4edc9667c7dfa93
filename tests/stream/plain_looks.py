"""Which looks of a signal are complete and what they say, read plainly: the reference for `stream/collect.py`."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import Float64, Int64
from stream.signals import GIVEN_UP, Line
from stream.whole import place


class Plan(msgspec.Struct, frozen=True):
    """The samples of one series that fall into some looks, before it is known when those looks close.

    `numbers` and `times` (int64[m]) are the looks and times of its samples, `values` (float64[m]) what they say.
    `expected` (int64[n]) is, for each look, when its sample came or when no more was to be hoped for, `awaited`
    (bool[n]) whether the look waits for it: a series that lately reported is waited for, half a period at most.
    """

    numbers: Int64
    times: Int64
    values: Float64
    expected: Int64
    awaited: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


class PlainLine(Line):
    """One series on the grid of a change: where its next sample falls, and which samples are not yet taken."""

    __slots__ = ()

    def _number(self, times: Int64) -> Int64:
        if not self._known:
            # A series that is new: its first sample opens the look that it falls into.
            first = -((self.moment - int(times[0])) // self.period)
            steps = np.rint(np.diff(times) / self.period).astype(np.int64)
            return max(1, first) + np.concatenate([[0], np.cumsum(steps)])
        steps = np.rint(np.diff(times, prepend=self._time) / self.period).astype(np.int64)
        return self._bin + np.cumsum(steps)

    def reach(self, watermark: int, horizon: int) -> tuple[int, int] | None:
        """The latest look that it has a sample for, and how many more were due by `watermark` and did not come.

        Counted from its own last sample, so that a clock that runs a little slower than the period is never overdue.
        Samples after `horizon` are not known yet. None before its first sample.
        """
        times = self.series.times_after(self._time)
        times = times[: int(np.searchsorted(times, horizon, side="right"))]
        if len(times):
            number, time = int(self._number(times)[-1]), int(times[-1])
        elif self._known:
            number, time = self._bin, self._time
        else:
            return None
        return number, max(0, (watermark - time - self.period // 2 - 1) // self.period)

    def plan(self, first: int, last: int) -> Plan:
        """Take what falls into the looks first..last; it is done with."""
        looks = np.arange(first, last + 1)
        times, values = self.series.after(self._time)
        count = 0
        numbers = np.empty(0, np.int64)
        if len(times):
            numbers = self._number(times)
            # Numbers never fall, so what is done with comes first.
            count = int(np.searchsorted(numbers, last, side="right"))
            numbers, times, values = numbers[:count], times[:count], values[:count]
        # The last sample before each look, its own first one among them.
        at = np.searchsorted(numbers, looks, side="left")
        seen = np.concatenate([[self._bin], numbers])[at]
        since = np.concatenate([[self._time], times[:count]])[at]
        known = (at > 0) | self._known
        expected = since + (looks - seen) * self.period + self.period // 2 + 1
        if count:
            here = np.flatnonzero(at < np.searchsorted(numbers, looks, side="right"))
            expected[here] = times[at[here]]
            awaited = known & (looks - seen <= GIVEN_UP)
            known[here] = True
            self._time, self._bin, self._known = int(times[-1]), int(numbers[-1]), True
        else:
            awaited = known & (looks - seen <= GIVEN_UP)
        return Plan(numbers, times[:count], values[:count], expected, awaited, known)

    def place(self, plan: Plan, first: int, closed: Int64) -> Float64:
        """float64[n]: the looks from `first` on, which closed at these times (int64[n]); NaN where nothing came."""
        out = np.full(len(closed), np.nan)
        if len(plan.numbers):
            places = plan.numbers - first
            inside = places >= 0
            # A sample that came after its look had closed came too late.
            inside[inside] = plan.times[inside] <= closed[places[inside]]
            place(out, places[inside], plan.values[inside], self.counted)
        return out

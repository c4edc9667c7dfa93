"""Which looks of a signal are complete and what they say, read plainly: the reference for `stream/collect.py`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import Float64, Int64, SeriesKey
from stream.series import Series
from stream.signals import GIVEN_UP, Line, Member
from stream.whole import first_known, known_where, place, total, whole


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


class Said(NamedTuple):
    """Looks that are complete: when each was, what the signal said, and of each member its values and its exposure."""

    closings: list[int]
    whole: Float64
    values: dict[Member, Float64]
    exposure: dict[Member, Float64]


class PlainCollector:
    """Line by line, and every look by itself."""

    def __init__(
        self, series: dict[SeriesKey, Series], looks: int, since: int, *, ratio: bool,
        moment: int, period: int, over: str = "x.requests",
    ) -> None:  # fmt: skip
        """`over` is what a ratio is divided by."""
        self.over = over
        self.lines = {key: PlainLine(one, moment, period) for key, one in series.items()}
        self.looks, self.closed, self.closing, self.ratio = looks, 0, since, ratio
        self.moment, self.period = moment, period

    def complete(self, watermark: int, horizon: int) -> int:
        furthest, awaited, heard = 0, 2**62, False
        for line in self.lines.values():
            reach = line.reach(watermark, horizon)
            if reach is not None:
                heard = True
                furthest = max(furthest, sum(reach))
                if reach[1] < GIVEN_UP:
                    awaited = min(awaited, sum(reach))
        if not heard:
            furthest = (watermark - self.moment - self.period // 2 - 1) // self.period
        return min(furthest, awaited, self.looks)

    def collect(self, watermark: int, horizon: int) -> Said | None:
        last = self.complete(watermark, horizon)
        if last <= self.closed:
            return None
        first, self.closed = self.closed + 1, last
        plans = {key: line.plan(first, last) for key, line in self.lines.items()}
        closings = []
        for i, look in enumerate(range(first, last + 1)):
            due = [int(plan.expected[i]) for plan in plans.values() if plan.awaited[i]]
            early = [int(plan.expected[i]) for plan in plans.values() if plan.known[i]]
            nominal = self.moment + look * self.period + self.period // 2 + 1
            self.closing = max(self.closing, max(due) if due else min(early, default=nominal))
            closings.append(self.closing)
        placed = {key: line.place(plans[key], first, np.array(closings)) for key, line in self.lines.items()}
        said: dict[Member, tuple[Float64, Float64]] = {}
        count = last - first + 1
        for member in dict.fromkeys((key.version, key.instance) for key in placed):
            mine = {key: row for key, row in placed.items() if (key.version, key.instance) == member}
            if self.ratio:
                exposure = total([row for key, row in mine.items() if key.metric == self.over], count)
                events = total([row for key, row in mine.items() if key.metric != self.over], count)
                said[member] = known_where(events, exposure), exposure
            else:
                said[member] = first_known(list(mine.values()), count), np.empty(0)
        counted = any(key.counted for key in placed)
        together = whole(list(said.values()), count, ratio=self.ratio, counted=counted)
        return Said(closings, together, *({member: one[i] for member, one in said.items()} for i in (0, 1)))

"""What signals say in the slots of their grids, read plainly: the reference for `stream/slots.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stream.columns import Float64, Int64, SeriesKey
from stream.series import Series
from stream.signals import GIVEN_UP, Member, SignalId
from stream.whole import first_known, known_where, place, total, whole


def numbered(times: Int64, last: int | None, number: int, period: int) -> Int64:
    """Slots of a lasting grid, counted in periods of the clock, of the samples of one series that come at `times`.

    Counted step by step from its last sample, in slot `number`, so that jitter at the edge of a slot makes no gap; a
    series that ticks slower or faster than the period is put back into its slot once it is half of one off.
    """
    if last is None:
        last, number = int(times[0]), int(times[0]) // period
    numbers = number + np.cumsum(np.rint(np.diff(times, prepend=last) / period).astype(np.int64))
    here = 0
    while True:
        off = times[here:] - numbers[here:] * period
        astray = np.flatnonzero((2 * off < -period) | (2 * off > 3 * period))
        if not len(astray):
            return np.asarray(np.maximum.accumulate(numbers))
        here += int(astray[0])
        numbers[here:] += int(times[here]) // period - int(numbers[here])


class PlainSlots:
    """One signal from slot `next` on."""

    def __init__(self, signal: SignalId, keys: Sequence[SeriesKey], period: int, begin: int, begun: int) -> None:
        self.signal, self.keys, self.period, self.next, self.begun = signal, keys, period, begin, begun
        #: Where each series stands: time and slot of its last sample that was learned.
        self.places: dict[SeriesKey, tuple[int, int]] = {}

    def take(self, series: Mapping[SeriesKey, Series], last: int, until: int = 2**62) -> tuple[Float64, int]:
        """The signal in the slots from the next to `last`, without that; and the samples of its busiest series.

        Nothing that was sampled after `until` is taken.
        """
        length, period, ratio = last - self.next, self.period, bool(self.signal.over)
        values: dict[Member, list[Float64]] = {}
        over: dict[Member, list[Float64]] = {}
        most, counts = 0, False
        # A series may be half a period ahead of its slot.
        bound = min(until, (last + 2) * period)
        for key in self.keys:
            after, number = self.places.get(key, (self.begun, None))
            times, said = series[key].between(after, bound)
            if not len(times):
                continue
            numbers = numbered(times, None if number is None else after, number or 0, period)
            count = int(np.searchsorted(numbers, last))
            if not count:
                continue
            self.places[key] = (int(times[count - 1]), int(numbers[count - 1]))
            counted = key.counted
            row = np.full(length, np.nan)
            place(row, numbers[:count] - self.next, said[:count], counted)
            most = max(most, count)
            counts = counts or counted
            side = over if ratio and key.metric != self.signal.metric else values
            side.setdefault((key.version, key.instance), []).append(row)
        if ratio:
            rows = []
            for member, exposed in over.items():
                exposure = total(exposed, length)
                rows.append((known_where(total(values.get(member, []), length), exposure), exposure))
        else:
            rows = [(first_known(of, length) if len(of) > 1 else of[0], np.empty(0)) for of in values.values()]
        return whole(rows, length, ratio=ratio, counted=counts), most

    def complete(self, last: int) -> int:
        """The slot before `last` up to which all series that still report have come, and one more."""
        numbers = [
            number for key, (_, number) in self.places.items() if not self.signal.over or key.metric == self.signal.over
        ]
        newest = max(numbers, default=last - 1)
        return min((number for number in numbers if number > newest - GIVEN_UP), default=newest) + 1

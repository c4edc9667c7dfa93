"""Slots: the signals of a service on lasting grids, counted in periods of the clock.

A signal is a row of facts and a row for each series that it is made of. `Slots.take` reads what the slots to come
hold out of the samples: compiled, all signals of a service in one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
import numba
import numpy as np

from stream.columns import Float64, Int64, MetricKind, SeriesKey
from stream.samples import ALWAYS, NEVER, Samples
from stream.series import Series
from stream.signals import GIVEN_UP, SignalId, rounded

#: Of a signal: its row where it is learned, its period in ms (0 while that is not known), the time up to which samples
#: are not looked at, the next slot to be learned, the last that had a sample, whether it is in a stretch that does not
#: count, how many chunks in a row were odd, whether it is a ratio, where its series begin and end; and the time before
#: which nobody need look for its period.
ROW, PERIOD, BEGUN, NEXT, FILLED, SHUT, ODD, RATIO, FIRST, END, YOUNG = range(11)
FACTS = 11
#: Of a series of a signal: its row in the store of samples, its member, whether it is below the line of a ratio,
#: whether it counts, whether it only ever grows; time and slot of its last sample that was learned.
SERIES, MEMBER, BELOW, COUNTED, GROWS, TIME, SLOT = range(7)
#: Steps that tell the period of a signal.
STEPS = 60


class Slots:
    """The signals of one service: `facts` int64[signals, 11]; `links` int64[series, 7], those of a signal together."""

    def __init__(
        self, signals: Mapping[SignalId, Sequence[SeriesKey]], series: Mapping[SeriesKey, Series],
        before: Slots | None = None,
    ) -> None:  # fmt: skip
        """What `before` knows of these signals and their series holds on."""
        self.signals = list(signals)
        self.number = {signal: number for number, signal in enumerate(self.signals)}
        self.facts = np.zeros((len(self.signals), FACTS), np.int64)
        self.facts[:, ROW] = -1
        self.facts[:, [BEGUN, FILLED, YOUNG]] = NEVER
        self.keys: list[Sequence[SeriesKey]] = []
        links: list[Int64] = []
        count = 0
        for number, (signal, keys) in enumerate(signals.items()):
            known = None if before is None else before.number.get(signal)
            places: dict[SeriesKey, tuple[int, int]] = {}
            if before is not None and known is not None:
                self.facts[number] = before.facts[known]
                places = before.places(known)
            fact = self.facts[number]
            fact[RATIO], fact[FIRST], fact[END] = bool(signal.over), count, count + len(keys)
            count += len(keys)
            members: dict[tuple[str, str], int] = {}
            made = np.empty((len(keys), 7), np.int64)
            for place, key in enumerate(keys):
                made[place] = (
                    series[key].row,
                    members.setdefault((key.version, key.instance), len(members)),
                    bool(signal.over) and key.metric != signal.metric,
                    key.counted,
                    key.kind is MetricKind.CUMULATIVE,
                    *places.get(key, (NEVER, 0)),
                )
            order = np.argsort(made[:, MEMBER], kind="stable")
            links.append(made[order])
            self.keys.append([keys[place] for place in order.tolist()])
        self.links = np.concatenate(links) if links else np.empty((0, 7), np.int64)

    @classmethod
    def of(cls, signals: Sequence[SignalId], facts: Int64, links: Int64, keys: Mapping[int, SeriesKey]) -> Slots:
        """The signals that these arrays tell of; `keys` by the row of their series."""
        made = cls({}, {})
        made.signals, made.facts, made.links = list(signals), facts, links
        made.number = {signal: number for number, signal in enumerate(signals)}
        if facts.shape != (len(signals), FACTS) or links.shape[1:] != (7,) or facts[-1:, END].sum() != len(links):
            raise ValueError(f"{len(signals)} signals, facts {list(facts.shape)}, links {list(links.shape)}")
        rows = links[:, SERIES].tolist()
        made.keys = [[keys[row] for row in rows[first:end]] for first, end in facts[:, FIRST : END + 1].tolist()]
        return made

    @cached_property
    def text(self) -> bytes:
        """The signals as bytes: they stay the same as long as this lives."""
        return msgspec.msgpack.encode(self.signals)

    def copy(self) -> Slots:
        """To go on to a moment that the other must not reach yet."""
        copy = Slots({}, {})
        copy.signals, copy.number, copy.keys = self.signals, self.number, self.keys
        copy.facts, copy.links = self.facts.copy(), self.links.copy()
        return copy

    def places(self, number: int) -> dict[SeriesKey, tuple[int, int]]:
        """Of the series of a signal that were learned from, the time and slot of the last sample."""
        first, end = self.facts[number, FIRST : END + 1].tolist()
        said = zip(self.keys[number], self.links[first:end, TIME : SLOT + 1].tolist(), strict=True)
        return {key: (time, slot) for key, (time, slot) in said if time != NEVER}

    def begin_anew(self, number: int, end: int) -> None:
        """Look for the period again, in what was sampled after `end`."""
        fact = self.facts[number]
        fact[PERIOD], fact[BEGUN], fact[FILLED], fact[SHUT], fact[ROW], fact[YOUNG] = 0, end, NEVER, 0, -1, NEVER
        self.links[fact[FIRST] : fact[END], TIME] = NEVER

    def to_begin(self, samples: Samples, until: int) -> list[int]:
        """The signals that may have a period by `until` and do not know it yet."""
        open_ = (self.facts[:, PERIOD] == 0) & (self.facts[:, YOUNG] <= until)
        if not open_.any():
            return []
        lengths = samples.lengths(self.links[:, SERIES]) - 1
        steps = np.add.reduceat(lengths, self.facts[:, FIRST])
        return np.flatnonzero(open_ & (steps >= STEPS)).tolist()

    def begin(self, numbers: Sequence[int], samples: Samples, until: int, lag: int) -> list[int]:
        """Find the periods of these signals by the first steps taken, `lag` periods before `until`.

        Returns those of which there were enough.
        """
        steps, last, born = _first_steps(
            self.facts, self.links, samples.facts, samples.times, np.array(numbers, np.int64), until
        )
        found = []
        for number, step, told, first in zip(numbers, steps.tolist(), last.tolist(), born.tolist(), strict=True):
            if step == NEVER:
                continue
            fact, period = self.facts[number], rounded(step)
            if told + lag * period > until:
                fact[YOUNG] = told + lag * period
                continue
            fact[PERIOD], fact[NEXT] = period, first // period - 1
            found.append(number)
        return found

    def take(
        self, samples: Samples, numbers: Int64, last: Int64, until: int = ALWAYS, *, complete: bool = False
    ) -> tuple[Int64, Int64, Float64, Int64]:
        """What these signals (int64[n]) say in the slots from the next to `last` (int64[n]), without that.

        Returns where what each says ends in slots int64[m] and values float64[m]; and of the busiest series of each its
        samples. Nothing that was sampled after `until` is taken; if `complete`, nothing of slots that a series which
        still reports has not come to.
        """
        room = int(np.maximum(last - self.facts[numbers, NEXT], 0).sum())
        slots, values = np.empty(room, np.int64), np.empty(room)
        ends, most = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
        _take(
            self.facts, self.links, samples.facts, samples.times, samples.values,
            numbers, last, until, complete, slots, values, ends, most,
        )  # fmt: skip
        filled = int(ends[-1]) if len(ends) else 0
        return ends, slots[:filled], values[:filled], most


def ready(facts: Int64, clock: int, hold: int, offset: int, chunk: int, lag: int) -> tuple[Int64, Int64]:
    """The signals of which a chunk is old enough, and where it ends (int64[n] each)."""
    ends = ends_of(facts, offset, chunk)
    periods = facts[:, PERIOD]
    old = (periods > 0) & ((ends + 2 + lag) * periods <= clock) & ((ends + 2) * periods <= hold)
    chosen = np.flatnonzero(old)
    return chosen, ends[chosen]


def ends_of(facts: Int64, offset: int, chunk: int) -> Int64:
    """Where the next chunk of each signal ends, int64[signals]."""
    following = facts[:, NEXT]
    found: Int64 = following + chunk - (following + offset) % chunk
    return found


@numba.njit(cache=True, nogil=True)
def _first_steps(facts, links, series, times, numbers, until):  # type: ignore[no-untyped-def]
    """Of each signal the median of its first steps up to `until` (of two the smaller), when the last of them ended, and
    its first sample; `NEVER` where the steps are too few."""
    medians, lasts, borns = np.full(len(numbers), NEVER), np.full(len(numbers), NEVER), np.full(len(numbers), NEVER)
    most = 0
    for number in numbers:
        most = max(most, facts[number, END] - facts[number, FIRST])
    taken, when = np.empty(most * STEPS, np.int64), np.empty(most * STEPS, np.int64)
    for j in range(len(numbers)):
        fact = facts[numbers[j]]
        count, born = 0, ALWAYS
        for k in range(fact[FIRST], fact[END]):
            start, length = series[links[k, SERIES], 0], series[links[k, SERIES], 1]
            mine = times[start : start + length]
            mine = mine[np.searchsorted(mine, fact[BEGUN], side="right") :]
            mine = mine[: min(np.searchsorted(mine, until, side="right"), STEPS + 1)]
            if len(mine):
                born = min(born, mine[0])
            for i in range(1, len(mine)):
                taken[count], when[count] = mine[i] - mine[i - 1], mine[i]
                count += 1
        if count < STEPS:
            continue
        last = np.sort(when[:count])[STEPS - 1]
        # Of steps that end at the same moment the shorter ones come first.
        at_last = np.sort(taken[:count][when[:count] == last])
        early = taken[:count][when[:count] < last]
        chosen = np.concatenate((early, at_last[: STEPS - len(early)]))
        medians[j], lasts[j], borns[j] = np.sort(chosen)[(STEPS - 1) // 2], last, born
    return medians, lasts, borns


@numba.njit(cache=True, nogil=True)
def _take(  # type: ignore[no-untyped-def]
    facts, links, series, times, values, numbers, last, until, complete, slots, said, ends, most
):
    filled, longest = 0, 0
    for j in range(len(numbers)):
        longest = max(longest, last[j] - facts[numbers[j], NEXT])
    room, counted = np.empty((5, longest)), np.empty(longest, np.int64)
    for j in range(len(numbers)):
        fact = facts[numbers[j]]
        begin, period = fact[NEXT], fact[PERIOD]
        length = max(last[j] - begin, 0)
        # A series may be half a period ahead of its slot.
        bound = min(until, (last[j] + 2) * period)
        known, whole, below = counted[:length], room[0, :length], room[1, :length]
        one, other, row = room[2, :length], room[3, :length], room[4, :length]
        room[:, :length] = np.nan
        known[:] = 0
        busiest, counts, members = 0, False, 0
        member, heard = -1, False
        for k in range(fact[FIRST], fact[END]):
            link = links[k]
            if link[MEMBER] != member:
                if heard:
                    members += 1
                    _join(fact[RATIO], one, other, whole, below, known)
                one[:] = np.nan
                other[:] = np.nan
                member, heard = link[MEMBER], False
            count = _place(link, fact[BEGUN], begin, last[j], period, bound, series, times, values, row)
            if not count:
                continue
            busiest = max(busiest, count)
            counts = counts or link[COUNTED] != 0
            if not fact[RATIO]:
                heard = True
                for i in range(length):
                    if np.isnan(one[i]):
                        one[i] = row[i]
            elif link[BELOW]:
                heard = True
                _add(other, row)
            else:
                _add(one, row)
            row[:] = np.nan
        if heard:
            members += 1
            _join(fact[RATIO], one, other, whole, below, known)
        stop = length
        if complete:
            stop = min(max(_complete(fact, links, last[j]) - begin, 0), length)
        for i in range(stop):
            value = whole[i]
            if fact[RATIO]:
                value = value / below[i] if below[i] > 0.0 else np.nan
            elif members > 1 and not counts:
                value = value / known[i] if known[i] else np.nan
            if np.isfinite(value):
                slots[filled], said[filled] = begin + i, value
                filled += 1
        ends[j], most[j] = filled, busiest


@numba.njit(cache=True, nogil=True)
def _join(ratio, one, other, whole, below, known):  # type: ignore[no-untyped-def]
    """Add a member to the whole: of a ratio what it counted where it is known of how many."""
    for i in range(len(whole)):
        if ratio:
            if np.isfinite(other[i]):
                above = one[i] if np.isfinite(one[i]) else 0.0
                whole[i] = above if np.isnan(whole[i]) else whole[i] + above
                below[i] = other[i] if np.isnan(below[i]) else below[i] + other[i]
        elif np.isfinite(one[i]):
            whole[i] = one[i] if np.isnan(whole[i]) else whole[i] + one[i]
            known[i] += 1


@numba.njit(cache=True, nogil=True)
def _add(into, row):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        if np.isfinite(row[i]):
            into[i] = row[i] if np.isnan(into[i]) else into[i] + row[i]


@numba.njit(cache=True, nogil=True)
def _place(link, begun, begin, last, period, bound, series, times, values, row):  # type: ignore[no-untyped-def]
    """Put the samples of one series up to the time `bound` to their slots before `last`; returns how many.

    Slots are counted step by step from its last sample, so that jitter at the edge of a slot makes no gap; a series
    that ticks slower or faster than the period is put back into its slot once it is half of one off.
    """
    start, end = series[link[SERIES], 0], series[link[SERIES], 0] + series[link[SERIES], 1]
    after, slot, told = link[TIME], link[SLOT], link[TIME] != NEVER
    if not told:
        after = begun
    at = start + np.searchsorted(times[start:end], after, side="right")
    if link[GROWS] and at == start:
        # The first sample of a counter has no increase yet.
        at += 1
    count, placed, furthest = 0, NEVER, NEVER
    for i in range(at, end):
        time = times[i]
        if time > bound:
            break
        if told:
            slot += np.int64(np.rint((time - after) / period))
            off = time - slot * period
            if 2 * off < -period or 2 * off > 3 * period:
                slot = time // period
        else:
            slot, told = time // period, True
        furthest = max(furthest, slot)
        if furthest >= last:
            break
        value = values[i]
        if link[GROWS] and value >= values[i - 1]:
            # A counter that fell was started again at zero: what it shows has all been counted since.
            value -= values[i - 1]
        if furthest >= begin:
            here = furthest - begin
            row[here] = row[here] + value if link[COUNTED] and np.isfinite(row[here]) else value
        after, placed = time, furthest
        count += 1
    if count:
        link[TIME], link[SLOT] = after, placed
    return count


@numba.njit(cache=True, nogil=True)
def _complete(fact, links, last):  # type: ignore[no-untyped-def]
    """The slot before `last` up to which all series that still report have come, and one more."""
    newest = NEVER
    for k in range(fact[FIRST], fact[END]):
        if links[k, TIME] != NEVER and (links[k, BELOW] or not fact[RATIO]):
            newest = max(newest, links[k, SLOT])
    if newest == NEVER:
        return last
    least = newest
    for k in range(fact[FIRST], fact[END]):
        told = links[k, TIME] != NEVER and (links[k, BELOW] or not fact[RATIO])
        if told and links[k, SLOT] > newest - GIVEN_UP:
            least = min(least, links[k, SLOT])
    return least + 1

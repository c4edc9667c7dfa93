"""A round: all signals of a watch take the looks that are complete, in one compiled call.

Collecting, the looks at the own past, and the comparison of new with old are compiled for all of them together, and
most signals have nothing new to say. Only those that have are asked one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numba
import numpy as np

from detectors import beside_rows, past_rows
from detectors.beside_rows import OUT, BesideRows, compare_row
from detectors.past_rows import PastRows, take_row
from stream.collect import Collected, collect, complete
from stream.columns import Float64, Int64
from stream.samples import Samples

if TYPE_CHECKING:
    from stream.signal_watch import Look, SignalWatch

#: Of a signal: where its series begin and end among those of all; whether it is a ratio; its period; looks that there
#: will be, that were taken, and when the last of them was complete; members; whether what they say is kept until
#: something new is heard of, whether every look of it is asked for; whether its silence is judged, how many looks it
#: has missed in a row, and before this round; where the numbers of its new members begin, those of its old ones, and
#: where these end.
(
    _FIRST, _END, _RATIO, _PERIOD, _LOOKS, _CLOSED, _CLOSING, _MEMBERS, _KEPT, _ASKED, _SILENCE, _EMPTY, _BEFORE, _NEW,
    _OLD, _OLD_END,
) = range(16)  # fmt: skip
_FACTS = 16
#: Looks that a signal must miss in a row before its silence is judged.
SILENT = 3
#: Looks for which there is room at first.
_ROOM = 32
_NO_SAMPLES = Samples()
_HAS_PAST, _COMPARED = past_rows.READY, beside_rows.READY
_BESIDE, _AWAY = beside_rows.LOG_P, beside_rows.AWAY_LOG_P


class Rounds:
    """The signals of one watch, side by side; more may be added, and `renew` is told when one of them has changed."""

    def __init__(self, moment: int) -> None:
        """`moment` is that of the change, from which looks are counted."""
        self._moment = moment
        self._watches: list[SignalWatch] = []
        self._facts: Int64 = np.empty((0, _FACTS), np.int64)
        self._lines: Int64 = np.empty((0, 8), np.int64)
        self._past: PastRows = past_rows.side_by_side(())
        self._beside: BesideRows = beside_rows.side_by_side(())
        self._sides: Int64 = np.empty(0, np.int64)
        self._wholes: Float64 = np.empty((0, _ROOM))
        self._closings: Int64 = np.empty((0, _ROOM), np.int64)
        self._samples: Samples | None = None
        self._stale = False
        #: What members said of which the comparison waits for something new: of each round where the signals begin,
        #: how many looks there were of each, and the values; and from which round on each signal has not read it.
        self._kept: list[tuple[Int64, Int64, Int64, Float64]] = []
        self._unread: list[int] = []
        self._dropped = 0

    def add(self, watch: SignalWatch) -> int:
        """The place of another signal."""
        self._watches.append(watch)
        self._unread.append(self._dropped + len(self._kept))
        self._stale = True
        return len(self._watches) - 1

    def renew(self) -> None:
        """Series, or what is asked for of a signal, are others than before."""
        self._stale = True

    def closed(self, place: int) -> int:
        """The last look of a signal that was taken."""
        return int(self._facts[place, _CLOSED]) if place < len(self._facts) else 0

    def taken(self, place: int) -> tuple[Float64, Int64]:
        """What a signal said at the looks taken, and when each was complete; views."""
        count = self.closed(place)
        if not count:
            return np.empty(0), np.empty(0, np.int64)
        return self._wholes[place, :count], self._closings[place, :count]

    def take(self, watermark: int, horizon: int = 2**62) -> Iterator[tuple[int, Look]]:
        """Every look that is complete now; yields what is news, with the place of its signal, in their order.

        Time has come to `watermark`; what was sampled after `horizon` is not known yet.
        """
        if self._stale:
            self._renew()
        store = self._samples or _NO_SAMPLES
        grown = store.facts, store.times, store.values
        count = len(self._watches)
        starts, places = np.empty(count + 1, np.int64), np.empty(count, np.int64)
        total, most, said_room, kept_room = _due(
            self._facts, self._lines, grown[0], grown[1], self._moment, watermark, horizon, starts, places
        )
        if not total:
            return
        if most > self._wholes.shape[1]:
            self._widen(most)
        said, exposure, kept = np.empty(said_room), np.empty(said_room), np.empty(kept_room)
        log_p, beside, news = np.empty(total), np.empty((OUT, total)), np.empty(count, np.bool_)
        _take(
            self._facts, self._lines, *grown, self._moment, starts, places, self._past, self._beside, self._sides,
            self._wholes, self._closings, said, exposure, kept, log_p, beside, news,
        )  # fmt: skip
        if kept_room:
            self._kept.append((starts, places, self._facts[:, _MEMBERS].copy(), kept))
        for place in np.flatnonzero(news).tolist():
            watch, fact = self._watches[place], self._facts[place]
            begin, end, taken = int(starts[place]), int(starts[place + 1]), int(fact[_CLOSED])
            first, members = taken - (end - begin), int(fact[_MEMBERS])
            room = slice(int(places[place]), int(places[place]) + members * (end - begin))
            found = Collected(
                self._closings[place, first:taken],
                self._wholes[place, first:taken],
                (kept if fact[_KEPT] else said)[room].reshape(members, -1),
                exposure[room].reshape(members, -1) if fact[_RATIO] else np.empty((0, end - begin)),
            )
            past = log_p[begin:end] if self._past.tables[place, _HAS_PAST] else None
            compared = beside[:, begin:end] if self._beside.tables[place, _COMPARED] else None
            for look in watch.hear(first + 1, found, past, compared, int(fact[_BEFORE])):
                yield place, look
            fact[_ASKED] = watch.asks

    def kept(self, place: int) -> list[Float64]:
        """What was kept of a signal and not read yet, float64[members, looks] of each round."""
        found = []
        for starts, places, members, values in self._kept[self._unread[place] - self._dropped :]:
            if place < len(places) and (count := int(starts[place + 1] - starts[place])):
                room = slice(int(places[place]), int(places[place]) + int(members[place]) * count)
                found.append(values[room].reshape(-1, count))
        self._unread[place] = self._dropped + len(self._kept)
        return found

    def _renew(self) -> None:
        """Put everything side by side again."""
        self._stale = False
        known, watches = len(self._facts), self._watches
        facts = np.zeros((len(watches), _FACTS), np.int64)
        facts[:known] = self._facts
        collectors = [watch.collector for watch in watches]
        self._samples = next((one.samples for one in collectors if one.samples is not None), None)
        if any(one.samples not in (None, self._samples) for one in collectors):
            raise ValueError("signals of one watch in two stores of samples")
        self._lines = np.concatenate([np.empty((0, 8), np.int64), *(one.lines for one in collectors)])
        end, sides = 0, 0
        parts: list[list[int]] = []
        for place, (watch, collector) in enumerate(zip(watches, collectors, strict=True)):
            fact, first = facts[place], end
            end += len(collector.lines)
            collector.lines = self._lines[first:end]
            if place >= known:
                fact[_CLOSING] = watch.since
            elif fact[_KEPT] and not watch.keeps:
                watch.know_old(self.kept(place))
            fact[[_FIRST, _END, _RATIO, _PERIOD, _LOOKS, _MEMBERS]] = (
                first, end, bool(watch.signal.over), watch.period, watch.looks, collector.members
            )  # fmt: skip
            fact[[_KEPT, _ASKED, _SILENCE]] = watch.keeps, watch.asks, watch.silence_ready
            new, old = watch.sides
            fact[[_NEW, _OLD, _OLD_END]] = sides, sides + len(new), sides + len(new) + len(old)
            sides += len(new) + len(old)
            parts += [new, old]
        self._sides = np.array([number for part in parts for number in part], np.int64)
        self._beside = beside_rows.side_by_side([watch.comparison for watch in watches])
        if len(watches) > known:
            self._past = past_rows.side_by_side([watch.own_past for watch in watches])
            more = ((0, len(watches) - known), (0, 0))
            self._wholes, self._closings = np.pad(self._wholes, more), np.pad(self._closings, more)
        self._facts = facts
        read = min((self._unread[place] for place in np.flatnonzero(facts[:, _KEPT]).tolist()), default=None)
        read = self._dropped + len(self._kept) if read is None else read
        del self._kept[: read - self._dropped]
        self._dropped = read

    def _widen(self, looks: int) -> None:
        more = ((0, 0), (0, max(looks, 2 * self._wholes.shape[1]) - self._wholes.shape[1]))
        self._wholes, self._closings = np.pad(self._wholes, more), np.pad(self._closings, more)


@numba.njit(cache=True, nogil=True)
def _due(facts, lines, series, times, moment, watermark, horizon, starts, places):  # type: ignore[no-untyped-def]
    """How many looks of each signal are complete, and where what is said at them has its place.

    Returns their number, the most looks of any signal, and the room for what members said of signals that are not kept,
    and of those that are.
    """
    total, most, said, kept = 0, 0, 0, 0
    for s in range(len(facts)):
        fact = facts[s]
        mine = lines[fact[_FIRST] : fact[_END]]
        last = min(complete(mine, series, times, moment, fact[_PERIOD], watermark, horizon), fact[_LOOKS])
        count = max(last - fact[_CLOSED], 0)
        starts[s] = total
        total += count
        most = max(most, fact[_CLOSED] + count)
        if fact[_KEPT]:
            places[s] = kept
            kept += count * fact[_MEMBERS]
        else:
            places[s] = said
            said += count * fact[_MEMBERS]
    starts[len(facts)] = total
    return total, most, said, kept


@numba.njit(cache=True, nogil=True)
def _take(  # type: ignore[no-untyped-def]
    facts, lines, series, times, values, moment, starts, places, past, beside, sides, wholes, all_closings, said,
    exposure, kept, log_p, compared, news,
):  # fmt: skip
    """Take the looks that are due; `news` says which signals have anything to tell."""
    nothing = np.empty((0, 0))
    for s in range(len(facts)):
        fact = facts[s]
        count = starts[s + 1] - starts[s]
        news[s] = fact[_ASKED] != 0 and count > 0
        if not count:
            continue
        closed, members, at = fact[_CLOSED], fact[_MEMBERS], places[s]
        closings, whole = all_closings[s, closed : closed + count], wholes[s, closed : closed + count]
        room = members * count
        told = (kept if fact[_KEPT] else said)[at : at + room].reshape((members, count))
        below = exposure[at : at + room].reshape((members, count)) if fact[_RATIO] else nothing
        collect(
            lines[fact[_FIRST] : fact[_END]], fact[_RATIO] != 0, series, times, values, moment, fact[_PERIOD],
            closed, fact[_CLOSING], closings, whole, told, below,
        )  # fmt: skip
        fact[_CLOSED], fact[_CLOSING] = closed + count, closings[count - 1]
        if past.tables[s, _HAS_PAST]:
            before = past.state[s, 0]
            said_of_past = log_p[starts[s] : starts[s + 1]]
            take_row(past, s, whole, closed, said_of_past)
            news[s] = news[s] or said_of_past[count - 1] < before
        if beside.tables[s, _COMPARED]:
            out = compared[:, starts[s] : starts[s + 1]]
            before, before_away = beside.state[s, 0, 1], beside.state[s, 1, 1]
            compare_row(beside, s, told, sides[fact[_NEW] : fact[_OLD]], sides[fact[_OLD] : fact[_OLD_END]], out)
            news[s] = news[s] or out[_BESIDE, count - 1] < before or out[_AWAY, count - 1] < before_away
        empty = fact[_BEFORE] = fact[_EMPTY]
        for i in range(count):
            empty = 0 if np.isfinite(whole[i]) else empty + 1
            if fact[_SILENCE] and empty >= SILENT:
                news[s] = True
        fact[_EMPTY] = empty

"""Learning: what the signals of a service did, kept as rows of numbers instead of raw samples.

Each signal has a grid of its own period, counted in periods of the clock, and one row (`detectors.online_past`). The
row lags behind: only what is older than `LAG` periods goes into it, in whole chunks, and nothing later than a change
that is still being watched. So samples may be late and out of order, a change may be heard of after its telemetry, and
time in which a change was watched is learned from only when it is known how that ended. At the moment of a change the
rows are copied, and the copies are led on to it by the raw samples (`Learning.at`): what they say then is a function of
the samples up to that moment and of nothing else.

Samples are taken in batches of a chunk: all signals of a service in one call, never a call a point.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from deploy.policy import Guardrail
from detectors.online_gaps import OnlineGaps
from detectors.online_past import OnlinePast
from detectors.own_past import Calibration
from stream.columns import Float64, Int64, SeriesKey
from stream.series import Series
from stream.signals import GIVEN_UP, Member, SignalId, awaited_ratios, kind_of, numbered, signals_of, usual
from stream.whole import first_known, known_where, place, total, whole

#: Periods of a signal that a change may be heard of late. Samples may be as late.
LAG = 120
#: Looks before a change that stay raw: what a young signal is judged by, and lends to others.
HISTORY = 120
#: The same of what tells instances or versions apart, which are compared with each other. From 480 to 2,016 catches no
#: more (`python -m bench canary`); 4,032 does, of values in noise that lasts, and holds eight times the memory.
BESIDE = 480
#: Periods that are learned at once.
CHUNK = 64
#: Steps that tell the period of a signal.
_STEPS = 60
#: A chunk with so many times more or fewer samples than periods is odd; after so many the period is sought anew.
_ODD, _ODD_CHUNKS = 1.5, 4
#: Share of recent steps that must be like the new period.
_STEADY = 0.8
_NEVER, _ALWAYS = -(2**62), 2**62


class Stretch(NamedTuple):
    """A stretch of time in Unix ms that is nobody's past, (start, end]; `_ALWAYS` as an end where that is not known."""

    start: int
    end: int


class Watched(Protocol):
    """What the learning must know of the service."""

    name: str
    series: dict[SeriesKey, Series]


class Learned:
    """How far the learning of one signal has come."""

    __slots__ = ("begun", "filled", "keys", "next", "odd", "period", "places", "row", "shut", "signal")

    def __init__(self, signal: SignalId) -> None:
        self.signal = signal
        self.keys: Sequence[SeriesKey] = ()
        self.row = -1
        self.period = 0
        #: Samples up to this time are not looked at.
        self.begun = _NEVER
        #: The next slot to be learned, and the last that had a sample.
        self.next = 0
        self.filled: int | None = None
        #: Where each series stands: time and slot of its last sample that was learned.
        self.places: dict[SeriesKey, tuple[int, int]] = {}
        #: Whether the row is in a stretch that does not count.
        self.shut = False
        self.odd = 0

    def copy(self, row: int) -> Learned:
        copy = Learned(self.signal)
        copy.keys, copy.row, copy.period, copy.begun = self.keys, row, self.period, self.begun
        copy.next, copy.filled, copy.shut = self.next, self.filled, self.shut
        copy.places = dict(self.places)
        return copy

    def begin(self, series: Mapping[SeriesKey, Series], until: int, lag: int) -> bool:
        """Find the period by the first steps taken, `lag` periods before `until`; False while they are too few."""
        steps, ends, born = [np.empty(0, np.int64)], [np.empty(0, np.int64)], _ALWAYS
        for key in self.keys:
            times = series[key].times
            times = times[np.searchsorted(times, self.begun, side="right") :]
            times = times[: min(int(np.searchsorted(times, until, side="right")), _STEPS + 1)]
            if len(times):
                born = min(born, int(times[0]))
                steps.append(np.diff(times))
                ends.append(times[1:])
        taken, when = np.concatenate(steps), np.concatenate(ends)
        if len(taken) < _STEPS:
            return False
        order = np.lexsort((taken, when))[:_STEPS]
        period = usual(taken[order])
        if int(when[order[-1]]) + lag * period > until:
            return False
        self.period, self.next = period, born // period - 1
        return True

    def take(self, series: Mapping[SeriesKey, Series], last: int, until: int = _ALWAYS) -> tuple[Float64, int]:
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


class Own(NamedTuple):
    """What was learned of one signal up to a moment; `late` if the learning had gone past that before it was asked."""

    past: OnlinePast
    row: int
    period: int
    gaps: Float64
    late: bool

    @property
    def samples(self) -> int:
        """Samples behind it."""
        return 0 if self.late else self.past.seen(self.row)

    def calibration(
        self, *, watch: int, harm: str, least_effect: float | None, relative: bool
    ) -> Calibration:  # fmt: skip
        """As `OnlinePast.calibration`; not ready where it would know what came after the change."""
        if self.late:
            return Calibration(False, "heard of the change too late to know the time before it", 0, np.nan, np.nan)
        return self.past.calibration(self.row, watch=watch, harm=harm, least_effect=least_effect, relative=relative)


Past = Mapping[SignalId, Own]


class Store:
    """The rows of all signals of a partition."""

    def __init__(self) -> None:
        self.past = OnlinePast()
        self.gaps = OnlineGaps()
        self._used = 0
        self._free: list[int] = []

    @property
    def rows(self) -> int:
        """Rows in use."""
        return self._used - len(self._free)

    @property
    def row_bytes(self) -> int:
        """Bytes of state of one signal."""
        return self.past.row_bytes + self.gaps.row_bytes

    def add(self, kind: str) -> int:
        """An empty row for a signal of this kind."""
        row = self._free.pop() if self._free else self._used
        self._used = max(self._used, row + 1)
        self.past.set_kind(row, kind)
        self.gaps.reset(row)
        return row

    def drop(self, row: int) -> None:
        """A signal is no more."""
        if row >= 0:
            self._free.append(row)


class Learning:
    """The learning of one service."""

    def __init__(
        self, service: Watched, store: Store, guardrails: Sequence[Guardrail], history: int = HISTORY, named: int = 0
    ) -> None:
        """At least `history` looks stay raw of each series, and `named` of those that guardrails name."""
        self._service, self._store, self._guardrails = service, store, guardrails
        self._history, self._named = history, max(history, named)
        self._learned: dict[SignalId, Learned] = {}
        self._known = 0
        #: Before this time there is nothing to do.
        self.due = _NEVER
        # Services learn at different moments.
        self._offset = zlib.crc32(service.name.encode()) % CHUNK

    def learn_by(self, guardrails: Sequence[Guardrail], history: int, named: int) -> None:
        """Learn the signals that these guardrails make from now on; those that stay the same keep what they know."""
        self._guardrails, self._history, self._named = guardrails, history, max(history, named)
        self._known, self.due = 0, _NEVER

    def advance(self, clock: int, hold: int, bad: Collection[Stretch]) -> None:
        """Learn what is old enough at `clock`, nothing later than `hold`, without what is `bad`.

        Raw samples are kept from as many looks before that as a change is begun with.
        """
        self._refresh(clock)
        while jobs := [one for one in self._learned.values() if one.period and self._ready(one, clock, hold)]:
            self._feed(jobs, bad)
        self._trim()
        self.due = self._next_due(clock)

    def _next_due(self, clock: int) -> int:
        """When there will be something to learn."""
        paced = [one for one in self._learned.values() if one.period]
        due = min(((self._end(one) + 2 + LAG) * one.period for one in paced), default=clock)
        if due > clock:
            return due
        # Held up, or too young: look again after a chunk, or when there is half as much more.
        born = min((one.born for one in self._service.series.values()), default=clock)
        return clock + min((CHUNK * one.period for one in paced), default=(clock - born) // 2 + 1)

    def _end(self, learned: Learned) -> int:
        """Where the next chunk ends."""
        return learned.next + CHUNK - (learned.next + self._offset) % CHUNK

    def _ready(self, learned: Learned, clock: int, hold: int) -> bool:
        end = self._end(learned) + 2
        return (end + LAG) * learned.period <= clock and end * learned.period <= hold

    def _refresh(self, clock: int) -> None:
        """Know the signals that there are, and the periods of those that are old enough to tell."""
        series = self._service.series
        if self._known != len(series):
            self._known = len(series)
            found = self._signals(series)
            for signal in [signal for signal in self._learned if signal not in found]:
                self._store.drop(self._learned.pop(signal).row)
            for signal, keys in found.items():
                self._learned.setdefault(signal, Learned(signal)).keys = tuple(keys)
        for one in self._learned.values():
            if not one.period and one.begin(series, clock, LAG):
                one.row = self._store.add(kind_of(one.signal, one.keys))

    def _signals(self, keys: Iterable[SeriesKey]) -> dict[SignalId, list[SeriesKey]]:
        keys = list(keys)
        found = signals_of(keys, self._service.name, self._guardrails)
        # A counter of errors may show itself with the first error only. That there was none before is known by then.
        return found | awaited_ratios(keys, self._service.name, self._guardrails)

    def _feed(self, jobs: Sequence[Learned], bad: Collection[Stretch]) -> None:
        """One chunk of each."""
        begin = min(one.next * one.period for one in jobs)
        bad = [stretch for stretch in bad if stretch.end >= begin]
        taken: list[tuple[Learned, Int64, Float64]] = []
        for one in jobs:
            last = self._end(one)
            values, most = one.take(self._service.series, last)
            filled = np.flatnonzero(np.isfinite(values))
            taken.append((one, one.next + filled, values[filled]))
            one.next = last
            self._look_at_period(one, most, len(filled))
        _learn(self._store.past, self._store.gaps, taken, bad)
        for one in jobs:
            if not one.period:
                self._store.drop(one.row)
                one.row = -1

    def _look_at_period(self, one: Learned, most: int, filled: int) -> None:
        """A signal that comes much more or less often than it did for long begins anew."""
        odd = most > _ODD * CHUNK or 0 < _ODD * filled < CHUNK
        one.odd = one.odd + 1 if odd else 0
        if one.odd < _ODD_CHUNKS:
            return
        one.odd = 0
        end = one.next * one.period
        recent = [series.times for key in one.keys for series in (self._service.series[key],)]
        steps = [np.diff(times[: np.searchsorted(times, end)][-_STEPS:]) for times in recent]
        together = np.concatenate(steps) if steps else np.empty(0, np.int64)
        pace = usual(together) if len(together) else one.period
        # What comes at no pace at all has none to change to.
        steady = len(together) and np.mean(5 * np.abs(together - pace) <= pace) >= _STEADY
        if steady and abs(pace - one.period) * 5 > one.period:
            one.begun, one.period, one.filled, one.places, one.shut = end, 0, None, {}, False

    def _trim(self) -> None:
        """Drop the raw samples that nobody needs any more."""
        keep: dict[SeriesKey, int] = {}
        for one in self._learned.values():
            for key in one.keys:
                raw = self._named if one.signal.guardrail else self._history
                looks = max(raw, BESIDE if key.version or key.instance else 0) + 2
                # A period that is not known yet is sought from the beginning.
                start = (one.next - looks) * one.period if one.period else one.begun
                keep[key] = min(keep.get(key, _ALWAYS), start)
        for key, start in keep.items():
            self._service.series[key].trim(start)

    def at(self, moment: int, keys: Iterable[SeriesKey], bad: Collection[Stretch]) -> Past:
        """What was learned of the signals of these series up to `moment`, without what is `bad`."""
        series = self._service.series
        wanted = self._signals(key for key in keys if series[key].born <= moment)
        copies: list[Learned] = []
        taken: list[tuple[Learned, Int64, Float64]] = []
        past = self._store.past.fork([max(self._row(signal), 0) for signal in wanted])
        late: set[SignalId] = set()
        for row, (signal, known) in enumerate(wanted.items()):
            main = self._learned.get(signal)
            copy = Learned(signal) if main is None else main.copy(row)
            copy.row, copy.keys = row, tuple(known)
            copies.append(copy)
            if not copy.period:
                past.set_kind(row, kind_of(signal, known))
                if not copy.begin(series, moment, 0):
                    continue
            elif (copy.next + 2) * copy.period > moment + copy.period:
                late.add(signal)
                continue
            last = moment // copy.period + 2
            values, _ = copy.take(series, last, moment)
            filled = np.flatnonzero(np.isfinite(values[: copy.complete(last) - copy.next]))
            taken.append((copy, copy.next + filled, values[filled]))
        gaps = [self._store.gaps.copy(self._row(copy.signal)) for copy in copies]
        _learn(past, gaps, taken, bad)
        return {
            copy.signal: Own(past, copy.row, copy.period, gaps[copy.row].of(0), copy.signal in late)
            for copy in copies
            if copy.period
        }

    def _row(self, signal: SignalId) -> int:
        learned = self._learned.get(signal)
        return -1 if learned is None else learned.row


def _learn(
    past: OnlinePast,
    gaps: OnlineGaps | Sequence[OnlineGaps],
    taken: Sequence[tuple[Learned, Int64, Float64]],
    bad: Collection[Stretch],
) -> None:
    """Take the values of some slots of some signals into their rows: all in one call, but where some do not count."""
    plain: list[tuple[Learned, Int64, Float64]] = []
    for one, slots, values in taken:
        if len(slots):
            steps = np.diff(slots, prepend=slots[0] if one.filled is None else one.filled)
            steps = steps[one.filled is None :]
            if isinstance(gaps, OnlineGaps):
                gaps.update(one.row, steps)
            else:
                gaps[one.row].update(0, steps)
            one.filled = int(slots[-1])
        shut = _shut(slots, one.period, bad)
        if not one.shut and not shut.any():
            plain.append((one, slots, values))
            continue
        edges = [0, *(np.flatnonzero(np.diff(shut)) + 1).tolist(), len(slots)]
        for start, end in pairwise(edges):
            if start == end:
                continue
            now = bool(shut[start])
            if now and not one.shut:
                past.watch([one.row])
            elif one.shut and not now:
                past.forget([one.row])
            one.shut = now
            _update(past, [(one, slots[start:end], values[start:end])])
    if plain:
        _update(past, plain)


def _update(past: OnlinePast, taken: Sequence[tuple[Learned, Int64, Float64]]) -> None:
    past.update(
        np.repeat([one.row for one, _, _ in taken], [len(slots) for _, slots, _ in taken]),
        np.concatenate([slots * one.period for one, slots, _ in taken]),
        np.concatenate([values for _, _, values in taken]),
    )


def _shut(slots: Int64, period: int, bad: Collection[Stretch]) -> np.ndarray:
    """bool[n]: which slots reach into a stretch that does not count."""
    shut = np.zeros(len(slots), bool)
    for stretch in bad:
        shut |= ((slots + 1) * period > stretch.start) & (slots * period <= stretch.end)
    return shut

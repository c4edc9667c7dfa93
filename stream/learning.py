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

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.policy import Guardrail
from detectors.online_gaps import OnlineGaps
from detectors.online_past import OnlinePast
from detectors.own_past import Calibration
from stream.columns import Float64, Int64, SeriesKey
from stream.samples import ALWAYS, NEVER, Samples
from stream.series import Series
from stream.signals import SignalId, awaited_ratios, kind_of, signals_of, usual
from stream.slots import (
    BEGUN,
    END,
    FILLED,
    FIRST,
    NEXT,
    ODD,
    PERIOD,
    ROW,
    SERIES,
    SHUT,
    STEPS,
    YOUNG,
    Slots,
    ends_of,
    ready,
)
from stream.snapshots import part_of, under

#: Periods of a signal that a change may be heard of late. Samples may be as late.
LAG = 120
#: Looks before a change that stay raw: what a young signal is judged by, and lends to others.
HISTORY = 120
#: The same of what tells instances or versions apart, which are compared with each other. From 480 to 2,016 catches no
#: more (`python -m bench canary`); 4,032 does, of values in noise that lasts, and holds eight times the memory.
BESIDE = 480
#: Periods that are learned at once.
CHUNK = 64
#: A chunk with so many times more or fewer samples than periods is odd; after so many the period is sought anew.
_ODD, _ODD_CHUNKS = 1.5, 4
#: Share of recent steps that must be like the new period.
_STEADY = 0.8


class Stretch(NamedTuple):
    """A stretch of time in Unix ms that is nobody's past, (start, end]; `ALWAYS` as an end where that is not known."""

    start: int
    end: int


class Watched(Protocol):
    """What the learning must know of the service."""

    name: str
    samples: Samples

    @property
    def series(self) -> dict[SeriesKey, Series]: ...

    @property
    def rows(self) -> Int64: ...


class Learned(NamedTuple):
    """How far a service has come: of how many series it knows, when it has something to do again, and its signals.

    The signals in MessagePack, and the two arrays of `Slots`.
    """

    known: int
    due: int
    signals: bytes
    facts: Int64
    links: Int64


class Own(NamedTuple):
    """What was learned of one signal up to a moment; `late` if the learning had gone past that before it was asked."""

    past: OnlinePast
    spells: OnlineGaps
    row: int
    period: int
    late: bool

    @property
    def gaps(self) -> Float64:
        """As `OnlineGaps.of`, in periods."""
        return self.spells.of(self.row)

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

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The whole state as plain arrays; copies."""
        return under("past", self.past.arrays(self._used)) | {
            "gaps": self.gaps.array(self._used),
            "free": np.array(self._free, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Store:
        """The state that `arrays` gave. Raises ValueError where they do not fit."""
        store = cls()
        mine = part_of(arrays, "past")
        store.past, store.gaps = OnlinePast.from_arrays(mine), OnlineGaps.from_array(arrays["gaps"])
        store._used, store._free = len(arrays["gaps"]), np.asarray(arrays["free"], np.int64).tolist()
        if store._used != len(mine["words"]):
            raise ValueError(f"gaps of {store._used} signals, and pasts of {len(mine['words'])}")
        return store


class Learning:
    """The learning of one service."""

    def __init__(
        self, service: Watched, store: Store, guardrails: Sequence[Guardrail], history: int = HISTORY, named: int = 0
    ) -> None:
        """At least `history` looks stay raw of each series, and `named` of those that guardrails name."""
        self._service, self._store, self._guardrails = service, store, guardrails
        self._history, self._named = history, max(history, named)
        self._slots = Slots({}, {})
        self._resting: Learned | None = None
        #: The rows of the series that are learned from, and for each link of the slots which of them it is.
        self._rows: Int64 = np.empty(0, np.int64)
        self._of_link: Int64 = np.empty(0, np.int64)
        #: How many looks stay raw, by link.
        self._looks: Int64 = np.empty(0, np.int64)
        self._known = 0
        #: Before this time there is nothing to do.
        self.due = NEVER
        # Services learn at different moments.
        self._offset = zlib.crc32(service.name.encode()) % CHUNK

    def learn_by(self, guardrails: Sequence[Guardrail], history: int, named: int) -> None:
        """Learn the signals that these guardrails make from now on; those that stay the same keep what they know."""
        self._guardrails, self._history, self._named = guardrails, history, max(history, named)
        self._known, self.due = 0, NEVER

    @property
    def state(self) -> Learned:
        """How far it has come."""
        if self._resting is not None:
            return self._resting._replace(known=self._known, due=self.due)
        return Learned(self._known, self.due, self._slots.text, self._slots.facts, self._slots.links)

    def rest(self, state: Learned) -> None:
        """Go on from this state once the series of the service are asked for, which calls `wake`."""
        self._known, self.due, self._resting = state.known, state.due, state

    def wake(self, series: Mapping[SeriesKey, Series]) -> None:
        """These are the series of the service."""
        if self._resting is not None:
            _, _, text, facts, links = self._resting
            self._resting = None
            signals = msgspec.msgpack.decode(text, type=list[SignalId])
            self._slots = Slots.of(signals, facts, links, {one.row: key for key, one in series.items()})
            self._index()

    def advance(self, clock: int, hold: int, bad: Collection[Stretch]) -> None:
        """Learn what is old enough at `clock`, nothing later than `hold`, without what is `bad`.

        Raw samples are kept from as many looks before that as a change is begun with.
        """
        self._refresh(clock)
        facts = self._slots.facts
        while True:
            numbers, last = ready(facts, clock, hold, self._offset, CHUNK, LAG)
            if not len(numbers):
                break
            self._feed(numbers, last, bad)
        self._trim()
        self.due = self._next_due(clock)

    def _next_due(self, clock: int) -> int:
        """When there will be something to learn."""
        facts = self._slots.facts
        paced = facts[:, PERIOD] > 0
        periods = facts[paced, PERIOD]
        if len(periods):
            due = int(((ends_of(facts[paced], self._offset, CHUNK) + 2 + LAG) * periods).min())
            if due > clock:
                return due
            # Held up: look again after a chunk.
            return clock + CHUNK * int(periods.min())
        # Too young: when it is known to be old enough, or there is half as much more.
        born = min(self._service.samples.first_born(self._service.rows), clock)
        young = facts[:, YOUNG]
        return int(min(young.min(), ALWAYS)) if len(young) and young.min() > clock else clock + (clock - born) // 2 + 1

    def refresh(self) -> None:
        """Some series are no more."""
        self._known = len(self._service.series)
        self._know(self._signals(self._service.series))

    def _refresh(self, clock: int) -> None:
        """Know the signals that there are, and the periods of those that are old enough to tell."""
        series, samples = self._service.series, self._service.samples
        if self._known != len(series):
            self.refresh()
        slots = self._slots
        for number in slots.begin(slots.to_begin(samples, clock), samples, clock, LAG):
            signal = slots.signals[number]
            slots.facts[number, ROW] = self._store.add(kind_of(signal, slots.keys[number]))

    def _know(self, found: Mapping[SignalId, Sequence[SeriesKey]]) -> None:
        before = self._slots
        slots = self._slots = Slots(found, self._service.series, before)
        for signal, number in before.number.items():
            if signal not in slots.number:
                self._store.drop(int(before.facts[number, ROW]))
        self._index()

    def _index(self) -> None:
        slots = self._slots
        self._rows, self._of_link = np.unique(slots.links[:, SERIES], return_inverse=True)
        looks = []
        for signal, keys in zip(slots.signals, slots.keys, strict=True):
            raw = self._named if signal.guardrail else self._history
            looks += [max(raw, BESIDE if key.version or key.instance else 0) + 2 for key in keys]
        self._looks = np.array(looks, np.int64)

    def _signals(self, keys: Iterable[SeriesKey]) -> dict[SignalId, list[SeriesKey]]:
        keys = list(keys)
        found = signals_of(keys, self._service.name, self._guardrails)
        # A counter of errors may show itself with the first error only. That there was none before is known by then.
        return found | awaited_ratios(keys, self._service.name, self._guardrails)

    def _feed(self, numbers: Int64, last: Int64, bad: Collection[Stretch]) -> None:
        """One chunk of each of these signals."""
        slots = self._slots
        begin = int((slots.facts[numbers, NEXT] * slots.facts[numbers, PERIOD]).min())
        ends, taken, values, most = slots.take(self._service.samples, numbers, last)
        slots.facts[numbers, NEXT] = last
        filled = np.diff(ends, prepend=0)
        _learn(
            self._store.past, self._store.gaps, slots, numbers, ends, taken, values,
            [stretch for stretch in bad if stretch.end >= begin],
        )  # fmt: skip
        # A signal that comes much more or less often than it did for long begins anew.
        odd = (most > _ODD * CHUNK) | ((filled > 0) & (_ODD * filled < CHUNK))
        slots.facts[numbers, ODD] = np.where(odd, slots.facts[numbers, ODD] + 1, 0)
        for number in numbers[slots.facts[numbers, ODD] >= _ODD_CHUNKS].tolist():
            self._look_at_period(number)

    def _look_at_period(self, number: int) -> None:
        fact = self._slots.facts[number]
        fact[ODD] = 0
        period, end = int(fact[PERIOD]), int(fact[NEXT] * fact[PERIOD])
        recent = [self._service.series[key].times for key in self._slots.keys[number]]
        steps = [np.diff(times[: np.searchsorted(times, end)][-STEPS:]) for times in recent]
        together = np.concatenate(steps) if steps else np.empty(0, np.int64)
        pace = usual(together) if len(together) else period
        # What comes at no pace at all has none to change to.
        steady = len(together) and np.mean(5 * np.abs(together - pace) <= pace) >= _STEADY
        if steady and abs(pace - period) * 5 > period:
            self._store.drop(int(fact[ROW]))
            self._slots.begin_anew(number, end)

    def _trim(self) -> None:
        """Drop the raw samples that nobody needs any more."""
        slots = self._slots
        facts = slots.facts.repeat(slots.facts[:, END] - slots.facts[:, FIRST], axis=0)
        # A period that is not known yet is sought from the beginning.
        start = np.where(facts[:, PERIOD] > 0, (facts[:, NEXT] - self._looks) * facts[:, PERIOD], facts[:, BEGUN])
        keep = np.full(len(self._rows), ALWAYS, np.int64)
        np.minimum.at(keep, self._of_link, start)
        self._service.samples.trim(self._rows, keep)

    def at(self, moment: int, keys: Iterable[SeriesKey], bad: Collection[Stretch]) -> Past:
        """What was learned of the signals of these series up to `moment`, without what is `bad`."""
        series, samples = self._service.series, self._service.samples
        known = [key for key in keys if series[key].born <= moment]
        if len(known) == self._known == len(series):
            slots = self._slots.copy()
        else:
            slots = Slots(self._signals(known), series, self._slots)
        facts = slots.facts
        rows = facts[:, ROW].copy()
        past, gaps = self._store.past.fork(np.maximum(rows, 0).tolist()), self._store.gaps.fork(rows)
        facts[:, ROW] = np.arange(len(facts))
        facts[:, YOUNG] = NEVER
        young = slots.to_begin(samples, moment)
        late = (facts[:, PERIOD] > 0) & ((facts[:, NEXT] + 1) * facts[:, PERIOD] > moment)
        for number in slots.begin(young, samples, moment, 0):
            past.set_kind(number, kind_of(slots.signals[number], slots.keys[number]))
        numbers = np.flatnonzero((facts[:, PERIOD] > 0) & ~late)
        last = moment // np.maximum(facts[numbers, PERIOD], 1) + 2
        ends, taken, values, _ = slots.take(samples, numbers, last, moment, complete=True)
        _learn(past, gaps, slots, numbers, ends, taken, values, bad)
        return {
            signal: Own(past, gaps, number, int(facts[number, PERIOD]), bool(late[number]))
            for number, signal in enumerate(slots.signals)
            if facts[number, PERIOD]
        }


def _learn(
    past: OnlinePast, gaps: OnlineGaps, slots: Slots, numbers: Int64, ends: Int64, taken: Int64, values: Float64,
    bad: Collection[Stretch],
) -> None:  # fmt: skip
    """Take the values of some slots of these signals into their rows, but for what does not count."""
    if not len(taken):
        return
    facts = slots.facts
    counts = np.diff(ends, prepend=0)
    rows = facts[numbers, ROW]
    said = np.flatnonzero(counts)
    steps = np.diff(taken, prepend=taken[0])
    firsts = ends[said] - counts[said]
    before = facts[numbers[said], FILLED]
    # The first slot of all has no gap before it.
    steps[firsts] = np.where(before == NEVER, -1, taken[firsts] - before)
    known = steps >= 0
    gaps.update_all(rows, np.concatenate([[0], np.cumsum(known)])[ends], steps[known])
    facts[numbers[said], FILLED] = taken[ends[said] - 1]
    periods = facts[numbers, PERIOD]
    if not bad and not facts[numbers, SHUT].any():
        past.update(np.repeat(rows, counts), taken * np.repeat(periods, counts), values)
        return
    for number, row, period, first, end in zip(
        numbers.tolist(), rows.tolist(), periods.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True
    ):
        shut = _shut(taken[first:end], period, bad)
        edges = [first, *(first + 1 + np.flatnonzero(np.diff(shut))).tolist(), end]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            now = bool(shut[start - first])
            if now and not facts[number, SHUT]:
                past.watch([row])
            elif facts[number, SHUT] and not now:
                past.forget([row])
            facts[number, SHUT] = now
            past.update(np.full(stop - start, row), taken[start:stop] * period, values[start:stop])


def _shut(slots: Int64, period: int, bad: Collection[Stretch]) -> np.ndarray:
    """bool[n]: which slots reach into a stretch that does not count."""
    shut = np.zeros(len(slots), bool)
    for stretch in bad:
        shut |= ((slots + 1) * period > stretch.start) & (slots * period <= stretch.end)
    return shut

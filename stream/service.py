"""What is known of one service: its series, its clock, and the time that watches of its changes took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from deploy.policy import Guardrail
from detectors.own_past import SPAN
from stream.columns import Int64, SeriesKey
from stream.learning import LAG, Learning, Past, Stretch
from stream.neighbours import Neighbour
from stream.samples import Samples
from stream.series import Series

if TYPE_CHECKING:
    from stream.change_watch import ChangeWatch
    from stream.witness import Witness

#: Share of a past that must be unwatched to do without what is doubtful of the watched.
_ENOUGH_UNWATCHED = 0.5


class Watched(msgspec.Struct, frozen=True):
    """A stretch of time in which a change of the service was watched; `calm` if it ended without evidence.

    `silent` if it did not even come near to any. `known` is when that was known: the last samples of a watch come after
    its end. `past` if it is learned from like any other time.
    """

    start: int
    end: int
    known: int
    calm: bool
    silent: bool
    past: bool = True


class Books(msgspec.Struct, frozen=True):
    """What a service remembers of changes: the watches that ended, what it may be asked about, and start-ups."""

    watched: dict[str, Watched]
    holds: dict[str, tuple[int, int]]
    start_ups: dict[str, tuple[int, float]]


class ServiceSamples:
    """What is known of one service in one environment: its series, its clock, its watches."""

    def __init__(self, name: str, environment: str, samples: Samples, number: int = 0) -> None:
        """`number` is what the store of samples knows it by."""
        self.name, self.environment = name, environment
        self.samples, self.number = samples, number
        self._series: dict[SeriesKey, Series] = {}
        self._rows: Int64 = np.empty(0, np.int64)
        #: What it lends with all its series, as it was asked for last.
        self._lent: Neighbour | None = None
        #: Gives the keys of its rows, while nobody has asked for them.
        self._keys: Callable[[Int64], list[SeriesKey]] | None = None
        self.clock = 0
        #: When its silent series are looked for next.
        self.sweep = 0
        self.watches: dict[str, ChangeWatch] = {}
        #: What it says of changes of other services.
        self.witnesses: dict[str, Witness] = {}
        self._watched: dict[str, Watched] = {}
        #: What its signals did; None where only raw samples are kept.
        self.learning: Learning | None = None
        #: By change: from when on it may be asked about a change of another, and until when.
        self._holds: dict[str, tuple[int, int]] = {}
        #: Of each change with something new: when that was first heard of (ms), and how long it had taken (s).
        self.start_ups: dict[str, tuple[int, float]] = {}

    @property
    def span(self) -> int:
        """How much later in ms samples of the same time may still come: as long as a message of any live series takes.

        Learnt from the last messages of each, so that one record that tells of hours holds nothing up for long.
        """
        return self.samples.lateness(self.rows, self.clock)

    @property
    def rows(self) -> Int64:
        """int64[series]: the rows of its series."""
        if self._keys is None and len(self._rows) != len(self._series):
            self._rows = np.array([one.row for one in self._series.values()], np.int64)
        return self._rows

    @property
    def series(self) -> dict[SeriesKey, Series]:
        """Its series, in the order of their rows in `rows`; only `add` may change it."""
        if self._keys is not None:
            keys, self._keys = self._keys(self._rows), None
            for key, row in zip(keys, self._rows.tolist(), strict=True):
                self._series[key] = Series(key, self.samples, self.number, row)
            if self.learning is not None:
                self.learning.wake(self._series)
        return self._series

    def add(self, key: SeriesKey) -> Series:
        """Its series of this key, a new one where it has none."""
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(key, self.samples, self.number)
        return series

    def rest(self, rows: Int64, keys: Callable[[Int64], list[SeriesKey]]) -> None:
        """Its series are these rows of the store, int64[series]; `keys` is asked what they are when first needed.

        So that of very many services that were saved, none is waited for but those that something is asked of.
        """
        self._rows, self._keys = rows, keys

    def began(self, moment: int) -> bool:
        """Whether anything of it had come by `moment`."""
        return self.samples.first_born(self.rows) <= moment

    def drop_silent(self, since: int) -> list[SeriesKey]:
        """Drop the series of which nothing came after `since` (Unix ms), unless a change may still ask for them."""
        if self.watches or self.witnesses or self._holds:
            return []
        gone = [key for key, series in self.series.items() if series.newest <= since]
        for key in gone:
            self.samples.drop(self.series.pop(key).row)
        if gone:
            self._rows = np.empty(0, np.int64)
            self._lent = None
            if self.learning is not None:
                self.learning.refresh()
        return gone

    def unchanged(self, service: ServiceSamples, moment: int) -> bool:
        """Whether this is another service beside `service` that was not being changed at `moment`."""
        beside = self is not service and self.environment == service.environment
        return beside and not any(watch.moment <= moment for watch in self.watches.values())

    def touched(self, moment: int) -> bool:
        """Whether a change of it was being watched at `moment`, however long that is over."""
        active = (
            watch.moment <= moment < (watch.end if watch.cut_off is None else watch.cut_off) + watch.period
            for watch in self.watches.values()
        )
        return any(active) or any(one.start <= moment < one.known for one in self._watched.values())

    def begun_by(self, moment: int) -> dict[SeriesKey, Series]:
        """Its series that had begun by `moment`."""
        begun = self.samples.born_of(self.rows) <= moment
        if begun.all():
            return dict(self.series)
        return {key: self.series[key] for key, known in zip(self.series, begun.tolist(), strict=True) if known}

    def as_of(self, moment: int, guardrails: Sequence[Guardrail]) -> Neighbour:
        """What it may lend: its series as they had begun by `moment`, in the signals that these guardrails make."""
        if bool((self.samples.born_of(self.rows) > moment).any()):
            return Neighbour(self.name, self.begun_by(moment), guardrails)
        # Many changes of others ask, and it has the same series for each.
        whole = self._lent
        if whole is None or len(whole.series) != len(self.series) or whole.guardrails != guardrails:
            whole = self._lent = Neighbour(self.name, dict(self.series), guardrails)
        return whole

    def knows(self, change: str) -> bool:
        """Whether it is or was watched for this change."""
        return change in self.watches or change in self._watched

    def hold(self, change: str, moment: int, until: int) -> None:
        """It may be asked how it fares since `moment`: nothing later is learned before `release`, or `until`."""
        self._holds[change] = (moment, until)

    def release(self, change: str) -> None:
        self._holds.pop(change, None)

    def learn(self, hold: int = 2**62, *, now: bool = False) -> None:
        """Learn from the samples that are old enough, as far as it is known how the watches of that time ended.

        Nothing later than `hold` (Unix ms); and if not `now`, then when there is enough of it.
        """
        if self.learning is None or (self.clock < self.learning.due and not now):
            return
        hold = min([hold, *(watch.moment for watch in self.watches.values())])
        for witness in self.witnesses.values():
            hold = min(hold, witness.waits_since)
        for change, (moment, until) in list(self._holds.items()):
            if self.clock > until + LAG * max(until - moment, 1):
                # Whoever asked for it is gone.
                self.release(change)
            else:
                hold = min(hold, moment)
        bad = [Stretch(one.start, one.end) for one in self._watched.values() if not one.past]
        self.learning.advance(self.clock, hold, bad)

    def past(self, moment: int, change: str, keys: Iterable[SeriesKey]) -> Past | None:
        """What the signals of these series did up to `moment`, as was known when this change came."""
        if self.learning is None:
            return None
        bad = []
        for identity, stretch in self._watched.items():
            if identity != change and stretch.start <= moment:
                if stretch.known > moment:
                    bad.append(Stretch(stretch.start, 2**62))
                elif not stretch.past:
                    bad.append(Stretch(stretch.start, stretch.end))
        for identity, watch in self.watches.items():
            if identity != change and watch.moment <= moment:
                bad.append(Stretch(watch.moment, 2**62))
        return self.learning.at(moment, keys, bad)

    @property
    def books(self) -> Books:
        """What it remembers of changes."""
        return Books(self._watched, self._holds, self.start_ups)

    @books.setter
    def books(self, books: Books) -> None:
        self._watched, self._holds, self.start_ups = books.watched, books.holds, books.start_ups

    def undisturbed(self, times: Int64, watch: ChangeWatch) -> np.ndarray:
        """bool[n]: which of these times hold no aftermath of another change, as was known when this change came."""
        usable, unwatched = np.ones(len(times), bool), np.ones(len(times), bool)
        stretches: list[Watched] = []
        for identity, stretch in self._watched.items():
            if identity == watch.change.id or stretch.start > watch.moment:
                continue
            if stretch.known > watch.moment:
                usable &= times <= stretch.start
            else:
                stretches.append(stretch)
                unwatched &= ~_within(times, stretch)
        # Harm that was missed lies in watched time. Where there is enough of the other, nothing doubtful is needed.
        choosy = np.count_nonzero(unwatched) >= _ENOUGH_UNWATCHED * len(times)
        for stretch in stretches:
            if not (stretch.silent if choosy else stretch.calm):
                usable &= ~_within(times, stretch)
        for identity, other in self.watches.items():
            if identity != watch.change.id and other.moment <= watch.moment:
                usable &= times <= other.moment
        return usable

    def retire(self, watch: ChangeWatch, settling: int) -> None:
        """A watch has ended: keep of it only the time that it took."""
        end = watch.end if watch.cut_off is None else watch.cut_off
        calm, silent, known = watch.calm, watch.silent, end + watch.period
        past = silent or (calm and not self._choosy(known, watch.period))
        stretch = Watched(watch.moment, end if silent else end + settling, known, calm, silent, past)
        self._watched[watch.change.id] = stretch
        del self.watches[watch.change.id]

    def _choosy(self, moment: int, period: int) -> bool:
        """Whether enough time up to `moment` was not watched at all, so that nothing doubtful is needed."""
        begin = max(moment - SPAN * period, min(self.samples.first_born(self.rows), moment))
        watched, reached = 0, begin
        stretches = [(one.start, one.end) for one in self._watched.values()]
        for start, end in sorted([*stretches, *((one.moment, moment) for one in self.watches.values())]):
            start, end = max(start, reached), min(end, moment)
            if end > start:
                watched, reached = watched + end - start, end
        return moment - begin - watched >= _ENOUGH_UNWATCHED * (moment - begin)


def _within(times: Int64, stretch: Watched) -> np.ndarray:
    return (times > stretch.start) & (times <= stretch.end)

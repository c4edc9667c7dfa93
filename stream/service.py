"""What is known of one service: its series, its clock, and the time that watches of its changes took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stream.columns import Int64, SeriesKey
from stream.neighbours import Neighbour
from stream.series import Series

if TYPE_CHECKING:
    from stream.change_watch import ChangeWatch
    from stream.witness import Witness

#: Share of a past that must be unwatched to do without what is doubtful of the watched.
_ENOUGH_UNWATCHED = 0.5


class Watched(msgspec.Struct, frozen=True):
    """A stretch of time in which a change of the service was watched; `calm` if it ended without evidence.

    `silent` if it did not even come near to any. `known` is when that was known: the last samples of a watch come after
    its end.
    """

    start: int
    end: int
    known: int
    calm: bool
    silent: bool


class ServiceSamples:
    """What is known of one service in one environment: its series, its clock, its watches."""

    def __init__(self, name: str, environment: str) -> None:
        self.name, self.environment = name, environment
        self.series: dict[SeriesKey, Series] = {}
        self.clock = 0
        self.watches: dict[str, ChangeWatch] = {}
        #: What it says of changes of other services.
        self.witnesses: dict[str, Witness] = {}
        self._watched: dict[str, Watched] = {}
        #: Of each change with something new: when that was first heard of (ms), and how long it had taken (s).
        self.start_ups: list[tuple[int, float]] = []

    @property
    def span(self) -> int:
        """How much later in ms samples of the same time may still come: as long as a message of any live series takes.

        Learnt from the last messages of each, so that one record that tells of hours holds nothing up for long.
        """
        live = (one.lateness for one in self.series.values() if one.last_time + 2 * one.lateness >= self.clock)
        return max(live, default=0)

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

    def as_of(self, moment: int) -> Neighbour:
        """Its series as they had begun by `moment`."""
        return Neighbour(self.name, {key: series for key, series in self.series.items() if series.born <= moment})

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
        calm, silent = watch.calm, watch.silent
        stretch = Watched(watch.moment, end if silent else end + settling, end + watch.period, calm, silent)
        self._watched[watch.change.id] = stretch
        del self.watches[watch.change.id]


def _within(times: Int64, stretch: Watched) -> np.ndarray:
    return (times > stretch.start) & (times <= stretch.end)

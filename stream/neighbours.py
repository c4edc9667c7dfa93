"""Neighbours: what other services showed of the same metric before a change. A service too young to have a past of its
own is judged by theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from deploy.change import Change
from deploy.policy import Guardrail
from detectors.concurrent import ConcurrentCalibration
from detectors.pool import Pool
from stream.columns import Float64, SeriesKey
from stream.learning import HISTORY
from stream.series import Series
from stream.signal_watch import SignalWatch
from stream.signals import SignalId, periods_of, signals_of

#: Neighbours at most.
MOST = 64
_FEWEST = 3
#: Attributes whose value makes another quantity of a metric.
_QUANTITIES = frozenset({"quantile", "statistic", "unit", "state", "direction", "type"})


#: Metric, what it is divided by, and attributes as they are or as `_kind_of` names them.
_Like = tuple[str, str, tuple[tuple[str, str], ...]]


#: The name of a service, the series of a signal, and how many members that has.
_Told = tuple[str, list[Series], int]


class Neighbour:
    """A service that was not being changed, and its series as they had begun by the moment in question."""

    def __init__(self, name: str, series: dict[SeriesKey, Series], guardrails: Sequence[Guardrail]) -> None:
        self.name, self.series, self.guardrails = name, series, guardrails
        self._signals: dict[_Like, list[_Told]] | None = None

    def like(self, signal: _Like) -> Sequence[_Told]:
        """Its signals that are like this one; they are sorted out when first asked for."""
        if self._signals is None:
            self._signals = {}
            for theirs, keys in sorted(signals_of(self.series, self.name, self.guardrails).items()):
                many = len({(key.version, key.instance) for key in keys})
                told = self.name, [self.series[key] for key in keys], many
                for attributes in {theirs.attributes, _kind_of(theirs)}:
                    self._signals.setdefault((theirs.metric, theirs.over, attributes), []).append(told)
        return self._signals.get(signal, ())


class Neighbours:
    """The other services at the moment of one change; what they lend is put together when first asked for."""

    def __init__(self, change: Change, others: Iterable[Neighbour]) -> None:
        """The first `MOST` of the others by name lend."""
        self._change = change
        self._others = sorted(others, key=lambda one: one.name)[:MOST]
        self._found: dict[tuple[SignalId, int, int, int], list[SignalWatch]] = {}

    def past(self, like: SignalWatch, kind: str) -> Pool | None:
        """The pasts of this signal elsewhere; None where too few services have it."""
        histories = [watch.whole_history(HISTORY) for watch in self._watches(like.signal, like.period, like.looks)]
        return Pool.of(histories, watch=like.looks, kind=kind) if len(histories) >= _FEWEST else None

    def has_siblings(self, like: SignalWatch) -> bool:
        """Whether enough services have equal instances of this signal."""
        watches = self._watches(like.signal, like.period, like.looks, members=2)
        return sum(watch.several for watch in watches) >= _FEWEST

    def siblings(self, like: SignalWatch, kind: str) -> list[ConcurrentCalibration]:
        """How equal instances of other services differ in this signal."""
        watches = self._watches(like.signal, like.period, like.looks, members=2)
        calibrations = [watch.calibrate_siblings(kind, HISTORY) for watch in watches if watch.several]
        found = [one for one in calibrations if one is not None and one.instances > 1]
        return found if len(found) >= _FEWEST else []

    def peers(self, like: SignalWatch, related: Callable[[str, str], bool], most: int) -> list[SignalWatch]:
        """The same signal in at most so many services that this one has nothing to do with, spread evenly by name."""
        found = self._watches(like.signal, like.period, like.looks)
        free = [one for one in found if not related(like.service, one.service)]
        count = min(len(free), most)
        return [free[(2 * i + 1) * len(free) // (2 * count)] for i in range(count)]

    def services(self, like: Sequence[SignalWatch], length: int) -> list[dict[SignalId, Float64]]:
        """The last looks of these signals in each service that has any of them, float64[length] a signal."""
        found: dict[str, dict[SignalId, Float64]] = {}
        for one in like:
            for watch in self._watches(one.signal, one.period, one.looks):
                found.setdefault(watch.service, {}).setdefault(one.signal, watch.whole_history(length))
        return [found[name] for name in sorted(found)]

    def _watches(self, signal: SignalId, period: int, looks: int, members: int = 1) -> list[SignalWatch]:
        """The same signal elsewhere, where it has so many members; where too few have it, that of other routes."""
        wanted = signal, period, looks, members
        if wanted not in self._found:
            self._found[wanted] = self._look_for(*wanted)
        return self._found[wanted]

    def _look_for(self, signal: SignalId, period: int, looks: int, members: int) -> list[SignalWatch]:
        alike = self._like((signal.metric, signal.over, signal.attributes))
        if len(alike) < _FEWEST:
            alike = self._like((signal.metric, signal.over, _kind_of(signal)))
        found = []
        alike = [one for one in alike[:MOST] if one[2] >= members]
        periods = periods_of([series for _, series, _ in alike], self._change.time)
        for (name, series, _), theirs in zip(alike, periods, strict=True):
            if theirs == period:
                # Nothing is new there: the change only says up to when.
                elsewhere = msgspec.structs.replace(self._change, service=name, version="", instances=())
                watch = SignalWatch(name, signal, elsewhere, period, looks, self._change.time)
                watch.attach(series)
                found.append(watch)
        return found

    def _like(self, signal: _Like) -> list[_Told]:
        return [one for other in self._others for one in other.like(signal)]


def _kind_of(signal: SignalId) -> tuple[tuple[str, str], ...]:
    """The attributes that tell signals of one metric apart: by name, but for what makes another quantity of it."""
    return tuple((name, value if name in _QUANTITIES else "") for name, value in signal.attributes)

"""Ghosts: changes that are watched beside everything that was recorded, and that nothing else knows of.

A ghost is judged by the very code that judges real changes, from the same series, with the same aftermath of recorded
changes left out of its past. But no recorded change, and no other ghost, is judged differently because of it: each is
the one change more that a team could have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from math import log

import msgspec

from deploy.change import Change
from deploy.evidence import Finding, Report
from deploy.judge import Decision, Judge
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState
from stream.backtest.shifts import Shift, with_harm
from stream.change_watch import ChangeWatch
from stream.columns import Columns, Int64, SeriesKey
from stream.learning import Past
from stream.pipeline import Pipeline
from stream.series import Series
from stream.service import ServiceSamples
from stream.signal_watch import WHOLE
from stream.signals import SignalId


class Role(StrEnum):
    """What a ghost is for: a harmless change; one metric of a harmless change, harmed or not; one metric of a recorded
    change; a recorded change watched for so many `times` as long."""

    PLACEBO = "placebo"
    TRIAL = "trial"
    ALONE = "alone"
    AGAIN = "again"


class Ghost(msgspec.Struct, frozen=True, kw_only=True):
    """A change to watch on one service; `later` are further records of it, and `policy` what it is judged by.

    With `only`, nothing but that signal's series is looked at; with `shift`, they are harmed from shortly after the
    change on. `due` is the time (Unix ms) by which everything that it needs was sampled.
    """

    role: Role
    change: Change
    policy: Policy
    due: int
    later: tuple[Change, ...] = ()
    only: tuple[SignalId, tuple[SeriesKey, ...]] | None = None
    shift: Shift | None = None
    times: int = 1


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a ghost: its reports in order, and what each signal said by itself."""

    ghost: Ghost
    reports: tuple[Report, ...]
    heard: Mapping[SignalId, float]

    @property
    def log_p(self) -> float:
        return min((report.log_p for report in self.reports), default=0.0)

    @property
    def judged(self) -> bool:
        """Whether anything could speak at all."""
        return bool(self.reports) and self.reports[-1].tests > 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        return next((report.findings for report in reversed(self.reports) if report.findings), ())

    def passed(self, error_rate: float) -> int | None:
        """When (Unix ms) its evidence passed this error rate."""
        return next((report.time for report in self.reports if report.log_p <= log(error_rate)), None)

    def frozen(self, error_rate: float) -> int | None:
        """When the judge would have stopped it at this error rate, with nobody else to blame; None if never."""
        policy = self.ghost.policy
        breaker = msgspec.structs.replace(policy.breaker, error_rate=error_rate)
        judge = Judge(msgspec.structs.replace(policy, breaker=breaker))
        decisions: list[Decision] = judge.change(self.ghost.change)
        for report in self.reports:
            decisions += judge.report(report)
        harmful = (one for one in decisions if isinstance(one, Verdict) and one.state is VerdictState.HARMFUL)
        return next((verdict.time for verdict in harmful), None)


Told = Callable[[Seen, ServiceSamples, ChangeWatch], None]


class HauntedPipeline(Pipeline):
    """The pipeline, with ghosts beside the recorded changes; `told` gets each when its watch is over."""

    def __init__(self, policy: Policy, ghosts: Iterable[Ghost], told: Told) -> None:
        # A ghost is begun when its watch is over, and pictures are drawn of what came before it.
        super().__init__(policy, history=WHOLE)
        ghosts = list(ghosts)
        self._coming = sorted(ghosts, key=lambda one: (one.change.time, one.change.id), reverse=True)
        #: Of each ghost whose moment has come: what had been learned by then, by service and environment.
        self._pasts: dict[int, dict[tuple[str, str], Past | None]] = {}
        self._waiting = sorted(ghosts, key=lambda one: (one.due, one.change.id), reverse=True)
        self._active: list[tuple[Ghost, ServiceSamples, ChangeWatch, list[Report]]] = []
        self._told = told

    def telemetry(self, columns: Columns) -> list[Decision]:
        # A block may reach far beyond the moments of many ghosts.
        self.watch.hold = self._coming[-1].change.time if self._coming else 2**62
        decisions = super().telemetry(columns)
        clock = self.watch.clock
        self._remember(clock)
        still = []
        for ghost, service, watch, reports in [*self._active, *self._begin(clock)]:
            reports += watch.advance(clock)
            if watch.ended:
                self._tell(ghost, service, watch, reports)
            else:
                still.append((ghost, service, watch, reports))
        self._active = still
        return decisions

    def finish(self) -> list[Decision]:
        decisions = super().finish()
        clock = self.watch.clock
        for ghost, service, watch, reports in [*self._active, *self._begin(2**62)]:
            reports += watch.advance(clock) + watch.finish(clock)
            self._tell(ghost, service, watch, reports)
        self._active = []
        return decisions

    def _remember(self, clock: int) -> None:
        """Copy what is learned at the moment of each ghost: later it will know what came after."""
        services = {(one.name, one.environment): one for one in self.watch.services()}
        shared: dict[tuple[str, str, int, str], Past | None] = {}
        while self._coming and self._coming[-1].change.time < clock:
            ghost = self._coming.pop()
            pasts = self._pasts[id(ghost)] = {}
            for service in _places(ghost, services):
                identity = ghost.change.id if service.knows(ghost.change.id) else ""
                key = (service.name, service.environment, ghost.change.time, identity)
                if key not in shared:
                    service.learn(ghost.change.time, now=True)
                    shared[key] = service.past(ghost.change.time, identity, service.series)
                pasts[service.name, service.environment] = shared[key]

    def _begin(self, clock: int) -> Iterable[tuple[Ghost, ServiceSamples, ChangeWatch, list[Report]]]:
        # One after the other: a watch is large while it lasts, and most are over as soon as they have begun.
        services = {(one.name, one.environment): one for one in self.watch.services()}
        while self._waiting and self._waiting[-1].due < clock:
            ghost = self._waiting.pop()
            pasts = self._pasts.pop(id(ghost), {})
            for service in _places(ghost, services):
                narrowed = _Narrowed(service, ghost) if ghost.only is not None else service
                watch = ChangeWatch(
                    ghost.change,
                    narrowed,
                    ghost.policy,
                    self.watch.services,
                    past=pasts.get((service.name, service.environment), {}),
                )
                for record in ghost.later:
                    watch.later(record)
                yield ghost, narrowed, watch, []

    def _tell(self, ghost: Ghost, service: ServiceSamples, watch: ChangeWatch, reports: Sequence[Report]) -> None:
        self._told(Seen(ghost=ghost, reports=tuple(reports), heard=watch.heard()), service, watch)


def _places(ghost: Ghost, services: Mapping[tuple[str, str], ServiceSamples]) -> list[ServiceSamples]:
    """Where a change is watched: its service, in its environment or where none is told."""
    change = ghost.change
    return [
        service
        for (name, environment), service in services.items()
        if name == change.service and (not change.environment or environment in ("", change.environment))
    ]


class _Narrowed(ServiceSamples):
    """A service of which only one signal is known, harmed where the ghost says so."""

    def __init__(self, service: ServiceSamples, ghost: Ghost) -> None:
        super().__init__(service.name, service.environment, service.samples)
        self._whole = service
        self.clock = service.clock
        assert ghost.only is not None
        signal, keys = ghost.only
        series: dict[SeriesKey, Series] = {key: service.series[key] for key in keys if key in service.series}
        if ghost.shift is not None:
            series = with_harm(signal, series, ghost.change, ghost.shift)
        self.series.update(series)

    def undisturbed(self, times: Int64, watch: ChangeWatch) -> Int64:
        return self._whole.undisturbed(times, watch)

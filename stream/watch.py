"""Watch: from samples and changes to evidence. Holds nearly all the work, and scales out by partition.

Everything is a function of the records and their own times. Evidence for a change is computed from the samples kept of
its service, so it does not matter whether the change or the samples of its time arrived first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from deploy.change import Change, Phase
from deploy.evidence import Report
from deploy.policy import Policy
from stream.change_watch import ENDED, ChangeWatch
from stream.columns import Columns
from stream.series import KEPT, Series, split
from stream.service import ServiceSamples

#: After a watch, this many samples of its service are still settling.
_SETTLING = 10


class Watch:
    """The evidence side of haltline for one partition of telemetry; deterministic in its records."""

    def __init__(self, policy: Policy, everyone: Callable[[], Iterable[ServiceSamples]] | None = None) -> None:
        """`everyone` gives the services that a young one may borrow from; by default those of this partition."""
        self.policy = policy
        self._everyone = everyone or self.services
        self.clock = 0
        self.points = 0
        self._services: dict[tuple[str, str], ServiceSamples] = {}
        #: By service and id: the records of each change, the first of which began its watch.
        self._changes: dict[str, dict[str, list[Change]]] = {}

    def services(self) -> Iterable[ServiceSamples]:
        """What is known of each service of this partition."""
        return self._services.values()

    @property
    def series(self) -> int:
        return sum(len(service.series) for service in self._services.values())

    @property
    def watched(self) -> int:
        return sum(len(service.watches) for service in self._services.values())

    def change(self, change: Change) -> list[Report]:
        """Take in a change, or a later phase of one; what was sampled since its time is judged at once."""
        known = self._changes.setdefault(change.service, {})
        records = known.get(change.id)
        if records is None:
            if change.phase is Phase.PLANNED:
                return []
            records = known[change.id] = []
        if change in records:
            return []
        records.append(change)
        reports: list[Report] = []
        for service in self._of(records[0]):
            if len(records) == 1:
                self._begin(records, service)
            elif change.id in service.watches:
                service.watches[change.id].later(change)
            reports += self._advance(service, service.clock - service.span)
        return _in_order(reports)

    def telemetry(self, columns: Columns, span: int | None = None) -> list[Report]:
        """Take in samples; returns what they show of the changes under watch.

        `span` bounds in ms how much later samples of the same time may still come in other messages; by default it is
        learnt from how much time one message covers.
        """
        touched: dict[tuple[str, str], ServiceSamples] = {}
        for key, times, values in split(columns):
            service = self._service(key.service, key.environment)
            series = service.series.get(key)
            if series is None:
                series = service.series[key] = Series(key)
            keep = self._keep(service)
            self.points += series.extend(times, values, keep)
            service.clock = max(service.clock, int(times.max()))
            if span is None:
                series.message(int(times.max() - times.min()))
            touched[(key.service, key.environment)] = service
        reports: list[Report] = []
        for identity in sorted(touched):
            service = touched[identity]
            self.clock = max(self.clock, service.clock)
            if service.watches:
                reports += self._advance(service, service.clock - (service.span if span is None else span))
        return _in_order(reports)

    def advance(self, clock: int) -> list[Report]:
        """Other telemetry has moved time on to `clock`: what did not come by then will not."""
        self.clock = max(self.clock, clock)
        reports: list[Report] = []
        for _, service in sorted(self._services.items()):
            if service.watches:
                reports += self._advance(service, clock - service.span)
        return _in_order(reports)

    def finish(self) -> list[Report]:
        """The input ends: the last word of every watch."""
        reports = []
        for _, service in sorted(self._services.items()):
            for identity in sorted(service.watches):
                reports += service.watches[identity].finish(self.clock)
        return _in_order(reports)

    def _keep(self, service: ServiceSamples) -> int:
        # What a watch under way still needs is never trimmed: its history, and everything since.
        return KEPT if not service.watches else 2 * KEPT

    def _of(self, change: Change) -> Iterable[ServiceSamples]:
        return [
            service
            for (name, environment), service in sorted(self._services.items())
            if name == change.service and (not change.environment or environment in ("", change.environment))
        ]

    def _service(self, name: str, environment: str) -> ServiceSamples:
        service = self._services.get((name, environment))
        if service is None:
            service = self._services[(name, environment)] = ServiceSamples(name, environment)
            for records in self._changes.get(name, {}).values():
                if not records[0].environment or environment in ("", records[0].environment):
                    self._begin(records, service)
        return service

    def _begin(self, records: list[Change], service: ServiceSamples) -> None:
        watch = service.watches[records[0].id] = ChangeWatch(records[0], service, self.policy, self._everyone)
        for record in records if records[0].phase in ENDED else records[1:]:
            watch.later(record)

    def _advance(self, service: ServiceSamples, watermark: int) -> list[Report]:
        reports: list[Report] = []
        for identity in sorted(service.watches, key=lambda one: (service.watches[one].moment, one)):
            watch = service.watches[identity]
            reports += watch.advance(watermark)
            if watch.ended:
                service.retire(watch, _SETTLING * watch.period)
        return reports


def _in_order(reports: list[Report]) -> list[Report]:
    return sorted(reports, key=lambda report: (report.time, report.change, report.service, report.environment))

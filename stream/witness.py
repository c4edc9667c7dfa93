"""Witnesses: how services that a change did not touch fared since, each against its own past.

Neighbours in the call graph say whether callers or callees suffer; bystanders, which have nothing to do with the
change, whether everybody does. They serve to share the blame, never to freeze. Only the metrics that the policy names
are looked at, or where it names none those that gave the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from deploy.calls import Calls
from deploy.change import Change
from deploy.evidence import Report
from deploy.policy import Policy
from deploy.suspect import ILL
from detectors.pool import FEWEST
from stream.change_watch import ChangeWatch
from stream.columns import Int64, SeriesKey
from stream.learning import Past
from stream.service import ServiceSamples

#: Callers, services below, and bystanders that are asked at most.
_CALLERS, _BELOW, _BYSTANDERS = 4, 8, 12


class Witness:
    """One service that did not change, watched for one change of another."""

    def __init__(
        self, change: Change, service: ServiceSamples, policy: Policy,
        others: Callable[[], Iterable[ServiceSamples]], telling: Collection[str] = (),
    ) -> None:  # fmt: skip
        """`telling` are the metrics that gave the evidence, for where the policy names none."""
        self.telling = tuple(telling)
        named = {metric for rail in policy.guardrails if rail.applies(service.name) for metric in rail.metrics}
        self._service, self._seen = service, _Named(service, named if policy.guardrails else frozenset(telling))
        self._watch = ChangeWatch(
            # Nothing is new here: the change only says since when.
            msgspec.structs.replace(change, service=service.name, version="", instances=()),
            self._seen,
            # What holds for the change's lane and tier holds for what is asked of others, whatever theirs are.
            msgspec.structs.replace(policy.for_change(change), detectors=(), lanes=(), tiers={}),
            lambda: (other for other in others() if other is not service),
            beside=False,
        )
        self._told = 0.0

    @property
    def ended(self) -> bool:
        return self._watch.ended

    @property
    def waits_since(self) -> int:
        """The time (Unix ms) after which nothing may be learned of the service yet; far off once it has begun."""
        return self._watch.moment if not self._watch.started else 2**62

    def later(self, change: Change) -> None:
        """A later record of the change: it may end the watch."""
        self._watch.later(msgspec.structs.replace(change, instances=()))

    def advance(self, watermark: int) -> list[Report]:
        """Take what is complete by `watermark`; returns what is ill now, and more than was told before."""
        self._seen.refresh()
        found = []
        for report in self._watch.advance(watermark):
            log_p = report.families.get("past", 0.0)
            if -log_p >= ILL and log_p < self._told:
                self._told = log_p
                past = tuple(finding for finding in report.findings if finding.control == "past")
                found.append(
                    msgspec.structs.replace(report, log_p=log_p, families={"past": log_p}, findings=past, ended=False)
                )
        return found

    def calm(self) -> Report:
        """That it is being asked, so that those who stay calm count as well."""
        watch = self._watch
        service = self._service
        return Report(
            change=watch.change.id, service=service.name, environment=service.environment, time=watch.moment, log_p=0.0
        )


class _Named(ServiceSamples):
    """A service as these of its metrics show it."""

    def __init__(self, service: ServiceSamples, metrics: Collection[str]) -> None:
        super().__init__(service.name, service.environment, service.samples)
        self._service, self._metrics = service, metrics
        self._known: set[SeriesKey] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in the series that have come since."""
        if len(self._known) < len(self._service.series):
            for key, series in self._service.series.items():
                if key.metric in self._metrics:
                    self.series[key] = series
            self._known = set(self._service.series)

    def undisturbed(self, times: Int64, watch: ChangeWatch) -> Int64:
        return self._service.undisturbed(times, watch)

    def past(self, moment: int, change: str, keys: Iterable[SeriesKey]) -> Past | None:
        return self._service.past(moment, change, keys)


def always_asked(calls: Calls, policy: Policy, service: str) -> tuple[str, ...]:
    """The callers that are asked about each change of a service: they may suffer though it shows nothing itself.

    None where the policy does not say by which metrics.
    """
    return calls.callers(service)[:_CALLERS] if policy.guardrails else ()


def telling(service: ServiceSamples, report: Report) -> frozenset[str]:
    """The metrics of a service that gave the evidence in this report; both counters of a ratio."""
    titles = {finding.metric for finding in report.findings}
    metrics = {key.metric for key in service.series}
    ratios = {one for one in metrics if one.endswith((".errors", ".requests"))} if "error_ratio" in titles else set()
    return frozenset(metrics & titles | ratios)


def asked_then(
    service: ServiceSamples, moment: int, everyone: Iterable[ServiceSamples], calls: Calls
) -> Sequence[ServiceSamples]:
    """Who is asked once there is evidence: what `service` depends on, and bystanders that it has nothing to do with.

    Only services known and not being changed at `moment`; of bystanders some, spread evenly over their names, and only
    such as have come for long enough to be judged at all.
    """
    others = sorted(
        (
            other
            for other in everyone
            if other is not service
            and other.environment == service.environment
            and not other.touched(moment)
            and other.began(moment)
        ),
        key=lambda other: other.name,
    )
    below = [(down, other) for other in others if (down := calls.down(service.name, other.name)) is not None]
    near = [other for _, other in sorted(below, key=lambda one: (one[0], one[1].name))[:_BELOW]]
    free = [other for other in others if not calls.related(service.name, other.name) and _known(other, moment)]
    count = min(len(free), _BYSTANDERS)
    return near + [free[(2 * i + 1) * len(free) // (2 * count)] for i in range(count)]


def _known(service: ServiceSamples, moment: int) -> bool:
    """Whether some series has come for long enough, at its pace: what is kept of it may all be later than `moment`."""
    return service.samples.came_for(service.rows, FEWEST, moment)

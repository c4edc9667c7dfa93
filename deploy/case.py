"""A case: one change with all that was reported of it, and what follows from that alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import exp, fsum, log

import msgspec

from deploy.change import Change
from deploy.evidence import Finding, Report
from deploy.policy import Policy
from deploy.suspect import Sight, Suspect
from deploy.verdict import Verdict, VerdictState
from detectors.combine import log_p_to_log_e

#: Findings that a verdict carries.
_CARRIED = 5
#: Part of a change's e-value that is the mean over the neighbours of its service: enough to rank by, never to freeze.
_NEAR = 0.1
#: The old instances say that the new ones are worse, or that they are not.
_WORSE, _SAME = log(0.05), log(0.2)
#: What new instances show with no old one left beside them counts this much.
_ALONE = 0.5
#: Onsets within so many looks of each other are one moment.
_ONE_MOMENT = 3


class Case:
    """What is known of one change, and the policy by which it is judged."""

    def __init__(self, change: Change, end: int, policy: Policy) -> None:
        self.change, self.end, self.policy = change, end, policy
        self.reports: dict[tuple[str, str], Report] = {}
        #: What other services showed since the change, by service and environment.
        self.seen: dict[tuple[str, str], Sight] = {}
        self._shares: list[tuple[int, float]] = []
        self._named: list[tuple[int, float]] = []
        self._step(change)
        #: When the evidence grew, and to what log p.
        self.grown: list[tuple[int, float]] = []
        #: The same of what it shows against its own past.
        self.grown_past: list[tuple[int, float]] = []
        self.verdict: Verdict | None = None

    def later(self, change: Change) -> None:
        """Take in a later record of the change: another phase, a larger share, more instances."""
        together = tuple(dict.fromkeys(self.change.instances + change.instances))
        self.change = msgspec.structs.replace(self.change, phase=change.phase, instances=together)
        self._step(change)

    def _step(self, change: Change) -> None:
        if change.rollout.share is not None:
            self._shares = sorted({*self._shares, (change.time, change.rollout.share)})
        self._named = sorted({*self._named, (change.time, float(len(self.change.instances)))})

    @property
    def steps(self) -> tuple[tuple[int, float], ...]:
        """When the rollout grew and to what: the share where it is told, else how many instances were named."""
        return tuple(self._shares or [one for one in self._named if one[1] > 0.0])

    @property
    def ended(self) -> bool:
        return self.verdict is not None and self.verdict.ended

    @property
    def ended_at(self) -> int:
        return self.verdict.time if self.verdict is not None and self.verdict.ended else self.end

    @property
    def harmful(self) -> bool:
        return self.verdict is not None and self.verdict.state is VerdictState.HARMFUL

    @property
    def log_p(self) -> float:
        """The smallest p-value of the places where it was watched, paid for by their number. A log."""
        return _smallest([report.log_p for report in self.reports.values()])

    @property
    def _past(self) -> float:
        return _smallest([report.families.get("past", 0.0) for report in self.reports.values()])

    def findings(self) -> tuple[Finding, ...]:
        found = [finding for report in self.reports.values() for finding in report.findings]
        ranked = sorted(found, key=lambda one: (one.log_p, one.service, one.metric, one.control))
        return tuple(ranked[:_CARRIED])

    def hear(self, report: Report) -> None:
        """Take in a report about its own service."""
        self.reports[(report.service, report.environment)] = report
        for grown, log_p in ((self.grown, self.log_p), (self.grown_past, self._past)):
            if log_p < (grown[-1][1] if grown else 0.0):
                grown.append((report.time, log_p))

    def glimpse(self, report: Report) -> None:
        """Take in a report about another service."""
        place = (report.service, report.environment)
        known = self.seen.get(place)
        if known is None or report.log_p < known.log_p:
            grown = (*(known.grown if known is not None else ()), (report.time, report.log_p))
            self.seen[place] = Sight(report.service, report.log_p, grown, report.onset)

    @property
    def newest_sample(self) -> int | None:
        """Event time (ms) of the newest sample that anything said of its service rests on."""
        told = (one.time if one.newest_sample is None else one.newest_sample for one in self.reports.values())
        return max(told, default=None)

    @property
    def sample_age_ms(self) -> int:
        """How old the newest sample was when it came, where that was longest."""
        return max((one.sample_age_ms for one in self.reports.values()), default=0)

    def look(self) -> int:
        """How long a look takes, ms."""
        reports = self.reports.values()
        return max(((one.time - self.change.time) // one.looks for one in reports if one.looks), default=0)

    def _sights(self, before: int) -> tuple[Sight, ...]:
        """What other services had shown by then."""
        return tuple(sight.by(before) for _, sight in sorted(self.seen.items()))

    def log_e(self, neighbours: Collection[str], before: int) -> float:
        """The e-value of its own service, with a small part of the mean over its neighbours; a log."""
        own = log_p_to_log_e(self.log_p)
        near = [log_p_to_log_e(one.log_p) for one in self._sights(before) if one.service in neighbours]
        if not near:
            return own
        # The mean of e-values is one, whatever they have to do with each other.
        quiet = max(0, len(neighbours) - len(near))
        mean = [one + log(_NEAR / (len(near) + quiet)) for one in near]
        together = [own + log(1.0 - _NEAR), *sorted(mean)]
        most = max(together)
        return most + log(fsum(exp(one - most) for one in together))

    def suspect(self, before: int) -> Suspect:
        """As it stands, with what other services had shown `before`."""
        change, reports = self.change, list(self.reports.values())
        onsets = [report.onset for report in reports if report.onset is not None]
        log_p, grown = self.log_p, self.grown
        if _alone(reports):
            # Compared with what the old had been, new instances look worse than they are: they differ for ever.
            log_p, grown = _ALONE * log_p, [(time, _ALONE * value) for time, value in grown]
            if self._past < log_p:
                log_p, grown = self._past, self.grown_past
        return Suspect(
            service=change.service,
            log_p=log_p,
            grown=tuple(grown),
            onset=min(onsets, default=None),
            change=change.id,
            environment=change.environment,
            since=change.time,
            control=_control(reports),
            named=bool(change.version or change.instances),
            steps=self.steps,
            seen=self._sights(before),
            slack=_ONE_MOMENT * self.look(),
        )


def _smallest(log_p: Sequence[float]) -> float:
    """The smallest of several, paid for by their number."""
    return min(0.0, min(log_p, default=0.0) + log(len(log_p) or 1))


def _alone(reports: Sequence[Report]) -> bool:
    """Whether new instances stand out while no old one is left beside them, which is no control."""
    findings = [finding for report in reports for finding in report.findings if finding.control == "concurrent"]
    return (
        any(one.expected is None for one in findings)
        and min((report.families.get("silence", 0.0) for report in reports), default=0.0) > _WORSE
    )


def _control(reports: Sequence[Report]) -> str:
    """What the control beside it says of the new instances: `worse`, `same` though something is wrong, or nothing."""
    families = [report.families for report in reports]
    if any(one.get("silence", 0.0) <= _WORSE for one in families):
        return "worse"
    if _alone(reports):
        return ""
    if any(one.get("concurrent", 0.0) <= _WORSE for one in families):
        return "worse"
    ill = any("concurrent" in one and min(one.values()) <= _WORSE for one in families)
    return "same" if ill and all(one.get("concurrent", 0.0) > _SAME for one in families) else ""

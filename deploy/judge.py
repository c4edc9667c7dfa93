"""The judge: from evidence to verdicts, and from verdicts to freezes. A deterministic state machine over records.

It sees little traffic, and the same records in the same order always give the same decisions with the same ids.
"""

from __future__ import annotations

from math import exp, log

import msgspec

from deploy.blame import ENOUGH, Blame, blame
from deploy.breaker import BreakerState, trip
from deploy.calls import Calls
from deploy.case import Case
from deploy.change import Change, Phase
from deploy.classes import Classes, classes_of, counts
from deploy.evidence import Report
from deploy.freeze import ANY_REVERT, Freeze, FreezeBook
from deploy.lanes import Lanes, LaneTest, counted_lanes
from deploy.order import Order
from deploy.policy import Policies, Policy
from deploy.scope import Matcher
from deploy.times import format_duration
from deploy.verdict import Verdict, VerdictState
from detectors.combine import log_p_to_log_e

Decision = Verdict | Freeze


class Judge:
    """The decision side of haltline. Each change is judged by the policy that was in force when it began."""

    def __init__(self, policy: Policy | Policies) -> None:
        self._policies = Policies.of(policy)
        #: The policy by which classes and lanes are counted: that of the latest change.
        self.policy = self._policies.at(0)
        self.freezes = FreezeBook()
        self._cases: dict[str, Case] = {}
        self._calls: list[tuple[Policy, Calls]] = []
        self._newest = 0
        self._early: dict[str, list[Report]] = {}
        self._breakers: dict[tuple[str, str], BreakerState] = {}
        self._good: dict[tuple[str, str], tuple[int, str]] = {}
        self.classes, self.lanes = Classes(self.policy), Lanes(self.policy)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def change(self, change: Change) -> list[Decision]:
        """Take in a change or a later phase of one."""
        case = self._cases.get(change.id)
        if case is None:
            if change.phase is Phase.PLANNED:
                return []
            policy = self._policies.at(change.time)
            end = change.watch_until
            if end is None:
                end = change.time + policy.for_change(change).watch.length(0)
            self._count_by(policy, change.time)
            case = self._cases[change.id] = Case(change, end, policy)
            self.classes.started(change)
            self.lanes.started(change)
            decisions = self._say(case, change.time, VerdictState.WARMING, "watched since it started")
            for report in self._early.pop(change.id, ()):
                decisions += self.report(report)
            return decisions
        if change.phase in (Phase.ROLLED_BACK, Phase.FAILED) and not case.reports:
            case.end = min(case.end, change.time)
        case.later(change)
        return []

    def report(self, report: Report) -> list[Decision]:
        """Take in evidence; returns the verdict where it changed, and the freeze where one is due."""
        case = self._cases.get(report.change)
        if case is None:
            # The change is on its way on another topic; its evidence waits for it.
            self._early.setdefault(report.change, []).append(report)
            return []
        if case.ended:
            return []
        if report.service != case.change.service:
            case.glimpse(report)
            return []
        known = case.reports.get((report.service, report.environment))
        if known is not None and (report.time, report.looks) < (known.time, known.looks):
            # Told again after a restart: what is known goes further already.
            return []
        case.hear(report)
        decisions = self._assess(case, report.time)
        if all(one.ended for one in case.reports.values()):
            decisions += self._close(case, report.time)
        return decisions

    def order(self, order: Order) -> list[Decision]:
        """Carry out an operator's order."""
        return list(self.freezes.order(order))

    def advance(self, now: int) -> list[Decision]:
        """Time has come to `now`: a change of which no telemetry ever came stays inconclusive."""
        decisions: list[Decision] = []
        for case in self._open():
            if not case.reports and now >= case.end:
                decisions += self._close(case, case.end)
        return decisions

    def unheard(self) -> list[tuple[str, int]]:
        """The changes of which no evidence has come, and how many ms each is watched."""
        return [(case.change.id, case.end - case.change.time) for case in self._open() if not case.reports]

    def close_unheard(self, identity: str) -> list[Decision]:
        """Nothing will be heard of this change any more."""
        case = self._cases[identity]
        return [] if case.reports or case.ended else self._close(case, case.end)

    def finish(self, now: int) -> list[Decision]:
        """The input ends: the last word on every change."""
        decisions: list[Decision] = []
        for case in self._open():
            decisions += self._close(case, max(case.change.time, min(now, case.end)))
        return decisions

    def known(self, verdict: Verdict) -> None:
        """A verdict spoken before this process started: it stands, and the change's late evidence changes nothing."""
        case = self._cases.get(verdict.change)
        if case is not None and verdict.ended:
            case.verdict = verdict

    # -- by which policy ----------------------------------------------------------------------------------------------

    def _count_by(self, policy: Policy, time: int) -> None:
        """Count classes and lanes by the policy of the latest change; a new one counts again what was counted."""
        newer, self._newest = time >= self._newest, max(time, self._newest)
        if policy is self.policy or not newer:
            return
        self.policy = policy
        starts = [one.change for one in self._cases.values()]
        verdicts = {one.change.id: one.verdict for one in self._cases.values() if one.verdict is not None}
        self.classes, self.lanes = classes_of(policy, starts, verdicts), counted_lanes(policy, starts, verdicts)

    def _calls_of(self, case: Case) -> Calls:
        """Who calls whom, by the policy of a change."""
        found = next((calls for policy, calls in self._calls if policy is case.policy), None)
        if found is None:
            self._calls.append((case.policy, found := Calls(case.policy)))
        return found

    # -- what follows from it -----------------------------------------------------------------------------------------

    def _open(self) -> list[Case]:
        return sorted((one for one in self._cases.values() if not one.ended), key=lambda one: (one.end, one.change.id))

    def _blame(self, case: Case, now: int) -> Blame:
        """How the changes that were active at once with this one share what was seen.

        Of other services what they had shown a look before: theirs comes by another way, and what has already come of
        this very moment would make the decision depend on who was read first.
        """
        before = now - case.look()
        active = [
            other.suspect(before)
            for other in self._cases.values()
            if other is case
            or (
                (other.reports or other.seen)
                and other.change.time <= now
                # Watches that had ended before this change began saw nothing of it.
                and (not other.ended or other.ended_at > case.change.time)
            )
        ]
        return blame(active, self._calls_of(case), case.policy.breaker.error_rate)

    def _assess(self, case: Case, now: int) -> list[Decision]:
        if case.harmful:
            return self._discover(case, now)
        breaker = case.policy.for_change(case.change).breaker
        if case.log_p > log(breaker.watch_bar):
            return []
        found = self._blame(case, now)
        if found.fits[case.change.id] < ENOUGH:
            return []
        if case.log_p > log(breaker.error_rate):
            return self._hold(case, now, found)
        decisions = self._say(case, now, VerdictState.HARMFUL, self._because(case), found)
        return decisions + self._freeze(case, now)

    def _hold(self, case: Case, now: int, found: Blame) -> list[Decision]:
        """Early evidence: new starts of its service wait a little, by when it has become enough for a freeze or not."""
        change, until = case.change, now + case.policy.breaker.watch_hold
        if not case.policy.guarded(change.environment) or all(one.ended for one in case.reports.values()):
            return []
        held = case.verdict.hold_until if case.verdict is not None else None
        if until <= (now if held is None else held):
            return []
        reason = f"{self._because(case)}, p={exp(case.log_p):.2g}"
        return self._say(case, now, VerdictState.WARMING, reason, found, hold_until=until)

    def _hold_passes(self, case: Case) -> tuple[tuple[str, ...], ...]:
        """What goes while new starts wait: the last good version, and any revert: who is guilty is not settled yet."""
        last_good = self._last_good(case.change)
        return (*ANY_REVERT, (str(Matcher("version", "=", last_good)),)) if last_good else ANY_REVERT

    def _last_good(self, change: Change) -> str:
        """The version that was running well before this change; empty where none is known, or it is its own."""
        found = change.previous_version or self._good.get((change.service, change.environment), (0, ""))[1]
        return found if found != change.version else ""

    def _discover(self, case: Case, now: int) -> list[Decision]:
        """The freeze that a lane's budget held back, where evidence that has grown since makes it due."""
        if case.verdict is None or case.verdict.discovery:
            return []
        test = self._test(case)
        if not (test.lane.strict and test.discovery):
            return []
        decisions = self._say(case, now, VerdictState.HARMFUL, self._because(case), self._blame(case, now))
        return decisions + self._freeze(case, now)

    def _test(self, case: Case) -> LaneTest:
        return self.lanes.test(case.change.id, log_p_to_log_e(case.log_p))

    def _because(self, case: Case) -> str:
        findings = case.findings()
        return "; ".join(finding.reason for finding in findings[:2]) if findings else f"log p {case.log_p:.2f}"

    def _freeze(self, case: Case, now: int) -> list[Decision]:
        change = case.change
        if not case.policy.guarded(change.environment) or self._test(case).holds_back:
            return []
        scope = (change.service, change.environment)
        breaker = self._breakers.get(scope, BreakerState(*scope))
        self._breakers[scope], freeze = trip(
            breaker, change, now, self._because(case), case.policy, self._last_good(change)
        )
        if freeze is None or self.freezes.get(freeze.id) is not None:
            return []
        return list(self.freezes.record(freeze))

    def _close(self, case: Case, now: int) -> list[Decision]:
        reports = case.reports.values()
        looks = max((report.looks for report in reports), default=0)
        tests = sum(report.tests for report in reports)
        found = self._blame(case, now) if case.reports else None
        if case.harmful:
            state, reason = VerdictState.HARMFUL, self._because(case)
        elif not reports:
            state, reason = VerdictState.INCONCLUSIVE, "no telemetry of its service while it was watched"
        elif case.log_p <= log(case.policy.for_change(case.change).breaker.error_rate):
            fits = 0.0 if found is None else found.fits[case.change.id]
            reason = f"own part of what was seen {fits:.2f} < {ENOUGH}: {self._because(case)}"
            state = VerdictState.INCONCLUSIVE
        elif tests == 0 or looks == 0:
            warming = next((report.warming for report in reports if report.warming), "no control to compare with")
            state, reason = VerdictState.INCONCLUSIVE, f"{warming}, {looks} looks"
        elif not all(report.ended and not report.cut_short for report in reports):
            state, reason = VerdictState.INCONCLUSIVE, f"the input ended after {looks} looks at {tests} signals"
        elif (age := case.sample_age_ms) > (fresh := case.policy.for_change(case.change).watch.fresh):
            late = f"{format_duration(age)} old when it came > {format_duration(fresh)}"
            state, reason = VerdictState.INCONCLUSIVE, f"newest sample {late}, {looks} looks at {tests} signals"
        else:
            state, reason = VerdictState.HEALTHY, f"{looks} looks at {tests} signals, {self._strongest(case)}"
            self._remember_good(case.change)
        return self._say(case, now, state, reason, found, ended=True)

    def _strongest(self, case: Case) -> str:
        findings = case.findings()
        return f"strongest {findings[0].reason}" if findings else "none out of its usual range"

    def _remember_good(self, change: Change) -> None:
        scope = (change.service, change.environment)
        if change.version and self._good.get(scope, (0, ""))[0] <= change.time:
            self._good[scope] = (change.time, change.version)

    def _neighbours(self, case: Case) -> frozenset[str]:
        service = case.change.service
        calls = self._calls_of(case)
        return frozenset(calls.callers(service) + calls.callees(service))

    def _say(
        self,
        case: Case,
        now: int,
        state: VerdictState,
        reason: str,
        found: Blame | None = None,
        *,
        ended: bool = False,
        hold_until: int | None = None,
    ) -> list[Decision]:
        before = case.verdict
        test = self._test(case) if state is VerdictState.HARMFUL else None
        if test is not None and test.holds_back:
            reason = f"{reason}; not frozen: {test.reason}"
        if counts(state, ended):
            for name in self.classes.ended(case.change.id, now, harmful=state is VerdictState.HARMFUL):
                reason = f"{reason}; accuses {name}: {self.classes.view(name).reason}"
        onsets = [report.onset for report in case.reports.values() if report.onset is not None]
        verdict = Verdict(
            change=case.change.id,
            service=case.change.service,
            environment=case.change.environment,
            time=now,
            state=state,
            log_e=case.log_e(self._neighbours(case), now - case.look()),
            blame=0.0 if found is None else found.of(case.change.id),
            shares=() if found is None else found.named(case.change.id),
            reason=reason,
            evidence=case.findings(),
            onset=min(onsets, default=None),
            ended=ended,
            since=before.reached if before is not None and before.state is state else now,
            lane="" if test is None else test.lane.name,
            discovery=test is not None and test.discovery,
            newest_sample=case.newest_sample,
            sample_age_ms=case.sample_age_ms,
        )
        if hold_until is not None:
            mode = case.policy.mode_of(case.change.service, case.change.environment)
            verdict = msgspec.structs.replace(
                verdict, hold_until=hold_until, hold_mode=mode, hold_passes=self._hold_passes(case)
            )
        case.verdict = verdict
        return [verdict]

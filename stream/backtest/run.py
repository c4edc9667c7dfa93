"""The backtest: recorded changes as they were, ghosts beside them, and what follows from both.

One walk over the records, in the order of time, under the policy as it is; then the advice; then a second walk under
the policy that it suggests, so that what is promised of it was done by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from deploy.change import Change
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState
from stream.backtest import advice, guardrails
from stream.backtest.cast import Cast, Quiet, Signal
from stream.backtest.ghost import Ghost, HauntedPipeline, Seen
from stream.backtest.incidents import Incident, Label, incidents_of, recorded
from stream.backtest.proportion import Rate, rate
from stream.backtest.quiet import histories, thin
from stream.backtest.result import Backtest, Case, Metric, Placebo, Recall, Stopped, Suggested, Told
from stream.backtest.shifts import DROP, FAILING, SUCCEEDING, UP
from stream.backtest.sightings import Hits, Sightings, count, told_by
from stream.change_watch import ChangeWatch
from stream.columns import Columns
from stream.replay import decide
from stream.service import ServiceSamples

#: Watches so many times as long are tried on the incidents.
_LENGTHS = (1, 2, 4)
#: Harmful changes whose metrics are looked at one by one, at most.
_LOOKED_AT = 120
#: A shift is seen when so large a share of the moments shows it.
_SEEN = 0.5
#: Incidents below which a share says little.
_FEW = 10
_SHIFTS = tuple(shift.name for shift in (*UP, *DROP, *FAILING, *SUCCEEDING))

Say = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`placebo` changes at most; each metric is harmed at `injections` moments at most; the goal for false freezes."""

    placebo: int = 1_000
    injections: int = 16
    goal_per_1000: float = 5.0


def backtest(
    changes: Sequence[Change],
    columns: Sequence[Columns],
    policy: Policy,
    labels: Sequence[Label] = (),
    options: Options | None = None,
    say: Say = lambda _line: None,
) -> Backtest:
    """Run haltline over a recorded history; the same input gives the same result. `say` hears how far it is."""
    return _Backtest(changes, columns, policy, labels, options or Options(), say).run()


class _Verdicts:
    """What the pipeline said of the recorded changes."""

    def __init__(self) -> None:
        self.harmful: dict[str, Verdict] = {}
        self.last: dict[str, Verdict] = {}

    def take(self, verdict: Verdict) -> None:
        self.last[verdict.change] = verdict
        if verdict.state is VerdictState.HARMFUL:
            self.harmful.setdefault(verdict.change, verdict)

    def first_of(self, changes: Iterable[str]) -> Verdict | None:
        """The first of these changes that was found harmful."""
        found = (self.harmful[one] for one in changes if one in self.harmful)
        return min(found, key=lambda one: (one.time, one.change), default=None)


class _Backtest:
    def __init__(
        self,
        changes: Sequence[Change],
        columns: Sequence[Columns],
        policy: Policy,
        labels: Sequence[Label],
        options: Options,
        say: Say,
    ) -> None:
        self.changes, self.columns, self.policy = changes, columns, policy
        self.options, self.say = options, say
        self.histories = histories(columns)
        self.made = recorded(changes)
        periods = {one.service: one.period for one in self.histories}
        self.incidents, self.unmatched = incidents_of(self.made, labels, policy, periods)
        self.harmful = list(dict.fromkeys(identity for one in self.incidents for identity in one.changes))
        self.cast = Cast(self.histories, self.made, labels)
        self.signals = self.cast.signals(policy)
        self.by_metric: dict[str, list[Signal]] = {}
        for one in self.signals:
            self.by_metric.setdefault(one.metric, []).append(one)

    def run(self) -> Backtest:
        quiet = self.cast.quiet(self.policy)
        looked_at = [self.made[identity] for identity in thin(self.harmful, _LOOKED_AT)]
        ghosts = self.cast.placebos(quiet, self.policy, self.options.placebo)
        ghosts += self.cast.trials(quiet, self.signals, self.policy, self.options.injections)
        for one in looked_at:
            ghosts += self.cast.alone(one, self.signals, self.policy)
            ghosts += self.cast.again(one, self.policy, _LENGTHS)
        seen = Sightings(self.policy.breaker.error_rate, self.signals)
        verdicts = self._walk(self.policy, ghosts, seen.take)

        cases = [self._case(incident, verdicts, seen) for incident in self.incidents]
        heard = [[seen.heard.get(identity, ()) for identity in case.changes] for case in cases]
        evidence = guardrails.Evidence(seen.heard_placebos, heard)
        metrics = guardrails.choose(self._metrics(seen, cases), evidence, self.options.goal_per_1000)
        placebo = self._placebo(seen, quiet)
        suggested, better = self._suggest(seen, cases, metrics, verdicts)
        recall = self._recall([_with(case, better) for case in cases], verdicts)
        return Backtest(
            history=self._told(),
            goal_per_1000=self.options.goal_per_1000,
            placebo=placebo,
            incidents=recall,
            metrics=tuple(_named(metrics, suggested.guardrails)),
            suggested=suggested,
            notes=tuple(self._notes(placebo, recall, len(looked_at))),
        )

    def _walk(
        self, policy: Policy, ghosts: Sequence[Ghost], take: Callable[[Seen, ServiceSamples, ChangeWatch], None]
    ) -> _Verdicts:
        done = 0

        def told(seen: Seen, service: ServiceSamples, watch: ChangeWatch) -> None:
            nonlocal done
            take(seen, service, watch)
            done += 1
            if done * 10 // len(ghosts) > (done - 1) * 10 // len(ghosts):
                self.say(f"{done} of {len(ghosts)} watches")

        verdicts = _Verdicts()
        for decision in decide(self.changes, self.columns, policy, HauntedPipeline(policy, ghosts, told)):
            if isinstance(decision, Verdict):
                verdicts.take(decision)
        return verdicts

    # -- what came out ------------------------------------------------------------------------------------------------

    def _told(self) -> Told:
        lives = [life for one in self.histories for life in one.series.values()]
        return Told(
            starts_at=min((life.first for life in lives), default=None),
            ends_at=max((life.last for life in lives), default=None),
            services=len(self.histories),
            series=len(lives),
            samples=sum(one.samples for one in self.histories),
            changes=len(self.made),
            error_rate=self.policy.breaker.error_rate,
            guardrails=tuple(rail.name for rail in self.policy.guardrails),
        )

    def _placebo(self, seen: Sightings, quiet: Quiet) -> Placebo:
        judged = seen.judged
        return Placebo(
            moments=len(quiet.moments),
            changes=len(judged),
            unjudged=len(seen.placebos) - len(judged),
            canaries=sum(bool(one.ghost.change.instances) for one in judged),
            rates=tuple(seen.at(rate) for rate in sorted({*guardrails.ERROR_RATES, self.policy.breaker.error_rate})),
            frozen=tuple(seen.false_freezes()),
            without=quiet.without,
        )

    def _case(self, incident: Incident, verdicts: _Verdicts, seen: Sightings) -> Case:
        verdict = verdicts.first_of(incident.changes)
        if verdict is not None:
            identity = verdict.change
        else:
            before = [one for one in incident.changes if self.made[one].change.time <= (incident.harm_at or 2**62)]
            identity = (before or incident.changes)[-1]
        alone = dict(sorted(seen.alone.get(identity, {}).items(), key=lambda item: (item[1], item[0])))
        finding = verdict.evidence[0] if verdict is not None and verdict.evidence else None
        last = verdicts.last.get(identity)
        metric = told_by(finding) if finding is not None else next(iter(alone), "")
        curves = seen.curves.get(identity, {})
        return Case(
            name=incident.name,
            why=incident.why,
            service=incident.service,
            changes=incident.changes,
            change=identity,
            began_at=self.made[identity].change.time,
            harm_at=incident.harm_at,
            noticed_at=incident.noticed_at,
            caught_at=None if verdict is None else verdict.time,
            metric=metric,
            control="" if finding is None else finding.control,
            reason=verdict.reason if verdict is not None else "" if last is None else f"{last.state}: {last.reason}",
            alone=alone,
            lengths=dict(sorted(seen.longer.get(identity, {}).items())),
            curve=curves.get(metric) or next((curves[one] for one in alone if one in curves), None),
        )

    def _recall(self, cases: Sequence[Case], verdicts: _Verdicts) -> Recall:
        others = [one.change for identity, one in self.made.items() if identity not in set(self.harmful)]
        stopped = [verdicts.harmful[change.id] for change in others if change.id in verdicts.harmful]
        hits: Hits = {}
        for change in others:
            count(hits, change.service, change.id in verdicts.harmful)
        return Recall(
            cases=tuple(cases),
            caught=_caught(cases, verdicts),
            alone=tuple(label.name for label in self.unmatched),
            others=rate(hits),
            stopped=tuple(Stopped(one.change, one.service, one.time, one.reason) for one in stopped),
        )

    def _metrics(self, seen: Sightings, cases: Sequence[Case]) -> list[Metric]:
        told = [case.alone for case in cases if case.alone]
        metrics = []
        for name, signals in self.by_metric.items():
            shifts = seen.visible(name, _SHIFTS)
            metrics.append(
                Metric(
                    metric=name,
                    services=len({one.history.service for one in signals}),
                    ratio=bool(signals[0].id.over),
                    bounded=all(one.bounded for one in signals),
                    false=seen.false(name),
                    spoke=sum(name in one for one in told),
                    first=sum(one.get(name) == min(one.values()) for one in told),
                    shifts=shifts,
                    sees=next((shift.shift for shift in shifts if shift.share >= _SEEN), ""),
                    least=seen.least(name),
                )
            )
        return metrics

    def _suggest(
        self, seen: Sightings, cases: Sequence[Case], metrics: Sequence[Metric], verdicts: _Verdicts
    ) -> tuple[Suggested, _Verdicts]:
        """The policy to set, and what it makes of the same history."""
        goal, own = self.options.goal_per_1000, self.policy
        rails = guardrails.as_policy(metrics, {metric: of[0].id for metric, of in self.by_metric.items()})
        length = max((own.watch.length(one.period) for one in self.histories), default=0)
        watch, why_watch = advice.choose_watch(cases, own, length)
        policy, better = own, verdicts
        best = advice.measured(seen, cases, goal)
        why_rails = "guardrails: as they are; no other set of metrics did better than these"
        new = advice.suggested(own, own.breaker.error_rate, watch, rails or own.guardrails)
        if new != own:
            self.say("all of it again, under a policy that may be better")
            again = Sightings(own.breaker.error_rate, self.cast.signals(new))
            ghosts = self.cast.placebos(self.cast.quiet(new), new, self.options.placebo)
            for identity in thin(self.harmful, _LOOKED_AT):
                ghosts += self.cast.again(self.made[identity], new)
            tried = self._walk(new, ghosts, again.take)
            now = advice.measured(again, cases, goal)
            named = ", ".join(rail.name for rail in rails) or "nothing else"
            against = f"{now.text} with them, {best.text} as it was"
            if now.better_than(best, goal, named=bool(own.guardrails)):
                if rails and not own.guardrails:
                    against += _narrow(seen, [rail.name for rail in rails])
                why_rails, policy, better, best = f"guardrails: {named}: {against}", new, tried, now
            else:
                why_rails = f"guardrails and watch: as they are; tried {named}: {against}"
                why_watch = ""
        if best.error_rate != policy.breaker.error_rate:
            policy = advice.suggested(policy, best.error_rate, policy.watch.at_least, policy.guardrails)
            self.say("the recorded changes again, at the suggested error rate")
            better = self._walk(policy, [], lambda *_seen: None)
        return Suggested(
            policy=advice.fragment(policy, {one.metric: one.why for one in metrics}),
            error_rate=best.error_rate,
            watch_ms=policy.watch.at_least,
            guardrails=tuple(rail.name for rail in policy.guardrails),
            reasons=tuple(why for why in (best.why, why_watch, why_rails) if why),
            false=best.false,
            caught=_caught(cases, better),
        ), better

    def _notes(self, placebo: Placebo, recall: Recall, looked_at: int) -> Iterator[str]:
        goal = self.options.goal_per_1000
        needed = advice.enough_for(goal)
        if placebo.changes < needed:
            yield (
                f"{placebo.changes} placebo changes cannot show a rate of {goal:g} per 1,000: {needed} without a "
                "freeze would; more history gives more quiet moments"
            )
        if placebo.without:
            count = f"{len(placebo.without)} of {len(self.histories)}"
            yield f"{count} services have no quiet moment and are not in the rate"
        if not recall.cases:
            yield "no incident is known, so what would be caught is told by injected harm only; --incidents labels some"
        elif len(recall.cases) < _FEW:
            yield f"few incidents are known ({len(recall.cases)}): see the interval of the share caught"
        if recall.alone:
            yield f"{len(recall.alone)} incidents have no recorded change before them; haltline judges changes only"
        if looked_at < len(self.harmful):
            yield f"metrics were looked at one by one in {looked_at} of {len(self.harmful)} harmful changes"
        yield "guardrails and error rate were chosen on the history that they are told of: expect a little less later"


def _narrow(seen: Sightings, rails: Sequence[str]) -> str:
    """What naming metrics does for harm that only one of them shows."""
    (named, of), (unnamed, _) = seen.shown(rails, len(rails)), seen.shown(rails, 0)
    return f"; harm in one of them alone is seen at {named} of {of} moments, {unnamed} while none is named"


def _named(metrics: Iterable[Metric], guardrails: Sequence[str]) -> Iterator[Metric]:
    """The metrics, marked as the policy that is suggested names them."""
    for metric in metrics:
        named = metric.metric in guardrails
        why = f"tried, did no better: {metric.why}" if metric.guardrail and not named else metric.why
        yield msgspec.structs.replace(metric, guardrail=named, why=why)


def _with(case: Case, verdicts: _Verdicts) -> Case:
    verdict = verdicts.first_of(case.changes)
    return msgspec.structs.replace(case, suggested_at=None if verdict is None else verdict.time)


def _caught(cases: Iterable[Case], verdicts: _Verdicts) -> Rate:
    hits: Hits = {}
    for case in cases:
        count(hits, case.service, verdicts.first_of(case.changes) is not None)
    return rate(hits)

"""What is on its way: the changes that run, start and did harm by lane, and what each person approved and was asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import groupby

import msgspec

from deploy.change import Approver, Change, Origin, Phase, labels_of
from deploy.errors import InvalidTime
from deploy.people import People
from deploy.policy import Policy
from deploy.question import Question
from deploy.scope import Matcher, covers
from deploy.times import HOUR_MS, parse_time
from deploy.verdict import Verdict, VerdictState

DAY_MS = 24 * HOUR_MS
#: Where changes are that no lane of the policy matches.
NO_LANE = ""
#: A rollout that says nothing for so long is not running any more; its end was lost.
LOST_MS = 2 * HOUR_MS
#: What a policy cannot ask back after: a change older than this is forgotten.
_REMEMBERED_MS = 90 * DAY_MS

Labels = dict[str, tuple[str, ...]]


class Known(msgspec.Struct):
    """One change as far as it was heard of; times are Unix milliseconds, `share` is what it last said of itself."""

    change: Change
    labels: Labels
    lane: str
    heard_at: int
    started_at: int | None = None
    ended_at: int | None = None
    share: float | None = None
    share_since: int | None = None
    approvers: tuple[Approver, ...] = ()

    def running(self, now: int) -> bool:
        """Whether its rollout is under way at `now`."""
        if self.started_at is None or now < self.started_at:
            return False
        return (self.ended_at is None or now < self.ended_at) and now < self.heard_at + LOST_MS


def labels_at_gate(change: Change, policy: Policy) -> Labels:
    """The labels that the gate's rules match: an unknown origin has beside it what the policy treats it as."""
    labels = labels_of(change, policy.tier_of(change.service))
    provenance, rules = change.provenance, policy.approvals
    unsure = provenance.confidence is not None and provenance.confidence < rules.least_confidence
    if provenance.origin is Origin.UNKNOWN or (unsure and provenance.origin is Origin.HUMAN):
        labels["origin"] = tuple(dict.fromkeys((Origin.UNKNOWN.value, rules.unknown)))
    return labels


class Traffic:
    """A fold of changes, verdicts and questions under one policy: each any number of times, a change's in its order."""

    def __init__(self, policy: Policy, changes: Iterable[Change] = (), questions: Iterable[Question] = ()) -> None:
        self._policy = policy
        self._people = People(policy)
        self._known: dict[str, Known] = {}
        self._running: dict[str, Known] = {}
        self._running_at: tuple[int | None, list[Known]] = (None, [])
        #: By scope and change: whether it is in it.
        self._covered: dict[tuple[Matcher, ...], dict[str, bool]] = {}
        self._services: set[str] = set()
        self._starts: dict[str, list[tuple[int, str]]] = {}
        self._harm: dict[str, tuple[int, str]] = {}
        self._approvals: dict[str, list[tuple[int, str]]] = {}
        self._questions: dict[str, list[Question]] = {}
        self._asked: dict[str, list[int]] = {}
        for change in changes:
            self.change(change)
        for question in questions:
            self.question(question)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def change(self, change: Change, told: Change | None = None) -> None:
        """Take in a change or a later phase of one; `told` is it with what others told of its way, which sorts it."""
        self._running_at = (None, [])
        self._note_approvals(change)
        self._services.add(change.service)
        known = self._known.get(change.id)
        if known is None:
            labels = labels_at_gate(change if told is None else told, self._policy)
            lane = self._policy.lane_of(labels)
            name = NO_LANE if lane is None else lane.name
            known = self._known[change.id] = Known(change, labels, name, change.time)
        known.heard_at = max(known.heard_at, change.time)
        # Later records often say less: every approval that was told of stays.
        known.approvers = tuple(dict.fromkeys((*known.approvers, *change.provenance.approvers)))
        if change.phase is not Phase.PLANNED and (known.started_at is None or change.time < known.started_at):
            starts = self._starts.setdefault(known.lane, [])
            if known.started_at is not None:
                starts.remove((known.started_at, change.id))
            known.started_at = change.time
            insort(starts, (change.time, change.id))
        share = 1.0 if change.phase is Phase.FINISHED else change.rollout.share
        later = known.share_since is None or change.time >= known.share_since
        if change.phase is not Phase.PLANNED and share is not None and share != known.share and later:
            known.share, known.share_since = share, change.time
        if change.phase in (Phase.FINISHED, Phase.ROLLED_BACK, Phase.FAILED):
            known.ended_at = min(change.time, known.ended_at or change.time)
        if known.ended_at is None and known.started_at is not None:
            self._running[change.id] = known
        else:
            self._running.pop(change.id, None)

    def verdict(self, verdict: Verdict) -> None:
        """Take in a verdict: harm cools its lane off."""
        if verdict.state is not VerdictState.HARMFUL:
            return
        known = self._known.get(verdict.change)
        lane = verdict.lane if known is None else known.lane
        # The first word of its harm counts: that it is still harmful is no new harm.
        self._harm[lane] = max(self._harm.get(lane, (0, "")), (verdict.reached, verdict.change))

    def question(self, question: Question) -> None:
        """Take in a question that was asked."""
        asked = self._questions.setdefault(question.id, [])
        if not any((one.to, one.asked_at) == (question.to, question.asked_at) for one in asked):
            asked.append(question)
            asked.sort(key=lambda one: (one.asked_at, one.to))
            insort(self._asked.setdefault(question.to, []), question.asked_at)

    def _note_approvals(self, change: Change) -> None:
        for approver in change.provenance.approvers:
            if approver.refused:
                continue
            who = self._people.find(approver.who) or approver.who
            try:
                at = parse_time(approver.at)
            except InvalidTime:
                continue
            self._approved(who, at, change.id)

    def approved(self, who: str, at: int, of: str) -> None:
        """Take in an approval that was told by itself, of a change or of a revision."""
        self._approved(self._people.find(who) or who, at, of)

    def _approved(self, who: str, at: int, of: str) -> None:
        given = self._approvals.setdefault(who, [])
        place = bisect_left(given, (at, of))
        if given[place : place + 1] != [(at, of)]:
            given.insert(place, (at, of))

    # -- what is asked ------------------------------------------------------------------------------------------------

    def known(self, change: str) -> Known | None:
        return self._known.get(change)

    def hears_of(self, service: str) -> bool:
        """Whether anybody told of a change of this service."""
        return service in self._services

    def revisions(self, service: str, version: str) -> list[str]:
        """The revisions that were told of a version of a service, sorted."""
        told = (known.change for known in self._known.values())
        found = {one.vcs.revision for one in told if version and (one.service, one.version) == (service, version)}
        return sorted(found - {""})

    def running(self, now: int) -> list[Known]:
        """The changes whose rollout is under way at `now`."""
        # Two rules ask at the same moment.
        if self._running_at[0] != now:
            self._running_at = now, [known for known in self._running.values() if known.running(now)]
        return self._running_at[1]

    def running_in(self, scope: tuple[Matcher, ...], now: int) -> list[Known]:
        """Those under way at `now` that are in this scope; one without matchers is everything."""
        running = self.running(now)
        if not scope:
            return running
        covered = self._covered.setdefault(scope, {})
        found = []
        for known in running:
            hit = covered.get(known.change.id)
            if hit is None:
                # Asked once, as the labels of a change do not change.
                hit = covered[known.change.id] = covers(scope, known.labels)
            if hit:
                found.append(known)
        return found

    def starts(self, lane: str, since: int, now: int) -> list[tuple[int, str]]:
        """When which changes of a lane started, after `since` and up to `now`."""
        starts = self._starts.get(lane, [])
        return starts[bisect_right(starts, (since, "\U0010ffff")) : bisect_right(starts, (now, "\U0010ffff"))]

    def harm(self, lane: str) -> tuple[int, str] | None:
        """When a change of this lane last became harmful, and which."""
        return self._harm.get(lane)

    def approvals(self, who: str, since: int, until: int) -> list[tuple[int, str]]:
        """When this person approved which change, or which revision where only that was told, after `since` and up to
        `until`.
        """
        given = self._approvals.get(who, [])
        found = given[bisect_right(given, (since, "\U0010ffff")) : bisect_right(given, (until, "\U0010ffff"))]
        if len({at for at, _ in found}) == len(found):
            return found
        # Of one moment a record names the change and a forge the revision: told by both, it is one approval. Several
        # of one moment that the same one told are as many: who approves by a script does it within a second.
        kept: list[tuple[int, str]] = []
        for _, group in groupby(found, key=lambda one: one[0]):
            moment = list(group)
            changes = [one for one in moment if one[1] in self._known]
            others = [one for one in moment if one[1] not in self._known]
            kept += changes if len(changes) >= len(others) else others
        return kept

    def asked(self, question: str) -> list[Question]:
        """Everybody who was asked this question so far, the first first."""
        return self._questions.get(question, [])

    def questions(self, since: int) -> list[Question]:
        """Every question asked after `since`, in the order of their ids."""
        return [
            one for identity in sorted(self._questions) for one in self._questions[identity] if one.asked_at > since
        ]

    def questions_to(self, who: str, since: int) -> list[int]:
        """When this person was asked anything, after `since`."""
        asked = self._asked.get(who, [])
        return asked[bisect_left(asked, since + 1) :]

    def forget(self, now: int) -> None:
        """Drop what nothing can ask for any more."""
        self._running_at = (None, [])
        for identity in [one for one, known in self._known.items() if known.heard_at < now - _REMEMBERED_MS]:
            del self._known[identity]
        for covered in self._covered.values():
            for identity in [one for one in covered if one not in self._running]:
                del covered[identity]
        for identity in [one for one, known in self._running.items() if known.heard_at < now - LOST_MS]:
            del self._running[identity]
        for starts in self._starts.values():
            del starts[: bisect_left(starts, (now - DAY_MS, ""))]
        for given in self._approvals.values():
            del given[: bisect_left(given, (now - 2 * DAY_MS, ""))]
        for asked in self._asked.values():
            del asked[: bisect_left(asked, now - DAY_MS)]

"""The gate as commands and the server ask it: the state out of Kafka, or what the policy says where that is away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.change import Change
from deploy.errors import DeployError
from deploy.freeze import Freeze, state_of
from deploy.freeze import State as FreezeState
from deploy.gate import Answer, Decision, GateState, Request, decide
from deploy.policy import LONGEST_COOL_OFF, Policy, Unreachable
from deploy.rule import Word
from deploy.times import HOUR_MS, MINUTE_MS, format_duration
from deploy.traffic import DAY_MS, Traffic
from deploy.verdict import LONGEST_HOLD, Verdict
from haltline import last_known, rules
from haltline.broker import KafkaRefused, NoBroker
from haltline.errors import HaltlineError
from haltline.last_known import LastKnown, NotKept
from haltline.settings import Settings
from haltline.view import CHANGES, FREEZES, LEDGER, ORDERS, POLICIES, VERDICTS, View, Warn, view

if TYPE_CHECKING:
    from deploy.chain import Chain

#: How far back the gate's rules look: a day, and what clocks may differ by.
BACK_MS = DAY_MS + HOUR_MS
#: How far back is read what was told of a change: it may be written, reviewed and built days before it goes out.
TOLD_MS = 7 * DAY_MS + HOUR_MS

#: Haltline is away, which is for the policy to answer; anything else is an error of the one who asks.
AWAY = (NoBroker, KafkaRefused)


class Memory:
    """What the gate answers from: the topics folded, under one policy, as new records come."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.traffic = Traffic(policy)
        self.changes: list[Change] = []
        self._approvals = 0

    def hear(self, change: Change, told: Change | None = None) -> None:
        """Take in a change; `told` is it with what others told of its way."""
        self.changes.append(change)
        self.traffic.change(change, told)

    def hear_from(self, seen: View, heard: Iterable[Change]) -> None:
        """Take in what was heard so far, and from now on whatever is, each with what was told of its way by then."""
        told = seen.state.chain.enrich
        for change in heard:
            self.hear(change, told(change))
        seen.state.hear_by(lambda change: self.hear(change, told(change)))

    def under(self, policy: Policy, seen: View) -> Memory:
        """The same under another policy: lanes and people are read anew."""
        memory = Memory(policy)
        memory.hear_from(seen, list(self.changes))
        for question in self.traffic.questions(0):
            memory.traffic.question(question)
        memory.catch_up(seen)
        return memory

    def catch_up(self, seen: View) -> None:
        """Fold in what was read at the beginning beside the changes."""
        for verdict in seen.state.verdicts.values():
            self.traffic.verdict(verdict)
        for question in seen.state.questions.values():
            self.traffic.question(question)
        self.note_approvals(seen)

    def note_approvals(self, seen: View) -> None:
        """Count the approvals that were told by themselves since this was last done."""
        given = seen.state.chain.given
        for who, at, of in given[self._approvals :]:
            self.traffic.approved(who, at, of)
        self._approvals = len(given)

    def known(
        self, freezes: Iterable[Freeze], verdicts: Iterable[Verdict], now: int, told: rules.InForce | None,
        *, asked_since: int, chain: Chain | None = None,
    ) -> LastKnown:  # fmt: skip
        """What is kept for when Kafka is away; `told` is the policy where that came by its topic."""
        pieces = () if chain is None else (one for one in chain.told() if one.time is None or one.time > now - TOLD_MS)
        return LastKnown(
            taken_at=now,
            freezes=tuple(freezes),
            verdicts=tuple(verdicts),
            changes=tuple(one for one in self.changes if one.time > now - BACK_MS),
            questions=tuple(self.traffic.questions(asked_since)),
            pieces=tuple(pieces),
            policy=None if told is None else told.record,
        )

    def state(self, seen: View, now: int) -> GateState:
        self.note_approvals(seen)
        return GateState(
            traffic=self.traffic,
            freezes=[one for one in seen.state.freezes if state_of(one, now) is not FreezeState.EXPIRED],
            verdicts=[one for one in seen.state.verdicts.values() if one.held_at(now)],
            joined=seen.state.chain.enrich,
        )


@contextmanager
def watching(
    settings: Settings,
    now: int,
    warn: Warn = lambda _line: None,
    *,
    policy: Policy | None = None,
    whole: bool = False,
) -> Iterator[tuple[Memory, View]]:
    """The gate's memory, read from Kafka and open for what follows; `whole` reads every change that is kept.

    It is under `policy`, or where that is None under the one that the topic has put in force.

    Raises:
        HaltlineError: as `haltline.view.view`.
    """
    heard: list[Change] = []
    cool_off = LONGEST_COOL_OFF if policy is None else _cool_off(policy)
    since = {VERDICTS: now - max(2 * LONGEST_HOLD, cool_off), LEDGER: now - BACK_MS}
    if not whole:
        since |= dict.fromkeys(settings.change_topics, now - TOLD_MS)
    topics = (FREEZES, ORDERS, VERDICTS, CHANGES, LEDGER, *(() if policy is not None else (POLICIES,)))
    with view(settings, topics=topics, warn=warn, since=since, hear=heard.append) as seen:
        memory = Memory(policy if policy is not None else rules.told(seen.state, warn).policy)
        memory.hear_from(seen, heard)
        memory.catch_up(seen)
        yield memory, seen


def ask(settings: Settings, request: Request, now: int, warn: Warn = lambda _line: None) -> Answer:
    """The answer from Kafka as it is now, kept for when it is away; from the policy's word where it is.

    Raises:
        HaltlineError: nothing can be found out, and the policy does not say what then.
        InvalidPolicy: the file of the policy is none.
    """
    named = rules.named(settings, warn)
    policy = None if named is None else named.policy
    try:
        # What a revert undoes may be older than what the other rules look at.
        with watching(settings, now, warn, policy=policy, whole=bool(request.change.reverts)) as (memory, seen):
            state = memory.state(seen, now)
            told = None if named is not None else seen.state.policies.latest()
            chain = seen.state.chain
    except AWAY as error:
        policy = policy if policy is not None else kept_policy(settings, warn)
        return decide(request, policy, without(settings, policy, request.change.service, str(error), now), now)
    keep(settings, memory, state, now, warn, told, chain)
    return decide(request, memory.policy, state, now)


def kept_policy(settings: Settings, warn: Warn = lambda _line: None) -> Policy:
    """The policy that was in force by its topic when Kafka was last reached; one that says nothing where none is kept.

    However old it is: it is what people decided in advance for this.
    """
    try:
        record = last_known.recall(settings).policy
        return Policy() if record is None else record.read()[0]
    except (NotKept, DeployError) as error:
        if last_known.file_of(settings).exists():
            warn(f"no policy: {error}")
        return Policy()


def keep(
    settings: Settings, memory: Memory, state: GateState, now: int, warn: Warn, told: rules.InForce | None = None,
    chain: Chain | None = None,
) -> None:  # fmt: skip
    """Keep what the gate knows for when Kafka is away; `told` is its policy where that came by the topic."""
    known = memory.known(state.freezes, state.verdicts, now, told, asked_since=now - DAY_MS, chain=chain)
    try:
        last_known.keep(settings, known)
    except HaltlineError as error:
        warn(str(error))


def without(settings: Settings, policy: Policy, service: str, why: str, now: int) -> GateState:
    """What the gate answers from while haltline cannot be reached, by the policy's word for this service.

    Raises:
        HaltlineError: the policy does not say.
    """
    said = policy.when_unreachable(service)
    tier = policy.tier_of(service)
    whose = f"tier {tier}" if tier is not None else f"{service}, which has no tier"
    away = f"haltline cannot be reached ({why.partition(';')[0]})"
    if said is None:
        raise NoBroker(why)
    if said is Unreachable.ALLOW:
        return _by_word(policy, Decision.ALLOW, f"{away}; the policy allows {whose}")
    if said is Unreachable.DENY:
        return _by_word(policy, Decision.DENY, f"{away}; the policy denies {whose}")
    try:
        known = last_known.recall(settings)
    except NotKept as error:
        return _by_word(policy, Decision.DENY, f"{away}; {error}")
    age, most = now - known.taken_at, policy.fallbacks.last_known_for
    if age > most:
        old = f"the last known state is {_age(age)} old, it counts for {format_duration(most)}"
        return _by_word(policy, Decision.DENY, f"{away}; {old}")
    from deploy.told import state_told  # with the readers of provenance: only while Kafka is away

    reason = f"{away}; answered from the last known state, {_age(age)} old"
    return state_told(
        policy,
        changes=known.changes,
        pieces=known.pieces,
        questions=known.questions,
        verdicts=known.verdicts,
        freezes=known.freezes,
        source="last_known",
        word=Word(rule="unreachable", decision=Decision.ALLOW, reason=reason, cause="last_known"),
    )


def record(settings: Settings, answer: Answer, warn: Warn = lambda _line: None) -> None:
    """Write an answer to the ledger; that it could not be written changes nothing about it."""
    from haltline import broker
    from stream.wire.outgoing import encode_answer

    try:
        with broker.producer(settings) as client:
            broker.send(client, LEDGER, [encode_answer(answer)])
    except HaltlineError as error:
        warn(f"the answer could not be written to the ledger: {error}")


def _by_word(policy: Policy, decision: Decision, reason: str) -> GateState:
    turn = "" if decision is Decision.ALLOW else "haltline within reach"
    word = Word(rule="unreachable", decision=decision, reason=reason, cause=decision.value, turn=turn)
    return GateState(traffic=Traffic(policy), source="nothing", word=word)


def _age(milliseconds: int) -> str:
    return format_duration(max(0, milliseconds) if milliseconds < MINUTE_MS else milliseconds // 1000 * 1000)


def _cool_off(policy: Policy) -> int:
    return max((lane.pace.cool_off for lane in policy.lanes if lane.pace is not None), default=0)

"""The gate: may this change go now? One pure function of the change, the policy, what is known, and the time."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from deploy.approvals import sign_off
from deploy.blast_radius import blast_radius
from deploy.canary import canary
from deploy.freeze import Freeze, Mode, State, freeze_to_object, state_of
from deploy.holds import Holds, holds_on
from deploy.inquiry import GateState, Inquiry, Request, Rules, labels_for
from deploy.lookalike import skeleton, spelt
from deploy.loss import destruction
from deploy.pace import pace
from deploy.policy import Policy
from deploy.question import Question, question_to_object
from deploy.questions import question_for
from deploy.recorded import with_record
from deploy.rule import Decision, Word
from deploy.scope import parse_scope
from deploy.times import MINUTE_MS, format_time
from deploy.traffic import NO_LANE
from deploy.verdict import Verdict, verdict_to_object
from deploy.way_back import way_back

__all__ = ["Answer", "Decision", "GateState", "Request", "Rules", "answer_to_object", "decide", "decide_by"]

#: How long an allow may be used, and how soon to ask again where nothing says until when it holds. Milliseconds.
GOOD_FOR_MS = 5 * MINUTE_MS
ASK_AGAIN_MS = MINUTE_MS


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says at `at` (Unix milliseconds), with every rule that spoke.

    `id` follows from what the answer follows from, not from when it was given. It is for `change` at `revision` and
    `plan` (the digest of its plan file) and for no other, until `expires_at`. `max_share` is the largest share of the
    instances that may go now. `until` is when what holds it ends by itself; None where it does not.
    """

    id: str
    decision: Decision
    at: int
    expires_at: int
    change: str
    service: str
    environment: str
    revision: str
    plan: str
    policy: str
    words: tuple[Word, ...]
    max_share: float | None = None
    until: int | None = None
    question: Question | None = None
    held_by: tuple[Freeze, ...] = ()
    observed: tuple[Freeze, ...] = ()
    passed: tuple[Freeze, ...] = ()
    watched: tuple[Verdict, ...] = ()
    source: str = "kafka"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What decided first, then everything else that was said."""
        ranks = {Decision.DENY: 0, Decision.HOLD: 1, Decision.ALLOW: 2}
        ordered = sorted(self.words, key=lambda word: ranks[Decision.ALLOW if word.observed else word.decision])
        said = [f"observed only: {word.reason}" if word.observed else word.reason for word in ordered]
        return tuple(said) or ("no active freeze covers it",)


_ready: list[Rules] = []


def rules_of(policy: Policy) -> Rules:
    """The policy made ready to answer; the last one is kept, as one gate asks by one policy."""
    if not _ready or _ready[0].policy is not policy:
        _ready[:] = [Rules(policy)]
    return _ready[0]


def decide(request: Request, policy: Policy, state: GateState, now: int) -> Answer:
    """May this change go at `now` (Unix milliseconds)?

    A pure function: the same change, policy, state and time get the same answer.
    """
    return decide_by(rules_of(policy), request, state, now)


def decide_by(rules: Rules, request: Request, state: GateState, now: int) -> Answer:
    """As `decide`, with a policy that was made ready before."""
    change, policy = with_record(request.change, state.traffic.known(request.change.id)), rules.policy
    if state.joined is not None:
        change = state.joined(change)
    if change is not request.change:
        request = msgspec.structs.replace(request, change=change)
    undoes, no_revert = way_back(change, state)
    labels = labels_for(request, policy)
    if not undoes:
        labels["reverts"] = ()
    lane = policy.lane_of(labels)
    inquiry = Inquiry(
        request=request,
        rules=rules,
        state=state,
        now=now,
        labels=labels,
        lane=NO_LANE if lane is None else lane.name,
        way_back=undoes,
    )
    # A freeze means the labels that its matchers name, so an unknown origin is only unknown to it.
    literal = labels | {"origin": labels["origin"][:1]} if labels.get("origin") else labels
    holds = holds_on(state.freezes, literal, now, state.verdicts)
    words = [*_name(inquiry), *_freezes(holds), *destruction(inquiry)]
    if policy.guarded(change.environment):
        found = [*sign_off(inquiry), *canary(inquiry), *blast_radius(inquiry), *pace(inquiry)]
        if policy.mode_of(change.service, change.environment) is Mode.OBSERVE:
            found = [_observed(word) for word in found]
        words += found
    words += [word for word in (no_revert, state.word) if word is not None]
    question, nobody = question_for(inquiry, words)
    if nobody is not None:
        words.append(nobody)
    return _answer(inquiry, tuple(words), holds, question)


def _answer(inquiry: Inquiry, words: tuple[Word, ...], holds: Holds, question: Question | None) -> Answer:
    change, now = inquiry.change, inquiry.now
    speaking = [word for word in words if not word.observed]
    decisions = {word.decision for word in speaking}
    decision = next((one for one in (Decision.DENY, Decision.HOLD) if one in decisions), Decision.ALLOW)
    blocking = [word for word in speaking if word.decision is decision and decision is not Decision.ALLOW]
    ends = [word.until for word in blocking]
    until = max((end for end in ends if end is not None), default=None) if None not in ends else None
    if decision is Decision.ALLOW:
        # An approval that is about to expire takes the answer with it.
        limits = [
            word.until for word in speaking if word.until is not None and word.rule in ("sign_off", "destructive")
        ]
        expires_at = min([now + GOOD_FOR_MS, *limits])
    else:
        expires_at = min(until, now + ASK_AGAIN_MS) if until is not None else now + ASK_AGAIN_MS
    shares = [word.max_share for word in speaking if word.max_share is not None]
    plan = inquiry.request.plan
    digest = plan.digest if plan is not None else ""
    causes = sorted({f"{word.rule}:{word.cause or word.decision.value}" for word in speaking})
    return Answer(
        id=_id(change.id, change.service, change.environment, change.vcs.revision, digest, decision, *causes),
        decision=decision,
        at=now,
        expires_at=expires_at,
        change=change.id,
        service=change.service,
        environment=change.environment,
        revision=change.vcs.revision,
        plan=digest,
        policy=inquiry.rules.id,
        words=words,
        max_share=min(shares) if shares and decision is Decision.ALLOW else None,
        until=until,
        question=question,
        held_by=holds.held_by,
        observed=holds.observed,
        passed=holds.passed,
        watched=holds.watched,
        source=inquiry.state.source,
    )


def _freezes(holds: Holds) -> list[Word]:
    """Each freeze and watch as a word; `holds_on` gives their reasons in this order."""
    reasons = iter(holds.reasons)
    words = [
        Word(
            rule="freeze", decision=Decision.HOLD, reason=next(reasons), cause=one.id, until=one.ends_at, turn="its end"
        )
        for one in holds.held_by
    ]
    words += [Word(rule="freeze", decision=Decision.ALLOW, reason=next(reasons), cause=one.id) for one in holds.passed]
    words += [_told(next(reasons), one.id) for one in holds.observed]
    words += [
        Word(
            rule="watch",
            decision=Decision.HOLD,
            reason=next(reasons),
            cause=one.change,
            until=one.hold_until,
            turn="time, or its freeze",
        )
        for one in holds.watched
    ]
    return words + [_told(reason, "") for reason in reasons]


def _told(reason: str, cause: str) -> Word:
    return Word(rule="freeze" if cause else "watch", decision=Decision.ALLOW, reason=reason, cause=cause)


def _name(inquiry: Inquiry) -> list[Word]:
    """A name that can be taken for a service or an environment and is another has none of its rules or freezes."""
    change, policy, rules = inquiry.change, inquiry.policy, inquiry.rules
    words = []
    for label, name, named, looks in (
        ("service", change.service, policy.services, rules.looks),
        ("environment", change.environment, policy.environments, rules.looks_of_environments),
    ):
        if name in named or not name:
            continue
        look = skeleton(name)
        known = looks.get(look) or next((one for one in _frozen(inquiry, label) if skeleton(one) == look), name)
        if known == name:
            continue
        reason = f"name: {spelt(name)} looks like {known} and is another name"
        words.append(Word(rule="name", decision=Decision.DENY, reason=reason, cause=known, turn=f"the name {known}"))
    return words


def _frozen(inquiry: Inquiry, label: str) -> list[str]:
    """The names that active freezes are of, the name of the change that asks first where it is one of them."""
    named = {
        matcher.value
        for freeze in inquiry.state.freezes
        if state_of(freeze, inquiry.now) is State.ACTIVE
        for matcher in parse_scope(freeze.matchers)
        if (matcher.name, matcher.operator) == (label, "=")
    }
    own = inquiry.change.service if label == "service" else inquiry.change.environment
    return sorted(named, key=lambda name: (name != own, name))


def _observed(word: Word) -> Word:
    if word.decision is Decision.ALLOW and word.max_share is None:
        return word
    return msgspec.structs.replace(word, observed=True)


def _id(*cause: str) -> str:
    return "an-" + hashlib.blake2b("\x1f".join(cause).encode(), digest_size=8).hexdigest()


def answer_to_object(answer: Answer) -> dict[str, Any]:
    """The answer as a record: what decided, every rule that spoke, and the freezes and verdicts whole."""
    record: dict[str, Any] = {
        "id": answer.id,
        "decision": answer.decision.value,
        "at": format_time(answer.at),
        "expires_at": format_time(answer.expires_at),
        "change": answer.change,
        "service": answer.service,
        "environment": answer.environment,
        "revision": answer.revision,
        "plan": answer.plan,
        "policy": answer.policy,
        "source": answer.source,
        "reasons": list(answer.reasons),
        "rules": [_word_to_object(word) for word in answer.words],
    }
    if answer.max_share is not None:
        record["max_share"] = answer.max_share
    if answer.until is not None:
        record["until"] = format_time(answer.until)
    if answer.question is not None:
        record["question"] = question_to_object(answer.question)
    for name in ("held_by", "observed", "passed"):
        record[name] = [freeze_to_object(freeze) for freeze in getattr(answer, name)]
    record["watched"] = [verdict_to_object(verdict) for verdict in answer.watched]
    return record


def _word_to_object(word: Word) -> dict[str, Any]:
    record: dict[str, Any] = {"rule": word.rule, "decision": word.decision.value, "reason": word.reason}
    if word.turn:
        record["turn"] = word.turn
    if word.until is not None:
        record["until"] = format_time(word.until)
    if word.max_share is not None:
        record["max_share"] = word.max_share
    if word.observed:
        record["observed"] = True
    return record

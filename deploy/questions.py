"""Whom to ask: one person a hold, somebody who can answer and has not been asked too much today."""

from __future__ import annotations

import hashlib

from deploy.inquiry import Inquiry
from deploy.question import Question
from deploy.rule import Ask, Decision, Word
from deploy.times import SECOND_MS, format_duration
from deploy.traffic import DAY_MS


def question_for(inquiry: Inquiry, words: list[Word]) -> tuple[Question | None, Word | None]:
    """The one question that would help, or what is said where there is nobody to ask now.

    Nobody is asked while something holds that no person can lift: the answer would be of no use.
    """
    holding = [word for word in words if word.decision is not Decision.ALLOW and not word.observed]
    asks = [word for word in holding if word.ask is not None]
    if not asks or len(asks) < len(holding):
        return None, None
    # A loss is asked about before a sign-off: where it is refused nothing else matters.
    word = min(asks, key=lambda one: (one.rule != "destructive", one.cause))
    ask = word.ask
    assert ask is not None
    change = inquiry.change
    identity = _id(change.id, change.service, change.environment, change.vcs.revision, word.cause)
    return _to_somebody(inquiry, word, ask, identity)


def _to_somebody(inquiry: Inquiry, word: Word, ask: Ask, identity: str) -> tuple[Question | None, Word | None]:
    now, traffic, limits = inquiry.now, inquiry.traffic, inquiry.policy.questions
    asked = traffic.asked(identity)
    if asked and now < asked[-1].deadline:
        return asked[-1], None
    # Past the deadline somebody else is asked; when all have been, from the first again.
    before = {one.to for one in asked}
    rest = [who for who in ask.people if who not in before] or list(ask.people)
    if not rest:
        text = "questions: the policy names nobody who could answer"
        return None, Word(
            rule="questions", decision=Decision.HOLD, reason=text, cause="nobody", turn="a policy that does"
        )
    since = now - DAY_MS
    counts = {who: len(traffic.questions_to(who, since)) for who in rest}
    free = [who for who in rest if counts[who] < limits.per_person]
    if not free:
        until = min(traffic.questions_to(who, since)[-limits.per_person] for who in rest) + DAY_MS
        text = (
            f"questions: {', '.join(sorted(rest)[:5])} had {limits.per_person} each in 24h; "
            f"the lane slows down, the next may be asked in {format_duration(_seconds_up(until - now))}"
        )
        return None, Word(rule="questions", decision=Decision.HOLD, reason=text, cause="load", until=until, turn="time")
    owners = {inquiry.rules.people.find(name) for name in inquiry.policy.owners_of(inquiry.change.service)}
    to = min(free, key=lambda who: (who not in owners, counts[who], _id(identity, who)))
    return (
        Question(
            id=identity,
            to=to,
            asks=ask.text,
            evidence=ask.evidence,
            alternative=ask.alternative,
            asked_at=now,
            deadline=now + limits.deadline,
            change=inquiry.change.id,
            service=inquiry.change.service,
            environment=inquiry.change.environment,
            rule=word.rule,
            revision=inquiry.change.vcs.revision,
            confirms=word.cause if word.rule == "destructive" else "",
        ),
        None,
    )


def _seconds_up(milliseconds: int) -> int:
    return -(-milliseconds // SECOND_MS) * SECOND_MS


def _id(*cause: str) -> str:
    return "qn-" + hashlib.blake2b("\x1f".join(cause).encode(), digest_size=6).hexdigest()

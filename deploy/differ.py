"""Which recorded changes another policy would answer otherwise: what a review of a policy wants to know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from deploy.change import Change, Phase
from deploy.gate import Answer, Decision, GateState, Request, Rules, decide_by
from deploy.policy import Policy
from deploy.question import Question
from deploy.times import format_time
from deploy.traffic import Traffic


class Difference(msgspec.Struct, frozen=True):
    """One change that asked at `at`, and what each policy answers."""

    change: Change
    at: int
    old: Answer
    new: Answer

    @property
    def differs(self) -> bool:
        return (self.old.decision, self.old.max_share) != (self.new.decision, self.new.max_share)


def differences(changes: Iterable[Change], old: Policy, new: Policy) -> Iterator[Difference]:
    """Every change as it asked to start, answered by both policies, in the order of time.

    What one policy would have held went on in the record, and so it does here: both see the same traffic. Freezes are
    not in it, as both would say the same of them.
    """
    sides = [_Side(old), _Side(new)]
    seen: set[str] = set()
    for change in sorted(changes, key=lambda one: (one.time, one.id)):
        if change.id not in seen and change.phase in (Phase.PLANNED, Phase.STARTED):
            seen.add(change.id)
            first, second = (side.ask(change) for side in sides)
            yield Difference(change, change.time, first, second)
        for side in sides:
            side.traffic.change(change)


def difference_to_object(one: Difference) -> dict[str, Any]:
    def side(answer: Answer) -> dict[str, Any]:
        record: dict[str, Any] = {"decision": answer.decision.value, "reasons": list(answer.reasons)}
        return record if answer.max_share is None else record | {"max_share": answer.max_share}

    change = one.change
    return {
        "change": change.id,
        "service": change.service,
        "environment": change.environment,
        "time": format_time(one.at),
        "old": side(one.old),
        "new": side(one.new),
    }


class _Side:
    """One policy, with the questions that it would have asked."""

    def __init__(self, policy: Policy) -> None:
        self.rules = Rules(policy)
        self.traffic = Traffic(policy)

    def ask(self, change: Change) -> Answer:
        answer = decide_by(self.rules, Request(change=change), GateState(traffic=self.traffic), change.time)
        question: Question | None = answer.question
        if question is not None and answer.decision is not Decision.ALLOW:
            self.traffic.question(question)
        return answer

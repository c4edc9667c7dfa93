"""What a rule of the gate says: its decision, why, what would turn it, and who could."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Decision(StrEnum):
    """`deny` is what a policy refuses for good; `hold` ends by itself or by a person's word."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A question that would turn a hold: what is asked, on what evidence, and who may answer.

    `people` are the names that may, by the policy; `alternative` is what goes without an answer.
    """

    text: str
    evidence: tuple[str, ...]
    alternative: str
    people: tuple[str, ...]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says of a change.

    `turn` is what would turn a hold into an allow; `until` (Unix milliseconds) when it ends by itself; `max_share` the
    largest share of the instances that may go now; `cause` what the word follows from, in terms that do not change
    with time. An `observed` word would hold if its scope were enforced, and does not.
    """

    rule: str
    decision: Decision
    reason: str
    cause: str = ""
    turn: str = ""
    until: int | None = None
    max_share: float | None = None
    ask: Ask | None = None
    observed: bool = False

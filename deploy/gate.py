"""The gate: may this change go now? Asked at the moment of deploying, answered from the freezes and the clock alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from deploy.freeze import Freeze, Mode, State, freeze_to_object, holds, state_of
from deploy.scope import covers, parse_scope
from deploy.times import HOUR_MS, SECOND_MS, format_duration, format_time


class Decision(StrEnum):
    """`deny` is what a policy refuses for good; `hold` ends by itself or by a person's word."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says at `at` (Unix milliseconds), and the freezes that made it say so.

    `held_by` freezes hold the change, `observed` ones would if they were enforced, `passed` ones cover it and let it
    through: it is their way back. `until` is when the last of `held_by` ends.
    """

    decision: Decision
    at: int
    reasons: tuple[str, ...]
    until: int | None = None
    held_by: tuple[Freeze, ...] = ()
    observed: tuple[Freeze, ...] = ()
    passed: tuple[Freeze, ...] = ()


def decide(freezes: Iterable[Freeze], labels: Mapping[str, tuple[str, ...]], now: int) -> Answer:
    """Hold a change with these labels if any enforced freeze that is active at `now` (Unix milliseconds) covers it."""
    covering = [
        freeze
        for freeze in freezes
        if state_of(freeze, now) is State.ACTIVE and covers(parse_scope(freeze.matchers), labels)
    ]
    # The one that lasts longest first: it is the one that says how long to wait.
    covering.sort(key=lambda freeze: (-freeze.ends_at, freeze.id))
    passed = tuple(freeze for freeze in covering if not holds(freeze, labels))
    holding = [freeze for freeze in covering if freeze not in passed]
    held_by = tuple(freeze for freeze in holding if freeze.mode is Mode.ENFORCE)
    observed = tuple(freeze for freeze in holding if freeze.mode is Mode.OBSERVE)
    reasons = [f"frozen by {_until(freeze, now)}{_reason(freeze)}" for freeze in held_by]
    reasons += [f"passes {_until(freeze, now)}: it is a way back" for freeze in passed]
    reasons += [f"observed only: {_until(freeze, now)}{_reason(freeze)}" for freeze in observed]
    return Answer(
        decision=Decision.HOLD if held_by else Decision.ALLOW,
        at=now,
        reasons=tuple(reasons) or ("no active freeze covers it",),
        until=held_by[0].ends_at if held_by else None,
        held_by=held_by,
        observed=observed,
        passed=passed,
    )


def answer_to_object(answer: Answer) -> dict[str, Any]:
    record: dict[str, Any] = {
        "decision": answer.decision.value,
        "at": format_time(answer.at),
        "reasons": list(answer.reasons),
    }
    if answer.until is not None:
        record["until"] = format_time(answer.until)
    for name in ("held_by", "observed", "passed"):
        record[name] = [freeze_to_object(freeze) for freeze in getattr(answer, name)]
    return record


def _until(freeze: Freeze, now: int) -> str:
    """`fz-1 until 10:20:03Z (12m left)`; the date is there when the time alone could mislead."""
    left = freeze.ends_at - now
    end = format_time(freeze.ends_at)[:19] + "Z"
    # Whole seconds, rounded up: "0s left" of a freeze that still holds would be a riddle.
    seconds = -(-left // SECOND_MS)
    return f"{freeze.id} until {end if left > 12 * HOUR_MS else end[11:]} ({format_duration(seconds * SECOND_MS)} left)"


def _reason(freeze: Freeze) -> str:
    by = "" if freeze.caused_by else f" (by {freeze.created_by})"
    return f": {freeze.reason or 'no reason given'}{by}"

"""The breaker of one scope: a harmful change opens it, and every further trip keeps it open longer.

Pure: `trip(breaker, ...)` gives the breaker afterwards and the freeze; time enters only with the event.
"""

from __future__ import annotations

import hashlib

import msgspec

from deploy.change import Change
from deploy.freeze import Freeze, freeze_id
from deploy.policy import Policy
from deploy.scope import Matcher

#: A freeze lasts up to this much longer than its due, so that what it held does not all start at once.
_JITTER = 0.1


class BreakerState(msgspec.Struct, frozen=True):
    """The trips of one service in one environment: when (Unix ms, ascending) and because of which change."""

    service: str
    environment: str
    trips: tuple[tuple[int, str], ...] = ()


def trip(
    breaker: BreakerState, change: Change, now: int, reason: str, policy: Policy, last_good: str = ""
) -> tuple[BreakerState, Freeze | None]:
    """Open the breaker because of `change`; the freeze is None where this change has already tripped it.

    `last_good` is the version that was running well before; it passes the freeze, and so does a revert of the change.
    """
    if any(cause == change.id for _, cause in breaker.trips):
        return breaker, None
    recent = [at for at, _ in breaker.trips if at > now - policy.breaker.trips_window]
    number = len(recent) + 1
    due = min(policy.breaker.open_for * number, policy.breaker.open_at_most)
    identity = freeze_id("trip", change.id, breaker.service, breaker.environment, 1)
    freeze = Freeze(
        id=identity,
        matchers=tuple(str(matcher) for matcher in sorted(_scope(breaker))),
        starts_at=now,
        ends_at=now + due + round(due * _JITTER * _fraction(identity)),
        caused_by=change.id,
        level=1,
        mode=policy.mode_of(breaker.service, breaker.environment),
        reason=reason,
        passes=_passes(change, last_good),
        trip=number,
    )
    return msgspec.structs.replace(breaker, trips=(*breaker.trips, (now, change.id))), freeze


def _scope(breaker: BreakerState) -> list[Matcher]:
    scope = [Matcher("service", "=", breaker.service)]
    return [*scope, Matcher("environment", "=", breaker.environment)] if breaker.environment else scope


def _passes(change: Change, last_good: str) -> tuple[tuple[str, ...], ...]:
    passes = [(str(Matcher("reverts", "=", change.id)),)]
    if last_good and last_good != change.version:
        passes.append((str(Matcher("version", "=", last_good)),))
    return tuple(passes)


def _fraction(identity: str) -> float:
    """A number in [0, 1) that depends on the freeze alone: the same freeze always lasts as long."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=4).digest()) / 2**32

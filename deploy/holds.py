"""What holds a change now: freezes that are active, and verdicts of changes that look ill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from deploy.freeze import Freeze, Mode, State, holds, state_of
from deploy.scope import covers, parse_scope
from deploy.times import HOUR_MS, SECOND_MS, format_duration, format_time
from deploy.verdict import Verdict


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of a change right now.

    `held_by` freezes hold the change, `observed` ones would if they were enforced, `passed` ones cover it and let it
    through: it is their way back. `watched` are the verdicts of changes that look ill, for which it waits some seconds.
    `until` (Unix milliseconds) is when the last of `held_by` and `watched` ends; None where nothing holds.
    """

    reasons: tuple[str, ...]
    until: int | None = None
    held_by: tuple[Freeze, ...] = ()
    observed: tuple[Freeze, ...] = ()
    passed: tuple[Freeze, ...] = ()
    watched: tuple[Verdict, ...] = ()


def holds_on(
    freezes: Iterable[Freeze],
    labels: Mapping[str, tuple[str, ...]],
    now: int,
    verdicts: Iterable[Verdict] = (),
) -> Holds:
    """What holds a change with these labels at `now` (Unix milliseconds): active enforced freezes that cover it.

    `verdicts` are the newest of each change: where one of its service says that new starts wait, it is held too.
    """
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
    watching = [one for one in verdicts if one.held_at(now) and _starts(one, labels)]
    watching.sort(key=lambda one: (-(one.hold_until or 0), one.change))
    ill = [one for one in watching if not any(covers(parse_scope(scope), labels) for scope in one.hold_passes)]
    watched = tuple(one for one in ill if one.hold_mode is Mode.ENFORCE)
    reasons += [f"watch: {_wait(one, now, 'new starts wait')}" for one in watched]
    reasons += [f"passes the watch of {one.change}: it is a way back" for one in watching if one not in ill]
    reasons += [f"observed only: {_wait(one, now, 'new starts would wait')}" for one in ill if one not in watched]
    ends = [*(freeze.ends_at for freeze in held_by), *(one.hold_until or 0 for one in watched)]
    return Holds(
        reasons=tuple(reasons),
        until=max(ends, default=None),
        held_by=held_by,
        observed=observed,
        passed=passed,
        watched=watched,
    )


def _until(freeze: Freeze, now: int) -> str:
    return f"{freeze.id} until {end_of(freeze.ends_at, now)}"


def _starts(verdict: Verdict, labels: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether it would start in the service and environment of this verdict's change."""
    if verdict.environment and verdict.environment not in labels.get("environment", ()):
        return False
    return verdict.service in labels.get("service", ())


def _wait(verdict: Verdict, now: int, how: str) -> str:
    until = end_of(verdict.hold_until or now, now)
    return f"{verdict.change} on {verdict.service} looks ill, {how} until {until}: {verdict.reason}"


def end_of(moment: int, now: int) -> str:
    """`10:20:03Z (12m left)`; the date is there when the time alone could mislead."""
    left = moment - now
    end = format_time(moment)[:19] + "Z"
    # Whole seconds, rounded up: "0s left" of a freeze that still holds would be a riddle.
    seconds = -(-left // SECOND_MS)
    return f"{end if left > 12 * HOUR_MS else end[11:]} ({format_duration(seconds * SECOND_MS)} left)"


def _reason(freeze: Freeze) -> str:
    by = "" if freeze.caused_by else f" (by {freeze.created_by})"
    return f": {freeze.reason or 'no reason given'}{by}"

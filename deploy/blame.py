"""Who did it: how much of the evidence of one change other changes, or none of them, explain better.

A change's own evidence weighs with its square. Another change takes a share only where it can explain what was seen:
it is on the same service, or on one that this service depends on (callers suffer from callees, not the other way), or,
where nobody wrote down who calls whom, anywhere, but faintly. Older changes fade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log

import msgspec

from deploy.policy import Policy
from deploy.times import MINUTE_MS

#: Blame that a freeze needs.
ENOUGH = 0.3
#: After this long without harm a change is half as likely to be what did it.
_HALF_LIFE_MS = 60 * MINUTE_MS
#: Beyond this log p evidence is no stronger, and its square stays a number.
_CERTAIN = -1e6
#: How well a change elsewhere explains evidence, where no call graph is known.
_ANYWHERE = 0.1


class Suspect(msgspec.Struct, frozen=True):
    """One active change: where, since when (Unix ms), its strongest evidence, and whether new was worse than old."""

    change: str
    service: str
    environment: str
    since: int
    log_p: float
    concurrent: bool
    onset: int | None = None


def blame_of(suspect: Suspect, others: Sequence[Suspect], policy: Policy, now: int) -> float:
    """The share (0 to 1) of `suspect` in what its evidence shows.

    >>> policy = Policy()
    >>> alone = Suspect("a", "cart", "", 0, -20.0, True)
    >>> calm = Suspect("b", "cart", "", 0, -0.5, False)
    >>> round(blame_of(alone, [], policy, 0), 2), blame_of(alone, [calm], policy, 0) > 0.9
    (0.99, True)
    >>> blame_of(calm, [alone], policy, 0) < 0.05
    True
    """
    own = _weight(suspect, now)
    nobody = (0.5 * log(policy.breaker.error_rate)) ** 2
    rivals = sum(_explains(other, suspect, policy) * _weight(other, now) for other in others)
    return own / (own + nobody + rivals)


def _weight(suspect: Suspect, now: int) -> float:
    # The onset, where known, is when it mattered how young the change was.
    at = suspect.onset if suspect.onset is not None else now
    age = max(0, at - suspect.since)
    strength = max(suspect.log_p, _CERTAIN) ** 2 * (2.0 if suspect.concurrent else 1.0)
    return strength * exp(-log(2.0) * age / _HALF_LIFE_MS)


def _explains(other: Suspect, suspect: Suspect, policy: Policy) -> float:
    """How well `other` can explain what was seen of `suspect`'s service, 0 to 1."""
    if other.environment and suspect.environment and other.environment != suspect.environment:
        return 0.0
    if other.service == suspect.service:
        return 1.0
    distance = _distance(policy, suspect.service, other.service)
    if distance is not None:
        # New instances that are worse than the old ones beside them are not explained by a callee of both.
        return (0.25 if suspect.concurrent else 1.0) / distance
    known = any(service.calls for service in policy.services.values())
    return 0.0 if known or suspect.concurrent else _ANYWHERE


def _distance(policy: Policy, service: str, callee: str) -> int | None:
    """Calls from `service` down to `callee`; None where there is no way."""
    seen: Mapping[str, int] = {service: 0}
    frontier, reached = [service], dict(seen)
    while frontier:
        name = frontier.pop(0)
        for called in policy.calls(name):
            if called not in reached:
                reached[called] = reached[name] + 1
                frontier.append(called)
    return reached.get(callee)

"""A suspect: one active change with what was seen of it, and how well the harm follows its rollout in time."""

from __future__ import annotations

from math import fsum, log

import msgspec

from deploy.times import MINUTE_MS, format_duration

#: Evidence from here on is a symptom; anything less is what one sees when looking.
ILL = -log(0.05)
#: Beyond this log p evidence is no stronger, and its square stays a number.
_CERTAIN = 1e6
#: So long after a step harm is half as likely to be its doing: most harm shows at once.
_HALF_MS = 10 * MINUTE_MS


class Sight(msgspec.Struct, frozen=True):
    """What a service showed since a change: its log p, how that grew (times and log p), and when it first stood out."""

    service: str
    log_p: float
    grown: tuple[tuple[int, float], ...] = ()
    onset: int | None = None

    @property
    def strength(self) -> float:
        return min(max(-self.log_p, 0.0), _CERTAIN)

    def by(self, time: int) -> Sight:
        """As it stood at `time` (Unix ms)."""
        grown = tuple(one for one in self.grown if one[0] <= time)
        onset = self.onset if self.onset is not None and self.onset <= time else None
        return Sight(self.service, grown[-1][1] if grown else 0.0, grown, onset)

    def sprang(self) -> int | None:
        """When its evidence grew most; None where it never did."""
        gains = _gains(self.grown)
        return max(gains, key=lambda one: (one[1], -one[0]))[0] if gains else None

    def gained(self, start: int, end: int) -> float:
        """Nats of evidence that came from `start` to `end` (Unix ms)."""
        return fsum(gain for time, gain in _gains(self.grown) if start <= time <= end)


def _gains(grown: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    gains, before = [], 0.0
    for time, log_p in grown:
        strength = min(-log_p, _CERTAIN)
        if strength > before:
            gains.append((time, strength - before))
            before = strength
    return gains


class Suspect(Sight, frozen=True, kw_only=True):
    """One active change: where, since when (Unix ms), and what its own service showed.

    `control` is what its old instances say: `worse` (the new ones are), `same` or nothing; `named` whether it says by
    version or instances which are new. `steps` are the times at which its rollout grew, and to what share. `seen` is
    what other services showed, `slack` the ms within which two moments are one.
    """

    change: str
    environment: str = ""
    since: int
    control: str = ""
    named: bool = False
    steps: tuple[tuple[int, float], ...] = ()
    seen: tuple[Sight, ...] = ()
    slack: int = 0

    def near(self, other: Suspect) -> bool:
        """Whether both are in one environment, as far as is known."""
        return not (self.environment and other.environment and self.environment != other.environment)

    def beside(self, other: Suspect) -> bool:
        """Whether both changed the same service."""
        return self.service == other.service and self.near(other)

    def since_step(self) -> str:
        """In words, how long after the last step of its rollout it was that its evidence began."""
        at = self.onset if self.onset is not None else self.grown[0][0]
        number = max((i for i, (time, _) in enumerate(self.steps) if time <= at), default=0)
        step = self.steps[number][0] if self.steps else self.since
        return f"{format_duration(max(0, at - step))} after {f'step {number + 1} of ' if number else ''}its start"


def timing(one: Suspect) -> float:
    """How well the growth of its evidence follows the steps of its rollout, 0 to 1; 1 where nothing grew.

    Each nat of evidence counts by the time since each step before it, and by how much share the step added: the dose.
    Chances fall with the inverse of time, as those of aftershocks do (Omori, 1894), so that an old change fades.

    >>> early = Suspect("cart", -20.0, change="a", since=0, grown=((60_000, -20.0),))
    >>> late = Suspect("cart", -20.0, change="b", since=-60 * 60_000, grown=((60_000, -20.0),))
    >>> round(timing(early), 2), round(timing(late), 2)
    (0.91, 0.14)
    >>> steps = (0, 0.1), (3_600_000, 1.0)
    >>> stepped = Suspect("cart", -20.0, change="c", since=0, steps=steps, grown=((3_660_000, -20.0),))
    >>> round(timing(stepped), 2)
    0.83
    """
    gains = _gains(one.grown)
    total = fsum(gain for _, gain in gains)
    return fsum(gain * response(one, time) for time, gain in gains) / total if gains else 1.0


def response(one: Suspect, at: int) -> float:
    """How likely harm that shows `at` (Unix ms) is the doing of this change, against harm at once; 0 before it."""
    if at < one.since:
        return 0.0
    steps, before = [], 0.0
    for time, share in one.steps or ((one.since, 1.0),):
        if time <= at and share > before:
            steps.append((time, share - before))
            before = share
    if not steps:
        return 1.0 / (1.0 + (at - one.since) / _HALF_MS)
    return fsum(dose / (1.0 + (at - time) / _HALF_MS) for time, dose in steps) / before

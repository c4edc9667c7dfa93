"""What explains the evidence of a change better than the change itself, and what ill neighbours say of changes.

Callers suffer from callees, not the other way. What hits services that have nothing to do with each other at one moment
hits everybody, and is nobody's doing. New instances that are worse than the old ones beside them are neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import comb, fsum, log

import msgspec

from deploy.calls import Calls
from deploy.suspect import ILL, Sight, Suspect, response
from deploy.verdict import NOBODY

#: Of evidence that an ill callee, or trouble everywhere, can explain, this much moves there.
_CALLEE, _UNCHANGED, _EVERYWHERE = 0.85, 0.8, 0.9
#: What is left of that for each further call between them, and where the new are worse than the old beside them.
_FURTHER, _BESIDE = 0.9, 0.25
#: Where nobody wrote down who calls whom, a changed service may call another.
_PERHAPS = 0.3
#: What a neighbour shows weighs less than own evidence; a caller that suffers says more than a callee.
_NEIGHBOUR, _CALLER_SUFFERS, _CALLEE_SUFFERS = 0.3, 0.9, 0.4

#: Nobody pulls so much harder at a neighbour that calls another ill one which was not changed either.
_ILL_BELOW = 4.0


class Part(msgspec.Struct, frozen=True):
    """A part of some evidence that is another change's, or nobody's: `share` is of 1, or a weight."""

    who: str
    share: float
    reason: str


def explained(one: Suspect, suspects: Sequence[Suspect], own: Mapping[str, float], calls: Calls) -> list[Part]:
    """The parts of the evidence of `one` that others explain; they add up to less than 1."""
    if one.strength <= 0.0:
        return []
    found = [
        *_callees(one, suspects, calls),
        *_unchanged(one, suspects, calls),
        *_everywhere(one, suspects, calls),
    ]
    found = [part for part in found if part.share > 0.0]
    most = max((part.share for part in found), default=0.0)
    pull = {part: part.share * (1.0 + (own.get(part.who, 0.0))) for part in found}
    total = fsum(pull.values())
    return [Part(part.who, most * pull[part] / total, part.reason) for part in found] if found else []


def _cause(cause: Sight, one: Suspect, slack: int) -> float:
    """Whether `cause` can be why `one` shows what it does, 0 to 1: it grew as well when that grew most."""
    return _enough(_then(cause, one, slack), one, slack)


def _then(cause: Sight, one: Suspect, slack: int) -> float:
    """The nats that `cause` grew by at the moment at which the evidence of `one` grew most."""
    moment = one.sprang()
    return 0.0 if moment is None or cause.strength < ILL else cause.gained(moment - 2 * slack, moment + slack)


def _enough(nats: float, one: Suspect, slack: int) -> float:
    """Whether so many nats can explain what `one` shows: at least a quarter of what came then, and better half."""
    moment = one.sprang()
    if moment is None or nats <= 0.0:
        return 0.0
    return min(1.0, max(0.0, 4.0 * nats / one.gained(moment - slack, moment + slack) - 1.0))


def _beside(one: Suspect) -> float:
    return _BESIDE if one.control == "worse" else 1.0


def _callees(one: Suspect, suspects: Sequence[Suspect], calls: Calls) -> Iterator[Part]:
    for other in suspects:
        if other.change == one.change or other.beside(one) or not other.near(one):
            continue
        down = calls.down(one.service, other.service)
        if calls.known:
            far = 0.0 if down is None else _FURTHER ** (down - 1)
        else:
            # What is worse than the old instances beside it is at the root of something, whoever calls it.
            far = _PERHAPS * (3.0 if other.control == "worse" else 1.0)
        if calls.known and down is not None and calls.down(other.service, one.service) is not None:
            far *= 0.5  # They call each other.
        share = _CALLEE * far * _cause(other, one, max(one.slack, other.slack)) * _beside(one)
        yield Part(other.change, share, f"{other.change}: {one.service} depends on {other.service}")


def _sights(suspects: Sequence[Suspect], one: Suspect) -> dict[str, Sight]:
    """The strongest sight of each service that nobody changed."""
    changed = {other.service for other in suspects if other.near(one)}
    found: dict[str, Sight] = {}
    for other in suspects:
        if other.near(one):
            for sight in other.seen:
                known = found.get(sight.service)
                if sight.service not in changed and (known is None or sight.log_p < known.log_p):
                    found[sight.service] = sight
    return dict(sorted(found.items()))


def _unchanged(one: Suspect, suspects: Sequence[Suspect], calls: Calls) -> Iterator[Part]:
    """The service below it that explains most; what is ill below that is one story."""
    found = []
    for service, sight in _sights(suspects, one).items():
        down = calls.down(one.service, service)
        if down is not None:
            share = _UNCHANGED * _FURTHER ** (down - 1) * _cause(sight, one, one.slack) * _beside(one)
            found.append((share, service))
    if found:
        share, service = max(found)
        yield Part(NOBODY, share, f"nobody: {service}, which it depends on, is ill and was not changed")


def _everywhere(one: Suspect, suspects: Sequence[Suspect], calls: Calls) -> Iterator[Part]:
    elsewhere = {
        service: _then(sight, one, one.slack)
        for service, sight in _sights(suspects, one).items()
        if not calls.related(one.service, service)
    }
    if calls.known:
        for other in suspects:
            if other.near(one) and other.control != "worse" and not calls.related(one.service, other.service):
                nats = _then(other, one, max(one.slack, other.slack))
                elsewhere[other.service] = max(elsewhere.get(other.service, 0.0), nats)
    ranked = sorted(elsewhere.values(), reverse=True)
    if len(ranked) > 1:
        if calls.known:
            # One alone may call it though nobody wrote that down, or be ill by itself.
            share = max(_enough(_together(ranked, 2), one, one.slack), 0.5 * _enough(_together(ranked), one, one.slack))
        else:
            # Where any of them may depend on this service, half of them must be ill.
            share = _enough(ranked[(len(ranked) - 1) // 2], one, one.slack)
        ill = sum(value > 0.0 for value in ranked)
        text = f"nobody: {ill} of {len(ranked)} services that have nothing to do with it are ill"
        yield Part(NOBODY, _EVERYWHERE * share * _beside(one), text)


def _together(ranked: Sequence[float], least: int = 1) -> float:
    """How many nats say that at least so many of these services, strongest first, did not fall ill by themselves.

    k of n are as ill as the k-th; that is paid for by the number of such sets (Bonferroni).

    >>> round(_together([6.0, 6.0, 0.0, 0.0]), 2), _together([1.0, 0.0, 0.0])
    (10.21, 0.0)
    """
    n = len(ranked)
    return max(0.0, *(k * nats - log(comb(n, k)) for k, nats in enumerate(ranked, 1) if k >= least))


def near_shares(
    suspects: Sequence[Suspect], own: Mapping[str, float], nobody: float, calls: Calls
) -> Iterator[Part]:  # fmt: skip
    """What ill neighbours that nobody changed add to each change and to nobody, as weights."""
    seen: dict[tuple[str, str], Sight] = {}
    for one in suspects:
        for sight in one.seen:
            if sight.strength >= ILL and sight.service in (*calls.callers(one.service), *calls.callees(one.service)):
                place = (sight.service, one.environment)
                if place not in seen or sight.log_p < seen[place].log_p:
                    seen[place] = sight
    for (service, environment), sight in sorted(seen.items()):
        alike = [one for one in suspects if not one.environment or one.environment == environment]
        if any(one.service == service for one in alike):
            continue
        pulls = {}
        for one in alike:
            below, above = calls.down(service, one.service), calls.down(one.service, service)
            share = _CALLER_SUFFERS * _FURTHER ** (below - 1) if below else _CALLEE_SUFFERS if above == 1 else 0.0
            when = 0.0 if sight.onset is None else response(one, sight.onset)
            pulls[one.change] = share * when * (1.0 + own[one.change] / nobody)
        ill = any(below != service and calls.down(service, below) is not None for below, _ in seen)
        nobody_pulls = _ILL_BELOW if ill else 1.0
        total = fsum([*pulls.values(), nobody_pulls])
        weight = _NEIGHBOUR * sight.strength**2
        for change, pull in sorted(pulls.items()):
            if pull > 0.0:
                part = weight * pull / total
                yield Part(change, part, f"{service}, a neighbour at log p {sight.log_p:.1f}")
        part = weight * nobody_pulls / total
        yield Part(NOBODY, part, f"{service}, which was not changed")

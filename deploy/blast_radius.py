"""The blast radius: how much one change may touch at once."""

from __future__ import annotations

from deploy.inquiry import Inquiry
from deploy.policy import BlastRadius
from deploy.rule import Decision, Word
from deploy.scope import Matcher


def blast_radius(inquiry: Inquiry) -> list[Word]:
    """What each limit that matches says: too large a share is cut, the rest is held."""
    words = []
    for limit, scope in inquiry.rules.limits:
        if inquiry.matches(scope):
            words += [_share(inquiry, limit), _regions(inquiry, limit), _reach(inquiry, limit), _tiers(inquiry, limit)]
            words.append(_concurrent(inquiry, limit, scope))
    found = [word for word in words if word is not None]
    if inquiry.way_back and found:
        return [Word(rule="blast_radius", decision=Decision.ALLOW, reason="blast radius: no limit to a way back")]
    return found


def _share(inquiry: Inquiry, limit: BlastRadius) -> Word | None:
    if limit.share is None:
        return None
    rollout, reached = inquiry.change.rollout, _reached(inquiry)
    asked = rollout.share if rollout.share is not None else next((s for s in rollout.steps if s > reached), 1.0)
    # The limit is on what is new at once: a change that runs at some share already may grow by as much again.
    most = min(1.0, reached + limit.share)
    if asked <= most:
        return None
    reason = f"blast radius: {asked:.0%} of instances at once, cut to {most:.0%}"
    return Word(rule="blast_radius", decision=Decision.ALLOW, reason=reason, max_share=most)


def _reached(inquiry: Inquiry) -> float:
    """The share that it runs at already."""
    known = inquiry.under_way
    return 0.0 if known is None else known.share or 0.0


def _regions(inquiry: Inquiry, limit: BlastRadius) -> Word | None:
    own = inquiry.change.rollout.regions or inquiry.labels.get("region", ())
    regions = sorted({part.strip() for one in own for part in one.split(",") if part.strip()})
    if limit.regions is None or len(regions) <= limit.regions:
        return None
    reason = f"{len(regions)} regions at once ({', '.join(regions)}), at most {limit.regions}"
    return _held(reason, "regions", f"a rollout of at most {limit.regions} region{'s' * (limit.regions != 1)} at once")


def _reach(inquiry: Inquiry, limit: BlastRadius) -> Word | None:
    callers = inquiry.rules.callers(inquiry.change.service)
    if limit.dependants is None or len(callers) <= limit.dependants:
        return None
    some = ", ".join(callers[:5]) + (f" and {len(callers) - 5} more" if len(callers) > 5 else "")
    reason = f"{len(callers)} services depend on {inquiry.change.service} ({some}), at most {limit.dependants}"
    return _small_first(inquiry, reason, "dependants")


def _tiers(inquiry: Inquiry, limit: BlastRadius) -> Word | None:
    service = inquiry.change.service
    reached = (inquiry.policy.tier_of(one) for one in (service, *inquiry.rules.callers(service)))
    tiers = sorted({tier for tier in reached if tier is not None})
    if limit.tiers is None or len(tiers) <= limit.tiers:
        return None
    return _small_first(inquiry, f"it reaches tiers {', '.join(map(str, tiers))}, at most {limit.tiers}", "tiers")


def _small_first(inquiry: Inquiry, reason: str, cause: str) -> Word | None:
    """What reaches far goes in a small first step; once that is out it may go on."""
    if _reached(inquiry):
        return None
    share = inquiry.change.rollout.share
    steps = inquiry.change.rollout.steps
    first = share if share is not None else (steps[0] if steps else 1.0)
    if first <= 0.1:
        return None
    return _held(reason, cause, "a first step of at most 10 % of instances")


def _concurrent(inquiry: Inquiry, limit: BlastRadius, scope: tuple[Matcher, ...]) -> Word | None:
    if limit.concurrent is None:
        return None
    change = inquiry.change
    running = sorted(
        one.change.id
        for one in inquiry.traffic.running_in(scope, inquiry.now)
        if one.change.id != change.id and one.change.environment == change.environment
    )
    if len(running) < limit.concurrent:
        return None
    some = ", ".join(running[:3]) + (f" and {len(running) - 3} more" if len(running) > 3 else "")
    reason = f"{len(running)} changes run already ({some}), at most {limit.concurrent} at once"
    return _held(reason, "concurrent", "the end of one of them")


def _held(reason: str, cause: str, turn: str) -> Word:
    text = f"blast radius: {reason}"
    return Word(rule="blast_radius", decision=Decision.HOLD, reason=text, cause=cause, turn=turn)

"""The pace of a lane: so many changes at once, so many an hour, and a while of quiet after one did harm."""

from __future__ import annotations

from deploy.inquiry import Inquiry
from deploy.rule import Decision, Word
from deploy.times import HOUR_MS, format_duration


def pace(inquiry: Inquiry) -> list[Word]:
    """What the pace of the change's lane says; what undoes harm goes at any pace."""
    lane = next((one for one in inquiry.policy.lanes if one.name == inquiry.lane), None)
    if lane is None or lane.pace is None:
        return []
    if inquiry.way_back:
        return [Word(rule="pace", decision=Decision.ALLOW, reason="pace: none to keep, it is a way back")]
    limits, now, own = lane.pace, inquiry.now, inquiry.change.id
    words = []
    if inquiry.under_way is not None:
        return []  # it was let go already and asks for its next step
    harm = inquiry.traffic.harm(lane.name)
    if limits.cool_off and harm is not None and harm[0] <= now < harm[0] + limits.cool_off and harm[1] != own:
        rest = format_duration(harm[0] + limits.cool_off - now)
        reason = f"pace: lane {lane.name} cools off after harm by {harm[1]}, {rest} left"
        words.append(_held(reason, f"cool_off:{harm[1]}", harm[0] + limits.cool_off))
    running = sorted(one.change.id for one in inquiry.traffic.running(now) if one.lane == lane.name)
    if limits.at_once is not None and len(running) >= limits.at_once:
        reason = f"pace: {len(running)} of {limits.at_once} changes of lane {lane.name} run already: {_some(running)}"
        words.append(_held(reason, f"at_once:{lane.name}", None))
    starts = inquiry.traffic.starts(lane.name, now - HOUR_MS, now)
    starts = [one for one in starts if one[1] != own]
    if limits.per_hour is not None and len(starts) >= limits.per_hour:
        # Room comes when enough of them are an hour old.
        until = starts[len(starts) - limits.per_hour][0] + HOUR_MS
        reason = f"pace: {len(starts)} of {limits.per_hour} changes of lane {lane.name} started within the hour"
        words.append(_held(reason, f"per_hour:{lane.name}", until))
    return words


def _held(reason: str, cause: str, until: int | None) -> Word:
    turn = "time" if until is not None else "the end of one of them"
    return Word(rule="pace", decision=Decision.HOLD, reason=reason, cause=cause, until=until, turn=turn)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""The mandatory canary: a change goes in steps no larger than the policy's, with a pause between them."""

from __future__ import annotations

from deploy.inquiry import Inquiry
from deploy.policy import Canary
from deploy.rule import Decision, Word
from deploy.times import SECOND_MS, format_duration

#: Shares are compared as people write them.
_TINY = 1e-9


def canary(inquiry: Inquiry) -> list[Word]:
    """What each canary rule that matches says; an allow carries the largest share that may go now."""
    due = [one for one, scope in inquiry.rules.canaries if inquiry.matches(scope)]
    if due and inquiry.way_back:
        return [Word(rule="canary", decision=Decision.ALLOW, reason="canary: none needed, it is a way back")]
    return [_word(inquiry, one) for one in due]


def _word(inquiry: Inquiry, rule: Canary) -> Word:
    rollout = inquiry.change.rollout
    steps = rollout.steps or ((rollout.share,) if rollout.share is not None and rollout.share < 1 else ())
    if not steps:
        return _held(rule, "canary: it has no rollout plan in steps")
    # A plan that only says where it begins says nothing of later steps; those are asked for when they come.
    plan = steps if rollout.steps else rule.steps
    if len(plan) < len(rule.steps):
        return _held(rule, f"canary: {len(plan)} steps ({_shares(plan)}), at least {len(rule.steps)}")
    for number, (step, most) in enumerate(zip(plan, rule.steps, strict=False), 1):
        if step > most + _TINY:
            return _held(rule, f"canary: step {number} is {step:.0%}, at most {most:.0%}")
    pause = rollout.pause_seconds
    if rollout.steps and (pause is None or pause * SECOND_MS < rule.pause):
        given = "no pause" if pause is None else f"a pause of {pause:g}s"
        return _held(rule, f"canary: {given} between steps, at least {format_duration(rule.pause)}")
    now_at, ready_at = _reached(inquiry, rule)
    allowed = next((step for step in plan if step > now_at + _TINY), 1.0) if ready_at is None else now_at
    asked = rollout.share if rollout.share is not None else allowed
    if asked > allowed + _TINY:
        if ready_at is not None:
            reason = f"canary: at {now_at:.0%}, the step to {asked:.0%} comes after {format_duration(rule.pause)}"
            return _held(rule, reason, ready_at)
        return _held(rule, f"canary: {asked:.0%} asked, at most {allowed:.0%} after {now_at:.0%}")
    return Word(
        rule="canary", decision=Decision.ALLOW, reason=f"canary: up to {allowed:.0%} of instances", max_share=allowed
    )


def _reached(inquiry: Inquiry, rule: Canary) -> tuple[float, int | None]:
    """The share that it runs at already, and until when it must stay there; None where it may go on."""
    known = inquiry.under_way
    if known is None or known.share is None or known.share_since is None:
        return 0.0, None
    ready_at = known.share_since + rule.pause
    return known.share, ready_at if inquiry.now < ready_at else None


def _held(rule: Canary, reason: str, until: int | None = None) -> Word:
    seconds = rule.pause // SECOND_MS
    steps = ", ".join(f"{step:g}" for step in rule.steps)
    passes = f'rollout {{"strategy": "canary", "steps": [{steps}], "pause_seconds": {seconds}}}'
    turn = "time" if until is not None else f"a plan that would pass: {passes}"
    return Word(rule="canary", decision=Decision.HOLD, reason=reason, cause="canary", turn=turn, until=until)


def _shares(steps: tuple[float, ...]) -> str:
    return ", ".join(f"{step:.0%}" for step in steps)

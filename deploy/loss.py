"""What would be destroyed is held for a person who says, of exactly that, that it may be."""

from __future__ import annotations

import re

from deploy.approvals import count, evidence, own, refusals
from deploy.destructive import Losses, losses
from deploy.freeze import Mode
from deploy.inquiry import Inquiry
from deploy.lookalike import skeleton
from deploy.rule import Ask, Decision, Word

#: As many are named in the line; the answer's record has all.
_NAMED = 5


def destruction(inquiry: Inquiry) -> list[Word]:
    """What is said of the losses of a change and its plan; nothing that the change says of itself lifts it."""
    change, rules = inquiry.change, inquiry.rules
    found = losses(change.actions, inquiry.request.plan, rules.kinds, rules.disposable)
    words = []
    if found.others:
        some = ", ".join(map(str, found.others[:_NAMED]))
        text = f"destructive: {len(found.others)} that can be made again: {some}{_more(len(found.others))}"
        words.append(Word(rule="destructive", decision=Decision.ALLOW, reason=text))
    if not found.guarded and not found.unknown:
        return words
    if not inquiry.policy.guarded(change.environment) and not _elsewhere(inquiry, found):
        text = f"destructive: {change.environment} is not guarded: {_what(found)}"
        return [*words, Word(rule="destructive", decision=Decision.ALLOW, reason=text)]
    role = inquiry.policy.destructive.role or rules.people.most_senior
    return [*words, *refusals(inquiry, {role}, found.id), _asked(inquiry, found)]


def _asked(inquiry: Inquiry, found: Losses) -> Word:
    rules, policy = inquiry.rules, inquiry.policy.destructive
    role = policy.role or rules.people.most_senior
    confirmed: dict[str, int | None] = {}
    refused = []
    for approver in inquiry.change.provenance.approvers:
        if not approver.confirms or approver.refused:
            continue
        one = count(approver, inquiry, confirming=True)
        if approver.confirms != found.id:
            refused.append(f"{one.who} confirmed {approver.confirms}, this is {found.id}")
        elif not one.counts:
            refused.append(one.why)
        elif not rules.people.senior(one.who, role):
            refused.append(f"{one.who} is {rules.people.role(one.who) or 'without a role'}, not {role}")
        else:
            confirmed[one.who] = one.expires_at
    if len(confirmed) >= policy.count:
        names = ", ".join(sorted(confirmed))
        until = min((at for at in confirmed.values() if at is not None), default=None)
        text = f"destructive: {names} confirmed {found.id}: {_what(found)}"
        return Word(rule="destructive", decision=Decision.ALLOW, reason=text, until=until)
    said = f" ({'; '.join(refused)})" if refused else ""
    observed = policy.mode is Mode.OBSERVE
    people = tuple(one for one in rules.people.with_role(role) if not own(one, inquiry))
    turn = f"{policy.count} confirmation{'s' * (policy.count != 1)} of {found.id} by {role} or above"
    return Word(
        rule="destructive",
        decision=Decision.HOLD,
        reason=f"destructive: {_what(found)}; held for a person to confirm {found.id}{said}",
        cause=found.id,
        turn=turn,
        observed=observed,
        ask=Ask(
            text=f"May {inquiry.change.service} destroy this? {_what(found, 20)}. Confirm {found.id}, or say no.",
            evidence=(*map(str, found.guarded[:20]), *found.unknown[:5], *evidence(inquiry)),
            alternative="a plan without it: change in place, or create beside and move over first",
            people=people,
        ),
    )


def _what(found: Losses, most: int = _NAMED) -> str:
    parts = []
    if found.guarded:
        parts.append("would " + ", ".join(map(str, found.guarded[:most])) + _more(len(found.guarded), most))
    if found.unknown:
        more = f" and {len(found.unknown) - 1} more" if len(found.unknown) > 1 else ""
        parts.append(f"cannot be told: {found.unknown[0]}{more}")
    return "; ".join(parts)


def _more(count: int, most: int = _NAMED) -> str:
    return f" and {count - most} more" if count > most else ""


def _elsewhere(inquiry: Inquiry, found: Losses) -> bool:
    """Whether what an unguarded environment destroys bears the name of a guarded one, or cannot be told."""
    if found.unknown:
        return True
    names = (word for one in found.guarded for word in _words(one.name))
    return not inquiry.rules.guarded.isdisjoint(names)


def _words(name: str) -> set[str]:
    """The words of a name, however it sets them apart: `shop-Production`, `ShopProduction`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    return {word for one in (name, apart) for word in re.split(r"[^a-z0-9]+", skeleton(one))}

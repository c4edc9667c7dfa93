"""Sign-off: which approvals count, and whether they are enough.

An approval counts for what can be checked of it: that the policy knows the person and their role, that they neither
wrote the change nor set the agent to it, that it is of the revision to be deployed, is not too old, and was given no
faster than the change can be read by somebody who has not already approved more than a person can in a day.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from deploy.change import Approver, same_revision
from deploy.errors import InvalidTime
from deploy.inquiry import Inquiry
from deploy.lookalike import spelt
from deploy.rule import Ask, Decision, Word
from deploy.signature import signed
from deploy.times import MINUTE_MS, SECOND_MS, format_duration, format_time, parse_time
from deploy.traffic import DAY_MS

#: What two clocks may differ by.
_SKEW_MS = 5 * MINUTE_MS


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One approval; `who` is the policy's name of the person, `why` says why it does not count, empty where it does."""

    approver: Approver
    who: str
    why: str = ""
    expires_at: int | None = None

    @property
    def counts(self) -> bool:
        return not self.why


def sign_off(inquiry: Inquiry) -> list[Word]:
    """What the approval rules that match say."""
    due = [rule for rule, scope in inquiry.rules.approvals if inquiry.matches(scope)]
    if not due:
        return []
    if inquiry.way_back:
        return [Word(rule="sign_off", decision=Decision.ALLOW, reason="sign-off: none needed, it is a way back")]
    counted = [count(approver, inquiry) for approver in inquiry.change.provenance.approvers if not approver.refused]
    words = refusals(inquiry, {rule.role for rule in due})
    for rule in dict.fromkeys(due):
        people = inquiry.rules.people
        enough = {one.who: one for one in counted if one.counts and people.senior(one.who, rule.role)}
        if len(enough) >= rule.count:
            given = ", ".join(f"{who} ({people.role(who) or 'no role'})" for who in sorted(enough))
            until = min((one.expires_at for one in enough.values() if one.expires_at is not None), default=None)
            reason = f"sign-off: approved by {given}"
            words.append(Word(rule="sign_off", decision=Decision.ALLOW, reason=reason, until=until))
            continue
        words.append(_missing(inquiry, rule.role, rule.count, enough, counted))
    return words


def refusals(inquiry: Inquiry, roles: Iterable[str], confirms: str = "") -> list[Word]:
    """What holds because somebody who could have said yes, senior enough for one of these roles, said no.

    It needs what a yes needs, but no time to read and no age: it stands until that person says otherwise.
    """
    people, words = inquiry.rules.people, []
    for approver in inquiry.change.provenance.approvers:
        who = people.find(approver.who)
        if not approver.refused or who is None or approver.confirms != confirms:
            continue
        keys = inquiry.policy.people[who].keys
        own_key = not keys or signed(approver, inquiry.change.id, keys)
        senior = any(people.senior(who, role) for role in roles)
        if senior and own_key and same_revision(approver.revision, inquiry.change.vcs.revision):
            reason = (
                f"sign-off: {who} ({people.role(who) or 'no role'}) refused it: {approver.why or 'no reason given'}"
            )
            turn = f"another revision, or a yes by {who}"
            words.append(
                Word(rule="sign_off", decision=Decision.HOLD, reason=reason, cause=f"refused:{who}", turn=turn)
            )
    return words


def _missing(inquiry: Inquiry, role: str, count: int, enough: dict[str, Counted], counted: list[Counted]) -> Word:
    people = inquiry.rules.people
    who = f"{_number(count, 'approval')} by {role or 'anybody whom the policy names'}{' or above' if role else ''}"
    origin = "/".join(inquiry.labels.get("origin", ()))
    tier = inquiry.policy.tier_of(inquiry.change.service)
    what = f"{origin} change to {inquiry.change.service}" + (f" (tier {tier})" if tier is not None else "")
    rest = [one.why for one in counted if not one.counts]
    rest += [
        f"{one.who} is {people.role(one.who) or 'without a role'}" + _claim(one.approver, people.role(one.who))
        for one in counted
        if one.counts and not people.senior(one.who, role)
    ]
    said = "; ".join(rest) if rest else ", ".join(f"{one} approved" for one in sorted(enough)) or "nobody approved it"
    candidates = tuple(one for one in people.with_role(role) if one not in enough and not own(one, inquiry))
    revision = inquiry.change.vcs.revision
    return Word(
        rule="sign_off",
        decision=Decision.HOLD,
        reason=f"sign-off: {'an' if what[0] in 'aiu' else 'a'} {what} needs {who}, has {len(enough)}: {said}",
        cause=f"sign_off:{role}:{count}",
        turn=f"{who} of {f'revision {revision}' if revision else 'the very revision, which the change must name'}",
        ask=Ask(
            text=f"Does {revision[:12] or 'this change'} of {inquiry.change.service} go to "
            f"{inquiry.change.environment or 'its environment'}? Approve that revision, or say no.",
            evidence=evidence(inquiry),
            alternative="leave it: the change stays out and the running version goes on",
            people=candidates,
        ),
    )


def count(approver: Approver, inquiry: Inquiry, *, confirming: bool = False) -> Counted:
    """Whether an approval counts, and if not why; one that is `confirming` a loss is not about lines of code."""
    people, change = inquiry.rules.people, inquiry.change
    who = people.find(approver.who)

    def refused(why: str) -> Counted:
        return Counted(approver=approver, who=who or approver.who, why=why)

    if who is None:
        near = people.looks_like(approver.who)
        if near is not None:
            return refused(f"{spelt(approver.who)} looks like {near} and is somebody else")
        claim = f", who claims to be {approver.role}," if approver.role else ""
        return refused(f"{approver.who!r}{claim} is nobody the policy names")
    if own(who, inquiry):
        return refused(f"{who} cannot approve what is their own")
    if not change.provenance.author and not change.provenance.operator:
        return refused(f"whether {who} is its author is not known, as the change names none")
    keys = inquiry.policy.people[who].keys
    if keys and not signed(approver, change.id, keys):
        how = "is signed by none of their keys" if approver.signature else "is not signed, and they have a key"
        return refused(f"the approval of {who} {how}")
    revision = change.vcs.revision
    if not approver.revision:
        return refused(f"{who} approved no revision that is named")
    if not same_revision(approver.revision, revision):
        return refused(f"{who} approved {approver.revision[:12]}, this is {revision[:12] or 'without a revision'}")
    try:
        at = parse_time(approver.at)
        since = None if approver.since is None else parse_time(approver.since)
    except InvalidTime:
        return refused(f"when {who} approved is not said in a time that can be read")
    if at > inquiry.now + _SKEW_MS:
        return refused(f"{who} approved at {format_time(at)}, which has not come yet")
    expires_at = at + inquiry.policy.approvals.expires
    if inquiry.now >= expires_at:
        lasts = format_duration(inquiry.policy.approvals.expires)
        return refused(f"{who} approved {format_duration(inquiry.now - at)} ago, it counts for {lasts}")
    given = 1 + len({one for _, one in inquiry.traffic.approvals(who, at - DAY_MS, at) if not _this(one, inquiry)})
    most = inquiry.policy.approvals.per_day
    if given > most:
        return refused(f"{who} gave {given} approvals in 24h, more than the {most} that count")
    too_fast = "" if confirming else _too_fast(who, at, since, inquiry)
    return refused(too_fast) if too_fast else Counted(approver=approver, who=who, expires_at=expires_at)


def _too_fast(who: str, at: int, since: int | None, inquiry: Inquiry) -> str:
    """Why it was given faster than the change can be read; empty where it was not, or where nobody can tell."""
    vcs = inquiry.change.vcs
    if vcs.lines_added is None and vcs.lines_removed is None:
        return ""
    lines = (vcs.lines_added or 0) + (vcs.lines_removed or 0)
    # While one change was approved another could not be read: the last approval begins the reading of the next.
    before = [then for then, one in inquiry.traffic.approvals(who, at - DAY_MS, at) if not _this(one, inquiry)]
    begins = [moment for moment in (since, *before[-1:]) if moment is not None]
    if not begins:
        return ""
    seconds = max(0, at - max(begins)) / SECOND_MS
    rate, most = lines / max(seconds, 0.001), inquiry.policy.approvals.lines_per_second
    if rate <= most:
        return ""
    needs = format_duration(int(lines / most * SECOND_MS))
    return f"{who} approved {lines} lines in {seconds:g}s, to read them takes {needs} ({most:g} lines/s)"


def _this(of: str, inquiry: Inquiry) -> bool:
    """Whether an approval was of the change that asks, by its id or its revision."""
    return of == inquiry.change.id or same_revision(of, inquiry.change.vcs.revision)


def own(who: str, inquiry: Inquiry) -> bool:
    """Whether this person wrote the change or set the agent to it, by anybody's word."""
    provenance, people = inquiry.change.provenance, inquiry.rules.people
    return any(people.same(who, name) for name in (provenance.author, provenance.operator, *provenance.involved))


def evidence(inquiry: Inquiry) -> tuple[str, ...]:
    """What a person needs to answer: who made it, how large it is, what says so."""
    change = inquiry.change
    provenance, vcs = change.provenance, change.vcs
    sure = "" if provenance.confidence is None else f" (confidence {provenance.confidence:.2f})"
    by = ", ".join(part for part in (provenance.author, *provenance.tools, *provenance.models) if part)
    lines = [f"origin {provenance.origin.value}{sure}{f', by {by}' if by else ''}"]
    if vcs.lines_added is not None or vcs.lines_removed is not None:
        lines.append(f"+{vcs.lines_added or 0} −{vcs.lines_removed or 0} lines in {vcs.repository or 'its repository'}")
    lines += [f"{one.source}: {one.text}"[:200] for one in provenance.evidence[:3]]
    return tuple(lines)


def _claim(approver: Approver, role: str) -> str:
    return f" and not {approver.role}" if approver.role and approver.role != role else ""


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"

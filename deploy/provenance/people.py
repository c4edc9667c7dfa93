"""Who may count as an approver: a person with an account, under a name that is what it looks like."""

from __future__ import annotations

from deploy.change import Origin
from deploy.provenance.lookalike import imitates
from deploy.provenance.piece import Approval
from deploy.provenance.signs import signs
from deploy.provenance.vote import Source, Vote, quote


def approval_or_vote(
    who: str, source: Source, *, said: str, at: int | None = None, revision: str = "", role: str = "",
    number: int | None = None, bot: bool = False, withdrawn: bool = False,
) -> tuple[tuple[Approval, ...], tuple[Vote, ...]]:  # fmt: skip
    """The approval; or, where it is none, a vote of weight 0 that says why it does not count."""
    if look := imitates(who):
        return (), (Vote(source=source, text=quote(said), note=f"no approver: the name only looks like {look!r}"),)
    tool = signs().by_account(who, number) or signs().by_email(who)
    if bot or tool is not None:
        return (), (Vote(source=source, text=quote(said), note="no approver: the account is a bot's"),)
    return (Approval(who=who, role=role, at=at, revision=revision, withdrawn=withdrawn, source=source),), ()


def account_vote(login: str, source: Source, *, number: int | None = None, bot: bool = False) -> Vote | None:
    """The vote of the account that opened a pull request or pushed; None where it is nobody known."""
    tool = signs().by_account(login, number)
    if tool is None:
        note = "a bot that the table of signs does not know"
        return Vote(source=source, text=quote(f"opened by {login}"), note=note) if bot else None
    text = quote(f"opened by {login}")
    if not tool.ai:
        return Vote(
            source=source, text=text, tool=tool.tool, note="automation by fixed rules: neither a person nor an AI"
        )
    return Vote(
        source=source, text=text, origin=Origin.AI, weight=signs().weights["account"], tool=tool.tool,
        autonomy="autonomous",
    )  # fmt: skip


def branch_vote(branch: str, source: Source) -> Vote | None:
    """The vote of a branch whose name begins as a tool's branches do."""
    tool = signs().by_branch(branch)
    if tool is None or not tool.ai:
        return None
    weight = signs().weights["branch"]
    return Vote(
        source=source, text=quote(f"branch {branch}"), origin=Origin.MIXED, weight=weight, tool=tool.tool,
        autonomy=tool.autonomy,
    )  # fmt: skip

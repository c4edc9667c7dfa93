"""What a commit says of who made it: its author and committer, its trailers, and the wording of its message.

All of it was written by whoever wrote the commit, and nothing of it is authenticated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from deploy.change import Origin
from deploy.provenance.lookalike import fold, imitates
from deploy.provenance.signs import Tool, TrailerSign, signs, split_identity
from deploy.provenance.trailers import Trailer, trailers
from deploy.provenance.vote import Source, Vote, quote

_QUOTED = re.compile(r"^\s*(?:>|\||`{3}|~{3})|^(?: {4}|\t)")
_BEHIND = re.compile(r"\(([^()]{1,80})\)\s*$")
_CLAIM = "a commit can claim anything of anybody; approvals count from the review itself"


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit as git keeps it; identities are `Name <address>`, times Unix milliseconds.

    `added` and `removed` are lines, None where nobody counted them.
    """

    revision: str
    author: str
    committer: str = ""
    authored_at: int = 0
    message: str = ""
    parents: tuple[str, ...] = ()
    added: int | None = None
    removed: int | None = None

    @property
    def title(self) -> str:
        return self.message.strip().partition("\n")[0].strip()


def commit_votes(commit: Commit) -> list[Vote]:
    """Every sign in a commit, its notes aside."""
    votes = [*_identities(commit), *_trailers(commit), *_message(commit)]
    said: dict[tuple[str, str], Vote] = {}
    for vote in votes:
        said.setdefault((vote.text, vote.note), vote)
    return list(said.values())


def operator_of(commit: Commit) -> str:
    """The person beside a tool that is the author, as the commit says: a co-author, else the committer; else empty."""
    if signs().by_email(split_identity(commit.author)[1]) is None:
        return ""
    shared = [one.value for one in trailers(commit.message) if fold(one.key).lower() == "co-authored-by"]
    for one in (*shared, commit.committer):
        name, email = split_identity(one)
        if email and email != "noreply@github.com" and signs().by_email(email) is None:
            return email or name
    return ""


def identity_vote(identity: str, role: str, source: Source = Source.IDENTITY) -> Vote | None:
    """The vote of a person-like field `Name <address>` that belongs to a tool; None where it does not."""
    name, email = split_identity(identity)
    tool = signs().by_email(email)
    if tool is None:
        return None
    found = signs().by_name(name)
    model = found[1] if found and found[0] is tool else ""
    weight = signs().weights["identity"] if source is Source.IDENTITY else signs().weights["known_trailer"]
    sole = source is Source.IDENTITY and role == "author"
    return _vote(source, f"{role}: {identity}", tool, Origin.AI if sole else Origin.MIXED, weight, model=model,
                 autonomy="autonomous" if sole else "")  # fmt: skip


def _vote(
    source: Source, text: str, tool: Tool, origin: Origin, weight: float, model: str = "", autonomy: str = ""
) -> Vote:
    if not tool.ai:
        note = "automation by fixed rules: neither a person nor an AI"
        return Vote(source=source, text=quote(text), tool=tool.tool, note=note)
    return Vote(
        source=source,
        text=quote(text),
        origin=origin,
        weight=weight,
        tool=tool.tool,
        model=model,
        autonomy=autonomy or tool.autonomy,
    )


def _identities(commit: Commit) -> Iterator[Vote]:
    for role, identity in (("author", commit.author), ("committer", commit.committer)):
        if identity and (vote := identity_vote(identity, role) or _beside(identity, role)):
            yield vote
            if role == "author":
                return


def _beside(identity: str, role: str) -> Vote | None:
    """The vote of a tool that writes its name behind a person's, as `Ada (aider) <ada@example.org>`."""
    behind = _BEHIND.search(fold(split_identity(identity)[0]))
    found = signs().by_name(behind[1]) if behind else None
    if found is None or found[0].person:
        return None
    return _vote(Source.IDENTITY, f"{role}: {identity}", found[0], Origin.MIXED, signs().weights["message"], found[1])


def _trailers(commit: Commit) -> Iterator[Vote]:
    for one in trailers(commit.message):
        sign = signs().trailers.get(fold(one.key).lower())
        if sign is None:
            continue
        vote = _identity_trailer(one, sign) if sign.identity else _trailer(one, sign)
        if vote is None:
            continue
        if imitates(one.text) and any(ord(c) > 127 for c in one.text) and vote.weight:
            vote = msgspec.structs.replace(
                vote, note=f"written with look-alike letters, reads {quote(fold(one.text))!r}"
            )
        yield vote


def _trailer(one: Trailer, sign: TrailerSign) -> Vote | None:
    text = quote(one.text)
    if sign.claim:
        look = imitates(one.value)
        note = f"{_CLAIM}; and the name only looks like {look!r}" if look else _CLAIM
        return Vote(source=Source.TRAILER, text=text, note=note)
    value = fold(one.value)
    if sign.values and value.lower() not in sign.values:
        return None
    weight = signs().weights[sign.weight]
    if sign.tool:
        tool = signs().tools[sign.tool]
        return _vote(Source.TRAILER, text, tool, sign.says, weight)
    name, email = split_identity(value)
    known = signs().by_email(email) if email else None
    if email and known is None:
        # A person with an address: whoever is thanked for help is no AI.
        return None
    if not name and not known:
        return None
    # The kernel's form is AGENT:MODEL [TOOL ...]; elsewhere it is free text.
    agent, colon, rest = name.partition(":")
    model = rest.split()[0] if colon and rest.split() and not rest.startswith("//") else ""
    found = signs().by_name(agent if colon else name)
    if known is None and found:
        known, model = found[0], model or found[1]
    if known is not None:
        return _vote(Source.TRAILER, text, known, sign.says, signs().weights["known_trailer"], model=model)
    said = (agent.split()[0] if model and agent.split() else name).lower()
    return Vote(source=Source.TRAILER, text=text, origin=sign.says, weight=weight, tool=quote(said)[:80], model=model)


def _identity_trailer(one: Trailer, sign: TrailerSign) -> Vote | None:
    vote = identity_vote(fold(one.value), one.key, Source.TRAILER)
    if vote is not None:
        return msgspec.structs.replace(vote, text=quote(one.text))
    name, email = split_identity(fold(one.value))
    found = signs().by_name(name)
    if found is None or found[0].person or sign.key == "signed-off-by" or (email and not _no_mailbox(email)):
        return None
    vote = _vote(Source.TRAILER, one.text, found[0], Origin.MIXED, signs().weights["name_only"], model=found[1])
    return msgspec.structs.replace(
        vote, note=vote.note or "by its name only: the address is not one that it is known by"
    )


def _no_mailbox(email: str) -> bool:
    return email.lower().startswith(("noreply@", "no-reply@")) or "@users.noreply." in email.lower()


def _message(commit: Commit) -> Iterator[Vote]:
    fenced = False
    for number, line in enumerate(commit.message.strip().split("\n")):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        if fenced or _QUOTED.match(line):
            continue
        read = fold(line).strip().lower()[:400]
        for pattern, sign in signs().messages:
            match = pattern.fullmatch(read) if not sign.title or number == 0 else None
            found = signs().by_name(match["tool"]) if match else None
            if found is not None:
                yield _vote(Source.MESSAGE, line, found[0], Origin.MIXED, signs().weights["message"], model=found[1])

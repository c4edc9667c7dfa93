"""A piece of the way from an artifact to production: what one record tells, and what it can be joined by."""

from __future__ import annotations

import msgspec

from deploy.change import Approver
from deploy.provenance.vote import Source, Vote


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody's yes to one revision, or no, or, withdrawn, the end of it; `at` and `since` are Unix milliseconds.

    `since` is when the revision could be read, where that was said, `confirms` which loss is confirmed.
    """

    who: str
    role: str = ""
    at: int | None = None
    revision: str = ""
    withdrawn: bool = False
    source: str = ""
    since: int | None = None
    confirms: str = ""
    signature: str = ""
    refused: bool = False
    why: str = ""


class Piece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record's part of the story; `text` tells it in one line.

    It is joined with others by what they share: `revisions` (full or short commit ids that carry the same work),
    `artifacts` (`sha256:…`), `request` (`owner/name#42`), `chain` (of CDEvents), `events` (ids of CDEvents, its own and
    those it links to) and `change` (the id of a change record).
    """

    source: Source
    text: str
    time: int | None = None
    revisions: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    request: str = ""
    chain: str = ""
    events: tuple[str, ...] = ()
    change: str = ""
    repository: str = ""
    author: str = ""
    operator: str = ""
    approvals: tuple[Approval, ...] = ()
    approvers: tuple[Approver, ...] = ()
    votes: tuple[Vote, ...] = ()
    added: int | None = None
    removed: int | None = None

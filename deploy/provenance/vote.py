"""What one sign says: a vote for an origin, with its weight, its words, and what else it tells."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from deploy.change import Origin

#: A quotation is at most this long; what is cut is marked.
LONGEST_QUOTE = 200


class Source(StrEnum):
    """Where a sign was read."""

    IDENTITY = "commit-identity"
    TRAILER = "commit-trailer"
    MESSAGE = "commit-message"
    GIT_AI = "git-ai-note"
    AGENT_TRACE = "agent-trace"
    ATTESTATION = "attestation"
    GITHUB = "github"
    GITLAB = "gitlab"
    CDEVENTS = "cdevents"
    DECLARED = "declared"
    ORDER = "order"


#: Who speaks. What one witness says several times counts once: whoever wrote the commit wrote all of its text.
WITNESS = {Source.IDENTITY: "commit", Source.TRAILER: "commit", Source.MESSAGE: "commit"}


class Lines(msgspec.Struct, frozen=True):
    """Of the lines that a change adds, how many a source says an AI wrote, and how many a person."""

    ai: int
    human: int = 0

    @property
    def attributed(self) -> int:
        return self.ai + self.human


class Vote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sign. With weight 0 it is shown and does not count, and `note` says why.

    `weight` is how far the source is believed by itself, from 0 to 1; `origin` unknown votes for nothing.
    """

    source: Source
    text: str
    origin: Origin = Origin.UNKNOWN
    weight: float = 0.0
    note: str = ""
    tool: str = ""
    model: str = ""
    autonomy: str = ""
    lines: Lines | None = None


def quote(text: str) -> str:
    """Somebody's words on one line, of a length that can be shown.

    >>> quote("  Assisted-by:\\n  some-agent ")
    'Assisted-by: some-agent'
    """
    text = re.sub(r"\s+", " ", text[: 4 * LONGEST_QUOTE]).strip()
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"

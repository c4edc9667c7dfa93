"""Notes that stayed behind: a rebase or squash made a new commit, and the note still hangs on the old one.

A rebased commit keeps its author, the time that it was authored and its title. A squash lists the titles of what went
into it, or, as `git merge --squash` writes it, their ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from deploy.change import Origin
from deploy.provenance.commit import Commit
from deploy.provenance.git_ai import Note, votes_of
from deploy.provenance.signs import signs
from deploy.provenance.vote import Vote

_LISTED = re.compile(r"^[*-] +(\S.*?)\s*$", re.MULTILINE)
_NAMED = re.compile(r"^commit ([0-9a-f]{40,64})$", re.MULTILINE)


class LostNotes:
    """Notes on commits that are no longer in the history, found again by what their commits look like."""

    def __init__(self, lost: Iterable[tuple[Commit, Note]]) -> None:
        self._of: dict[str, tuple[Commit, Note]] = {}
        self._same: dict[tuple[str, int, str], list[str]] = {}
        self._titles: dict[str, list[str]] = {}
        for commit, note in lost:
            self._of[commit.revision] = commit, note
            self._same.setdefault((commit.author, commit.authored_at, commit.title), []).append(commit.revision)
            self._titles.setdefault(commit.title, []).append(commit.revision)

    def __len__(self) -> int:
        return len(self._of)

    def votes(self, commit: Commit) -> list[Vote]:
        """What lost notes say of this commit, which has none itself."""
        if not self._of:
            return []
        rebased = self._same.get((commit.author, commit.authored_at, commit.title))
        if rebased:
            # Rebased more than once, the notes say the same; any one of them will do.
            return self._told([rebased[-1]], "when this commit was rewritten")
        _, _, body = commit.message.strip().partition("\n")
        named = [one for one in dict.fromkeys(_NAMED.findall(body)) if one in self._of]
        # A title that several lost commits have tells nothing.
        titles = dict.fromkeys(_LISTED.findall(body))
        listed = [found[0] for one in titles if len(found := self._titles.get(one, [])) == 1]
        return self._told(named or listed, "when it was squashed into this commit") if named or listed else []

    def _told(self, revisions: list[str], how: str) -> list[Vote]:
        votes = []
        for revision in revisions:
            note = self._of[revision][1]
            votes += votes_of(note, f"its note stayed behind on {revision[:10]} {how}", signs().weights["note_moved"])
        if len(revisions) > 1 and any(vote.lines is not None and vote.lines.ai for vote in votes):
            # A person's lines in one commit and an AI's in another make the squash mixed.
            mixed = any(vote.lines is not None and vote.lines.human for vote in votes)
            votes = [msgspec.structs.replace(vote, origin=Origin.MIXED if mixed else Origin.AI) for vote in votes]
        return votes

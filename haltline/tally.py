"""What many commits come to: shares by origin, of commits and of the lines they add."""

from __future__ import annotations

from collections import Counter
from typing import Any

from deploy.change import Origin
from deploy.provenance.vote import Source
from deploy.times import format_time
from haltline.history import History, Made


class Tally:
    """Counts over commits, each taken once."""

    def __init__(self) -> None:
        self.commits = 0
        self.added = self.removed = 0
        self.by_origin: Counter[str] = Counter()
        self.added_by: Counter[str] = Counter()
        self.tools: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.autonomy: Counter[str] = Counter()
        self.conflicts = self.disguised = self.claims = self.merges = self.uncounted = 0
        self.noted = self.noted_lines = self.noted_of = self.moved = 0
        self.first: int | None = None
        self.last: int | None = None

    def add(self, made: Made) -> None:
        commit, found = made.commit, made.attribution
        self.commits += 1
        self.merges += len(commit.parents) > 1
        self.uncounted += commit.added is None
        self.added += commit.added or 0
        self.removed += commit.removed or 0
        self.by_origin[found.origin.value] += 1
        self.added_by[found.origin.value] += commit.added or 0
        self.tools.update(found.tools)
        self.models.update(found.models)
        self.autonomy.update([found.autonomy] if found.autonomy else [])
        self.conflicts += found.conflict > 0
        self.disguised += any("look-alike" in vote.note or "only looks like" in vote.note for vote in found.votes)
        self.claims += any("approvals count from the review" in vote.note for vote in found.votes)
        notes = [vote for vote in found.votes if vote.source is Source.GIT_AI and vote.lines is not None]
        if notes and found.lines is not None:
            self.noted += 1
            self.noted_lines += found.lines.ai + found.lines.human
            self.noted_of += found.lines.changed
            self.moved += any(vote.note for vote in notes)
        if commit.authored_at > 0:
            self.first = min(commit.authored_at, self.first or commit.authored_at)
            self.last = max(commit.authored_at, self.last or commit.authored_at)

    def record(self, history: History) -> dict[str, Any]:
        """The summary for a program; shares are of commits and of lines added."""
        return {
            "commits": self.commits,
            "merges": self.merges,
            "lines_added": self.added,
            "lines_removed": self.removed,
            "since": None if self.first is None else format_time(self.first),
            "until": None if self.last is None else format_time(self.last),
            "origins": {
                origin.value: {
                    "commits": self.by_origin[origin],
                    "share": share(self.by_origin[origin], self.commits),
                    "lines_added": self.added_by[origin],
                    "share_of_lines": share(self.added_by[origin], self.added),
                }
                for origin in Origin
            },
            "tools": dict(self.tools.most_common()),
            "models": dict(self.models.most_common()),
            "autonomy": dict(self.autonomy.most_common()),
            "contradicted": self.conflicts,
            "disguised": self.disguised,
            "claimed_approvals": self.claims,
            "notes": {
                "commits": self.noted,
                "lines_attributed": self.noted_lines,
                "lines_added": self.noted_of,
                "moved": self.moved,
                "left_behind": history.left_behind,
            },
            "shallow": history.repository.shallow,
        }


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0

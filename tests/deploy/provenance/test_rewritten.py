"""Notes that stayed behind when a commit was rebased or squashed."""

from __future__ import annotations

from deploy.change import Origin
from deploy.provenance.commit import Commit
from deploy.provenance.git_ai import read_note
from deploy.provenance.rewritten import LostNotes
from deploy.provenance.weigh import weigh
from tests.haltline.checkout import git_ai_note

ADA = "Ada <ada@example.org>"


def commit(number: int, message: str, time: int = 5) -> Commit:
    return Commit(revision=f"{number:040x}", author=ADA, authored_at=time, message=message)


def lost(*commits: Commit, key: str = "s_0123456789abcd") -> LostNotes:
    note = read_note(git_ai_note("", {"a": {key: "1-10"}}).encode())
    return LostNotes((one, note) for one in commits)


def test_a_rebased_commit_finds_its_note_by_author_time_and_title() -> None:
    notes = lost(commit(1, "Search fast\n\nWhy."))
    (vote,) = notes.votes(commit(2, "Search fast\n\nOther words."))
    assert vote.weight == 0.75
    assert "its note stayed behind on 0000000000 when this commit was rewritten" in vote.note
    assert notes.votes(commit(2, "Search fast", time=6)) == []
    assert notes.votes(commit(2, "Search faster")) == []


def test_a_squash_finds_the_notes_of_what_it_lists() -> None:
    notes = lost(commit(1, "Add a"), commit(2, "Add b", 6))
    github = commit(3, "Add both (#4)\n\n* Add a\n\n* Add b\n\n* Add c", 9)
    votes = notes.votes(github)
    assert len(votes) == 2
    found = weigh(votes, changed=40)
    assert found.lines is not None
    assert (found.origin, found.lines.ai, found.lines.nobody) == (Origin.MIXED, 20, 20)
    gits = commit(4, f"Squashed\n\nSquashed commit of the following:\n\ncommit {1:040x}\nAuthor: Ada\n\n    Add a", 9)
    assert len(notes.votes(gits)) == 1


def test_a_title_that_several_lost_commits_have_tells_nothing() -> None:
    notes = lost(commit(1, "wip"), commit(2, "wip", 6))
    assert notes.votes(commit(3, "Feature (#4)\n\n* wip\n\n* wip", 9)) == []

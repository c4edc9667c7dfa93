"""Who made the commits of a checkout: history, notes, traces beside it and evidence from files, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deploy.chain import Chain, attribute_pieces
from deploy.errors import InvalidProvenance
from deploy.provenance.commit import Commit, commit_votes, operator_of
from deploy.provenance.evidence import read_evidence_file
from deploy.provenance.git_ai import REF, Note, note_votes, read_note
from deploy.provenance.piece import Piece
from deploy.provenance.rewritten import LostNotes
from deploy.provenance.signs import signs, split_identity
from deploy.provenance.vote import Source, Vote
from deploy.provenance.weigh import Attribution
from haltline.errors import UnreadableInput
from haltline.git import Blobs, Repository

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key

#: Where Agent Trace's reference implementation keeps its records.
TRACES = Path(".agent-trace") / "traces.jsonl"


class Made(msgspec.Struct, frozen=True):
    """A commit, who made it, and what was joined to it."""

    commit: Commit
    attribution: Attribution
    story: tuple[Piece, ...] = ()


class History:
    """The commits of one repository with their provenance."""

    def __init__(self, repository: Repository, evidence: Iterable[Piece] = ()) -> None:
        self.repository = repository
        self.notes = repository.notes(REF)
        #: Notes on commits that the history walked does not have.
        self.left_behind = 0
        self._chain = Chain()
        for piece in evidence:
            # Here a commit is asked about: what was said of a change is said of its commit.
            self._chain.tell(msgspec.structs.replace(piece, change=""))
        self._traces = self._read_traces()
        self._lost = LostNotes(())

    def walk(self, revisions: str, limit: int | None = None, tip: str = "HEAD") -> Iterator[Made]:
        """The commits of a range, newest first; `tip` is what the history to compare lost notes with ends at."""
        with self.repository.blobs() as blobs:
            gone = self.repository.gone(self.notes, tip)
            self.left_behind = len(gone)
            self._lost = LostNotes(self._read_lost(gone, blobs))
            for commit in self.repository.commits(revisions, limit):
                yield self._made(commit, blobs)

    def _made(self, commit: Commit, blobs: Blobs) -> Made:
        votes = [*commit_votes(commit)]
        operator = operator_of(commit)
        note = self.notes.get(commit.revision)
        if note is not None:
            said, who = _note(blobs.read(note), commit)
            votes += said
            operator = operator or who
        else:
            votes += self._lost.votes(commit)
        votes += self._trace_votes(commit)
        name, email = split_identity(commit.author)
        own = Piece(
            source=Source.IDENTITY,
            text=commit.title,
            time=commit.authored_at or None,
            revisions=(commit.revision,),
            author=email or name,
            operator=operator,
            votes=tuple(votes),
            added=commit.added,
            removed=commit.removed,
        )
        story = self._chain.story_of([f"revision:{commit.revision}"])
        return Made(commit, attribute_pieces([own, *story]), tuple(story))

    def _read_lost(self, gone: Sequence[str], blobs: Blobs) -> Iterator[tuple[Commit, Note]]:
        for commit in self.repository.commits_named(gone) if gone else ():
            content = blobs.read(self.notes[commit.revision])
            try:
                yield commit, read_note(content or b"")
            except InvalidProvenance:
                continue

    def _read_traces(self) -> dict[str, list[Piece]]:
        """The traces in the work tree by the commit that was checked out when they were recorded."""
        path = None if self.repository.work_tree is None else self.repository.work_tree / TRACES
        if path is None or not path.is_file():
            return {}
        found: dict[str, list[Piece]] = {}
        for piece in read_file(path):
            for revision in piece.revisions:
                found.setdefault(revision, []).append(piece)
        return found

    def _trace_votes(self, commit: Commit) -> Iterator[Vote]:
        for parent in commit.parents if self._traces else ():
            for piece in self._traces.get(parent, ()):
                if commit.authored_at and piece.time is not None and piece.time > commit.authored_at:
                    continue
                for vote in piece.votes:
                    yield msgspec.structs.replace(
                        vote,
                        weight=min(vote.weight, signs().weights["trace_before"]),
                        note=vote.note or f"recorded on top of {parent[:10]}, before this commit was made",
                    )


def _note(content: bytes | None, commit: Commit) -> tuple[list[Vote], str]:
    """The votes of a commit's own note, and who set the agent to work."""
    try:
        if content is None:
            raise InvalidProvenance("git-ai note: cannot be read from this repository")
        note = read_note(content)
    except InvalidProvenance as error:
        return [Vote(source=Source.GIT_AI, text="a note that cannot be read", note=str(error))], ""
    added = None if len(commit.parents) > 1 else commit.added
    name, email = split_identity(note.operators[0]) if note.operators else ("", "")
    return note_votes(note, commit.revision, commit.parents, added), email or name


def read_file(path: Path, keys: Sequence[Key] = ()) -> tuple[Piece, ...]:
    """The pieces of an evidence file.

    Raises:
        UnreadableInput: naming the file, and the line where there is one.
    """
    try:
        return read_evidence_file(path.read_bytes(), keys)
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except InvalidProvenance as error:
        raise UnreadableInput(f"{path}: {error}") from None


def read_key(path: Path) -> Key:
    """A public key from a PEM file; raises `UnreadableInput`."""
    from deploy.provenance.attestation import load_key

    try:
        return load_key(path.read_bytes())
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except InvalidProvenance as error:
        raise UnreadableInput(f"{path}: {error}") from None

"""The commits of a push as forges tell of them: GitHub and GitLab write them alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deploy.provenance.commit import Commit, commit_votes, operator_of
from deploy.provenance.payload import at, sha, text, time
from deploy.provenance.people import branch_vote
from deploy.provenance.piece import Piece
from deploy.provenance.vote import Source, quote


def identity(person: object) -> str:
    """`Name <address>` of an object with a name and an email; the name alone where there is no address."""
    name, email = text(person, "name"), text(person, "email")
    return f"{name} <{email}>" if email else name


def commit_of(one: object) -> Commit:
    """A commit in a payload; GitLab names no committer."""
    return Commit(
        revision=sha(one, "id"),
        author=identity(at(one, "author")),
        committer=identity(at(one, "committer")),
        message=text(one, "message"),
    )


def pushed(record: dict[str, Any], commits: Iterable[object], source: Source, repository: str) -> list[Piece]:
    """A piece for each commit that has an id; a branch that a tool names so votes for all of them."""
    branch = text(record, "ref").removeprefix("refs/heads/")
    of_branch = branch_vote(branch, source)
    pieces = []
    for one in commits:
        commit = commit_of(one)
        if commit.revision:
            votes = commit_votes(commit)
            pieces.append(
                Piece(
                    source=source,
                    text=quote(f"push of {commit.revision[:10]} to {branch} by {commit.author}"),
                    time=time(one, "timestamp"),
                    revisions=(commit.revision,),
                    repository=repository,
                    # Who merges is the author of the merge commit, and not of what it merges.
                    author="" if commit.message.startswith("Merge ") else commit.author,
                    operator=operator_of(commit),
                    votes=(*votes, of_branch) if of_branch else tuple(votes),
                )
            )
    return pieces

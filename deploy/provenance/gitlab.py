"""GitLab's webhook payloads: push, merge_request, deployment.

An approval does not name the revision that was seen; it is that of the merge request's last commit at the time.
Source: gitlabhq/gitlabhq doc/user/project/integrations/webhook_events.md.
"""

from __future__ import annotations

from typing import Any

from deploy.provenance.commit import commit_votes
from deploy.provenance.payload import at, number, sha, text, time
from deploy.provenance.people import account_vote, approval_or_vote, branch_vote
from deploy.provenance.piece import Piece
from deploy.provenance.push import commit_of, pushed
from deploy.provenance.vote import Source, Vote, quote

_GITLAB = Source.GITLAB
_APPROVALS = {"approved": False, "approval": False, "unapproved": True, "unapproval": True}


def is_gitlab(record: dict[str, Any]) -> bool:
    return isinstance(record.get("object_kind"), str)


def read_gitlab(record: dict[str, Any]) -> tuple[Piece, ...]:
    """The pieces that a payload tells of; none for an event that is about something else."""
    kind = record.get("object_kind")
    if kind == "merge_request":
        return (_merge_request(record),)
    if kind == "deployment":
        return (_deployment(record),)
    if kind == "push":
        commits = record.get("commits")
        return tuple(pushed(record, commits if isinstance(commits, list) else (), _GITLAB, _project(record)))
    return ()


def _project(record: dict[str, Any]) -> str:
    return text(record, "project", "path_with_namespace")


def _merge_request(record: dict[str, Any]) -> Piece:
    one = record.get("object_attributes")
    identity, action, who = number(one, "iid"), text(one, "action"), text(record, "user", "username")
    request = f"{_project(record)}!{identity}" if identity is not None else ""
    head, merged = sha(one, "last_commit", "id"), sha(one, "merge_commit_sha") or sha(one, "squash_commit_sha")
    said = f"merge request {request}: {action} by {who}" + (f" at {head[:10]}" if head else "")
    # Only whoever opens it is named by name; later events give the author as a number.
    opened = action == "open"
    author = who if opened else ""
    votes: list[Vote | None] = [branch_vote(text(one, "source_branch"), _GITLAB)]
    if opened:
        votes.append(account_vote(who, _GITLAB))
    approvals: tuple[Any, ...] = ()
    if action in _APPROVALS and who:
        own = number(one, "author_id") is not None and number(one, "author_id") == number(record, "user", "id")
        if own and not _APPROVALS[action]:
            votes.append(Vote(source=_GITLAB, text=quote(said), note="no approver: the author approves their own work"))
        else:
            approvals, more = approval_or_vote(
                who, _GITLAB, said=said, at=time(one, "updated_at"), revision=head, withdrawn=_APPROVALS[action]
            )
            votes += more
    last = commit_of(at(one, "last_commit"))
    return Piece(
        source=_GITLAB,
        text=quote(said),
        time=time(one, "updated_at"),
        revisions=tuple(dict.fromkeys(sha for sha in (head, merged) if sha)),
        request=request,
        repository=_project(record),
        author=author,
        approvals=approvals,
        votes=(*(vote for vote in votes if vote is not None), *commit_votes(last)),
    )


def _deployment(record: dict[str, Any]) -> Piece:
    # The full id stands in the URL only.
    full = sha({"id": text(record, "commit_url").rpartition("/")[2]}, "id")
    revision = full or sha(record, "short_sha")
    said = f"deployment of {revision[:10]} to {text(record, 'environment')}: {text(record, 'status')}"
    return Piece(
        source=_GITLAB,
        text=quote(said),
        time=time(record, "status_changed_at"),
        revisions=(revision,) if revision else (),
        repository=_project(record),
    )

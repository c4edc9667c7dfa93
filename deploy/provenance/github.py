"""GitHub's webhook payloads: push, pull_request, pull_request_review, deployment, deployment_review, workflow_run.

Approvals count from reviews and deployment reviews, where GitHub itself names the account and the revision that it saw.
Source: octokit/webhooks payload-examples/api.github.com.
"""

from __future__ import annotations

from typing import Any

from deploy.provenance.commit import Commit, commit_votes, operator_of
from deploy.provenance.payload import at, number, sha, text, time
from deploy.provenance.people import account_vote, approval_or_vote, branch_vote
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.push import identity, pushed
from deploy.provenance.signs import signs
from deploy.provenance.vote import Source, Vote, quote

_GITHUB = Source.GITHUB
#: What a review does to the approval of the one who reviews.
_REVIEWS = {"approved": False, "changes_requested": True, "dismissed": True}
_DEPLOYMENT_REVIEWS = {"approved": False, "rejected": True}


def is_github(record: dict[str, Any]) -> bool:
    return bool(text(record, "repository", "full_name")) and "object_kind" not in record


def read_github(record: dict[str, Any]) -> tuple[Piece, ...]:
    """The pieces that a payload tells of; none for an event that is about something else."""
    if "review" in record and "pull_request" in record:
        return (_review(record),)
    if "pull_request" in record:
        return (_pull_request(record),)
    if "deployment" in record:
        return (_deployment(record),)
    if "workflow_run" in record:
        return (_workflow(record),)
    if isinstance(record.get("commits"), list) and "ref" in record:
        return tuple(pushed(record, record["commits"], _GITHUB, _repository(record)))
    return ()


def _repository(record: dict[str, Any]) -> str:
    return text(record, "repository", "full_name")


def _bot(user: object) -> bool:
    return text(user, "type") == "Bot" or text(user, "login").lower().endswith("[bot]")


def _opened(pull: dict[str, Any]) -> tuple[Vote, ...]:
    user = pull.get("user")
    votes = (
        account_vote(text(user, "login"), _GITHUB, number=number(user, "id"), bot=_bot(user)),
        branch_vote(text(pull, "head", "ref"), _GITHUB),
    )
    return tuple(vote for vote in votes if vote is not None)


def _operator(pull: object) -> str:
    """Who set the agent to it that opened this: GitHub assigns what an agent opens to the agent and to who asked it."""
    tool = signs().by_account(text(pull, "user", "login"), number(pull, "user", "id"))
    assigned = at(pull, "assignees")
    if tool is None or not tool.ai or not isinstance(assigned, list):
        return ""
    people = (text(one, "login") for one in assigned if not _bot(one) and not _tool(one))
    return next((who for who in people if who), "")


def _tool(user: object) -> bool:
    return signs().by_account(text(user, "login"), number(user, "id")) is not None


def _request(record: dict[str, Any]) -> str:
    identity = number(record, "pull_request", "number")
    return f"{_repository(record)}#{identity}" if identity is not None else ""


def _pull_request(record: dict[str, Any]) -> Piece:
    pull = record["pull_request"] if isinstance(record["pull_request"], dict) else {}
    merged = sha(pull, "merge_commit_sha") if pull.get("merged") is True else ""
    author = text(pull, "user", "login")
    merger = text(pull, "merged_by", "login")
    by = f", merged as {merged[:10]}{f' by {merger}' if merger else ''}" if merged else f", {text(record, 'action')}"
    return Piece(
        source=_GITHUB,
        text=quote(f"pull request {_request(record)} by {author}{by}"),
        time=time(pull, "merged_at") or time(pull, "updated_at"),
        revisions=tuple(one for one in (sha(pull, "head", "sha"), merged) if one),
        request=_request(record),
        repository=_repository(record),
        author=author,
        operator=_operator(pull),
        votes=_opened(pull),
        added=number(pull, "additions"),
        removed=number(pull, "deletions"),
    )


def _review(record: dict[str, Any]) -> Piece:
    review, pull = record.get("review"), record.get("pull_request")
    state = text(review, "state").lower()
    who, revision = text(review, "user", "login"), sha(review, "commit_id")
    said = f"review of {_request(record)} by {who}: {state}" + (f" at {revision[:10]}" if revision else "")
    approvals: tuple[Approval, ...] = ()
    votes: tuple[Vote, ...] = ()
    if state in _REVIEWS and who:
        user = at(review, "user")
        if state == "approved" and who == text(pull, "user", "login"):
            votes = (Vote(source=_GITHUB, text=quote(said), note="no approver: the author approves their own work"),)
        else:
            approvals, votes = approval_or_vote(
                who, _GITHUB, said=said, at=time(review, "submitted_at"), revision=revision,
                number=number(user, "id"), bot=_bot(user), withdrawn=_REVIEWS[state],
            )  # fmt: skip
    return Piece(
        source=_GITHUB,
        text=quote(said),
        time=time(review, "submitted_at"),
        # The head that was reviewed stays one of the revisions of this pull request.
        revisions=tuple(dict.fromkeys(one for one in (revision, sha(pull, "head", "sha")) if one)),
        request=_request(record),
        repository=_repository(record),
        author=text(pull, "user", "login"),
        operator=_operator(pull),
        approvals=approvals,
        votes=(*votes, *(_opened(pull) if isinstance(pull, dict) else ())),
    )


def _deployment(record: dict[str, Any]) -> Piece:
    one = record["deployment"]
    revision = sha(one, "sha")
    state = text(record, "deployment_status", "state")
    approvals: tuple[Approval, ...] = ()
    votes: tuple[Vote, ...] = ()
    if text(record, "action") in _DEPLOYMENT_REVIEWS and (who := text(record, "approver", "login")):
        approvals, votes = _deployment_review(record, who, revision, time(one, "updated_at") or time(one, "created_at"))
    said = f"deployment of {revision[:10]} to {text(one, 'environment')}" + (f": {state}" if state else "")
    return Piece(
        source=_GITHUB,
        text=quote(said),
        time=time(record, "deployment_status", "created_at") or time(one, "created_at"),
        revisions=(revision,) if revision else (),
        repository=_repository(record),
        approvals=approvals,
        votes=votes,
    )


def _deployment_review(
    record: dict[str, Any], who: str, revision: str, at: int | None
) -> tuple[tuple[Approval, ...], tuple[Vote, ...]]:
    """What a reviewer said; the payload has no time of it, so it is when the run last changed: not later than that."""
    action, user = text(record, "action"), record.get("approver")
    where = text(record, "environment") or text(record, "deployment", "environment")
    return approval_or_vote(
        who, _GITHUB, said=f"deployment to {where} {action} by {who}", at=at, revision=revision,
        number=number(user, "id"), bot=_bot(user), withdrawn=_DEPLOYMENT_REVIEWS[action],
    )  # fmt: skip


def _workflow(record: dict[str, Any]) -> Piece:
    run = record["workflow_run"]
    revision = sha(run, "head_sha")
    approvals: tuple[Approval, ...] = ()
    votes: tuple[Vote, ...] = ()
    if text(record, "action") in _DEPLOYMENT_REVIEWS and (who := text(record, "approver", "login")):
        approvals, votes = _deployment_review(record, who, revision, time(run, "updated_at"))
    message = text(run, "head_commit", "message")
    commit = Commit(revision=revision, author=identity(at(run, "head_commit", "author")), message=message)
    return Piece(
        source=_GITHUB,
        text=quote(f"workflow {text(run, 'name') or text(run, 'path')} on {revision[:10]}: {text(run, 'status')}"),
        time=time(run, "updated_at"),
        revisions=(revision,) if revision else (),
        repository=_repository(record),
        operator=operator_of(commit),
        approvals=approvals,
        votes=(*votes, *commit_votes(commit)),
    )

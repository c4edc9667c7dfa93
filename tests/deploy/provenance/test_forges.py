"""GitHub's and GitLab's payloads: who opened, who approved which revision, what was merged and deployed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import InvalidProvenance
from deploy.provenance.evidence import read_evidence
from deploy.provenance.piece import Piece

HEAD, MERGED = "ec26c3e57ca3a959ca5aad62de7213c562f8c821", "c4295bd74fb0f4fda03689c3df3f2803b658fd85"
USER = {"login": "Codertocat", "id": 21031067, "type": "User"}
REPOSITORY = {"full_name": "Codertocat/Hello-World"}
REQUEST = "Codertocat/Hello-World#2"


def pull(**fields: Any) -> dict[str, Any]:
    """A pull request as octokit/webhooks has it, shortened."""
    return {
        "number": 2,
        "state": "open",
        "user": USER,
        "head": {"ref": "changes", "sha": HEAD},
        "merged": False,
        "merge_commit_sha": MERGED,
        "updated_at": "2019-05-15T15:20:38Z",
    } | fields


def review(state: str = "approved", who: str = "octocat", **fields: Any) -> dict[str, Any]:
    return {
        "action": "submitted",
        "review": {
            "user": {"login": who, "id": 5346, "type": "User"} | fields,
            "commit_id": HEAD,
            "submitted_at": "2019-05-15T15:20:38Z",
            "state": state,
        },
        "pull_request": pull(),
        "repository": REPOSITORY,
    }


def one(record: dict[str, Any]) -> Piece:
    (piece,) = read_evidence(record)
    return piece


def test_a_merged_pull_request_joins_head_and_merge() -> None:
    merged = pull(merged=True, merged_at="2019-05-15T16:00:00Z", additions=12, deletions=3)
    piece = one({"action": "closed", "pull_request": merged, "repository": REPOSITORY})
    assert (piece.request, piece.revisions, piece.author) == (REQUEST, (HEAD, MERGED), "Codertocat")
    assert (piece.added, piece.removed, piece.votes) == (12, 3, ())
    unmerged = one({"action": "opened", "pull_request": pull(), "repository": REPOSITORY})
    assert unmerged.revisions == (HEAD,), "GitHub's test merge of an open pull request is nobody's commit"


def test_a_review_approves_the_revision_that_was_seen() -> None:
    (approval,) = one(review()).approvals
    assert (approval.who, approval.revision, approval.withdrawn) == ("octocat", HEAD, False)
    assert approval.at == 1_557_933_638_000


@pytest.mark.parametrize("state", ["changes_requested", "dismissed"])
def test_a_later_word_takes_the_approval_back(state: str) -> None:
    assert [approval.withdrawn for approval in one(review(state)).approvals] == [True]


def test_a_comment_approves_nothing() -> None:
    assert one(review("commented")).approvals == ()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (review(who="Codertocat"), "approves their own work"),
        (review(who="claude[bot]", type="Bot"), "a bot's"),
        (review(who="renamed", id=136622811), "a bot's"),
        (review(who="осtocat"), "only looks like 'octocat'"),
    ],
)
def test_a_forged_approver_is_none_and_the_reason_is_told(record: dict[str, Any], why: str) -> None:
    piece = one(record)
    assert piece.approvals == ()
    assert [why in vote.note for vote in piece.votes] == [True]


def test_a_pull_request_of_an_agent_says_so_by_account_and_branch() -> None:
    user = {"login": "Copilot", "id": 198982749, "type": "Bot"}
    opened = pull(user=user, head={"ref": "copilot/fix-1", "sha": HEAD})
    piece = one({"action": "opened", "pull_request": opened, "repository": REPOSITORY})
    assert [(vote.origin, vote.tool, vote.autonomy) for vote in piece.votes] == [
        ("ai", "copilot-agent", "autonomous"),
        ("mixed", "copilot-agent", "agent"),
    ]


def test_whom_the_forge_assigns_beside_an_agent_is_its_operator_and_beside_a_person_nobody() -> None:
    agent, person = {"login": "Copilot", "id": 198982749, "type": "Bot"}, {"login": "bo-gh", "id": 7, "type": "User"}
    bot = {"login": "dependabot[bot]", "id": 49699333, "type": "Bot"}

    def operator(user: object, assignees: object) -> str:
        opened = pull(user=user, assignees=assignees)
        return one({"action": "opened", "pull_request": opened, "repository": REPOSITORY}).operator

    assert operator(agent, [agent, person]) == "bo-gh"
    for user, assignees in ((person, [USER]), (bot, [person]), (agent, [agent]), (agent, "bo"), (agent, [None, {}])):
        assert operator(user, assignees) == ""


def test_a_push_gives_each_commit_its_trailers() -> None:
    commits = [
        {
            "id": HEAD,
            "message": "Fix it\n\nAssisted-by: some-agent",
            "timestamp": "2019-05-15T15:20:38Z",
            "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
        },
        {"id": MERGED, "message": "Tidy", "author": {"name": "Ada", "email": "ada@example.org"}},
        {"id": "0" * 40},
    ]
    pieces = read_evidence({"ref": "refs/heads/main", "commits": commits, "repository": REPOSITORY})
    assert [piece.revisions for piece in pieces] == [(HEAD,), (MERGED,)]
    assert [[vote.tool for vote in piece.votes] for piece in pieces] == [["some-agent"], []]
    assert pieces[0].author == "Ada <ada@example.org>"


def test_deployments_and_runs_name_their_revision() -> None:
    deployment = {"deployment": {"sha": HEAD, "environment": "production"}, "repository": REPOSITORY}
    status = {"deployment_status": {"state": "success", "created_at": "2019-05-15T15:20:53Z"}}
    assert one(deployment | status).text == f"deployment of {HEAD[:10]} to production: success"
    run = {"head_sha": HEAD, "name": "deploy", "status": "completed", "head_commit": {"message": "x\n\nAssisted-by: a"}}
    assert one({"workflow_run": run, "repository": REPOSITORY}).votes[0].tool == "a"


@pytest.mark.parametrize(("action", "withdrawn"), [("approved", False), ("rejected", True)])
def test_who_reviews_a_deployment_says_so_not_later_than_the_run_last_changed(action: str, withdrawn: bool) -> None:
    run = {"head_sha": HEAD, "name": "deploy", "status": "waiting", "updated_at": "2023-07-04T09:28:15Z"}
    deployment = {"sha": HEAD, "environment": "production", "created_at": "2023-07-04T09:28:15Z"}
    for what in ({"workflow_run": run}, {"deployment": deployment}):
        said = {"action": action, "approver": USER, "environment": "production", "repository": REPOSITORY} | what
        (approval,) = one(said).approvals
        assert (approval.who, approval.revision, approval.withdrawn) == ("Codertocat", HEAD, withdrawn)
        assert approval.at == 1_688_462_895_000
        bot = said | {"approver": {"login": "renamed", "id": 198982749}}
        assert (one(bot).approvals, "no approver" in one(bot).votes[0].note) == ((), True)


MERGE_REQUEST: dict[str, Any] = {
    "object_kind": "merge_request",
    "user": {"id": 1, "username": "root"},
    "project": {"path_with_namespace": "shop/checkout"},
    "object_attributes": {
        "iid": 7,
        "action": "approved",
        "author_id": 51,
        "source_branch": "claude/fix",
        "updated_at": "2021-04-28 21:50:00 +0200",
        "last_commit": {"id": HEAD, "message": "Fix", "author": {"name": "Ada", "email": "ada@example.org"}},
        "merge_commit_sha": None,
    },
}


def merge_request(**fields: Any) -> dict[str, Any]:
    return MERGE_REQUEST | {"object_attributes": MERGE_REQUEST["object_attributes"] | fields}


def test_gitlabs_approval_is_of_the_last_commit_at_the_time() -> None:
    piece = one(merge_request())
    (approval,) = piece.approvals
    assert (approval.who, approval.revision, approval.at) == ("root", HEAD, 1_619_639_400_000)
    assert (piece.request, piece.votes[0].tool) == ("shop/checkout!7", "claude-code")
    assert one(merge_request(action="unapproved")).approvals[0].withdrawn
    assert one(merge_request(action="open")).author == "root"
    assert one(merge_request(action="merge", merge_commit_sha=MERGED)).revisions == (HEAD, MERGED)
    own = one(merge_request(author_id=1))
    assert own.approvals == ()
    assert any("their own work" in vote.note for vote in own.votes)


def test_gitlabs_deployment_has_its_full_id_in_the_url_only() -> None:
    record = {
        "object_kind": "deployment",
        "status": "success",
        "status_changed_at": "2021-04-28 21:50:00 +0200",
        "environment": "staging",
        "short_sha": HEAD[:8],
        "project": {"path_with_namespace": "shop/checkout"},
    }
    assert one(record | {"commit_url": f"http://x/-/commit/{HEAD}"}).revisions == (HEAD,)
    assert one(record | {"commit_url": None}).revisions == (HEAD[:8],)


_WORDS = """
    review pull_request repository full_name user login commits id message author object_kind object_attributes action
    last_commit deployment workflow_run ref sha head state context subject type content customData haltline links files
    version timestamp predicateType digest payloadType
"""
FIELDS = _WORDS.split()
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from([HEAD, "approved", "open"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=25,
)


@given(
    values,
    st.sampled_from(["pull_request", "review", "deployment", "workflow_run", "commits", "object_kind", "context"]),
)
def test_no_payload_breaks_a_reader(value: Any, field: str) -> None:
    for record in (
        value,
        {field: value, "repository": REPOSITORY, "ref": "x", "pull_request": value, "subject": value},
    ):
        try:
            read_evidence(record)
        except InvalidProvenance as refused:
            assert "\n" not in str(refused)

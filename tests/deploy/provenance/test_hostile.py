"""Whatever stands wherever in evidence: it is read, or refused in one line, and never ends the one who reads."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from deploy.chain import Chain
from deploy.errors import DeployError
from deploy.provenance.evidence import read_evidence

COMMIT, AT = "3484a3fb9d0c" + "0" * 28, "2026-11-21T09:00:00Z"
PERSON = {"name": "Ada", "email": "ada@example.org"}
AGENT = {"login": "Copilot", "id": 198982749, "type": "Bot"}
TRACE: dict[str, Any] = {
    "version": "0.1.0", "id": "550e8400", "timestamp": AT, "vcs": {"type": "git", "revision": COMMIT},
    "tool": {"name": "cursor", "version": "2"},
    "files": [{"path": "a", "conversations": [
        {"contributor": {"type": "ai", "model_id": "m"}, "ranges": [{"start_line": 1, "end_line": 9}]}]}],
}  # fmt: skip
STATEMENT: dict[str, Any] = {
    "predicateType": "https://slsa.dev/provenance/v1", "subject": [{"digest": {"sha256": "ab" * 32}}],
    "predicate": {"verifiedLevels": ["ORG_SOURCE_AI_ASSISTED"], "runDetails": {"metadata": {"finishedOn": AT}},
                  "buildDefinition": {"resolvedDependencies": [{"digest": {"gitCommit": COMMIT}}]}},
}  # fmt: skip
GITHUB = {"repository": {"full_name": "shop/checkout"}, "action": "closed"}
PULL = {
    "number": 7, "user": AGENT, "assignees": [AGENT, {"login": "bo"}], "head": {"sha": COMMIT, "ref": "copilot/x"},
    "merged": True, "merge_commit_sha": "1" * 40, "merged_by": {"login": "bo"}, "additions": 4, "updated_at": AT,
}  # fmt: skip
PUSHED = {"id": COMMIT, "message": "Fix\n\nAssisted-by: x", "timestamp": AT, "author": PERSON, "committer": PERSON}
SAMPLES: dict[str, dict[str, Any]] = {
    "trace": TRACE,
    "statement": STATEMENT,
    "attested trace": STATEMENT | {"predicateType": "https://agent-trace.dev/v1", "predicate": TRACE},
    "bundle": {"dsseEnvelope": {
        "payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid": "k", "sig": "AAAA"}],
        "payload": base64.b64encode(msgspec.json.encode(STATEMENT)).decode()}},
    "cdevent": {
        "context": {"id": "1", "chainId": "c", "source": "/ci", "type": "dev.cdevents.approval.closed.0.1.0",
                    "timestamp": AT, "links": [{"target": {"contextId": "2"}}]},
        "subject": {"id": "a", "source": "/ci", "content": {
            "responder": "urn:user:bo", "decision": "approved", "change": {"id": COMMIT, "source": "s"},
            "repository": {"id": "r"}, "artifactId": "pkg:oci/x@sha256%3A" + "ab" * 32}},
        "customData": {"haltline": {"id": "c-1", "role": "x", "vcs": {"revision": COMMIT},
                                    "provenance": {"author": "x"}}}},
    "pull request": GITHUB | {"pull_request": PULL},
    "review": GITHUB | {"pull_request": PULL, "review": {"state": "approved", "user": {"login": "bo", "id": 7},
                                                         "commit_id": COMMIT, "submitted_at": AT}},
    "deployment": GITHUB | {"action": "approved", "approver": {"login": "bo"},
                            "deployment": {"sha": COMMIT, "environment": "e", "created_at": AT},
                            "deployment_status": {"state": "success", "created_at": AT}},
    "workflow": GITHUB | {"workflow_run": {"head_sha": COMMIT, "name": "x", "status": "s", "updated_at": AT,
                                           "head_commit": {"message": "m", "author": PERSON}}},
    "push": GITHUB | {"ref": "refs/heads/copilot/x", "commits": [PUSHED]},
    "merge request": {
        "object_kind": "merge_request", "user": {"id": 1, "username": "u"}, "project": {"path_with_namespace": "g/p"},
        "object_attributes": {"iid": 1, "action": "approved", "author_id": 2, "last_commit": PUSHED,
                              "source_branch": "x", "updated_at": "2021-04-28 21:50:00 +0200"}},
    "gitlab push": {"object_kind": "push", "ref": "refs/heads/x", "commits": [PUSHED]},
    "gitlab deployment": {"object_kind": "deployment", "status": "success", "commit_url": f"http://x/{COMMIT}",
                          "status_changed_at": "2021-04-28 21:50:00 +0200", "environment": "x"},
    "change": {"id": "c-1", "service": "shop", "time": AT, "vcs": {"revision": COMMIT, "lines_added": 4},
               "provenance": {"origin": "ai", "tools": ["t"], "approvers": [{"who": "bo", "at": AT}]}},
}  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, 5, -1, 1.5, 1e308, True, "", "x" * 5_000, "a\nb", "9999-99-99", 10**30, -(10**30), [], [None], [5], [[]],
    [{}], {}, {"a": 1},
)  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value."""
    yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


def with_wrong(sample: dict[str, Any], place: tuple[Any, ...]) -> Iterator[Any]:
    """The sample with every wrong value at a place, and without it."""
    for wrong in (*WRONG, KeyError):
        whole = {"": copy.deepcopy(sample)}
        *way, last = ("", *place)
        spot: Any = whole
        for key in way:
            spot = spot[key]
        if wrong is KeyError:
            del spot[last]
        else:
            spot[last] = wrong
        yield whole.get("", {})


@pytest.mark.parametrize("name", SAMPLES)
def test_a_wrong_value_anywhere_in_evidence_is_read_or_refused_in_one_line(name: str) -> None:
    assert read_evidence(SAMPLES[name])
    for place in places(SAMPLES[name]):
        for record in with_wrong(SAMPLES[name], place):
            chain = Chain()
            try:
                for piece in read_evidence(record):
                    chain.tell(piece)
                    assert "\n" not in piece.text
                    msgspec.json.encode(piece)
            except DeployError as refused:
                assert "\n" not in str(refused), place

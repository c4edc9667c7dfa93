"""The story of a change from what the topics say, in whatever order they say it, and where AI reached production."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from deploy.change import Approver, Change, Origin, Phase, Provenance, Vcs, change_to_object
from deploy.policy import Policy
from deploy.touchpoints import DIMENSIONS, touchpoints
from deploy.verdict import Verdict, VerdictState
from haltline.cli import story
from haltline.state import Record, State
from stream.metrics import Metrics
from stream.topics import CHANGES
from stream.wire.outgoing import encode_change
from stream.worker import Worker
from tests.deploy.provenance.test_attestation import COMMIT, DIGEST, ED, P256, envelope, public, statement
from tests.deploy.test_chain import HEAD
from tests.deploy.test_chain import story as records
from tests.factories import NOON, change, policy


def deployed(identity: str = "c1", **fields: Any) -> Change:
    return change(identity, **({"version": f"sha256:{DIGEST}", "time": NOON} | fields))


def state(*told: Change | dict[str, Any]) -> State:
    """What a reader knows after these records."""
    found = State()
    for number, one in enumerate(told):
        wire = encode_change(one) if isinstance(one, Change) else None
        value = json.dumps(one).encode() if wire is None else wire.value
        headers = () if wire is None else tuple(wire.headers)
        found.take(Record(CHANGES.name, 0, number, b"k", value, headers))  # type: ignore[arg-type]  # no header is None
    return found


def page(found: State, identity: str = "c1") -> str:
    return "\n".join(f"{name}: {value}" for name, value in story.of_change(identity, found, NOON + 60_000) if value)


def test_the_story_is_told_on_one_screen() -> None:
    told = page(state(*records(), deployed()))
    assert "Origin: ai (confidence 0.97)" in told
    assert "Sign: github says ai (0.97): opened by Copilot" in told
    assert "Author: Copilot" in told
    assert f"Revision: {COMMIT}, +12 −0 lines" in told
    assert f"Approver: octocat at 2019-05-15T15:50:38Z on {HEAD[:10]}, before" not in told
    assert f"Approver: octocat at 2019-05-15T15:50:38Z on {HEAD[:10]}" in told
    ways = [line for line in told.splitlines() if line.startswith("Way: ")]
    assert ["push" in ways[0], "review" in ways[-3], "merged" in ways[-2], "was built from" in ways[-1]] == [True] * 4
    assert len(told.splitlines()) < 40


def test_an_approval_before_a_newer_commit_says_so() -> None:
    newer = records()[1]["pull_request"] | {
        "head": {"ref": "copilot/fix", "sha": "f" * 40},
        "updated_at": "2019-05-15T15:55:00Z",
    }
    pushed = {"repository": records()[1]["repository"], "action": "synchronize", "pull_request": newer}
    assert f"on {HEAD[:10]}, before ffffffffff came" in page(state(*records(), pushed, deployed()))


@given(st.randoms(use_true_random=False))
def test_the_record_is_the_same_in_whatever_order_it_was_told(order: random.Random) -> None:
    told: list[Change | dict[str, Any]] = [*records(), deployed(), deployed(phase=Phase.FINISHED, time=NOON + 9_000)]
    expected = story.record("c1", state(*told), NOON)
    order.shuffle(told)
    assert story.record("c1", state(*told), NOON) == expected


def test_what_a_later_phase_leaves_out_is_kept() -> None:
    provenance = Provenance(origin=Origin.MIXED, tools=("some-agent",))
    later = Change(id="c1", service="checkout", time=NOON + 9_000, phase=Phase.FINISHED)
    found = state(deployed(provenance=provenance), later).told("c1")
    assert (found.phase, found.version, found.provenance) == (Phase.FINISHED, f"sha256:{DIGEST}", provenance)


def test_a_change_of_which_nobody_else_speaks_is_as_it_says() -> None:
    provenance = Provenance(origin=Origin.AI, confidence=0.97, tools=("some-agent",))
    alone = deployed(provenance=provenance, vcs=Vcs(repository="shop/checkout", revision=HEAD))
    assert state(alone).told("c1") == alone
    assert change_to_object(state(alone).starts()[0]) == change_to_object(alone)


def test_what_came_to_be_known_only_later_does_not_change_what_it_was_judged_as() -> None:
    early = deployed(time=NOON - 300 * 24 * 3_600_000)  # long before the attestation was finished
    late = [one for one in records() if "predicateType" in one]
    found = state(*records()[:4], early, *late)
    assert found.told("c1").provenance.origin is Origin.AI
    assert [one.provenance.origin for one in found.starts()] == [Origin.UNKNOWN]


def test_a_late_approval_does_not_make_a_change_planned_again() -> None:
    approval = {
        "context": {"id": "a-1", "type": "dev.cdevents.approval.closed.0.1.0", "timestamp": "2026-11-21T09:00:00Z"},
        "subject": {"id": "approval-7", "content": {"responder": "urn:user:bob", "decision": "approved"}},
        "customData": {"haltline": {"id": "c1", "service": "checkout"}},
    }
    rejected = json.loads(
        json.dumps(approval).replace('"approved"', '"rejected"').replace("a-1", "a-2").replace("T09", "T10")
    )
    for told in ([deployed(), approval], [approval, deployed()]):
        found = state(*told).told("c1")  # type: ignore[arg-type]  # records of both kinds
        assert found.phase is Phase.STARTED
        assert [who.who for who in found.provenance.approvers] == ["bob"]
    assert state(deployed(), approval, rejected).told("c1").provenance.approvers == ()


def test_an_approval_of_another_change_of_the_same_artifact_is_none_of_this_one() -> None:
    approval = {
        "context": {"id": "a-1", "type": "dev.cdevents.approval.closed.0.1.0", "timestamp": "2026-11-21T09:00:00Z"},
        "subject": {"id": "approval-7", "content": {"responder": "urn:user:bob", "decision": "approved"}},
        "customData": {"haltline": {"id": "staging-1", "service": "checkout"}},
    }
    found = state(deployed("staging-1", environment="staging"), deployed("c1"), approval)
    assert [who.who for who in found.told("staging-1").provenance.approvers] == ["bob"]
    assert found.told("c1").provenance.approvers == ()


def test_what_one_change_says_of_its_artifact_leads_no_other_change_anywhere() -> None:
    claims = deployed("c2", vcs=Vcs(revision=COMMIT))  # says that the artifact is of this commit; nobody attested it
    found = state(*records()[:4], claims, deployed("c1"))
    assert found.told("c2").provenance.author == "Copilot"
    assert found.told("c1").provenance == Provenance()


def verdict(identity: str, said: VerdictState) -> Verdict:
    return Verdict(change=identity, service="s", time=NOON, state=said)


def test_touchpoints_count_by_each_label_with_the_harm_of_both_sides() -> None:
    made = [
        change("a", service="checkout", provenance=Provenance(origin=Origin.AI, tools=("x", "y"), autonomy="agent")),
        change("b", service="checkout", provenance=Provenance(origin=Origin.MIXED, tools=("x",))),
        change("c", service="checkout"),
        change("d", service="search", provenance=Provenance(origin=Origin.HUMAN, tools=("x",))),
    ]
    said = {
        "a": verdict("a", VerdictState.HARMFUL),
        "b": verdict("b", VerdictState.HEALTHY),
        "c": verdict("c", VerdictState.INCONCLUSIVE),
        "d": verdict("d", VerdictState.HEALTHY),
    }
    rows = touchpoints(made, said, policy("services: {checkout: {tier: 1}}"))
    table = [
        (row.by, row.value, row.changes, row.ai, row.unknown, row.share, str(row.harm), str(row.rest)) for row in rows
    ]
    assert table == [
        ("", "", 4, 2, 1, 0.5, "1/2", "0/1"),
        ("service", "checkout", 3, 2, 1, pytest.approx(2 / 3), "1/2", "0/0"),
        ("tool", "x", 2, 2, 0, 0.5, "1/2", "0/0"),
        ("tool", "y", 1, 1, 0, 0.25, "1/1", "0/0"),
        ("autonomy", "agent", 1, 1, 0, 0.25, "1/1", "0/0"),
        ("tier", "1", 3, 2, 1, pytest.approx(2 / 3), "1/2", "0/0"),
    ]
    assert [row.share for row in touchpoints([], {}, policy(), DIMENSIONS)] == [0.0]


@pytest.mark.parametrize(("signer", "joined"), [(ED, True), (P256, False)], ids=["known key", "other key"])
def test_with_keys_configured_readers_and_workers_join_only_what_one_of_them_signed(signer: Any, joined: bool) -> None:
    told = json.dumps(envelope(statement(), signer)).encode()
    reader = State(keys=[public(ED)])
    reader.take(Record(CHANGES.name, 0, 0, b"k", told))
    enriched = reader.chain.enrich(deployed())
    assert (enriched.vcs.revision == COMMIT) is joined

    async def send(*_: object) -> None:
        return None

    worker = Worker(Policy(), Metrics(CollectorRegistry()), send, keys=[public(ED)])
    worker.hear(CHANGES.name, told, ())
    assert (worker._chain.enrich(deployed()).vcs.revision == COMMIT) is joined


def test_a_no_is_told_as_a_no_and_what_was_confirmed_as_that() -> None:
    yes = Approver(who="ada", at=NOON - 9_000, revision=HEAD, confirms="loss-0123456789")
    no = Approver(who="cem", at=NOON - 5_000, revision=HEAD, refused=True, why="no way back")
    told = page(state(deployed(provenance=Provenance(approvers=(yes, no), involved=("bo",)))))
    assert f"on {HEAD[:10]}, confirms loss-0123456789" in told
    assert next(line for line in told.splitlines() if "cem" in line).startswith("Refused: cem at ")
    assert ": no way back" in told
    assert "Involved: bo" in told

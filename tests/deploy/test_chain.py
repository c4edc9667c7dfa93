"""A change's way is joined in whatever order it is told, and a late piece corrects it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.chain import Chain, standing_approvals
from deploy.change import Origin, Provenance, Vcs
from deploy.order import Order, Verb
from deploy.provenance.evidence import read_evidence
from deploy.provenance.ordered import ordered_piece
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.vote import Source
from deploy.times import format_time
from tests.deploy.provenance.test_attestation import COMMIT, DIGEST, statement
from tests.deploy.provenance.test_forges import REPOSITORY, pull
from tests.factories import NOON, change

HEAD = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
CHAIN = "4c8cb7dd-3448-41de-8768-eec704e2829b"


def github(**fields: Any) -> dict[str, Any]:
    return {"repository": REPOSITORY} | fields


def story() -> list[dict[str, Any]]:
    """Push, pull request by an agent, approval, merge as what the artifact is built from, attestation."""
    user = {"login": "Copilot", "id": 198982749, "type": "Bot"}
    opened = pull(user=user, head={"ref": "copilot/fix", "sha": HEAD})
    merged = opened | {"merged": True, "merge_commit_sha": COMMIT, "merged_at": "2019-05-15T16:00:00Z", "additions": 12}
    review = {
        "user": {"login": "octocat", "id": 5346, "type": "User"},
        "commit_id": HEAD,
        "submitted_at": "2019-05-15T15:50:38Z",
        "state": "approved",
    }
    author = {"name": "Ada", "email": "ada@example.org"}
    commits = [{"id": HEAD, "message": "Fix", "timestamp": "2019-05-15T15:00:00Z", "author": author}]
    return [
        github(ref="refs/heads/copilot/fix", commits=commits),
        github(action="opened", pull_request=opened),
        github(action="submitted", pull_request=opened, review=review),
        github(action="closed", pull_request=merged),
        statement(),
    ]


def chain(records: list[dict[str, Any]]) -> Chain:
    told = Chain()
    for record in records:
        for piece in read_evidence(record):
            told.tell(piece)
    return told


DEPLOYED = change(version=f"sha256:{DIGEST}")


def test_an_artifact_leads_to_commit_pull_request_author_and_approver() -> None:
    found = chain(story()).enrich(DEPLOYED)
    provenance = found.provenance
    assert (provenance.origin, provenance.tools, provenance.autonomy) == (Origin.AI, ("copilot-agent",), "autonomous")
    assert (provenance.author, provenance.involved) == ("Copilot", ("Ada <ada@example.org>",))
    (approver,) = provenance.approvers
    assert (approver.who, approver.revision, approver.at) == ("octocat", HEAD, "2019-05-15T15:50:38.000Z")
    assert approver.since == "2019-05-15T15:00:00.000Z", "when there was something to read"
    assert found.vcs == Vcs(repository="Codertocat/Hello-World", revision=COMMIT, lines_added=12)
    assert {one.source for one in provenance.evidence} == {"github", "attestation"}


def test_everybody_whom_the_evidence_names_as_author_or_operator_is_involved_whatever_the_change_declares() -> None:
    agent = {"login": "Copilot", "id": 198982749, "type": "Bot"}
    opened = pull(user=agent, assignees=[agent, {"login": "bo-gh", "id": 7, "type": "User"}], head={"sha": HEAD})
    merge = {"id": HEAD, "message": "Merge pull request #2", "author": {"name": "Cem", "email": "cem@example.org"}}
    told = chain([github(action="opened", pull_request=opened), github(ref="refs/heads/main", commits=[merge])])
    declared = Provenance(origin=Origin.AI, author="ci", operator="eve", involved=("dee",))
    found = told.enrich(change(vcs=Vcs(revision=HEAD), provenance=declared)).provenance
    assert (found.author, found.operator, found.involved) == ("ci", "eve", ("dee", "Copilot", "bo-gh"))


@given(st.randoms(use_true_random=False))
def test_in_whatever_order_and_how_often_it_is_told(order: random.Random) -> None:
    records = story()
    told = records + order.sample(records, 2)
    order.shuffle(told)
    assert chain(told).enrich(DEPLOYED) == chain(records).enrich(DEPLOYED)


def test_a_missing_piece_leaves_the_change_as_it_was_and_a_late_one_corrects_it() -> None:
    records = story()
    told = chain(records[:4])
    assert told.enrich(DEPLOYED) is DEPLOYED, "nothing joins the artifact to the commit"
    (attested,) = read_evidence(records[4])
    assert told.tell(attested)
    assert not told.tell(attested), "told again it is nothing new"
    assert told.enrich(DEPLOYED).provenance.author == "Copilot"


def test_a_change_is_joined_by_a_short_revision_that_only_one_commit_has() -> None:
    told = chain(story())
    short = change(vcs=Vcs(revision=HEAD[:7]))
    assert told.enrich(short).provenance.author == "Copilot"
    twin = HEAD[:7] + "0" * 33
    told.tell(Piece(source=Source.GITHUB, text="another", revisions=(twin,)))
    assert told.story(short) == [], "two commits begin so: it could be either"
    assert told.story(change(vcs=Vcs(revision=HEAD[:6]))) == []


def test_changes_of_one_chain_of_cdevents_share_its_approval() -> None:
    approval = {
        "context": {"id": "a-1", "chainId": CHAIN, "type": "dev.cdevents.approval.closed.0.1.0",
                    "timestamp": "2026-11-21T09:00:00Z"},
        "subject": {"id": "approval-7", "content": {"responder": "urn:user:bob", "decision": "approved"}},
    }  # fmt: skip
    deployed = change(extra={"cdevents": {"chainId": CHAIN, "id": "d-1"}})
    assert [one.who for one in chain([approval]).enrich(deployed).provenance.approvers] == ["bob"]
    assert chain([approval]).enrich(change()).provenance.approvers == ()
    refused = approval | {
        "subject": {"id": "approval-7", "content": {"responder": "urn:user:bob", "decision": "rejected"}}
    }
    refused = refused | {"context": approval["context"] | {"id": "a-2", "timestamp": "2026-11-21T09:05:00Z"}}
    assert chain([refused, approval]).enrich(deployed).provenance.approvers == ()


def test_links_join_events_that_have_no_chain() -> None:
    merged = {
        "context": {"id": "m-1", "source": "/scm", "type": "dev.cdevents.change.merged.0.3.0"},
        "subject": {"id": "42", "content": {"repository": {"id": "shop/checkout"}}},
        "customData": {"haltline": {"vcs": {"revision": HEAD}, "provenance": {"author": "ada"}}},
    }
    packaged = {
        "context": {"id": "p-1", "source": "/ci", "type": "dev.cdevents.artifact.packaged.0.3.0",
                    "links": [{"linkType": "RELATION", "linkKind": "TRIGGER", "target": {"contextId": "m-1"}}]},
        "subject": {"id": f"pkg:oci/shop@sha256%3A{DIGEST}", "content": {"change": {"id": "42", "source": "/scm"}}},
    }  # fmt: skip
    for records in ([merged, packaged], [packaged | {"context": packaged["context"] | {"links": []}}, merged]):
        found = chain(records).enrich(DEPLOYED)
        assert (found.vcs.repository, found.vcs.revision, found.provenance.author) == ("shop/checkout", HEAD, "ada")


def test_what_the_change_declares_is_one_witness_and_stays_in_its_vcs() -> None:
    declared = msgspec.structs.replace(
        DEPLOYED, provenance=Provenance(origin=Origin.HUMAN, author="eve"), vcs=Vcs(repository="shop/other")
    )
    found = chain(story()).enrich(declared)
    assert found.provenance.origin is Origin.AI, "declaring the contrary takes no sign back"
    assert found.provenance.confidence == pytest.approx(0.5, abs=0.02)
    assert (found.provenance.author, found.vcs.repository) == ("eve", "shop/other")
    assert chain(story()).attribution(declared).conflict > 0.4


def test_an_approval_taken_back_stands_no_more_and_one_of_another_revision_says_of_which() -> None:
    def said(who: str, at: int, revision: str = "r1", withdrawn: bool = False) -> Piece:
        approval = Approval(who=who, at=NOON + at, revision=revision, withdrawn=withdrawn)
        return Piece(source=Source.GITHUB, text="review", approvals=(approval,))

    pieces = [said("a", 1), said("b", 2), said("a", 3, withdrawn=True), said("b", 4, "r2"), said("a", 5, "r2")]
    for told in (pieces, pieces[::-1]):
        assert [(one.who, one.revision) for one in standing_approvals(told)] == [("b", "r1"), ("b", "r2"), ("a", "r2")]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12), st.randoms())
def test_stories_are_connected_components(edges: list[tuple[str, str]], order: random.Random) -> None:
    pieces = [
        Piece(source=Source.CDEVENTS, text=f"{number}", events=(one,), artifacts=(other,))
        for number, (one, other) in enumerate(edges)
    ]
    told, again = Chain(), Chain()
    for piece in pieces:
        told.tell(piece)
    order.shuffle(pieces)
    for piece in pieces:
        again.tell(piece)
    for one, other in edges:
        mine = told.story_of([f"event:{one}"])
        assert mine == told.story_of([f"artifact:{other}"]) == again.story_of([f"event:{one}"])


def test_since_when_a_revision_could_be_read_is_not_told_by_who_asks_after_the_approval() -> None:
    yes = Order(id="o", verb=Verb.APPROVE, time=NOON, by="bo", change="c1", revision="3484a3fb9d0c")
    piece = ordered_piece(yes)
    assert piece is not None
    for time, since in ((NOON + 60_000, None), (NOON - 60_000, format_time(NOON - 60_000))):
        chain = Chain()
        chain.tell(piece)
        asking = change(time=time, vcs=Vcs(revision="3484a3fb9d0c", lines_added=900))
        (approver,) = chain.enrich(asking).provenance.approvers
        assert (approver.who, approver.revision, approver.since) == ("bo", "3484a3fb9d0c", since)


def test_who_signs_off_and_confirms_a_loss_says_both_and_takes_both_back() -> None:
    chain = Chain()
    yes = Order(id="o", verb=Verb.APPROVE, time=NOON, by="bo", change="c1", revision="3484a3fb9d0c")
    for one in (yes, msgspec.structs.replace(yes, id="p", time=NOON + 1, confirms="loss-1")):
        piece = ordered_piece(one)
        assert piece is not None
        chain.tell(piece)
    assert {one.confirms for one in chain.enrich(change()).provenance.approvers} == {"", "loss-1"}
    assert [who for who, _, _ in chain.given] == ["bo", "bo"]
    back = ordered_piece(msgspec.structs.replace(yes, id="q", verb=Verb.WITHDRAW, time=NOON + 2, revision=""))
    assert back is not None
    chain.tell(back)
    assert chain.enrich(change()).provenance.approvers == ()

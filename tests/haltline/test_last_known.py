"""What is kept for when Kafka is away: all that the gate answered from, also what others told of a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.change import Origin, Provenance, Vcs
from deploy.gate import Decision, Request, decide
from deploy.order import Order, Verb
from deploy.provenance import read_evidence
from deploy.provenance.ordered import ordered_piece
from deploy.provenance.piece import Piece
from haltline import gate
from haltline.last_known import LastKnown, keep
from haltline.settings import Flags, Settings, load
from tests.factories import NOON, change, policy

REVISION = "3484a3fb9d0c"
RULES = policy(
    "mode: enforce\nservices: {checkout: {tier: 1}}\npeople: {bo: {role: senior}}\n"
    "approvals: {rules: [{match: ['origin=~\"ai|mixed\"'], role: senior}]}\n"
    "fallbacks: {when_unreachable: last_known}\n"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(Flags(), {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)})


def answered(settings: Settings, origin: Origin, *pieces: Piece) -> tuple[Decision, str]:
    """What the gate answers without Kafka to a change of this origin, when these pieces were kept a second ago."""
    keep(settings, LastKnown(taken_at=NOON - 1_000, pieces=pieces))
    asks = change(vcs=Vcs(revision=REVISION), provenance=Provenance(origin=origin, author="agent", operator="dee"))
    answer = decide(Request(change=asks), RULES, gate.without(settings, RULES, "checkout", "no kafka", NOON), NOON)
    return answer.decision, "; ".join(answer.reasons)


def test_a_yes_that_was_given_counts_while_kafka_is_away(settings: Settings) -> None:
    yes = ordered_piece(
        Order(id="o", verb=Verb.APPROVE, time=NOON - 60_000, by="bo", change=change().id, revision=REVISION)
    )
    assert yes is not None
    assert answered(settings, Origin.AI)[0] is Decision.HOLD
    decision, said = answered(settings, Origin.AI, yes)
    assert (decision, "approved by bo (senior)" in said, "last known state, 1s old" in said) == (
        Decision.ALLOW,
        True,
        True,
    )


def test_what_says_that_an_ai_had_a_hand_in_it_is_not_forgotten_while_kafka_is_away(settings: Settings) -> None:
    commit = {"id": REVISION, "message": "Fix\n\nAssisted-by: some-agent", "author": {"name": "Ada"}}
    pushed = read_evidence({"repository": {"full_name": "shop/checkout"}, "ref": "refs/heads/x", "commits": [commit]})
    assert answered(settings, Origin.HUMAN)[0] is Decision.ALLOW
    decision, said = answered(settings, Origin.HUMAN, *pushed)
    assert (decision, "a mixed change to checkout" in said) == (Decision.HOLD, True)

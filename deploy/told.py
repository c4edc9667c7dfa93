"""The gate's state out of records: changes, and what others told of their way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploy.chain import Chain
from deploy.change import Change
from deploy.freeze import Freeze
from deploy.inquiry import GateState
from deploy.policy import Policy
from deploy.provenance.piece import Piece
from deploy.question import Question
from deploy.rule import Word
from deploy.traffic import Traffic
from deploy.verdict import Verdict


def state_told(
    policy: Policy,
    *,
    changes: Iterable[Change],
    pieces: Iterable[Piece],
    questions: Iterable[Question],
    verdicts: Sequence[Verdict],
    freezes: Iterable[Freeze],
    source: str = "kafka",
    word: Word | None = None,
) -> GateState:
    """What the gate answers from once all of this was heard; each change is sorted by all that was told of its way."""
    chain = Chain()
    for piece in pieces:
        chain.tell(piece)
    traffic = Traffic(policy, questions=questions)
    for change in changes:
        traffic.change(change, chain.enrich(change))
    for verdict in verdicts:
        traffic.verdict(verdict)
    for who, at, of in chain.given:
        traffic.approved(who, at, of)
    return GateState(traffic=traffic, joined=chain.enrich, freezes=freezes, verdicts=verdicts, source=source, word=word)

"""Agent Trace records: the RFC's own example, ranges of several contributors, and what is no trace."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.change import Origin
from deploy.errors import InvalidProvenance
from deploy.provenance.evidence import read_evidence, read_evidence_file
from deploy.provenance.weigh import weigh

REVISION = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0"


def trace(*conversations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The README's example, with the conversations about one file replaced."""
    return {
        "version": "0.1.0",
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "timestamp": "2026-01-23T14:30:00Z",
        "vcs": {"type": "git", "revision": REVISION},
        "tool": {"name": "cursor", "version": "2.4.0"},
        "files": [{"path": "src/utils/parser.ts", "conversations": list(conversations)}],
        "metadata": {"confidence": 0.95},
    } | fields


def said(kind: str, *ranges: tuple[int, int], **fields: Any) -> dict[str, Any]:
    return {
        "url": "https://api.cursor.com/v1/conversations/12345",
        "contributor": {"type": kind} | fields,
        "ranges": [{"start_line": start, "end_line": end, "content_hash": "murmur3:9f2e8a1b"} for start, end in ranges],
    }


def test_the_rfcs_example_is_read() -> None:
    (piece,) = read_evidence(trace(said("ai", (42, 67), model_id="anthropic/claude-opus-4-5-20251101")))
    found = weigh(piece.votes, changed=26)
    assert piece.revisions == (REVISION,)
    assert (found.origin, found.confidence) == (Origin.AI, 0.9)
    assert (found.tools, found.models) == (("cursor",), ("anthropic/claude-opus-4-5-20251101",))
    assert found.lines is not None
    assert found.lines.ai == 26


def test_contributors_share_the_lines_and_the_last_claim_on_a_line_counts() -> None:
    (piece,) = read_evidence(trace(said("ai", (1, 10)), said("human", (8, 10)), said("unknown", (20, 29))))
    found = weigh(piece.votes, changed=20)
    assert found.lines is not None
    assert (found.origin, found.lines.ai, found.lines.human, found.lines.nobody) == (Origin.MIXED, 7, 3, 10)


def test_a_person_alone_is_human_and_nobody_known_is_unknown() -> None:
    (person,) = read_evidence(trace(said("human", (1, 2))))
    assert weigh(person.votes).origin is Origin.HUMAN
    (nobody,) = read_evidence(trace(said("unknown", (1, 2))))
    assert weigh(nobody.votes).origin is Origin.UNKNOWN


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (trace(said("robot", (1, 2))), "Invalid enum value 'robot'"),
        (trace(said("ai", (5, 2))), "lines 5 to 2"),
        (trace(said("ai", (0, 2))), "lines 0 to 2"),
        (trace(timestamp="yesterday"), "`timestamp`"),
        (trace(files=[{"path": "x"}]), "conversations"),
    ],
)
def test_what_is_no_trace_is_one_clear_line(record: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidProvenance, match="agent trace: ") as refused:
        read_evidence(record)
    assert text in str(refused.value)


def test_a_file_holds_one_an_array_or_lines_and_a_bad_line_is_named() -> None:
    import msgspec

    record = msgspec.json.encode(trace(said("ai", (1, 2))))
    assert len(read_evidence_file(record)) == 1
    assert len(read_evidence_file(b"[" + record + b"," + record + b"]")) == 2
    assert len(read_evidence_file(record + b"\n\n" + record + b"\n")) == 2
    with pytest.raises(InvalidProvenance, match="line 2: not JSON"):
        read_evidence_file(record + b"\n{")
    with pytest.raises(InvalidProvenance, match="line 2: evidence is none of"):
        read_evidence_file(record + b"\n{}")

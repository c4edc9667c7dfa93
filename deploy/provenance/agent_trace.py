"""Agent Trace records (0.1): who contributed which lines of which files.

The RFC does not say where records are kept or which revision is meant, the one before or after; both are taken, the
one before with less weight. Source: cursor/agent-trace README.md and schemas/trace-record.json.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.change import MOST_LINES, Origin
from deploy.errors import InvalidProvenance, InvalidTime
from deploy.provenance.git_ai import claim
from deploy.provenance.piece import Piece
from deploy.provenance.signs import signs
from deploy.provenance.vote import Lines, Source, Vote, quote
from deploy.times import parse_time


class _Contributor(msgspec.Struct):
    type: Origin
    model_id: str = ""


class _Range(msgspec.Struct):
    start_line: int
    end_line: int
    contributor: _Contributor | None = None


class _Conversation(msgspec.Struct):
    ranges: list[_Range]
    contributor: _Contributor | None = None
    url: str = ""


class _File(msgspec.Struct):
    path: str
    conversations: list[_Conversation]


class _Tool(msgspec.Struct):
    name: str
    version: str = ""


class _Vcs(msgspec.Struct):
    type: str
    revision: str


class _Trace(msgspec.Struct):
    version: str
    id: str
    timestamp: str
    files: list[_File]
    vcs: _Vcs | None = None
    tool: _Tool | None = None


def is_trace(record: dict[str, Any]) -> bool:
    return isinstance(record.get("files"), list) and "version" in record and "timestamp" in record


def read_trace(record: object) -> Piece:
    """Read one trace record (a decoded JSON object).

    Raises:
        InvalidProvenance: a field is missing or of the wrong type; the text names it.
    """
    try:
        trace = msgspec.convert(record, _Trace)
    except msgspec.ValidationError as error:
        raise InvalidProvenance(f"agent trace: {error}".replace(" - at `$.", " - at `")) from None
    try:
        time = parse_time(trace.timestamp)
    except InvalidTime as error:
        raise InvalidProvenance(f"agent trace: `timestamp`: {error}") from None
    revision = trace.vcs.revision if trace.vcs else ""
    tool = trace.tool.name if trace.tool else ""
    said = f"Agent Trace {trace.id[:8]} by {tool or 'an unnamed tool'} in {len(trace.files)} files"
    return Piece(
        source=Source.AGENT_TRACE,
        text=quote(said),
        time=time,
        revisions=(revision,) if revision else (),
        votes=tuple(_votes(trace, tool)),
    )


def _votes(trace: _Trace, tool: str) -> list[Vote]:
    lines: dict[tuple[Origin, str], int] = {}
    for file in trace.files:
        # Of lines that several claim the last claim counts; a file is cut at its claims, not line by line.
        claims = [
            (one.start_line, one.end_line, one.contributor or conversation.contributor)
            for conversation in file.conversations
            for one in conversation.ranges
        ]
        taken: list[tuple[int, int]] = []
        for start, end, contributor in reversed(claims):
            if not 1 <= start <= end <= MOST_LINES:
                raise InvalidProvenance(f"agent trace: lines {start} to {end} of {file.path[:80]!r} are no range")
            count, taken = claim([(start, end)], taken)
            if contributor is not None:
                key = contributor.type, contributor.model_id
                lines[key] = lines.get(key, 0) + count
    found = signs().by_name(tool) if tool else None
    name = found[0].tool if found else tool
    weight = signs().weights["trace"]
    ai_hand = any(origin in (Origin.AI, Origin.MIXED) for origin, _ in lines)
    votes = []
    for (origin, model), count in lines.items():
        who = {Origin.HUMAN: "a person", Origin.UNKNOWN: "nobody known"}.get(origin, model or tool or "an AI")
        text = quote(f"{who} wrote {count} lines" + (" with a person" if origin is Origin.MIXED else ""))
        if origin is Origin.UNKNOWN:
            votes.append(Vote(source=Source.AGENT_TRACE, text=text, note="the trace does not say who"))
            continue
        person = origin is Origin.HUMAN
        votes.append(
            Vote(
                source=Source.AGENT_TRACE,
                text=text,
                origin=Origin.MIXED if person and ai_hand else origin,
                weight=weight,
                tool="" if person else name,
                model="" if person else model,
                autonomy=found[0].autonomy if found and not person else "",
                lines=Lines(0, count) if person else Lines(count) if origin is Origin.AI else None,
            )
        )
    return votes

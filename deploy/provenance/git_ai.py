"""Notes of git-ai, standard 3.0.0, under `refs/notes/ai`: which lines of a commit which session wrote.

Lines that no entry covers are untracked: nobody speaks for them. Source: git-ai specs/git_ai_standard_v3.0.0.md and
docs/migrations/sessions-v2-note-format.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from deploy.change import Origin
from deploy.errors import InvalidProvenance
from deploy.provenance.signs import signs
from deploy.provenance.vote import Lines, Source, Vote, quote

REF = "refs/notes/ai"
SCHEMA = "authorship/3"
#: A longer note is not read: whole conversations have no place in one.
LONGEST_NOTE = 8 * 1024 * 1024
_ENTRY = re.compile(r"  (?P<key>[A-Za-z0-9_:]{3,80}) (?P<ranges>[0-9,-]+)")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
Spans = list[tuple[int, int]]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a note attributes: lines by session and by known person, and whom it names."""

    base: str
    sessions: dict[str, int]
    humans: dict[str, int]
    agents: dict[str, tuple[str, str]]
    operators: tuple[str, ...]

    @property
    def ai(self) -> int:
        return sum(self.sessions.values())

    @property
    def human(self) -> int:
        return sum(self.humans.values())


def read_note(content: bytes) -> Note:
    """Read a note.

    Raises:
        InvalidProvenance: it is too long, not UTF-8, or not in the form of the standard; names the line or field.
    """
    if len(content) > LONGEST_NOTE:
        raise InvalidProvenance(f"git-ai note: {len(content)} bytes, at most {LONGEST_NOTE} are read")
    try:
        lines = content.decode().split("\n")
        split = lines.index("---")
        record = msgspec.json.decode("\n".join(lines[split + 1 :]))
    except UnicodeDecodeError:
        raise InvalidProvenance("git-ai note: not UTF-8") from None
    except ValueError as error:
        reason = "no line `---` between lines and metadata" if "is not in list" in str(error) else f"metadata: {error}"
        raise InvalidProvenance(f"git-ai note: {reason}") from None
    if not isinstance(record, dict):
        raise InvalidProvenance("git-ai note: the metadata must be a JSON object")
    schema = record.get("schema_version")
    if not isinstance(schema, str) or not schema.startswith(SCHEMA):
        raise InvalidProvenance(f"git-ai note: schema_version {str(schema)[:40]!r} is not {SCHEMA}.x")
    sessions, humans = _attested(lines[:split])
    agents, operators = {}, []
    known = {**_object(record, "prompts"), **_object(record, "sessions")}
    for key, one in known.items():
        agent = one.get("agent_id") if isinstance(one, dict) else None
        if isinstance(agent, dict):
            agents[key] = _text(agent.get("tool")), _text(agent.get("model"))
            operators.append(_text(one.get("human_author")))
    named = {key: _text(one.get("author")) for key, one in _object(record, "humans").items() if isinstance(one, dict)}
    return Note(
        base=_text(record.get("base_commit_sha")),
        sessions=sessions,
        humans={named.get(key) or key: count for key, count in humans.items()},
        agents=agents,
        operators=tuple(dict.fromkeys(one for one in operators if one)),
    )


def note_votes(note: Note, revision: str, parents: Iterable[str] = (), added: int | None = None) -> list[Vote]:
    """The votes of a note that hangs on this commit.

    A note that was written for another commit, or that speaks for more lines than this one adds, weighs less.
    """
    about = {revision, *parents}
    moved = ""
    if note.base and not any(one.startswith(note.base) or note.base.startswith(one) for one in about if one):
        moved = f"written for {note.base[:10]}, which is not this commit: rebased, squashed or copied"
    if added is not None and note.ai + note.human > added:
        moved = f"speaks for {note.ai + note.human} lines of a commit that adds {added}: rebased, squashed or copied"
    return votes_of(note, moved, signs().weights["note_moved" if moved else "note"])


def votes_of(note: Note, remark: str, weight: float) -> list[Vote]:
    """The votes of a note at this weight, with a remark on each."""
    if not note.ai:
        if not note.human:
            return []
        text = f"{note.human} lines by {', '.join(note.humans)}, none by an AI"
        return [_vote(text, Origin.HUMAN, weight, remark, Lines(0, note.human))]
    origin = Origin.MIXED if note.human else Origin.AI
    by_agent: dict[tuple[str, str], int] = {}
    for key, count in note.sessions.items():
        agent = note.agents.get(key, ("", ""))
        by_agent[agent] = by_agent.get(agent, 0) + count
    votes = []
    for (tool, model), count in by_agent.items():
        found = signs().by_name(tool)
        name = found[0].tool if found else tool
        vote = _vote(
            f"{' '.join((tool, model)).strip() or 'an AI'} wrote {count} lines", origin, weight, remark, Lines(count)
        )
        votes.append(msgspec.structs.replace(vote, tool=name, model=model, autonomy=found[0].autonomy if found else ""))
    votes += [
        _vote(f"{who} wrote {count} lines", origin, weight, remark, Lines(0, count))
        for who, count in note.humans.items()
    ]
    return votes


def _vote(text: str, origin: Origin, weight: float, remark: str, lines: Lines) -> Vote:
    return Vote(source=Source.GIT_AI, text=quote(text), origin=origin, weight=weight, note=remark, lines=lines)


def _attested(lines: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Lines by session and by person. A line of a file that several claim is the last one's."""
    sessions: dict[str, int] = {}
    humans: dict[str, int] = {}
    entries: list[tuple[str, Spans]] = []

    def close() -> None:
        taken: Spans = []
        for key, spans in reversed(entries):
            count, taken = claim(spans, taken)
            kept = humans if key.startswith("h_") else sessions
            kept[key] = kept.get(key, 0) + count
        entries.clear()

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not line.startswith(" "):
            close()
            continue
        match = _ENTRY.fullmatch(line.rstrip())
        if match is None:
            raise InvalidProvenance(f"git-ai note: line {number} {line.strip()[:40]!r} is not `  KEY RANGES`")
        entries.append((match["key"].partition("::")[0], _spans(match["ranges"], number)))
    close()
    return ({key: n for key, n in sessions.items() if n}, {key: n for key, n in humans.items() if n})


def _spans(text: str, number: int) -> Spans:
    spans = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        start, end = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= start <= end:
            raise InvalidProvenance(f"git-ai note: line {number}: {part[:40]!r} is no range of lines such as 4 or 1-9")
        spans.append((start, end))
    return spans


def claim(spans: Spans, taken: Spans) -> tuple[int, Spans]:
    """How many lines these spans add to those taken, and the spans taken then, in order and apart."""
    merged: Spans = []
    for start, end in sorted([*taken, *spans]):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return _length(merged) - _length(taken), merged


def _length(spans: Spans) -> int:
    return sum(end - start + 1 for start, end in spans)


def _object(record: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = record.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidProvenance(f"git-ai note: `{field}` must be a JSON object")
    return value


def _text(value: object) -> str:
    return quote(value) if isinstance(value, str) else ""

"""A production change and its provenance, as everybody's records carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from deploy.errors import InvalidChange, InvalidTime
from deploy.times import format_time, parse_time


class Phase(StrEnum):
    """Where a change is in its life. `finished` ends the rollout, not the watching."""

    PLANNED = "planned"
    STARTED = "started"
    PROGRESSED = "progressed"
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class Kind(StrEnum):
    CODE = "code"
    CONFIG = "config"
    FLAG = "flag"
    SCHEMA = "schema"
    DATA = "data"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"


class Origin(StrEnum):
    """Who made it. The absence of a sign is `unknown`, never `human`."""

    HUMAN = "human"
    AI = "ai"
    MIXED = "mixed"
    UNKNOWN = "unknown"


class Approver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One approval: of which revision, when, and since when there was something to read.

    `role` is what the record says of the person; who is senior the policy says. `confirms` is the id of a list of what
    would be destroyed, as the gate's question gives it; `signature` is as `deploy.signature` makes it. One that is
    `refused` is a no, and says `why`.
    """

    who: str
    role: str = ""
    at: str | int | None = None
    revision: str = ""
    since: str | int | None = None
    confirms: str = ""
    signature: str = ""
    refused: bool = False
    why: str = ""


class ProvenanceEvidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    source: str
    text: str = ""


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What made a change, how sure that is, and what says so.

    `operator` is the person who set an agent to it, `involved` everybody else whom somebody names as its author or
    operator: whoever is one of them cannot approve it.
    """

    origin: Origin = Origin.UNKNOWN
    confidence: float | None = None
    autonomy: str = ""
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    author: str = ""
    operator: str = ""
    involved: tuple[str, ...] = ()
    approvers: tuple[Approver, ...] = ()
    evidence: tuple[ProvenanceEvidence, ...] = ()


class Rollout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`share` of the instances is new now, or is asked for; `steps` are the shares planned, `pause_seconds` between."""

    strategy: str = ""
    share: float | None = None
    steps: tuple[float, ...] = ()
    pause_seconds: float | None = None
    regions: tuple[str, ...] = ()


class Vcs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    repository: str = ""
    revision: str = ""
    lines_added: int | None = None
    lines_removed: int | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a change will do to the outside, read from a plan or a diff."""

    verb: str
    kind: str = ""
    name: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One phase of one production change; times are Unix milliseconds.

    `extra` holds the fields that this version does not know: they are kept, and written out again.
    """

    id: str
    service: str
    time: int
    environment: str = ""
    phase: Phase = Phase.STARTED
    kind: Kind = Kind.CODE
    version: str = ""
    previous_version: str = ""
    instances: tuple[str, ...] = ()
    rollout: Rollout = msgspec.field(default_factory=Rollout)
    provenance: Provenance = msgspec.field(default_factory=Provenance)
    vcs: Vcs = msgspec.field(default_factory=Vcs)
    actions: tuple[Action, ...] = ()
    reverts: str = ""
    labels: dict[str, str] = {}
    watch_until: int | None = None
    extra: dict[str, Any] = {}


_KNOWN = frozenset(field for field in Change.__struct_fields__ if field != "extra")
_TIMES = ("time", "watch_until")
#: A name or id longer than this is not a name; it would be carried in every key, label and reason.
LONGEST_NAME = 1_024
#: A commit id that is shorter names too many commits.
_SHORTEST_REVISION = 7
#: More lines than there are in any repository.
MOST_LINES = 10**9


def change_from_object(record: object) -> Change:
    """Read the native change record (a decoded JSON object).

    Raises:
        InvalidChange: a field is missing, of the wrong type or out of range; the text names it.
    """
    if not isinstance(record, Mapping):
        raise InvalidChange(f"a change is a JSON object, not {type(record).__name__}")
    known: dict[str, Any] = {key: value for key, value in record.items() if key in _KNOWN and value is not None}
    for field in _TIMES:
        if field in known:
            try:
                known[field] = parse_time(known[field])
            except InvalidTime as error:
                raise InvalidChange(f"change field `{field}`: {error}") from None
    try:
        change = msgspec.convert(known, Change)
    except msgspec.ValidationError as error:
        raise InvalidChange(f"change: {error}".replace(" - at `$.", " - at `")) from None
    for field in ("id", "service"):
        if not 0 < len(getattr(change, field).strip()) <= LONGEST_NAME:
            raise InvalidChange(f"change field `{field}` must have 1 to {LONGEST_NAME} characters")
    share = change.rollout.share
    if share is not None and not 0 <= share <= 1:
        raise InvalidChange(f"change field `rollout.share` is {share}, must be between 0 and 1")
    for approver in change.provenance.approvers:
        # A time that is none is told by the gate; a number that no record can carry on is refused here.
        if any(isinstance(at, int) and abs(at) >= 2**63 for at in (approver.at, approver.since)):
            raise InvalidChange(f"change field `provenance.approvers`: a time of {approver.who[:80]!r} is out of range")
    for field in ("lines_added", "lines_removed"):
        count = getattr(change.vcs, field)
        if count is not None and not 0 <= count <= MOST_LINES:
            raise InvalidChange(f"change field `vcs.{field}` is {count}, must be between 0 and {MOST_LINES}")
    steps = change.rollout.steps
    if any(not 0 < step <= 1 for step in steps) or list(steps) != sorted(set(steps)):
        raise InvalidChange("change field `rollout.steps` must be growing shares up to 1, such as [0.1, 0.5, 1]")
    extra = {key: value for key, value in record.items() if key not in _KNOWN}
    return msgspec.structs.replace(change, extra=extra) if extra else change


def most(counts: Iterable[int | None]) -> int | None:
    """The largest count of lines that anybody told; None where nobody did. Who says fewer does not make a change small.

    >>> most([3, None, 12]), most([None])
    (12, None)
    """
    return max((one for one in counts if one is not None), default=None)


def same_revision(one: str, other: str) -> bool:
    """Whether two revisions are the same commit, either of them perhaps cut short.

    >>> same_revision("3484A3F", "3484a3fb9d0c"), same_revision("34", "3484a3f"), same_revision("", "")
    (True, False, False)
    """
    one, other = sorted((one.strip().casefold(), other.strip().casefold()), key=len)
    return one == other != "" or (len(one) >= _SHORTEST_REVISION and other.startswith(one))


def change_to_object(change: Change) -> dict[str, Any]:
    """Write a change as the native record, unknown fields included."""
    record: dict[str, Any] = {key: value for key, value in msgspec.to_builtins(change).items() if value != {}}
    record.pop("extra", None)
    record["time"] = format_time(change.time)
    record["phase"] = change.phase.value
    if change.watch_until is not None:
        record["watch_until"] = format_time(change.watch_until)
    return {**record, **{key: value for key, value in change.extra.items() if key not in record}}


def labels_of(change: Change, tier: int | None = None) -> dict[str, tuple[str, ...]]:
    """The labels that matchers see; a label may have several values (tools, models, approvers)."""
    provenance = change.provenance
    labels: dict[str, tuple[str, ...]] = {name: (value,) for name, value in change.labels.items()}
    labels |= {
        "change": (change.id,),
        "service": (change.service,),
        "environment": (change.environment,),
        "kind": (change.kind.value,),
        "version": (change.version,),
        "origin": (provenance.origin.value,),
        "autonomy": (provenance.autonomy,),
        "author": (provenance.author,),
        "operator": (provenance.operator,),
        "tool": provenance.tools,
        "model": provenance.models,
        "approver": tuple(approver.who for approver in provenance.approvers if not approver.refused),
        "repository": (change.vcs.repository,),
        "revision": (change.vcs.revision,),
        "reverts": (change.reverts,),
    }
    if tier is not None:
        labels["tier"] = (str(tier),)
    return {name: tuple(value for value in values if value) for name, values in labels.items()}

"""The door for evidence: which reader reads a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from deploy.change import change_from_object
from deploy.errors import DeployError, InvalidProvenance
from deploy.provenance.agent_trace import is_trace, read_trace
from deploy.provenance.attestation import is_attestation, read_attestation
from deploy.provenance.cdevents import is_cdevent, read_cdevent
from deploy.provenance.declared import declared_piece
from deploy.provenance.github import is_github, read_github
from deploy.provenance.gitlab import is_gitlab, read_gitlab
from deploy.provenance.piece import Piece

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key

KINDS = "an attestation, an agent trace, a CDEvent, a GitHub or GitLab payload, or a change record"


def is_evidence(record: object) -> bool:
    """Whether a decoded JSON value is evidence other than a CDEvent; one that names a service is a change."""
    return (
        isinstance(record, dict)
        and "service" not in record
        and (is_attestation(record) or is_gitlab(record) or is_github(record) or is_trace(record))
    )


def read_evidence(record: object, keys: Sequence[Key] = ()) -> tuple[Piece, ...]:
    """The pieces that a decoded JSON object tells of, whatever of these it is; none where it is about something else.

    Raises:
        InvalidProvenance: it is none of these, or not what it means to be.
    """
    if not isinstance(record, dict):
        raise InvalidProvenance(f"evidence must be a JSON object: {KINDS}")
    if is_attestation(record):
        return (read_attestation(record, keys),)
    if is_cdevent(record):
        return read_cdevent(record)
    if is_gitlab(record):
        return read_gitlab(record)
    if is_github(record):
        return read_github(record)
    if is_trace(record):
        return (read_trace(record),)
    if "id" in record and "service" in record:
        try:
            return (declared_piece(change_from_object(record)),)
        except DeployError as error:
            raise InvalidProvenance(str(error)) from None
    raise InvalidProvenance(f"evidence is none of {KINDS}")


def read_evidence_file(content: bytes, keys: Sequence[Key] = ()) -> tuple[Piece, ...]:
    """The pieces in a file: one JSON value, an array, or one a line.

    Raises:
        InvalidProvenance: with the line, where it is one a line.
    """
    try:
        whole = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return tuple(_lines(content, keys))
    return tuple(piece for one in (whole if isinstance(whole, list) else [whole]) for piece in read_evidence(one, keys))


def _lines(content: bytes, keys: Sequence[Key]) -> Iterable[Piece]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield from read_evidence(msgspec.json.decode(line), keys)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidProvenance(f"line {number}: not JSON: {error}") from None
        except InvalidProvenance as error:
            raise InvalidProvenance(f"line {number}: {error}") from None

"""Evidence of who made and approved a change, on a change topic: attestations, traces, payloads of GitHub and GitLab.

None is a change by itself: it tells pieces of the way of one, which readers join (`deploy.chain`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploy.change import Change
from deploy.errors import InvalidProvenance
from deploy.provenance.cdevents import is_cdevent, read_cdevent
from deploy.provenance.declared import declared_piece
from deploy.provenance.evidence import is_evidence, read_evidence
from deploy.provenance.piece import Piece
from stream.cloudevents import Event
from stream.json_text import unreadable

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key


class Evidence:
    name = "evidence"

    def accepts(self, event: Event, record: object, topic: str) -> bool:
        """By the shape; a record that names a service is a change."""
        return not event.type.startswith("dev.cdevents") and is_evidence(record)

    def decode(self, event: Event, record: object) -> tuple[Change, ...]:
        """No change; but evidence that is not what it means to be is refused."""
        _read(record)
        return ()


def pieces_of(record: object, changes: tuple[Change, ...], keys: Sequence[Key] = ()) -> tuple[Piece, ...]:
    """What a record that was read tells of the way of a change, and what the changes in it say of themselves.

    With `keys` an attestation must be signed with one of them.
    """
    told = tuple(declared_piece(change) for change in changes)
    if isinstance(record, dict):
        if is_cdevent(record):
            return (*read_cdevent(record), *told)
        if is_evidence(record):
            return (*_read(record, keys), *told)
    return told


def _read(record: Any, keys: Sequence[Key] = ()) -> tuple[Piece, ...]:
    try:
        return read_evidence(record, keys)
    except InvalidProvenance as error:
        raise unreadable("value", str(error)) from None

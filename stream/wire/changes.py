"""The door for changes: which decoder reads a record.

A new format is a module with a decoder and a place in `CHANGE_DECODERS`; the first that accepts decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from deploy.change import Change
from deploy.provenance.piece import Piece
from stream.cloudevents import Event, Headers, is_json, unwrap
from stream.json_text import parse
from stream.wire.cdevents import CDEvents
from stream.wire.evidence import Evidence, pieces_of
from stream.wire.native_change import NativeChange
from stream.wire.refusal import no_decoder

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key


class ChangeDecoder(Protocol):
    """Reads one format of changes; `record` is the event's data as parsed JSON.

    `decode` raises `Unreadable` and nothing else. An event that is read, understood and no change is an empty tuple.
    """

    name: str

    def accepts(self, event: Event, record: object, topic: str) -> bool: ...

    def decode(self, event: Event, record: object) -> tuple[Change, ...]: ...


class Told(NamedTuple):
    """What a record tells: changes, and pieces of the way of a change."""

    changes: tuple[Change, ...]
    pieces: tuple[Piece, ...]


CHANGE_DECODERS: tuple[ChangeDecoder, ...] = (CDEvents(), Evidence(), NativeChange())


def decode_changes(topic: str, value: bytes | None, headers: Headers) -> tuple[Change, ...]:
    """The changes that a record tells of.

    Raises:
        Unreadable: no decoder reads it; the kind and the text say why.
    """
    return _decode(topic, value, headers)[1]


def decode_told(topic: str, value: bytes | None, headers: Headers, keys: Sequence[Key] = ()) -> Told:
    """The changes that a record tells of, and the pieces that readers join with them; raises as `decode_changes`.

    With `keys` an attestation that none of them verifies joins nothing.
    """
    record, changes = _decode(topic, value, headers)
    return Told(changes, pieces_of(record, changes, keys))


def _decode(topic: str, value: bytes | None, headers: Headers) -> tuple[Any, tuple[Change, ...]]:
    event = unwrap(value, headers)
    if not is_json(event.content_type):
        raise no_decoder(topic, event)
    record = parse("change", event.data)
    for decoder in CHANGE_DECODERS:
        if decoder.accepts(event, record, topic):
            return record, decoder.decode(event, record)
    raise no_decoder(topic, event)

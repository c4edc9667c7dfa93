"""The door for changes: which decoder reads a record.

A new format is a module with a decoder and a place in `CHANGE_DECODERS`; the first that accepts decides.
"""

from __future__ import annotations

from typing import Protocol

from deploy.change import Change
from stream.cloudevents import Event, Headers, is_json, unwrap
from stream.json_text import parse
from stream.wire.cdevents import CDEvents
from stream.wire.native_change import NativeChange
from stream.wire.refusal import no_decoder


class ChangeDecoder(Protocol):
    """Reads one format of changes; `record` is the event's data as parsed JSON.

    `decode` raises `Unreadable` and nothing else. An event that is read, understood and no change is an empty tuple.
    """

    name: str

    def accepts(self, event: Event, record: object, topic: str) -> bool: ...

    def decode(self, event: Event, record: object) -> tuple[Change, ...]: ...


CHANGE_DECODERS: tuple[ChangeDecoder, ...] = (CDEvents(), NativeChange())


def decode_changes(topic: str, value: bytes | None, headers: Headers) -> tuple[Change, ...]:
    """The changes that a record tells of.

    Raises:
        Unreadable: no decoder reads it; the kind and the text say why.
    """
    event = unwrap(value, headers)
    if not is_json(event.content_type):
        raise no_decoder(topic, event)
    record = parse("change", event.data)
    for decoder in CHANGE_DECODERS:
        if decoder.accepts(event, record, topic):
            return decoder.decode(event, record)
    raise no_decoder(topic, event)

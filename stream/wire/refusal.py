"""What the doors say of a record that none of their decoders takes."""

from __future__ import annotations

from stream.cloudevents import Event
from stream.errors import Unreadable
from stream.json_text import unreadable


def no_decoder(topic: str, event: Event) -> Unreadable:
    said = f"type {event.type!r}, " if event.type else ""
    return unreadable("format", f"no decoder reads {said}content-type {event.content_type!r} on topic {topic!r}")

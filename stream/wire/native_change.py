"""Changes as haltline's own JSON record, one object or an array of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from deploy.change import LONGEST_NAME, Change, change_from_object
from deploy.errors import InvalidChange, InvalidTime
from stream.cloudevents import Event
from stream.errors import Unreadable
from stream.json_text import unreadable, validation_kind

_OURS = "dev.cdeventsx.haltline-"
_CHANGE = f"{_OURS}change."


class NativeChange:
    name = "native-change"

    def accepts(self, event: Event, record: object, topic: str) -> bool:
        """Anything but haltline's own records that are not changes."""
        return event.type.startswith(_CHANGE) or not event.type.startswith(_OURS)

    def decode(self, event: Event, record: object) -> tuple[Change, ...]:
        if isinstance(record, list):
            return tuple(read_change(item, f"change [{index}]") for index, item in enumerate(record))
        return (read_change(record),)


def read_change(record: object, what: str = "change") -> Change:
    """Read one decoded change record.

    Raises:
        Unreadable: `type`, `time`, `value` or `size`, naming the field.
    """
    if not isinstance(record, Mapping):
        raise unreadable("type", f"{what}: must be a JSON object, is {_json_type(record)}")
    for field in ("id", "service"):
        if isinstance(record.get(field), str):
            check_name(what, field, record[field])
    try:
        change = change_from_object(record)
    except InvalidChange as error:
        raise _refusal(what, error) from None
    for field, text in _texts(change):
        check_name(what, field, text, empty=True)
    return change


def check_name(what: str, field: str, text: str, empty: bool = False) -> None:
    """Refuse a name that is longer than any name, or blank where it must not be."""
    if len(text) > LONGEST_NAME:
        raise unreadable("size", f"{what}: `{field}` has {len(text)} characters, at most {LONGEST_NAME} are a name")
    if not empty and not text.strip():
        raise unreadable("value", f"{what}: `{field}` is empty")


def _refusal(what: str, error: InvalidChange) -> Unreadable:
    kind, cause = "value", error.__context__
    if isinstance(cause, InvalidTime):
        kind = "time"
    elif isinstance(cause, msgspec.ValidationError):
        kind = validation_kind(str(cause))
    return unreadable(kind, str(error) if what == "change" else f"{what}: {error}")


def _texts(change: Change) -> Iterator[tuple[str, str]]:
    """What becomes a label of the change, and so a part of keys and reasons."""
    yield "environment", change.environment
    yield "version", change.version
    yield "previous_version", change.previous_version
    yield "reverts", change.reverts
    yield from (("instances", instance) for instance in change.instances)
    for label, text in change.labels.items():
        yield "labels", label
        yield f"labels.{label}", text


def _json_type(record: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(record), "a number")

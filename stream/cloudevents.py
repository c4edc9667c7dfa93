"""CloudEvents 1.0 on Kafka: the envelope taken off what comes in, and put on what haltline writes.

The rules are those of the Kafka protocol binding: a `content-type` that starts with `application/cloudevents` makes an
event structured, also when the producer sent `ce_*` headers beside it; without it, `ce_*` headers make it binary; and
without either the record is bare.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec

from deploy.times import format_time
from stream.errors import Unreadable
from stream.json_text import check_size, encode, opening, parse, reading, refuse_repeated_keys, unreadable

#: Kafka's headers as a mapping or as pairs; each client has its own taste.
Headers = Mapping[str, bytes | None] | Iterable[tuple[str, bytes | None]] | None

STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
_STRUCTURED_PREFIX = "application/cloudevents"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a record carries, out of its envelope; a bare record has empty attributes.

    `data` is what the event is about, undecoded; `content_type` tells how to read it, empty where nobody said.
    `arrived` is when Kafka took its record, in Unix milliseconds, where that is known.
    """

    type: str = ""
    source: str = ""
    id: str = ""
    subject: str = ""
    time: str = ""
    data: bytes | None
    content_type: str = ""
    arrived: int | None = None


class _Envelope(msgspec.Struct):
    specversion: str | None = None
    type: str | None = None
    source: str | None = None
    id: str | None = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_envelopes = msgspec.json.Decoder(_Envelope)
_WHAT = "cloudevent"


def _lower(headers: Headers) -> dict[str, bytes]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return {name.lower(): value for name, value in pairs if value is not None}


def content_type(headers: Headers) -> str:
    """The record's media type without parameters, in lower case; empty where there is none.

    >>> content_type({"Content-Type": b"Application/JSON; charset=utf-8"})
    'application/json'
    """
    return _media_type(_lower(headers).get("content-type", b"").decode(errors="replace"))


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether this media type is JSON, or says nothing about what it is."""
    return media_type in _MAYBE_JSON or media_type.endswith(("+json", "/json"))


_MAYBE_JSON = frozenset(
    {"", "application/octet-stream", "text/plain", "application/x-ndjson", "application/jsonl", "application/jsonlines"}
)


def unwrap(value: bytes | None, headers: Headers, arrived: int | None = None) -> Event:
    """Take the envelope off a record that Kafka took at `arrived`, in Unix milliseconds.

    A structured event without its `content-type` (as a console producer sends it) is recognised by its attributes.

    Raises:
        Unreadable: no bytes or too many, an envelope that cannot be read, a batch or an encoding other than JSON.
    """
    value = check_size(value)
    given = _lower(headers)
    media_type = _media_type(given.get("content-type", b"").decode(errors="replace"))
    if media_type.startswith(_STRUCTURED_PREFIX):
        if media_type not in (_STRUCTURED_PREFIX, f"{_STRUCTURED_PREFIX}+json"):
            raise unreadable("format", f"{_WHAT}: content-type {media_type!r} is not {_STRUCTURED_PREFIX}+json")
        return _structured(value, arrived)
    if "ce_type" in given or "ce_specversion" in given:
        return _binary(value, given, media_type, arrived)
    if opening(value) == b"{" and b'"specversion"' in value:
        try:
            envelope = _read(value)
        except Unreadable:
            pass  # not an envelope: whoever reads the data says what is wrong with it
        else:
            if envelope.specversion and envelope.type:
                return _structured(value, arrived)
    return Event(data=value, content_type=media_type, arrived=arrived)


def _read(value: bytes) -> _Envelope:
    with reading(_WHAT, value):
        return _envelopes.decode(value)


def _structured(value: bytes, arrived: int | None) -> Event:
    envelope = _read(value)
    refuse_repeated_keys(_WHAT, value)
    _check_version(envelope.specversion)
    media_type = _media_type(envelope.datacontenttype or "")
    return Event(
        type=envelope.type or "",
        source=envelope.source or "",
        id=envelope.id or "",
        subject=envelope.subject or "",
        time=envelope.time or "",
        data=_data(envelope, media_type),
        content_type=media_type,
        arrived=arrived,
    )


def _data(envelope: _Envelope, media_type: str) -> bytes | None:
    if envelope.data_base64 is not None:
        try:
            return base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise unreadable("syntax", f"{_WHAT}: `data_base64` is not base64") from None
    raw = bytes(envelope.data).strip()
    if raw in (b"", b"null"):
        return None
    if raw.startswith(b'"') and media_type and not media_type.endswith(("+json", "/json")):
        # Data of another format stands as text inside a JSON string.
        return str(parse(_WHAT, raw)).encode()
    return raw


def _binary(value: bytes, given: Mapping[str, bytes], media_type: str, arrived: int | None) -> Event:
    attributes: dict[str, str] = {}
    for name in ("specversion", "type", "source", "id", "subject", "time"):
        try:
            attributes[name] = given.get(f"ce_{name}", b"").decode()
        except UnicodeDecodeError:
            raise unreadable("syntax", f"{_WHAT}: the header ce_{name} is not UTF-8") from None
    _check_version(attributes.pop("specversion"))
    return Event(**attributes, data=value, content_type=media_type, arrived=arrived)


def _check_version(specversion: str | None) -> None:
    if specversion and not specversion.startswith("1."):
        raise unreadable("format", f"{_WHAT}: specversion {specversion!r} is not 1.x")


def wrap(type: str, source: str, id: str, subject: str, time: int, data: object) -> tuple[bytes, dict[str, bytes]]:
    """Put an event into the structured mode; `time` in Unix milliseconds. Equal arguments give equal bytes."""
    envelope = {
        "specversion": "1.0",
        "type": type,
        "source": source,
        "id": id,
        "subject": subject,
        "time": format_time(time),
        "datacontenttype": "application/json",
        "data": data,
    }
    return encode(envelope), {"content-type": STRUCTURED}

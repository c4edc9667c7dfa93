"""Which of the formats that are JSON a record is in, by the keys that it begins with."""

from __future__ import annotations

import re
from enum import Enum

import msgspec
from msgspec import Raw


class Shape(Enum):
    NATIVE = "native"
    OTLP = "otlp"
    PROMETHEUS = "prometheus"
    TELEGRAF = "telegraf"


_FIRST_KEY = re.compile(rb'\s*\{\s*"([A-Za-z_]{1,32})"\s*:')
#: Keys that only one format has.
_TELLING = {
    b"resourceMetrics": Shape.OTLP,
    b"resource": Shape.NATIVE,
    b"arrived": Shape.NATIVE,
    b"labels": Shape.PROMETHEUS,
    b"value": Shape.PROMETHEUS,
    b"fields": Shape.TELEGRAF,
    b"tags": Shape.TELEGRAF,
}
#: A batch of Telegraf's, whose serializer writes the keys in order.
_BATCH = re.compile(rb'\s*\{\s*"metrics"\s*:\s*\[\s*\{\s*"(?:fields|tags|timestamp)"')
_objects = msgspec.json.Decoder(dict[str, Raw])
_lists = msgspec.json.Decoder(list[Raw])


def shape_of(value: bytes | None) -> Shape:
    """The format of a record; `NATIVE`, whose decoder says what is wrong, where nothing tells.

    >>> shape_of(b'{"name":"up","timestamp":"2026-11-21T09:14:03Z","value":"1"}')
    <Shape.PROMETHEUS: 'prometheus'>
    """
    if value is None:
        return Shape.NATIVE
    first = _FIRST_KEY.match(value)
    if first is None:
        return Shape.NATIVE
    if first[1] == b"metrics" and _BATCH.match(value):
        return Shape.TELEGRAF
    return _TELLING.get(first[1]) or _by_all_keys(value)


def _by_all_keys(value: bytes) -> Shape:
    record = _object(value) or _object(value.partition(b"\n")[0])
    for key in record:
        if shape := _TELLING.get(key.encode()):
            return shape
    if "metrics" in record:
        try:
            metrics = _lists.decode(record["metrics"])
        except msgspec.DecodeError:
            return Shape.NATIVE
        if metrics and "fields" in _object(bytes(metrics[0])):
            return Shape.TELEGRAF
    return Shape.NATIVE


def _object(text: bytes) -> dict[str, Raw]:
    try:
        return _objects.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}

"""Attributes of OTLP as JSON, as texts."""

from __future__ import annotations

import base64
import binascii
import math

import msgspec

from stream.json_text import reading, refuse_repeated_keys, unreadable
from stream.wire.otel_names import attribute_text
from stream.wire.proto_json import INT64, Number, integer, real


class _Object(msgspec.Struct, rename="camel", gc=False):
    pass


class _AnyValue(_Object):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Number = None
    double_value: Number = None
    bytes_value: str | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None


class _Array(_Object):
    values: list[_AnyValue] | None = None


class _Pair(_Object):
    key: str | None = None
    value: _AnyValue | None = None


class _Pairs(_Object):
    values: list[_Pair] | None = None


_URL_SAFE = str.maketrans("-_", "+/")
_pairs = msgspec.json.Decoder(list[_Pair] | None)


def attribute_texts(what: str, raw: bytes) -> dict[str, str]:
    """The attributes of a resource or a point, which are lists of keys with a value; of repeated keys the last counts.

    Raises:
        Unreadable: text that is not strict JSON, a field that is not what the protocol says.
    """
    if not raw:
        return {}
    with reading(what, raw):
        pairs = _pairs.decode(raw) or []
    refuse_repeated_keys(what, raw)
    texts = {}
    for pair in pairs:
        value = None if pair.value is None else _value(what, pair.value)
        if value is not None:
            texts[pair.key or ""] = attribute_text(value)
        else:
            texts.pop(pair.key or "", None)
    return texts


def _value(what: str, value: _AnyValue) -> object:
    """What an `AnyValue` holds; None where it holds nothing."""
    if sum(getattr(value, field) is not None for field in value.__struct_fields__) > 1:
        raise unreadable("value", f"{what}: an attribute is of more than one type")
    if value.int_value is not None:
        return integer("intValue", value.int_value, INT64)
    if value.double_value is not None:
        return real("doubleValue", value.double_value)
    if value.array_value is not None:
        return [_inner(what, item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return {pair.key or "": _inner(what, pair.value) for pair in value.kvlist_value.values or ()}
    if value.bytes_value is not None:
        text = value.bytes_value.translate(_URL_SAFE).rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise unreadable("type", f"{what}: an attribute's `bytesValue` is not base64") from None
    return value.string_value if value.string_value is not None else value.bool_value


def _inner(what: str, value: _AnyValue | None) -> object:
    """What stands inside a list or a map, as JSON can write it."""
    told = None if value is None else _value(what, value)
    if isinstance(told, bytes) or (isinstance(told, float) and not math.isfinite(told)):
        return attribute_text(told)
    return told

"""Attributes of OTLP as JSON, as texts."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import msgspec

from stream.columns import MetricKind, SeriesKey
from stream.json_text import encode, reading, refuse_repeated_keys, unreadable
from stream.wire.proto_json import INT64, Number, integer, real
from stream.wire.tags import check_lengths, taken


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


SERVICE, VERSION, INSTANCE = ("service.name",), ("service.version",), ("service.instance.id",)
#: The second is its name in older conventions.
ENVIRONMENT = ("deployment.environment.name", "deployment.environment")
#: Source: OpenTelemetry, resource semantic conventions.
UNKNOWN_SERVICE = "unknown_service"
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
        value = None if pair.value is None else _plain(what, pair.value)
        if value is not None:
            texts[pair.key or ""] = value if isinstance(value, str) else encode(value).decode()
    return texts


def _plain(what: str, value: _AnyValue) -> Any:
    """The value as JSON has it without its type; None for an empty one."""
    given = [field for field in value.__struct_fields__ if getattr(value, field) is not None]
    if len(given) > 1:
        raise unreadable("value", f"{what}: an attribute is of more than one type")
    if value.int_value is not None:
        return integer("intValue", value.int_value, INT64)
    if value.double_value is not None:
        number = real("doubleValue", value.double_value)
        # JSON has no other name for them.
        return number if math.isfinite(number) else str(number)
    if value.array_value is not None:
        return [_plain(what, item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        pairs = value.kvlist_value.values or ()
        return {pair.key or "": None if pair.value is None else _plain(what, pair.value) for pair in pairs}
    if value.bytes_value is not None:
        try:
            return base64.b64encode(base64.b64decode(value.bytes_value)).decode()
        except (binascii.Error, ValueError):
            raise unreadable("type", f"{what}: an attribute's `bytesValue` is not base64") from None
    return value.string_value if value.string_value is not None else value.bool_value


def otlp_key(
    what: str, resource: dict[str, str], attributes: dict[str, str], metric: str, unit: str, kind: MetricKind
) -> SeriesKey:
    """The key of a series; nearer to the number than its resource, its own attributes win. Of the resource only what
    says whose number it is counts.

    Raises:
        Unreadable: no name of the metric, or longer than names are.
    """
    texts = dict(attributes)
    key = SeriesKey(
        service=taken(texts, SERVICE) or taken(dict(resource), SERVICE) or UNKNOWN_SERVICE,
        environment=taken(texts, ENVIRONMENT) or taken(dict(resource), ENVIRONMENT),
        metric=metric,
        version=taken(texts, VERSION) or taken(dict(resource), VERSION),
        instance=taken(texts, INSTANCE) or taken(dict(resource), INSTANCE),
        attributes=tuple(sorted(texts.items())),
        kind=kind,
        unit=unit,
    )
    if not metric.strip():
        raise unreadable("value", f"{what}: a metric of {key.service} has an empty name")
    check_lengths(what, key)
    return key

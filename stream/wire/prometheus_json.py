"""Prometheus' samples as prometheus-kafka-adapter writes them in JSON, one object or several after each other.

Source: Telefonica/prometheus-kafka-adapter, serializers.go: `timestamp` in RFC 3339, `value` as text, `labels` whole.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from deploy.errors import InvalidTime
from deploy.times import parse_time
from stream.cloudevents import Event, is_json
from stream.columns import Columns, SeriesKey
from stream.json_text import check_size, encode, reading, refuse_repeated_keys, unreadable
from stream.series_ids import SeriesIds
from stream.wire import prometheus_json_scan
from stream.wire.json_objects import objects
from stream.wire.json_sniff import Shape, shape_of
from stream.wire.prometheus_names import NAME, prometheus_key
from stream.wire.rows import PlainRows, RowReader, Rows, columns

_WHAT = "prometheus json"
_FORMAT = int.from_bytes(b"promjson", "little")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NOT_FINITE = {"NaN", "Inf", "+Inf", "-Inf"}


class _Sample(msgspec.Struct, gc=False):
    timestamp: str
    value: float | str
    name: str | None = None
    labels: Raw = Raw(b"{}")


_one = msgspec.json.Decoder(_Sample)
_labels = msgspec.json.Decoder(dict[str, str] | None)
_text = msgspec.json.Decoder(str)


class PrometheusJson:
    name = "prometheus-json"

    def __init__(self) -> None:
        self._reader = RowReader(prometheus_json_scan.prometheus)

    def accepts(self, event: Event, topic: str) -> bool:
        return is_json(event.content_type) and shape_of(event.data) is Shape.PROMETHEUS

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        return columns(_WHAT, self._reader.read(value) or read_plainly(value), ids, _FORMAT, key_of)


def read_plainly(value: bytes) -> Rows:
    """Read a message with a plain parser.

    Raises:
        Unreadable: text that is not strict JSON, a key that stands twice, a field that is missing or of another type.
    """
    rows = PlainRows()
    for text in objects(_WHAT, value):
        with reading(_WHAT, text):
            sample = _one.decode(text)
        refuse_repeated_keys(_WHAT, text)
        try:
            time = parse_time(sample.timestamp)
        except InvalidTime as error:
            raise unreadable("time", f"{_WHAT}: {error}") from None
        name = rows.part(b"" if sample.name is None else encode(sample.name))
        rows.add(time, rows.part(bytes(sample.labels)), name, (0, 0), _value(sample.value))
    return rows.rows()


def _value(value: float | str) -> float:
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return float("nan")
        if len(value) > 400 or not _NUMBER.fullmatch(value):
            raise unreadable("type", f"{_WHAT}: `value` is {value[:40]!r}, must be a number, NaN, +Inf or -Inf")
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise unreadable("value", f"{_WHAT}: `value` is {str(value)[:40]}, beyond what a double holds")
    return number


def key_of(labels: bytes, name: bytes, _: bytes) -> SeriesKey:
    """The key of a sample; `job` is the service unless a label of OpenTelemetry's says another."""
    with reading(_WHAT, labels):
        tags = (_labels.decode(labels) if labels else None) or {}
    refuse_repeated_keys(_WHAT, labels or b"{}")
    with reading(_WHAT, name):
        metric = _text.decode(name) if name else tags.get("__name__", "")
    return prometheus_key(_WHAT, tags | {NAME: metric})

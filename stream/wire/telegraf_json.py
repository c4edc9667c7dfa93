"""Telegraf's metrics as its JSON serializer writes them: one, several after each other, or `{"metrics": [...]}`.

Source: influxdata/telegraf, plugins/serializers/json. A field is a series; text is none. Times are of the unit that
`json_timestamp_units` says, which their size tells.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from deploy.errors import InvalidTime
from deploy.times import EARLIEST_MS, LATEST_MS, parse_time
from stream.cloudevents import Event, is_json
from stream.columns import Columns, Int64, SeriesKey
from stream.json_text import check_size, encode, reading, refuse_repeated_keys, unreadable
from stream.series_ids import SeriesIds
from stream.wire import rows_scan, telegraf_json_scan
from stream.wire.json_objects import objects
from stream.wire.json_sniff import Shape, shape_of
from stream.wire.otel_names import shortened
from stream.wire.rows import PlainRows, RowReader, Rows, columns
from stream.wire.tags import TELEGRAF_INSTANCE, TELEGRAF_SERVICE, tagged_key

_WHAT = "telegraf json"
_FORMAT = int.from_bytes(b"telegraf", "little")


class _Metric(msgspec.Struct):
    name: str
    fields: dict[str, Raw]
    timestamp: int | float | str
    tags: Raw = Raw(b"{}")


class _Batch(msgspec.Struct):
    metrics: list[_Metric]


_one = msgspec.json.Decoder(_Metric)
_many = msgspec.json.Decoder(_Batch)
_tags = msgspec.json.Decoder(dict[str, str] | None)
_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(float)
_BATCH = re.compile(rb'\s*\{\s*"metrics"')


class TelegrafJson:
    name = "telegraf-json"

    def __init__(self) -> None:
        self._reader = RowReader(telegraf_json_scan.telegraf)

    def accepts(self, event: Event, topic: str) -> bool:
        return is_json(event.content_type) and shape_of(event.data) is Shape.TELEGRAF

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        rows = self._reader.read(value) or read_plainly(value)
        rows.places[:, rows_scan.TIME] = milliseconds(rows.places[:, rows_scan.TIME])
        return columns(_WHAT, rows, ids, _FORMAT, key_of)


def milliseconds(times: Int64) -> Int64:
    """Unix times of any unit, from seconds to nanoseconds, as milliseconds: what is no time in one is one in another.

    >>> import numpy as np
    >>> milliseconds(np.array([1458229140, 1458229140000, 1458229140000000, 1458229140000000000])).tolist()
    [1458229140000, 1458229140000, 1458229140000, 1458229140000]
    """
    found = times.copy()
    for earliest, up, down in (
        (EARLIEST_MS // 1_000, 1_000, 1),
        (EARLIEST_MS * 1_000, 1, 1_000),
        (EARLIEST_MS * 1_000_000, 1, 1_000_000),
    ):
        inside = (times >= earliest) & (times < earliest * (LATEST_MS / EARLIEST_MS))
        found[inside] = times[inside] * up // down
    return found


def read_plainly(value: bytes) -> Rows:
    """Read a message with a plain parser.

    Raises:
        Unreadable: text that is not strict JSON, a key that stands twice, a field that is missing or of another type.
    """
    rows = PlainRows()
    for text in objects(_WHAT, value):
        with reading(_WHAT, text):
            metrics = _many.decode(text).metrics if _BATCH.match(text) else [_one.decode(text)]
        refuse_repeated_keys(_WHAT, text)
        for metric in metrics:
            _add(rows, metric)
    return rows.rows()


def _add(rows: PlainRows, metric: _Metric) -> None:
    time = _time(metric.timestamp)
    if bytes(metric.tags)[:1] != b"{":
        raise unreadable("type", f"{_WHAT}: `tags` of {metric.name[:80]!r} must be an object")
    name, tags = rows.part(encode(metric.name)), rows.part(bytes(metric.tags))
    for field, raw in metric.fields.items():
        text = bytes(raw)
        if text in (b"true", b"false"):
            value = float(text == b"true")
        elif text[:1] in b'"{[n':
            continue
        else:
            with reading(_WHAT, text):
                value = _number.decode(text)
        rows.add(time, tags, name, rows.part(encode(field)), value)


def _time(timestamp: int | float | str) -> int:
    if isinstance(timestamp, float) and timestamp.is_integer() and abs(timestamp) < 2**63:
        timestamp = int(timestamp)
    if isinstance(timestamp, int) and 0 < timestamp < 2**63:
        return timestamp
    try:
        return parse_time(timestamp)
    except InvalidTime as error:
        raise unreadable("time", f"{_WHAT}: {error}") from None


def key_of(tags: bytes, name: bytes, field: bytes) -> SeriesKey:
    """The key of one field of a metric."""
    with reading(_WHAT, tags):
        given = (_tags.decode(tags) if tags else None) or {}
        return field_key(_WHAT, _text.decode(name), given, _text.decode(field))


def field_key(what: str, name: str, tags: dict[str, str], field: str) -> SeriesKey:
    """What Telegraf's metrics are called here: `measurement.field`, or the measurement alone if the field is `value`.

    A measurement whose tags name no service is its own: `docker`, `nginx`.
    """
    if not name.strip():
        raise unreadable("value", f"{what}: a metric has an empty name")
    metric = name if field == "value" else f"{name}.{field}"
    return tagged_key(what, metric, tags, TELEGRAF_SERVICE, TELEGRAF_INSTANCE, otherwise=shortened(name))

"""OTLP metrics as protobuf: what the OpenTelemetry Collector's Kafka exporter sends by default.

The bytes are scanned in compiled code and the series are looked up by hashes of what names them; only what was never
seen before is decoded, here, in plain Python. The decoder keeps nothing: histograms leave it as counts, sums and
buckets, counters as they are, and what is a difference of two points is made where all points of a series come
together (`stream/histograms.py`, `stream/series.py`), whatever order and partition they came in.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from deploy.times import EARLIEST_MS, LATEST_MS
from stream.cloudevents import Event
from stream.columns import Columns, Int64, MetricKind, SeriesKey
from stream.hash128 import Bytes, padded
from stream.json_text import check_size, opening, unreadable
from stream.series_ids import SeriesIds
from stream.wire import otlp_scan
from stream.wire.otel_names import Resource, attribute_text, key_of, resource_of
from stream.wire.otlp_points import Parts, Points, plain_columns
from stream.wire.otlp_scan import (
    BAD_TIME,
    BROKEN,
    DELTA,
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    MEMBER,
    METRIC_AT,
    METRIC_END,
    MONOTONIC,
    RESOURCE_AT,
    RESOURCE_END,
    SCOPE_AT,
    SCOPE_END,
    SUM,
    SUMMARY,
    TEMPORALITY,
)  # fmt: skip
from stream.wire.protobuf import FIXED64, LENGTH, VARINT, fields

_WHAT = "otlp"
_LEAST_POINT = 11
_ATTRIBUTES = {GAUGE: 7, SUM: 7, HISTOGRAM: 9, EXPONENTIAL: 1, SUMMARY: 7}


class OtlpProtobuf:
    name = "otlp-protobuf"

    def accepts(self, event: Event, topic: str) -> bool:
        return event.content_type in ("application/x-protobuf", "application/protobuf") or (
            event.content_type in ("", "application/octet-stream") and looks_like_otlp(event.data or b"")
        )

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        return _Message(value, ids).columns()


def looks_like_otlp(value: bytes) -> bool:
    """Whether bytes that nobody named can only be an `ExportMetricsServiceRequest`: resources and nothing else.

    Protobuf has no magic. JSON may begin with the same byte, a line feed, but goes on with other lengths.
    """
    if not value.startswith(b"\x0a") or opening(value) in (b"{", b"["):
        return False
    at = 0
    while at < len(value):
        if value[at] != 0x0A:
            return False
        at, size, shift = at + 1, 0, 0
        while True:
            if at == len(value) or shift > 28:
                return False
            size |= (value[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if value[at - 1] < 128:
                break
        at += size
    return at == len(value)


class _Metric(msgspec.Struct, frozen=True):
    resource: Resource
    scope: str
    name: str
    unit: str
    kind: MetricKind


class _Message:
    """One message on its way to columns."""

    def __init__(self, value: bytes, ids: SeriesIds) -> None:
        self._value, self._ids = value, ids
        self._data: Bytes = padded(value)
        room = len(value) // _LEAST_POINT + 1
        self._hi, self._lo = np.empty(room, np.uint64), np.empty(room, np.uint64)
        times, starts = np.empty(room, np.int64), np.empty(room, np.int64)
        values, sums = np.empty(room), np.empty(room)
        owners, begins, stops = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
        metrics = np.empty((room + 1, 9), np.int64)
        status, place, count, rows = otlp_scan.scan(
            self._data, len(value), ids.seed, EARLIEST_MS, LATEST_MS, self._hi, self._lo, times, starts, values, sums,
            owners, begins, stops, metrics,
        )  # fmt: skip
        if status == BROKEN:
            raise unreadable("syntax", f"{_WHAT}: not an ExportMetricsServiceRequest, broken at byte {place}")
        if status == BAD_TIME:
            raise unreadable("time", f"{_WHAT}: the point at byte {place} has no `time_unix_nano` from 2000 to 2099")
        self._hi, self._lo = self._hi[:count], self._lo[:count]
        self._times, self._starts = times[:count], starts[:count]
        self._values, self._sums = values[:count], sums[:count]
        self._owners, self._begins, self._stops = owners[:count], begins[:count], stops[:count]
        self._metrics: Int64 = metrics[:rows]
        self._known: dict[int, _Metric] = {}

    def columns(self) -> Columns:
        member, temporality = self._metrics[:, MEMBER], self._metrics[:, TEMPORALITY]
        counter = (member >= HISTOGRAM) | ((member == SUM) & (self._metrics[:, MONOTONIC] != 0))
        otlp_scan.keep_starts(counter & (temporality != DELTA), self._owners, self._starts)
        if not (member >= HISTOGRAM).any():
            return plain_columns(self._ids, self, self._hi, self._lo, self._times, self._values, self._starts)
        return Points(
            hi=self._hi,
            lo=self._lo,
            times=self._times,
            starts=self._starts,
            values=self._values,
            sums=self._sums,
            counted=(member >= HISTOGRAM)[self._owners],
            exponential=(member == EXPONENTIAL)[self._owners],
            summaries=(member == SUMMARY)[self._owners],
        ).columns(self._ids, self)

    def key(self, place: int, part: str) -> SeriesKey:
        """The key of a point's series; of a histogram's or a summary's, that of one of its parts."""
        row = int(self._owners[place])
        metric = self._metric(row)
        member = int(self._metrics[row, MEMBER])
        begin, stop = int(self._begins[place]), int(self._stops[place])
        if not otlp_scan.is_point_sound(self._data, begin, stop, member):
            raise unreadable("syntax", f"{_WHAT}: the attributes of the point at byte {begin} cannot be read")
        attributes = _attributes(_messages(self._value[begin:stop], _ATTRIBUTES[member]))
        return key_of(metric.resource, metric.name, metric.unit, metric.kind, attributes, metric.scope, part)

    def parts(self, chosen: Int64) -> Parts:
        room = int((self._stops[chosen] - self._begins[chosen]).sum())
        hi, lo, of = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
        places, told = np.empty(room), np.empty(room)
        count = otlp_scan.expand(
            self._data, chosen, self._metrics[:, MEMBER][self._owners], self._hi, self._lo, self._begins, self._stops,
            self._ids.seed, hi, lo, of, places, told,
        )  # fmt: skip
        return Parts(of[:count], hi[:count], lo[:count], places[:count], told[:count])

    def _metric(self, row: int) -> _Metric:
        known = self._known.get(row)
        if known is None:
            at = self._metrics[row]
            # Parts of one message that come apart are one message when they are put together.
            scope = _texts(b"".join(_messages(self._value[at[SCOPE_AT] : at[SCOPE_END]], 1)))
            metric = _texts(self._value[at[METRIC_AT] : at[METRIC_END]])
            resource = _messages(b"".join(_messages(self._value[at[RESOURCE_AT] : at[RESOURCE_END]], 1)), 1)
            known = self._known[row] = _Metric(
                resource_of(_attributes(resource)), scope.get(1, ""), metric.get(1, ""), metric.get(3, ""), _kind(at)
            )
        return known


def _kind(row: Int64) -> MetricKind:
    if row[MEMBER] == GAUGE or (row[MEMBER] == SUM and row[TEMPORALITY] != DELTA and not row[MONOTONIC]):
        return MetricKind.GAUGE
    return MetricKind.DELTA if row[TEMPORALITY] == DELTA else MetricKind.CUMULATIVE


def _messages(text: bytes, wanted: int) -> Iterator[bytes]:
    """What the length-delimited fields of this number hold."""
    return (content for number, wire, content in fields(text) if number == wanted and wire == LENGTH)


def _texts(text: bytes) -> dict[int, str]:
    """The fields of a message that are names, each the last of its number."""
    found = {number: content for number, wire, content in fields(text) if wire == LENGTH and number in (1, 3)}
    return {number: content.decode("utf-8", "replace") for number, content in found.items()}


def _attributes(pairs: Iterable[bytes]) -> dict[str, str]:
    """`KeyValue` messages as names and texts; one without a value is not there."""
    found = {}
    for pair in pairs:
        name, value = b"", b""
        for number, wire, content in fields(pair):
            if wire == LENGTH and number == 1:
                name = content
            elif wire == LENGTH and number == 2:
                value += content
        told = _any_value(value)
        if told is not None:
            found[name.decode()] = attribute_text(told)
        else:
            found.pop(name.decode(), None)
    return found


def _any_value(text: bytes) -> object:
    """An `AnyValue` as what JSON has for it, bytes as they are; None where it holds nothing."""
    value: object = None
    held, inner = 0, b""
    for number, wire, content in fields(text):
        if wire == LENGTH and number == 1:
            value = content.decode()
        elif wire == VARINT and number == 2:
            value = bool(content)
        elif wire == VARINT and number == 3:
            value = content - (1 << 64) if content >> 63 else content
        elif wire == FIXED64 and number == 4:
            value = struct.unpack("<d", content)[0]
        elif wire == LENGTH and number in (5, 6):
            inner = inner + content if held == number else content
            value = _list(inner) if number == 5 else _map(inner)
        elif wire == LENGTH and number == 7:
            value = content
        else:
            continue
        held = number
    return value


def _list(text: bytes) -> list[object]:
    return [_plain(_any_value(content)) for content in _messages(text, 1)]


def _map(text: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in _messages(text, 1):
        names = [content for number, wire, content in fields(pair) if (number, wire) == (1, LENGTH)]
        value = _any_value(b"".join(_messages(pair, 2)))
        found[names[-1].decode() if names else ""] = _plain(value)
    return found


def _plain(value: object) -> object:
    """What stands inside a list or a map, as JSON can write it."""
    return attribute_text(value) if isinstance(value, bytes | float) and not _is_finite(value) else value


def _is_finite(value: bytes | float) -> bool:
    return isinstance(value, float) and math.isfinite(value)

"""OTLP as JSON read plainly, into the arrays that compiled code fills: for what is rare, and where nothing compiles.

Sources: opentelemetry-proto, docs/specification.md and metrics.proto; the ProtoJSON format of protobuf.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from msgspec import Raw

from stream.errors import Unreadable
from stream.hash128 import padded
from stream.json_text import encode, reading, refuse_repeated_keys, unreadable
from stream.wire import otlp_json_scan as at
from stream.wire.otlp_json_arrays import Scanned
from stream.wire.proto_json import INT32, INT64, UINT32, UINT64, Number, integer, item, real, zero

_WHAT = "otlp json"
#: Objects in a message that is read plainly; a point is at least one. A compiled reading has no such limit.
_MOST_OBJECTS = 400_000
_TEMPORALITIES = {
    "AGGREGATION_TEMPORALITY_UNSPECIFIED": 0,
    "AGGREGATION_TEMPORALITY_DELTA": 1,
    "AGGREGATION_TEMPORALITY_CUMULATIVE": 2,
}


class _Object(msgspec.Struct, rename="camel", gc=False):
    pass


class _Buckets(_Object):
    offset: Number = None
    bucket_counts: list[Number] | None = None


class _Quantile(_Object):
    quantile: Number = None
    value: Number = None


class _Point(_Object):
    attributes: Raw = Raw(b"null")
    start_time_unix_nano: Number = None
    time_unix_nano: Number = None
    flags: Number = None


class _NumberPoint(_Point):
    as_double: Number = None
    as_int: Number = None


class _HistogramPoint(_Point):
    count: Number = None
    sum: Number = None
    bucket_counts: list[Number] | None = None
    explicit_bounds: list[Number] | None = None
    min: Number = None
    max: Number = None


class _ExponentialPoint(_Point):
    count: Number = None
    sum: Number = None
    min: Number = None
    max: Number = None
    scale: Number = None
    zero_count: Number = None
    zero_threshold: Number = None
    positive: _Buckets | None = None
    negative: _Buckets | None = None


class _SummaryPoint(_Point):
    count: Number = None
    sum: Number = None
    quantile_values: list[_Quantile] | None = None


class _Gauge(_Object):
    data_points: list[_NumberPoint] | None = None


class _Sum(_Object):
    data_points: list[_NumberPoint] | None = None
    aggregation_temporality: int | float | str | None = None
    is_monotonic: bool | None = None


class _Histogram(_Object):
    data_points: list[_HistogramPoint] | None = None
    aggregation_temporality: int | float | str | None = None


class _Exponential(_Object):
    data_points: list[_ExponentialPoint] | None = None
    aggregation_temporality: int | float | str | None = None


class _Summary(_Object):
    data_points: list[_SummaryPoint] | None = None


class _Metric(_Object):
    name: str | None = None
    unit: str | None = None
    gauge: _Gauge | None = None
    sum: _Sum | None = None
    histogram: _Histogram | None = None
    exponential_histogram: _Exponential | None = None
    summary: _Summary | None = None


class _ScopeMetrics(_Object):
    scope: Raw = Raw(b"null")
    metrics: list[_Metric] | None = None


class _Resource(_Object):
    attributes: Raw = Raw(b"null")


class _ResourceMetrics(_Object):
    resource: _Resource | None = None
    scope_metrics: list[_ScopeMetrics] | None = None


class _Message(_Object):
    resource_metrics: list[_ResourceMetrics] | None = None


_messages = msgspec.json.Decoder(_Message)


def read_plainly(value: bytes) -> Scanned:
    """Read a message with a plain parser and a walk.

    Raises:
        Unreadable: text that is not strict JSON, a key that stands twice, a field that is not what the protocol says.
    """
    if value.count(b"{") > _MOST_OBJECTS:
        raise unreadable("size", f"{_WHAT}: more than {_MOST_OBJECTS} objects in one message")
    with reading(_WHAT, value):
        message = _messages.decode(value)
    refuse_repeated_keys(_WHAT, value)
    return _Walk().walk(message)


class _Walk:
    """Puts a parsed message into the arrays; what they point to is written into a text of its own."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._resources: list[tuple[int, int]] = []
        self._metrics: list[list[int]] = []
        self._points: list[list[int]] = []
        self._values: list[list[float]] = []
        self._counts: list[float] = []
        self._reals: list[float] = []

    def walk(self, message: _Message) -> Scanned:
        for resource in message.resource_metrics or ():
            self._resources.append(self._written(resource.resource.attributes if resource.resource else Raw(b"null")))
            for scope in resource.scope_metrics or ():
                written = self._written(scope.scope)
                for metric in scope.metrics or ():
                    self._metric(metric, written)
        return Scanned(
            padded(bytes(self._text)),
            np.array(self._resources, np.int64).reshape(-1, 2),
            np.array(self._metrics, np.int64).reshape(-1, at.METRIC),
            np.array(self._points, np.int64).reshape(-1, at.POINT),
            np.array(self._values, np.float64).reshape(-1, at.VALUES),
            np.array(self._counts, np.float64),
            np.array(self._reals, np.float64),
        )

    def _written(self, raw: bytes | Raw | None) -> tuple[int, int]:
        if raw is None or bytes(raw) == b"null":
            return 0, 0
        first = len(self._text)
        self._text += bytes(raw)
        return first, len(self._text)

    def _metric(self, metric: _Metric, scope: tuple[int, int]) -> None:
        row = [0] * at.METRIC
        row[at.M_NAME], row[at.M_NAME_STOP] = self._written(None if metric.name is None else encode(metric.name))
        row[at.M_UNIT], row[at.M_UNIT_STOP] = self._written(None if metric.unit is None else encode(metric.unit))
        row[at.M_SCOPE], row[at.M_SCOPE_STOP] = scope
        row[at.M_RESOURCE] = len(self._resources) - 1
        kinds: dict[int, _Gauge | _Sum | _Histogram | _Exponential | _Summary | None] = {
            at.GAUGE: metric.gauge,
            at.SUM: metric.sum,
            at.HISTOGRAM: metric.histogram,
            at.EXPONENTIAL: metric.exponential_histogram,
            at.SUMMARY: metric.summary,
        }
        given = [(kind, data) for kind, data in kinds.items() if data is not None]
        name = metric.name or ""
        if len(given) > 1:
            raise unreadable("value", f"{_WHAT}: metric {name[:80]!r} is of more than one type")
        number = len(self._metrics)
        self._metrics.append(row)
        for kind, data in given:
            row[at.M_TYPE] = kind
            if isinstance(data, _Sum | _Histogram | _Exponential):
                row[at.M_TEMPORALITY] = _temporality(data.aggregation_temporality)
            if isinstance(data, _Sum):
                row[at.M_MONOTONIC] = int(data.is_monotonic or False)
            for point in data.data_points or ():
                try:
                    self._point(point, number)
                except Unreadable as error:
                    raise unreadable(error.kind, f"{_WHAT}: metric {name[:80]!r}: {error}") from None

    def _point(self, point: _Point, metric: int) -> None:
        row, values = [0] * at.POINT, [float("nan")] * 3 + [0.0] * 3
        row[at.P_TIME] = integer("timeUnixNano", point.time_unix_nano, UINT64)
        row[at.P_START] = integer("startTimeUnixNano", point.start_time_unix_nano, UINT64)
        for column in (at.P_TIME, at.P_START):
            # Beyond the year 2262, which no clock means.
            row[column] = min(row[column], INT64[1])
        row[at.P_FLAGS] = integer("flags", point.flags, UINT32)
        row[at.P_FIRST], row[at.P_STOP] = self._written(point.attributes)
        row[at.P_METRIC] = metric
        if isinstance(point, _NumberPoint):
            if point.as_double is not None and point.as_int is not None:
                raise unreadable("value", "a point with `asDouble` and `asInt`")
            if point.as_int is not None:
                values[at.V_VALUE] = float(integer("asInt", point.as_int, INT64))
            else:
                values[at.V_VALUE] = real("asDouble", point.as_double)
        elif isinstance(point, _HistogramPoint | _ExponentialPoint | _SummaryPoint):
            # A summary always has a sum.
            values[at.V_VALUE] = (zero if isinstance(point, _SummaryPoint) else real)("sum", point.sum)
            values[at.V_COUNT] = float(integer("count", point.count, UINT64))
        if isinstance(point, _HistogramPoint | _ExponentialPoint):
            values[at.V_MIN], values[at.V_MAX] = real("min", point.min), real("max", point.max)
        if isinstance(point, _HistogramPoint):
            row[at.P_COUNTS], row[at.P_COUNTS_STOP] = self._counted(point.bucket_counts)
            row[at.P_BOUNDS] = len(self._reals)
            self._reals += [item("explicitBounds", bound) for bound in point.explicit_bounds or ()]
            row[at.P_BOUNDS_STOP] = len(self._reals)
        elif isinstance(point, _ExponentialPoint):
            row[at.P_SCALE] = integer("scale", point.scale, INT32)
            values[at.V_ZEROS] = float(integer("zeroCount", point.zero_count, UINT64))
            values[at.V_ZERO_THRESHOLD] = zero("zeroThreshold", point.zero_threshold)
            if point.positive is not None:
                row[at.P_OFFSET] = integer("offset", point.positive.offset, INT32)
                row[at.P_COUNTS], row[at.P_COUNTS_STOP] = self._counted(point.positive.bucket_counts)
            if point.negative is not None:
                row[at.P_BELOW_OFFSET] = integer("offset", point.negative.offset, INT32)
                row[at.P_BELOW], row[at.P_BELOW_STOP] = self._counted(point.negative.bucket_counts)
        elif isinstance(point, _SummaryPoint):
            row[at.P_BOUNDS] = len(self._reals)
            for each in point.quantile_values or ():
                self._reals += [zero("quantile", each.quantile), zero("value", each.value)]
            row[at.P_BOUNDS_STOP] = len(self._reals)
        left_out = row[at.P_FLAGS] & 1 or (isinstance(point, _NumberPoint) and not math.isfinite(values[at.V_VALUE]))
        if not row[at.P_TIME] and not left_out:
            raise unreadable("time", "a point without `timeUnixNano`")
        self._points.append(row)
        self._values.append(values)

    def _counted(self, counts: list[Number] | None) -> tuple[int, int]:
        first = len(self._counts)
        for count in counts or ():
            if count is None:
                raise unreadable("type", "`bucketCounts` has a null")
            self._counts.append(float(integer("bucketCounts", count, UINT64)))
        return first, len(self._counts)


def _temporality(value: int | float | str | None) -> int:
    if isinstance(value, str) and not value.isdecimal():
        if value not in _TEMPORALITIES:
            raise unreadable("value", f"{_WHAT}: `aggregationTemporality` {value[:60]!r} is none of the protocol's")
        return _TEMPORALITIES[value]
    return integer("aggregationTemporality", value, INT32)

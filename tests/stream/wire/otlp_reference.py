"""OTLP metrics read the slow and obvious way, with opentelemetry-proto's own classes: what the scanner must equal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from deploy.times import EARLIEST_MS, LATEST_MS
from stream.columns import MetricKind, SeriesKey
from stream.errors import Unreadable
from stream.wire.otel_names import attribute_text, key_of, resource_of

Sample = tuple[SeriesKey, int, float]
_COUNTED = ("histogram", "exponential_histogram", "summary")


def read(value: bytes, buckets_of: frozenset[str] = frozenset()) -> list[Sample]:
    """Every sample of the message; `Unreadable` where the scanner must refuse it too."""
    request = ExportMetricsServiceRequest()
    try:
        request.ParseFromString(value)
    except DecodeError:
        raise Unreadable("syntax", "protobuf refuses it") from None
    told = list(_samples(request, buckets_of))
    return [(key, time, value) for key, time, value, _ in told] + _restarts(told)


def _restarts(told: list[tuple[SeriesKey, int, float, int]]) -> list[Sample]:
    """The zeros of counters that began anew between two of their samples."""
    begun: dict[SeriesKey, tuple[int, int]] = {}
    zeros = []
    for key, time, _, start in told:
        if key.kind is MetricKind.CUMULATIVE and EARLIEST_MS <= start <= time:
            since, last = begun.get(key, (0, 0))
            if start > since and start >= last:
                if since and start < time:
                    zeros.append((key, start, 0.0))
                since = start
            begun[key] = since, max(last, time)
    return zeros


def _samples(request: Any, buckets_of: frozenset[str]) -> Iterator[tuple[SeriesKey, int, float, int]]:
    for block in request.resource_metrics:
        resource = resource_of(_attributes(block.resource.attributes))
        for scoped in block.scope_metrics:
            for metric in scoped.metrics:
                member = metric.WhichOneof("data")
                if member is None:
                    continue
                data = getattr(metric, member)
                for point in data.data_points:
                    value = _value(point, member)
                    if value is None or point.flags & 1:
                        continue
                    time = point.time_unix_nano // 1_000_000
                    if not EARLIEST_MS <= time < LATEST_MS:
                        raise Unreadable("time", "a time that cannot be")
                    key = key_of(
                        resource,
                        metric.name,
                        metric.unit,
                        _kind(data, member),
                        _attributes(point.attributes),
                        scoped.scope.name,
                        "count" if member in _COUNTED else "",
                    )
                    start = point.start_time_unix_nano // 1_000_000
                    yield key, time, value, start
                    if member in _COUNTED:
                        for part, told in _parts(key, point, member, buckets_of):
                            yield part, time, told, start


def _value(point: Any, member: str) -> float | None:
    if member in _COUNTED:
        return float(point.count)
    which = point.WhichOneof("value")
    value = float(getattr(point, which)) if which else math.nan
    return value if math.isfinite(value) else None


def _kind(data: Any, member: str) -> MetricKind:
    delta = member != "summary" and member != "gauge" and data.aggregation_temporality == 1
    if member == "gauge" or (member == "sum" and not delta and not data.is_monotonic):
        return MetricKind.GAUGE
    return MetricKind.DELTA if delta else MetricKind.CUMULATIVE


def _parts(key: SeriesKey, point: Any, member: str, buckets_of: frozenset[str]) -> Iterator[tuple[SeriesKey, float]]:
    from msgspec.structs import replace

    # A sum may be missing; that of a summary is then zero, as its field has no presence.
    if (member == "summary" or point.HasField("sum")) and math.isfinite(point.sum):
        yield replace(key, part="sum"), point.sum
    if member == "summary":
        for quantile in point.quantile_values:
            if 0 <= quantile.quantile <= 1 and math.isfinite(quantile.value):
                name = f"{key.metric}.p{100 * quantile.quantile + 0.0:g}"
                yield replace(key, metric=name, kind=MetricKind.GAUGE, part=""), quantile.value
    elif key.metric in buckets_of:
        for bound, below in _explicit(point) if member == "histogram" else _exponential(point):
            yield replace(key, part=f"{'le' if member == 'histogram' else 'to'} {bound!r}"), below


def _explicit(point: Any) -> list[tuple[float, float]]:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    ascending = all(low < high for low, high in pairwise(bounds))
    if len(counts) != len(bounds) + 1 or not ascending or not all(map(math.isfinite, bounds)):
        return []
    found, below = [], 0.0
    for bound, count in zip(bounds, counts, strict=False):
        below += count
        found.append((bound, below))
    return found


def _exponential(point: Any) -> list[tuple[float, float]]:
    """How many values are at or below each bound, with at most four bounds an octave."""
    below = float(point.zero_count) + sum(map(float, point.negative.bucket_counts))
    counts = list(point.positive.bucket_counts)
    shift = max(0, point.scale - 2)
    merged: dict[int, float] = {}
    for place, count in enumerate(counts, point.positive.offset):
        merged[place >> shift] = merged.get(place >> shift, 0.0) + count
    found = []
    if merged:
        found.append((min(merged), below))
    for place, count in sorted(merged.items()):
        below += count
        found.append((place + 1, below))
    bounds = [(_power(place * 2.0 ** -(point.scale - shift)), told) for place, told in found]
    return [(bound, told) for bound, told in bounds if 0 < bound < math.inf]


def _power(exponent: float) -> float:
    try:
        return float(2.0**exponent)
    except OverflowError:
        return math.inf


def _attributes(pairs: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        value = _any(pair.value)
        found.pop(pair.key, None)
        if value is not None:
            found[pair.key] = attribute_text(value)
    return found


def _any(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None or which == "string_value_strindex":
        return None
    told = getattr(value, which)
    if which == "array_value":
        return [_inner(one) for one in told.values]
    if which == "kvlist_value":
        return {pair.key: _inner(pair.value) for pair in told.values}
    return told


def _inner(value: Any) -> Any:
    told = _any(value)
    if isinstance(told, bytes) or (isinstance(told, float) and not math.isfinite(told)):
        return attribute_text(told)
    return told

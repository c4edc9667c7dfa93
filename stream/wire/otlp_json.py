"""OTLP metrics as JSON, as the Collector's Kafka exporter writes them with `encoding: otlp_json`."""

from __future__ import annotations

import msgspec
import numpy as np

from stream.cloudevents import Event, is_json
from stream.columns import Columns, MetricKind, SeriesKey
from stream.json_text import check_size, reading
from stream.series_ids import REFUSED, UNKNOWN, SeriesIds
from stream.wire import otlp_json_scan as at
from stream.wire.json_sniff import Shape, shape_of
from stream.wire.otlp_attributes import attribute_texts, otlp_key
from stream.wire.otlp_json_arrays import OtlpJsonReader, Scanned
from stream.wire.otlp_json_plain import read_plainly
from stream.wire.rows import check_times

_WHAT = "otlp json"
_NS_IN_MS = 1_000_000
_strings = msgspec.json.Decoder(str)


class OtlpJson:
    name = "otlp-json"

    def __init__(self) -> None:
        self._reader = OtlpJsonReader()

    def accepts(self, event: Event, topic: str) -> bool:
        return is_json(event.content_type) and shape_of(event.data) is Shape.OTLP

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        return _columns(self._reader.scan(value) or read_plainly(value), ids)


def _columns(scanned: Scanned, ids: SeriesIds) -> Columns:
    points, values = scanned.points, scanned.values[:, at.V_VALUE]
    kinds = scanned.metrics[points[:, at.P_METRIC], at.M_TYPE]
    # A flag says that nothing was recorded.
    there = (kinds <= at.SUM) & (points[:, at.P_FLAGS] & 1 == 0) & np.isfinite(values)
    if not there.all():
        points, values = points[there], values[there]
    times = points[:, at.P_TIME] // _NS_IN_MS
    check_times(_WHAT, times)
    hi, lo = np.empty(len(points), np.uint64), np.empty(len(points), np.uint64)
    at.identify(scanned.text, ids.seed, scanned.resources, scanned.metrics, points, len(points), hi, lo)
    series = ids.lookup(hi, lo)
    unknown = np.flatnonzero(series == UNKNOWN)
    if len(unknown):
        names = _Names(scanned)
        for row in unknown.tolist():
            series[row] = ids.add(int(hi[row]), int(lo[row]), names.key(points[row].tolist()))
    wanted = series != REFUSED
    if not wanted.all():
        series, times, values = series[wanted], times[wanted], values[wanted]
    return Columns(keys=ids.keys, series=series, times=times, values=values)


class _Names:
    """Reads the bytes that name series."""

    def __init__(self, scanned: Scanned) -> None:
        self._text = scanned.text.tobytes()
        self._resources = scanned.resources.tolist()
        self._metrics = scanned.metrics.tolist()
        self._known: dict[int, dict[str, str]] = {}

    def key(self, point: list[int]) -> SeriesKey:
        metric = self._metrics[point[at.P_METRIC]]
        resource = self._known.get(metric[at.M_RESOURCE])
        if resource is None:
            first, stop = self._resources[metric[at.M_RESOURCE]]
            resource = self._known[metric[at.M_RESOURCE]] = attribute_texts(_WHAT, self._text[first:stop])
        return otlp_key(
            _WHAT,
            resource,
            attribute_texts(_WHAT, self._text[point[at.P_FIRST] : point[at.P_STOP]]),
            _string(self._text[metric[at.M_NAME] : metric[at.M_NAME_STOP]]),
            _string(self._text[metric[at.M_UNIT] : metric[at.M_UNIT_STOP]]),
            _kind(metric),
        )


def _string(raw: bytes) -> str:
    with reading(_WHAT, raw):
        return _strings.decode(raw) if raw else ""


def _kind(metric: list[int]) -> MetricKind:
    """What a sum is depends on how it counts; one that may fall is a level."""
    if metric[at.M_TYPE] == at.SUM:
        if metric[at.M_TEMPORALITY] == 1:
            return MetricKind.DELTA
        if metric[at.M_TEMPORALITY] == 2 and metric[at.M_MONOTONIC]:
            return MetricKind.CUMULATIVE
    return MetricKind.GAUGE

"""OTLP metrics as JSON, as the Collector's Kafka exporter writes them with `encoding: otlp_json`.

Like the decoder of protobuf (`stream/wire/otlp_protobuf.py`) it keeps nothing: histograms leave it as counts, sums and
buckets, counters as they are.
"""

from __future__ import annotations

import msgspec
import numpy as np

from stream.cloudevents import Event, is_json
from stream.columns import Columns, Int64, MetricKind, SeriesKey
from stream.json_text import check_size, reading
from stream.series_ids import SeriesIds
from stream.wire import otlp_json_scan as at
from stream.wire.json_sniff import Shape, shape_of
from stream.wire.otel_names import key_of, resource_of
from stream.wire.otlp_attributes import attribute_texts
from stream.wire.otlp_json_arrays import OtlpJsonReader, Scanned
from stream.wire.otlp_json_parts import expand
from stream.wire.otlp_json_plain import read_plainly
from stream.wire.otlp_points import Metric, Parts, Points
from stream.wire.rows import check_times

_WHAT = "otlp json"
_DELTA, _NS_IN_MS = 1, 1_000_000


class OtlpJson:
    name = "otlp-json"

    def __init__(self) -> None:
        self._reader = OtlpJsonReader()

    def accepts(self, event: Event, topic: str) -> bool:
        return is_json(event.content_type) and shape_of(event.data) is Shape.OTLP

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        return _Message(self._reader.scan(value) or read_plainly(value), ids).columns()


class _Scope(msgspec.Struct, gc=False):
    name: str | None = None


_scopes = msgspec.json.Decoder(_Scope | None)
_strings = msgspec.json.Decoder(str)


class _Message:
    """One message on its way to columns."""

    def __init__(self, scanned: Scanned, ids: SeriesIds) -> None:
        self._scanned, self._ids = scanned, ids
        points, values = scanned.points, scanned.values
        kinds = scanned.metrics[points[:, at.P_METRIC], at.M_TYPE]
        # Of a histogram or a summary the count is the value that it always has.
        told = np.where(kinds > at.SUM, values[:, at.V_COUNT], values[:, at.V_VALUE])
        # A flag says that nothing was recorded.
        there = (points[:, at.P_FLAGS] & 1 == 0) & np.isfinite(told)
        if not there.all():
            points, values, kinds, told = points[there], values[there], kinds[there], told[there]
        self._rows, self._reals, self._kinds = points, values, kinds
        times, starts = points[:, at.P_TIME] // _NS_IN_MS, points[:, at.P_START] // _NS_IN_MS
        check_times(_WHAT, times)
        hi, lo = np.empty(len(points), np.uint64), np.empty(len(points), np.uint64)
        with np.errstate(over="ignore"):
            at.identify(scanned.text, ids.seed, scanned.resources, scanned.metrics, points, len(points), hi, lo)
        metrics = scanned.metrics
        counter = (metrics[:, at.M_TYPE] >= at.HISTOGRAM) | (metrics[:, at.M_MONOTONIC] != 0)
        counter &= metrics[:, at.M_TEMPORALITY] != _DELTA
        self._points = Points(
            hi=hi,
            lo=lo,
            times=times,
            starts=np.where(counter[points[:, at.P_METRIC]], starts, 0),
            values=told,
            sums=values[:, at.V_VALUE],
            counted=kinds >= at.HISTOGRAM,
            exponential=kinds == at.EXPONENTIAL,
            summaries=kinds == at.SUMMARY,
        )
        self._known: dict[int, Metric] = {}
        self._text: bytes | None = None

    def columns(self) -> Columns:
        return self._points.columns(self._ids, self)

    def key(self, place: int, part: str) -> SeriesKey:
        metric = self._metric(int(self._rows[place, at.P_METRIC]))
        attributes = attribute_texts(_WHAT, self._bytes(self._rows[place], at.P_FIRST))
        return key_of(metric.resource, metric.name, metric.unit, metric.kind, attributes, metric.scope, part)

    def parts(self, chosen: Int64) -> Parts:
        rows, points = self._rows[chosen], self._points
        lengths = rows[:, [at.P_BOUNDS_STOP, at.P_COUNTS_STOP]] - rows[:, [at.P_BOUNDS, at.P_COUNTS]]
        room = int((lengths.sum(axis=1) + 1).sum())
        hi, lo, of = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
        places, told = np.empty(room), np.empty(room)
        with np.errstate(over="ignore"):
            count = expand(
                chosen, self._kinds, self._rows, self._reals, self._scanned.counts, self._scanned.reals, points.hi,
                points.lo, self._ids.seed, hi, lo, of, places, told,
            )  # fmt: skip
        return Parts(of[:count], hi[:count], lo[:count], places[:count], told[:count])

    def _metric(self, row: int) -> Metric:
        known = self._known.get(row)
        if known is None:
            metric = self._scanned.metrics[row]
            resource = self._bytes(self._scanned.resources[metric[at.M_RESOURCE]], at.R_FIRST)
            name, unit = self._bytes(metric, at.M_NAME), self._bytes(metric, at.M_UNIT)
            scope = self._bytes(metric, at.M_SCOPE)
            with reading(_WHAT, scope):
                told = _scopes.decode(scope) if scope else None
            with reading(_WHAT, name):
                known = self._known[row] = Metric(
                    resource_of(attribute_texts(_WHAT, resource)),
                    (told.name if told else "") or "",
                    _strings.decode(name) if name else "",
                    _strings.decode(unit) if unit else "",
                    _kind(metric),
                )
        return known

    def _bytes(self, row: Int64, column: int) -> bytes:
        """What stands in the message from the place in one column to that in the next."""
        if self._text is None:
            self._text = self._scanned.text.tobytes()
        return self._text[int(row[column]) : int(row[column + 1])]


def _kind(metric: Int64) -> MetricKind:
    """What a metric's numbers are: a sum that is cumulative and may fall is a level."""
    if metric[at.M_TYPE] == at.GAUGE:
        return MetricKind.GAUGE
    if metric[at.M_TEMPORALITY] == _DELTA:
        return MetricKind.DELTA
    if metric[at.M_TYPE] == at.SUM and not metric[at.M_MONOTONIC]:
        return MetricKind.GAUGE
    return MetricKind.CUMULATIVE

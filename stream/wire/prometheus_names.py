"""How Prometheus' names become those of a series: which are counters, and which are pieces of a histogram.

Without a word on its type a name says it by its end, as `_total` does. `_bucket`, `_count` and `_sum` are a classic
histogram's, the last two also a summary's: they are its parts here as in any other format, so that `NAME.count`,
`NAME.mean`, `NAME.p99` and `NAME.over_0.5` stand for the same whatever the telemetry came in.
Source: prometheus.io/docs/practices/naming, /docs/concepts/metric_types.
"""

from __future__ import annotations

import math

import msgspec

from stream.columns import MetricKind, SeriesKey
from stream.histograms import COUNT, LE, SUM
from stream.wire.tags import PROMETHEUS_SERVICE, tagged_key

#: Types of metrics as remote write 2.0 numbers them.
UNSPECIFIED, COUNTER, GAUGE, HISTOGRAM, GAUGE_HISTOGRAM, SUMMARY = range(6)
NAME = "__name__"
_BOUND = "le"
_PARTS = {"_count": COUNT, "_sum": SUM}


def prometheus_key(what: str, labels: dict[str, str], kind: int = UNSPECIFIED, unit: str = "") -> SeriesKey:
    """The key of a sample with these labels, its name among them.

    Raises:
        Unreadable: no name, or too many labels.
    """
    tags = dict(labels)
    key = tagged_key(what, tags.pop(NAME, ""), tags, PROMETHEUS_SERVICE)
    key = msgspec.structs.replace(key, unit=unit, kind=_kind(key.metric, kind))
    if kind not in (UNSPECIFIED, HISTOGRAM, SUMMARY):
        return key
    bound = _bound(tags.get(_BOUND, ""))
    if key.metric.endswith("_bucket") and bound is not None:
        rest = tuple(pair for pair in key.attributes if pair[0] != _BOUND)
        return _part(key, "_bucket", f"{LE}{bound!r}", rest)
    for end, part in _PARTS.items():
        if key.metric.endswith(end):
            return _part(key, end, part, key.attributes)
    return key


def _part(key: SeriesKey, end: str, part: str, attributes: tuple[tuple[str, str], ...]) -> SeriesKey:
    metric = key.metric.removesuffix(end)
    if not metric:
        return key
    return msgspec.structs.replace(key, metric=metric, part=part, attributes=attributes, kind=MetricKind.CUMULATIVE)


def _kind(metric: str, kind: int) -> MetricKind:
    if kind == UNSPECIFIED:
        return MetricKind.CUMULATIVE if metric.endswith(("_total", "_count", "_sum", "_bucket")) else MetricKind.GAUGE
    counts = kind == COUNTER or (kind in (HISTOGRAM, SUMMARY) and metric.endswith(("_count", "_sum", "_bucket")))
    return MetricKind.CUMULATIVE if counts else MetricKind.GAUGE


def _bound(text: str) -> float | None:
    """The number that a label `le` says, None where it is none."""
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound

"""Hypothesis strategies for OTLP metrics, made with opentelemetry-proto's own classes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

NOON_NS = 1_795_262_400_000_000_000
NAMES = ("http.server.request.duration", "rpc.client.duration", "queue.depth", "é", "x" * 40)

names = st.sampled_from(NAMES)
texts = st.sampled_from(["", "checkout", "v2", "/api/v1/items", "GET", "ü", "x" * 200]) | st.text(max_size=6)
floats = st.floats(width=64)
counts = st.integers(0, 2**40)
times = st.integers(0, 3_600_000).map(lambda ms: NOON_NS + ms * 1_000_000 + 7)


def _set(value: AnyValue, which: str, told: Any) -> AnyValue:
    if which in ("array_value", "kvlist_value"):
        getattr(value, which).CopyFrom(told)
    else:
        setattr(value, which, told)
    return value


def _any(which: str, told: st.SearchStrategy[Any]) -> st.SearchStrategy[AnyValue]:
    return told.map(lambda one: _set(AnyValue(), which, one))


def pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[KeyValue]:
    keys = st.sampled_from(
        ["service.name", "service.version", "service.instance.id", "deployment.environment.name", "host.name",
         "k8s.pod.name", "http.route", "region", ""]
    ) | texts  # fmt: skip
    return st.builds(KeyValue, key=keys, value=values)


plain = st.one_of(
    st.builds(AnyValue),
    _any("string_value", texts),
    _any("bool_value", st.booleans()),
    _any("int_value", st.integers(-(2**63), 2**63 - 1)),
    _any("double_value", floats),
    _any("bytes_value", st.binary(max_size=5)),
)
any_values = st.recursive(
    plain,
    lambda inner: (
        _any("array_value", st.lists(inner, max_size=3).map(lambda values: ArrayValue(values=values)))
        | _any("kvlist_value", st.lists(pairs(inner), max_size=3).map(lambda values: KeyValueList(values=values)))
    ),
    max_leaves=4,
)
attributes = st.lists(pairs(any_values), max_size=4)
exemplar = st.builds(
    pb.Exemplar, filtered_attributes=attributes, time_unix_nano=times, as_double=floats, trace_id=st.binary(max_size=16)
)
exemplars = st.lists(exemplar, max_size=1)
flags = st.sampled_from([0, 0, 0, 1, 2, 3])
temporality = st.sampled_from([0, 1, 2, 2])
basis = {"attributes": attributes, "start_time_unix_nano": st.just(0) | times, "time_unix_nano": times, "flags": flags}

numbers = st.one_of(
    st.builds(pb.NumberDataPoint, **basis, as_double=floats, exemplars=exemplars),
    st.builds(pb.NumberDataPoint, **basis, as_int=st.integers(-(2**63), 2**63 - 1)),
    st.builds(pb.NumberDataPoint, **basis),
)
bounds = st.lists(st.floats(0.001, 100), max_size=5).map(sorted) | st.lists(floats, max_size=3)
explicit = st.builds(
    pb.HistogramDataPoint, **basis, count=counts, sum=st.none() | floats, bucket_counts=st.lists(counts, max_size=6),
    explicit_bounds=bounds, exemplars=exemplars, min=st.none() | floats, max=st.none() | floats,
) | bounds.flatmap(
    lambda given: st.builds(
        pb.HistogramDataPoint, **basis, count=counts, sum=st.none() | floats, explicit_bounds=st.just(given),
        bucket_counts=st.lists(counts, min_size=len(given) + 1, max_size=len(given) + 1),
    )
)  # fmt: skip
sides = st.builds(
    pb.ExponentialHistogramDataPoint.Buckets, offset=st.integers(-300, 300), bucket_counts=st.lists(counts, max_size=12)
)
exponential = st.builds(
    pb.ExponentialHistogramDataPoint, **basis, count=counts, sum=st.none() | floats, scale=st.integers(-10, 20),
    zero_count=counts, positive=sides, negative=st.none() | sides, exemplars=exemplars, zero_threshold=floats,
)  # fmt: skip
quantiles = st.builds(
    pb.SummaryDataPoint.ValueAtQuantile, quantile=st.sampled_from([0.0, 0.5, 0.99, 0.999, 1.0]) | floats, value=floats
)
summaries = st.builds(
    pb.SummaryDataPoint, **basis, count=counts, sum=floats, quantile_values=st.lists(quantiles, max_size=3)
)


def _points(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, max_size=4)


named = {"name": names, "unit": st.sampled_from(["", "s", "By"]), "description": texts, "metadata": attributes}
metrics = st.one_of(
    st.builds(pb.Metric, **named),
    st.builds(pb.Metric, **named, gauge=st.builds(pb.Gauge, data_points=_points(numbers))),
    st.builds(pb.Metric, **named, sum=st.builds(
        pb.Sum, data_points=_points(numbers), aggregation_temporality=temporality, is_monotonic=st.booleans())),
    st.builds(pb.Metric, **named, histogram=st.builds(
        pb.Histogram, data_points=_points(explicit), aggregation_temporality=temporality)),
    st.builds(pb.Metric, **named, exponential_histogram=st.builds(
        pb.ExponentialHistogram, data_points=_points(exponential), aggregation_temporality=temporality)),
    st.builds(pb.Metric, **named, summary=st.builds(pb.Summary, data_points=_points(summaries))),
)  # fmt: skip
scopes = st.builds(
    InstrumentationScope, name=st.sampled_from(["", "io.opentelemetry.http"]), version=texts, attributes=attributes
)
scoped = st.builds(pb.ScopeMetrics, scope=scopes, metrics=st.lists(metrics, max_size=3), schema_url=texts)
resources = st.builds(Resource, attributes=attributes)
blocks = st.builds(pb.ResourceMetrics, resource=resources, scope_metrics=st.lists(scoped, max_size=2), schema_url=texts)
requests = st.builds(ExportMetricsServiceRequest, resource_metrics=st.lists(blocks, max_size=3))

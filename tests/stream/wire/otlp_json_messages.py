"""OTLP JSON for tests: messages of every shape that the protocol allows, and what protobuf's own reader says of one."""

from __future__ import annotations

import json
import math
from typing import Any

from google.protobuf import json_format
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from stream.wire import otlp_json_scan as at
from stream.wire.otlp_json_arrays import Scanned

T0 = 1_795_255_048_998_107_817
KINDS = {
    0: "",
    at.GAUGE: "gauge",
    at.SUM: "sum",
    at.HISTOGRAM: "histogram",
    at.EXPONENTIAL: "exponential_histogram",
    at.SUMMARY: "summary",
}


def reference(text: bytes) -> list[list[Any]]:
    """Each point as protobuf's reader of JSON has it; raises `json_format.ParseError`, or what it forgot to catch."""
    message = json_format.Parse(text.decode(), MetricsData(), ignore_unknown_fields=True)
    rows = []
    for resource in message.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind) if kind else None
                found = data.data_points if data else ()
                rows += [_of_protobuf(resource, scope, metric, kind, data, point) for point in found]
    return rows


def _of_protobuf(resource: Any, scope: Any, metric: Any, kind: str, data: Any, point: Any) -> list[Any]:
    def optional(field: str) -> float:
        return getattr(point, field) if field in point.DESCRIPTOR.fields_by_name and point.HasField(field) else math.nan

    row = [
        [json_format.MessageToDict(pair) for pair in resource.resource.attributes],
        scope.scope.name,
        metric.name,
        metric.unit,
        kind,
        getattr(data, "aggregation_temporality", 0),
        getattr(data, "is_monotonic", False),
        [json_format.MessageToDict(pair) for pair in point.attributes],
        point.time_unix_nano,
        point.start_time_unix_nano,
        point.flags,
    ]
    if kind in ("gauge", "sum"):
        given = point.WhichOneof("value")
        return [*row, float(getattr(point, given)) if given else math.nan]
    row += [point.sum if kind == "summary" else optional("sum"), optional("min"), optional("max")]
    row += [float(getattr(point, field, 0)) for field in ("count", "zero_count", "zero_threshold")]
    if kind == "summary":
        pairs = [number for pair in point.quantile_values for number in (pair.quantile, pair.value)]
        return [*row, pairs, [], [], 0, 0, 0]
    if kind == "histogram":
        return [*row, list(point.explicit_bounds), [*map(float, point.bucket_counts)], [], 0, 0, 0]
    sides = [[*map(float, side.bucket_counts)] for side in (point.positive, point.negative)]
    return [*row, [], *sides, point.scale, point.positive.offset, point.negative.offset]


def told(scanned: Scanned) -> list[list[Any]]:
    """Each point as the arrays have it, in the form of `reference`."""
    text = scanned.text.tobytes()

    def parsed(first: int, stop: int, missing: Any) -> Any:
        return json.loads(text[first:stop]) if stop > first else missing

    def pairs(first: int, stop: int) -> Any:
        raw = parsed(first, stop, [])
        return [json_format.MessageToDict(json_format.ParseDict(pair, KeyValue(), True)) for pair in raw]

    rows = []
    for point, values in zip(scanned.points.tolist(), scanned.values.tolist(), strict=True):
        metric = scanned.metrics[point[at.P_METRIC]].tolist()
        kind = KINDS[metric[at.M_TYPE]]
        row = [
            pairs(*scanned.resources[metric[at.M_RESOURCE]].tolist()),
            (parsed(metric[at.M_SCOPE], metric[at.M_SCOPE_STOP], {}) or {}).get("name") or "",
            parsed(metric[at.M_NAME], metric[at.M_NAME_STOP], ""),
            parsed(metric[at.M_UNIT], metric[at.M_UNIT_STOP], ""),
            kind,
            metric[at.M_TEMPORALITY],
            bool(metric[at.M_MONOTONIC]),
            pairs(point[at.P_FIRST], point[at.P_STOP]),
            point[at.P_TIME],
            point[at.P_START],
            point[at.P_FLAGS],
            values[at.V_VALUE],
        ]
        if kind not in ("gauge", "sum"):
            row += values[1:]
            row.append(scanned.reals[point[at.P_BOUNDS] : point[at.P_BOUNDS_STOP]].tolist())
            row.append(scanned.counts[point[at.P_COUNTS] : point[at.P_COUNTS_STOP]].tolist())
            row.append(scanned.counts[point[at.P_BELOW] : point[at.P_BELOW_STOP]].tolist())
            row += point[at.P_SCALE :]
        rows.append(row)
    return rows


def same(a: list[list[Any]], b: list[list[Any]]) -> bool:
    """Equal, bit for bit, NaN equal to itself."""
    return repr(a) == repr(b)


doubles = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 123456789012345678, "NaN", "Infinity", "-Infinity"]
    )
    | st.integers(-(10**18), 10**18)
)
naturals = st.integers(0, 2**63 - 2) | st.integers(0, 300)
signed = st.integers(-(2**31), 2**31 - 1) | st.integers(-20, 20)
texts = st.text(max_size=12) | st.sampled_from(["service.name", "checkout", 'a\\b"c', "é", "\u0000", "𝄞"])
odd_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | doubles | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def _either(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int | str]:
    return numbers.flatmap(lambda number: st.sampled_from([number, str(number)]))


any_values = st.recursive(
    st.fixed_dictionaries({"stringValue": texts})
    | st.fixed_dictionaries({"boolValue": st.booleans()})
    | st.fixed_dictionaries({"intValue": _either(st.integers(-(2**63), 2**63 - 1))})
    | st.fixed_dictionaries({"doubleValue": doubles})
    | st.fixed_dictionaries({"bytesValue": st.just("aGk=")})
    | st.just({}),
    lambda inner: (
        st.builds(lambda values: {"arrayValue": {"values": values}}, st.lists(inner, max_size=2))
        | st.builds(lambda value: {"kvlistValue": {"values": [{"key": "k", "value": value}]}}, inner)
    ),
    max_leaves=3,
)
attributes = st.lists(st.fixed_dictionaries({"key": texts, "value": any_values}), max_size=3)
times = st.integers(T0, T0 + 10**12)
times = _either(times) | _either(st.integers(1, 2**63 - 2))
unknown = st.fixed_dictionaries({}, optional={"somethingNew": odd_json, "too": odd_json})
exemplars = st.lists(
    st.fixed_dictionaries(
        {"timeUnixNano": times, "asDouble": doubles, "traceId": st.just("0af7651916cd43dd8448eb211c80319c")},
        optional={"spanId": st.just("b7ad6b7169203331"), "filteredAttributes": attributes},
    ),
    max_size=2,
)


def _object(draw: st.DrawFn, **optional: Any) -> dict[str, Any]:
    """An object with some of its fields in any order, nulls and unknown ones among them."""
    given = {field: draw(strategy) for field, strategy in optional.items() if draw(st.integers(0, 9)) < 8}
    if draw(st.integers(0, 9)) == 0:
        given |= {name: value for name, value in draw(unknown).items() if name not in given}
    if given and draw(st.integers(0, 149)) == 0:
        given[draw(st.sampled_from(sorted(given)))] = None
    return {field: given[field] for field in draw(st.permutations(sorted(given)))}


@st.composite
def points(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "attributes": attributes,
        "startTimeUnixNano": times,
        "flags": _either(st.integers(0, 3)),
    }
    if kind in ("gauge", "sum"):
        name, value = draw(
            st.sampled_from([("asDouble", doubles), ("asInt", _either(st.integers(-(2**63) + 2, 2**62)))])
        )
        fields[name] = value
    else:
        fields |= {"count": _either(naturals), "sum": doubles}
    if kind in ("histogram", "exponentialHistogram"):
        fields |= {"min": doubles, "max": doubles, "exemplars": exemplars}
    if kind == "histogram":
        fields |= {
            "bucketCounts": st.lists(_either(naturals), max_size=5),
            "explicitBounds": st.lists(doubles, max_size=5),
        }
    if kind == "exponentialHistogram":
        fields |= {"scale": _either(signed), "zeroCount": _either(naturals), "zeroThreshold": doubles}
        fields |= {"positive": buckets(), "negative": buckets()}
    if kind == "summary":
        fields["quantileValues"] = st.lists(_quantiles(), max_size=3)
    point = _object(draw, **fields)
    point["timeUnixNano"] = draw(times)
    return point


@st.composite
def buckets(draw: st.DrawFn) -> dict[str, Any]:
    return _object(draw, offset=_either(signed), bucketCounts=st.lists(_either(naturals), max_size=5))


@st.composite
def _quantiles(draw: st.DrawFn) -> dict[str, Any]:
    return _object(draw, quantile=doubles, value=doubles)


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponentialHistogram", "summary"]))
    fields: dict[str, Any] = {"dataPoints": st.lists(points(kind), max_size=3)}
    if kind not in ("gauge", "summary"):
        names = ["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA"]
        fields["aggregationTemporality"] = st.sampled_from([0, 1, 2, 1, 2, *names, 7])
    if kind == "sum":
        fields["isMonotonic"] = st.booleans()
    data = {kind: st.just(_object(draw, **fields))}
    return _object(draw, name=texts, unit=texts, description=texts, **data)


scopes_named = st.fixed_dictionaries({}, optional={"name": texts, "version": texts, "attributes": attributes})


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    resources = []
    for _ in range(draw(st.integers(1, 2))):
        scopes = [
            _object(draw, scope=scopes_named, metrics=st.lists(metrics(), max_size=3))
            for _ in range(draw(st.integers(0, 2)))
        ]
        resource = st.just(_object(draw, attributes=attributes))
        resources.append(_object(draw, resource=resource, scopeMetrics=st.just(scopes), schemaUrl=texts))
    return {"resourceMetrics": resources} | draw(unknown)


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """A message as bytes, compact or not, ASCII or not."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    return json.dumps(draw(messages()), separators=separators, ensure_ascii=draw(st.booleans())).encode()

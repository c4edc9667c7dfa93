"""Messages of telemetry for the bench of decoders: 500 points of 3 attributes each, or another number."""

from __future__ import annotations

import json
import random
from typing import Any

import cramjam
from google.protobuf import json_format
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from tests.stream.wire.prometheus_protobuf import ONE, TWO

START_NS = 1_795_255_048_998_107_817
METHODS = ("GET", "POST")
BOUNDS = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000]


def otlp_json(points: int, seed: int = 1) -> bytes:
    """Gauges of ten metrics, as the Collector writes them."""
    dice = random.Random(seed)
    metrics = []
    for metric in range(10):
        rows = [
            {
                "attributes": [_text(name, value) for name, value in _attributes(number)],
                "startTimeUnixNano": str(START_NS - 10**10),
                "timeUnixNano": str(START_NS + dice.randrange(10**9)),
                "asDouble": dice.random() * 100,
            }
            for number in range(points // 10)
        ]
        metrics.append({"name": f"http.server.m{metric}", "unit": "s", "gauge": {"dataPoints": rows}})
    return _of_resource(metrics)


def otlp_json_histograms(points: int, seed: int = 1) -> bytes:
    """Histograms of ten metrics with the fifteen bounds that OpenTelemetry's SDKs begin with."""
    dice = random.Random(seed)
    metrics = []
    for metric in range(10):
        rows = []
        for number in range(points // 10):
            counts = [dice.randrange(100) for _ in range(len(BOUNDS) + 1)]
            row = {
                "attributes": [_text(name, value) for name, value in _attributes(number)],
                "startTimeUnixNano": str(START_NS - 10**10),
                "timeUnixNano": str(START_NS + dice.randrange(10**9)),
                "count": str(sum(counts)),
                "sum": dice.random() * 1_000,
                "bucketCounts": [str(count) for count in counts],
                "explicitBounds": BOUNDS,
            }
            rows.append(row)
        data = {"dataPoints": rows, "aggregationTemporality": 2}
        metrics.append({"name": f"http.server.h{metric}", "unit": "ms", "histogram": data})
    return _of_resource(metrics)


def otlp_protobuf(points: int, seed: int = 1) -> bytes:
    """The same as `otlp_json`."""
    return _as_protobuf(otlp_json(points, seed))


def otlp_protobuf_histograms(points: int, seed: int = 1) -> bytes:
    return _as_protobuf(otlp_json_histograms(points, seed))


def _as_protobuf(text: bytes) -> bytes:
    return bytes(json_format.Parse(text, MetricsData()).SerializeToString())


def remote_write_1(points: int, seed: int = 1) -> bytes:
    """A sample a series, as Prometheus sends them."""
    dice = random.Random(seed)
    series = []
    for number in range(points):
        labels = [ONE["Label"](name=name, value=text) for name, text in sorted(_labels(number).items())]
        sample = ONE["Sample"](value=float(dice.randrange(10**6)), timestamp=START_NS // 10**6 + dice.randrange(999))
        series.append(ONE["TimeSeries"](labels=labels, samples=[sample]))
    return bytes(cramjam.snappy.compress_raw(ONE["WriteRequest"](timeseries=series).SerializeToString()))


def remote_write_2(points: int, seed: int = 1) -> bytes:
    """The same in version 2, with the type of each."""
    dice = random.Random(seed)
    symbols, series = {"": 0}, []
    for number in range(points):
        pairs = sorted(_labels(number).items())
        places = [symbols.setdefault(text, len(symbols)) for pair in pairs for text in pair]
        sample = TWO["Sample"](value=float(dice.randrange(10**6)), timestamp=START_NS // 10**6 + dice.randrange(999))
        series.append(TWO["TimeSeries"](labels_refs=places, samples=[sample], metadata=TWO["Metadata"](type=1)))
    return bytes(cramjam.snappy.compress_raw(TWO["Request"](symbols=[*symbols], timeseries=series).SerializeToString()))


def _labels(number: int) -> dict[str, str]:
    labels = {"__name__": "http_requests_total", "job": "checkout", "instance": f"10.0.0.{number % 50}:8080"}
    return labels | {name.rpartition(".")[2]: text for name, text in _attributes(number // 50)}


def _of_resource(metrics: list[dict[str, Any]]) -> bytes:
    resource = {"attributes": [_text("service.name", "checkout"), _text("service.version", "v2")]}
    return _compact({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": {}, "metrics": metrics}]}]})


def prometheus_json(points: int, seed: int = 1) -> bytes:
    """A line a sample, as prometheus-kafka-adapter writes them."""
    dice = random.Random(seed)
    lines = []
    for number in range(points):
        labels = {"__name__": "http_requests_total", "job": "checkout", "instance": f"a{number}:80"}
        labels |= dict(_attributes(number))
        sample = {"labels": labels, "name": labels["__name__"], "timestamp": "2026-11-21T09:14:03Z"}
        lines.append(_compact(sample | {"value": str(dice.randrange(10**6))}))
    return b"\n".join(lines)


def telegraf_json(points: int, seed: int = 1) -> bytes:
    """A batch of metrics of five fields and three tags."""
    dice = random.Random(seed)
    metrics = [
        {
            "fields": {f"field_{field}": dice.random() * 100 for field in range(5)},
            "name": "http",
            "tags": {"host": f"h{number}", "service": "checkout", "route": f"/api/v1/r{number}"},
            "timestamp": START_NS // 10**9,
        }
        for number in range(points // 5)
    ]
    return _compact({"metrics": metrics})


def influx_lines(points: int, seed: int = 1) -> bytes:
    """Lines of five fields and three tags."""
    dice = random.Random(seed)
    lines = []
    for number in range(points // 5):
        fields = ",".join(f"field_{field}={dice.random() * 100!r}" for field in range(5))
        lines.append(f"http,host=h{number},route=/api/v1/r{number},service=checkout {fields} {START_NS}")
    return "\n".join(lines).encode()


def _attributes(number: int) -> list[tuple[str, str]]:
    return [
        ("http.route", f"/api/v1/r{number}"),
        ("http.request.method", METHODS[number % 2]),
        ("http.response.status_code", "200"),
    ]


def _text(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def _compact(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()

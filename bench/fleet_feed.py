"""Telemetry of a fleet as a collector sends it, at any number of points a message: OTLP protobuf, made fast.

A message is serialised once by opentelemetry-proto with marks for times and values; every later one is those bytes with
the marks overwritten, so that filling a topic costs a fraction of reading it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

SERVICES = 32
METRICS = ("http.server.request.duration.mean", "system.cpu.utilization", "http.server.requests", "http.server.errors")
COUNTED = frozenset(METRICS[2:])
ROUTES = 25
STATUS = ("2xx", "3xx", "4xx", "5xx", "0xx")
#: Points of one service at one moment.
POINTS = len(METRICS) * ROUTES * len(STATUS)
STEP_MS = 10_000
_TIME = 0x1122334455660000
_VALUE = 0x3FF1234500000000


class Record(msgspec.Struct, frozen=True):
    """One message: which services it tells of (the number of the first), when (Unix ms), and its bytes."""

    first: int
    time: int
    value: bytes


@dataclass
class _Template:
    """Bytes of one message with the places (int[points]) of its times and values, and what its series are like."""

    data: npt.NDArray[np.uint8]
    times: npt.NDArray[np.intp]
    values: npt.NDArray[np.intp]
    level: npt.NDArray[np.float64]
    counted: npt.NDArray[np.bool_]
    #: The same message as native JSON: its resources, and the metrics of all of them in the order of the points.
    resources: list[dict[str, Any]]
    metrics: list[dict[str, Any]]


def name(service: int) -> str:
    return f"fleet-{service:02d}"


def feed(points: int, total: int, start: int, *, native: bool = False) -> Iterator[Record]:
    """Messages of `points` points each until `total` are told, in the order of time, from `start` (Unix ms) on.

    OTLP protobuf, or native JSON of the same.

    The fleet is the same whatever `points` is: a message of few points tells of a part of one service, one of many of
    several services.
    """
    templates = _templates(points, start)
    rng = np.random.default_rng(7)
    noise = [[rng.lognormal(0.0, 0.1, len(one.level)) for _ in range(17)] for _, one in templates]
    told = step = 0
    while told < total:
        time = start + step * STEP_MS
        for number, (first, one) in enumerate(templates):
            data = one.data.copy()
            values = one.level * noise[number][step % 17]
            # A counter is the sum of what came until now.
            values = np.where(one.counted, np.floor(one.level * (step + 1) * 10.0 + values), values)
            if native:
                yield Record(first, time, _native(one, time, values))
                told += len(values)
                continue
            data[one.times[:, None] + np.arange(8)] = np.frombuffer(struct.pack("<Q", time * 1_000_000), np.uint8)
            data[one.values[:, None] + np.arange(8)] = values.astype("<f8").view(np.uint8).reshape(-1, 8)
            yield Record(first, time, data.tobytes())
            told += len(values)
        step += 1


def sweep(services: int, step: int, start: int) -> Iterator[tuple[bytes, bytes]]:
    """The key and the bytes of one message of `POINTS` points of each of any number of services, at one step.

    All are like the first one of `feed`, with names of their own of the same length.
    """
    one = _whole(start)
    rng = np.random.default_rng(step)
    time = np.frombuffer(struct.pack("<Q", (start + step * STEP_MS) * 1_000_000), np.uint8)
    variants = []
    for _ in range(min(17, services)):
        values = one.level * rng.lognormal(0.0, 0.1, len(one.level))
        values = np.where(one.counted, np.floor(one.level * (step + 1) * 10.0 + values), values)
        data = one.data.copy()
        data[one.times[:, None] + np.arange(8)] = time
        data[one.values[:, None] + np.arange(8)] = values.astype("<f8").view(np.uint8).reshape(-1, 8)
        variants.append(data.tobytes())
    like = name(0).encode()
    for number in range(services):
        key = b"f%0*d" % (len(like) - 1, number)
        yield key, variants[number % len(variants)].replace(like, key)


@lru_cache(maxsize=1)
def _whole(start: int) -> _Template:
    return _template([0], 0, POINTS, start)


def as_otlp(record: dict[str, Any]) -> bytes:
    """A native record of deltas as OTLP protobuf."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request: Any = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in record["resource"].items():
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_metrics.add()
    for metric in record["metrics"]:
        made = scope.metrics.add(name=metric["name"])
        made.sum.aggregation_temporality, made.sum.is_monotonic = 1, True
        for time, value in zip(metric["times"], metric["values"], strict=True):
            made.sum.data_points.add(time_unix_nano=time * 1_000_000).as_double = value
    return bytes(request.SerializeToString())


def series() -> int:
    """Series of the whole fleet."""
    return SERVICES * POINTS


def _templates(points: int, start: int) -> list[tuple[int, _Template]]:
    if points % POINTS == 0:
        several = points // POINTS
        groups = [range(first, first + several) for first in range(0, SERVICES, several)]
        return [(group[0], _template(group, 0, POINTS, start)) for group in groups]
    if POINTS % points:
        raise ValueError(f"{points} points a message: a divisor or a multiple of {POINTS} is needed")
    return [
        (service, _template([service], begin, begin + points, start))
        for service in range(SERVICES)
        for begin in range(0, POINTS, points)
    ]


def _template(services: Sequence[int], begin: int, end: int, start: int) -> _Template:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request: Any = ExportMetricsServiceRequest()
    level: list[float] = []
    counted: list[bool] = []
    resources: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    for service in services:
        resource = request.resource_metrics.add()
        told = {
            "service.name": name(service),
            "service.version": "v1",
            "service.instance.id": f"{name(service)}-0",
            "deployment.environment.name": "production",
        }
        for key, value in told.items():
            resource.resource.attributes.add(key=key).value.string_value = value
        scope = resource.scope_metrics.add()
        scope.scope.name = "bench"
        open_metric, points = None, None
        for place in range(begin, end):
            number, rest = divmod(place, POINTS // len(METRICS))
            metric = METRICS[number]
            if metric != open_metric:
                made = scope.metrics.add(name=metric, unit="1" if metric in COUNTED else "s")
                if metric in COUNTED:
                    made.sum.aggregation_temporality, made.sum.is_monotonic = 2, True
                points, open_metric = (made.sum if metric in COUNTED else made.gauge).data_points, metric
            assert points is not None
            route, status = divmod(rest, len(STATUS))
            point = points.add(start_time_unix_nano=start * 1_000_000, time_unix_nano=_TIME + len(level))
            point.as_double = struct.unpack("<d", struct.pack("<Q", _VALUE + len(level)))[0]
            attributes = {"http.route": f"/route/{route}", "http.request.method": "GET", "status": STATUS[status]}
            for key, value in attributes.items():
                point.attributes.add(key=key).value.string_value = value
            level.append(1.0 + (31 * place + 7 * service) % 97)
            counted.append(metric in COUNTED)
            kind = "cumulative" if metric in COUNTED else "gauge"
            metrics.append({"name": metric, "kind": kind, "attributes": attributes})
        resources.append({"resource": told, "metrics": metrics[-(end - begin) :]})
    data = request.SerializeToString()
    return _Template(
        np.frombuffer(data, np.uint8),
        _places(data, _TIME, len(level)),
        _places(data, _VALUE, len(level)),
        np.array(level),
        np.array(counted),
        resources,
        metrics,
    )


def _native(template: _Template, time: int, values: npt.NDArray[np.float64]) -> bytes:
    for metric, value in zip(template.metrics, values.tolist(), strict=True):
        metric["times"], metric["values"] = [time], [value]
    whole = template.resources
    return msgspec.json.encode(whole[0] if len(whole) == 1 else whole)


def _places(data: bytes, mark: int, count: int) -> npt.NDArray[np.intp]:
    places, last = [], 0
    for number in range(count):
        last = data.index(struct.pack("<Q", mark + number), last)
        places.append(last)
    return np.array(places)

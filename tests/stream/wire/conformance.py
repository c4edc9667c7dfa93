"""What every decoder must hold, whatever its format: the kit that each of them is run through.

A new decoder joins by adding its golden payloads to `CASES`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cramjam
import msgspec
import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from deploy.change import Change
from stream.columns import Columns, SeriesKey
from stream.errors import Unreadable
from stream.wire import decode_changes, decode_telemetry
from stream.wire.remote_write import looks_like_remote_write
from tests.stream.wire.prometheus_protobuf import ONE, TWO

GOLDEN = Path(__file__).parent / "golden"
KINDS = {"syntax", "type", "value", "time", "size", "empty", "format"}
STRUCTURED = {"content-type": b"application/cloudevents+json; charset=UTF-8"}
BINARY = {
    "ce_specversion": b"1.0",
    "ce_id": b"271069a8-fc18-44f1-b38f-9d70a1695819",
    "ce_source": b"/event/source/123",
    "content-type": b"application/json",
}

Door = Callable[[str, bytes | None, Any], tuple[Change, ...] | Columns]


class Case(NamedTuple):
    """A golden payload, how it comes in, and the least that must come out of it."""

    name: str
    door: Door
    file: str
    headers: dict[str, bytes]
    least: int = 1

    @property
    def value(self) -> bytes:
        return (GOLDEN / self.file).read_bytes()

    @property
    def topic(self) -> str:
        return "haltline.changes" if self.door is decode_changes else "haltline.telemetry"

    def read(self, value: bytes | None) -> tuple[Change, ...] | Columns:
        return self.door(self.topic, value, self.headers)


def _binary(type: str) -> dict[str, bytes]:
    return BINARY | {"ce_type": type.encode()}


DEPLOYED = "cdevents-0.5-service-deployed.json"
JSON, LINES = {"content-type": b"application/json"}, {"content-type": b"application/x-ndjson"}
PROTOBUF = {"content-type": b"application/x-protobuf"}
TEXT = {"content-type": b"text/plain"}
CHANGE_EVENT, CDEVENT = (
    _binary("dev.cdeventsx.haltline-change.started.0.1.0"),
    _binary("dev.cdevents.service.deployed.0.3.0"),
)

CASES = (
    Case("native change", decode_changes, "native-change.json", {}),
    Case("native change, binary", decode_changes, "native-change.json", CHANGE_EVENT),
    Case("CDEvents 0.5, bare", decode_changes, DEPLOYED, {}),
    Case("CDEvents 0.5, binary", decode_changes, DEPLOYED, CDEVENT),
    Case("CDEvents 0.5, structured", decode_changes, "structured-cdevents-service-deployed.json", STRUCTURED),
    Case("CDEvents 0.4, bare", decode_changes, "cdevents-0.4-service-deployed.json", JSON),
    Case("CDEvents 0.1, bare", decode_changes, "cdevents-0.1-service-upgraded.json", {}),
    Case("CDEvents 0.5, rolled back", decode_changes, "cdevents-0.5-service-rolledback.json", {}),
    Case("CDEvents 0.5, environment", decode_changes, "cdevents-0.5-environment-deleted.json", {}),
    Case("CDEvents 0.6 draft, approval", decode_changes, "cdevents-0.6-approval-closed.json", {}),
    Case("native telemetry", decode_telemetry, "native-telemetry.json", {}, 5),
    Case("native telemetry, lines", decode_telemetry, "native-telemetry-lines.jsonl", LINES, 7),
    Case("native telemetry, array", decode_telemetry, "native-telemetry-array.json", {}, 7),
    Case("native telemetry, structured", decode_telemetry, "structured-native-telemetry.json", STRUCTURED, 5),
    Case("OTLP protobuf, a gauge", decode_telemetry, "otlp-collector-gauge.bin", {}, 2),
    Case("OTLP protobuf, a sum", decode_telemetry, "otlp-collector-sum.bin", PROTOBUF, 2),
    Case("OTLP protobuf, a histogram", decode_telemetry, "otlp-collector-histogram.bin", {}, 4),
    Case(
        "OTLP protobuf, an exponential histogram",
        decode_telemetry,
        "otlp-collector-exponentialhistogram.bin",
        PROTOBUF,
        2,
    ),
    Case("OTLP protobuf, two resources", decode_telemetry, "otlp-collector-2resources.bin", PROTOBUF, 2),
    Case("remote write 1.0", decode_telemetry, "remote-write-1.0.bin", {}, 4),
    Case("remote write 2.0", decode_telemetry, "remote-write-2.0.bin", PROTOBUF, 3),
    Case("OTLP JSON", decode_telemetry, "otlp-metrics.json", {}, 4),
    Case("OTLP JSON, said to be JSON", decode_telemetry, "otlp-metrics.json", JSON, 4),
    Case("Prometheus adapter", decode_telemetry, "prometheus-adapter.json", {}),
    Case("Prometheus adapter, lines", decode_telemetry, "prometheus-adapter-lines.jsonl", LINES, 2),
    Case("Telegraf JSON", decode_telemetry, "telegraf.json", {}, 4),
    Case("Telegraf JSON, batch", decode_telemetry, "telegraf-batch.json", JSON, 6),
    Case("influx lines", decode_telemetry, "influx.lines", TEXT, 4),
    Case("GitHub review", decode_changes, "github-pull-request-review.json", {}, 0),
    Case("GitLab merge request", decode_changes, "gitlab-merge-request.json", JSON, 0),
    Case("SLSA provenance in DSSE", decode_changes, "dsse-slsa-provenance.json", {}, 0),
    Case("Agent Trace", decode_changes, "agent-trace.json", {}, 0),
)


def samples(columns: Columns) -> list[tuple[SeriesKey, int, float]]:
    """The samples without the order that they came in."""
    return sorted(
        (columns.keys[series], int(time), float(value))
        for series, time, value in zip(columns.series, columns.times, columns.values, strict=True)
    )


def comparable(decoded: tuple[Change, ...] | Columns) -> object:
    return (samples(decoded), decoded.arrived) if isinstance(decoded, Columns) else decoded


def check_columns(columns: Columns) -> None:
    """What everything behind the decoders relies on."""
    assert columns.series.dtype == np.int32
    assert columns.times.dtype == np.int64
    assert columns.values.dtype == np.float64
    assert columns.series.shape == columns.times.shape == columns.values.shape == (len(columns),)
    assert np.isfinite(columns.values).all()
    assert len(set(columns.keys)) == len(columns.keys)
    assert set(columns.series.tolist()) == set(range(len(columns.keys))), "every key has samples, every sample a key"
    assert ((columns.times >= 946_684_800_000) & (columns.times < 4_102_444_800_000)).all()
    for key in columns.keys:
        assert key.service.strip() and key.metric.strip()
        assert list(key.attributes) == sorted(key.attributes)


def check_decoded(decoded: tuple[Change, ...] | Columns) -> None:
    if isinstance(decoded, Columns):
        check_columns(decoded)
        return
    assert isinstance(decoded, tuple)
    for change in decoded:
        assert isinstance(change, Change)
        assert change.id and change.service and isinstance(change.time, int)


def survives(case: Case, value: bytes | None) -> Unreadable | None:
    """Read anything at all: something sound comes out, or one `Unreadable` of one line; nothing else is raised."""
    headers = copy.deepcopy(case.headers)
    try:
        decoded = case.read(value)
    except Unreadable as error:
        assert error.kind in KINDS, error.kind
        text = str(error)
        assert text and "\n" not in text and len(text) <= 300
        return error
    finally:
        assert case.headers == headers
    check_decoded(decoded)
    return None


def reordered(value: Any) -> Any:
    """The same JSON with every object's keys, and the metrics in it, the other way round."""
    if isinstance(value, dict):
        turned = {key: reordered(inner) for key, inner in reversed(value.items())}
        if isinstance(turned.get("metrics"), list):
            turned["metrics"].reverse()
        return turned
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


def reordered_message(message: Any) -> bytes:
    """The protobuf with the fields of each message the other way round: the Collector writes them so, others do not."""
    turned = b""
    for field, value in reversed(message.ListFields()):
        if field.message_type is None:
            turned += type(message)(**{field.name: value}).SerializeToString()
            continue
        for one in value if field.is_repeated else [value]:
            inner = reordered_message(one)
            turned += _varint(field.number << 3 | 2) + _varint(len(inner)) + inner
    return turned


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def reordered_text(value: bytes) -> bytes:
    if looks_like_remote_write(value):
        whole = bytes(cramjam.snappy.decompress_raw(value))
        message: Any = TWO["Request"].FromString(whole)
        if not message.timeseries:
            message = ONE["WriteRequest"].FromString(whole)
        return bytes(cramjam.snappy.compress_raw(reordered_message(message)))
    if value.startswith(b"\n"):
        return reordered_message(ExportMetricsServiceRequest.FromString(value))
    try:
        return msgspec.json.encode(reordered(msgspec.json.decode(value)))
    except msgspec.DecodeError:
        if not value.startswith(b"{"):
            return b"\n".join(reversed(value.splitlines()))
        return b"\n".join(msgspec.json.encode(reordered(msgspec.json.decode(line))) for line in value.splitlines())

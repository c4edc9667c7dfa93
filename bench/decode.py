"""What a point of telemetry costs to decode, in each format: haltline's decoder beside the parsers of others.

In one run on one core, in processor time: the median of many messages, with the cheapest beside it. haltline's figure
is the whole door: the envelope, which decoder it is, columns of known series. What others do is less: their parse and a
walk that puts times and values into lists, without a series; where "names" stands, with what names one.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import thread_time
from typing import Any

import cramjam
import msgspec
import numba
import numpy as np
from google.protobuf import __version__ as protobuf_version
from google.protobuf import json_format
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from bench import OUT, decode_messages
from bench.promises import Promise, all_kept, promise_table
from bench.tables import short, table
from stream.cloudevents import unwrap
from stream.series_ids import SeriesIds
from stream.wire import influx_lines, otlp_json_plain, prometheus_json, telegraf_json
from stream.wire.influx_lines import InfluxLines
from stream.wire.otlp_json import OtlpJson
from stream.wire.otlp_protobuf import OtlpProtobuf
from stream.wire.prometheus_json import PrometheusJson
from stream.wire.remote_write import RemoteWrite
from stream.wire.telegraf_json import TelegrafJson
from stream.wire.telemetry import TelemetryDecoder
from tests.stream.wire.prometheus_protobuf import ONE, TWO

GOALS = {"otlp protobuf": 0.2, "remote write 1.0": 0.2, "remote write 2.0": 0.2, "otlp json": 0.6}
"""Microseconds a point at 500 points a message."""

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Cost:
    """One way to read one format: microseconds a point (median, best)."""

    format: str
    way: str
    points: int
    bytes_a_point: float
    point_us: float
    point_best_us: float
    goal_us: float | None = None


def timed(read: Read, message: bytes, seconds: float) -> tuple[float, float]:
    """Median and best seconds of a message, after two for warming up."""
    read(message)
    read(message)
    parts: list[float] = []
    while sum(parts) < seconds or len(parts) < 5:
        begin = thread_time()
        read(message)
        parts.append(thread_time() - begin)
    return float(np.median(parts)), min(parts)


def door(decoder: TelemetryDecoder) -> Read:
    """What the door does with a message for this decoder."""
    ids = SeriesIds()

    def read(value: bytes) -> object:
        event = unwrap(value, {})
        if not decoder.accepts(event, "telemetry"):
            raise ValueError(f"{decoder.name} does not take its own format")
        return decoder.decode(event, ids)

    return read


def by_protobuf(value: bytes) -> object:
    """protobuf's own reader of JSON, and a walk."""
    return _walked(json_format.Parse(value, MetricsData(), ignore_unknown_fields=True))


def _walked(message: Any) -> object:
    times, values = [], []
    for resource in message.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.gauge.data_points:
                    times.append(point.time_unix_nano)
                    values.append(point.as_double)
    return times, values


def otlp_by_protobuf(value: bytes) -> object:
    """protobuf's own parser, and a walk."""
    return _walked(MetricsData.FromString(value))


def otlp_named_by_protobuf(value: bytes) -> object:
    """The same, with what names the series of each point, as a dictionary of them needs it."""
    points = []
    for resource in MetricsData.FromString(value).resource_metrics:
        whose = tuple((pair.key, pair.value.string_value) for pair in resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.gauge.data_points:
                    names = tuple((pair.key, pair.value.string_value) for pair in point.attributes)
                    points.append(((whose, metric.name, names), point.time_unix_nano, point.as_double))
    return points


def histograms_by_protobuf(value: bytes) -> object:
    times, values = [], []
    for resource in MetricsData.FromString(value).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.histogram.data_points:
                    times.append(point.time_unix_nano)
                    values.append((point.count, point.sum))
    return times, values


def remote_write_by_protobuf(kind: Any) -> Read:
    """snappy, protobuf's own parser, and a walk."""

    def read(value: bytes) -> object:
        message = kind.FromString(bytes(cramjam.snappy.decompress_raw(value)))
        samples = [sample for series in message.timeseries for sample in series.samples]
        return [sample.timestamp for sample in samples], [sample.value for sample in samples]

    return read


def remote_write_named_by_protobuf(value: bytes) -> object:
    """The same, of version 1, with what names the series."""
    message = ONE["WriteRequest"].FromString(bytes(cramjam.snappy.decompress_raw(value)))
    points = []
    for series in message.timeseries:
        names = tuple((label.name, label.value) for label in series.labels)
        points += [(names, sample.timestamp, sample.value) for sample in series.samples]
    return points


def otlp_by(loads: Callable[[bytes], object]) -> Read:
    """A general parser of JSON, and a walk over its dictionaries."""

    def read(value: bytes) -> object:
        message: dict[str, list[dict[str, list[dict[str, list[dict[str, dict[str, list[dict[str, str]]]]]]]]]]
        message = loads(value)  # type: ignore[assignment]  # the bench knows its own message
        times, values = [], []
        for resource in message["resourceMetrics"]:
            for scope in resource["scopeMetrics"]:
                for metric in scope["metrics"]:
                    for point in metric["gauge"]["dataPoints"]:
                        times.append(int(point["timeUnixNano"]))
                        values.append(float(point["asDouble"]))
        return times, values

    return read


def histograms_by_msgspec(value: bytes) -> object:
    """A general parser of JSON, and a walk to counts, sums and buckets."""
    rows = []
    for resource in msgspec.json.decode(value)["resourceMetrics"]:
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                for point in metric["histogram"]["dataPoints"]:
                    counts = [int(count) for count in point["bucketCounts"]]
                    rows.append((int(point["timeUnixNano"]), int(point["count"]), point["sum"], counts))
    return rows


def prometheus_by_json(value: bytes) -> object:
    samples = [json.loads(line) for line in value.split(b"\n")]
    return [sample["timestamp"] for sample in samples], [float(sample["value"]) for sample in samples]


def telegraf_by_json(value: bytes) -> object:
    metrics = json.loads(value)["metrics"]
    return [(metric["timestamp"], number) for metric in metrics for number in metric["fields"].values()]


FORMATS: tuple[tuple[str, Callable[[int], bytes], Callable[[], TelemetryDecoder], dict[str, Read]], ...] = (
    (
        "otlp protobuf",
        decode_messages.otlp_protobuf,
        OtlpProtobuf,
        {"protobuf and a walk": otlp_by_protobuf, "protobuf, a walk and names": otlp_named_by_protobuf},
    ),
    (
        "otlp protobuf, histograms",
        decode_messages.otlp_protobuf_histograms,
        OtlpProtobuf,
        {"protobuf and a walk": histograms_by_protobuf},
    ),
    (
        "remote write 1.0",
        decode_messages.remote_write_1,
        RemoteWrite,
        {
            "protobuf and a walk": remote_write_by_protobuf(ONE["WriteRequest"]),
            "protobuf, a walk and names": remote_write_named_by_protobuf,
        },
    ),
    (
        "remote write 2.0",
        decode_messages.remote_write_2,
        RemoteWrite,
        {"protobuf and a walk": remote_write_by_protobuf(TWO["Request"])},
    ),
    (
        "otlp json",
        decode_messages.otlp_json,
        OtlpJson,
        {
            "msgspec and a walk": otlp_by(msgspec.json.decode),
            "json and a walk": otlp_by(json.loads),
            "haltline, plainly": otlp_json_plain.read_plainly,
            "protobuf's json_format": by_protobuf,
        },
    ),
    (
        "otlp json, histograms",
        decode_messages.otlp_json_histograms,
        OtlpJson,
        {"msgspec and a walk": histograms_by_msgspec},
    ),
    (
        "prometheus json",
        decode_messages.prometheus_json,
        PrometheusJson,
        {"json and a walk": prometheus_by_json, "haltline, plainly": prometheus_json.read_plainly},
    ),
    (
        "telegraf json",
        decode_messages.telegraf_json,
        TelegrafJson,
        {"json and a walk": telegraf_by_json, "haltline, plainly": telegraf_json.read_plainly},
    ),
    (
        "influx lines",
        decode_messages.influx_lines,
        InfluxLines,
        {"haltline, plainly": influx_lines.read_plainly},
    ),
)


def measure(points: Sequence[int], seconds: float) -> list[Cost]:
    """Each format in each way; the others' ways at 500 points alone."""
    costs = []
    for name, make, decoder, others in FORMATS:
        for count in points:
            message = make(count)
            ways = {"haltline": door(decoder())} | (others if count == 500 else {})
            for way, read in ways.items():
                median, best = timed(read, message, seconds)
                goal = GOALS.get(name) if way == "haltline" and count == 500 else None
                each = 1e6 / count
                costs.append(Cost(name, way, count, len(message) / count, median * each, best * each, goal))
    return costs


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Bars of microseconds a point at 500 points a message."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [cost for cost in costs if cost.points == 500][::-1]
    figure, axis = pyplot.subplots(figsize=(9, 0.4 * len(shown) + 1.2), constrained_layout=True)
    colours = ["#4a7fb5" if cost.way == "haltline" else "#b9c4cf" for cost in shown]
    bars = axis.barh([f"{cost.format}: {cost.way}" for cost in shown], [cost.point_us for cost in shown], color=colours)
    axis.bar_label(bars, [short(cost.point_us) for cost in shown], padding=3)
    for number, cost in enumerate(shown):
        if cost.goal_us:
            axis.plot([cost.goal_us] * 2, [number - 0.45, number + 0.45], color="#b5484a", linestyle="--")
    axis.set_xscale("log")
    axis.set_xlim(right=3 * max(cost.point_us for cost in shown))
    axis.set_title("µs a point, 500 points a message (goal dashed)")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: Sequence[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench decode", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500 points a message alone, a tenth of the time")
    parser.add_argument("--out", type=Path, default=OUT, help="where decode.json and .png go (default: %(default)s)")
    given = parser.parse_args(argv)
    costs = measure((500,) if given.quick else (50, 500, 8_000), 0.1 if given.quick else 1.0)
    ours = {(cost.format, cost.points): cost.point_us for cost in costs if cost.way == "haltline"}
    rows = [
        [
            f"{c.format}, {c.way}", f"{c.points:,}", f"{c.bytes_a_point:.0f}", f"{c.point_us:.3f}",
            f"{c.point_best_us:.3f}", f"{c.point_us / ours[c.format, c.points]:.1f}",
            "-" if c.goal_us is None else f"{c.goal_us:g}",
        ]
        for c in costs
    ]  # fmt: skip
    machine = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numba "
    machine += f"{numba.__version__}, msgspec {msgspec.__version__}, protobuf {protobuf_version}"
    header = ["", "points", "bytes a point", "µs a point", "best", "of haltline's", "goal"]
    print(table(f"processor time on one core; {machine}", header, rows))
    promises = [
        Promise(f"{c.format}, us a point at {c.points:,} a message", "<=", c.goal_us, c.point_us)
        for c in costs
        if c.goal_us is not None
    ]
    print("\n" + promise_table(promises))
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine, "costs": [asdict(cost) for cost in costs], "goals": msgspec.to_builtins(promises)}
    (given.out / "decode.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(costs, given.out / "decode.png")
    return 0 if all_kept(promises) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

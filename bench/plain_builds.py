"""What one would build of the same parts without haltline: each a process that reads a topic and says what it cost.

`python -m bench.plain_builds ROLE BOOTSTRAP TOPIC MESSAGES SECONDS` prints one line of JSON when it has read so many
messages, or worked so long. `bytes` counts bytes with aiokafka; `road` is haltline's own way to its worker, which then
does nothing; `faust-adwin` and `faust-trees` are a Faust agent with its defaults, protobuf's parser and one river
detector a series; `quix-adwin` is the same on quixstreams. ADWIN is river's cheapest drift detector, half-space trees
are its anomaly detector.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


class Cost(msgspec.Struct):
    """What was read, and the processor and wall time (s) that it took."""

    messages: int = 0
    points: int = 0
    size: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Meter:
    """Counts until there is enough or time is over, says so and ends; processor time runs from the first record on."""

    def __init__(self, messages: int, seconds: float) -> None:
        self.messages, self.seconds = messages, seconds
        self.cost = Cost()
        self._begin: tuple[float, float] | None = None

    def start(self) -> None:
        self._begin = (time.process_time(), time.perf_counter())
        # Also where the records cease to come.
        threading.Timer(self.seconds, self._late).start()

    def _late(self) -> None:
        self.say()
        os._exit(0)

    def record(self, size: int, points: int = 0) -> None:
        """Note one record; the last ends the process."""
        if self._begin is None:
            self.start()
        self.cost.messages += 1
        self.cost.size += size
        self.cost.points += points
        if self.cost.messages >= self.messages:
            self.say()
            os._exit(0)

    def say(self) -> None:
        if self._begin is None:
            return
        self.cost.cpu_s = time.process_time() - self._begin[0]
        self.cost.wall_s = time.perf_counter() - self._begin[1]
        # Not through `sys.stdout`, which Faust takes for its log.
        os.write(1, msgspec.json.encode(self.cost) + b"\n")


def river_points(detector: str) -> Callable[[bytes], int]:
    """Parse a message with protobuf's own classes and give each point to the detector of its series."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from river.anomaly import HalfSpaceTrees
    from river.drift import ADWIN

    parse: Any = ExportMetricsServiceRequest.FromString
    detectors: dict[tuple[Any, ...], Any] = {}
    untyped: Any = ADWIN

    def adwin(model: Any, value: float) -> bool:
        model.update(value)
        return bool(model.drift_detected)

    def trees(model: Any, value: float) -> float:
        x = {"value": value}
        score = float(model.score_one(x))
        model.learn_one(x)
        return score

    make, take = {"adwin": (untyped, adwin), "trees": (HalfSpaceTrees, trees)}[detector]

    def work(data: bytes) -> int:
        count = 0
        for resource in parse(data).resource_metrics:
            service = next(
                (one.value.string_value for one in resource.resource.attributes if one.key == "service.name"), ""
            )
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in getattr(metric, metric.WhichOneof("data")).data_points:
                        attributes = tuple((one.key, one.value.string_value) for one in point.attributes)
                        key = (service, metric.name, attributes)
                        model = detectors.get(key)
                        if model is None:
                            model = detectors[key] = make()
                        take(model, point.as_double)
                        count += 1
        return count

    return work


async def count_bytes(bootstrap: str, topic: str, meter: Meter) -> None:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        check_crcs=False,
        max_partition_fetch_bytes=8 << 20,
    )
    await consumer.start()
    meter.start()
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                meter.record(len(record.value))


def faust_agent(bootstrap: str, topic: str, meter: Meter, work: Callable[[bytes], int]) -> None:
    import faust

    app = faust.App(
        f"bench-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        datadir=tempfile.mkdtemp(prefix="haltline-bench-"),
        store="memory://",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )

    @app.agent(app.topic(topic, value_type=bytes))
    async def detect(stream: Any) -> None:
        async for value in stream:
            meter.record(len(value), work(value))

    faust.Worker(app, loglevel="error").execute_from_commandline()


def quix(bootstrap: str, topic: str, meter: Meter, work: Callable[[bytes], int]) -> None:
    from quixstreams import Application

    app = Application(
        broker_address=bootstrap,
        consumer_group=f"bench-{os.getpid()}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="ERROR",
        state_dir=tempfile.mkdtemp(prefix="haltline-bench-"),
    )

    def detect(value: bytes) -> None:
        meter.record(len(value), work(value))

    app.dataframe(app.topic(topic, value_deserializer="bytes")).update(detect)
    app.run()


def road(bootstrap: str, topic: str, meter: Meter) -> None:
    from deploy.policy import Policy
    from stream import agents
    from stream.app import build
    from stream.config import WorkerConfig
    from stream.worker import Message, Worker

    class Idle(Worker):
        async def telemetry(self, message: Message) -> None:
            meter.record(len(message.value or b""))

    import faust

    # All that is on the way is haltline's; only what is done with a record is not.
    agents.Worker = Idle  # type: ignore[attr-defined]
    config = WorkerConfig(
        bootstrap_servers=bootstrap,
        telemetry_topics=(topic,),
        group=f"bench-{os.getpid()}",
        metrics_address="",
        data_dir=Path(tempfile.mkdtemp(prefix="haltline-bench-")),
    )
    faust.Worker(build(config, Policy()), loglevel="error").execute_from_commandline()


def main(argv: list[str]) -> None:
    role, bootstrap, topic, messages, seconds = argv
    meter = Meter(int(messages), float(seconds))
    kind, _, detector = role.partition("-")
    if kind == "bytes":
        asyncio.run(count_bytes(bootstrap, topic, meter))
    elif kind == "road":
        road(bootstrap, topic, meter)
    elif kind == "faust":
        faust_agent(bootstrap, topic, meter, river_points(detector))
    else:
        quix(bootstrap, topic, meter, river_points(detector))


if __name__ == "__main__":
    main(sys.argv[1:])

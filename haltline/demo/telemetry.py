"""What an instance tells of itself: its requests, errors and latency of each second, as native telemetry on Kafka."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream import topics

ENVIRONMENT = "production"
REQUESTS = "http.server.requests"
ERRORS = "http.server.errors"
LATENCY = "http.server.duration.p99"


class Identity(msgspec.Struct, frozen=True):
    """Who an instance is: what its telemetry and the change records call it."""

    service: str
    version: str
    instance: str

    def resource(self) -> dict[str, str]:
        return {
            "service.name": self.service,
            "service.version": self.version,
            "service.instance.id": self.instance,
            "deployment.environment.name": ENVIRONMENT,
        }


class Meter:
    """Counts between two cuts."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._durations: list[float] = []
        self._errors = 0

    def count(self, seconds: float, *, error: bool) -> None:
        self._durations.append(seconds)
        self._errors += error

    def cut(self, now_ms: int) -> dict[str, Any]:
        """The telemetry since the last cut as one native record; the counters start anew."""
        durations, errors = sorted(self._durations), self._errors
        self._durations, self._errors = [], 0
        p99 = durations[int(0.99 * (len(durations) - 1))] if durations else None
        return {
            "resource": self._identity.resource(),
            "metrics": [
                {"name": REQUESTS, "kind": "delta", "unit": "{request}", "times": [now_ms], "values": [len(durations)]},
                {"name": ERRORS, "kind": "delta", "unit": "{request}", "times": [now_ms], "values": [errors]},
                {"name": LATENCY, "kind": "gauge", "unit": "s", "times": [now_ms], "values": [p99]},
            ],
        }


async def report(meter: Meter, service: str, bootstrap_servers: str, stop: asyncio.Event) -> None:
    """Send a cut at each full second until told to stop, and a last one then."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", linger_ms=0)
    await producer.start()
    try:
        while not stop.is_set():
            with suppress(TimeoutError):
                # All cut at the same moments, so that one sample of every instance stands for the same second.
                await asyncio.wait_for(stop.wait(), 1.0 - time.time() % 1.0)
            try:
                await producer.send_and_wait(
                    topics.TELEMETRY.name,
                    msgspec.json.encode(meter.cut(time.time_ns() // 1_000_000)),
                    key=service.encode(),
                )
            except KafkaError:
                continue  # telemetry never stops the shop
    finally:
        await producer.stop()

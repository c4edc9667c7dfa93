"""What a bystander on Kafka sees of the shop and of haltline, each thing with the moment at which it was seen."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer

from deploy.freeze import Freeze
from deploy.verdict import Verdict, VerdictState
from haltline.demo.errors import DemoFailed
from haltline.demo.telemetry import ERRORS, REQUESTS
from stream import topics
from stream.cloudevents import Headers
from stream.errors import StreamError
from stream.wire.outgoing import decode_freeze, decode_report, decode_verdict

T = TypeVar("T")
Note = TypeVar("Note", Verdict, Freeze)

_KEPT = 20_000
_LOOK_S = 0.02


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Sample(msgspec.Struct, frozen=True):
    """One instance's requests and errors up to `at` (Unix milliseconds)."""

    at: int
    service: str
    version: str
    instance: str
    requests: int
    errors: int


class Weight(msgspec.Struct, frozen=True):
    """How much evidence against a change there was at `at`: ln(1/p), p being valid however often one looks."""

    at: int
    change: str
    nats: float


class Seen(msgspec.Struct, Generic[T], frozen=True):
    """A record and when it was seen (Unix milliseconds)."""

    what: T
    at: int


class Second(msgspec.Struct, frozen=True):
    """The customers of one second, by number: those who were served and those who were not."""

    at: int
    served: tuple[int, ...]
    failed: tuple[int, ...]


class Harm(msgspec.Struct, frozen=True):
    """The first wrong answer, as the instance that gave it told."""

    at: int
    instance: str
    text: str


class Observer:
    """Collects; nothing that it does reaches haltline."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self.samples: deque[Sample] = deque(maxlen=_KEPT)
        self.weights: deque[Weight] = deque(maxlen=_KEPT)
        self.verdicts: list[Seen[Verdict]] = []
        self.freezes: list[Seen[Freeze]] = []
        self.seconds: list[Second] = []
        self.harm: Harm | None = None
        self.news: asyncio.Queue[Seen[Verdict] | Seen[Freeze]] = asyncio.Queue()

    async def watch(self) -> None:
        """Read the topics from their beginning until cancelled."""
        consumer = AIOKafkaConsumer(
            *(topics.TELEMETRY.name, topics.EVIDENCE.name, topics.VERDICTS.name, topics.FREEZES.name),
            bootstrap_servers=self._bootstrap_servers,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        try:
            async for message in consumer:
                if message.value is not None:
                    self.take(message.topic, message.value, message.headers, now_ms())
        finally:
            await consumer.stop()

    def take(self, topic: str, value: bytes, headers: Headers, seen: int) -> None:
        """Take in one record; one that is not of its topic's kind is let go."""
        try:
            if topic == topics.TELEMETRY.name:
                self.samples.append(_sample(msgspec.json.decode(value)))
            elif topic == topics.EVIDENCE.name:
                report = decode_report(value, headers)
                self.weights.append(Weight(report.time, report.change, max(-report.log_p, 0.0)))
            elif topic == topics.VERDICTS.name:
                self._note(self.verdicts, Seen(decode_verdict(value, headers), seen))
            elif topic == topics.FREEZES.name:
                self._note(self.freezes, Seen(decode_freeze(value, headers), seen))
        except (msgspec.DecodeError, StreamError, KeyError, TypeError, ValueError):
            return

    def hear(self, said: dict[str, Any]) -> None:
        """Take in what a process of the shop says on its standard output."""
        if said.get("event") == "second":
            self.seconds.append(Second(said["at"], tuple(said["served"]), tuple(said["failed"])))
        elif said.get("event") == "harm" and self.harm is None:
            self.harm = Harm(said["at"], said["instance"], said["text"])

    def harmful(self, change: str) -> Seen[Verdict] | None:
        """The first verdict that calls the change harmful."""
        of_change = (seen for seen in self.verdicts if seen.what.change == change)
        return next((seen for seen in of_change if seen.what.state is VerdictState.HARMFUL), None)

    def verdict(self, change: str) -> Verdict | None:
        """The newest verdict of the change."""
        return next((seen.what for seen in reversed(self.verdicts) if seen.what.change == change), None)

    def freeze_of(self, change: str) -> Seen[Freeze] | None:
        """The first freeze that the change caused."""
        return next((seen for seen in self.freezes if seen.what.caused_by == change), None)

    def error_ratio(self, service: str, since: int, version: str | None = None) -> float | None:
        """Errors over requests of the service's samples after `since`; None without a request."""
        chosen = [
            sample
            for sample in self.samples
            if sample.at > since and sample.service == service and version in (None, sample.version)
        ]
        requests = sum(sample.requests for sample in chosen)
        return sum(sample.errors for sample in chosen) / requests if requests else None

    def _note(self, notes: list[Seen[Note]], seen: Seen[Note]) -> None:
        notes.append(seen)
        self.news.put_nowait(seen)


async def until(look: Callable[[], T | None], seconds: float, otherwise: str) -> T:
    """Wait until `look` finds something and give it.

    Raises:
        DemoFailed: with `otherwise` as its text, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"{otherwise} within {seconds:.0f} s")
        await asyncio.sleep(_LOOK_S)
    return found


def _sample(record: dict[str, Any]) -> Sample:
    resource = record["resource"]
    values = {metric["name"]: metric for metric in record["metrics"]}
    return Sample(
        max(values[REQUESTS]["times"]),
        resource["service.name"],
        resource["service.version"],
        resource["service.instance.id"],
        sum(values[REQUESTS]["values"]),
        sum(values[ERRORS]["values"]),
    )

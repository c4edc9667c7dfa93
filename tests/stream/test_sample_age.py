"""How old the samples are that a verdict rests on: said in it, the same by worker and replay, never healthy if old."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from deploy.policy import parse_policy
from deploy.verdict import Verdict, VerdictState
from stream import topics
from stream.metrics import Metrics
from stream.replay import decide
from stream.wire import decode_changes, decode_telemetry
from stream.wire.outgoing import Wire, decode_verdict
from stream.worker import Message, Worker
from tests.stream.incident import Incident, Json, encoded

SECOND, CLOSING = 1_000, 3_000
POLICY = "version: 1\nmode: enforce\nwatch: {at_least: 20s, samples: 5, at_most: 20s, fresh: 8s}\n"
START = 1_763_716_440_000


@dataclass
class OneWorker:
    """A worker without a broker: what it writes to itself it reads at once."""

    now: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    offsets: int = 0

    def __post_init__(self) -> None:
        self.worker = Worker(parse_policy(POLICY)[0], Metrics(CollectorRegistry()), self.send)

    async def send(self, topic: str, wire: Wire, _partition: int | None) -> None:
        if topic == topics.EVIDENCE.name:
            await self.worker.evidence(self.message(topic, wire.value, wire.headers))
        elif topic == topics.VERDICTS.name:
            self.verdicts.append(decode_verdict(wire.value, wire.headers))

    def message(self, topic: str, value: bytes | None, headers: object = ()) -> Message:
        self.offsets += 1
        return Message(
            topic=topic,
            partition=0,
            offset=self.offsets,
            key=None,
            value=value,
            headers=[(name, one) for name, one in headers if one is not None],  # type: ignore[attr-defined]
            timestamp=self.now,
        )

    async def run(self, change: Json, records: list[Json], late: int) -> Verdict:
        self.worker.hear(topics.CHANGES.name, encoded(change), ())
        for record in records:
            self.now = record["metrics"][0]["times"][0] + late
            await self.worker.telemetry(self.message(topics.TELEMETRY.name, encoded(record)))
        return self.verdicts[-1]


def by_worker(incident: Incident, late: int) -> Verdict:
    return asyncio.run(OneWorker().run(incident.change, incident.telemetry, late))


def by_replay(incident: Incident, late: int) -> Verdict:
    columns = []
    for record in incident.telemetry:
        one = decode_telemetry(topics.TELEMETRY.name, encoded(record), {})
        columns.append(msgspec.structs.replace(one, arrived=int(one.times.max()) + late))
    changes = decode_changes(topics.CHANGES.name, encoded(incident.change), {})
    # Known before the samples, as in life: they come late, the change does not.
    said = [one for one in decide(changes, columns, parse_policy(POLICY)[0]) if isinstance(one, Verdict)]
    return next((one for one in said if one.ended or one.state is VerdictState.HARMFUL), said[-1])


@pytest.mark.parametrize(("late", "state"), [(0, "healthy"), (4 * SECOND, "healthy"), (9 * SECOND, "inconclusive")])
def test_nothing_is_healthy_on_samples_that_were_old_when_they_came(late: int, state: str) -> None:
    peace = Incident("cart", START, harmful=False)
    for verdict in (by_worker(peace, late), by_replay(peace, late)):
        assert verdict.ended
        assert verdict.state == state
        # A look is closed by the next samples.
        assert late <= verdict.sample_age_ms <= late + CLOSING
        assert verdict.newest_sample is not None
        assert peace.moment < verdict.newest_sample <= int(peace.telemetry[-1]["metrics"][0]["times"][0])
        assert ("old when it came > 8s" in verdict.reason) == (state == "inconclusive")


def test_harm_is_harm_however_late_it_is_heard_of() -> None:
    harm = Incident("checkout", START)
    late, prompt = by_worker(harm, 3_600 * SECOND), by_worker(harm, 0)
    assert late.state == prompt.state == "harmful"
    assert (late.time, late.reason) == (prompt.time, prompt.reason)
    assert 3_600 * SECOND <= late.sample_age_ms <= 3_600 * SECOND + CLOSING

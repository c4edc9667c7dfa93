"""The worker's word that new starts wait: from when it is said, once, and never out of history."""

from __future__ import annotations

import time
from math import log
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from deploy.change import Change
from deploy.freeze import Freeze
from deploy.verdict import Verdict, VerdictState
from stream import topics
from stream.metrics import Metrics
from stream.wire.outgoing import Wire, decode_freeze, decode_verdict, encode_change, encode_report
from stream.worker import Message, Worker
from tests.factories import change, policy, report

HOUR = 60 * 60_000


class Run:
    """A worker that judges, and what it has sent."""

    def __init__(self, start: int, text: str = "mode: enforce") -> None:
        self.start, self.sent, self.wires = start, list[Verdict | Freeze](), list[Wire]()
        self.metrics = Metrics(CollectorRegistry())
        self.worker = Worker(policy(text), self.metrics, self._send)
        self.hear(change(time=start))

    async def _send(self, topic: str, wire: Wire, _partition: int | None) -> None:
        self.wires.append(wire)
        headers = [(name, value or b"") for name, value in wire.headers]
        decode = decode_freeze if topic == topics.FREEZES.name else decode_verdict
        self.sent.append(decode(wire.value, headers))

    def hear(self, one: Change) -> None:
        self.read(topics.CHANGES.name, encode_change(one))

    def read(self, topic: str, wire: Wire) -> None:
        self.worker.hear(topic, wire.value, [(name, value or b"") for name, value in wire.headers])

    async def evidence(self, log_p: float, after: int, **fields: Any) -> list[Verdict | Freeze]:
        """What is sent because of this evidence, `after` ms after the start."""
        before = len(self.sent)
        wire = encode_report(report(log_p=log_p, time=self.start + after, after=after, **fields))
        headers = [(name, value or b"") for name, value in wire.headers]
        message = Message(topics.EVIDENCE.name, 0, before, wire.key, wire.value, headers, now())
        await self.worker.evidence(message)
        return self.sent[before:]

    def holds(self, mode: str = "enforce") -> float | None:
        return self.metrics.registry.get_sample_value("haltline_holds_total", {"mode": mode})


def now() -> int:
    return int(time.time() * 1_000)


async def test_new_starts_wait_from_when_it_is_said_however_late_the_sample_was() -> None:
    run = Run(now() - 10 * 60_000)
    began = now()
    *_, said = await run.evidence(log(0.02), 60_000)
    assert isinstance(said, Verdict)
    assert said.hold_until is not None
    assert began + 15_000 <= said.hold_until <= now() + 15_000
    assert (said.state, said.time) == (VerdictState.WARMING, run.start + 60_000)


async def test_a_wait_and_its_renewal_are_one_hold_and_no_second_verdict() -> None:
    run = Run(now() - 60_000)
    await run.evidence(log(0.02), 1_000)
    [renewed] = await run.evidence(log(0.01), 2_000)
    assert isinstance(renewed, Verdict)
    assert (run.holds(), run.holds("observe")) == (1.0, 0.0)
    entered = run.metrics.registry.get_sample_value("haltline_verdicts_total", {"state": "warming"})
    assert entered == 1.0


async def test_what_history_shows_makes_nobody_wait() -> None:
    run = Run(now() - 3 * HOUR)
    said = await run.evidence(log(0.02), 60_000)
    assert [one.hold_until for one in said if isinstance(one, Verdict)] == [None]
    assert run.holds() == 0.0


@pytest.mark.parametrize("environment", ["production", "staging"])
async def test_harm_of_the_same_moment_is_said_after_the_wait(environment: str) -> None:
    run = Run(now() - 60_000)
    await run.evidence(log(0.02), 5_000)
    said = await run.evidence(-30.0, 5_000, environment=environment, looks=6)
    assert [type(one) for one in said] == [Freeze, Verdict]
    assert isinstance(said[1], Verdict)
    assert (said[1].state, said[1].hold_until) == (VerdictState.HARMFUL, None)


async def test_a_worker_that_takes_over_does_not_say_it_again() -> None:
    first = Run(now() - 60_000)
    await first.evidence(log(0.02), 5_000)
    second = Run(first.start)
    for wire in first.wires:
        second.read(topics.VERDICTS.name, wire)
    assert await second.evidence(log(0.02), 5_000) == []
    [renewed] = await second.evidence(log(0.01), 6_000)
    assert isinstance(renewed, Verdict)

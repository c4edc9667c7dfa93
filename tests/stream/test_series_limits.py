"""Series: too many of one service do not take the others down, and those that are no more make room."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream import topics
from stream.metrics import Metrics
from stream.watch import Watch
from stream.wire.outgoing import Wire
from stream.worker import Message, Worker
from tests.factories import NOON, change, columns, key, policy
from tests.stream.test_learning import MINUTE
from tests.stream.test_watch_state import again

DAY = 86_400_000
FEW = policy("series: {per_service: 3}")


def test_one_too_many_is_not_read_and_other_services_are() -> None:
    watch = Watch(FEW)
    watch.telemetry(columns([(key("m", instance=str(i)), NOON, 1.0) for i in range(5)]))
    watch.telemetry(columns([(key("m", instance=str(i)), NOON + 1, 2.0) for i in range(5)]))
    watch.telemetry(columns([(key("m", service="cart", instance=str(i)), NOON, 1.0) for i in range(3)]))
    checkout, cart = watch.services()
    assert (len(checkout.series), len(cart.series), watch.points) == (3, 3, 9)
    assert [one.instance for one in watch.refused[:2]] == ["3", "4"]


def test_silent_series_are_dropped_and_may_come_again() -> None:
    watch = Watch(policy())
    steady, gone = key("m", version="", instance=""), key("old", version="", instance="")
    times = NOON + np.arange(0, 400) * MINUTE
    for time in times.tolist():
        watch.telemetry(columns([(steady, time, 1.0 + time % 7), (gone, time, 5.0)]), span=0)
    assert watch.store.rows == 2
    for time in range(int(times[-1]) + MINUTE, int(times[-1]) + 8 * DAY, 10 * MINUTE):
        watch.telemetry(columns([(steady, time, 1.0 + time % 7)]), span=0)
    [service] = watch.services()
    assert list(service.series) == [steady]
    assert watch.gone == [gone]
    late = int(times[-1]) + 8 * DAY
    for restored in (watch, again(watch)):
        [service] = restored.services()
        restored.telemetry(columns([(gone, late, 7.0), (key("new"), late, 3.0), (steady, late, 2.0)]), span=0)
        assert service.series[gone].values.tolist() == [7.0]
        assert service.series[key("new")].values.tolist() == [3.0]
        assert service.series[steady].newest == late


def test_while_a_change_is_watched_nothing_is_dropped() -> None:
    watch = Watch(policy("watch: {at_least: 20d, at_most: 20d}"))
    watch.telemetry(columns([(key("m"), NOON - i, 1.0) for i in range(9)] + [(key("old"), NOON, 1.0)]))
    watch.change(change(time=NOON + 1))
    for day in range(1, 12):
        watch.telemetry(columns([(key("m"), NOON + day * DAY, 1.0)]), span=0)
    [service] = watch.services()
    assert key("old") in service.series


def message(time: int, service: str, request: str) -> Message:
    metric = {"name": "m", "attributes": {"request": request}, "times": [time], "values": [1.5]}
    body = json.dumps({"resource": {"service.name": service}, "metrics": [metric]}).encode()
    return Message(topics.TELEMETRY.name, 0, 0, service.encode(), body, (), NOON)


def test_a_worker_says_so_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def send(topic: str, wire: Wire, partition: int | None = None) -> None:
        raise AssertionError(topic)

    async def story() -> tuple[Worker, str]:
        registry = CollectorRegistry()
        metrics = Metrics(registry, version="0", topics=(), freezes=lambda: ())
        worker = Worker(FEW, metrics, send)
        for turn in range(4):
            for number in range(200):
                await worker.telemetry(message(NOON + turn * 1_000, "checkout", f"{turn}-{number}"))
            await worker.tick([], NOON)
        await worker.telemetry(message(NOON, "cart", ""))
        return worker, generate_latest(registry).decode()

    with caplog.at_level(logging.WARNING):
        worker, said = asyncio.run(story())
    assert [len(one.series) for one in worker.watch(0).services()] == [3, 1]
    assert 'haltline_series_refused_total{service="checkout"} 797.0' in said
    lines: list[Any] = [one.getMessage() for one in caplog.records if "more than 3 series" in one.getMessage()]
    assert lines == ["checkout has more than 3 series; new ones are not read (policy: series)"]
    assert len(worker._series) < 10, "the registry forgets what is not read"

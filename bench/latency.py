"""From producing the deciding sample to a consumer seeing the freeze: idle beside a bare chain, and at half load.

The load is OTLP of a fleet of 32 services, 500 points a message. Full is what the worker takes in of it a second of
wall time on this machine, measured first, with broker and producer beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench import OUT, ROOT, BenchError
from bench.bare_chain import CHAIN, reader
from bench.fleet_feed import feed, name
from bench.promises import Promise, all_kept, promise_table
from bench.tables import table
from bench.throughput import machine
from deploy.freeze import Freeze
from deploy.policy import parse_policy
from stream import topics
from stream.leash import leashed
from stream.local_kafka import LocalKafka
from stream.pipeline import Pipeline
from stream.wire import decode_changes, decode_telemetry
from tests.stream.incident import POLICY, Incident, encoded
from tests.stream.worker_process import WorkerProcess

GOAL = 2.0
#: Milliseconds at half load.
LOADED_GOAL = 250.0
LOAD_MESSAGES, LOAD_POINTS = 1_200, 500
WARM_UP = 5
SPACING_MS = 250_000
#: How long one freeze may take before the bench gives up.
PATIENCE_S = 30.0


class Summary(msgspec.Struct):
    """Milliseconds of one way."""

    count: int
    p50: float
    p99: float
    most: float


def main(argv: list[str]) -> int:
    """Measure incident by incident, each followed by one record through the bare chain; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench latency", description=__doc__)
    parser.add_argument("--incidents", type=int, default=100, help="how many are measured (default: %(default)s)")
    parser.add_argument("--loaded", type=int, default=30, help="how many under load (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where latency.json and .png go (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="haltline-latency-") as folder:
        haltline, bare, loaded, full = _measure(Path(folder), options.incidents, options.loaded)
    ways = {"haltline": _summary(haltline), "bare chain": _summary(bare)}
    if loaded:
        ways["haltline, half load"] = _summary(loaded)
    rows = [
        [way, str(one.count), *(f"{value:.1f}" for value in (one.p50, one.p99, one.most))] for way, one in ways.items()
    ]
    ratio = {what: getattr(ways["haltline"], what) / getattr(ways["bare chain"], what) for what in ("p50", "p99")}
    rows.append(["ratio", "", f"{ratio['p50']:.2f}", f"{ratio['p99']:.2f}", ""])
    print(table("Deciding sample produced -> freeze consumed, milliseconds", ["way", "n", "p50", "p99", "most"], rows))
    promises = [Promise("p99 idle, times the bare chain of three hops", "<=", GOAL, ratio["p99"])]
    if loaded:
        what = f"p99 at half of {full:,.0f} points a second, ms"
        promises.append(Promise(what, "<=", LOADED_GOAL, ways["haltline, half load"].p99))
    print("\n" + promise_table(promises))
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, object] = {
        "ways": ways,
        "ratio": ratio,
        "milliseconds": {"haltline": haltline, "bare chain": bare, "half load": loaded},
    }
    figures |= {"full_points_per_second": full, "machine": machine(), "goals": promises}
    (options.out / "latency.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    _plot(options.out / "latency.png", haltline, bare, loaded)
    return 0 if all_kept(promises) else 1


def _measure(folder: Path, count: int, under_load: int) -> tuple[list[float], list[float], list[float], float]:
    """Milliseconds of each incident and of each record through the bare chain, and of each under load; full load."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    start = (int(time.time()) - 3_600) * 1_000 - (count + WARM_UP + under_load) * SPACING_MS
    incidents = [Incident(f"service-{n}", start + n * SPACING_MS, seed=n) for n in range(count + WARM_UP + under_load)]
    deciding = deciding_places(incidents)
    with LocalKafka(folder / "kafka") as kafka:
        topics.create(kafka.bootstrap_servers, [*topics.CATALOGUE, *CHAIN])
        with (
            WorkerProcess(kafka.bootstrap_servers, folder / "worker", "--policy", str(policy)) as worker,
            _bare_chain(kafka.bootstrap_servers, folder),
        ):
            worker.ready()
            idle = count + WARM_UP
            haltline, bare = asyncio.run(_drive(kafka.bootstrap_servers, incidents[:idle], deciding[:idle]))
            if not under_load:
                return haltline, bare, [], 0.0
            loaded, full = asyncio.run(
                _drive_loaded(kafka.bootstrap_servers, worker, incidents[idle:], deciding[idle:], start)
            )
            return haltline, bare, loaded, full


def deciding_places(incidents: list[Incident]) -> list[int]:
    """Which record of each incident's telemetry decides, as the pipeline tells by itself."""
    pipeline = Pipeline(parse_policy(POLICY)[0])
    places = []
    for incident in incidents:
        for change in decode_changes(topics.CHANGES.name, encoded(incident.change), {}):
            pipeline.change(change)
        for place, record in enumerate(incident.telemetry):
            decisions = pipeline.telemetry(decode_telemetry(topics.TELEMETRY.name, encoded(record), {}))
            if any(isinstance(one, Freeze) and one.caused_by == incident.change["id"] for one in decisions):
                places.append(place)
                break
        else:
            raise BenchError(f"no sample of {incident.service} decides")
    return places


@contextmanager
def _bare_chain(bootstrap: str, folder: Path) -> Iterator[None]:
    command = leashed([sys.executable, "-m", "bench.bare_chain", bootstrap], str(folder / "chain.pid"))
    chain = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        if chain.stdout is None or chain.stdout.readline() != "ready\n":
            raise BenchError("the bare chain did not start")
        yield
    finally:
        chain.terminate()
        chain.wait()


async def _drive(bootstrap: str, incidents: list[Incident], deciding: list[int]) -> tuple[list[float], list[float]]:
    frozen, passed = await reader(bootstrap, [topics.FREEZES.name]), await reader(bootstrap, [CHAIN[-1].name])
    haltline, bare = [], []
    pause = random.Random(1)
    try:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
            for incident, place in zip(incidents, deciding, strict=True):
                key = incident.service.encode()
                await producer.send_and_wait(topics.CHANGES.name, encoded(incident.change), key=b"change of " + key)
                for record in incident.telemetry[:place]:
                    await producer.send(topics.TELEMETRY.name, encoded(record), key=key)
                await producer.flush()
                # Idle again, at no particular moment of anybody's timers.
                await asyncio.sleep(1.0 + pause.random())
                sample = encoded(incident.telemetry[place])
                haltline.append(
                    await _timed(producer, topics.TELEMETRY.name, sample, key, frozen, incident.change["id"])
                )
                await asyncio.sleep(0.2 + 0.3 * pause.random())
                bare.append(await _timed(producer, CHAIN[0].name, sample, key, passed, incident.service))
    finally:
        await frozen.stop()
        await passed.stop()
    return haltline[WARM_UP:], bare[WARM_UP:]


async def _drive_loaded(
    bootstrap: str, worker: WorkerProcess, incidents: list[Incident], deciding: list[int], start: int
) -> tuple[list[float], float]:
    """Milliseconds of each incident while half of what the worker can take in flows by, and what it can, points/s."""
    frozen = await reader(bootstrap, [topics.FREEZES.name])
    # Of a time before the incidents: what is later would make them silent.
    messages = feed(LOAD_POINTS, 1 << 40, start - 12 * 3_600_000)
    measured: list[float] = []
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=1 << 18) as producer:

        async def send(count: int) -> None:
            for record in itertools.islice(messages, count):
                await producer.send(topics.TELEMETRY.name, record.value, key=name(record.first).encode())

        async def points() -> float:
            return await asyncio.to_thread(worker.metric, "haltline_points_total")

        # The series are new to it at first.
        await send(LOAD_MESSAGES // 4)
        await producer.flush()
        await asyncio.to_thread(worker.ready)
        before, began = await points(), time.perf_counter()
        await send(LOAD_MESSAGES)
        while await points() < before + LOAD_MESSAGES * LOAD_POINTS:  # noqa: ASYNC110  # of another process
            await asyncio.sleep(0.05)
        full = LOAD_MESSAGES * LOAD_POINTS / (time.perf_counter() - began)

        async def flow() -> None:
            due = time.perf_counter()
            while True:
                await send(1)
                due += LOAD_POINTS / (full / 2.0)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        load = asyncio.create_task(flow())
        pause = random.Random(2)
        try:
            for incident, place in zip(incidents, deciding, strict=True):
                key = incident.service.encode()
                await producer.send_and_wait(topics.CHANGES.name, encoded(incident.change), key=b"change of " + key)
                for record in incident.telemetry[:place]:
                    await producer.send(topics.TELEMETRY.name, encoded(record), key=key)
                await asyncio.sleep(2.0 + pause.random())
                sample = encoded(incident.telemetry[place])
                measured.append(
                    await _timed(producer, topics.TELEMETRY.name, sample, key, frozen, incident.change["id"])
                )
        finally:
            load.cancel()
            await frozen.stop()
    return measured, full


async def _timed(
    producer: AIOKafkaProducer, topic: str, value: bytes, key: bytes, consumer: AIOKafkaConsumer, word: str
) -> float:
    """Milliseconds from sending a record to the consumer having the first one that names `word`."""

    async def arrives() -> float:
        async for record in consumer:
            if word.encode() in record.value:
                return time.perf_counter()
        raise BenchError("the consumer ended")

    early = await consumer.getmany(timeout_ms=0)
    if any(word.encode() in record.value for records in early.values() for record in records):
        raise BenchError(f"{word} was decided on before its deciding sample")
    started = time.perf_counter()
    sending = asyncio.ensure_future(producer.send_and_wait(topic, value, key=key))
    try:
        ended = await asyncio.wait_for(arrives(), PATIENCE_S)
    except TimeoutError:
        raise BenchError(f"nothing of {word} within {PATIENCE_S:g} s of its deciding sample") from None
    await sending
    return (ended - started) * 1_000


def _summary(milliseconds: list[float]) -> Summary:
    p50, p99, most = np.percentile(milliseconds, [50, 99, 100]).tolist()
    return Summary(len(milliseconds), p50, p99, most)


def _plot(path: Path, haltline: list[float], bare: list[float], loaded: list[float]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    shown = {"haltline": haltline, "bare chain of three hops": bare, "haltline, half load": loaded}
    for label, values in shown.items():
        axes.step(np.sort(values), np.arange(1, len(values) + 1) / max(len(values), 1), where="post", label=label)
    axes.set(xscale="log", xlabel="ms from the deciding sample to the freeze consumed", ylabel="share of incidents")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)

"""How long nobody decides after a worker is killed, with many series: alone, and where another takes over.

Alone: a worker knows a fleet and is in the middle of an incident when it gets SIGKILL; at once another is started, and
the sample that decides is sent. The group's session time-out (6 s) is a part of what is measured. Two: records that
nobody can read are sent to every partition five times a second, and come out as dead letters in their turn with all
else; when one worker is killed, how long that takes tells how long each partition stood still.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench import OUT, BenchError
from bench.bare_chain import reader
from bench.fleet_feed import POINTS, STEP_MS, sweep
from bench.latency import deciding_places
from bench.promises import Promise, all_kept, promise_table
from bench.tables import short, table
from bench.throughput import machine
from stream import topics
from stream.local_kafka import LocalKafka
from stream.snapshot_topic import SnapshotTopic
from stream.wire.outgoing import decode_freeze, decode_verdict
from tests.stream.incident import POLICY, Incident, encoded
from tests.stream.worker_process import WorkerProcess, wait_for

TOPIC = "bench.telemetry"
GROUP = "haltline"
PARTITIONS = 4
#: Seconds.
GOAL_S, PAUSE_S = 10.0, 1.0
PATIENCE_S = 300.0
#: How long the probes go before a worker is killed, and after; how far they lie apart.
CALM_S, AFTER_S, APART_S = 5.0, 30.0, 0.2


class Alone(msgspec.Struct):
    """One worker killed and started again: seconds from the kill, and what was said more than once."""

    told: float
    joined: float
    decided: float
    caught_up: float
    twice: int
    restored: int


class Probe(msgspec.Struct, frozen=True):
    """A record that nobody can read: its partition, when it was sent (seconds from the kill), how long it took."""

    partition: int
    sent: float
    took: float


class Shared(msgspec.Struct):
    """One of two workers killed: how long the partitions of the other, and its own, stood still."""

    own: list[int]
    probes: list[Probe]

    def pause(self, *, own: bool) -> float:
        """The longest that a record of these partitions took; one that never came out took for ever."""
        return max((one.took for one in self.probes if (one.partition in self.own) is own), default=float("nan"))


def main(argv: list[str]) -> int:
    """Kill, measure, print the tables; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench recovery", description=__doc__)
    parser.add_argument("--series", type=int, default=1_000_000, help="that the workers know (default: %(default)s)")
    parser.add_argument("--looks", type=int, default=2, help="at each of them before the kill (default: %(default)s)")
    parser.add_argument("--only", choices=("alone", "shared"), help="one half of it")
    parser.add_argument("--quick", action="store_true", help="a tenth of the series")
    parser.add_argument("--out", type=Path, default=OUT, help="where recovery.json and .png go (default: %(default)s)")
    options = parser.parse_args(argv)
    series = options.series // 10 if options.quick else options.series
    if series < POINTS * PARTITIONS or series % POINTS:
        raise BenchError(f"{series} series: a multiple of {POINTS} is needed, {POINTS * PARTITIONS} at least")
    alone = _with_kafka(series, options.looks, _Field.alone) if options.only != "shared" else None
    shared = _with_kafka(series, options.looks, _Field.shared) if options.only != "alone" else None
    promises = _say(series, alone, shared)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": machine(), "command": " ".join(["python -m bench recovery", *argv]), "series": series,
        "alone": alone, "shared": shared, "goals": promises,
    }  # fmt: skip
    (options.out / "recovery.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    if shared is not None:
        _plot(options.out / "recovery.png", series, alone, shared)
    return 0 if all_kept(promises) else 1


def _with_kafka(series: int, looks: int, work: Any) -> Any:
    with (
        tempfile.TemporaryDirectory(prefix="haltline-recovery-") as folder,
        LocalKafka(Path(folder) / "kafka") as kafka,
    ):
        return asyncio.run(work(_Field(kafka.bootstrap_servers, Path(folder), series, looks)))


class _Field:
    """One broker with the telemetry of a fleet."""

    def __init__(self, bootstrap: str, folder: Path, series: int, looks: int) -> None:
        self._bootstrap, self._folder, self._looks = bootstrap, folder, looks
        self._services = series // POINTS
        made = msgspec.structs.replace(topics.TELEMETRY, name=TOPIC, partitions=PARTITIONS)
        topics.create(bootstrap, [*topics.CATALOGUE, made], partitions={topics.BY_SERVICE.name: PARTITIONS})
        self._start = (int(time.time()) // 10) * 10_000 - (looks + 200) * STEP_MS
        (folder / "policy.yaml").write_text(POLICY)

    def _worker(self, name: str) -> WorkerProcess:
        options = ["--policy", str(self._folder / "policy.yaml"), "--telemetry-topic", TOPIC]
        return WorkerProcess(self._bootstrap, self._folder / name, *options)

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", max_batch_size=1 << 20, max_request_size=8 << 20
        )

    async def _fill(self, producer: AIOKafkaProducer, *workers: WorkerProcess) -> None:
        """Have the workers know the fleet."""
        sent = 0
        for step in range(self._looks):
            for number, (key, value) in enumerate(sweep(self._services, step, self._start)):
                await producer.send(TOPIC, value, key, number % PARTITIONS)
                sent += POINTS
        await producer.flush()
        deadline = time.monotonic() + PATIENCE_S
        while await asyncio.to_thread(_sum, workers, "haltline_points_total") < sent:
            if time.monotonic() > deadline:
                raise BenchError(f"the fleet was not read in {PATIENCE_S:.0f} s")
            await asyncio.sleep(0.2)

    async def _saved(self) -> None:
        """Wait until a snapshot of each partition stands for all that was sent."""
        ends = await self._ends()
        snapshots = SnapshotTopic(self._bootstrap, {}, GROUP, _no_writing)
        deadline = time.monotonic() + PATIENCE_S
        for number, end in enumerate(ends):
            while (head := await snapshots.newest(number)) is None or head.positions[TOPIC] < end:
                if time.monotonic() > deadline:
                    raise BenchError(f"no snapshot of partition {number} in {PATIENCE_S:.0f} s")
                await asyncio.sleep(1.0)

    async def _ends(self) -> list[int]:
        consumer = await reader(self._bootstrap, [TOPIC])
        try:
            ends = await consumer.end_offsets(consumer.assignment())
        finally:
            await consumer.stop()
        return [end for _, end in sorted(ends.items())]

    # -- alone ---------------------------------------------------------------------------------------------------------

    async def alone(self) -> Alone:
        """Kill the only worker in the middle of an incident, and start it again."""
        later = self._start + (self._looks + 1) * STEP_MS
        incidents = [Incident(f"incident-{number}", later + number * 250_000) for number in range(3)]
        place = deciding_places(incidents[1:2])[0]
        frozen, said = [await reader(self._bootstrap, [name]) for name in (topics.FREEZES.name, topics.VERDICTS.name)]
        freezes: list[str] = []
        worker = self._worker("worker")
        try:
            with worker:
                async with self._producer() as producer:
                    await self._fill(producer, worker)
                    await self._tell(producer, incidents[0], 0, None)
                    await _until(frozen, freezes, incidents[0])
                    await self._tell(producer, incidents[1], 0, place)
                    await asyncio.to_thread(worker.ready)
                    await self._saved()
                    worker.kill()
                    killed = time.perf_counter()
                    starting = asyncio.create_task(asyncio.to_thread(self._stages, worker, killed))
                    await self._tell(producer, incidents[1], place, None)
                    decided = await _until(frozen, freezes, incidents[1]) - killed
                    told, joined, caught_up = await starting
                    await self._tell(producer, incidents[2], 0, None)
                    await _until(frozen, freezes, incidents[2])
                    await asyncio.to_thread(worker.ready)
                    restored = _sum([worker], "haltline_snapshots_total", outcome="restored")
            await asyncio.sleep(1.0)
            freezes += [record.value for record in await _rest(frozen)]
            verdicts = [decode_verdict(one.value, one.headers) for one in await _rest(said)]
        finally:
            await frozen.stop()
            await said.stop()
        harmful = [one.change for one in verdicts if one.state.value == "harmful" and one.hold_until is None]
        twice = len(freezes) - len(incidents) + len(harmful) - len(set(harmful))
        return Alone(told, joined, decided, caught_up, twice, int(restored))

    async def _tell(self, producer: AIOKafkaProducer, incident: Incident, first: int, last: int | None) -> None:
        key = incident.service.encode()
        if not first:
            await producer.send_and_wait(topics.CHANGES.name, encoded(incident.change), key)
        for record in incident.telemetry[first:last]:
            await producer.send(TOPIC, encoded(record), key)
        await producer.flush()

    @staticmethod
    def _stages(worker: WorkerProcess, killed: float) -> tuple[float, float, float]:
        """Seconds until the new process answers, has partitions, and has read all there is."""
        worker.start()
        wait_for("the worker to answer", lambda: worker.samples("haltline_build_info"), PATIENCE_S)
        told = time.perf_counter()
        wait_for("partitions", lambda: worker.samples("haltline_lag_records"), PATIENCE_S)
        joined = time.perf_counter()
        wait_for("all to be read", worker._has_read_all, PATIENCE_S)
        return told - killed, joined - killed, time.perf_counter() - killed

    # -- two -----------------------------------------------------------------------------------------------------------

    async def shared(self) -> Shared:
        """Kill one of two workers while probes go through all partitions."""
        one, other = self._worker("one"), self._worker("other")
        letters = await reader(self._bootstrap, [topics.DEADLETTER.name])
        sent: dict[bytes, tuple[int, float]] = {}
        came: dict[bytes, float] = {}
        listening = asyncio.create_task(_listen(letters, came))
        try:
            with one, other:
                async with self._producer() as producer:
                    # Both first: what is read before a rebalance would be read again after it.
                    await asyncio.to_thread(wait_for, "both to have partitions", lambda: self._held(2), PATIENCE_S)
                    await self._fill(producer, one, other)
                    await self._saved()
                    for worker in (one, other):
                        await asyncio.to_thread(worker.ready)
                    probing = asyncio.create_task(_probe(producer, sent))
                    await asyncio.sleep(CALM_S)
                    before = await asyncio.to_thread(wait_for, "both to have partitions", lambda: self._held(2))
                    await asyncio.to_thread(one.kill)
                    killed = time.perf_counter()
                    after = await asyncio.to_thread(wait_for, "one to be left", lambda: self._held(1), PATIENCE_S)
                    await asyncio.sleep(AFTER_S)
                    probing.cancel()
                    deadline = time.monotonic() + PATIENCE_S
                    while len(came) < len(sent) and time.monotonic() < deadline:  # noqa: ASYNC110  # of another process
                        await asyncio.sleep(0.1)
        finally:
            listening.cancel()
            await letters.stop()
        [survivor] = after
        probes = [
            Probe(number, at - killed, came.get(value, float("inf")) - at) for value, (number, at) in sent.items()
        ]
        return Shared(sorted(before[survivor]), probes)

    def _held(self, count: int) -> dict[str, set[int]] | None:
        """The partitions of telemetry of each member of the group, once so many have some."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            with KafkaAdminClient(bootstrap_servers=self._bootstrap) as admin:
                members = admin.describe_groups([GROUP])[GROUP]["members"]
        except KafkaError:  # there is no group yet
            return None
        held = {
            member["member_id"]: {
                number
                for assigned in (member["member_assignment"] or {}).get("assigned_partitions", ())
                if assigned["topic"] == TOPIC
                for number in assigned["partitions"]
            }
            for member in members
        }
        return held if len(held) == count and all(held.values()) else None


async def _no_writing(_key: bytes, _value: bytes | None, _place: int) -> int:
    raise BenchError("a bench writes no snapshots")


async def _probe(producer: AIOKafkaProducer, sent: dict[bytes, tuple[int, float]]) -> None:
    number = 0
    while True:
        for partition in range(PARTITIONS):
            value = b"no telemetry %d %d" % (partition, number)
            sent[value] = partition, time.perf_counter()
            await producer.send(TOPIC, value, None, partition)
        number += 1
        await asyncio.sleep(APART_S)


async def _listen(letters: AIOKafkaConsumer, came: dict[bytes, float]) -> None:
    async for record in letters:
        came.setdefault(record.value, time.perf_counter())


async def _until(frozen: AIOKafkaConsumer, freezes: list[str], incident: Incident) -> float:
    """When the freeze of an incident was seen; all that are seen are noted."""

    async def seen() -> float:
        async for record in frozen:
            freeze = decode_freeze(record.value, record.headers)
            freezes.append(freeze.id)
            if freeze.caused_by == incident.change["id"]:
                return time.perf_counter()
        raise BenchError("the consumer ended")

    try:
        return await asyncio.wait_for(seen(), PATIENCE_S)
    except TimeoutError:
        raise BenchError(f"no freeze of {incident.service} within {PATIENCE_S:.0f} s") from None


async def _rest(consumer: AIOKafkaConsumer) -> list[Any]:
    found: list[Any] = []
    while some := await consumer.getmany(timeout_ms=1_000):
        found += [record for records in some.values() for record in records]
    return found


def _sum(workers: Sequence[WorkerProcess], metric: str, **labels: str) -> float:
    return sum(
        value for worker in workers for found, value in worker.samples(metric) if labels.items() <= found.items()
    )


def _say(series: int, alone: Alone | None, shared: Shared | None) -> list[Promise]:
    promises = []
    if alone is not None:
        rows = [
            ["the new process answers", short(alone.told)], ["it has partitions", short(alone.joined)],
            ["the sample sent at the kill has become a freeze", short(alone.decided)],
            ["all there is has been read", short(alone.caught_up)],
        ]  # fmt: skip
        state = f"{alone.restored} partitions from snapshots" if alone.restored else "its topics read again"
        title = f"A worker with {series:,} series killed and started again ({state})"
        print(table(title, ["", "seconds from SIGKILL"], rows), end="\n\n")
        promises += [
            Promise("seconds until decisions flow again", "<=", GOAL_S, alone.decided),
            Promise("freezes and harmful verdicts said twice", "<=", 0, alone.twice),
        ]
    if shared is not None:
        rows = []
        for number in range(PARTITIONS):
            took = [one.took for one in shared.probes if one.partition == number]
            calm = [one.took for one in shared.probes if one.partition == number and one.sent < 0]
            whose = "the survivor's" if number in shared.own else "the dead one's"
            rows.append([f"partition {number}, {whose}", short(1e3 * float(np.median(calm))), short(max(took))])
        header = ["", "a record before the kill, ms", "longest after it, s"]
        print(table(f"Two workers with {series:,} series, one killed", header, rows), end="\n\n")
        promises += [
            Promise("longest pause of the survivor's own partitions, s", "<=", PAUSE_S, shared.pause(own=True)),
            Promise("seconds until the dead one's partitions flow again", "<=", GOAL_S, shared.pause(own=False)),
        ]
    print(promise_table(promises), end="\n\n", flush=True)
    return promises


def _plot(path: Path, series: int, alone: Alone | None, shared: Shared) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for own, colour, text in ((True, "tab:blue", "the survivor's partitions"), (False, "tab:red", "the dead one's")):
        some = [one for one in shared.probes if (one.partition in shared.own) is own]
        axes.scatter([one.sent for one in some], [one.took for one in some], s=6, color=colour, label=text)
    axes.axvline(0, color="black", lw=0.8)
    axes.axhline(PAUSE_S, color="tab:blue", lw=0.8, ls="--")
    axes.axhline(GOAL_S, color="tab:red", lw=0.8, ls="--")
    axes.set(
        yscale="log", xlabel="sent, seconds from SIGKILL to one of two workers", ylabel="seconds until it came out"
    )
    also = f"; alone, decisions after {alone.decided:.1f} s" if alone is not None else ""
    axes.set_title(f"{series:,} series (dashed: goals){also}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

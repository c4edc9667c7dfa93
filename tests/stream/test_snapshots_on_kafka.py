"""Snapshots on a real Kafka: found again, never half of one, and a worker that goes on from them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, TopicPartition

from stream import snapshots, topics
from stream.local_kafka import LocalKafka
from stream.snapshot_topic import SnapshotTopic
from stream.snapshots import SnapshotRefused, State
from tests.stream.incident import BEFORE_S, CALM_S, POLICY, Incident
from tests.stream.reader import Reader
from tests.stream.test_worker import DECIDED_S, Shop, several
from tests.stream.worker_process import WorkerProcess, wait_for

pytestmark = pytest.mark.kafka
PARTITIONS = 2
NAME = topics.SNAPSHOTS.name


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with LocalKafka(tmp_path_factory.mktemp("snapshot-kafka")) as kafka:
        counts = dict.fromkeys((topics.TELEMETRY.name, topics.OTLP_METRICS.name, topics.BY_SERVICE.name), PARTITIONS)
        topics.create(kafka.bootstrap_servers, partitions=counts)
        shop = Shop(kafka)
        yield shop
        shop.close()


# -- the topic --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def topic(shop: Shop, group: str, stop_after: int | None = None) -> AsyncIterator[SnapshotTopic]:
    """The snapshots of a group; after so many records its writer is dead."""
    async with AIOKafkaProducer(bootstrap_servers=shop.bootstrap, acks="all") as producer:
        sent = 0

        async def send(key: bytes, value: bytes | None, place: int) -> int:
            nonlocal sent
            sent += 1
            if stop_after is not None and sent > stop_after:
                raise ConnectionError("the writer is dead")
            return int((await producer.send_and_wait(NAME, value, key, place)).offset)

        yield SnapshotTopic(shop.bootstrap, {}, group, send)


def state(seed: int, size: int = 400_000) -> State:
    rng = np.random.default_rng(seed)
    return {"seed": seed}, {"rows": rng.normal(size=size), "times": np.arange(size) * 10_000}


async def write(shop: Shop, group: str, seed: int, stop_after: int | None = None, partition: int = 1) -> None:
    async with topic(shop, group, stop_after) as there:
        await there.write(partition, partition % 8, state(seed), {"haltline.telemetry": seed}, seed)


async def read(shop: Shop, group: str, partition: int = 1) -> int | None:
    """Which state is found; it must be that one to the last bit."""
    async with topic(shop, group) as there:
        found = await there.read(partition)
    if found is None:
        return None
    head, (header, arrays) = found
    seed = int(header["seed"])
    assert all(np.array_equal(arrays[name], array) for name, array in state(seed)[1].items())
    assert (head.positions, head.partition) == ({"haltline.telemetry": seed}, partition)
    assert len(head.chunks) > 4
    return seed


def test_the_newest_whole_snapshot_of_a_partition_is_found(shop: Shop) -> None:
    async def story() -> None:
        assert await read(shop, "a") is None
        await write(shop, "a", 1)
        assert await read(shop, "a") == 1
        # One begins the next and dies, at any point: before the first record, or before the head.
        for records in (0, 1, 3, 6):
            with pytest.raises(ConnectionError):
                await write(shop, "a", 2, stop_after=records)
            assert await read(shop, "a") == 1
        await write(shop, "a", 3)
        await write(shop, "a", 4, partition=9)  # in the same partition of the topic
        await write(shop, "b", 5)
        assert [await read(shop, "a"), await read(shop, "a", 9), await read(shop, "b")] == [3, 4, 5]
        assert await read(shop, "b", 9) is None

    asyncio.run(story())


def test_what_a_snapshot_replaces_is_deleted(shop: Shop) -> None:
    async def story() -> list[snapshots.Head]:
        async with topic(shop, "tidy") as there:
            return [await there.write(2, 2, state(seed), {}, seed) for seed in (1, 2, 3)]

    *before, last = asyncio.run(story())
    reader = Reader(shop.bootstrap, NAME)
    records = [one for one in reader.look() if one.key.startswith(b"tidy/2/")]
    reader.close()
    gone = {one.key for one in records if one.value is None}
    assert len(gone) == sum(len(head.chunks) for head in before)
    assert gone == {one.key for one in records} - {one.key for one in records if last.generation.encode() in one.key}


def test_one_whose_chunks_are_gone_or_changed_is_refused(shop: Shop) -> None:
    async def story() -> None:
        await write(shop, "c", 1, partition=3)
        reader = Reader(shop.bootstrap, NAME)
        mine = [one for one in reader.look() if one.key.startswith(b"c/3")]
        reader.close()
        *chunks, head = mine
        # A second head that names the same chunks from a later one on: as if compaction had taken the first.
        told = snapshots.read_head(head.value)
        packing = snapshots.Packing(*state(1))
        for _ in packing.chunks():
            pass
        async with topic(shop, "c") as there:
            late = packing.head(
                partition=3, generation=told.generation, taken_ms=1, positions={}, first=chunks[1].offset
            )
            await there._send(head.key, late, 3)
            with pytest.raises(SnapshotRefused, match="chunks are there"):
                await there.read(3)
            # The chunk is written again with one byte changed.
            value = bytearray(chunks[0].value)
            value[1000] ^= 1
            again = [await there._send(chunks[0].key, bytes(value), 3)]
            again += [await there._send(one.key, one.value, 3) for one in chunks[1:]]
            wrong = packing.head(partition=3, generation=told.generation, taken_ms=1, positions={}, first=again[0])
            await there._send(head.key, wrong, 3)
            with pytest.raises(SnapshotRefused, match=r"chunk 1 of 8 is not as it was written"):
                await there.read(3)
            await there._send(head.key, b"hlss" + b"\xff\x00" + bytes(20), 3)
            with pytest.raises(SnapshotRefused, match="version 255, newer"):
                await there.read(3)
            await there._send(head.key, None, 3)
            assert await there.read(3) is None

    asyncio.run(story())


# -- a worker ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def recording(shop: Shop, folder: Path, policy: Path, *own: str, every: str = "0.5") -> WorkerProcess:
    """A worker that saves its partitions twice a second."""
    command = [sys.executable, "-m", "tests.stream.recording_worker", shop.bootstrap, str(folder), str(policy), every]
    return WorkerProcess(shop.bootstrap, folder, command=[*command, *own])


def start_of(number: int) -> int:
    return (int(time.time()) - 3_000) * 1_000 + number * 250_000


def saved(shop: Shop) -> None:
    """Wait until the newest snapshot of each partition stands for all that was sent."""
    reader = Reader(shop.bootstrap, NAME)
    ends = shop.ends(topics.TELEMETRY.name)

    def all_saved() -> bool:
        newest = {
            one.key: one.value for one in reader.look() if one.key.count(b"/") == 1 and one.key[:9] == b"haltline/"
        }
        heads = [newest.get(b"haltline/%d" % number) for number in range(PARTITIONS)]
        return all(
            head is not None and snapshots.read_head(head).positions[topics.TELEMETRY.name] == end
            for head, end in zip(heads, ends, strict=True)
        )

    wait_for("a snapshot of all", all_saved)
    reader.close()


def forget_telemetry(shop: Shop) -> None:
    """Kafka keeps nothing of what was sent until now."""
    with KafkaAdminClient(bootstrap_servers=shop.bootstrap) as admin:
        ends = {TopicPartition(topics.TELEMETRY.name, number): -1 for number in range(PARTITIONS)}
        admin.delete_records(ends)


def goes_on(shop: Shop, worker: WorkerProcess, incidents: Sequence[Incident]) -> None:
    """A worker that is down goes on in the middle of incidents: what was before is nowhere but in the snapshots."""
    forget_telemetry(shop)
    shop.run(*incidents, first=BEFORE_S + CALM_S + 1, partitions=range(PARTITIONS))
    worker.start()
    for incident in incidents:
        shop.frozen(incident)
    assert worker.metric("haltline_snapshots_total", outcome="restored") == PARTITIONS


@pytest.mark.parametrize("own", [[], ["--own"]], ids=["recorded", "own"])
def test_a_worker_killed_in_mid_incident_goes_on_from_its_snapshot(
    shop: Shop, policy: Path, tmp_path: Path, own: list[str]
) -> None:
    name, everywhere = "own" if own else "kept", range(PARTITIONS)
    incidents = [Incident(f"{name}-{number}", start_of(2 * len(own))) for number in everywhere]
    # Snapshots of a watch of one kind are none for the other.
    policy.write_text(POLICY + f"watch: {{at_least: {30 + len(own)}m}}\n")
    with recording(shop, tmp_path, policy, *own) as worker:
        shop.change(*incidents)
        shop.run(*incidents, last=BEFORE_S + CALM_S + 1, partitions=everywhere)
        saved(shop)
        worker.kill()
        goes_on(shop, worker, incidents)
        assert "restored in" in worker.said()
        # And again, with the freeze in the past: nothing is decided twice.
        saved(shop)
        worker.kill()
        forget_telemetry(shop)
        worker.start()
        worker.ready()
        later = [Incident(f"later-{name}-{number}", start_of(2 * len(own) + 1)) for number in everywhere]
        shop.change(*later)
        shop.run(*later, partitions=everywhere)
        for incident in later:
            shop.frozen(incident)
        assert all(len({one.id for one in shop.freezes(incident.service)}) == 1 for incident in (*incidents, *later))
        assert all(len(shop.freezes(incident.service)) == 1 for incident in (*incidents, *later))


def test_a_worker_told_to_stop_saves_what_it_knows(shop: Shop, policy: Path, tmp_path: Path) -> None:
    everywhere = range(PARTITIONS)
    incidents = [Incident(f"stopped-{number}", start_of(3)) for number in everywhere]
    policy.write_text(POLICY + "watch: {at_least: 33m}\n")
    # What it reads is counted.
    forget_telemetry(shop)
    with recording(shop, tmp_path, policy, "--own", every="3600") as worker:
        shop.change(*incidents)
        shop.run(*incidents, last=BEFORE_S + CALM_S + 1, partitions=everywhere)
        points = sum(2 * len(incident.until(BEFORE_S + CALM_S + 1)) for incident in incidents)
        wait_for("all to be read", lambda: worker.metric("haltline_points_total") >= points)
        assert worker.stop() == 0
        goes_on(shop, worker, incidents)


def test_a_snapshot_that_is_refused_costs_a_line_and_the_topic_is_read_again(
    shop: Shop, policy: Path, tmp_path: Path
) -> None:
    everywhere = range(PARTITIONS)
    incidents = [Incident(f"refused-{number}", start_of(5)) for number in everywhere]
    with recording(shop, tmp_path, policy) as worker:
        shop.change(*incidents)
        shop.run(*incidents, last=BEFORE_S + CALM_S + 1, partitions=everywhere)
        saved(shop)
        worker.kill()
        # Of another policy, and cut in half.
        policy.write_text(POLICY + "watch: {at_least: 31m}\n")
        reader = Reader(shop.bootstrap, NAME)
        head = [one for one in reader.look() if one.key == b"haltline/1"][-1]
        reader.close()
        shop.send(NAME, head.value[: len(head.value) // 2], key="haltline/1", partition=1)
        shop.run(*incidents, first=BEFORE_S + CALM_S + 1, partitions=everywhere)
        worker.start()
        for incident in incidents:
            shop.frozen(incident)
        assert worker.metric("haltline_snapshots_total", outcome="refused") == PARTITIONS
        lines = [line for line in worker.said().splitlines() if "haltline.snapshots" in line and "refused" in line]
        assert any("partition 0 refused: it was made under another policy" in line for line in lines)
        assert any("partition 1 refused: its head of" in line for line in lines)
        assert len(lines) == PARTITIONS


def test_when_one_of_two_dies_the_other_takes_its_snapshots(shop: Shop, policy: Path, tmp_path: Path) -> None:
    everywhere = range(PARTITIONS)
    incidents = [Incident(f"shared-{number}", start_of(7)) for number in everywhere]
    with recording(shop, tmp_path / "one", policy) as one, recording(shop, tmp_path / "other", policy) as other:
        wait_for("both to work", lambda: all(worker.samples("haltline_lag_records") for worker in (one, other)))
        shop.change(*incidents)
        shop.run(*incidents, last=BEFORE_S + CALM_S + 1, partitions=everywhere)
        saved(shop)
        one.kill()
        forget_telemetry(shop)
        shop.run(*incidents, first=BEFORE_S + CALM_S + 1, partitions=everywhere)
        for incident in incidents:
            shop.frozen(incident)
        assert other.stop() == 0
    assert DECIDED_S < BEFORE_S + CALM_S + 30
    assert several("the freezes", 1, lambda: shop.freezes("shared-0"))

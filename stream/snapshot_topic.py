"""Snapshots on their topic: written chunk by chunk, the head last, and found again from the end of it.

A chunk's key is `GROUP/PARTITION/GENERATION/NUMBER`, no two snapshots have one alike; a head's is `GROUP/PARTITION`, so
that compaction keeps the newest. A writer that dies leaves chunks that no head names. What a new head replaces is
deleted by its keys.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from stream import topics
from stream.connection import security
from stream.snapshots import Head, Packing, SnapshotRefused, State, Unpacking, read_head

log = logging.getLogger("haltline.snapshots")

Send = Callable[[bytes, bytes | None, int], Awaitable[int]]
"""Takes key, value and partition; gives the offset once the record is durable."""

#: Chunks on their way to the broker at once, a mebibyte each.
_UNDER_WAY = 4
#: Records looked at first for a head, from the end backwards; then four times as many, and so on.
_FIRST_LOOK = 16
_WAIT_MS = 200


class SnapshotTopic:
    """The snapshots of one group of workers."""

    def __init__(self, bootstrap_servers: str, client: Mapping[str, str], group: str, send: Send) -> None:
        self._bootstrap_servers, self._client, self._group, self._send = bootstrap_servers, client, group, send
        #: The newest snapshot of each partition that this process wrote or read.
        self._newest: dict[int, Head] = {}

    async def write(
        self, partition: int, place: int, state: State, positions: Mapping[str, int], taken_ms: int
    ) -> Head:
        """Save the state of a partition of telemetry in partition `place` of the topic; it is durable on return.

        The arrays must not change meanwhile; packing is done in a thread.
        """
        generation = f"{taken_ms:x}-{secrets.token_hex(4)}"
        packing = Packing(*state)
        chunks = packing.chunks()
        under_way: deque[asyncio.Future[int]] = deque()
        offsets: list[int] = []
        number = 0
        try:
            while (chunk := await asyncio.to_thread(_next, chunks)) is not None:
                if len(under_way) == _UNDER_WAY:
                    offsets.append(await under_way.popleft())
                key = self._chunk_key(partition, generation, number)
                under_way.append(asyncio.ensure_future(self._send(key, chunk, place)))
                number += 1
            offsets += await asyncio.gather(*under_way)
        finally:
            for sending in under_way:
                sending.cancel()
        head = packing.head(
            partition=partition, generation=generation, taken_ms=taken_ms, positions=positions,
            first=min(offsets, default=0),
        )  # fmt: skip
        await self._send(self._key(partition), head, place)
        before, self._newest[partition] = self._newest.get(partition), read_head(head)
        if before is not None:
            keys = [self._chunk_key(partition, before.generation, number) for number in range(len(before.chunks))]
            await asyncio.gather(*(self._send(key, None, place) for key in keys))
        return self._newest[partition]

    def forget(self, partition: int) -> None:
        """Another worker writes the snapshots of this partition now."""
        self._newest.pop(partition, None)

    async def newest(self, partition: int) -> Head | None:
        """What the newest snapshot of a partition of telemetry is of, without reading it; None where there is none.

        Raises:
            SnapshotRefused: there is one, and it is not as it was written, or not to be read by this version.
            KafkaError: the broker does not answer.
        """
        async with self._reading(partition) as (consumer, place):
            found = await self._last_head(consumer, place, self._key(partition)) if place is not None else None
        return None if found is None or found.value is None else read_head(found.value)

    async def read(self, partition: int) -> tuple[Head, State] | None:
        """The newest whole snapshot of a partition of telemetry; None where there is none.

        Raises:
            SnapshotRefused: there is one, and it is not as it was written, or not to be read by this version.
            KafkaError: the broker does not answer.
        """
        async with self._reading(partition) as (consumer, place):
            return await self._read(consumer, place, partition) if place is not None else None

    @asynccontextmanager
    async def _reading(self, partition: int) -> AsyncIterator[tuple[AIOKafkaConsumer, TopicPartition | None]]:
        """A consumer, and where the snapshots of this partition are; None where there is no topic."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # Faust's own reading goes on meanwhile; snapshots have checksums of their own.
            check_crcs=False,
            max_partition_fetch_bytes=8 << 20,
            # A fetch that waits at the end of the topic is waited for before the next one is sent.
            fetch_max_wait_ms=10,
            **security(self._client),
        )
        await consumer.start()
        try:
            numbers = consumer.partitions_for_topic(topics.SNAPSHOTS.name) or await _partitions(consumer)
            place = TopicPartition(topics.SNAPSHOTS.name, partition % len(numbers)) if numbers else None
            if place is not None:
                consumer.assign([place])
            yield consumer, place
        finally:
            with suppress(KafkaError):
                await consumer.stop()

    async def _read(
        self, consumer: AIOKafkaConsumer, place: TopicPartition, partition: int
    ) -> tuple[Head, State] | None:
        found = await self._last_head(consumer, place, self._key(partition))
        if found is None or found.value is None:
            return None
        head = read_head(found.value)
        if head.partition != partition:
            raise SnapshotRefused(f"it is of partition {head.partition}")
        unpacking = Unpacking(head)
        keys = {self._chunk_key(partition, head.generation, number): number for number in range(len(head.chunks))}
        chunks: dict[int, bytes | None] = {}
        taken = 0
        consumer.seek(place, head.first)
        while taken < len(keys) and await consumer.position(place) < found.offset:
            for record in await _more(consumer, place):
                if record.offset < found.offset and record.key in keys:
                    chunks[keys[record.key]] = record.value
            ready = []
            while taken in chunks:
                ready.append(chunks.pop(taken))
                taken += 1
            await asyncio.to_thread(_add, unpacking, ready)
        state = await asyncio.to_thread(unpacking.state)
        self._newest[partition] = head
        return head, state

    async def _last_head(self, consumer: AIOKafkaConsumer, place: TopicPartition, key: bytes) -> ConsumerRecord | None:
        """The newest record of a key, looked for from the end: the head is the last that a writer writes."""
        begin = (await consumer.beginning_offsets([place]))[place]
        end, step = (await consumer.end_offsets([place]))[place], _FIRST_LOOK
        while end > begin:
            since = max(begin, end - step)
            consumer.seek(place, since)
            found: ConsumerRecord | None = None
            while await consumer.position(place) < end:
                for record in await _more(consumer, place):
                    if record.offset < end and record.key == key:
                        found = record
            if found is not None:
                return found
            end, step = since, step * 4
        return None

    def _key(self, partition: int) -> bytes:
        return f"{self._group}/{partition}".encode()

    def _chunk_key(self, partition: int, generation: str, number: int) -> bytes:
        return f"{self._group}/{partition}/{generation}/{number}".encode()


async def _partitions(consumer: AIOKafkaConsumer) -> set[int]:
    await consumer._client.force_metadata_update()
    return consumer._client.cluster.partitions_for_topic(topics.SNAPSHOTS.name) or set()


async def _more(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = (await consumer.getmany(place, timeout_ms=_WAIT_MS)).get(place, [])
    return found


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _add(unpacking: Unpacking, chunks: list[bytes | None]) -> None:
    for chunk in chunks:
        unpacking.add(chunk)

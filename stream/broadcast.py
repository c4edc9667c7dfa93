"""What every worker must know: all changes and all freezes, read from the beginning and followed ever after.

Consumer groups divide a topic among workers; these two topics are small, and every worker needs the whole of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.connection import security

log = logging.getLogger("haltline.broadcast")

Headers = Sequence[tuple[str, bytes]]
_RETRY_S = 1.0
_HAND_OVER = 500


class Broadcast:
    """Follows topics without a group: `on_record` sees topic, value, headers and timestamp of every record.

    From the first record on; the timestamp is in Unix milliseconds.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        client: Mapping[str, str],
        topics: Sequence[str],
        on_record: Callable[[str, bytes | None, Headers, int], object],
    ) -> None:
        self._bootstrap_servers, self._client = bootstrap_servers, client
        self._topics = tuple(topics)
        self._on_record = on_record
        self._positions: dict[TopicPartition, int] = {}
        #: Set once everything that stood in the topics at the start has been handed over.
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled; a broker that goes away is waited for."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # a worker that has gone deaf in silence would be worse than one that is loud
                log.warning("cannot follow %s: %r; trying again", ", ".join(self._topics), error)
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=200,
            **security(self._client),
        )
        await consumer.start()
        try:
            partitions = await self._partitions(consumer)
            consumer.assign(partitions)
            for partition in partitions:
                if partition in self._positions:
                    consumer.seek(partition, self._positions[partition])
                else:
                    await consumer.seek_to_beginning(partition)
            ends = await consumer.end_offsets(partitions)
            while True:
                if not self.caught_up.is_set() and await self._reached(consumer, ends):
                    self.caught_up.set()
                batches = await consumer.getmany(timeout_ms=200, max_records=_HAND_OVER)
                for partition, records in batches.items():
                    for record in records:
                        self._on_record(record.topic, record.value, record.headers, record.timestamp)
                        self._positions[partition] = record.offset + 1
        finally:
            with suppress(KafkaError):
                await consumer.stop()

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        while True:
            await consumer._client.force_metadata_update()
            known = {topic: consumer._client.cluster.partitions_for_topic(topic) for topic in self._topics}
            if all(known.values()):
                return [
                    TopicPartition(topic, number) for topic in self._topics for number in sorted(known[topic] or ())
                ]
            absent = ", ".join(topic for topic, numbers in known.items() if not numbers)
            log.warning("topic %s does not exist yet; create it with `haltline topics --create`", absent)
            await asyncio.sleep(_RETRY_S)

    @staticmethod
    async def _reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
        for partition, end in ends.items():
            if await consumer.position(partition) < end:
                return False
        return True

"""The least that any worker on Kafka must do: as many hops as haltline's, with aiokafka and nothing else.

Run as a process of its own (`python -m bench.bare_chain BOOTSTRAP`): what comes on the first topic is written to the
second, and from there to the third, each record durable before the next is read.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream import topics

#: The same kinds of topics that haltline's way leads over.
CHAIN = tuple(
    msgspec.structs.replace(topic, name=f"bare.{topic.name}")
    for topic in (topics.TELEMETRY, topics.EVIDENCE, topics.FREEZES)
)


async def reader(bootstrap: str, names: Sequence[str]) -> AIOKafkaConsumer:
    """A started consumer of all partitions of these topics from their present end on, without a group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    await consumer._client.force_metadata_update()
    cluster = consumer._client.cluster
    consumer.assign(
        [TopicPartition(name, number) for name in names for number in sorted(cluster.partitions_for_topic(name) or ())]
    )
    await consumer.seek_to_end()
    return consumer


async def relay(bootstrap: str) -> None:
    """Pass on until killed; says `ready` on standard output when every hop is."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        hops = []
        for source, sink in itertools.pairwise(CHAIN):
            hops.append((await reader(bootstrap, [source.name]), sink.name))
        print("ready", flush=True)
        await asyncio.gather(*(_pass_on(consumer, sink, producer) for consumer, sink in hops))


async def _pass_on(consumer: AIOKafkaConsumer, sink: str, producer: AIOKafkaProducer) -> None:
    async for record in consumer:
        await producer.send_and_wait(sink, record.value, key=record.key)


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1]))

"""Reads one topic from its beginning on, look by look."""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer, TopicPartition


class Reader:
    """One topic from its beginning on; `records` grows with every look."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50, metrics_enabled=False
        )
        self._partitions = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic)]
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning(*self._partitions)
        self.records: list[Any] = []

    def look(self) -> list[Any]:
        """Everything that stands in the topic now."""
        ends = self._consumer.end_offsets(self._partitions)
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            for records in self._consumer.poll(timeout_ms=100).values():
                self.records += records
        return self.records

    def close(self) -> None:
        self._consumer.close()

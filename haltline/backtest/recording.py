"""A recorded history out of Kafka: the change and telemetry topics from their beginning to where they end now.

No group and no commit, and nothing is created: reading leaves no trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from deploy.change import Change
from deploy.policy import Policy
from haltline.broker import PATIENCE_S, consumer
from haltline.errors import HaltlineError
from haltline.settings import Settings
from stream.columns import Columns
from stream.errors import Unreadable
from stream.histograms import asked_of, of_recording
from stream.series_ids import SeriesIds
from stream.wire import decode_changes, decode_telemetry

#: Without a record for so long, reading is given up, seconds.
_STALLED_S = 30.0
#: A line of progress for each of so many parts.
_PARTS = 10

Say = Callable[[str], None]


def read_recording(
    settings: Settings, say: Say, policy: Policy, timeout: float = PATIENCE_S
) -> tuple[list[Change], list[Columns]]:
    """Every change and sample on the topics of these settings, of histograms what the policy asks for; `say` hears how
    far it is.

    Records that cannot be read are left out, as the worker leaves them out, and counted.

    Raises:
        HaltlineError: no Kafka, a topic that does not exist, or one that could not be read to its end.
    """
    with consumer(settings, timeout) as client:
        return _Reader(client, settings, say, policy).read()


class _Reader:
    def __init__(self, client: Any, settings: Settings, say: Say, policy: Policy) -> None:
        self._client, self._settings, self._say = client, settings, say
        self._changes: list[Change] = []
        self._columns: list[Columns] = []
        self._policy = policy
        self._series = SeriesIds(buckets_of=asked_of([policy]))
        self._skipped: list[str] = []

    def read(self) -> tuple[list[Change], list[Columns]]:
        settings = self._settings
        partitions = [*self._partitions(settings.change_topics), *self._partitions(settings.telemetry_topics)]
        self._client.assign(partitions)
        begins, ends = self._client.beginning_offsets(partitions), self._client.end_offsets(partitions)
        for partition in partitions:
            self._client.seek(partition, begins[partition])
        total = sum(ends[one] - begins[one] for one in partitions)
        names = ", ".join((*settings.change_topics, *settings.telemetry_topics))
        self._say(f"reading {total} records of {names} at {settings.bootstrap_servers}")
        left, told, heard = total, 0, time.monotonic()
        while left > 0:
            for batch in self._client.poll(timeout_ms=500).values():
                for message in batch:
                    heard = time.monotonic()
                    if message.offset < ends[_of(message)]:
                        self._take(message)
            # By position, as compaction and transactions leave offsets without a record.
            left = sum(max(0, ends[one] - self._client.position(one)) for one in partitions)
            if (total - left) * _PARTS // total > told:
                told = (total - left) * _PARTS // total
                self._say(f"read {100 * (total - left) // total} %")
            if left and time.monotonic() - heard > _STALLED_S:
                raise HaltlineError(
                    f"{names} at {settings.bootstrap_servers}: {left} records could not be read in time"
                )
        if self._skipped:
            self._say(f"left out {len(self._skipped)} records that cannot be read, the first {self._skipped[0]}")
        return self._changes, of_recording(self._columns, self._series, self._policy)

    def _partitions(self, topics: tuple[str, ...]) -> list[Any]:
        from kafka import TopicPartition

        partitions = []
        for topic in dict.fromkeys(topics):
            numbers = self._client.partitions_for_topic(topic)
            if not numbers:
                raise HaltlineError(f"kafka at {self._settings.bootstrap_servers} has no topic {topic}")
            partitions += [TopicPartition(topic, number) for number in sorted(numbers)]
        return partitions

    def _take(self, message: Any) -> None:
        if message.value is None:
            return
        headers = tuple((name, value) for name, value in message.headers or ())
        try:
            if message.topic in self._settings.change_topics:
                self._changes += decode_changes(message.topic, message.value, headers)
            else:
                self._columns.append(
                    decode_telemetry(message.topic, message.value, headers, self._series, message.timestamp)
                )
        except Unreadable as error:
            self._skipped.append(f"{message.topic}[{message.partition}]@{message.offset}: {error}")


def _of(message: Any) -> Any:
    from kafka import TopicPartition

    return TopicPartition(message.topic, message.partition)

"""When the state of a partition is saved, and how it is had back when the partition comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

from aiokafka.errors import KafkaError

from stream.errors import StreamError
from stream.metrics import Metrics
from stream.snapshot_topic import SnapshotTopic
from stream.snapshots import SnapshotRefused, State

log = logging.getLogger("haltline.snapshots")

#: Saving takes at most one part in so many of the time.
_SHARE = 10
#: At the end of the process: how often it is tried to copy a state that cannot be had, and how long between.
_TRIES, _WAIT_S = 25, 0.02


class Taken(NamedTuple):
    """A state that is a copy, and the next offset to read of each topic that it stands for."""

    state: State
    positions: Mapping[str, int]


class SnapshotKeeper:
    """Saves the partitions of this process one after another, and restores them.

    `take(partition)` copies a state between two records, None where it cannot be had now; `restore(partition, state)`
    puts one in place and raises `SnapshotRefused`, or anything else, where it cannot. `place(partition)` says which
    partition of the snapshots' topic one belongs to.
    """

    def __init__(
        self,
        topic: SnapshotTopic,
        metrics: Metrics,
        take: Callable[[int], Taken | None],
        restore: Callable[[int, State], Awaitable[None]],
        place: Callable[[int], Awaitable[int]],
        every_s: float,
    ) -> None:
        self._topic, self._metrics, self._every_s = topic, metrics, every_s
        self._take, self._restore, self._place = take, restore, place
        #: What the newest snapshot of each partition stands for, when it was looked at last, and how long saving took.
        self._saved: dict[int, Mapping[str, int]] = {}
        self._looked: dict[int, float] = {}
        self._cost: dict[int, float] = {}
        self._writing: asyncio.Task[None] | None = None

    def turn(self, partitions: Collection[int]) -> None:
        """Begin to save the partition that waits longest, if it is time and no other is being saved."""
        if self._writing is not None and not self._writing.done():
            return
        now = time.monotonic()
        pause = max(self._every_s, _SHARE * sum(self._cost.get(one, 0.0) for one in partitions))
        for partition in sorted(partitions, key=lambda one: self._looked.setdefault(one, now)):
            if now < self._looked[partition] + pause:
                return
            taken = self._take(partition)
            if taken is None:
                continue
            self._looked[partition] = now
            if taken.positions != self._saved.get(partition):
                self._writing = asyncio.ensure_future(self._write(partition, taken))
                return

    def forget(self, partition: int) -> None:
        """The partition went to another worker."""
        self._saved.pop(partition, None)
        self._looked.pop(partition, None)
        self._cost.pop(partition, None)
        self._topic.forget(partition)

    async def restore(self, partition: int, ends: Mapping[str, int]) -> Mapping[str, int]:
        """Put the newest snapshot in place; the offsets to go on from by topic, none where it is built by reading.

        `ends` are the ends of the topics: a snapshot that stands for more is of topics that are no more.
        """
        began = time.monotonic()
        try:
            found = await self._topic.read(partition)
            if found is None:
                log.info("no snapshot of partition %d: reading its topics from their beginning", partition)
                return {}
            head, state = found
            for name, position in head.positions.items():
                if name in ends and position > ends[name]:
                    raise SnapshotRefused(f"it stands for {position} records of {name}, which has {ends[name]}")
            try:
                await self._restore(partition, state)
            except StreamError:
                raise
            except Exception as error:
                raise SnapshotRefused(f"its state cannot be put in place: {error!r}") from error
        except SnapshotRefused as error:
            self._metrics.snapshot("refused")
            log.warning("snapshot of partition %d refused: %s; reading its topics again", partition, error)
            return {}
        except (KafkaError, OSError) as error:
            self._metrics.snapshot("unread")
            log.warning("snapshot of partition %d cannot be read: %r; reading its topics again", partition, error)
            return {}
        self._metrics.snapshot("restored")
        self._saved[partition] = head.positions
        self._looked[partition] = time.monotonic()
        age, seconds = time.time() - head.taken_ms / 1_000, time.monotonic() - began
        log.info(
            "partition %d restored in %.1f s from a snapshot of %.0f s ago (%.1f MiB)",
            partition, seconds, age, head.stored / 2**20,
        )  # fmt: skip
        return head.positions

    async def last(self, partitions: Collection[int]) -> None:
        """Save what changed since it was saved last, of each partition: the process ends, and another goes on."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        left = sorted(partitions)
        for _ in range(_TRIES):
            waiting = []
            for partition in left:
                taken = self._take(partition)
                if taken is None:
                    waiting.append(partition)
                elif taken.positions != self._saved.get(partition):
                    await self._write(partition, taken)
            left = waiting
            if not left:
                return
            # Something that follows from the state is not durable yet; or there is no state, and never will be.
            await asyncio.sleep(_WAIT_S)

    async def close(self) -> None:
        """Stop writing; what was begun has no head and is nothing."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self, partition: int, taken: Taken) -> None:
        began = time.monotonic()
        try:
            head = await self._topic.write(
                partition, await self._place(partition), taken.state, taken.positions, int(time.time() * 1_000)
            )
        except Exception as error:  # the state is in memory and the records on their topics: nothing is lost yet
            self._metrics.snapshot("failed")
            log.warning("snapshot of partition %d not written: %r", partition, error)
            return
        finally:
            self._cost[partition] = time.monotonic() - began
        if partition in self._looked:
            self._saved[partition] = taken.positions
        self._metrics.snapshot("written", head.stored)
        log.debug("snapshot of partition %d: %d bytes, %d stored", partition, head.size, head.stored)

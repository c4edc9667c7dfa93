"""Reading what haltline knows out of Kafka: the topics from their beginning to their end, and then what follows.

No group and no commit: a reader leaves no trace, and any number may read at once. As orders are read beside freezes, a
person's freeze holds from the moment its order is durable, also while no worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deploy.change import Change
from deploy.errors import DeployError
from haltline.broker import PATIENCE_S, NoBroker, consumer
from haltline.errors import HaltlineError, InvalidSettings
from haltline.settings import Settings
from haltline.state import Record, Seen, State
from stream import topics as catalogue
from stream.errors import Unreadable

FREEZES, ORDERS, CHANGES, VERDICTS, EVIDENCE, LEDGER, POLICIES = (
    topic.name
    for topic in (
        catalogue.FREEZES,
        catalogue.ORDERS,
        catalogue.CHANGES,
        catalogue.VERDICTS,
        catalogue.EVIDENCE,
        catalogue.LEDGER,
        catalogue.POLICIES,
    )
)

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key

Warn = Callable[[str], None]


def read_state(
    settings: Settings,
    *,
    topics: Sequence[str],
    timeout: float = PATIENCE_S,
    warn: Warn = lambda _line: None,
    since: Mapping[str, int] | None = None,
) -> State:
    """What these topics say now; see `View`."""
    with view(settings, topics=topics, timeout=timeout, warn=warn, since=since) as seen:
        return seen.state


def keys_of(settings: Settings) -> list[Key]:
    """The public keys that attestations must be signed with; none where none is configured.

    Raises:
        InvalidSettings: a file of them cannot be read or holds none.
    """
    if not settings.attestation_keys:
        return []
    from deploy.provenance.attestation import load_key

    keys = []
    for path in settings.attestation_keys:
        try:
            keys.append(load_key(path.read_bytes()))
        except (OSError, DeployError) as error:
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise InvalidSettings(f"{path}: no key for attestations: {why}") from None
    return keys


@contextmanager
def view(
    settings: Settings,
    *,
    topics: Sequence[str],
    timeout: float = PATIENCE_S,
    warn: Warn = lambda _line: None,
    since: Mapping[str, int] | None = None,
    hear: Callable[[Change], None] | None = None,
) -> Iterator[View]:
    """The topics read to their end within `timeout` seconds, and open for what follows.

    `haltline.changes` among the topics stands for the change topics of the settings. `since` gives a topic the time
    (Unix milliseconds) before which it is not read. `warn` gets a line for each record that cannot be read.

    Raises:
        HaltlineError: no Kafka, a topic that does not exist, or more than can be read in time.
    """
    wanted = list(
        dict.fromkeys(name for topic in topics for name in (settings.change_topics if topic == CHANGES else (topic,)))
    )
    with consumer(settings, timeout) as client:
        one = View(client, State(settings.change_topics, hear, keys_of(settings)), warn)
        one.read(wanted, settings, time.monotonic() + timeout, since or {})
        yield one


class View:
    """A state, and the open consumer that feeds it."""

    def __init__(self, client: Any, state: State, warn: Warn) -> None:
        self._client = client
        self._warn = warn
        self._skipped: list[str] = []
        self.state = state

    def read(self, wanted: Iterable[str], settings: Settings, deadline: float, since: Mapping[str, int]) -> None:
        """Read these topics from their beginning to where they end now."""
        from kafka import TopicPartition

        partitions = []
        for topic in wanted:
            numbers = self._client.partitions_for_topic(topic)
            if not numbers:
                raise HaltlineError(
                    f"kafka at {settings.bootstrap_servers} has no topic {topic}; `haltline topics --create` makes it"
                )
            partitions += [TopicPartition(topic, number) for number in sorted(numbers)]
        self._client.assign(partitions)
        begins, ends = self._client.beginning_offsets(partitions), self._client.end_offsets(partitions)
        for partition in partitions:
            self._client.seek(partition, begins[partition])
        late = {partition: since[partition.topic] for partition in partitions if partition.topic in since}
        for partition, found in (self._client.offsets_for_times(late) if late else {}).items():
            self._client.seek(partition, found.offset if found is not None else ends[partition])
        left = {partition for partition in partitions if self._client.position(partition) < ends[partition]}
        # A fetch that also waits for partitions that have nothing more would hold up those that have.
        self._client.pause(*(set(partitions) - left))
        while left:
            if time.monotonic() > deadline:
                names = ", ".join(sorted({partition.topic for partition in left}))
                raise NoBroker(f"{names} at {settings.bootstrap_servers} could not be read to the end in time")
            for _ in self.fold(self.records(0.2)):
                pass
            read = {partition for partition in left if self._client.position(partition) >= ends[partition]}
            self._client.pause(*read)
            left -= read
        self._client.resume(*partitions)
        self.say_skipped()

    def follow(self, seconds: float) -> Iterator[Seen]:
        """What is new, waiting for it up to this long."""
        yield from self.fold(self.records(seconds))
        self.say_skipped()

    def say_skipped(self) -> None:
        """Warn of what could not be read since this was last asked."""
        if self._skipped:
            count = len(self._skipped)
            which = (
                self._skipped[0] if count == 1 else f"{count} records that cannot be read, the first {self._skipped[0]}"
            )
            self._skipped.clear()
            self._warn(f"skipped {which}")

    def records(self, seconds: float) -> list[Record]:
        """What is new, not folded in yet, waiting for it up to this long."""
        batches = self._client.poll(timeout_ms=int(seconds * 1000))
        return [
            Record(
                message.topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                tuple((name, value) for name, value in message.headers or ()),
                message.timestamp or 0,
            )
            for batch in batches.values()
            for message in batch
        ]

    def fold(self, records: Iterable[Record]) -> Iterator[Seen]:
        """Take records in; gives what is known otherwise than before."""
        for record in records:
            try:
                yield from self.state.take(record)
            except Unreadable as error:
                self._skipped.append(f"{record.topic}[{record.partition}]@{record.offset}: {error}")

"""Kafka as the command line uses it: kafka-python's clients, and one clear line when there is no broker."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from haltline.client import kafka_python
from haltline.errors import HaltlineError
from haltline.settings import Settings

if TYPE_CHECKING:
    from stream.wire.outgoing import Wire

#: How long a command tries to reach a broker, seconds.
PATIENCE_S = 5.0
#: kafka-python's 100 ms are also waited between the first metadata and those of the topics: in each command, twice.
RETRY_MS = 10


class NoBroker(HaltlineError):
    """No Kafka answers; the text says what was tried and what to do."""


class KafkaRefused(HaltlineError):
    """Kafka answered, and refused."""


@contextmanager
def consumer(settings: Settings, timeout: float = PATIENCE_S) -> Iterator[Any]:
    """A `KafkaConsumer` without a group, that commits nothing; everything Kafka raises comes as a `HaltlineError`."""
    deadline = time.monotonic() + timeout
    with _translated(settings, timeout):
        reach(settings, deadline)
        from kafka import KafkaConsumer  # heavy: only where used

        _retry_soon()
        with KafkaConsumer(
            **_connection(settings, deadline),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            metrics_enabled=False,
            # A waiting fetch is what `--watch` sees new records by; short, so that Ctrl-C is quick.
            fetch_max_wait_ms=200,
            max_partition_fetch_bytes=8 * 1024 * 1024,
            max_poll_records=5_000,
        ) as client:
            yield client


@contextmanager
def producer(settings: Settings, timeout: float = PATIENCE_S) -> Iterator[Any]:
    """A `KafkaProducer` whose writes count only when all replicas in sync have them."""
    deadline = time.monotonic() + timeout
    with _translated(settings, timeout):
        reach(settings, deadline)
        from kafka import KafkaProducer  # heavy: only where used

        _retry_soon()
        with KafkaProducer(
            **_connection(settings, deadline),
            acks="all",
            max_block_ms=int(timeout * 1000),
            max_request_size=8 * 1024 * 1024,
            metrics_enabled=False,
        ) as client:
            yield client


def _retry_soon() -> None:
    """Have a client's metadata obey `retry_backoff_ms` too: kafka-python 3.0 does not hand it on to them."""
    from kafka.cluster import ClusterMetadata

    ClusterMetadata.DEFAULT_CONFIG["retry_backoff_ms"] = RETRY_MS


def send(client: Any, topic: str, records: Iterable[Wire], timeout: float = PATIENCE_S) -> int:
    """Write records and wait until each is durable; gives how many.

    Raises:
        HaltlineError: the topic does not exist.
    """
    if not client.partitions_for(topic):
        raise HaltlineError(f"kafka has no topic {topic}; `haltline topics --create` makes haltline's own")
    # Far enough ahead to be quick, not so far that a long recording would be in memory at once.
    waiting: deque[Any] = deque()
    count = 0
    for record in records:
        waiting.append(client.send(topic, key=record.key, value=record.value, headers=list(record.headers)))
        count += 1
        if len(waiting) > 1_000:
            waiting.popleft().get(timeout=timeout)
    client.flush(timeout=timeout)
    for one in waiting:
        one.get(timeout=timeout)
    return count


def reach(settings: Settings, deadline: float) -> None:
    """Raise `NoBroker` unless one of the servers takes a connection: at once where it refuses."""
    tried = []
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise HaltlineError(f"{server.strip()!r} is not HOST:PORT of a kafka, such as 127.0.0.1:9092")
        try:
            left = deadline - time.monotonic()
            with socket.create_connection((host.strip("[]"), int(port)), timeout=max(0.2, min(3.0, left))):
                return
        except TimeoutError:
            tried.append("no answer")
        except (OSError, UnicodeError) as error:
            tried.append((getattr(error, "strerror", None) or str(error)).lower())
    raise NoBroker(_nobody(settings, ", ".join(dict.fromkeys(tried))))


def _nobody(settings: Settings, why: str) -> str:
    named = f" (from {settings.bootstrap_from})" if settings.bootstrap_from else " (the default)"
    return (
        f"no kafka at {settings.bootstrap_servers}{named}: {why}; "
        "start one with `haltline up` or name yours with --bootstrap-servers"
    )


def _connection(settings: Settings, deadline: float) -> dict[str, Any]:
    left_ms = max(500, int((deadline - time.monotonic()) * 1000))
    return {
        "client_id": "haltline",
        **kafka_python(settings.client),
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": left_ms,
        "request_timeout_ms": 30_000,
        "retry_backoff_ms": RETRY_MS,
    }


@contextmanager
def _translated(settings: Settings, timeout: float) -> Iterator[None]:
    # The client's own log repeats, many times over, what the one line of the error says.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        # The exceptions of a library that is imported only when it is needed.
        if not type(error).__module__.startswith("kafka."):
            if isinstance(error, OSError) and settings.client and not isinstance(error, BrokenPipeError):
                # A certificate or key that cannot be read.
                raise HaltlineError(f"cannot connect as {settings.client.get('security.protocol')}: {error}") from error
            raise
        name, text = type(error).__name__, str(error).splitlines()[0][:300]
        if name in ("KafkaTimeoutError", "KafkaConnectionError", "NodeNotReadyError"):
            raise NoBroker(
                _nobody(settings, f"something listens but did not answer as kafka within {timeout:g} s ({name})")
            ) from error
        raise KafkaRefused(f"kafka at {settings.bootstrap_servers} refused: {text}") from error

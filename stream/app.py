"""The Faust worker: groups, partitions, offsets and rebalancing are Faust's; what is decided is `stream.worker`'s.

`run(config)` is `haltline worker`. `faust -A stream.app worker` starts the same app with defaults and Faust's own
settings (`BROKER_URL`, `APP_DATADIR`, ...).
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from deploy.policy import Policy, load_policy
from stream import topics
from stream.agents import WAITING, Progress, install
from stream.config import WorkerConfig
from stream.connection import ssl_context
from stream.errors import StreamError
from stream.warm_up import warm_up
from stream.watch import Watch

log = logging.getLogger("haltline.app")

#: Seconds after which the partitions of a worker that died are given to another.
_SESSION_TIMEOUT_S = 6.0
_HEARTBEAT_S = 1.5
_COMMIT_S = 1.0
_FETCH_WAIT_MS = 100
#: How long a fetch waits while enough telemetry is at hand.
_FULL_WAIT_S = 0.01
#: Records of one fetch: enough to make Faust's share of each small, few enough that the judge is not kept waiting.
_FETCH_RECORDS = 500
#: After how many new objects Python looks for cycles, and for how many times of that among older ones.
_COLLECTED = (50_000, 20, 20)


class MetricsAddressUnusable(StreamError):
    """Nothing can be served at the address given for the metrics; the text says why."""


class _Thread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a fetch that waits less, and that never lets telemetry stand before the rest."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # A partition read empty during a fetch waits for its end.
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        return consumer

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  # Faust's own signature
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        # What was fetched is handed out partition by partition, each to its end: megabytes of telemetry would stand
        # before one record of evidence.
        bulk = cast(_Transport, self.transport).progress.bulk
        records: Mapping[TP, list[Any]] = {}
        if first := {tp for tp in active_partitions if tp.topic not in bulk}:
            records = await super()._fetch_records(consumer, first, 0, max_records)
        if records:
            # The other call may raise, and what is in hand would be lost: the next fetch is not far.
            return records
        return await super()._fetch_records(consumer, active_partitions, timeout, max_records)


class _ReadOffsets(defaultdict[TP, int | None]):
    """Faust's note of the last record that it delivered, which it neither needs nor finds for the topics named.

    It drops what lies before, and sets it also after a rebalance to where it was before: what a rebalance had read
    again would be lost.
    """

    def __init__(self, topics: frozenset[str]) -> None:
        super().__init__(lambda: None)
        self._topics = topics

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic in self._topics else super().__getitem__(tp)


class _Consumer(driver.Consumer):
    """Faust's consumer, with this process's state of each partition for its book, and many records for one event.

    What a worker knows of a partition lives in memory. One that gets a partition anew therefore reads it from the
    beginning of what is kept and decides again; ids follow from causes, so nothing is decided twice. As each agent does
    one record of a partition after the other, the one number of how far it came says all that can be committed.

    An event costs Faust some 70 µs (task switches, tracking, acknowledgement), which for small records is most of the
    work: so all that one fetch brought of a partition goes through conductor, channel and stream as one event, whose
    value is the records.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _ReadOffsets(self.progress.topics)

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @property
    def progress(self) -> Progress:
        return cast(_Transport, self.transport).progress

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's own signature
        if active_partitions and self.progress.loading:
            active_partitions = active_partitions - self.progress.loading
            if not active_partitions:
                await self.sleep(_FULL_WAIT_S)
                return {}
        if self.progress.waiting() >= WAITING and active_partitions:
            # Enough telemetry waits. What else comes need not wait for it, and nobody wakes who waits here when it is
            # worked through.
            active_partitions = {tp for tp in active_partitions if tp.topic not in self.progress.bulk}
            timeout = _FULL_WAIT_S
            if not active_partitions:
                await self.sleep(timeout)
                return {}
        sought = dict(self.progress.sought)
        fetched = await super()._getmany(active_partitions, timeout)
        fetched = await self._without_stale(fetched, sought)
        return {tp: [records] if tp.topic in self.progress.topics else records for tp, records in fetched.items()}

    async def _without_stale(self, fetched: Any, sought: Mapping[TP, int]) -> Any:
        """Without partitions that were sought while this was fetched: who knows from where their records are.

        A fetch that was under way takes those in that a rebalance has just brought.
        """
        progress = self.progress
        stale = [tp for tp in fetched if tp in progress.loading or sought.get(tp) != progress.sought.get(tp)]
        if not stale:
            return fetched
        progress.dropped |= progress.loading.intersection(stale)
        for tp in stale:
            if tp not in progress.loading and tp in progress.positions:
                await self.seek(tp, progress.positions[tp])
        return {tp: records for tp, records in fetched.items() if tp not in stale}

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, list):
            return super()._to_message(tp, record)
        message = super()._to_message(tp, record[-1])
        message.value = record  # type: ignore[assignment]  # `stream.agents` gives these topics a schema of its own
        return message

    async def perform_seek(self) -> None:
        await super().perform_seek()
        progress = self.progress
        held = self.assignment()
        progress.acknowledged = {tp: self._committed_offset.get(tp) or 0 for tp in held}
        followed = {tp for tp in held if tp.topic in progress.topics}
        fresh = [tp for tp in followed if tp.topic in progress.stateful and tp not in progress.positions]
        progress.loading = progress.load(frozenset(fresh))
        fresh = [tp for tp in fresh if tp not in progress.loading]
        beginnings: Mapping[TP, int] = await self.earliest_offsets(*fresh) if fresh else {}
        for tp in sorted(followed - progress.loading):
            start = beginnings.get(tp, 0) if tp.topic in progress.stateful else progress.acknowledged[tp]
            await self.seek(tp, progress.positions.setdefault(tp, start))

    def ack(self, message: Any) -> bool:
        if message.topic not in self.progress.topics:
            return super().ack(message)
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp in self.progress.positions:
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.progress.topics:
            return super()._new_offset(tp)
        return self.progress.positions.get(tp) or None


class _Transport(driver.Transport):
    Consumer = _Consumer
    progress: Progress


def build(config: WorkerConfig, policy: Policy, watch: type[Watch] = Watch) -> faust.App:
    """Make the app; nothing is connected until it runs."""
    connection: dict[str, Any] = {}
    if config.bootstrap_servers:
        brokers = [f"kafka://{address.strip()}" for address in config.bootstrap_servers.split(",")]
        connection = {"broker": ";".join(brokers), "broker_credentials": _credentials(config.client)}
    app = faust.App(
        config.group,
        **connection,
        datadir=str(config.data_dir),
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        # Topics are made by `haltline topics` with the settings that they need.
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_session_timeout=_SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_commit_interval=_COMMIT_S,
        broker_check_crcs=False,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=_FETCH_RECORDS,
        consumer_max_fetch_size=topics.TELEMETRY.max_message_bytes or 1_048_576,
        producer_acks=-1,
        producer_linger=0,
        producer_max_request_size=topics.DEADLETTER.max_message_bytes or 1_048_576,
        stream_wait_empty=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    transport = _Transport(list(app.conf.broker_consumer), app)
    transport.progress = install(app, config, policy, watch)
    app.transport = transport
    return app


def _credentials(client: Mapping[str, str]) -> Any:
    protocol = client.get("security.protocol", "PLAINTEXT")
    if protocol == "PLAINTEXT":
        return None
    context = ssl_context(client) if protocol in ("SSL", "SASL_SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=client.get("sasl.username"),
        password=client.get("sasl.password"),
        ssl_context=context,
        mechanism=client.get("sasl.mechanism", "PLAIN"),
    )


def run(config: WorkerConfig, watch: type[Watch] = Watch) -> int:
    """Run a worker until it is told to stop. The topics must exist, and the broker answer: Faust would wait in silence.

    Raises:
        InvalidPolicy: the policy file is broken.
        MetricsAddressUnusable: nothing can be served there.
    """
    policy = policy_of(config.policy)
    if config.metrics_address:
        _try_address(config.metrics_address)
    warm_up()
    config.data_dir.mkdir(parents=True, exist_ok=True)
    worker = faust.Worker(
        build(config, policy, watch), loglevel=config.log_level, logging_config=_logging(config.log_level)
    )
    # What is there now stays, and what samples leave behind holds no cycles: the collector need not look so often.
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    try:
        worker.execute_from_commandline()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def _try_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, OverflowError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise MetricsAddressUnusable(
            f"cannot serve metrics at {address}: {why}; --metrics-address names another, port 0 takes a free one"
        ) from None


def policy_of(path: Path | None) -> Policy:
    if path is None:
        return Policy()
    policy, warnings = load_policy(path)
    for warning in warnings:
        log.warning(warning)
    return policy


def _logging(level: str) -> dict[str, Any]:
    """One line an event on standard error: haltline's from `level` on, Faust's and aiokafka's only when they matter."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "line"}},
        "loggers": {
            "haltline": {"level": level.upper()},
            "faust": {"level": "WARNING"},
            "aiokafka": {"level": "ERROR"},
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
    }


def __getattr__(name: str) -> Any:
    # Made when asked for: importing this module must not read a policy or name a broker.
    if name == "app":
        return build(WorkerConfig(bootstrap_servers=""), Policy())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

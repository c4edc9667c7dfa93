"""The Faust worker: groups, partitions, offsets and rebalancing are Faust's; what is decided is `stream.worker`'s.

`run(config)` is `haltline worker`. `faust -A stream.app worker` starts the same app with defaults and Faust's own
settings (`BROKER_URL`, `APP_DATADIR`, ...).
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from deploy.policy import Policy, load_policy
from stream import topics
from stream.agents import Progress, install
from stream.config import WorkerConfig
from stream.connection import ssl_context
from stream.errors import StreamError
from stream.warm_up import warm_up

log = logging.getLogger("haltline.app")

#: Seconds after which the partitions of a worker that died are given to another.
_SESSION_TIMEOUT_S = 6.0
_HEARTBEAT_S = 1.5
_COMMIT_S = 1.0
_FETCH_WAIT_MS = 100


class MetricsAddressUnusable(StreamError):
    """Nothing can be served at the address given for the metrics; the text says why."""


class _Thread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a fetch that waits less: a partition read empty during a fetch waits for its end."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        return consumer


class _Consumer(driver.Consumer):
    """Starts a partition where this process's state of it ends, not where the group last acknowledged.

    What a worker knows of a partition lives in memory. One that gets a partition anew therefore reads it from the
    beginning of what is kept and decides again; ids follow from causes, so nothing is decided twice.
    """

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        await super().perform_seek()
        progress = cast(_Transport, self.transport).progress
        held = self.assignment()
        progress.acknowledged = {tp: self._committed_offset.get(tp) or 0 for tp in held}
        state = {tp for tp in held if tp.topic in progress.topics}
        fresh = [tp for tp in state if tp not in progress.positions]
        beginnings: Mapping[TP, int] = await self.earliest_offsets(*fresh) if fresh else {}
        for tp in sorted(state):
            await self.seek(tp, progress.positions.setdefault(tp, beginnings.get(tp, 0)))

    def ack(self, message: Any) -> bool:
        # Faust keeps a message below the committed offset as pending for ever; read again on purpose, it is not.
        acknowledged = super().ack(message)
        self._unacked_messages.discard(message)
        return acknowledged


class _Transport(driver.Transport):
    Consumer = _Consumer
    progress: Progress


def build(config: WorkerConfig, policy: Policy) -> faust.App:
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
        consumer_max_fetch_size=topics.TELEMETRY.max_message_bytes or 1_048_576,
        producer_acks=-1,
        producer_linger=0,
        producer_max_request_size=topics.DEADLETTER.max_message_bytes or 1_048_576,
        stream_wait_empty=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    transport = _Transport(list(app.conf.broker_consumer), app)
    transport.progress = install(app, config, policy)
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


def run(config: WorkerConfig) -> int:
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
    worker = faust.Worker(build(config, policy), loglevel=config.log_level, logging_config=_logging(config.log_level))
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

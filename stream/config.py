"""What a worker needs to know to run. The face reads it from flags, environment and files; the stream only takes it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stream import topics


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one worker process.

    `client` holds connection options in librdkafka's names (`security.protocol`, `sasl.mechanism`, ...).
    `metrics_address` is `host:port`; port 0 takes a free one; empty serves none.
    """

    bootstrap_servers: str
    client: dict[str, str] = {}
    group: str = "haltline"
    telemetry_topics: tuple[str, ...] = (topics.TELEMETRY.name, topics.OTLP_METRICS.name)
    change_topics: tuple[str, ...] = (topics.CHANGES.name,)
    policy: Path | None = None
    #: Public keys in PEM that attestations must be signed with; without one all of them are unverified.
    attestation_keys: tuple[bytes, ...] = ()
    metrics_address: str = "127.0.0.1:9464"
    data_dir: Path = Path(".haltline")
    log_level: str = "info"
    #: Seconds between two snapshots of a partition, at least.
    snapshot_s: float = 30.0

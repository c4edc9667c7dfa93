"""Whether a Kafka works: a record goes in and comes out again."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress

from stream.kafka_errors import BrokerNotReady

__all__ = ["HEALTH_TOPIC", "pass_one_record"]

HEALTH_TOPIC = "__haltline_health"


def pass_one_record(bootstrap: str, cluster: str, timeout_s: float) -> None:
    """Send a record through `HEALTH_TOPIC` of that very cluster; raise `BrokerNotReady` if it does not come back."""
    from kafka.errors import KafkaError  # heavy: only where used

    try:
        _pass_one_record(bootstrap, cluster, timeout_s)
    except KafkaError as error:
        raise BrokerNotReady(f"kafka at {bootstrap} passes no record: {error!r}") from error


def _pass_one_record(bootstrap: str, cluster: str, timeout_s: float) -> None:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import KafkaTimeoutError, TopicAlreadyExistsError

    deadline = time.monotonic() + timeout_s
    timeout_ms = int(timeout_s * 1000)
    to_broker = {"bootstrap_servers": bootstrap, "bootstrap_timeout_ms": timeout_ms}
    with KafkaAdminClient(**to_broker) as admin:
        found = admin.describe_cluster()["cluster_id"]
        if found != cluster:
            raise BrokerNotReady(f"another kafka answers at {bootstrap}: cluster {found}, not {cluster}")
        settings = {"retention.ms": "60000", "segment.bytes": "1048576"}
        topic = {"num_partitions": 1, "replication_factor": 1, "configs": settings}
        with suppress(TopicAlreadyExistsError):
            admin.create_topics({HEALTH_TOPIC: topic}, timeout_ms=timeout_ms)
        admin.wait_for_topics([HEALTH_TOPIC], timeout_ms=timeout_ms)
    token = uuid.uuid4().bytes
    with KafkaProducer(**to_broker, max_block_ms=timeout_ms) as producer:
        sent = producer.send(HEALTH_TOPIC, token).get(timeout=timeout_s)
    with KafkaConsumer(**to_broker, enable_auto_commit=False) as consumer:
        partition = TopicPartition(HEALTH_TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                if any(record.value == token for record in records):
                    return
    raise KafkaTimeoutError("the record that was sent did not come back")

"""From a harmful change in Kafka through a real worker and a real Prometheus to the alert that somebody gets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from stream import topics
from stream.local_kafka import LocalKafka
from tests.conftest import require_tool
from tests.ops.prometheus_server import Inbox, running_alertmanager, running_prometheus, wait_for
from tests.stream.incident import POLICY, Incident, encoded
from tests.stream.worker_process import WorkerProcess


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


def test_a_harmful_change_becomes_an_alert_at_its_receiver(
    private_kafka: LocalKafka, inbox: Inbox, tmp_path: Path
) -> None:
    require_tool("prometheus", "prometheus-alertmanager")
    bootstrap = private_kafka.bootstrap_servers
    topics.create(bootstrap)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    incident = Incident("checkout", (int(time.time()) - 120) * 1_000)
    with WorkerProcess(bootstrap, tmp_path / "worker", "--policy", str(policy)) as worker:
        port = wait_for("the metrics' address", worker.port)
        with (
            running_alertmanager(tmp_path, inbox) as alertmanager,
            running_prometheus(f"127.0.0.1:{port}", tmp_path, alertmanager) as prometheus,
        ):
            wait_for("the first scrape", lambda: prometheus.value('up{job="haltline"}') == 1)
            assert prometheus.alerts("HaltlineFreezeActive") == []
            with KafkaProducer(bootstrap_servers=bootstrap, metrics_enabled=False) as producer:
                producer.send(topics.CHANGES.name, encoded(incident.change), key=b"checkout-2").get(timeout=60)
                for record in incident.telemetry:
                    producer.send(topics.TELEMETRY.name, encoded(record), key=b"checkout")
            [alert] = wait_for("the alert", lambda: prometheus.alerts("HaltlineFreezeActive"))
            labels = {name: alert["labels"][name] for name in ("level", "mode", "environment")}
            assert labels == {"level": "L1", "mode": "enforce", "environment": "production"}
            [note] = wait_for("the ticket", lambda: inbox.notifications("ticket", "firing", "HaltlineFreezeActive"))
            assert note["commonAnnotations"]["description"].startswith("1 enforced freeze(s) of level L1")
            assert prometheus.value('haltline_freezes_total{level="L1",mode="enforce"}') == 1
            assert prometheus.value('haltline_verdicts_total{state="harmful"}') == 1

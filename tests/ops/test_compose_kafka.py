"""The environment of the compose file's Kafka, given to the same Kafka as its image would give it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from stream.errors import BrokerUnavailable
from stream.kafka_runtime import find_classpath, find_java
from stream.kafka_settings import free_port
from stream.leash import leashed
from stream.topics import CATALOGUE, State, create, show
from tests.ops.prometheus_server import ROOT, wait_for

# What the image takes from the environment and does not write into the broker's settings.
NOT_SETTINGS = {"KAFKA_HEAP_OPTS"}


def broker_settings(folder: Path, ports: dict[str, int]) -> str:
    """KAFKA_NODE_ID is node.id and so on, as the image does it; only the ports and names of this machine differ."""
    environment = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name not in NOT_SETTINGS
    }
    settings["log.dirs"] = str(folder / "data")
    lines = []
    for name, value in settings.items():
        if name.endswith(("listeners", "voters")):
            value = (
                value.replace("://:", "://127.0.0.1:")
                .replace("kafka:", "127.0.0.1:")
                .replace("localhost:", "127.0.0.1:")
            )
            for port, ours in ports.items():
                value = value.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
        lines.append(f"{name}={value}\n")
    return "".join(lines)


def answers(port: int) -> bool:
    try:
        return bool(show(f"127.0.0.1:{port}"))
    except BrokerUnavailable:
        return False


@pytest.mark.slow
@pytest.mark.kafka
def test_kafka_starts_with_it_and_both_its_doors_lead_to_the_topics(tmp_path: Path) -> None:
    ports = {port: free_port() for port in ("19092", "9092", "9093")}
    assert len(set(ports.values())) == len(ports)
    (tmp_path / "broker.properties").write_text(broker_settings(tmp_path, ports))
    environ = dict(os.environ)
    java = [str(find_java(environ)), "-Xmx512m", "-XX:+UseSerialGC", "-cp", find_classpath(environ, print)]
    identity = "4L6g3nShT-eMCtK--X86sw"
    storage = [*java, "kafka.tools.StorageTool", "format", "-t", identity, "-c", str(tmp_path / "broker.properties")]
    subprocess.run(storage, check=True, capture_output=True, timeout=120)
    log = tmp_path / "kafka.log"
    with log.open("wb") as output:
        broker = subprocess.Popen(
            leashed([*java, "kafka.Kafka", str(tmp_path / "broker.properties")], str(tmp_path / "kafka.pid")),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for("kafka to start", lambda: broker.poll() is not None or answers(ports["9092"]))
        assert broker.poll() is None, log.read_text()[-3000:]
        made = create(f"127.0.0.1:{ports['19092']}")
        assert {state.state for state in made} == {State.CREATED}
        seen = create(f"127.0.0.1:{ports['9092']}")
        assert [(state.topic.name, state.state) for state in seen] == [(topic.name, State.OK) for topic in CATALOGUE]
    finally:
        broker.terminate()
        broker.wait(30)

"""`haltline backtest --from-kafka`: the same as from files, and no trace on the broker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaAdminClient, KafkaProducer

from deploy.change import change_to_object
from haltline.cli.root import haltline
from tests.conftest import FreshTopics
from tests.factories import objects
from tests.stream.backtest.history import changes, telemetry

pytestmark = pytest.mark.kafka

QUICK = ("--placebo", "20", "--injections", "2", "-o", "json")
PATIENCE_S = 60.0


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, ["backtest", *args])


@pytest.fixture
def history(topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The history on topics of its own, which the environment names, and in files."""
    for name in [name for name in os.environ if name.startswith("HALTLINE_")]:
        monkeypatch.delenv(name)
    told = [json.dumps(change_to_object(one)) for one in changes()]
    said = []
    for one in objects(telemetry()):
        [metric] = one["metrics"]
        for start in range(0, len(metric["times"]), 480):
            part = {name: metric[name][start : start + 480] for name in ("times", "values")}
            said.append(json.dumps(one | {"metrics": [metric | part]}))
    for name, lines in (("changes", told), ("telemetry", said)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    place = {"changes": topics.create("changes"), "telemetry": topics.create("telemetry", partitions=3)}
    with KafkaProducer(bootstrap_servers=topics.bootstrap, acks="all") as producer:
        for number, line in enumerate(said):
            producer.send(place["telemetry"], key=b"%d" % (number % 5), value=line.encode())
        producer.send(place["telemetry"], value=b"{ not telemetry")
        for one, line in zip(changes(), told, strict=True):
            producer.send(place["changes"], key=one.id.encode(), value=line.encode())
        producer.send(place["changes"], key=b"gone", value=None)
        producer.flush(timeout=PATIENCE_S)
    for name, value in {
        "HALTLINE_BOOTSTRAP_SERVERS": topics.bootstrap,
        "HALTLINE_CHANGE_TOPICS": place["changes"],
        "HALTLINE_TELEMETRY_TOPICS": place["telemetry"],
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def trace(bootstrap: str) -> tuple[set[str], set[str]]:
    """The topics and the consumer groups that the broker has."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        groups = {str(group["group_id"]) if isinstance(group, dict) else str(group) for group in admin.list_groups()}
        return set(admin.list_topics()), groups


def test_the_topics_tell_the_same_as_the_files_and_reading_leaves_no_trace(history: Path, topics: FreshTopics) -> None:
    before = trace(topics.bootstrap)
    live = run("--from-kafka", *QUICK)
    assert live.exit_code == 0, live.output
    said = ["--telemetry", str(history / "telemetry.jsonl"), "--changes", str(history / "changes.jsonl")]
    recorded = run(*said, *QUICK)
    assert live.stdout == recorded.stdout
    assert json.loads(live.stdout)["incidents"]["caught"]["hits"] == 1
    assert trace(topics.bootstrap) == before
    assert "haltline: reading 43 records of " in live.stderr
    assert "haltline: read 100 %" in live.stderr
    assert "haltline: left out 1 records that cannot be read, the first " in live.stderr


def test_a_topic_that_does_not_exist_is_named_and_not_made(
    history: Path, topics: FreshTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = topics.name("missing")
    monkeypatch.setenv("HALTLINE_TELEMETRY_TOPICS", missing)
    result = run("--from-kafka", *QUICK)
    assert result.exit_code == 1
    assert f"has no topic {missing}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert missing not in trace(topics.bootstrap)[0]

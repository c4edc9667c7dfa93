"""A policy that comes by Kafka: put in force, answered by, taken without a restart, and never replaced by a bad one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from deploy.freeze import Freeze
from haltline.cli.root import haltline
from stream import topics
from stream.local_kafka import LocalKafka
from stream.wire.outgoing import decode_freeze
from tests.haltline.test_gate_on_kafka import Server
from tests.stream.incident import Incident, encoded
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

pytestmark = pytest.mark.kafka

OPEN = "version: 1\nmode: enforce\n"
STRICT = (
    "version: 1\nmode: enforce\nservices: {checkout: {tier: 1}}\npeople: {bo: {role: lead}}\n"
    "approvals: {rules: [{match: [tier=1], role: lead}]}\nfallbacks: {when_unreachable: deny}\n"
)
BAD = "version: 1\nmode: enforced\n"
PLACE = ":2:1: `mode` "


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker of this module's own: a policy by topic is everybody's."""
    with LocalKafka(tmp_path_factory.mktemp("policy-kafka")) as kafka:
        topics.create(kafka.bootstrap_servers)
        yield kafka


@pytest.fixture
def bootstrap(broker: LocalKafka) -> str:
    return broker.bootstrap_servers


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, args)


def written(folder: Path, text: str, name: str = "policy.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def apply(folder: Path, text: str) -> str:
    done = run("policy", "apply", written(folder, text), "--reason", "a test")
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def put(broker: LocalKafka, value: bytes | None, key: bytes = b"by-hand") -> None:
    """What somebody else's tool writes to the topic."""
    with KafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all", metrics_enabled=False) as producer:
        producer.send(topics.POLICIES.name, value, key=key).get(timeout=60)


def check(*words: str) -> tuple[int, dict[str, object]]:
    done = run("check", "-s", "checkout", *words, "-o", "json")
    return done.exit_code, json.loads(done.stdout)


def test_what_is_applied_answers_and_is_told_with_who_and_why(env: dict[str, str], tmp_path: Path) -> None:
    strict = apply(tmp_path, STRICT)
    code, answer = check()
    assert (code, answer["policy"]) == (3, strict)
    opened = apply(tmp_path, OPEN)
    code, answer = check()
    assert (code, answer["policy"]) == (0, opened)
    assert run("policy", "show").stdout == OPEN
    assert run("policy", "show", strict[:8]).stdout == STRICT
    told = json.loads(run("policy", "show", "-o", "json").stdout)
    assert (told["id"], told["by"], told["reason"], told["name"]) == (opened, "ada", "a test", "policy.yaml")
    listed = json.loads(run("policy", "history", "-o", "json").stdout)
    assert [one["id"] for one in listed][-2:] == [strict, opened]
    assert "a test" in run("policy", "history", "-o", "wide").stdout
    assert run("policy", "show", "ffffffff").exit_code == 1
    # A file that is named comes before the topic.
    assert check("--policy", written(tmp_path, STRICT, "own.yaml"))[1]["policy"] == strict


def test_a_bad_one_is_refused_by_file_line_and_column_before_it_is_written(env: dict[str, str], tmp_path: Path) -> None:
    before = apply(tmp_path, STRICT)
    file = written(tmp_path, BAD, "bad.yaml")
    done = run("policy", "apply", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{file}{PLACE}" in done.stderr
    assert done.stderr.count("\n") == 1
    (tmp_path / "cased.cases.yaml").write_text(
        "policy: cased.yaml\ncases: [{name: it goes, change: {service: checkout, id: a}, then: {decision: allow}}]"
    )
    done = run("policy", "apply", written(tmp_path, STRICT, "cased.yaml"))
    assert done.exit_code == 3
    assert "1 of its cases" in done.stderr
    assert run("policy", "apply", written(tmp_path, OPEN, "dry.yaml"), "--dry-run").stdout.startswith("would put")
    assert check()[1]["policy"] == before


@pytest.mark.parametrize("value", [BAD.encode(), b"", b"# nothing\n", b"\xff\xfe", None, b'{"specversion": "1.0"'])
def test_a_bad_one_on_the_topic_never_replaces_a_good_one(
    env: dict[str, str], broker: LocalKafka, tmp_path: Path, value: bytes | None
) -> None:
    good = apply(tmp_path, STRICT)
    put(broker, value)
    done = run("check", "-s", "checkout", "-o", "json")
    assert json.loads(done.stdout)["policy"] == good
    assert f"policy refused, {good} stays" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run("policy", "show").stdout == STRICT


def test_the_yaml_file_itself_is_a_record_too(env: dict[str, str], broker: LocalKafka) -> None:
    put(broker, OPEN.encode())
    assert check()[0] == 0
    assert run("policy", "show").stdout == OPEN


def test_the_server_takes_the_topics_policies_as_they_come(
    env: dict[str, str], broker: LocalKafka, tmp_path: Path
) -> None:
    strict = apply(tmp_path, STRICT)
    server = Server(env, None, tmp_path)
    try:
        wait_for("the server", lambda: server.ask("/readyz")[0] == 200)
        change = {"service": "checkout"}
        answer = server.ask("/v1/check", change)[1]
        assert (answer["decision"], answer["policy"]) == ("hold", strict)
        put(broker, BAD.encode())
        wait_for("the refusal", lambda: any(f"policy refused, {strict} stays" in line for line in server.said()))
        assert server.ask("/v1/check", change)[1]["policy"] == strict
        opened = apply(tmp_path, OPEN)
        wait_for("the new policy", lambda: server.ask("/v1/check", change)[1]["policy"] == opened)
        assert server.ask("/v1/check", change)[1]["decision"] == "allow"
    finally:
        server.process.terminate()
        assert server.process.wait(60) == 0, server.said()


def test_while_kafka_is_away_the_last_policy_of_the_topic_says_what_then(
    env: dict[str, str], private_kafka: LocalKafka, tmp_path: Path
) -> None:
    where = ["-b", private_kafka.bootstrap_servers]
    topics.create(private_kafka.bootstrap_servers)
    assert run("policy", "apply", written(tmp_path, STRICT), *where).exit_code == 0
    assert run("check", "-s", "checkout", *where).exit_code == 3
    private_kafka.stop()
    done = run("check", "-s", "checkout", *where)
    assert (done.exit_code, "the policy denies tier 1" in done.stdout) == (14, True)


def test_a_worker_takes_a_new_policy_for_changes_that_begin_later_and_survives_a_bad_one(
    env: dict[str, str], broker: LocalKafka, tmp_path: Path
) -> None:
    freezes = Reader(broker.bootstrap_servers, topics.FREEZES.name)
    dead = Reader(broker.bootstrap_servers, topics.DEADLETTER.name)
    old = apply(tmp_path, OPEN.replace("enforce", "observe"))

    def send(incident: Incident) -> None:
        with KafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all", metrics_enabled=False) as producer:
            producer.send(topics.CHANGES.name, encoded(incident.change), key=incident.change["id"].encode())
            for record in incident.telemetry:
                producer.send(topics.TELEMETRY.name, encoded(record), key=incident.service.encode())

    def frozen(incident: Incident) -> list[Freeze]:
        found = [decode_freeze(record.value, record.headers) for record in freezes.look()]
        return [one for one in found if one.caused_by == incident.change["id"]]

    now = int(time.time()) * 1_000
    with WorkerProcess(broker.bootstrap_servers, tmp_path / "worker") as worker:
        # It began before any policy was known: judged by the one that asks nothing, which observes.
        early = Incident("early", now - 300_000)
        send(early)
        assert wait_for("the first freeze", lambda: frozen(early))[0].mode.value == "observe"
        assert worker.metric("haltline_policy_info", policy=old) == 1
        put(broker, BAD.encode())
        wait_for("the refusal", lambda: f"policy refused, {old} stays" in worker.said())
        assert PLACE in worker.said()
        wait_for("the dead letter", lambda: [one for one in dead.look() if one.value == BAD.encode()])
        assert worker.metric("haltline_dead_letters_total", topic=topics.POLICIES.name, reason="value") >= 1
        new = apply(tmp_path, OPEN)
        wait_for(
            "the new policy",
            lambda: worker.samples("haltline_policy_info") and worker.metric("haltline_policy_info", policy=new) == 1,
        )
        late, still = Incident("late", now + 60_000), Incident("still", now - 200_000)
        for incident, mode in ((still, "observe"), (late, "enforce")):
            send(incident)
            assert wait_for(incident.service, lambda one=incident: frozen(one))[0].mode.value == mode
        worker.kill()
        worker.start()
        worker.ready()
        for incident, mode in ((early, "observe"), (late, "enforce"), (still, "observe")):
            assert {one.mode.value for one in frozen(incident)} == {mode}
        worker.stop()

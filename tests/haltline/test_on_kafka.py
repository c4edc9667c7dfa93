"""The command line on a real Kafka: what one process orders another obeys, and what lists, tells and follows says so.

The broker and haltline's topics are shared with other tests, so each test uses a service that nobody else has.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from deploy.change import change_from_object
from deploy.evidence import Finding, Report
from deploy.freeze import Freeze, Mode
from deploy.verdict import Verdict, VerdictState
from haltline.cli.root import haltline
from stream import topics as catalogue
from stream.wire.outgoing import Wire, encode_change, encode_freeze, encode_report, encode_verdict

pytestmark = pytest.mark.kafka

PATIENCE_S = 60.0


def run(*args: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(haltline, args)


def ok(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def elsewhere(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "haltline", *args],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=PATIENCE_S,
    )


def put(kafka: str, topic: catalogue.Topic, *wires: Wire) -> None:
    with KafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        for wire in wires:
            producer.send(topic.name, key=wire.key, value=wire.value, headers=wire.headers).get(timeout=PATIENCE_S)


def now() -> int:
    return time.time_ns() // 1_000_000


def tripped(service: str, **fields: object) -> Freeze:
    """The freeze that a harmful change would make."""
    at = now() - 1_000
    defaults: dict[str, object] = {
        "id": f"fz-{service}",
        "matchers": ('environment="production"', f'service="{service}"'),
        "starts_at": at,
        "ends_at": at + 300_000,
        "caused_by": f"{service}-1",
        "reason": "error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)",
        "passes": ((f'reverts="{service}-1"',), ('version="v1"',)),
    }
    return Freeze(**(defaults | fields))  # type: ignore[arg-type]  # a factory with defaults


def test_a_freeze_is_seen_by_the_check_of_another_process_and_ends_with_the_unfreeze(
    env: dict[str, str], service: str
) -> None:
    assert elsewhere(env, "check", "--service", service).returncode == 0
    frozen = elsewhere(env, "freeze", f"service={service}", "--for", "30m", "--reason", "incident 7")
    assert frozen.returncode == 0, frozen.stderr
    identity = frozen.stdout.strip()
    held = elsewhere(env, "check", "--service", service)
    assert held.returncode == 3
    assert held.stdout.startswith(f"hold {service} in production: frozen by {identity} until ")
    assert held.stdout.rstrip().endswith("left): incident 7 (by ada)")
    assert held.stdout.count("\n") == 1
    ended = elsewhere(env, "unfreeze", identity, "--reason", "fixed")
    assert ended.stdout == f"{identity}\n"
    free = elsewhere(env, "check", "--service", service)
    assert (free.returncode, free.stdout) == (0, f"allow {service} in production: no active freeze covers it\n")


def test_a_freeze_holds_its_scope_only_and_passes_a_revert(env: dict[str, str], service: str) -> None:
    ok("freeze", service, "origin=~ai|mixed", "environment=production", "--for", "5m", "--reason", "x")
    assert run("check", "-s", service, "--origin", "ai").exit_code == 3
    assert run("check", "-s", service, "--origin", "human").exit_code == 0
    assert run("check", "-s", service, "--origin", "ai", "-e", "staging").exit_code == 0
    way_back = run("check", "-s", service, "--origin", "ai", "--revert-of", "c-1")
    assert way_back.exit_code == 0
    assert "passes fz-" in way_back.stdout


def test_a_tripped_breaker_holds_the_next_change_and_passes_the_way_back(
    env: dict[str, str], kafka: str, service: str, tmp_path: Path
) -> None:
    put(kafka, catalogue.FREEZES, encode_freeze(tripped(service), now()))
    held = run("check", "--service", service, "--version", "v3", "--change", f"{service}-2")
    assert held.exit_code == 3
    assert "error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)" in held.stdout
    assert run("check", "--service", service, "--version", "v1").exit_code == 0
    assert run("check", "--service", service, "--revert-of", f"{service}-1").exit_code == 0
    change = tmp_path / "change.json"
    change.write_text(json.dumps({"service": service, "version": "v3", "provenance": {"origin": "ai"}}))
    answer = json.loads(run("check", str(change), "-o", "json").stdout)
    assert (answer["decision"], answer["held_by"][0]["id"]) == ("hold", f"fz-{service}")
    change.write_text(json.dumps({"service": service, "reverts": f"{service}-1"}))
    assert run("check", str(change)).exit_code == 0


def test_a_freeze_that_is_only_observed_is_told_and_holds_nothing(
    env: dict[str, str], kafka: str, service: str
) -> None:
    put(kafka, catalogue.FREEZES, encode_freeze(tripped(service, mode=Mode.OBSERVE), now()))
    result = run("check", "--service", service)
    assert result.exit_code == 0
    assert f"observed only: fz-{service}" in result.stdout


def ill(service: str, **fields: object) -> Verdict:
    """The verdict of a change that looks ill, and is not yet harmful."""
    at = now()
    defaults: dict[str, object] = {
        "change": f"{service}-1",
        "service": service,
        "environment": "production",
        "time": at,
        "since": at - 60_000,
        "state": VerdictState.WARMING,
        "reason": "error_ratio 0.011 > 0.006 (n=9/820, e=38), p=0.02",
        "hold_until": at + 300_000,
        "hold_passes": (('reverts!=""',), ('version="v1"',)),
    }
    return Verdict(**(defaults | fields))  # type: ignore[arg-type]  # a factory with defaults


def test_a_change_that_looks_ill_makes_new_starts_wait_and_passes_the_way_back(
    env: dict[str, str], kafka: str, service: str
) -> None:
    verdict = ill(service)
    ok("send", "change", "--service", service, "--id", verdict.change, "--version", "v2")
    put(kafka, catalogue.VERDICTS, encode_verdict(verdict))
    held = run("check", "--service", service, "--version", "v3")
    assert held.exit_code == 3
    assert held.stdout.startswith(
        f"hold {service} in production: watch: {verdict.change} on {service} looks ill, new starts wait until "
    )
    assert held.stdout.endswith(f"left): {verdict.reason}\n")
    for passes in (["--version", "v1"], ["--revert-of", verdict.change], ["-e", "staging"]):
        assert run("check", "--service", service, *passes).exit_code == 0
    answer = json.loads(run("check", "--service", service, "-o", "json").stdout)
    assert (answer["decision"], answer["held_by"]) == ("hold", [])
    assert [one["change"] for one in answer["watched"]] == [verdict.change]
    assert answer["until"] == answer["watched"][0]["hold_until"]

    assert "warming, holds " in ok("get", "changes", f"service={service}")
    [listed] = json.loads(ok("get", "changes", f"service={service}", "-o", "json"))
    assert (listed["verdict"], listed["hold_until"]) == ("warming", answer["until"])
    title, row = ok("get", "verdicts", f"service={service}").splitlines()
    assert title.split()[2:4] == ["STATE", "HOLDS"]
    assert row[title.index("HOLDS") :][0].isdigit()
    assert "wait until" in ok("describe", "change", verdict.change)
    assert "new starts wait until" in ok("explain", verdict.change)
    # Nobody waits any more once the verdict has come to a state.
    put(kafka, catalogue.VERDICTS, encode_verdict(ill(service, state=VerdictState.HEALTHY, hold_until=None)))
    assert run("check", "--service", service, "--version", "v3").exit_code == 0
    assert "holds" not in ok("get", "changes", f"service={service}")


def test_a_wait_that_is_over_or_only_observed_holds_nothing(env: dict[str, str], kafka: str, service: str) -> None:
    put(kafka, catalogue.VERDICTS, encode_verdict(ill(service, hold_until=now())))
    assert ok("check", "--service", service) == f"allow {service} in production: no active freeze covers it\n"
    put(kafka, catalogue.VERDICTS, encode_verdict(ill(service, hold_mode=Mode.OBSERVE)))
    assert f"observed only: {service}-1 on {service} looks ill" in ok("check", "--service", service)
    assert "(observed)" in ok("get", "verdicts", f"service={service}")


def test_a_record_that_cannot_be_read_costs_a_warning_and_no_answer(
    env: dict[str, str], kafka: str, service: str
) -> None:
    put(kafka, catalogue.FREEZES, Wire(b"fz-broken", b"{not json", []), Wire(b"fz-old", None, []))
    put(kafka, catalogue.FREEZES, encode_freeze(tripped(service), now()))
    result = run("check", "--service", service)
    assert result.exit_code == 3
    assert result.stderr.startswith("haltline: warning: skipped ")
    assert result.stderr.count("\n") == 1


def test_unfreeze_by_scope_ends_exactly_that_scope(env: dict[str, str], service: str) -> None:
    wide = ok("freeze", service, "--for", "5m", "--reason", "x").strip()
    narrow = ok("freeze", service, "environment=production", "--for", "5m", "--reason", "x").strip()
    dry = ok("unfreeze", service, "--reason", "y", "--dry-run")
    assert wide in dry
    assert narrow not in dry
    assert ok("unfreeze", service, "--reason", "y").split() == [wide]
    missing = run("unfreeze", service, "--reason", "y")
    assert missing.exit_code == 1
    assert narrow in missing.stderr
    assert ok("unfreeze", f"freeze/{narrow}", "--reason", "y").split() == [narrow]
    again = run("unfreeze", narrow, "--reason", "y")
    assert again.exit_code == 0
    assert "ended already" in again.stderr
    assert run("unfreeze", "fz-nowhere", "--reason", "y").exit_code == 1


def test_get_freezes_lists_what_is_asked_for_in_every_format(env: dict[str, str], service: str) -> None:
    identity = ok("freeze", service, "--for", "5m", "--reason", "bad\x1b[31m\nnews").strip()
    later = ok("freeze", service, "--start", "2090-01-01T00:00:00Z", "--for", "5m", "--reason", "later").strip()
    title, first, second = ok("get", "freezes", f"service={service}").splitlines()
    assert title.split() == ["ID", "STATE", "MODE", "SCOPE", "LEFT", "CAUSE", "REASON"]
    assert first.split()[:3] == [identity, "active", "enforce"]
    assert second.split()[:3] == [later, "pending", "enforce"]
    assert "\x1b" not in first
    assert "STARTS" in ok("get", "fz", f"service={service}", "-o", "wide").splitlines()[0]
    records = json.loads(ok("get", "freeze", f"service={service}", "-o", "json"))
    assert [(one["id"], one["state"]) for one in records] == [(identity, "active"), (later, "pending")]
    assert f"id: {identity}" in ok("get", "freezes", identity, "-o", "yaml")
    assert ok("get", "freezes", f"service={service}", "state=active", "-o", "name") == f"freeze/{identity}\n"
    ok("unfreeze", identity, "--reason", "fixed")
    assert ok("get", "freezes", f"service={service}", "-o", "name").split() == [f"freeze/{later}"]
    assert ok("get", "freezes", f"service={service}", "--expired", "-o", "name").split() == [f"freeze/{identity}"]
    assert ok("get", "freezes", f"service={service}", "--all", "--within", "1h", "-o", "name").split() == [
        f"freeze/{identity}"
    ]
    assert "ended by ada: fixed" in ok("get", "freezes", identity)
    missing = run("get", "freezes", "fz-nowhere")
    assert missing.exit_code == 1
    assert "fz-nowhere" in missing.stderr
    empty = run("get", "freezes", "service=nowhere")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert json.loads(ok("get", "freezes", "service=nowhere", "-o", "json")) == []


def test_a_change_is_sent_listed_described_and_explained_with_its_numbers(
    env: dict[str, str], kafka: str, service: str
) -> None:
    change = f"{service}-1"
    words = ["--service", service, "--id", change, "--version", "v2", "--origin", "ai", "--author", "bob"]
    assert ok("send", "change", *words) == f"change/{change} started\n"
    assert ok("send", "change", *words, "--phase", "finished") == f"change/{change} finished\n"
    [listed] = json.loads(ok("get", "changes", f"service={service}", "-o", "json"))
    assert (listed["id"], listed["phase"], listed["provenance"]["origin"]) == (change, "finished", "ai")
    assert "none yet" in ok("explain", change)

    reason = "error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)"
    finding = Finding(
        service=service,
        metric="error_ratio",
        control="concurrent",
        log_p=-12.0,
        log_e=9.0,
        effect=0.036,
        samples=4100,
        reason=reason,
    )
    report = Report(change=change, service=service, time=now(), log_p=-12.0, tests=3, silent=1, findings=(finding,))
    put(kafka, catalogue.EVIDENCE, encode_report(report))
    warming = ok("explain", change)
    assert "3 signals speak, 1 cannot yet" in warming
    assert reason in warming

    verdict = Verdict(
        change=change,
        service=service,
        environment="production",
        time=now(),
        state=VerdictState.HARMFUL,
        log_e=9.0,
        blame=0.9,
        reason=reason,
        evidence=(finding,),
    )
    put(kafka, catalogue.VERDICTS, encode_verdict(verdict))
    put(kafka, catalogue.FREEZES, encode_freeze(tripped(service), now()))
    explained = ok("explain", change)
    for part in ("harmful", reason, f"fz-{service}", f"--revert-of {change}", "haltline unfreeze", "concurrent"):
        assert part in explained
    assert ok("explain", f"fz-{service}") == explained
    described = ok("describe", "change", change)
    for part in ("ai", "bob", "harmful", f"fz-{service} active"):
        assert part in described
    assert "frozen" in ok("describe", "service", service)
    [state] = json.loads(ok("get", "services", service, "-o", "json"))
    assert (state["state"], state["verdict"]["state"]) == ("frozen", "harmful")
    assert change in ok("get", "verdicts", f"service={service}", "state=harmful")
    for words in (
        ["describe", "change", "nowhere"],
        ["describe", "freeze", "fz-0"],
        ["describe", "service", "no"],
        ["explain", "no"],
    ):
        assert run(*words).exit_code == 1


def test_a_class_is_listed_and_explained_with_intervals_and_the_changes_behind_it(
    env: dict[str, str], service: str, kafka: str, tmp_path: Path
) -> None:
    bad, good, began = f"bad-{service}", f"good-{service}", int(time.time() * 1000) - 120 * 60_000
    changes, verdicts = [], []
    for number in range(90):
        tool, at = (bad if number >= 60 and number % 3 == 0 else good), began + number * 60_000
        record = {"id": f"{service}-{number}", "service": service, "environment": service, "time": at}
        provenance = {"origin": "ai", "tools": [tool]}
        changes.append(encode_change(change_from_object(record | {"provenance": provenance})))
        # A later phase that says less: what the change was when it started counts.
        changes.append(encode_change(change_from_object(record | {"time": at + 5_000, "phase": "finished"})))
        state = VerdictState.HARMFUL if tool == bad else VerdictState.HEALTHY
        verdict = Verdict(
            change=f"{service}-{number}", service=service, time=at + 30_000, state=state, reason="numbers", ended=True,
            lane="ai" if tool == bad else "", discovery=tool == bad,
        )  # fmt: skip
        verdicts.append(encode_verdict(verdict))
    put(kafka, catalogue.CHANGES, *changes)
    put(kafka, catalogue.VERDICTS, *verdicts)
    rules = tmp_path / "policy.yaml"
    rules.write_text("version: 1\nclasses: {by: [tool], products: [[environment, tool]]}\n")

    def listed(*words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ok("get", "classes", "--policy", str(rules), *words, "-o", "json"))
        return found

    [product, one] = listed(f"tool={bad}")
    assert (product["class"], one["class"]) == (f"environment={service},tool={bad}", f"tool={bad}")
    assert (one["state"], one["changes"], one["harmful"]) == ("accused", 10, 10)
    assert one["rate"][0] > 0.5
    assert one["accused_at"]
    assert listed(f"class/environment={service},tool={bad}") == [product]
    assert listed(f"tool={good}", "state=too_few", "--within", "3h")
    assert f"class/tool={bad}" in ok("get", "classes", f"tool={bad}", "-o", "name").splitlines()
    assert "DIFFERENCE" in ok("get", "classes", f"tool={bad}", "-o", "wide")
    for words in (["class", f"tool={bad}"], [f"class/tool={bad}"]):
        told = ok("explain", *words)
        assert "10 of 10: 100.0%" in told
        assert f"{service}-87 on {service}" in told
        assert "accused since" in told
    assert f"tool={good}" in ok("describe", "class", f"tool={good}")
    [lane] = json.loads(ok("get", "lanes", "lane=ai", "-o", "json"))
    assert lane["harmful"] >= lane["discoveries"] >= 10
    assert "discoveries" in ok("describe", "lane", "ai")
    for words in (["explain", "class", "tool=nobody"], ["describe", "lane", "nobody"]):
        assert "lists them" in run(*words).stderr
    assert "is not one thing" in run("explain", "checkout", "481").stderr


def test_telemetry_is_sent_as_it_is_keyed_by_service(
    env: dict[str, str], kafka: str, service: str, tmp_path: Path
) -> None:
    from kafka import KafkaConsumer

    lines = [
        {"resource": {"service.name": service}, "metrics": [{"name": "m", "times": [now()], "values": [value]}]}
        for value in (1.5, None, 2.5)
    ]
    file = tmp_path / "telemetry.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ok("send", "telemetry", str(file)) == "2 samples sent\n"
    with KafkaConsumer(
        catalogue.TELEMETRY.name, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=20_000
    ) as consumer:
        found = []
        for message in consumer:
            if message.key == service.encode():
                found.append((message.partition, json.loads(message.value)))
                if len(found) == 3:
                    break
    assert [value for _, value in found] == lines
    assert len({partition for partition, _ in found}) == 1


class Follower:
    """A command that goes on until it is interrupted, its output in a file."""

    def __init__(self, env: dict[str, str], log: Path, *args: str) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haltline", *args],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**env, "PYTHONUNBUFFERED": "1"},
            )

    def until(self, seen: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if seen(text := self.log.read_text()):
                return text
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def follow(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    started: list[Follower] = []

    def start(*args: str) -> Follower:
        started.append(Follower(env, tmp_path / f"follower-{len(started)}", *args))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_watch_tells_freezes_and_verdicts_as_they_come_and_go_and_ends_quietly(
    env: dict[str, str], kafka: str, service: str, follow: Callable[..., Follower]
) -> None:
    following = follow("watch", f"service={service}")
    following.until(lambda text: "watching kafka" in text)
    identity = ok("freeze", service, "--for", "5m", "--reason", "incident 7").strip()
    following.until(lambda text: f"frozen  {identity}" in text)
    verdict = Verdict(change=f"{service}-1", service=service, time=now(), state=VerdictState.HEALTHY, reason="12 looks")
    put(kafka, catalogue.VERDICTS, encode_verdict(verdict))
    following.until(lambda text: f"verdict {service}-1 ({service}) healthy: 12 looks" in text)
    put(kafka, catalogue.VERDICTS, encode_verdict(ill(service, change=f"{service}-2")))
    following.until(lambda text: f"verdict {service}-2 ({service}) warming, new starts wait until " in text)
    ok("unfreeze", identity, "--reason", "fixed")
    following.until(lambda text: f"ended   {identity}" in text and "ada: fixed" in text)
    brief = ok("freeze", service, "--for", "2s", "--reason", "short").strip()
    # It runs out by the clock alone: no record says so.
    text = following.until(lambda text: f"ended   {brief}" in text)
    assert "its time is over" in text
    assert following.interrupt() == 130
    assert "Traceback" not in following.log.read_text()


def test_get_with_watch_prints_each_freeze_again_when_it_changes(
    env: dict[str, str], service: str, follow: Callable[..., Follower]
) -> None:
    identity = ok("freeze", service, "--for", "5m", "--reason", "incident 7").strip()
    following = follow("get", "freezes", f"service={service}", "--watch")
    following.until(lambda text: f"{identity}   active" in text)
    ok("unfreeze", identity, "--reason", "fixed")
    text = following.until(lambda text: f"{identity}   expired" in text)
    assert text.count("STATE") == 1
    assert following.interrupt() == 130


def test_topics_tells_how_they_stand(env: dict[str, str]) -> None:
    states = json.loads(ok("topics", "-o", "json"))
    assert {one["name"] for one in states} == {topic.name for topic in catalogue.CATALOGUE}
    assert {one["state"] for one in states} == {"ok"}
    assert "haltline.freezes" in ok("topics", "--create")


def test_a_kafka_without_haltlines_topics_is_told_how_to_get_them(
    env: dict[str, str], kafka: str, service: str
) -> None:
    change = change_from_object({"id": "c-1", "service": service, "time": now()})
    assert encode_change(change).key == b"c-1"
    result = run("worker", "--telemetry-topic", f"{service}.telemetry")
    assert result.exit_code == 1
    assert f"no topic {service}.telemetry" in result.stderr
    assert "haltline topics --create" in result.stderr

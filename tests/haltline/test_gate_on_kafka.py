"""The gate on a real Kafka: questions in the ledger, the last known state, the server, the guard, the load."""

from __future__ import annotations

import http.client
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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from kafka import KafkaProducer

from deploy.change import change_from_object
from haltline.cli.root import haltline
from stream import topics as catalogue
from stream.local_kafka import LocalKafka
from stream.wire.outgoing import encode_change

pytestmark = pytest.mark.kafka

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_S = 60.0
TOKEN = "a-token-of-this-test-only"


@pytest.fixture
def policy(tmp_path: Path, service: str) -> Path:
    """Tier 1 for this test's service, with people of its own."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"mode: enforce\nservices: {{{service}: {{tier: 1}}, {service}-3: {{tier: 3}}, {service}-2: {{tier: 2}}}}\n"
        f"people: {{bo-{service}: {{role: lead}}, cem-{service}: {{role: lead}}}}\n"
        "approvals: {rules: [{match: ['origin=~\"ai|mixed\"', tier=1], role: senior}]}\n"
        "tiers: {1: {when_unreachable: deny}, 2: {when_unreachable: last_known}, 3: {when_unreachable: allow}}\n"
    )
    return path


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, args)


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come in time")


def test_a_hold_asks_one_person_once_and_the_load_shows_it(env: dict[str, str], service: str, policy: Path) -> None:
    words = ["check", "-s", service, "--change", f"{service}-1", "--origin", "ai", "--revision", "3484a3fb9d0c"]
    first, second = (run(*words, "--policy", str(policy), "-o", "json") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (3, 3)
    asked, again = (json.loads(one.stdout)["question"] for one in (first, second))
    assert asked == again, "asked once"
    assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]
    load = run("load", "--policy", str(policy), "-o", "json")
    rows = {row["who"]: row for row in json.loads(load.stdout)["people"]}
    other = next(who for who in (f"bo-{service}", f"cem-{service}") if who != asked["to"])
    assert (rows[asked["to"]]["questions"], rows[asked["to"]]["open"], rows[other]["questions"]) == (1, 1, 0)
    table = run("load", "--policy", str(policy)).stdout
    assert "1/8" in table
    assert "ASKED OF" in table


def test_what_was_told_of_a_change_days_ago_counts(
    env: dict[str, str], private_kafka: LocalKafka, service: str, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A broker of its own: where newer records stand before it, an old one is read in any case.
    bootstrap = private_kafka.bootstrap_servers
    catalogue.create(bootstrap)
    words = ["check", "-s", service, "--origin", "human", "--policy", str(policy), "-b", bootstrap]
    now = time.time_ns() // 1_000_000
    told = {"id": "old", "service": service, "environment": "production", "time": now, "phase": "planned"}
    wire = encode_change(change_from_object(told | {"provenance": {"origin": "ai"}}))
    with KafkaProducer(bootstrap_servers=bootstrap) as producer:
        producer.send(catalogue.CHANGES.name, wire.value, wire.key, list(wire.headers)).get(30)
    # The broker says when it took a record, so days go by for who asks.
    monkeypatch.setattr("haltline.cli.check.now_ms", lambda: now + 4 * 86_400_000)
    assert run(*words, "--change", "new").exit_code == 0
    assert run(*words, "--change", "old").exit_code == 3


def test_a_dry_check_asks_nobody(env: dict[str, str], service: str, policy: Path) -> None:
    result = run("check", "-s", service, "--origin", "ai", "--dry-run", "--policy", str(policy), "-o", "wide")
    assert result.exit_code == 3
    assert "asked  " in result.stdout
    assert "turned by: 1 approval by senior or above" in result.stdout
    load = json.loads(run("load", "--policy", str(policy), "-o", "json").stdout)
    assert {row["questions"] for row in load["people"] if service in row["who"]} == {0}


def test_a_plan_that_recreates_an_environment_is_held_without_any_policy(env: dict[str, str], service: str) -> None:
    plan = EXAMPLES / "plans" / "small-fix-recreates-environment.json"
    result = run("check", "-s", service, "--plan", str(plan))
    assert result.exit_code == 3
    assert "would recreate environment aws_elastic_beanstalk_environment.cost_explorer_prod" in result.stdout
    assert run("check", "-s", service, "--plan", str(EXAMPLES / "plans" / "update-in-place.json")).exit_code == 0
    unread = run("check", "-s", service, "--plan", "/nowhere.json")
    assert (unread.exit_code, "cannot be read" in unread.stderr) == (2, True)
    assert run("check", "-s", service, "--share", "7").exit_code == 2


def test_when_kafka_goes_away_each_tier_gets_what_people_decided(
    env: dict[str, str],
    private_kafka: LocalKafka,
    service: str,
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalogue.create(private_kafka.bootstrap_servers)
    servers = ["-b", private_kafka.bootstrap_servers, "--policy", str(policy)]
    frozen = run("freeze", f"service={service}-2", "--for", "1h", "--reason", "sale", "-b", servers[1])
    assert frozen.exit_code == 0
    human = ["--origin", "human"]
    assert run("check", "-s", f"{service}-3", *human, *servers).exit_code == 0
    private_kafka.stop()
    denied = run("check", "-s", service, *human, *servers)
    assert (
        denied.exit_code,
        denied.stdout.startswith(f"deny {service} in production: haltline cannot be reached"),
    ) == (
        14,
        True,
    )
    allowed = run("check", "-s", f"{service}-3", *human, *servers)
    assert (allowed.exit_code, "the policy allows tier 3" in allowed.stdout) == (0, True)
    assert run("check", "-s", f"{service}-3", *human, *servers, "--unreachable-code", "9").exit_code == 9
    monkeypatch.setenv("HALTLINE_UNREACHABLE_CODE", "10")
    assert run("check", "-s", f"{service}-3", *human, *servers).exit_code == 10
    monkeypatch.delenv("HALTLINE_UNREACHABLE_CODE")
    held = run("check", "-s", f"{service}-2", *human, *servers)
    assert held.exit_code == 13
    assert "frozen by" in held.stdout
    assert "answered from the last known state, " in held.stdout
    (kept,) = (tmp_path / "state" / "haltline").glob("last-known-*.json")
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_bytes(kept.read_bytes().replace(b"sale", b"SALE"))
    forged = run("check", "-s", f"{service}-2", *human, *servers)
    assert (forged.exit_code, "is not as it was signed" in forged.stdout) == (14, True)
    kept.unlink()
    assert "no last known state was kept" in run("check", "-s", f"{service}-2", *human, *servers).stdout
    undecided = run("check", "-s", service, "-b", servers[1])
    assert (undecided.exit_code, undecided.stdout) == (1, "")


class Server:
    """`haltline serve` as a process, and a client of it."""

    def __init__(self, env: dict[str, str], policy: Path | None, folder: Path) -> None:
        tokens = folder / "tokens"
        tokens.write_text(f"# who may ask\nci {TOKEN}\n")
        words = ["serve", "--listen", "127.0.0.1:0", "--token-file", str(tokens)]
        words += ["--policy", str(policy)] if policy is not None else []
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "haltline", *words], env=env, stderr=log)
        line = until(lambda: next((x for x in self.said() if "answering at http" in x), None))
        self.port = int(line.rpartition(":")[2].partition("/")[0])

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def ask(self, path: str, body: object = None, token: str | None = TOKEN) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer


@pytest.fixture
def server(env: dict[str, str], policy: Path, tmp_path: Path) -> Iterator[Server]:
    one = Server(env, policy, tmp_path)
    try:
        until(lambda: one.ask("/readyz")[0] == 200)
        yield one
    finally:
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(PATIENCE_S) == 0, one.said()


def test_the_server_answers_from_memory_that_kafka_feeds(
    server: Server, env: dict[str, str], service: str, policy: Path
) -> None:
    change = {"service": f"{service}-3", "environment": "production", "provenance": {"origin": "human"}}
    assert server.ask("/v1/check", change)[1]["decision"] == "allow"
    frozen = run("freeze", f"service={service}-3", "--for", "5m", "--reason", "incident 7")
    held = until(lambda: (found := server.ask("/v1/check", change)[1])["decision"] == "hold" and found)
    assert held["held_by"][0]["id"] == frozen.stdout.strip()
    assert run("unfreeze", frozen.stdout.strip(), "--reason", "fixed").exit_code == 0
    until(lambda: server.ask("/v1/check", change)[1]["decision"] == "allow")
    ai = {"id": f"{service}-9", "service": service, "provenance": {"origin": "ai"}}
    asked = server.ask("/v1/check", {"change": ai})[1]
    assert asked["question"]["to"] in (f"bo-{service}", f"cem-{service}")

    # What the server asked, a command that asks Kafka knows.
    def known() -> bool:
        rows = json.loads(run("load", "--policy", str(policy), "-o", "json").stdout)["people"]
        return any(row["who"] == asked["question"]["to"] and row["questions"] == 1 for row in rows)

    until(known)


def test_the_server_lets_nobody_ask_without_a_token_and_refuses_what_is_no_change(server: Server, service: str) -> None:
    change = {"service": service}
    for token in (None, "", "a-token-of-nobody-at-all", TOKEN + "x"):
        assert server.ask("/v1/check", change, token)[0] == 401
    assert server.ask("/healthz", token=None) == (200, {"status": "ok"})
    for body in (b"{", b"[]", b"null", b"\xff", b'{"service": 7}', b'{"service": ""}', b"[" * 100_000):
        status, answer = server.ask("/v1/check", body)
        assert (status, list(answer)) == (400, ["error"]), body
        assert "\n" not in answer["error"]
    assert server.ask("/v1/check", b"x" * 2_000_000)[0] == 413
    assert server.ask("/v1/check")[0] == 405
    status, answer = server.ask("/v2/check", change)
    assert (status, answer["error"].startswith("nothing at /v2/check")) == (404, True)
    assert server.ask("/v1/check", change)[0] == 200


def test_a_bad_policy_never_replaces_a_good_one(server: Server, service: str, policy: Path) -> None:
    change = {"service": service, "provenance": {"origin": "ai"}}
    before = server.ask("/v1/check", change)[1]
    policy.write_text("mode: [")
    until(lambda: any("stays" in line for line in server.said()))
    assert server.ask("/v1/check", change)[1]["policy"] == before["policy"]
    policy.write_text("mode: enforce\n")
    until(lambda: server.ask("/v1/check", change)[1]["decision"] == "allow")
    assert server.ask("/v1/check", change)[1]["policy"] != before["policy"]


def test_a_server_without_tokens_does_not_come_up(env: dict[str, str], tmp_path: Path) -> None:
    assert "a server needs tokens" in run("serve").stderr
    (tmp_path / "tokens").write_text("short\n")
    assert "at least 16 characters" in run("serve", "--token-file", str(tmp_path / "tokens")).stderr


# -- the guard --------------------------------------------------------------------------------------------------------


def guard(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "haltline", "guard", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_guarded_command_runs_where_it_may_and_gives_its_own_exit_code(env: dict[str, str], service: str) -> None:
    done = guard(
        env, "-s", service, "--", sys.executable, "-c", "import os; print(os.environ['HALTLINE_ANSWER']); exit(7)"
    )
    out, _ = done.communicate(timeout=PATIENCE_S)
    assert (done.returncode, out.startswith("an-")) == (7, True)


def test_a_command_that_is_held_does_not_run(env: dict[str, str], service: str, tmp_path: Path) -> None:
    assert run("freeze", f"service={service}", "--for", "5m", "--reason", "x").exit_code == 0
    done = guard(env, "-s", service, "--", "touch", str(tmp_path / "ran"))
    _, err = done.communicate(timeout=PATIENCE_S)
    assert (done.returncode, (tmp_path / "ran").exists()) == (3, False)
    assert f"hold {service} in production: frozen by" in err


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("asked to end", flush=True))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("running", flush=True)
while True:
    time.sleep(0.1)
"""


def test_a_freeze_that_arrives_ends_the_command_and_what_it_started(env: dict[str, str], service: str) -> None:
    running = guard(env, "-s", service, "--grace", "1s", "--", sys.executable, "-c", STUBBORN)
    assert running.stdout is not None
    assert running.stdout.readline() == "running\n"
    assert run("freeze", f"service={service}", "--for", "5m", "--reason", "incident 8").exit_code == 0
    out, err = running.communicate(timeout=PATIENCE_S)  # the pipe is closed only when the last of the group is gone
    assert running.returncode == 3
    assert out == "asked to end\n"
    assert "incident 8" in err
    assert "did not end within 1s of SIGTERM; killed" in err


def test_a_command_that_ends_at_once_when_asked_is_not_killed(env: dict[str, str], service: str) -> None:
    program = "import time; print('running', flush=True); time.sleep(600)"
    running = guard(env, "-s", service, "--", sys.executable, "-c", program)
    assert running.stdout is not None
    assert running.stdout.readline() == "running\n"
    assert run("freeze", f"service={service}", "--for", "5m", "--reason", "incident 9").exit_code == 0
    _, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, "killed" in err) == (3, False)
    # What another test left in the topics that cannot be read is said, too.
    said = [line for line in err.splitlines() if " warning: skipped " not in line]
    assert [line.split()[0] for line in said] == ["allow", "haltline:"]


def test_a_policy_that_breaks_while_the_command_runs_is_told_and_the_command_goes_on(
    env: dict[str, str], service: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("mode: enforce\nfallbacks: {when_unreachable: allow}\n")
    breaks = f"echo 'mode: [' > {rules}; echo begun; sleep 3; echo done; exit 5"
    words = ("-s", service, "-b", "127.0.0.1:1", "--policy", str(rules), "--every", "100ms", "--", "sh", "-c", breaks)
    guarded = guard(env, *words)
    out, told = guarded.communicate(timeout=PATIENCE_S)
    assert (guarded.returncode, out) == (5, "begun\ndone\n")
    assert "the command goes on" in told


def test_what_ends_the_guard_ends_the_command(env: dict[str, str], service: str) -> None:
    program = "import time; print('running', flush=True); time.sleep(600)"
    running = guard(env, "-s", service, "--", sys.executable, "-c", program)
    assert running.stdout is not None
    assert running.stdout.readline() == "running\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 128 + signal.SIGTERM


# -- approvals --------------------------------------------------------------------------------------------------------


def signing_key(folder: Path, name: str) -> tuple[Path, str]:
    """A private key as ssh-keygen writes it, and its public line."""
    key = Ed25519PrivateKey.generate()
    path = folder / name
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_who_was_asked_approves_and_it_goes_until_they_take_it_back(
    env: dict[str, str], service: str, policy: Path
) -> None:
    rules = ["--policy", str(policy)]
    words = ["check", "-s", service, "--change", f"{service}-1", "--origin", "ai", "--author", "agent", "-o", "json"]
    words += ["--revision", "3484a3fb9d0c", *rules]
    held = run(*words)
    question = json.loads(held.stdout)["question"]
    assert (held.exit_code, question["revision"]) == (3, "3484a3fb9d0c")
    done = run("approve", question["id"], "--by", question["to"], "--reason", "read all of it")
    assert (done.exit_code, done.stdout) == (0, f"{question['to']} approved 3484a3fb9d0c of {service}-1\n")
    assert question["asks"] in done.stderr
    assert run(*words).exit_code == 0
    newer = run(*[word if word != "3484a3fb9d0c" else "77777777" for word in words])
    assert f"{question['to']} approved 3484a3fb9d0c, this is 77777777" in newer.stdout
    load = json.loads(run("load", *rules, "-o", "json").stdout)
    assert {row["who"]: row["approvals"] for row in load["people"]}[question["to"]] == 1
    other = next(who for who in (f"bo-{service}", f"cem-{service}") if who != question["to"])
    assert "--refuse needs --reason" in run("approve", question["id"], "--refuse").stderr
    refused = run("approve", question["id"], "--refuse", "--reason", "not before the sale", "--by", other)
    assert refused.stdout == f"{other} refused 3484a3fb9d0c of {service}-1\n"
    no = run(*words)
    assert (no.exit_code, f"{other} (lead) refused it: not before the sale" in no.stdout) == (3, True)
    assert run("approve", question["id"], "--by", other).exit_code == 0
    assert run(*words).exit_code == 0, "and changed their mind"
    assert run("approve", f"{service}-1", "--withdraw", "--by", other).exit_code == 0
    taken = run("approve", f"{service}-1", "--withdraw", "--by", question["to"])
    assert taken.stdout == f"{question['to']} took back what they said of {service}-1\n"
    assert run(*words).exit_code == 3


def test_an_approval_of_nothing_that_is_known_is_refused_in_one_line(env: dict[str, str], service: str) -> None:
    for words, said in (
        ([f"{service}-9"], "nothing was asked about"),
        (["qn-000000000000"], "no question qn-000000000000"),
        (["-", "--revision", "3484a3fb9d0c"], "named no change"),
        ([f"{service}-9", "--revision", "3484a3f", "--key", "/nowhere"], "/nowhere: cannot be read"),
        ([f"{service}-9", "--revision", "3484a3f", "--since", "noon"], "noon"),
    ):
        done = run("approve", *words)
        assert done.exit_code in (1, 2), words
        assert said in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1


def test_of_a_person_with_a_key_only_what_it_signed_counts(
    env: dict[str, str], service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, public = signing_key(tmp_path, "bo")
    other, _ = signing_key(tmp_path, "mallory")
    policy = tmp_path / "signed.yaml"
    policy.write_text(
        f"version: 1\nmode: enforce\npeople: {{bo-{service}: {{role: lead, keys: ['{public}']}}}}\n"
        "approvals: {rules: [{match: [origin=ai], role: lead}]}\n"
    )
    change, yes = f"{service}-1", ["--revision", "3484a3fb9d0c", "--by", f"bo-{service}"]
    words = ["check", "-s", service, "--change", change, "--origin", "ai", "--author", "agent", "--policy", str(policy)]
    words += ["--revision", "3484a3fb9d0c"]
    # Whoever can write to the topic can write this.
    assert run("approve", change, *yes).exit_code == 0
    assert "is not signed, and they have a key" in run(*words).stdout
    monkeypatch.setenv("HALTLINE_POLICY", str(policy))
    assert f"the policy has a key of bo-{service}" in run("approve", change, *yes).stderr
    assert run("approve", change, *yes, "--key", str(other)).exit_code == 0
    assert "is signed by none of their keys" in run(*words).stdout
    monkeypatch.setenv("HALTLINE_SIGNING_KEY_FILE", str(key))
    done = run("approve", change, *yes)
    assert (done.exit_code, done.stdout.endswith(", signed\n")) == (0, True)
    allowed = run(*words)
    assert (allowed.exit_code, f"sign-off: approved by bo-{service} (lead)" in allowed.stdout) == (0, True)


def test_a_loss_is_confirmed_by_answering_its_question(env: dict[str, str], service: str, policy: Path) -> None:
    plan = EXAMPLES / "plans" / "small-fix-recreates-environment.json"
    words = ["check", "-s", f"{service}-3", "--change", f"{service}-5", "--origin", "human", "--author", "dee"]
    words += ["--revision", "3484a3fb9d0c", "--plan", str(plan), "--policy", str(policy), "-o", "json"]
    held = run(*words)
    question = json.loads(held.stdout)["question"]
    assert (held.exit_code, question["rule"], question["confirms"][:5]) == (3, "destructive", "loss-")
    done = run("approve", question["id"], "--by", question["to"])
    assert f"confirmed {question['confirms']} of 3484a3fb9d0c" in done.stdout
    assert "recreate environment" in done.stderr, "what is confirmed is shown"
    assert run(*words).exit_code == 0

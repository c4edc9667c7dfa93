"""The command line without a broker: help, loading, completion, errors as one line, dry runs, contexts, files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.verdict import Share, Verdict, VerdictState
from haltline.cli.describe import of_verdict
from haltline.cli.root import SECTIONS, haltline
from haltline.running import Running, claim
from haltline.state import State

HEAVY = ("kafka", "numpy", "faust", "re2", "yaml", "aiokafka", "river", "rich", "numba")
COMMANDS = [name for section in SECTIONS.values() for name in section]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing configured."""
    for name in [name for name in os.environ if name.startswith("HALTLINE_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def run(*args: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(haltline, args, input=stdin)


def test_describe_tells_how_the_blame_was_shared_and_why() -> None:
    state = State()
    shares = (("c1", 0.8, "log p -18.0"), ("c2", 0.001, "log p -0.1"), ("*", 0.1, "9 others"), ("", 0.099, "chance"))
    state.verdicts["c1"] = Verdict(
        change="c1",
        service="checkout",
        time=0,
        state=VerdictState.HARMFUL,
        blame=0.8,
        shares=tuple(Share(change=change, blame=blame, reason=why) for change, blame, why in shares),
    )
    told = [row for row in of_verdict("c1", state, 1_000) if row[0].startswith("Blame")]
    assert told == [
        ("Blame 0.80", "c1: log p -18.0"),
        ("Blame 0.10", "other changes: 9 others"),
        ("Blame 0.10", "nobody: chance"),
    ]


def failed(result: Result, code: int) -> str:
    """The one line that a failure is."""
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("haltline: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_leads_with_an_example_where_it_takes_something(command: str) -> None:
    for flag in ("-h", "--help"):
        result = run(command, flag)
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: haltline {command}")
    if command not in ("version", "demo"):
        assert "Example" in result.output
        assert f"haltline {command}" in result.output.partition("Example")[2] or command == "send"


@pytest.mark.parametrize(
    "words",
    [["--help"], [], ["check", "-h"], ["get", "--help"], ["freeze", "-h"], ["provenance", "-h"], ["version"]],
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = f"""
import sys
from haltline.cli.root import haltline
try:
    haltline.main({words!r})
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "haltline" in done.stdout


@pytest.mark.parametrize(
    ("words", "number", "offered"),
    [("haltline fr", 1, "freeze"), ("haltline get ", 2, "freezes"), ("haltline check --rev", 2, "--revert-of")],
)
def test_completion_offers_words_and_imports_nothing_heavy(words: str, number: int, offered: str) -> None:
    program = f"""
import sys
from haltline.__main__ import main
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    request = {"_HALTLINE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **request}
    )
    assert f"plain,{offered}" in done.stdout.splitlines()
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_that_shells(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_HALTLINE_COMPLETE={shell}_complete" in result.output


def test_a_misspelt_command_is_refused_with_the_one_that_was_meant() -> None:
    assert "did you mean `freeze`?" in failed(run("freez"), 2)
    assert "there is no command 'thaw'" in failed(run("thaw"), 2)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["freeze", "--reason", "x"], "MATCHER"),
        (["freeze", "checkout"], "--reason"),
        (["freeze", "checkout", "--reason", "x", "--for", "0s"], "no time at all"),
        (["freeze", "checkout", "--reason", " ", "--for", "1m"], "must say something"),
        (["freeze", "checkout", "--reason", "x", "--for", "40000d"], "--for"),
        (["check"], "--service"),
        (["get", "pods"], "freezes"),
        (["get", "freezes", "-o", "xml"], "xml"),
        (["send", "change", "--service", "checkout"], "--id"),
        (["unfreeze", "fz-1", "service=x", "--reason", "x", "--bootstrap-servers", "nonsense"], "HOST:PORT"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_what_is_wrong(words: list[str], named: str) -> None:
    result = run(*words)
    assert result.exit_code in (1, 2)
    assert named in failed(result, result.exit_code)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["freeze", "a b", "--reason", "x"], "NAME=VALUE"),
        (["freeze", "service=~(", "--reason", "x"], "RE2"),
        (["freeze", "service=\udcff", "--reason", "x"], "UTF-8"),
        (["freeze", "checkout", "--reason", "x", "--for", "soon"], "30m"),
        (["freeze", "checkout", "--reason", "x", "--start", "noon"], "RFC 3339"),
        (["get", "freezes", "--within", "a while"], "7d"),
        (["get", "freezes", "service=~("], "RE2"),
        (["watch", "x"], "NAME=VALUE"),
        (["send", "change", "--service", "s", "--id", "i", "--share", "7"], "rollout.share"),
        (["send", "change", "/nowhere/change.json"], "/nowhere/change.json"),
        (["check", "/nowhere/change.json"], "/nowhere/change.json"),
        (["--context", "nowhere", "get", "freezes"], "nowhere"),
        (["worker", "--policy", "/nowhere/policy.yaml"], "/nowhere/policy.yaml"),
        (["up", "--policy", "/nowhere/policy.yaml"], "/nowhere/policy.yaml"),
    ],
)
def test_a_wrong_value_is_told_in_one_line_with_what_is_valid(words: list[str], named: str) -> None:
    result = run(*words)
    assert named in failed(result, result.exit_code)
    assert result.exit_code in (1, 2)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--service", "checkout"],
        ["freeze", "checkout", "--for", "1m", "--reason", "x"],
        ["unfreeze", "fz-1", "--reason", "x"],
        ["get", "freezes"],
        ["describe", "service", "checkout"],
        ["explain", "checkout-1"],
        ["watch"],
        ["send", "change", "--service", "checkout", "--id", "c-1"],
        ["topics"],
        ["worker"],
        ["up"],
    ],
)
def test_without_a_broker_every_command_says_what_was_tried_and_what_to_do(words: list[str], closed_port: str) -> None:
    began = time.monotonic()
    line = failed(run(*words, "--bootstrap-servers", closed_port), 1)
    assert closed_port in line
    assert "haltline up" in line
    assert "--bootstrap-servers" in line
    assert time.monotonic() - began < 10  # the promise, not a measurement: it takes milliseconds


def test_something_that_listens_and_is_no_kafka_is_given_up_within_the_promise() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        line = failed(run("check", "-s", "checkout", "-b", address), 1)
        assert time.monotonic() - began < 10
    assert "did not answer as kafka" in line


def test_an_up_that_died_is_not_believed(home: Path) -> None:
    state = home / "XDG_STATE_HOME" / "haltline"
    with claim(state) as running:
        running.tell(Running(1, "127.0.0.1:1"))
        assert "127.0.0.1:1 (from haltline up)" in failed(run("check", "-s", "x"), 1)
    (state / "up.json").write_text('{"pid": 1, "bootstrap_servers": "127.0.0.1:1"}')
    assert "haltline up)" not in failed(run("config", "current-context"), 1)


def test_a_broken_context_file_stops_what_needs_it_and_nothing_else(home: Path) -> None:
    path = home / "XDG_CONFIG_HOME" / "haltline" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("contexts:\n  shop: [")
    assert "config.yaml:2" in failed(run("get", "freezes"), 1)
    for words in (["--help"], ["version"], ["completion", "bash"]):
        assert run(*words).exit_code == 0


def test_contexts_are_made_chosen_and_listed(home: Path) -> None:
    assert run("config", "get-contexts").exit_code == 0
    made = run("config", "set-context", "prod", "-b", "kafka:9093", "-X", "security.protocol=ssl", "-e", "eu")
    assert made.output == "context prod created and current\n"
    assert run("config", "set-context", "dev", "-b", "localhost:9092").output == "context dev created\n"
    assert run("config", "set-context", "prod", "--policy", "p.yaml").output.startswith("context prod changed")
    assert run("config", "use-context", "dev").exit_code == 0
    assert run("config", "current-context").output == "dev\n"
    [dev, prod] = json.loads(run("config", "get-contexts", "-o", "json").output)
    assert (dev["name"], dev["current"]) == ("dev", True)
    assert (prod["bootstrap-servers"], prod["policy"], prod["kafka"]) == (
        "kafka:9093",
        "p.yaml",
        {"security.protocol": "SSL"},
    )
    assert "there is dev, prod" in failed(run("config", "use-context", "nowhere"), 1)
    assert "not for a command line" in failed(run("config", "set-context", "dev", "-X", "sasl.password=x"), 1)
    path = home / "XDG_CONFIG_HOME" / "haltline" / "config.yaml"
    assert path.stat().st_mode & 0o077 == 0


def test_a_dry_freeze_needs_no_broker_and_shows_what_it_would_be() -> None:
    result = run(
        "freeze", "checkout", "environment=production", "--for", "30m", "--reason", "x", "--dry-run", "-o", "json"
    )
    made = json.loads(result.output)
    assert made["matchers"] == ['environment="production"', 'service="checkout"']
    assert made["passes"] == [['reverts!=""']]
    plain = run("freeze", "checkout", "--for", "30m", "--reason", "x", "--dry-run")
    assert plain.output.startswith('would freeze service="checkout" from ')


def test_a_label_that_no_change_has_of_itself_is_warned_about() -> None:
    result = run("freeze", "svc=checkout", "--reason", "x", "--dry-run")
    assert result.exit_code == 0
    assert "`svc` is no built-in label" in result.stderr
    assert run("freeze", "tier=1", "--reason", "x", "--dry-run").stderr == ""


def test_a_dry_send_shows_the_record_that_would_go() -> None:
    words = [
        "--service",
        "checkout",
        "--id",
        "c-1",
        "--origin",
        "ai",
        "--tool",
        "t",
        "-l",
        "team=pay",
        "--share",
        "0.1",
    ]
    result = run("send", "change", *words, "--dry-run")
    data = json.loads(result.output)["data"]
    assert (data["id"], data["environment"], data["provenance"]) == (
        "c-1",
        "production",
        {"origin": "ai", "tools": ["t"]},
    )
    assert (data["labels"], data["rollout"]) == ({"team": "pay"}, {"share": 0.1})


CHANGE = {"id": "c-1", "service": "checkout", "time": "2026-11-21T09:14:03.120Z"}


@pytest.mark.parametrize(
    "text",
    [json.dumps(CHANGE), json.dumps([CHANGE, CHANGE]), json.dumps(CHANGE) + "\n\n" + json.dumps(CHANGE) + "\n"],
)
def test_changes_are_read_as_an_object_an_array_or_lines(text: str, tmp_path: Path) -> None:
    file = tmp_path / "changes"
    file.write_text(text)
    for result in (run("send", "change", str(file), "--dry-run"), run("send", "change", "-", "--dry-run", stdin=text)):
        assert {json.loads(line)["data"]["id"] for line in result.output.splitlines()} == {"c-1"}


def test_a_bad_line_among_good_ones_is_named_and_nothing_is_sent(tmp_path: Path, closed_port: str) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_text(json.dumps(CHANGE) + "\n" + json.dumps(CHANGE | {"phase": "begun"}) + "\n")
    # The broker is not there: that the line is what is told shows that it was looked at first.
    assert f"{file}:2: change" in failed(run("send", "change", str(file), "-b", closed_port), 2)
    telemetry = tmp_path / "telemetry.jsonl"
    good = {"resource": {"service.name": "s"}, "metrics": [{"name": "m", "times": [1763716443000], "values": [1]}]}
    telemetry.write_text(json.dumps(good) + '\n{"resource": {}}\n')
    assert f"{telemetry}:2" in failed(run("send", "telemetry", str(telemetry), "-b", closed_port), 2)
    telemetry.write_text(json.dumps(good) + "\n")
    assert run("send", "telemetry", str(telemetry), "--dry-run").output == "1 samples are good\n"


def test_replay_refuses_what_it_cannot_read_with_code_2(tmp_path: Path) -> None:
    changes, telemetry = tmp_path / "changes.jsonl", tmp_path / "telemetry.jsonl"
    changes.write_text(json.dumps(CHANGE) + "\n{broken\n")
    telemetry.write_text("")
    words = ["replay", "--changes", str(changes), "--telemetry", str(telemetry), "--out", str(tmp_path / "out")]
    assert f"{changes}:2" in failed(run(*words), 2)
    changes.write_text(json.dumps(CHANGE) + "\n")
    assert "/nowhere" in failed(run(*words, "--changes", "/nowhere"), 2)
    assert "bad.yaml" in failed(run(*words, "--policy", str(tmp_path / "bad.yaml")), 2)
    assert "RFC 3339" in failed(run(*words, "--until", "noon"), 2)
    result = run(*words)
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"verdicts.jsonl", "freezes.jsonl", "summary.json"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("time,value\n1,2\n", ":1: the header"),
        ("", ":1: the header"),
        ("timestamp,value\n1,2\n2\n", ":3: has 1 columns"),
        ("timestamp,value\nnoon,2\n", ":2: timestamp 'noon'"),
        ("timestamp,value\n1,two\n", ":2: value 'two'"),
    ],
)
def test_score_refuses_what_is_no_series_naming_the_line(text: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text(text)
    assert named in failed(run("score", "--series", str(file)), 2)


def test_score_answers_every_row_under_its_own_timestamp_from_the_past_alone(tmp_path: Path) -> None:
    rows = [f"2014-02-14 {hour:02d}:{minute:02d}:00" for hour in range(10) for minute in range(60)]
    values = [str(10 + (index * 7919 % 13) / 10) for index in range(len(rows))]
    values[5], values[6] = "", "NaN"
    values[500] = "90"

    def scored(count: int) -> list[list[str]]:
        file = tmp_path / "series.csv"
        file.write_text(
            "timestamp,value\n" + "".join(f"{r},{v}\n" for r, v in list(zip(rows, values, strict=True))[:count])
        )
        result = run("score", "--series", str(file))
        assert result.exit_code == 0, result.output
        return [line.split(",") for line in result.stdout.splitlines()]

    whole = scored(len(rows))
    assert whole[0] == ["timestamp", "score"]
    assert [stamp for stamp, _ in whole[1:]] == rows
    scores = [float(one) for _, one in whole[1:]]
    assert max(range(len(scores)), key=scores.__getitem__) == 500
    assert scored(550) == whole[:551]


def test_an_unforeseen_error_is_one_line_too_and_shown_whole_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from haltline.cli.face import explain

    assert explain(ZeroDivisionError("of all things")) == 1
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("HALTLINE_DEBUG", "1")
    assert explain(ZeroDivisionError("of all things")) == 1
    assert "ZeroDivisionError: of all things" in capsys.readouterr().err


def test_output_that_nobody_reads_to_the_end_is_no_error() -> None:
    command = f"{sys.executable} -m haltline completion bash | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""

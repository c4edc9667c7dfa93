"""`haltline backtest`: what it prints and writes, the page, and what it refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from deploy.change import change_to_object
from deploy.policy import parse_policy
from haltline.backtest.page import page
from haltline.cli.root import haltline
from stream.backtest import Backtest
from tests.factories import objects
from tests.stream.backtest.history import changes, telemetry

VOID = {"meta", "path", "circle"}


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, ["backtest", *args])


def failed(result: Result) -> str:
    """The one line that bad input is."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("haltline: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    for name, records in (("telemetry", objects(telemetry())), ("changes", map(change_to_object, changes()))):
        (folder / name).mkdir()
        (folder / name / "one.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (folder / "incidents.jsonl").write_text('{"change": "bad", "name": "INC-7"}\n')
    return folder


@pytest.fixture(scope="module")
def arguments(files: Path) -> list[str]:
    given = {"telemetry": "telemetry", "changes": "changes", "incidents": "incidents.jsonl"}
    return [
        *(word for option, name in given.items() for word in (f"--{option}", str(files / name))),
        "--placebo", "40", "--injections", "2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def told(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("out") / "result"
    return run(*arguments, "--out", str(out)), out


class Reader(HTMLParser):
    """Reads a page: every tag closed, all text, every attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.given: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.given += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class TestOutput:
    def test_the_terminal_has_the_answers_and_a_policy_to_paste(self, told: tuple[Result, Path]) -> None:
        result, _ = told
        assert result.exit_code == 0, result.output
        shown = result.stdout
        assert "Frozen for nothing: " in shown
        assert "of 40 changes that never were = " in shown
        assert "Incidents caught: 1 of 1 (100 %" in shown
        assert re.search(r"INC-7\s+checkout\s+labelled\s+after \d+m\d+s\s+latency \(past\)\s+\S+ before people", shown)
        assert re.search(r"^latency\s+(yes|-)\s+", shown, re.MULTILINE)
        text = shown[shown.index("version: 1") :]
        assert parse_policy(text)[1] == []
        assert "watches" in result.stderr

    def test_the_files_hold_the_same_as_json(self, told: tuple[Result, Path], arguments: list[str]) -> None:
        _, out = told
        written = (out / "backtest.json").read_bytes()
        assert run(*arguments, "-o", "json").stdout.encode() == written
        found = msgspec.json.decode(written, type=Backtest, strict=False)
        assert found.incidents.cases[0].curve is not None
        assert (out / "backtest.html").read_text("utf-8") == page(found)

    def test_the_same_history_gives_the_same_bytes(
        self, told: tuple[Result, Path], arguments: list[str], tmp_path: Path
    ) -> None:
        _, out = told
        assert run(*arguments, "--out", str(tmp_path)).exit_code == 0
        for name in ("backtest.json", "backtest.html"):
            assert (tmp_path / name).read_bytes() == (out / name).read_bytes()

    def test_the_goal_is_the_users(self, arguments: list[str]) -> None:
        found = json.loads(run(*arguments, "--goal", "200", "-o", "json").stdout)
        assert found["goal_per_1000"] == 200.0
        assert not any("cannot show a rate" in note for note in found["notes"])


class TestPage:
    @pytest.fixture
    def text(self, told: tuple[Result, Path]) -> str:
        return (told[1] / "backtest.html").read_text("utf-8")

    def test_it_stands_alone_and_fetches_nothing(self, text: str) -> None:
        read = Reader(text)
        assert read.open == []
        assert not {"script", "link", "img", "iframe", "object", "a"} & set(read.tags)
        assert not [name for name, _ in read.given if name in ("src", "href", "srcset", "onload")]
        assert "url(" not in text
        assert "@import" not in text
        assert "default-src 'none'" in text

    def test_it_follows_light_and_dark(self, text: str) -> None:
        assert "prefers-color-scheme: dark" in text
        assert "color-scheme: light dark" in text
        # No colour but those that change with the scheme.
        style, body = text.split("</style>")
        assert not re.search(r"#[0-9a-f]{3,8}\b", body)
        for name in set(re.findall(r"var\((--[\w-]+)\)", text)) - {"--share"}:
            assert style.count(f"{name}:") == 2, name

    def test_it_draws_the_rates_and_each_caught_incident(self, text: str) -> None:
        read = Reader(text)
        labels = [value for name, value in read.given if name == "aria-label"]
        assert len(labels) == 2
        assert "95 % intervals" in labels[0]
        assert labels[1] == "checkout: latency before and after bad"
        kinds = {value for name, value in read.given if name == "class"}
        assert {"goal", "band", "expected", "told", "mark change", "mark freeze", "mark people"} <= kinds

    def test_no_number_on_it_is_infinite_or_missing(self, text: str) -> None:
        assert not re.search(r"\b(nan|inf|None)\b", text)

    def test_names_from_records_are_text(self, told: tuple[Result, Path]) -> None:
        found = msgspec.json.decode((told[1] / "backtest.json").read_bytes(), type=Backtest, strict=False)
        [case] = found.incidents.cases
        assert case.curve is not None
        odd = '<script>alert("&")</script>'
        curve = msgspec.structs.replace(case.curve, metric=odd, unit=odd)
        named = msgspec.structs.replace(case, name=odd, service=odd, change=odd, metric=odd, reason=odd, curve=curve)
        recall = msgspec.structs.replace(found.incidents, cases=(named,), alone=(odd,))
        metrics = tuple(msgspec.structs.replace(one, metric=odd, why=odd) for one in found.metrics)
        read = Reader(page(msgspec.structs.replace(found, incidents=recall, metrics=metrics, notes=(odd,))))
        assert "script" not in read.tags
        assert read.open == []
        assert odd in read.text


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "give --telemetry"),
            (["--changes", "c.jsonl"], "give --telemetry too"),
            (["--from-kafka", "--telemetry", "t.jsonl"], "or --from-kafka"),
            (["--telemetry", "t.jsonl", "--placebo", "0"], "--placebo"),
            (["--telemetry", "t.jsonl", "--goal", "0"], "--goal"),
            (["--telemetry", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        ],
    )
    def test_a_wrong_call_is_one_line(self, words: list[str], said: str) -> None:
        assert said in failed(run(*words)).lower().replace("no such file or directory", "no such file")

    @pytest.mark.parametrize("option", ["telemetry", "changes", "incidents"])
    def test_a_bad_line_is_named_by_file_and_line(self, files: Path, tmp_path: Path, option: str) -> None:
        bad = tmp_path / "bad.jsonl"
        bad.write_text('\n{"id": \n')
        given = {"telemetry": files / "telemetry", "changes": files / "changes"} | {option: bad}
        words = [word for name, path in given.items() for word in (f"--{name}", str(path))]
        assert f"{bad}:2: " in failed(run(*words))

    def test_a_bad_policy_is_named(self, files: Path, tmp_path: Path) -> None:
        bad = tmp_path / "policy.yaml"
        bad.write_text("version: 1\nbreaker: {error_rate: 7}\n")
        assert f"{bad}:2:" in failed(run("--telemetry", str(files / "telemetry"), "--policy", str(bad)))

    def test_telemetry_without_a_sample_is_refused(self, tmp_path: Path) -> None:
        empty = tmp_path / "telemetry.jsonl"
        empty.write_text('{"resource": {"service.name": "a"}, "metrics": [{"name": "m", "times": [], "values": []}]}\n')
        assert "no sample" in failed(run("--telemetry", str(empty)))

    def test_a_folder_that_cannot_be_written_is_said(self, arguments: list[str], tmp_path: Path) -> None:
        taken = tmp_path / "taken"
        taken.write_text("")
        result = run(*arguments, "--out", str(taken))
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith(f"haltline: {taken}: ")

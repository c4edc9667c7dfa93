"""The documents against the code: links, files and names, commands with their options, and every example in them."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import msgspec
import pytest

from bench.__main__ import benches
from deploy.freeze import Mode
from deploy.policy import parse_policy
from haltline.cli.root import haltline
from haltline.client import OPTIONS
from haltline.settings import client_environment
from stream.json_text import parse
from stream.topics import CATALOGUE
from stream.wire import decode_changes, decode_telemetry

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    "README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/detection.md", "docs/provenance.md", "docs/gate.md",
    "docs/pipelines.md", "docs/detection-measured.md", "ops/README.md", "bench/README.md",
]  # fmt: skip
OURS = DOCUMENTS[:7]
#: A file of the repository, as documents name it: with a folder, or a kind that only the repository has.
FILE = re.compile(r"(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|lock)")
NAME = re.compile(r"(?P<file>[\w./-]+\.py):(?P<name>\w+(?:\.\w+)*)")

each_document = pytest.mark.parametrize("document", DOCUMENTS)
each_of_ours = pytest.mark.parametrize("document", OURS)


@cache
def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(document), re.DOTALL | re.MULTILINE)


def prose(document: str) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)


def code(document: str) -> list[str]:
    """What stands between backticks in the prose."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(document))]


def shell_lines(document: str) -> Iterator[str]:
    """Every command a reader may type: lines of shell blocks, and code in the prose."""
    for block in blocks(document, "sh"):
        yield from block.replace("\\\n", " ").splitlines()
    yield from code(document)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@each_document
def test_every_link_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = ((ROOT / document).parent / path) if path else ROOT / document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@each_of_ours
def test_every_file_named_exists(document: str) -> None:
    made = {"demo-out/incident.png", "result/verdicts.jsonl", "result/freezes.jsonl", "result/summary.json"}
    made |= {".agent-trace/traces.jsonl", "refs/notes/ai"}
    for span in code(document):
        if FILE.fullmatch(span) and span not in made:
            assert (ROOT / span).exists(), span


@cache
def names_in(file: str) -> frozenset[str]:
    """Every function, class, method and attribute of a module, dotted as documents write them."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + node.name
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))

    return frozenset(walk(ast.parse((ROOT / file).read_text(encoding="utf-8")).body, ""))


@each_of_ours
def test_every_name_in_a_file_exists(document: str) -> None:
    for span in code(document):
        if found := NAME.fullmatch(span):
            assert found["name"] in names_in(found["file"]), span


def test_the_architecture_names_its_way() -> None:
    assert sum(NAME.fullmatch(span) is not None for span in code("docs/architecture.md")) > 30


def calls(line: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` in a line of shell; `…` stands for what a reader fills in."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in [*lexer, ";"]:
            if set(word) <= set(";|&<>"):
                if words and Path(words[0]).name == program:
                    yield words[1:]
                words = []
            elif words or "=" not in word:  # an assignment before the command is not the command
                words.append(word)
    except ValueError:
        return  # prose with an apostrophe is no command


@each_document
def test_every_haltline_command_exists_with_its_options(document: str) -> None:
    for line in shell_lines(document):
        for words in calls(line, "haltline"):
            check_command(line, words)


def check_command(line: str, words: list[str]) -> None:
    command: click.Command = haltline
    context = click.Context(haltline, info_name="haltline")
    known = options_of(command)
    skip = False
    for word in words:
        if word == "--":
            break  # what follows is another command
        if skip:
            skip = False
        elif word.startswith("-"):
            option = known.get(word.partition("=")[0])
            assert option is not None, f"{line}: {command.name} has no option {word}"
            skip = "=" not in word and isinstance(option, click.Option) and not option.is_flag
        elif isinstance(command, click.Group) and word != "…":
            found = command.get_command(context, word)
            assert found is not None, f"{line}: {command.name} has no command {word}"
            command, known = found, known | options_of(found)


def options_of(command: click.Command) -> dict[str, click.Parameter]:
    context = click.Context(command, **{**command.context_settings, "help_option_names": ["-h", "--help"]})
    return {name: parameter for parameter in command.get_params(context) for name in parameter.opts}


def test_the_readme_shows_each_command_that_a_newcomer_needs() -> None:
    shown = {words[0] for line in shell_lines("README.md") for words in calls(line, "haltline") if words}
    assert shown >= {"up", "worker", "topics", "send", "check", "freeze", "unfreeze", "get", "explain", "replay"}


@each_document
def test_every_make_target_and_bench_exists(document: str) -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", text_of("Makefile"), re.MULTILINE))
    known = benches()
    for line in shell_lines(document):
        line = line.partition("#")[0]
        for words in calls(line, "make"):
            assert set(words) <= targets, line
        for words in calls(line, "python"):
            if words[:2] == ["-m", "bench"] and words[2:] and words[2] != "NAME":
                assert words[2] in known, line


@each_document
def test_every_variable_named_is_read_somewhere(document: str) -> None:
    read = "".join(
        path.read_text(encoding="utf-8")
        for path in [
            *ROOT.glob("haltline/**/*.py"),
            *ROOT.glob("bench/**/*.py"),
            ROOT / "docker-compose.yml",
            ROOT / "tests" / "conftest.py",
        ]
    )
    connection = client_environment(dict.fromkeys(OPTIONS, ""))
    for name in set(re.findall(r"\bHALTLINE_[A-Z_]+\b", text_of(document))):
        assert name.removesuffix("_FILE") in connection or re.search(rf"\b{name}\b", read), name


@each_document
def test_every_topic_named_is_in_the_catalogue(document: str) -> None:
    topics = {topic.name for topic in CATALOGUE}
    spans = [span for span in code(document) if re.fullmatch(r"haltline\.[a-z]+", span)]
    assert set(spans) <= topics


def test_the_policy_of_the_readme_is_a_policy() -> None:
    (text,) = blocks("README.md", "yaml")
    policy, warnings = parse_policy(text, "README.md")
    assert warnings == []
    assert policy.mode is Mode.OBSERVE
    assert policy.mode_of("checkout", "production") is Mode.ENFORCE
    assert not policy.guarded("sandbox")
    assert policy.guarded("elsewhere")
    # What it shows as given is the default, so leaving it out changes nothing.
    default = parse_policy("version: 1")[0]
    assert (policy.watch, policy.breaker, policy.mode) == (default.watch, default.breaker, default.mode)


def test_the_records_of_the_readme_are_read() -> None:
    native, cdevent, telemetry = (block.encode() for block in blocks("README.md", "json"))
    (change,) = decode_changes("haltline.changes", native, {})
    assert (change.id, change.service, change.previous_version) == ("checkout-481", "checkout", "v1")
    (change,) = decode_changes("haltline.changes", cdevent, {})
    assert (change.id, change.service, change.version, change.previous_version) == ("payment-9", "payment", "v7", "v6")
    assert change.provenance.origin == "mixed"
    columns = decode_telemetry("haltline.telemetry", telemetry, {})
    assert len(columns) == 5, "three metrics of two samples, one of them null"
    assert {key.version for key in columns.keys} == {"v2"}


def test_every_field_of_the_readmes_records_is_known() -> None:
    """Unknown fields are kept and ignored, so a misspelt one would be read without a word."""
    native, _, telemetry = (block.encode() for block in blocks("README.md", "json"))
    (change,) = decode_changes("haltline.changes", native, {})
    assert change.extra == {}
    record = parse("telemetry", telemetry)
    assert isinstance(record, dict)
    for metric in record["metrics"]:
        assert set(metric) <= {"name", "kind", "unit", "attributes", "times", "values"}


@each_of_ours
def test_python_examples_compile(document: str) -> None:
    for block in blocks(document, "python"):
        compile(block, document, "exec")


def test_the_readmes_phases_and_origins_are_all_of_them() -> None:
    from deploy.change import Origin, Phase

    said = set(code("README.md"))
    assert {phase.value for phase in Phase} | {origin.value for origin in Origin} <= said
    assert msgspec.json.decode(blocks("README.md", "json")[0])["provenance"]["origin"] in {one.value for one in Origin}

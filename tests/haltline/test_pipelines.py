"""The pipeline snippets of the documents: the shell one run as it stands, the others read by what reads them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from haltline.cli.check import check
from haltline.cli.guard import guard
from haltline.cli.root import haltline
from stream import topics as catalogue

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def pipeline(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder as a pipeline has it: the change, the policy, a deploy script, and `haltline` on the path."""
    catalogue.create(kafka)
    service = f"s{uuid.uuid4().hex[:10]}"
    change = json.loads(blocks("json")[0]) | {"service": service, "id": f"{service}-1"}
    change["provenance"]["approvers"] = []
    (tmp_path / "change.json").write_text(json.dumps(change))
    (tmp_path / "policy.yaml").write_text(
        f"mode: enforce\nservices: {{{service}: {{tier: 1}}}}\npeople: {{bo: {{role: lead}}}}\n"
        "canaries: [{match: [tier=1]}]\n"
    )
    (tmp_path / "deploy.sh").write_text('#!/bin/sh\necho "deployed $1 under $HALTLINE_ANSWER"\n')
    (tmp_path / "deploy.sh").chmod(0o755)
    (tmp_path / "haltline").write_text(f'#!/bin/sh\nexec {sys.executable} -m haltline "$@"\n')
    (tmp_path / "haltline").chmod(0o755)
    (tmp_path / "gate.sh").write_text(blocks("sh")[0])
    for name, value in {
        "HALTLINE_BOOTSTRAP_SERVERS": kafka,
        "HALTLINE_POLICY": str(tmp_path / "policy.yaml"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "GATE_PAUSE": "0",
        "GATE_PATIENCE": "0",
    }.items():
        monkeypatch.setenv(name, value)
    return {"folder": tmp_path, "service": service, "change": change}


def gate(pipeline: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "gate.sh"], cwd=pipeline["folder"], capture_output=True, text=True, timeout=120)


@pytest.mark.kafka
def test_the_shell_snippet_deploys_with_the_share_that_may_go(pipeline: dict[str, Any]) -> None:
    done = gate(pipeline)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"deployed 0\.1 under an-[0-9a-f]{16}\n", done.stdout)


@pytest.mark.kafka
def test_the_shell_snippet_does_not_deploy_what_is_held_and_says_why(pipeline: dict[str, Any]) -> None:
    frozen = CliRunner().invoke(
        haltline, ["freeze", f"service={pipeline['service']}", "--for", "5m", "--reason", "sale"]
    )
    assert frozen.exit_code == 0
    done = gate(pipeline)
    assert (done.returncode, done.stdout) == (3, "")
    assert frozen.stdout.strip() in done.stderr


@pytest.mark.kafka
def test_the_shell_snippet_ends_at_once_where_it_could_not_find_out(
    pipeline: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALTLINE_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("GATE_PATIENCE", "3600")
    done = gate(pipeline)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not deployed: haltline check ended with 1" in done.stderr


def test_the_yaml_snippets_are_yaml_and_call_haltline() -> None:
    found = [yaml.safe_load(text) for text in blocks("yaml")]
    assert len(found) == 4
    assert all("haltline" in text for text in blocks("yaml"))
    assert {one.get("kind") for one in found} == {None, "Job", "Task"}
    assert "haltline" in blocks("groovy")[0]


def test_every_option_that_a_snippet_gives_is_one_of_the_command() -> None:
    known = {"check": {one for option in check.params for one in option.opts}}
    known["guard"] = {one for option in guard.params for one in option.opts}
    calls = re.findall(r"haltline (check|guard) ([^\n'\"|)]*)", TEXT) + [
        ("check", " ".join(map(str, step.get("args", step["command"]))))
        for text in blocks("yaml")
        for step in _steps(yaml.safe_load(text))
    ]
    assert len(calls) >= 7
    for name, words in calls:
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", words.partition(" -- ")[0]):
            assert option in known[name], f"haltline {name} {words}"


def _steps(snippet: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a Job and the steps of a Task; a pipeline's own lines are in the text."""
    spec = snippet.get("spec", {})
    return [*spec.get("steps", ()), *spec.get("template", {}).get("spec", {}).get("containers", ())]

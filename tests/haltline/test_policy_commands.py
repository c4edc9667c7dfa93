"""`haltline policy` as its users meet it: lint, cases, differences and schema, each with its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from haltline.cli.root import haltline

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHOP = str(EXAMPLES / "shop.yaml")


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, ["policy", *args])


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "mode: enforce\npeople: {ada: {role: lead}}\nservices: {a: {tier: 1}}\n"
        "canaries: [{match: [tier=7]}]\nguardrials: []\n"
    )
    return path


def test_a_good_policy_is_said_to_be_good() -> None:
    result = run("check", SHOP)
    assert (result.exit_code, result.output) == (0, f"{SHOP}: good\n")


def test_what_is_odd_is_a_warning_and_an_error_where_that_is_wanted(odd: Path) -> None:
    lenient, strict = run("check", str(odd)), run("check", "--strict", str(odd))
    assert (lenient.exit_code, strict.exit_code) == (0, 3)
    assert [line.split(": ")[0] for line in lenient.output.splitlines()] == [f"{odd}:5:1", f"{odd}:4:13"]
    assert "did you mean `guardrails`?" in lenient.output


def test_a_broken_policy_is_told_by_line_and_column_and_the_others_are_checked_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("services:\n\tcheckout: {}\n")
    result = run("check", str(path), SHOP, str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    first, second, third = result.output.splitlines()
    assert first == f"{path}:2:1: not valid YAML: a tab (\\t) in the indentation; YAML indents with spaces"
    assert second.endswith(": good")
    assert "none.yaml: cannot be read" in third


def test_the_cases_beside_a_policy_are_run() -> None:
    result = run("test", SHOP)
    assert result.exit_code == 0
    assert result.output.endswith("cases: 88 as they must be, 0 not\n")
    told = run("test", "-v", str(EXAMPLES / "shop.cases.yaml")).output
    assert "ok reported: an assistant set to a small fix deletes and recreates the environment" in told
    assert "hold: destructive: would recreate environment" in told


def test_a_case_that_is_not_as_it_must_be_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\n")
    cases = tmp_path / "p.cases.yaml"
    cases.write_text("policy: p.yaml\ncases:\n  - {name: one, change: {service: a}, then: {decision: hold}}\n")
    result = run("test", str(tmp_path / "p.yaml"))
    assert result.exit_code == 3
    assert result.output.startswith(f"{cases}:3:5: one: allow, must be hold: ")
    assert "1 cases: 0 as they must be, 1 not" in result.output


def test_a_policy_without_cases_says_where_they_go(odd: Path) -> None:
    result = run("test", str(odd))
    assert result.exit_code == 1
    assert "write them into" in result.stderr


def test_the_difference_of_two_policies_over_recorded_changes(tmp_path: Path, odd: Path) -> None:
    record = {
        "id": "checkout-1",
        "service": "checkout",
        "environment": "production",
        "time": "2026-11-21T10:00:00Z",
        "provenance": {"origin": "ai"},
    }
    (tmp_path / "changes.jsonl").write_text("".join(json.dumps(record | {"id": f"c-{n}"}) + "\n" for n in range(3)))
    against = str(tmp_path / "changes.jsonl")
    result = run("diff", str(odd), SHOP, "--against", against)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith(
        "c-0 of checkout: allow (no active freeze covers it) → hold (sign-off: "
    )
    assert result.stdout.splitlines()[-1] == "3 changes asked, 3 answered otherwise: 3 from allow to hold"
    rows = [
        json.loads(line) for line in run("diff", str(odd), SHOP, "--against", against, "-o", "json").stdout.splitlines()
    ]
    assert [(row["change"], row["old"]["decision"], row["new"]["decision"]) for row in rows] == [
        (f"c-{n}", "allow", "hold") for n in range(3)
    ]


def test_the_schema_is_printed() -> None:
    printed = json.loads(run("schema").output)
    assert printed == json.loads((EXAMPLES / "policy.schema.json").read_text())

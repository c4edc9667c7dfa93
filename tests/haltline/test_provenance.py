"""`haltline provenance` over real repositories: what it shows, what it says of what it cannot know, and bad input."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.change import change_from_object
from deploy.provenance.attestation import pae
from haltline.cli.root import haltline
from haltline.git import LONGEST_MESSAGE, Repository
from tests.haltline.checkout import Checkout, git_ai_note

BOT = "copilot-swe-agent[bot] <198982749+Copilot@users.noreply.github.com>"
SESSION, PERSON = "s_0123456789abcd::t_0123456789abcd", "h_0123456789abcd"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "repo")


def run(checkout: Checkout, *words: str) -> Result:
    return CliRunner().invoke(haltline, ["provenance", "--repo", str(checkout.folder), *words])


def told(checkout: Checkout, *words: str) -> Any:
    result = run(checkout, *words, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def failed(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("haltline: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_range_is_a_line_a_commit_with_a_sign_and_what_they_come_to(checkout: Checkout) -> None:
    checkout.commit("Lay out the shop", lines=10)
    checkout.commit("Tidy", lines=5)
    checkout.commit("Price by weight\n\nCo-Authored-By: Claude Opus 4.5 <noreply@anthropic.com>", lines=25)
    checkout.commit("Retry payments", author=BOT, lines=60)
    page = run(checkout).stdout
    lines = page.splitlines()
    assert lines[0].split() == ["COMMIT", "DATE", "ORIGIN", "SURE", "LINES", "BY", "AI", "TOOL", "TITLE"]
    assert lines[1].split()[2:] == ["ai", "0.95", "+60", "−0", "copilot-agent", "Retry", "payments"]
    assert lines[2].split()[2:] == ["mixed", "0.90", "+25", "−0", "claude-code", "Price", "by", "weight"]
    assert lines[3].strip() == "… 2 commits without a sign"
    assert "4 commits, 2025-11-21, +100 −0 lines" in page
    assert "not the same as by a person" in page
    summary = told(checkout)["summary"]
    assert summary["origins"]["ai"] == {"commits": 1, "share": 0.25, "lines_added": 60, "share_of_lines": 0.6}
    assert summary["origins"]["unknown"]["commits"] == 2
    assert summary["origins"]["human"]["commits"] == 0, "no sign is never human"
    assert summary["tools"] == {"copilot-agent": 1, "claude-code": 1}
    assert "Tidy" in run(checkout, "--all").stdout


def test_one_commit_quotes_every_sign_and_says_what_does_not_count(checkout: Checkout) -> None:
    checkout.commit("Count stock\n\nAssisted-by: some-agent\nApproved-by: Carol <carol@example.org>")
    page = run(checkout, "HEAD").stdout
    assert "mixed, confidence 0.70" in page
    assert "0.70 mixed   commit-trailer   Assisted-by: some-agent" in page
    assert "shown, not counted" in page
    assert "Approved-by: Carol <carol@example.org>  (a commit can claim anything" in page
    assert "approved" not in [line.split()[0] for line in page.splitlines() if line]
    record = told(checkout, "HEAD")
    assert record["provenance"]["origin"] == "mixed"
    change = change_from_object(
        {"id": "c", "service": "s", "time": 1_763_716_443_000, "provenance": record["provenance"]}
    )
    assert change.provenance.author == "ada@example.org", "the object is what a change record takes"


def test_notes_say_who_wrote_which_lines_and_contradictions_are_shown(checkout: Checkout) -> None:
    commit = checkout.commit("Cache prices", lines=20, file="a dir/cache.py")
    checkout.note(commit, git_ai_note(commit, {'"a dir/cache.py"': {SESSION: "1-12", PERSON: "13-16"}}))
    record = told(checkout, "HEAD")
    assert record["lines"] == {"ai": 12, "human": 4, "unknown": 4, "changed": 20}
    assert record["provenance"]["tools"] == ["cursor"]
    assert record["provenance"]["operator"] == "ada@example.org"
    other = checkout.commit("Count\n\nAssisted-by: some-agent", lines=6, file="count.py")
    checkout.note(other, git_ai_note(other, {"count.py": {PERSON: "1-6"}}))
    page = run(checkout, "HEAD").stdout
    assert "signs contradict each other" in page
    assert "6 lines by Grace, none by an AI" in page
    whole = run(checkout).stdout
    assert "speaking for 85% of their lines" in whole
    assert "1 commit with contradicting signs (!)" in " ".join(whole.split())


def test_notes_lost_by_a_rebase_and_a_squash_are_found_and_counted(checkout: Checkout) -> None:
    checkout.commit("Base")
    checkout.git("checkout", "-q", "-b", "feature")
    for name in ("Search fast", "Search well"):
        commit = checkout.commit(name, lines=10, file=f"{name}.py")
        checkout.note(commit, git_ai_note(commit, {f'"{name}.py"': {SESSION: "1-10"}}))
    checkout.git("checkout", "-q", "main")
    checkout.commit("Meanwhile")
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    checkout.git(*who, "cherry-pick", "feature~1")
    record = told(checkout, "HEAD")
    assert (record["provenance"]["origin"], record["provenance"]["confidence"]) == ("ai", 0.75)
    assert "stayed behind" in record["signs"][0]["note"]
    checkout.git("reset", "-q", "--hard", "HEAD~1")
    checkout.git(*who, "merge", "-q", "--squash", "feature")
    checkout.git(*who, "commit", "-q", "-m", "Search (#4)\n\n* Search fast\n\n* Search well")
    record = told(checkout, "HEAD")
    assert record["lines"] == {"ai": 20, "human": 0, "unknown": 0, "changed": 20}
    assert told(checkout)["summary"]["notes"]["left_behind"] == 2
    assert "2 notes on commits that this history lost" in " ".join(run(checkout).stdout.split())


def test_a_copied_note_is_seen_as_one_of_another_commit(checkout: Checkout) -> None:
    first = checkout.commit("One", lines=30)
    second = checkout.commit("Two", lines=5)
    checkout.note(second, git_ai_note(first, {"x": {SESSION: "1-30"}}))
    (sign,) = told(checkout, "HEAD")["signs"]
    assert sign["weight"] == 0.75
    assert "speaks for 30 lines of a commit that adds 5" in sign["note"]
    checkout.note(second, "rubbish")
    (sign,) = told(checkout, "HEAD")["signs"]
    assert sign["note"] == "git-ai note: no line `---` between lines and metadata"


def test_the_last_commit_of_a_shallow_clone_has_no_lines(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("One", "Two", "Three"):
        checkout.commit(name, lines=7)
    checkout.git("clone", "-q", "--depth", "2", f"file://{checkout.folder}", str(tmp_path / "shallow"))
    clone = Checkout.__new__(Checkout)
    clone.folder = tmp_path / "shallow"
    document = told(clone)
    assert [one["lines_added"] for one in document["commits"]] == [7, None]
    assert document["summary"]["shallow"]
    assert "the clone ends early" in run(clone).stdout
    assert "not known: the clone ends at this commit" in run(clone, "HEAD~1").stdout


def test_an_attestation_and_a_review_from_files_are_joined(checkout: Checkout, tmp_path: Path) -> None:
    commit = checkout.commit("Fix")
    key = ed25519.Ed25519PrivateKey.generate()
    payload = msgspec.json.encode(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": "ab" * 32}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {"buildDefinition": {"resolvedDependencies": [{"digest": {"gitCommit": commit}}]}},
        }
    )
    kind = "application/vnd.in-toto+json"
    envelope = {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(key.sign(pae(kind, payload))).decode()}],
    }
    review = {
        "review": {"state": "approved", "user": {"login": "octocat"}, "commit_id": commit},
        "pull_request": {"number": 2, "user": {"login": "ada"}},
        "repository": {"full_name": "shop/checkout"},
    }
    evidence, pem = tmp_path / "evidence.jsonl", tmp_path / "key.pem"
    evidence.write_text(f"{json.dumps(envelope)}\n{json.dumps(review)}\n")
    pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    record = told(checkout, "HEAD", "--evidence", str(evidence), "--key", str(pem))
    assert [one["who"] for one in record["provenance"]["approvers"]] == ["octocat"]
    assert any("verified" in line and f"was built from {commit[:10]}" in line for line in record["story"])
    page = run(checkout, "HEAD", "--evidence", str(evidence)).stdout
    assert f"approved  octocat on {commit[:10]}" in page
    assert "unverified: no key is configured" in page
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    pem.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    refused = run(checkout, "HEAD", "--evidence", str(evidence), "--key", str(pem))
    assert "no configured key fits its signature, so it joins nothing" in refused.stderr
    assert "was built from" not in refused.stdout


def test_evidence_that_says_nothing_of_what_was_asked_is_told(checkout: Checkout, tmp_path: Path) -> None:
    checkout.commit("Fix")
    nothing, elsewhere = tmp_path / "nothing.jsonl", tmp_path / "elsewhere.json"
    nothing.write_text("\n")
    elsewhere.write_text(
        '{"review": {"state": "approved", "user": {"login": "ada"}, "commit_id": "3484a3fb9d0c"},'
        ' "pull_request": {"number": 2}, "repository": {"full_name": "shop/checkout"}}'
    )
    files = ("--evidence", str(nothing), "--evidence", str(elsewhere))
    said = run(checkout, "HEAD", *files).stderr.splitlines()
    assert [line.split(".json")[1] for line in said] == [
        "l: it tells of no commit, artifact or approval",
        f": nothing in it is of {told(checkout, 'HEAD')['revision'][:12]}",
    ]


def test_traces_beside_the_code_belong_to_the_commit_that_came_next(checkout: Checkout) -> None:
    base = checkout.commit("Base")
    trace = {
        "version": "1.0",
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "timestamp": "2025-11-21T00:00:00Z",
        "vcs": {"type": "git", "revision": base},
        "tool": {"name": "cursor"},
        "files": [
            {
                "path": "a.py",
                "conversations": [{"contributor": {"type": "ai"}, "ranges": [{"start_line": 1, "end_line": 9}]}],
            }
        ],
    }
    checkout.commit("Next", lines=9, file="a.py")
    (checkout.folder / ".agent-trace").mkdir()
    (checkout.folder / ".agent-trace" / "traces.jsonl").write_text(json.dumps(trace) + "\n")
    document = told(checkout)
    assert [one["provenance"]["origin"] for one in document["commits"] if "origin" in one["provenance"]] == ["ai"]
    (sign,) = document["commits"][0]["signs"]
    assert (sign["weight"], sign["tool"]) == (0.7, "cursor")


def test_bad_input_is_one_clear_line(checkout: Checkout, tmp_path: Path) -> None:
    assert "has no commit yet" in failed(run(checkout), 1)
    checkout.commit("One")
    assert "git: " in failed(run(checkout, "nope"), 1)
    assert "git: " in failed(run(checkout, "nope..HEAD"), 1)
    assert "git: " in failed(run(checkout, "--", "--output=/tmp/x"), 1)
    other = Checkout.__new__(Checkout)
    other.folder = tmp_path
    assert "not a git repository" in failed(run(other), 1)
    other.folder = tmp_path / "none"
    assert "no such folder" in failed(run(other), 1)
    rubbish = tmp_path / "rubbish.json"
    rubbish.write_text("{}")
    assert f"{rubbish}: evidence is none of" in failed(run(checkout, "--evidence", str(rubbish)), 2)
    assert "no such file" in failed(run(checkout, "--evidence", str(tmp_path / "gone")), 2)
    assert f"{rubbish}: key: not a public key" in failed(run(checkout, "--key", str(rubbish)), 2)
    assert "no commit in this range" in run(checkout, "HEAD..HEAD").stderr


def test_what_commits_hold_does_nothing_to_the_terminal_and_breaks_no_framing(checkout: Checkout) -> None:
    checkout.commit("\x1b[31mRed\x01\x02\n\n\x01\n\nAssisted-by: \x1b]0;x\x07agent", author="A\x1bda <ada@example.org>")
    checkout.commit("Two\n\nAssisted-by: two", lines=0)
    for words in ((), ("HEAD~1",), ("--all",)):
        page = run(checkout, *words)
        assert page.exit_code == 0
        assert not set(page.stdout) & set("\x1b\x07\x01")
    assert [one["title"] for one in told(checkout)["commits"]] == ["Two", "\x1b[31mRed\x01\x02"]


def test_a_merge_has_no_lines_of_its_own(checkout: Checkout) -> None:
    checkout.commit("Base")
    checkout.git("checkout", "-q", "-b", "side")
    checkout.commit("Side", lines=9)
    checkout.git("checkout", "-q", "main")
    checkout.commit("Main", lines=3)
    checkout.git("-c", "user.name=x", "-c", "user.email=x@x", "merge", "-q", "--no-edit", "side")
    document = told(checkout)
    assert (document["summary"]["merges"], document["summary"]["lines_added"]) == (1, 16)


def test_a_message_of_any_length_is_read_at_its_ends(checkout: Checkout) -> None:
    checkout.commit("Long\n\n" + "words\n" * LONGEST_MESSAGE + "\nAssisted-by: some-agent")
    (commit,) = Repository(checkout.folder).commits("HEAD")
    assert commit.title == "Long"
    assert len(commit.message) < 3 * LONGEST_MESSAGE
    assert told(checkout, "HEAD")["provenance"]["tools"] == ["some-agent"]


def test_nothing_of_the_repository_is_run(checkout: Checkout, tmp_path: Path) -> None:
    """A checkout from anywhere may name programs in its configuration."""
    checkout.commit("One", file="a.txt")
    checkout.commit("Two", file="a.txt")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for name in (
        "core.fsmonitor",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "core.pager",
        "gpg.program",
    ):
        checkout.git("config", name, str(trap))
    checkout.git("config", "log.showSignature", "true")
    (checkout.folder / ".gitattributes").write_text("*.txt diff=evil\n")
    assert told(checkout)["summary"]["commits"] == 2
    assert not (tmp_path / "sprung").exists()


def test_a_reader_that_has_had_enough_ends_it_without_a_word(checkout: Checkout) -> None:
    for number in range(30):
        checkout.commit(f"Number {number}\n\nAssisted-by: some-agent")
    words = f"{sys.executable} -m haltline provenance --repo {checkout.folder} | head -2"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True, cwd=root, env=os.environ)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_this_projects_own_history_is_read_to_its_first_commit() -> None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    document = json.loads(
        CliRunner().invoke(haltline, ["provenance", "--repo", str(root), "-n", "0", "-o", "json"]).stdout
    )
    total = sum(one["commits"] for one in document["summary"]["origins"].values())
    assert total == document["summary"]["commits"] == len(document["commits"]) > 0

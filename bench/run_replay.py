"""Puts a case before `haltline replay`, the very command that users run, and reads back what it decided."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from bench import BenchError
from bench.cases import Case, Truth
from bench.data import Json, milliseconds

HALTLINE = Path(sys.executable).parent / "haltline"


@dataclass(frozen=True)
class Outcome:
    """What became of one change: first freeze that it caused (ms), last state of its verdict, reason of either."""

    frozen_ms: int | None
    state: str
    reason: str


@dataclass(frozen=True, eq=False)
class Replayed:
    """The outcome of each change by id, replay's own summary, and the seconds it took from start to exit."""

    outcomes: Mapping[str, Outcome]
    truth: Mapping[str, Truth]
    summary: Json
    seconds: float


def write(case: Case, into: Path) -> None:
    """Write `changes.jsonl`, `telemetry.jsonl` and `policy.yaml` of a case into a folder."""
    into.mkdir(parents=True, exist_ok=True)
    _write_lines(into / "changes.jsonl", case.changes)
    _write_lines(into / "telemetry.jsonl", case.telemetry)
    text = yaml.safe_dump(case.policy, sort_keys=False, allow_unicode=True)
    (into / "policy.yaml").write_text(text, encoding="utf-8")


def run(case: Case, keep: Path | None = None) -> Replayed:
    """Replay one case; its files stay in `keep` if given. Raises BenchError with replay's own last line if it fails."""
    with tempfile.TemporaryDirectory(prefix="haltline-bench-") as temporary:
        folder = keep / case.name.replace("/", "_") if keep else Path(temporary)
        write(case, folder)
        return replay(folder, case)


def command() -> list[str]:
    """How to call haltline; raises BenchError when it is not installed beside this Python."""
    if not HALTLINE.exists():
        raise BenchError(f"{HALTLINE} is not there: run `make setup` first")
    return [str(HALTLINE)]


def replay(folder: Path, case: Case) -> Replayed:
    """Replay the three files of a folder that `write` made."""
    out = folder / "decisions"
    arguments = [
        *command(), "replay",
        "--changes", str(folder / "changes.jsonl"),
        "--telemetry", str(folder / "telemetry.jsonl"),
        "--policy", str(folder / "policy.yaml"),
        "--out", str(out),
    ]  # fmt: skip
    began = time.perf_counter()
    # Replays start by the dozen: let Python keep what it compiled, whatever the caller's habit is.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=surroundings)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise BenchError(f"haltline replay ended with {done.returncode} on {case.name}: {last}")
    summary = msgspec.json.decode((out / "summary.json").read_bytes())
    return Replayed(outcomes(out, case.truth), case.truth, summary, seconds)


def outcomes(out: Path, changes: Iterable[str]) -> dict[str, Outcome]:
    """The outcome of each change named, from the files that replay wrote."""
    state: dict[str, tuple[str, str]] = {}
    for line in _lines(out / "verdicts.jsonl"):
        state[line["change"]] = (line["state"], line.get("reason", ""))
    frozen: dict[str, tuple[int, str]] = {}
    for line in _lines(out / "freezes.jsonl"):
        at = line["starts_at"]
        at_ms = at if isinstance(at, int) else milliseconds(at)
        for ident in [line["caused_by"]] if isinstance(line["caused_by"], str) else line["caused_by"]:
            if ident not in frozen or at_ms < frozen[ident][0]:
                frozen[ident] = (at_ms, line.get("reason", ""))
    made = {}
    for ident in changes:
        last, reason = state.get(ident, ("none", ""))
        at, why = frozen.get(ident, (None, reason))
        made[ident] = Outcome(at, last, why)
    return made


def _write_lines(path: Path, records: Iterable[Json]) -> None:
    with path.open("wb") as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")


def _lines(path: Path) -> Sequence[Json]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()]

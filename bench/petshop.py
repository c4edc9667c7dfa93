"""The PetShop training issues through `haltline replay`: caught, missed and false, with delays."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from bench import OUT
from bench.cases import Case
from bench.data import petshop
from bench.figures import Recall, plain, rate, recall
from bench.run_replay import Replayed, command, run
from bench.tables import pair, short, table

HEADER = ["issue", "change on", "rows before", "verdict", "frozen", "samples of harm", "s from change", "reason"]


def main(argv: list[str]) -> int:
    """Replay each issue with the change on the broken component and again with it on an innocent one; print both."""
    parser = argparse.ArgumentParser(prog="python -m bench petshop", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="replays at once (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, help="keep the records and decisions of every replay in this folder")
    parser.add_argument("--out", type=Path, default=OUT, help="where petshop.json goes (default: %(default)s)")
    options = parser.parse_args(argv)
    command()
    guilty, innocent = list(petshop.cases()), list(petshop.shuffled_cases())
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda case: run(case, options.keep), [*guilty, *innocent]))
    caught, false = runs[: len(guilty)], runs[len(guilty) :]
    rows = [_row(case, done) for case, done in zip(guilty, caught, strict=True)]
    print(table("PetShop training issues, the change on the component that was broken", HEADER, rows))
    rows = [_row(case, done) for case, done in zip(innocent, false, strict=True)]
    print("\n" + table("The same telemetry, the change on a component outside the blast radius", HEADER, rows))
    found, wrong = recall(caught), rate(false)
    print("\n" + _summary(found, wrong.frozen, wrong.changes))
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "issues": _plain(guilty, caught),
        "innocent": _plain(innocent, false),
        "recall": plain(found),
        "rate": plain(wrong),
    }
    (options.out / "petshop.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    return 0


def _summary(found: Recall, false: int, innocent: int) -> str:
    missed = found.harmful - found.caught
    return (
        f"caught {found.caught} of {found.harmful}, missed {missed} ({found.unsure} said to be undecidable), "
        f"false {false} of {innocent}; median / p90 of the caught: {pair(found.samples_of_harm)} samples of harm, "
        f"{pair(found.seconds_from_change)} s from the change, {pair(found.seconds_from_onset)} s from the issue"
    )


def _row(case: Case, done: Replayed) -> list[str]:
    (ident, truth), *_ = case.truth.items()
    outcome = done.outcomes[ident]
    samples = seconds = math.nan
    if outcome.frozen_ms is not None:
        since = outcome.frozen_ms - (truth.change_ms if truth.onset_ms is None else truth.onset_ms)
        samples = math.floor(since / truth.period_ms) + 1
        seconds = (outcome.frozen_ms - truth.change_ms) / 1000
    before = _rows_before(case, truth.change_ms)
    frozen = "-" if outcome.frozen_ms is None else "yes"
    return [
        case.name,
        truth.series,
        str(before),
        outcome.state,
        frozen,
        short(samples),
        short(seconds),
        outcome.reason[:60],
    ]


def _rows_before(case: Case, change_ms: int) -> int:
    times = {time for record in case.telemetry for metric in record["metrics"] for time in metric["times"]}
    return sum(time <= change_ms for time in times)


def _plain(cases: Sequence[Case], runs: Sequence[Replayed]) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for case, done in zip(cases, runs, strict=True):
        for ident, truth in case.truth.items():
            outcome = done.outcomes[ident]
            made.append(
                {
                    "case": case.name,
                    "component": truth.series,
                    "harmful": truth.onset_ms is not None,
                    "state": outcome.state,
                    "seconds_from_change": None
                    if outcome.frozen_ms is None
                    else (outcome.frozen_ms - truth.change_ms) / 1000,
                    "reason": outcome.reason,
                }
            )
    return made

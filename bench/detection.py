"""Every goal of detection beside what is measured, in one table and under half an hour on two cores.

A row is a cut of the bench that it names: fewer services, moments, runs, the same ones every time; that bench prints it
in full. One set of defaults for everything. `met` and `missed` are of the figure itself, `-` where there are too few
cases to tell, nothing was promised, or the data are absent.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import msgspec

from bench import OUT, BenchError, DataMissingError, replayed_rows, simulated_rows
from bench.figures import plain
from bench.goals import MET, Line
from bench.replayed_rows import Cut, together
from bench.run_replay import command
from bench.tables import table

ROWS = replayed_rows.ROWS | simulated_rows.ROWS
#: The long ones first, so that two processes end together.
FIRST = ("placebo-jumpstarter", "named", "placebo-nab", "single", "young", "placebo-trainticket", "labelled", "shuffle")
HEADER = ["row", "goal", "measured [95 %]", "", "in full: python -m bench"]


def measure(name: str, cut: Cut) -> tuple[list[Line], float]:
    """The lines of one row, and the seconds that they took; what cannot be measured says so in its line."""
    began = time.perf_counter()
    try:
        lines = list(ROWS[name](cut))
    except DataMissingError as error:
        lines = [Line(name, "", f"data absent: {error}", None, "")]
    except BenchError as error:
        lines = [Line(name, "", f"not measured: {error}", False, "")]
    return lines, time.perf_counter() - began


def main(argv: Sequence[str]) -> int:
    """Print the table and write `detection.json`; a missed goal is a figure like any other, and no failure."""
    parser = argparse.ArgumentParser(prog="python -m bench detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases of every row, to see that it works")
    parser.add_argument("--rows", default=",".join(ROWS), help="only these (default: all): %(default)s")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON (default: bench/out)")
    given = parser.parse_args(list(argv))
    chosen = [name for name in given.rows.split(",") if name]
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(ROWS)}")
    command()
    began = time.perf_counter()
    order = [name for name in FIRST if name in chosen] + [name for name in chosen if name not in FIRST]
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = {name: pool.submit(measure, name, Cut(given.quick)) for name in order}
        for done, one in enumerate(as_completed(waiting.values()), start=1):
            name = next(name for name in chosen if waiting[name] is one)
            print(f"{done} of {len(chosen)}: {name}, {one.result()[1]:.0f} s", file=sys.stderr, flush=True)
    found = {name: waiting[name].result() for name in chosen}
    lines = [line for name in chosen for line in found[name][0]]
    lines += together(lines)
    seconds = time.perf_counter() - began
    # What could not be measured is a sentence, no figure.
    rows = [[line.row, line.goal, line.figure, MET[line.met], line.command] for line in lines if line.goal]
    print("\n" + table("goals of detection", HEADER, rows))
    for line in lines:
        if not line.goal:
            print(f"{line.row}: {line.figure}")
    kept, missed = (sum(line.met is verdict for line in lines) for verdict in (True, False))
    print(f"\n{kept} met, {missed} missed, {len(lines) - kept - missed} not to tell; {seconds:.0f} s")
    given.out.mkdir(parents=True, exist_ok=True)
    document = {
        "quick": given.quick,
        "seconds": {name: round(spent, 1) for name, (_, spent) in found.items()},
        "lines": [plain(asdict(line)) for line in lines],
    }
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    (given.out / "detection.json").write_bytes(text + b"\n")
    return 0

"""The five benches of speed, each shortened, one after another: every goal beside its figure, in a quarter of an hour.

What a bench says by itself with more to measure is more exact: `python -m bench throughput`, `scale`, `latency`,
`recovery`, `decode`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench import OUT, ROOT
from bench.promises import Promise, all_kept
from bench.tables import table
from bench.throughput import machine

BENCHES: dict[str, tuple[str, ...]] = {
    "decode": ("--quick",),
    "throughput": ("--sizes", "500", "--roles", "bytes,haltline,calm,faust-adwin,quix-adwin"),
    "latency": ("--incidents", "30", "--loaded", "10"),
    "scale": ("--quick",),
    "recovery": ("--quick",),
}


class Goals(msgspec.Struct):
    """The part that the figures of all five have in common."""

    goals: list[Promise]


def main(argv: list[str]) -> int:
    """Run them, each in a process of its own; 1 where a goal is missed or a bench could not measure."""
    parser = argparse.ArgumentParser(prog="python -m bench speed", description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHES), help="these of them (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where figures and plots go (default: %(default)s)")
    options = parser.parse_args(argv)
    out, began = options.out.absolute(), time.time()
    # What sources of today are compiled to is no part of what is measured.
    subprocess.run([sys.executable, "-m", "stream.warm_up"], cwd=ROOT, check=False)
    rows, kept = [], True
    promised: dict[str, list[Promise]] = {}
    for name in options.only.split(","):
        started = time.time()
        command = [sys.executable, "-m", "bench", name, *BENCHES[name], "--out", str(out)]
        print(f"== {' '.join(['python -m bench', name, *BENCHES[name]])}", flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        print(f"-- {time.time() - started:.0f} s\n", flush=True)
        figures = out / f"{name}.json"
        if not figures.exists() or figures.stat().st_mtime < started:
            rows.append([name, f"not measured, exit code {code}", "", "", ""])
            kept = False
            continue
        promises = promised[name] = msgspec.json.decode(figures.read_bytes(), type=Goals).goals
        kept &= all_kept(promises)
        rows += [[name, *one.cells()] for one in promises]
    about = ", ".join(f"{what} {said}" for what, said in machine().items())
    print(table(f"Speed: every goal, in {time.time() - began:.0f} s", ["bench", "", "goal", "measured", ""], rows))
    print(f"\n{about}")
    record = {"machine": machine(), "seconds": time.time() - began, "goals": promised}
    (out / "speed.json").write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return 0 if kept else 1

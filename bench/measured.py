"""The table of docs/detection-measured.md, written from the last `python -m bench detection`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import OUT, ROOT, BenchError
from bench.goals import MET

PAGE = ROOT / "docs" / "detection-measured.md"
HEAD = """# What detection reaches

Written by `python -m bench measured` from what `make bench-detection` found; [detection.md](detection.md) explains it.
Each row is a fixed cut of the bench beside it, which prints it in full. In brackets a 95 % interval. `-`: too few cases
to tell, or nothing was promised.
"""


def page(document: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    lines = [line for line in document["lines"] if line["goal"]]
    counts = {met: sum(line["met"] is met for line in lines) for met in MET}
    body = [HEAD, f"{counts[True]} met, {counts[False]} missed, {counts[None]} not to tell.", ""]
    body += ["| what | goal | measured | | in full |", "| --- | --- | --- | --- | --- |"]
    for line in lines:
        cells = [line["row"], line["goal"], line["figure"], MET[line["met"]], f"`python -m bench {line['command']}`"]
        body.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    body += ["", *(f"{line['row']}: {line['figure']}\n" for line in document["lines"] if not line["goal"])]
    return "\n".join(body).rstrip() + "\n"


def main(argv: Sequence[str]) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench measured", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (default: docs/detection-measured.md)")
    given = parser.parse_args(list(argv))
    found = OUT / "detection.json"
    if not found.exists():
        raise BenchError(f"{found} is not there: run `make bench-detection` first")
    document = json.loads(found.read_text(encoding="utf-8"))
    if document["quick"]:
        raise BenchError(f"{found} is of a quick run: run `make bench-detection` first")
    given.out.write_text(page(document), encoding="utf-8")
    print(given.out)
    return 0

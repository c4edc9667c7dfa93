"""The score of one series against the Numenta Anomaly Benchmark: own implementation of its public scoring function.

    python -m bench.nab [--threshold 2.0] [--json FILE]

Scoring after Lavin and Ahmad, Evaluating real-time anomaly detection algorithms, 2015: a detection in a window scores
by a sigmoid of its place (early is better, only the best of a window counts), one outside costs ``fpWeight`` less a
little just after a window, a missed window costs ``fnWeight``; 0 is silence and 100 perfect. The first 15 % of a file
(at most 750 rows) is probation. The standard threshold is the best one, chosen on the labels; the frozen one is not.
"""

import argparse
import csv
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.telemetry import ROOT, present
from detectors.score import score

Floats = NDArray[np.float64]

FROZEN = 2.0
"""Twice the 99 % excursion of the own past: a round figure, chosen while looking at these files."""


@dataclass(frozen=True)
class File:
    """One labelled series: row numbers of its windows (first and last row), and where probation ends."""

    name: str
    times: Floats
    values: Floats
    windows: tuple[tuple[int, int], ...]
    probation: int


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def files() -> list[File]:
    """The files that are here."""
    labels = json.loads((ROOT / "nab/labels/combined_windows.json").read_text())
    found = []
    for path in sorted(ROOT.glob("nab/data/*/*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        times = np.array([_unix(row[0]) for row in rows])
        windows = []
        for begin, end in labels[f"{path.parent.name}/{path.name}"]:
            inside = np.flatnonzero((times >= _unix(begin)) & (times <= _unix(end)))
            windows.append((int(inside[0]), int(inside[-1])))
        probation = int(min(0.15 * len(rows), 0.15 * 5000))
        name = f"{path.parent.name}/{path.stem}"
        found.append(File(name, times, np.array([float(row[1]) for row in rows]), tuple(windows), probation))
    return found


def sigmoid(place: Floats) -> Floats:
    """The scaled sigmoid: near 1 at the start of a window (-1), 0 at its end (0), -1 far behind it."""
    return np.where(place > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(place, 3.0))) - 1.0)


def worth(file: File) -> tuple[Floats, NDArray[np.int64]]:
    """What a detection at each row is worth (before weights), and the window it is in (-1 for none)."""
    rows = np.arange(len(file.values))
    value = np.full(len(rows), -1.0)
    inside = np.full(len(rows), -1, dtype=np.int64)
    for number, (first, last) in enumerate(file.windows):
        width = last - first + 1
        behind = rows > last
        value[behind] = sigmoid((rows[behind] - last) / max(width - 1.0, 1.0))
        inside[first : last + 1] = number
    for first, last in file.windows:
        width = last - first + 1
        place = -(last - rows[first : last + 1] + 1.0) / width
        value[first : last + 1] = sigmoid(place) / float(sigmoid(np.array([-1.0]))[0])
    return value, inside


def sweep(scored: list[tuple[File, Floats]], false: float, missed: float) -> tuple[Floats, Floats]:
    """All thresholds, falling, and the normalised score (0 silence, 100 perfect) at each."""
    scores, gains, keys = [], [], []
    total = 0
    for file, s in scored:
        value, inside = worth(file)
        keep = np.arange(len(s)) >= file.probation
        scores.append(s[keep])
        gains.append(np.where(inside < 0, value * false, value)[keep])
        keys.append(np.where(inside < 0, -1, inside + total)[keep])
        total += len(file.windows)
    flat, gain, key = np.concatenate(scores), np.concatenate(gains), np.concatenate(keys)
    order = np.argsort(-flat, kind="stable")
    best = np.full(total, -missed)
    points, running = np.empty(len(order)), -missed * total
    for place, i in enumerate(order):
        if key[i] < 0:
            running += gain[i]
        elif gain[i] > best[key[i]]:
            running += gain[i] - best[key[i]]
            best[key[i]] = gain[i]
        points[place] = running
    last_of_ties = np.append(np.diff(flat[order]) != 0.0, True)
    normal = 100.0 * (points + missed * total) / (total * (1.0 + missed))
    return flat[order][last_of_ties], normal[last_of_ties]


PROFILES = {"standard": (0.11, 1.0), "low FP": (0.22, 1.0), "low FN": (0.11, 2.0)}


def report(threshold: float) -> dict[str, dict[str, float]]:
    """Score all files, print the table, return it."""
    begun = time.perf_counter()
    scored = [(file, score(file.values, file.times)) for file in files()]
    spent = time.perf_counter() - begun
    result = {}
    for name, (false, missed) in PROFILES.items():
        thresholds, points = sweep(scored, false, missed)
        top = int(np.argmax(points))
        frozen = points[thresholds >= threshold]
        result[name] = {"best": float(points[top]), "at": float(thresholds[top]), "frozen": float(frozen[-1])}
        print(f"{name:9} best {points[top]:5.1f} at {thresholds[top]:.2f}; frozen at {threshold:g} {frozen[-1]:5.1f}")
    rows = sum(len(file.values) for file, _ in scored)
    print(f"{len(scored)} files, {rows} rows, {1e6 * spent / rows:.1f} us a row")
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold", type=float, default=FROZEN)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not present():
        return
    result = report(given.threshold)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

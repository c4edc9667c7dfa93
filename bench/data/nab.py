"""The Numenta Anomaly Benchmark: single series with windows around what people marked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from bench.data import Service, folder, milliseconds, number, opened, usual_period_ms


def windows() -> dict[str, list[tuple[int, int]]]:
    """The marked windows of each file (`realTweets/Twitter_volume_KO.csv`), both ends included, in Unix ms."""
    marked = json.loads((folder("nab") / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    return {name: [(milliseconds(start), milliseconds(end)) for start, end in spans] for name, spans in marked.items()}


def paths() -> dict[str, Path]:
    """The series that are here, by their name in the label files."""
    data = folder("nab") / "data"
    return {path.relative_to(data).as_posix(): path for path in sorted(data.glob("*/*.csv"))}


def load(*, artificial: bool = True) -> list[Service]:
    """Every series, or only the real ones, as a service with the metric `value`; rows inside a window are labelled."""
    marked = windows()
    services = []
    for name, path in paths().items():
        if name.startswith("artificial") and not artificial:
            continue
        with opened(path) as file:
            # A clock that was set back leaves two rows of one time: the later row of the file wins.
            rows = {milliseconds(row["timestamp"]): number(row["value"]) for row in csv.DictReader(file)}
        times = np.array(sorted(rows), dtype=np.int64)
        labels = np.zeros(len(times), dtype=np.bool_)
        for start, end in marked.get(name, []):
            labels |= (times >= start) & (times <= end)
        values = np.array([rows[int(time)] for time in times])
        services.append(Service(name.removesuffix(".csv"), usual_period_ms(times), times, {"value": values}, labels))
    return services

"""Public telemetry as services: all metrics of one service on one grid, with the moments that experts labelled."""

import csv
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROOT = Path(os.environ.get("HALTLINE_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


@dataclass(frozen=True)
class Service:
    """One service: ``values`` float64[metrics, n] on a grid of ``period`` seconds that begins at ``start``.

    ``labelled`` bool[n] is odd time; ``onsets`` are the indices at which harm begins, ``lengths`` how long it lasts;
    ``free`` bool[n] is time in which a placebo change may be put (all of it outside labels when None).
    """

    name: str
    group: str
    period: float
    start: float
    values: Floats
    labelled: NDArray[np.bool_]
    onsets: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    every: int = 60
    first: int = 60


def present() -> bool:
    """Whether the data is here; says so where it is not."""
    if ROOT.is_dir():
        return True
    print(f"no data at {ROOT}: set HALTLINE_DATA to the folder with microsoft-cloud-monitoring, nab, jumpstarter …")
    return False


def runs(labelled: NDArray[np.bool_]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Onsets and lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labelled.astype(np.int8), [0]])))
    return tuple(int(i) for i in edges[::2]), tuple(int(i) for i in edges[1::2] - edges[::2])


def regrid(times: Floats, values: Floats) -> tuple[float, float, Floats]:
    """Period, start and values on a regular grid (the last of repeated samples wins, NaN where none came)."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    steps = np.diff(times)
    period = float(np.median(steps[steps > 0.0]))
    places = np.round((times - times[0]) / period).astype(np.int64)
    grid = np.full((*values.shape[1:], int(places[-1]) + 1), np.nan)
    grid[..., places] = np.moveaxis(values, 0, -1)
    return period, float(times[0]), grid


def _table(path: Path) -> list[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:
        return list(csv.reader(file))


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")


def _unix(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=UTC).timestamp()


def microsoft() -> Iterator[Service]:
    """Production series of one metric, one a minute or one an hour, labelled by experts."""
    for path in sorted(ROOT.glob("microsoft-cloud-monitoring/data/*/*.csv")):
        rows = _table(path)[1:]
        times = np.array([_unix(row[0]) for row in rows])
        both = np.array([[_number(row[1]), _number(row[2])] for row in rows])
        period, start, grid = regrid(times, both)
        labelled = np.nan_to_num(grid[1]) > 0.0
        group = "microsoft 60 s" if period == 60.0 else "microsoft 1 h"
        yield Service(path.stem, group, period, start, grid[:1], labelled, *runs(labelled))


def nab() -> Iterator[Service]:
    """The real series of the Numenta Anomaly Benchmark; its windows are centred, so they are no onsets."""
    windows = json.loads((ROOT / "nab/labels/combined_windows.json").read_text())
    for path in sorted(ROOT.glob("nab/data/real*/*.csv")):
        rows = _table(path)[1:]
        times = np.array([_unix(row[0]) for row in rows])
        period, start, grid = regrid(times, np.array([[float(row[1])] for row in rows]))
        moments = start + period * np.arange(grid.shape[1])
        labelled = np.zeros(grid.shape[1], dtype=bool)
        for begin, end in windows[f"{path.parent.name}/{path.name}"]:
            labelled |= (moments >= _unix(begin)) & (moments <= _unix(end))
        yield Service(path.stem, "nab", period, start, grid, labelled)


def jumpstarter() -> Iterator[Service]:
    """Online services of 19 unnamed metrics, five minutes apart (no timestamps)."""
    for number in range(30):
        folder = ROOT / "jumpstarter/Dataset2"
        rows = _table(folder / "test" / f"service{number}.csv.gz")
        label = next(folder.glob(f"test_label/service{number}.csv*"))
        labelled = np.array([float(row[-1]) for row in _table(label)]) > 0.0
        values = np.array([[float(cell) for cell in row] for row in rows]).T
        yield Service(
            f"service{number}", "jumpstarter", 300.0, 0.0, np.ascontiguousarray(values), labelled, *runs(labelled)
        )


def _petshop(path: Path) -> tuple[Floats, dict[str, list[tuple[str, Floats]]]]:
    rows = _table(path)
    names, metrics, statistics = rows[0][1:], rows[1][1:], rows[2][1:]
    body = [row for row in rows[3:] if row[0] and row[0][0].isdigit()]
    cells = np.array([[_number(cell) for cell in row] for row in body])
    found: dict[str, list[tuple[str, Floats]]] = {}
    for column, name in enumerate(names):
        found.setdefault(name, []).append((f"{metrics[column]}:{statistics[column]}", cells[:, column + 1]))
    return cells[:, 0], found


def petshop() -> Iterator[Service]:
    """Components of a shop, seven metrics every five minutes, two days without issues; a placebo every 12 samples."""
    times, found = _petshop(ROOT / "petshop/dataset/low_traffic/noissue/metrics.csv")
    for name, columns in found.items():
        period, start, grid = regrid(times, np.column_stack([values for _, values in columns]))
        free = np.zeros(grid.shape[1], dtype=bool)
        yield Service(name, "petshop", period, start, grid, free, every=12, first=240)


def petshop_issues() -> Iterator[tuple[str, Service]]:
    """Each training issue at its root: the issue-free run moved in time to end before it, then its rows.

    The history is of another season and of low traffic: the shape of the original comparison, no fair one.
    """
    times, quiet = _petshop(ROOT / "petshop/dataset/low_traffic/noissue/metrics.csv")
    for path in sorted(ROOT.glob("petshop/dataset/*/train/*/metrics.csv")):
        target = json.loads((path.parent / "target.json").read_text())
        root = target["root_cause"]["node"]
        when, found = _petshop(path)
        if root not in quiet or root not in found:
            continue
        past, now = dict(quiet[root]), dict(found[root])
        names = [name for name in past if name in now]
        values = np.array([np.concatenate([past[name], now[name]]) for name in names])
        start = float(when[0]) - 300.0 * len(times)
        labelled = np.zeros(values.shape[1], dtype=bool)
        yield root, Service(str(path.parent), "petshop", 300.0, start, values, labelled, (len(times),), (len(when),))


def nezha() -> Iterator[Service]:
    """Pods of two shops, a sample a minute; faults of three minutes with their injection times."""
    for folder, group in (("2022-08-22", "nezha boutique"), ("2023-01-29", "nezha tickets")):
        faults = json.loads((ROOT / f"nezha/{folder}/{folder}-fault_list.json").read_text())
        every = [fault for hour in faults.values() for fault in hour]
        when = [_unix(fault["inject_time"]) for fault in every]
        for path in sorted((ROOT / f"nezha/{folder}/metric").glob("*_metric.csv*")):
            rows = _table(path)
            pod = rows[1][2]
            keep = [i for i, name in enumerate(rows[0]) if i > 2 and not name.startswith(("Node", "PodSuccess"))]
            times = np.array([float(row[1]) for row in rows[1:]])
            cells = np.array([[_number(row[i]) if i < len(row) else np.nan for i in keep] for row in rows[1:]])
            period, start, grid = regrid(times, cells)
            moments = start + period * np.arange(grid.shape[1])
            labelled = moments < max(when) + 180.0
            mine = [at for at, fault in zip(when, every, strict=True) if fault["inject_pod"] == pod]
            onsets = tuple(int(np.ceil((at - start) / period)) for at in sorted(mine))
            yield Service(pod, group, period, start, grid, labelled, onsets, (3,) * len(onsets))


def services() -> Iterator[Service]:
    """Everything, in a fixed order."""
    for source in (microsoft, nab, jumpstarter, petshop, nezha):
        yield from source()

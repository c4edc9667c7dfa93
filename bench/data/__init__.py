"""Loaders of public data sets: each returns columns of numbers with what is known to be wrong in them.

The data is looked for in the folder that `HALTLINE_DATA` names, otherwise in `shared/data` beside the checkout.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from bench import ROOT, DataMissingError

Json = dict[str, Any]
Floats = NDArray[np.float64]

ROWS_PER_OBJECT = 720


@dataclass(frozen=True, eq=False)
class Service:
    """The telemetry of one service as columns.

    `times` are Unix milliseconds (n,), strictly increasing, at which a sample was known; each metric is (n,) with NaN
    for a missing sample; `labels` (n,) is true where people marked something wrong. `instance` is set where the
    telemetry is by instance.
    """

    name: str
    period_ms: int
    times: NDArray[np.int64]
    metrics: Mapping[str, Floats]
    labels: NDArray[np.bool_]
    kinds: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None

    def __len__(self) -> int:
        return len(self.times)

    def onsets(self) -> list[int]:
        """Index of the first row of every labelled run."""
        marked = self.labels.astype(np.int8)
        return [int(i) for i in np.flatnonzero(np.diff(marked, prepend=np.int8(0)) == 1)]

    def part(self, start: int, stop: int) -> Service:
        """Rows `start` to `stop` (excluded)."""
        rows = slice(max(start, 0), stop)
        return Service(
            self.name,
            self.period_ms,
            self.times[rows],
            {name: values[rows] for name, values in self.metrics.items()},
            self.labels[rows],
            self.kinds,
            self.instance,
        )


def folder(name: str) -> Path:
    """The folder of one data set; raises DataMissingError with what to do."""
    given = os.environ.get("HALTLINE_DATA")
    base = Path(given) if given else ROOT.parent / "shared" / "data"
    path = base / name
    if not path.is_dir():
        raise DataMissingError(
            f"no data set {name!r} in {base} (set HALTLINE_DATA to the folder that holds the public data sets)"
        )
    return path


def opened(path: Path) -> IO[str]:
    """A text file to read, plain or gzip-compressed by its name."""
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


def milliseconds(text: str) -> int:
    """Unix milliseconds of a time in UTC, written with a blank or a `T` and with or without a zone.

    >>> milliseconds("2018-04-25T00:00:00Z") == milliseconds("2018-04-25 00:00:00")
    True
    """
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def number(text: str) -> float:
    """A cell as a number; an empty cell is a missing sample.

    >>> number(""), number("1.5")
    (nan, 1.5)
    """
    return float(text) if text.strip() else float("nan")


def usual_period_ms(times: NDArray[np.int64]) -> int:
    """The median distance of neighbouring samples."""
    return int(np.median(np.diff(times))) if len(times) > 1 else 0


def telemetry(services: Sequence[Service]) -> Iterator[Json]:
    """Native telemetry objects of these services; a missing sample is written as null."""
    for service in services:
        resource = {"service.name": service.name, "deployment.environment.name": "production"}
        if service.instance is not None:
            resource["service.instance.id"] = service.instance
        for start in range(0, len(service), ROWS_PER_OBJECT):
            rows = slice(start, start + ROWS_PER_OBJECT)
            times = service.times[rows].tolist()
            metrics = [
                {
                    "name": name,
                    "kind": service.kinds.get(name, "gauge"),
                    "times": times,
                    "values": [None if value != value else value for value in column[rows].tolist()],
                }
                for name, column in service.metrics.items()
            ]
            yield {"resource": resource, "metrics": metrics}

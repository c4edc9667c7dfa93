"""A worker whose watches can be saved in the slowest and plainest way: all that they were given, given to them again.

What it proves is the road: what is in a snapshot is there after a crash, and decisions follow from it. Run as
`python -m tests.stream.recording_worker BOOTSTRAP DATA POLICY SECONDS`, with `--own` for a worker with
the watches that it has by itself, saved as often.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.evidence import Report
from stream.columns import Columns, SeriesKey
from stream.key_texts import KeyTexts
from stream.snapshots import State, part_of, under
from stream.watch import Watch


class RecordingWatch(Watch):
    """A watch that can be saved."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._numbers: dict[SeriesKey, int] = {}
        #: What it was given: columns, and between them times to which others had moved on.
        self._given: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
        self._moved: list[tuple[int, int]] = []

    def telemetry(self, columns: Columns, span: int | None = None) -> list[Report]:
        numbers = [self._numbers.setdefault(columns.keys[one], len(self._numbers)) for one in columns.series.tolist()]
        self._given.append((np.array(numbers, np.int64), columns.times.copy(), columns.values.copy()))
        return super().telemetry(columns, span)

    def advance(self, clock: int) -> list[Report]:
        if clock > (self._moved[-1][1] if self._moved else 0):
            self._moved.append((len(self._given), clock))
        return super().advance(clock)

    def snapshot(self) -> State | None:
        texts = KeyTexts()
        for key, number in self._numbers.items():
            texts.put(number, key)
        whole = [np.concatenate([one[part] for one in self._given] or [np.empty(0)]) for part in range(3)]
        cuts = np.array([len(one[0]) for one in self._given], np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {"cuts": cuts} | under("keys", texts.arrays())
        arrays |= dict(zip(("series", "times", "values"), whole, strict=True))
        return {"moved": self._moved}, arrays

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        keys = KeyTexts.from_arrays(part_of(arrays, "keys")).keys()
        moved = [(place, clock) for place, clock in header["moved"]]
        at = 0
        for number, length in enumerate([*arrays["cuts"].tolist(), 0]):
            while moved and moved[0][0] == number:
                self.advance(moved.pop(0)[1])
            if length:
                some = slice(at, at + length)
                series, times, values = (arrays[name][some] for name in ("series", "times", "values"))
                self.telemetry(Columns(keys, series.astype(np.int32), times, values))
                at += length


def main(bootstrap: str, data: str, policy: str, seconds: str, own: str = "") -> int:
    from stream.app import run
    from stream.config import WorkerConfig

    config = WorkerConfig(
        bootstrap_servers=bootstrap, data_dir=Path(data), policy=Path(policy), metrics_address="127.0.0.1:0",
        snapshot_s=float(seconds), log_level="debug",
    )  # fmt: skip
    return run(config, Watch if own else RecordingWatch)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

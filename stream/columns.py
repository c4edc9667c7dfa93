"""Telemetry as columns: which series, when, how much. What every decoder of telemetry yields."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


class MetricKind(StrEnum):
    GAUGE = "gauge"
    DELTA = "delta"
    CUMULATIVE = "cumulative"


class SeriesKey(msgspec.Struct, frozen=True, order=True):
    """What makes a stream of numbers the same stream: whose, of what, told by which instance of which version.

    `attributes` are sorted pairs, without those that have a field of their own here.
    """

    service: str
    environment: str
    metric: str
    attributes: tuple[tuple[str, str], ...]
    version: str
    instance: str
    kind: MetricKind = MetricKind.GAUGE
    unit: str = ""
    #: A piece of a histogram: `count`, `sum`, or `le` and an upper bound. `stream/histograms.py` puts them together.
    part: str = ""

    @property
    def counted(self) -> bool:
        """Whether its values are numbers of things, which add up."""
        return self.kind is not MetricKind.GAUGE


class _Shared(dict[Any, Any]):
    """The few different texts and attributes of very many keys, each once; it forgets them when they become many."""

    def __missing__(self, one: Any) -> Any:
        if len(self) >= _MOST_SHARED:
            self.clear()
        found: Any = sys.intern(one) if isinstance(one, str) else tuple((self[name], self[text]) for name, text in one)
        self[found] = found
        return found


_MOST_SHARED = 1 << 16
_shared = _Shared()


def compact(key: SeriesKey) -> SeriesKey:
    """The same key of shared texts and attributes: a million of them have few different ones."""
    return SeriesKey(
        _shared[key.service], _shared[key.environment], _shared[key.metric], _shared[key.attributes],
        _shared[key.version], _shared[key.instance], key.kind, _shared[key.unit], key.part,
    )  # fmt: skip


class Columns(msgspec.Struct, frozen=True):
    """Samples of several series.

    `series` (int32[n]) indexes `keys`, which may be those of a whole registry (`stream/series_ids.py`) and hold many
    that have no sample here; `times` (int64[n]) are Unix milliseconds; `values` (float64[n]) are finite, as a missing
    sample is no sample. Any order, repeats allowed. `arrived` is when they came, where a recording says so.
    """

    keys: Sequence[SeriesKey]
    series: Int32
    times: Int64
    values: Float64
    arrived: int | None = None

    def __len__(self) -> int:
        return len(self.times)


def split(columns: Columns) -> list[tuple[SeriesKey, Int64, Float64]]:
    """Cut columns into one block a series, in the order of the keys."""
    if not len(columns):
        return []
    if len(columns.keys) == 1:
        return [(columns.keys[0], columns.times, columns.values)]
    order = np.argsort(columns.series, kind="stable")
    present, starts = np.unique(columns.series[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    blocks = []
    for index, start, end in zip(present.tolist(), starts.tolist(), ends.tolist(), strict=True):
        chosen = order[start:end]
        blocks.append((columns.keys[index], columns.times[chosen], columns.values[chosen]))
    return blocks

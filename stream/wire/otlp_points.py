"""The points of one OTLP message on their way to columns, whatever their bytes were.

A histogram leaves it as its count, its sum and, where its metric is asked for by name, its buckets; a summary as count,
sum and a gauge a quantile. What is a difference of two points is made where all points of a series come together
(`stream/histograms.py`, `stream/series.py`), whatever order and partition they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import Columns, Float64, Int32, Int64, MetricKind, SeriesKey
from stream.hash128 import UInt64
from stream.histograms import COUNT, LE, SUM, TO
from stream.restarts import columns_of
from stream.series_ids import UNKNOWN, SeriesIds
from stream.wire.otel_names import Resource

#: From the id of a histogram's count to those of its other parts; ids are random, so any constant will do.
_SUM, _BUCKETS = np.uint64(0x5DEECE66D1CE4E5B), np.uint64(0xA0761D6478BD642F)


class Metric(msgspec.Struct, frozen=True):
    """What the points of a metric have in common."""

    resource: Resource
    scope: str
    name: str
    unit: str
    kind: MetricKind


class Parts(msgspec.Struct, frozen=True):
    """Buckets and quantiles: of which point each is, an id of its series, the upper bound of the bucket or the
    quantile, and how many values were at or below it, or the value at it."""

    of: Int64
    hi: UInt64
    lo: UInt64
    places: Float64
    told: Float64


class Names(Protocol):
    """What a format knows of a message's points, each by its place."""

    def key(self, place: int, part: str) -> SeriesKey:
        """The key of a point's series, of a histogram's or a summary's that of this part; raises `Unreadable`."""
        ...

    def parts(self, chosen: Int64) -> Parts:
        """The buckets and quantiles of these points."""
        ...


class Points(msgspec.Struct, frozen=True):
    """The points of a message that recorded something; each array has a place for each.

    `hi` and `lo` are ids of their series; `times` and `starts` (0 where none is known) Unix milliseconds; `values` what
    they say, of histograms and summaries (`counted`) their count; `sums` the sums of those, NaN where there is none.
    """

    hi: UInt64
    lo: UInt64
    times: Int64
    starts: Int64
    values: Float64
    sums: Float64
    counted: npt.NDArray[np.bool_]
    exponential: npt.NDArray[np.bool_]
    summaries: npt.NDArray[np.bool_]

    def columns(self, ids: SeriesIds, names: Names) -> Columns:
        """The samples of all series; those that are new are entered into the registry."""
        if not self.counted.any():
            return plain_columns(ids, names, self.hi, self.lo, self.times, self.values, self.starts)
        numbers = _numbers(ids, self.hi, self.lo, lambda place: names.key(place, COUNT if self.counted[place] else ""))
        parts = [(np.arange(len(numbers)), numbers, self.values), *self._parts(ids, names)]
        of = np.concatenate([one[0] for one in parts])
        series, values = np.concatenate([one[1] for one in parts]), np.concatenate([one[2] for one in parts])
        return columns_of(ids, series, self.times[of], values, self.starts[of])

    def _parts(self, ids: SeriesIds, names: Names) -> Iterator[tuple[Int64, Int32, Float64]]:
        """Of histograms and summaries, beside the count: the points that they are of, the series, the values."""
        summed = np.flatnonzero(self.counted & np.isfinite(self.sums))
        hi, lo = self.hi[summed] ^ _SUM, self.lo[summed] ^ _SUM
        yield summed, _numbers(ids, hi, lo, lambda i: names.key(int(summed[i]), SUM)), self.sums[summed]

        counted = np.flatnonzero(self.counted)
        hi, lo = self.hi[counted] ^ _BUCKETS, self.lo[counted] ^ _BUCKETS
        wanted = _numbers(ids, hi, lo, lambda i: self._with_parts(ids, names, int(counted[i])))
        parts = names.parts(counted[wanted >= 0])
        of, places = parts.of, parts.places
        numbers = _numbers(ids, parts.hi, parts.lo, lambda i: self._part_key(names, int(of[i]), float(places[i])))
        yield of, numbers, parts.told

    def _with_parts(self, ids: SeriesIds, names: Names, place: int) -> SeriesKey | None:
        """The key of a point whose buckets or quantiles are to be read."""
        key = names.key(place, COUNT)
        return key if self.summaries[place] or key.metric in ids.buckets_of else None

    def _part_key(self, names: Names, place: int, number: float) -> SeriesKey:
        if self.summaries[place]:
            key = names.key(place, "")
            return msgspec.structs.replace(key, metric=f"{key.metric}.p{100 * number:g}", kind=MetricKind.GAUGE)
        return names.key(place, f"{TO if self.exponential[place] else LE}{number!r}")


def plain_columns(
    ids: SeriesIds, names: Names, hi: UInt64, lo: UInt64, times: Int64, values: Float64, starts: Int64
) -> Columns:
    """The samples of points none of which is a histogram or a summary; arrays as those of `Points`."""
    return columns_of(ids, _numbers(ids, hi, lo, lambda place: names.key(place, "")), times, values, starts)


def _numbers(ids: SeriesIds, hi: UInt64, lo: UInt64, key: Callable[[int], SeriesKey | None]) -> Int32:
    """The number of each id; `key` names what has none yet, from its place, or None if it is to be left out."""
    numbers = ids.lookup(hi, lo)
    unknown = np.flatnonzero(numbers == UNKNOWN)
    new: dict[tuple[int, int], int] = {}
    for place in unknown.tolist():
        one = int(hi[place]), int(lo[place])
        if one not in new:
            found = key(place)
            new[one] = ids.ignore(*one) if found is None else ids.add(*one, found)
        numbers[place] = new[one]
    return numbers

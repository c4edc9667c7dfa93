"""Histograms put together from their parts: rate, mean, and the quantiles and counts over a bound that are asked for.

Decoders hand on what a histogram counts as it came: its count, its sum, and how many values were at or below each
bound, each a series of its own (`SeriesKey.part`). That holds no state, so it may be done in any partition and order.
Here, where all samples of a series come together, `NAME.count` is handed on as the counter that it is, and from what
was counted between two of its points follow

* `NAME.mean`, and with a bound or quantile in the policy's guardrails
* `NAME.p99`, interpolated in its bucket as Prometheus' `histogram_quantile` does;
* `NAME.over_0.5`, a counter of the values above the bound, so that `errors: NAME.over_0.5, over: NAME.count` is judged
  exactly, as counts.

The last few points of each histogram are kept. A point is compared with the one before it, whichever of them came first
and in however many messages its parts; a repeat changes nothing; a count that fell began again at zero. A point that
comes after its successor was told leaves that one as it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numba
import numpy as np
import numpy.typing as npt

from deploy.policy import Policy
from stream.columns import Columns, Int32, MetricKind, SeriesKey
from stream.key_texts import KeyTexts
from stream.series_ids import SeriesIds
from stream.snapshots import State, part_of, under

COUNT, SUM = "count", "sum"
#: A bucket of fixed bounds, and one of a histogram whose bounds come and go.
LE, TO = "le ", "to "
_ASKED = re.compile(
    r"(?P<metric>.+)\.(?:p(?P<percent>\d{1,2}(?:\.\d+)?|100)|over_(?P<bound>-?\d+(?:\.\d+)?(?:e-?\d+)?))"
)

#: Points kept of each histogram.
RING = 6
#: More bounds than this are no histogram of anybody's.
MOST_BOUNDS = 512
_NONE = np.int64(-(2**62))
_NO_BOUNDS = np.empty((0, 0))
_FIRST_ROWS, _FIRST_BOUNDS = 64, 16
_QUANTILE, _OVER = 0, 1
#: Which component of a histogram a series is: its count, its sum, or 2 and the place of its bound.
_NOTHING, _COUNT, _SUM, _FIRST_BOUND = -1, 0, 1, 2
#: Facts of a histogram: whether it is of deltas, the partition that it last came in, its row of bounds or -1, the
#: series of its mean, where what is asked of it begins and ends, whether its bounds come and go.
IS_DELTA, PARTITION, BUCKETS, MEAN, FIRST_WANTED, END_WANTED, MOVING, _FACTS = range(8)


class Asked(NamedTuple):
    """A number of a histogram that a guardrail names: a quantile between 0 and 1, or a bound."""

    name: str
    kind: int
    number: float


def asked_of(policies: Iterable[Policy]) -> dict[str, tuple[Asked, ...]]:
    """By histogram, what the guardrails of these policies want to know of it beside its rate and mean.

    >>> from deploy.policy import Guardrail
    >>> rail = Guardrail(name="slow", errors="latency.over_0.5", over="latency.count")
    >>> asked_of([Policy(guardrails=(rail, Guardrail(name="p99", value="latency.p99.9")))])["latency"]
    (Asked(name='latency.over_0.5', kind=1, number=0.5), Asked(name='latency.p99.9', kind=0, number=0.999))
    """
    asked: dict[str, dict[str, Asked]] = {}
    for rail in (rail for policy in policies for rail in policy.guardrails):
        for name in rail.metrics:
            if (found := _ASKED.fullmatch(name)) is not None:
                percent, bound = found["percent"], found["bound"]
                number = (
                    Asked(name, _QUANTILE, round(float(percent) / 100, 12))
                    if percent
                    else Asked(name, _OVER, float(bound))
                )
                asked.setdefault(found["metric"], {})[name] = number
    return {metric: tuple(by_name.values()) for metric, by_name in asked.items()}


class Histograms:
    """The histograms of a worker, put together as columns come by.

    `asked` is by metric, and `ids.buckets_of` must name the same metrics. A registry has one of these.
    """

    def __init__(self, ids: SeriesIds, asked: dict[str, tuple[Asked, ...]]) -> None:
        self._ids, self._asked = ids, asked
        self._groups: dict[SeriesKey, int] = {}
        self._made = self._bucketed = 0
        # By number of a series: the histogram that it is part of or -1, its component, the counter that it becomes.
        self._roles = np.full((0, 3), -1, np.int32)
        # By histogram and place in its ring, where `_NONE` is no time; `_told` are the mean, the quantiles, the rest.
        self._times = np.full((0, RING), _NONE, np.int64)
        self._counts, self._sums = np.empty((0, RING)), np.empty((0, RING))
        self._told = np.zeros((0, RING, 3), np.bool_)
        self._facts = np.empty((0, _FACTS), np.int32)
        # Of the histograms that something is asked of: upper bounds, and how many values were at or below each.
        self._bounds = np.empty((0, _FIRST_BOUNDS))
        self._below = np.empty((0, RING, _FIRST_BOUNDS))
        # What is asked: the series that it becomes, its kind and its number.
        self._wanted: list[tuple[int, int, float]] = []
        self._wanted_rows = np.empty((0, 3))

    def ask(self, asked: dict[str, tuple[Asked, ...]]) -> None:
        """Ask this from now on; a histogram of which something else is asked begins anew with its next point."""
        others = {name for name in {*asked, *self._asked} if asked.get(name) != self._asked.get(name)}
        self._learn()
        self._asked = asked
        self._ids.want_buckets_of(asked)
        for whole in [one for one in self._groups if one.metric in others]:
            group = self._groups.pop(whole)
            self._times[group] = _NONE
            parts = np.flatnonzero(self._roles[:, 0] == group).astype(np.int32)
            self._roles[parts] = -1
            self._ids.drop(parts)

    def derive(self, columns: Columns, partition: int = 0) -> Columns:
        """The samples, those of parts replaced by what follows from them; `columns` has the registry's numbers."""
        self._learn()
        if not self._groups or not len(columns):
            return columns
        self._roles = _grown(self._roles, len(self._ids.keys), -1)
        roles = self._roles[columns.series]
        parts = np.flatnonzero(roles[:, 0] >= 0)
        if not len(parts):
            return columns
        # No more points of a histogram are kept than are needed, so one is told before the next is taken.
        parts = parts[np.argsort(columns.times[parts], kind="stable")]
        self._facts[roles[parts, 0], PARTITION] = partition
        room = 2 * len(parts) * (1 + max(map(len, self._asked.values()), default=0))
        series, times, values = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room)
        count = _take(
            roles[parts], columns.times[parts], columns.values[parts], self._times, self._counts, self._sums,
            self._told, self._facts, self._bounds, self._below, self._wanted_rows, series, times, values,
        )  # fmt: skip
        kept = columns.series.copy()
        kept[parts] = roles[parts, 2]
        there = np.flatnonzero(kept >= 0)
        return msgspec.structs.replace(
            columns,
            series=np.concatenate([kept[there], series[:count]]),
            times=np.concatenate([columns.times[there], times[:count]]),
            values=np.concatenate([columns.values[there], values[:count]]),
        )

    def lose(self, partitions: Collection[int]) -> None:
        """Another worker reads these partitions now; if they come back, they are read again from what is kept."""
        self._times[np.isin(self._facts[:, PARTITION], list(partitions))] = _NONE

    def snapshot(self, partition: int) -> State:
        """The latest points of the histograms of this partition; copies."""
        groups = [
            (key, group)
            for key, group in self._groups.items()
            if self._facts[group, PARTITION] == partition and (self._times[group] != _NONE).any()
        ]
        numbers = np.array([group for _, group in groups], np.int64)
        texts = KeyTexts()
        for row, (key, _) in enumerate(groups):
            texts.put(row, key)
        rows = self._facts[numbers, BUCKETS]
        return {}, {
            "times": self._times[numbers], "counts": self._counts[numbers], "sums": self._sums[numbers],
            "told": self._told[numbers], "moving": self._facts[numbers, MOVING],
            "bounds": np.where(rows[:, None] >= 0, self._bounds[rows], np.inf) if len(self._bounds) else _NO_BOUNDS,
            "below": self._below[rows] if len(self._below) else np.empty((0, RING, 0)),
            **under("keys", texts.arrays()),
        }  # fmt: skip

    def restore(self, partition: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from these points. Raises ValueError or IndexError where they do not fit together."""
        self._learn()
        for row, key in enumerate(KeyTexts.from_arrays(part_of(arrays, "keys")).keys()):
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = self._new(key)
            self._facts[group, PARTITION], self._facts[group, MOVING] = partition, arrays["moving"][row]
            self._times[group], self._told[group] = arrays["times"][row], arrays["told"][row]
            self._counts[group], self._sums[group] = arrays["counts"][row], arrays["sums"][row]
            if self._facts[group, BUCKETS] < 0 or not len(arrays["bounds"]):
                continue
            self._below[self._facts[group, BUCKETS]] = np.nan
            for place in np.flatnonzero(np.isfinite(arrays["bounds"][row])).tolist():
                component = self._component(group, float(arrays["bounds"][row, place]))
                if component != _NOTHING:
                    self._below[self._facts[group, BUCKETS], :, component - _FIRST_BOUND] = arrays["below"][
                        row, :, place
                    ]

    def forget(self, numbers: Int32) -> None:
        """Series of these numbers are dropped from the registry: drop the parts of the histograms that they tell of."""
        roles = self._roles
        counters = np.isin(roles[:, 2], numbers) & (roles[:, 2] >= 0)
        for group in set(roles[counters, 0].tolist()):
            parts = np.flatnonzero(roles[:, 0] == group).astype(np.int32)
            self._groups.pop(msgspec.structs.replace(self._ids.keys[int(parts[0])], part=""), None)
            self._times[group] = _NONE
            roles[parts] = -1
            self._ids.drop(parts)

    def _learn(self) -> None:
        """Take note of parts that are new since the last time."""
        for number in self._ids.new_parts():
            key = self._ids.keys[number]
            whole = msgspec.structs.replace(key, part="")
            group = self._groups.get(whole)
            if group is None:
                group = self._groups[whole] = self._new(whole)
            counter, component = -1, _SUM
            if key.part == COUNT:
                component = _COUNT
                counter = self._ids.of(msgspec.structs.replace(whole, metric=f"{key.metric}.count", unit=""))
            elif key.part != SUM:
                component = self._component(group, float(key.part[len(LE) :]))
                self._facts[group, MOVING] |= key.part.startswith(TO)
            self._roles = _grown(self._roles, number + 1, -1)
            self._roles[number] = group, component, counter
        if len(self._wanted_rows) < len(self._wanted):
            self._wanted_rows = np.array(self._wanted, np.float64).reshape(-1, 3)

    def _new(self, whole: SeriesKey) -> int:
        group = self._made
        self._made += 1
        self._times = _grown(self._times, self._made, int(_NONE))
        self._counts, self._sums = _grown(self._counts, self._made, np.nan), _grown(self._sums, self._made, np.nan)
        self._told = _grown(self._told, self._made, False)
        self._facts = _grown(self._facts, self._made, 0)
        begin, buckets = len(self._wanted), -1
        for asked in self._asked.get(whole.metric, ()):
            is_level = asked.kind == _QUANTILE
            key = msgspec.structs.replace(
                whole,
                metric=asked.name,
                kind=MetricKind.GAUGE if is_level else whole.kind,
                unit=whole.unit if is_level else "",
            )
            self._wanted.append((self._ids.of(key), asked.kind, asked.number))
        if len(self._wanted) > begin:
            buckets = self._bucketed
            self._bucketed += 1
            self._bounds = _grown(self._bounds, self._bucketed, np.inf)
            self._below = _grown(self._below, self._bucketed, np.nan)
        mean = self._ids.of(msgspec.structs.replace(whole, metric=f"{whole.metric}.mean", kind=MetricKind.GAUGE))
        self._facts[group] = whole.kind is MetricKind.DELTA, 0, buckets, mean, begin, len(self._wanted), False
        return group

    def _component(self, group: int, bound: float) -> int:
        """The component that this upper bound is; its bounds keep the places in which they came."""
        row = int(self._facts[group, BUCKETS])
        if row < 0 or not np.isfinite(bound):
            return _NOTHING
        places = self._bounds[row]
        used = int(np.isfinite(places).sum())
        found = np.flatnonzero(places[:used] == bound)
        if len(found):
            return _FIRST_BOUND + int(found[0])
        if used == MOST_BOUNDS:
            return _NOTHING
        if used == len(places):
            wider = 2 * used
            self._bounds = _wider(self._bounds, wider, np.inf)
            self._below = _wider(self._below, wider, np.nan)
        self._bounds[row, used] = bound
        return _FIRST_BOUND + used


def of_recording(columns: Sequence[Columns], ids: SeriesIds, policy: Policy) -> list[Columns]:
    """The columns of a recording, read with this registry, its histograms put together in the order of their points."""
    is_part = np.array([bool(key.part) for key in ids.keys], np.bool_)
    if not is_part.any():
        return list(columns)
    plain: list[Columns] = []
    pieces: list[Columns] = []
    for one in columns:
        parts = is_part[one.series]
        for there, found in ((~parts, plain), (parts, pieces)):
            if there.any():
                found.append(
                    msgspec.structs.replace(
                        one, series=one.series[there], times=one.times[there], values=one.values[there]
                    )
                )
    whole = Columns(
        keys=ids.keys,
        series=np.concatenate([one.series for one in pieces]),
        times=np.concatenate([one.times for one in pieces]),
        values=np.concatenate([one.values for one in pieces]),
    )
    return [*plain, Histograms(ids, asked_of([policy])).derive(whole)]


def _grown(array: Any, rows: int, fill: float) -> Any:
    """The array with at least so many rows."""
    if len(array) >= rows:
        return array
    larger = np.full((max(rows, 2 * len(array), _FIRST_ROWS), *array.shape[1:]), fill, array.dtype)
    larger[: len(array)] = array
    return larger


def _wider(array: Any, width: int, fill: float) -> Any:
    wider = np.full((*array.shape[:-1], width), fill, array.dtype)
    wider[..., : array.shape[-1]] = array
    return wider


@numba.njit(cache=True, nogil=True)
def _take(  # type: ignore[no-untyped-def]
    roles, at, told, times, counts, sums, done, facts, bounds, below, wanted, series, out_times, out_values
):
    """Put parts, in order of time, into their places and tell what is complete; returns how many samples there are."""
    rows = np.empty(len(roles), np.int64)
    count, first = np.int64(0), 0
    for i in range(len(roles)):
        group, component = roles[i, 0], roles[i, 1]
        row = rows[i] = _row(group, at[i], times, counts, sums, done, facts, below)
        # The first that came counts, as it does of any sample.
        if row >= 0 and component == _COUNT:
            if np.isnan(counts[group, row]):
                counts[group, row] = told[i]
        elif row >= 0 and component == _SUM:
            if np.isnan(sums[group, row]):
                sums[group, row] = told[i]
        elif row >= 0 and component >= _FIRST_BOUND:
            bound = component - _FIRST_BOUND
            if np.isnan(below[facts[group, BUCKETS], row, bound]):
                below[facts[group, BUCKETS], row, bound] = told[i]
        if i + 1 < len(roles) and at[i + 1] == at[i]:
            continue
        for j in range(first, i + 1):
            group, row = roles[j, 0], rows[j]
            if row < 0:
                continue
            count = _tell(group, row, times, counts, sums, done, facts, bounds, below, wanted,
                          series, out_times, out_values, count)  # fmt: skip
            # What completes a point may be all that its successor waited for.
            following = _neighbour(times[group], times[group, row], True)
            if following >= 0:
                count = _tell(group, following, times, counts, sums, done, facts, bounds, below, wanted,
                              series, out_times, out_values, count)  # fmt: skip
        first = i + 1
    return count


@numba.njit(cache=True, nogil=True)
def _row(group, time, times, counts, sums, done, facts, below):  # type: ignore[no-untyped-def]
    """The place of a time in the ring of a histogram, made where there is none; -1 for one that is too late."""
    oldest = 0
    for row in range(RING):
        if times[group, row] == time:
            return row
        if times[group, row] < times[group, oldest]:
            oldest = row
    if time < times[group, oldest]:
        return -1
    times[group, oldest] = time
    counts[group, oldest] = sums[group, oldest] = np.nan
    done[group, oldest] = False
    if facts[group, BUCKETS] >= 0:
        below[facts[group, BUCKETS], oldest] = np.nan
    return oldest


@numba.njit(cache=True, nogil=True)
def _neighbour(times, time, later):  # type: ignore[no-untyped-def]
    """The point next to this time, later or earlier; -1 where there is none."""
    best = -1
    for row in range(RING):
        if times[row] == _NONE or (times[row] <= time if later else times[row] >= time):
            continue
        if best < 0 or (times[row] < times[best]) == later:
            best = row
    return best


@numba.njit(cache=True, nogil=True)
def _tell(  # type: ignore[no-untyped-def]
    group, row, times, counts, sums, done, facts, bounds, below, wanted, series, out_times, out_values, count
):
    """Tell what a point shows that was not told of it yet."""
    if np.isnan(counts[group, row]):
        return count
    before = -1
    counted = counts[group, row]
    if not facts[group, IS_DELTA]:
        before = _neighbour(times[group], times[group, row], False)
        known = before >= 0 and not np.isnan(counts[group, before])
        if known and counted < counts[group, before]:
            before = -1  # it was started again at zero: all of it is new
        elif known:
            counted -= counts[group, before]
    else:
        known = True
    if known and not done[group, row, 0] and not np.isnan(sums[group, row]):
        total = sums[group, row]
        if before >= 0:
            total -= sums[group, before]
        if not np.isnan(total):
            done[group, row, 0] = True
            if counted > 0.0:
                series[count], out_times[count] = facts[group, MEAN], times[group, row]
                out_values[count] = total / counted
                count += 1
    bucketed = facts[group, BUCKETS]
    if bucketed < 0 or (done[group, row, 1] and done[group, row, 2]):
        return count
    ends, parts = bounds[bucketed], below[bucketed]
    here = _filled(times[group], row, counts[group], ends, parts, facts[group, MOVING])
    # Of the first point of all it cannot be said that it is complete, nor what is new in it.
    if len(here) == 0 or not (facts[group, IS_DELTA] or _neighbour(times[group], times[group, row], False) >= 0):
        return count
    order = np.argsort(ends[: len(here)])
    earlier, compared = np.zeros(len(here)), known
    if before >= 0:
        earlier = _filled(times[group], before, counts[group], ends, parts, facts[group, MOVING])
        compared = len(earlier) > 0
    for one in range(facts[group, FIRST_WANTED], facts[group, END_WANTED]):
        value = np.nan
        if wanted[one, 1] == _OVER:
            # A counter as it stands.
            if not done[group, row, 2]:
                value = counts[group, row] - _below(ends, here, order, wanted[one, 2])
        elif compared and counted > 0.0 and not done[group, row, 1]:
            value = _quantile(ends, here, earlier, order, wanted[one, 2] * counted)
        if not np.isnan(value):
            series[count], out_times[count], out_values[count] = np.int32(wanted[one, 0]), times[group, row], value
            count += 1
    done[group, row, 2] = True
    done[group, row, 1] |= compared
    return count


@numba.njit(cache=True, nogil=True)
def _filled(times, row, counts, bounds, below, moving):  # type: ignore[no-untyped-def]
    """What a point counted up to each bound, if all its parts are there; else nothing.

    Bounds that a point does not have, because they come and go or because no point has them any more, are given the
    count at the bound below them.
    """
    size = 0
    while size < len(bounds) and np.isfinite(bounds[size]):
        size += 1
    nothing, there = np.empty(0), 0
    if np.isnan(counts[row]):
        return nothing
    filled = below[row, :size].copy()
    for place in range(size):
        if not np.isnan(filled[place]):
            there += 1
        elif not moving:
            for other in range(RING):
                if times[other] != _NONE and not np.isnan(below[other, place]):
                    return nothing
    if there == size:
        return filled
    if there == 0 and not moving:
        return nothing
    order = np.argsort(bounds[:size])
    # Below the lowest bound that it has there is as much as at that bound; without any, all is below.
    last = counts[row]
    for place in order[::-1]:
        if not np.isnan(filled[place]):
            last = filled[place]
    for place in order:
        if np.isnan(filled[place]):
            filled[place] = last
        last = filled[place]
    return filled


@numba.njit(cache=True, nogil=True)
def _below(ends, here, order, bound):  # type: ignore[no-untyped-def]
    """How many values are at or below a bound, spread evenly inside a bucket; beyond the last one, those below it."""
    low, under = 0.0, 0.0
    for place in order:
        end = ends[place]
        if end >= bound:
            if end == bound:
                return here[place]
            if end <= 0.0 or bound <= low:
                return under
            return under + (here[place] - under) * (bound - low) / (end - low)
        low, under = end, here[place]
    return under


@numba.njit(cache=True, nogil=True)
def _quantile(ends, here, earlier, order, rank):  # type: ignore[no-untyped-def]
    """The value with so many values at or below it, as Prometheus' `histogram_quantile` finds it."""
    low, under = 0.0, 0.0
    for step in range(len(order)):
        place = order[step]
        end = ends[place]
        # Parts that were not read at the very same moment may contradict each other a little.
        upto = max(under, here[place] - earlier[place])
        if upto >= rank:
            if (step == 0 and end <= 0.0) or upto == under:
                return end
            return low + (end - low) * (rank - under) / (upto - under)
        low, under = end, upto
    return low if len(order) > 0 else np.nan

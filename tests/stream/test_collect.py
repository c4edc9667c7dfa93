"""Collecting: looks are complete, and say, what a plain reading of the samples says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.collect import Collected, Collector, collect, complete
from stream.columns import SeriesKey
from stream.samples import Samples
from stream.series import Series
from stream.signals import Line
from tests.factories import NOON
from tests.stream.plain_looks import PlainCollector
from tests.stream.test_slots import PERIOD_MS, members

NOTHING = Samples()
Told = dict[SeriesKey, tuple[list[int], list[float]]]
MOMENT = NOON + 12_000


class Collecting(Collector):
    """As a round takes the looks of one signal."""

    def __init__(self, moment: int, period: int, looks: int, since: int, *, ratio: bool) -> None:
        super().__init__()
        self.grid, self.looks, self.ratio = (moment, period), looks, ratio
        self.closed, self.closing = 0, since

    def collect(self, watermark: int, horizon: int) -> Collected | None:
        store = self.samples or NOTHING
        last = complete(self.lines, store.facts, store.times, *self.grid, watermark, horizon)
        count = min(last, self.looks) - self.closed
        if count <= 0:
            return None
        shape = self.members, count
        found = Collected(
            np.empty(count, np.int64), np.empty(count), np.empty(shape), np.empty(shape if self.ratio else (0, 0))
        )
        collect(
            self.lines, self.ratio, store.facts, store.times, store.values, *self.grid, self.closed, self.closing,
            *found,
        )  # fmt: skip
        self.closed, self.closing = self.closed + count, int(found.closings[-1])
        return found


@given(
    members(), st.booleans(), st.integers(1, 40), st.integers(0, 1),
    st.lists(st.integers(-5_000, 25_000), min_size=1, max_size=8), st.booleans(),
)  # fmt: skip
def test_it_says_what_a_plain_reading_says(
    told: Told, ratio: bool, looks: int, late: int, moves: list[int], horizon: bool
) -> None:
    samples = Samples()
    series = {}
    for key in sorted(key for key in told if ratio or key.metric == "x.requests"):
        series[key] = Series(key, samples)
        series[key].extend(np.array(told[key][0]), np.array(told[key][1]))
    since = MOMENT + late * 3_000
    plain = PlainCollector(series, looks, since, ratio=ratio, moment=MOMENT, period=PERIOD_MS)
    fast = Collecting(MOMENT, PERIOD_MS, looks, since, ratio=ratio)
    numbers: dict[str, int] = {}
    for key, one in series.items():
        number = numbers.setdefault(key.instance, len(numbers))
        fast.add(Line(one, MOMENT, PERIOD_MS), number, below=ratio and key.metric == "x.requests")
    watermark = MOMENT
    for move in moves:
        watermark += move
        until = watermark - 1_000 if horizon else 2**62
        expected, found = plain.collect(watermark, until), fast.collect(watermark, until)
        assert fast.closed == plain.closed
        assert (found is None) == (expected is None)
        if found is None or expected is None:
            continue
        assert found.closings.tolist() == expected.closings
        np.testing.assert_allclose(found.whole, expected.whole, rtol=1e-9)
        for (_, instance), values in expected.values.items():
            np.testing.assert_allclose(found.values[numbers[instance]], values, rtol=1e-9)

"""Collecting: looks are complete, and say, what a plain reading of the samples says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.collect import Collector
from stream.columns import Float64, SeriesKey
from stream.samples import Samples
from stream.series import Series
from stream.signals import GIVEN_UP, Line
from stream.whole import first_known, known_where, total, whole
from tests.factories import NOON
from tests.stream.plain_looks import PlainLine
from tests.stream.test_slots import PERIOD_MS, members

Told = dict[SeriesKey, tuple[list[int], list[float]]]
MOMENT = NOON + 12_000


class PlainCollector:
    """Line by line, and every look by itself."""

    def __init__(
        self, series: dict[SeriesKey, Series], looks: int, since: int, *, ratio: bool,
        moment: int = MOMENT, period: int = PERIOD_MS,
    ) -> None:  # fmt: skip
        self.lines = {key: PlainLine(one, moment, period) for key, one in series.items()}
        self.looks, self.closed, self.closing, self.ratio = looks, 0, since, ratio
        self.moment, self.period = moment, period

    def complete(self, watermark: int, horizon: int) -> int:
        furthest, awaited, heard = 0, 2**62, False
        for line in self.lines.values():
            reach = line.reach(watermark, horizon)
            if reach is not None:
                heard = True
                furthest = max(furthest, sum(reach))
                if reach[1] < GIVEN_UP:
                    awaited = min(awaited, sum(reach))
        if not heard:
            furthest = (watermark - self.moment - self.period // 2 - 1) // self.period
        return min(furthest, awaited, self.looks)

    def collect(self, watermark: int, horizon: int) -> tuple[list[int], Float64, dict[str, Float64]] | None:
        last = self.complete(watermark, horizon)
        if last <= self.closed:
            return None
        first, self.closed = self.closed + 1, last
        plans = {key: line.plan(first, last) for key, line in self.lines.items()}
        closings = []
        for i, look in enumerate(range(first, last + 1)):
            due = [int(plan.expected[i]) for plan in plans.values() if plan.awaited[i]]
            early = [int(plan.expected[i]) for plan in plans.values() if plan.known[i]]
            nominal = self.moment + look * self.period + self.period // 2 + 1
            self.closing = max(self.closing, max(due) if due else min(early, default=nominal))
            closings.append(self.closing)
        placed = {key: line.place(plans[key], first, np.array(closings)) for key, line in self.lines.items()}
        said: dict[str, tuple[Float64, Float64]] = {}
        count = last - first + 1
        for instance in dict.fromkeys(key.instance for key in placed):
            mine = {key: row for key, row in placed.items() if key.instance == instance}
            if self.ratio:
                exposure = total([row for key, row in mine.items() if key.metric == "x.requests"], count)
                events = total([row for key, row in mine.items() if key.metric == "x.errors"], count)
                said[instance] = known_where(events, exposure), exposure
            else:
                said[instance] = first_known(list(mine.values()), count), np.empty(0)
        counted = any(key.counted for key in placed)
        return closings, whole(list(said.values()), count, ratio=self.ratio, counted=counted), {
            instance: values for instance, (values, _) in said.items()
        }  # fmt: skip


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
    plain = PlainCollector(series, looks, since, ratio=ratio)
    fast = Collector(MOMENT, PERIOD_MS, looks, since, ratio=ratio)
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
        closings, together, said = expected
        assert found.closings.tolist() == closings
        np.testing.assert_allclose(found.whole, together, rtol=1e-9)
        for instance, values in said.items():
            np.testing.assert_allclose(found.values[numbers[instance]], values, rtol=1e-9)

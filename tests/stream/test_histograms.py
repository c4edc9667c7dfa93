"""Histograms put together from their parts: what was counted between two points, whatever order the parts came in."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.policy import Guardrail, Policy
from stream.columns import Columns, MetricKind
from stream.histograms import COUNT, LE, RING, SUM, TO, Histograms, asked_of, of_recording
from stream.series_ids import REFUSED, UNKNOWN, SeriesIds
from tests.factories import NOON, key

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5)
POLICY = Policy(
    guardrails=(
        Guardrail(name="p50", value="latency.p50"),
        Guardrail(name="p99", value="latency.p99"),
        Guardrail(name="slow", errors="latency.over_0.5", over="latency.count"),
        Guardrail(name="middle", errors="latency.over_0.75", over="latency.count"),
    )
)
Part = tuple[str, int, float]
Told = dict[tuple[str, int], float]


class Shop:
    """A registry, the histograms of one metric, and what they told."""

    def __init__(self, kind: MetricKind = MetricKind.CUMULATIVE, metric: str = "latency") -> None:
        asked = asked_of([POLICY])
        self.ids = SeriesIds(buckets_of=asked)
        self.histograms = Histograms(self.ids, asked)
        self.kind, self.metric = kind, metric

    def take(self, *parts: Part, partition: int = 0) -> Told:
        numbers = [self.ids.of(key(metric=self.metric, kind=self.kind, part=part)) for part, _, _ in parts]
        told = self.histograms.derive(
            Columns(
                keys=self.ids.keys,
                series=np.array(numbers, np.int32),
                times=np.array([time for _, time, _ in parts], np.int64),
                values=np.array([value for _, _, value in parts], np.float64),
            ),
            partition,
        )
        found: Told = {}
        for series, time, value in zip(told.series.tolist(), told.times.tolist(), told.values.tolist(), strict=True):
            assert not told.keys[series].part
            name = told.keys[series].metric.removeprefix(f"{self.metric}.")
            assert (name, time) not in found or name == "count", "nothing is told twice"
            found[name, time] = value
        return found


def parts(time: int, values: list[float], kind: str = LE) -> list[Part]:
    """A point of a histogram that has counted these values."""
    below = [(f"{kind}{bound!r}", time, float(sum(value <= bound for value in values))) for bound in BOUNDS]
    return [(COUNT, time, float(len(values))), (SUM, time, float(sum(values))), *below]


def test_between_two_points_it_tells_rate_mean_quantiles_and_how_many_were_over() -> None:
    shop = Shop()
    assert shop.take(*parts(NOON, [0.2])) == {("count", NOON): 1.0}
    told = shop.take(*parts(NOON + 1_000, [0.2, 0.3, 0.4, 0.45, 0.8]))
    at = NOON + 1_000
    assert told["count", at] == 5.0
    assert told["mean", at] == pytest.approx((0.3 + 0.4 + 0.45 + 0.8) / 4)
    assert told["p50", at] == pytest.approx(0.25 + 0.25 * 2 / 3), "two of three in the bucket up to 0.5"
    assert told["p99", at] == pytest.approx(0.5 + 0.5 * 0.96)
    assert told["over_0.5", at] == 1.0
    assert told["over_0.75", at] == pytest.approx(0.5), "half of a bucket lies beyond its middle"


def test_counters_stay_counters_and_levels_are_levels() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [0.2]), *parts(NOON + 1, [0.2, 0.3]))
    kinds = {one.metric: one.kind for one in shop.ids.keys if not one.part}
    counted, level = MetricKind.CUMULATIVE, MetricKind.GAUGE
    assert kinds == {
        "latency.count": counted, "latency.over_0.5": counted, "latency.over_0.75": counted,
        "latency.mean": level, "latency.p50": level, "latency.p99": level,
    }  # fmt: skip


def test_a_histogram_that_nothing_is_asked_of_tells_its_rate_and_its_mean() -> None:
    shop = Shop(metric="size")
    told = shop.take((COUNT, NOON, 1.0), (SUM, NOON, 3.0), (COUNT, NOON + 1, 3.0), (SUM, NOON + 1, 10.0))
    assert told == {("count", NOON): 1.0, ("count", NOON + 1): 3.0, ("mean", NOON + 1): 3.5}


def test_deltas_need_no_point_before() -> None:
    told = Shop(MetricKind.DELTA).take(*parts(NOON, [0.2, 0.3, 0.4]))
    assert told["mean", NOON] == pytest.approx(0.3)
    assert told["p50", NOON] == pytest.approx(0.25 + 0.25 * 0.25)
    assert told["over_0.5", NOON] == 0.0


def test_nothing_counted_has_no_mean() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [0.2]))
    assert {name for name, _ in shop.take(*parts(NOON + 1, [0.2]))} == {"count", "over_0.5", "over_0.75"}


def test_a_count_that_fell_began_again_at_zero() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [2.0] * 10))
    assert shop.take(*parts(NOON + 1, [0.2, 0.2]))["mean", NOON + 1] == pytest.approx(0.2)


def test_a_late_point_is_compared_with_the_one_before_it_and_leaves_the_next_as_it_was() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [1.0]))
    assert shop.take(*parts(NOON + 2, [1.0, 0.2, 0.4]))["mean", NOON + 2] == pytest.approx(0.3)
    assert shop.take(*parts(NOON + 1, [1.0, 0.2]))["mean", NOON + 1] == pytest.approx(0.2)


def test_what_is_older_than_all_that_is_kept_tells_only_its_count() -> None:
    shop = Shop()
    for step in range(RING):
        shop.take(*parts(NOON + step, [0.2] * step))
    assert shop.take(*parts(NOON - 1, [])) == {("count", NOON - 1): 0.0}


def test_a_partition_that_went_to_another_worker_begins_anew() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [1.0]), partition=3)
    shop.histograms.lose({2})
    assert ("mean", NOON + 1) in shop.take(*parts(NOON + 1, [1.0, 0.2]), partition=3)
    shop.histograms.lose({3})
    assert ("mean", NOON + 2) not in shop.take(*parts(NOON + 2, [1.0, 0.2, 0.3]), partition=3)
    assert shop.take(*parts(NOON + 3, [1.0, 0.2, 0.3, 0.4]))["mean", NOON + 3] == pytest.approx(0.4)


def test_a_dropped_histogram_is_learnt_again() -> None:
    shop = Shop()
    shop.take(*parts(NOON, [1.0]))
    gone = np.array([shop.ids.of(key(metric="latency.count", kind=MetricKind.CUMULATIVE))], np.int32)
    shop.ids.drop(gone)
    shop.histograms.forget(gone)
    assert not any(one.part for one in shop.ids._numbers)
    shop.take(*parts(NOON + 1, [1.0, 0.2]))
    assert shop.take(*parts(NOON + 2, [1.0, 0.2, 0.4]))["mean", NOON + 2] == pytest.approx(0.4)


def test_bounds_that_come_and_go_are_compared_where_both_points_have_them() -> None:
    shop = Shop()
    shop.take((COUNT, NOON, 4.0), ("to 0.25", NOON, 0.0), ("to 0.5", NOON, 4.0))
    told = shop.take(
        (COUNT, NOON + 1, 8.0), ("to 0.25", NOON + 1, 0.0), ("to 0.5", NOON + 1, 6.0), ("to 1.0", NOON + 1, 8.0)
    )
    assert told["p50", NOON + 1] == pytest.approx(0.5)
    assert told["p99", NOON + 1] == pytest.approx(0.5 + 0.5 * 0.98)
    assert told["over_0.5", NOON + 1] == 2.0


def test_other_bounds_after_a_change_of_configuration_are_read_after_a_while() -> None:
    shop = Shop()
    for step in range(3):
        shop.take(*parts(NOON + step, [0.2] * (step + 1)))
    seen = [
        ("p50", NOON + step) in shop.take((COUNT, NOON + step, 9.0 + step), ("le 7.0", NOON + step, 9.0 + step))
        for step in range(3, 3 + 3 * RING)
    ]
    assert not any(seen[: RING - 2]) and all(seen[RING:])


LIVES = st.lists(st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.4, 0.7, 2.0, 5.0]), max_size=4), min_size=2, max_size=RING)


@settings(deadline=None)
@given(LIVES, st.integers(0, 2**32), st.sampled_from(list(MetricKind)[1:]))
def test_how_points_are_cut_into_messages_and_repeated_changes_nothing(
    life: list[list[float]], seed: int, kind: MetricKind
) -> None:
    dice, seen, points = random.Random(seed), [], []
    for step, values in enumerate(life):
        seen = values if kind is MetricKind.DELTA else seen + values
        points.append(parts(NOON + step, seen))
    shop, again = Shop(kind), Shop(kind)
    whole: Told = {}
    for point in points:
        whole |= shop.take(*point)
    # Of deltas a point's parts come together: its sender and its format see to that.
    pieces = [[*dice.sample(point, len(point))] for point in points]
    if kind is MetricKind.CUMULATIVE:
        pieces = [[part] for point in pieces for part in point]
    told: Told = {}
    while pieces:
        size = dice.randint(1, 9)
        cut, pieces = [part for piece in pieces[:size] for part in piece], pieces[size:]
        told |= again.take(*cut)
        if dice.random() < 0.3:
            assert {name for name, _ in again.take(*cut)} <= {"count"}
    assert told == pytest.approx(whole)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 2.4), min_size=1, max_size=60), st.sampled_from([0.5, 0.99]))
def test_a_quantile_lies_in_the_bucket_that_holds_it(values: list[float], quantile: float) -> None:
    told = Shop(MetricKind.DELTA).take(*parts(NOON, values))[f"p{100 * quantile:g}", NOON]
    exact = sorted(values)[min(len(values) - 1, max(0, int(np.ceil(quantile * len(values))) - 1))]
    edges = [0.0, *BOUNDS]
    bucket = next(place for place in range(len(BOUNDS)) if exact <= edges[place + 1])
    assert edges[bucket] <= told <= edges[bucket + 1]


def test_many_points_in_one_message_are_told_one_after_the_other() -> None:
    shop, points = Shop(), [parts(NOON + step, [0.2] * (step + 1)) for step in range(4 * RING)]
    told = shop.take(*(point[place] for place in range(len(points[0])) for point in points))
    assert {("mean", NOON + step) for step in range(1, 4 * RING)} <= told.keys()
    assert {("p50", NOON + step) for step in range(1, 4 * RING)} <= told.keys()


def test_a_recording_is_put_together_whatever_order_its_records_are_in() -> None:
    shop, points = Shop(), [parts(NOON + step, [0.2] * (step + 1)) for step in range(4 * RING)]
    columns = []
    for point in reversed([*points, [("", NOON, 7.0)]]):
        numbers = [shop.ids.of(key(metric="latency", kind=shop.kind, part=part)) for part, _, _ in point]
        times, values = np.array([one[1] for one in point]), np.array([one[2] for one in point])
        columns.append(Columns(keys=shop.ids.keys, series=np.array(numbers, np.int32), times=times, values=values))
    found = {
        (one.keys[series].metric, int(time))
        for one in of_recording(columns, shop.ids, POLICY)
        for series, time in zip(one.series, one.times, strict=True)
    }
    assert {("latency.mean", NOON + step) for step in range(1, 4 * RING)} <= found
    assert ("latency", NOON) in found


@pytest.mark.parametrize("prefix", [LE, TO])
@given(cut=st.integers(0, 60), known=st.booleans())
def test_points_that_were_saved_are_gone_on_from(prefix: str, cut: int, known: bool) -> None:
    said: list[Part] = []
    for i in range(8):
        said += parts(NOON + i * 1_000, [0.05 * (j + 1) for j in range(2 * i)], prefix)
    cut = min(cut, len(said))
    whole = Shop()
    expected = whole.take(*said[:cut], partition=3) | whole.take(*said[cut:], partition=3)
    first, fresh = Shop(), Shop()
    found = first.take(*said[:cut], partition=3)
    if known:
        # A registry may know the same series from before.
        fresh.take(*said[:3], partition=3)
    _, arrays = first.histograms.snapshot(3)
    assert len(first.histograms.snapshot(2)[1]["times"]) == 0, "another partition's are not this one's"
    fresh.histograms.restore(3, arrays)
    found |= fresh.take(*said[cut:], partition=3)
    assert found == expected


def test_what_a_new_policy_asks_is_told_from_its_second_point_on_and_the_rest_as_before() -> None:
    shop, others = Shop(), Policy(guardrails=(Guardrail(name="p90", value="latency.p90"),))
    shop.take(*parts(NOON, [0.2]))
    shop.histograms.ask(asked_of([POLICY, others]))
    values = [0.2, 0.3, 0.4, 0.45, 0.8]
    first = shop.take(*parts(NOON + 1_000, values))
    assert first == {("count", NOON + 1_000): 5.0}
    second = shop.take(*parts(NOON + 2_000, [*values, 0.3, 0.3]))
    assert {name for name, _ in second} == {"count", "mean", "p50", "p90", "p99", "over_0.5", "over_0.75"}


def test_buckets_that_nobody_wanted_are_wanted_when_a_new_policy_asks() -> None:
    shop = Shop(metric="other")
    hi, lo = 7, 9
    bucket = key(metric="other", kind=shop.kind, part=f"{LE}0.1")
    assert shop.ids.add(hi, lo, bucket) == REFUSED
    shop.histograms.ask(asked_of([POLICY, Policy(guardrails=(Guardrail(name="p", value="other.p99"),))]))
    found = shop.ids.lookup(np.array([hi], np.uint64), np.array([lo], np.uint64))
    assert found.tolist() == [UNKNOWN]
    assert shop.ids.add(hi, lo, bucket) >= 0

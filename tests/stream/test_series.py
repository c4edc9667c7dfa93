"""A series holds every sample once, in the order of time, whatever order they came in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.columns import MetricKind, split
from stream.samples import SLAB, Samples
from stream.series import Series
from tests.factories import NOON, columns, key

BLOCKS = st.lists(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 100)), min_size=1, max_size=8), max_size=12)


def series(*blocks: list[tuple[int, float]], kind: MetricKind = MetricKind.GAUGE) -> Series:
    found = Series(key(kind=kind))
    for block in blocks:
        found.extend(np.array([t for t, _ in block], np.int64), np.array([v for _, v in block], np.float64))
    return found


@given(BLOCKS)
def test_samples_come_out_once_and_in_order_and_the_first_of_equal_times_wins(
    blocks: list[list[tuple[int, float]]],
) -> None:
    first: dict[int, float] = {}
    for block in blocks:
        for time, value in block:
            first.setdefault(time, value)
    found = series(*blocks)
    assert found.times.tolist() == sorted(first)
    assert found.values.tolist() == [first[time] for time in sorted(first)]
    assert found.born == min(first, default=2**62)
    assert (found.times[-1] if len(found.times) else -(2**62)) == max(first, default=-(2**62))


@given(BLOCKS)
def test_how_many_were_new_is_told(blocks: list[list[tuple[int, float]]]) -> None:
    found = Series(key())
    told = sum(found.extend(np.array([t for t, _ in b], np.int64), np.array([v for _, v in b])) for b in blocks)
    assert told == len(found.times)


@given(BLOCKS, st.integers(-1, 61))
def test_a_counter_says_its_increases_and_a_fall_is_a_restart_at_zero(
    blocks: list[list[tuple[int, float]]], time: int
) -> None:
    found = series(*blocks, kind=MetricKind.CUMULATIVE)
    times, values = found.times.tolist(), found.values.tolist()
    increases = {now: (b - a if b >= a else b) for now, a, b in zip(times[1:], values[:-1], values[1:], strict=True)}
    later, said = found.after(time)
    assert dict(zip(later.tolist(), said.tolist(), strict=True)) == {t: v for t, v in increases.items() if t > time}
    assert found.times_after(time).tolist() == later.tolist()
    earlier, told = found.up_to(time, 5)
    assert dict(zip(earlier.tolist(), told.tolist(), strict=True)).items() <= increases.items()


def test_a_counter_that_restarts_never_counts_backwards() -> None:
    _, values = series([(1, 10.0), (2, 15.0), (3, 2.0), (4, 2.0)], kind=MetricKind.CUMULATIVE).after(0)
    assert values.tolist() == [5.0, 2.0, 0.0]


@given(BLOCKS, st.integers(-1, 61))
def test_what_was_dropped_stays_dropped_and_what_is_kept_says_the_same(
    blocks: list[list[tuple[int, float]]], before: int
) -> None:
    for kind in (MetricKind.GAUGE, MetricKind.CUMULATIVE):
        whole, cut = series(*blocks, kind=kind), series(*blocks, kind=kind)
        cut.trim(before)
        dropped = sorted(set(whole.times.tolist()) - set(cut.times.tolist()))
        assert all(time < before for time in dropped)
        assert cut.born == whole.born
        assert cut.extend(np.array(dropped, np.int64), np.zeros(len(dropped))) == 0
        for mine, theirs in zip(cut.after(before - 1), whole.after(before - 1), strict=True):
            assert mine.tolist() == theirs.tolist()


def test_a_series_of_which_nothing_is_needed_any_more_keeps_its_last_sample() -> None:
    samples = Samples()
    found = Series(key(), samples, samples.owner())
    found.extend(np.arange(1_000), np.arange(1_000.0))
    found.trim(10_000)
    assert (found.times.tolist(), found.values.tolist()) == ([999], [999.0])
    another = Series(key("another"), samples)
    another.extend(np.arange(1_000), np.arange(1_000.0))
    assert (found.times.tolist(), found.values.tolist()) == ([999], [999.0])


def test_series_that_grow_up_together_and_come_and_go_leave_nothing_behind() -> None:
    samples = Samples()
    owner = samples.owner()
    for _ in range(3):
        rows = np.array([samples.add(owner) for _ in range(400)], np.int32)
        for time in range(660):
            samples.take(rows, np.full(len(rows), time), np.full(len(rows), float(time)))
        # A sixteenth of the room for more, and what is of a slab for each of the sizes.
        assert samples.nbytes <= 1.1 * 16 * 660 * len(rows) + 16 * 12 * SLAB
        for row in rows.tolist():
            samples.drop(row)


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """What happens to five series, one after the other: so many samples, all but so many of them dropped, its end."""
    acts = st.tuples(st.sampled_from(["take", "take", "take", "trim", "drop"]), st.integers(0, 4), st.integers(1, 400))
    return [*draw(st.lists(acts, max_size=30)), ("take", 0, draw(st.sampled_from([1, 20_000, 70_000])))]


@given(lives(), st.integers(0, 30))
def test_series_of_one_store_keep_out_of_each_others_way(acts: list[tuple[str, int, int]], saved: int) -> None:
    samples = Samples()
    owner = samples.owner()
    rows = [samples.add(owner) for _ in range(5)]
    held: list[list[int]] = [[] for _ in rows]
    following = 0
    for step, (act, one, count) in enumerate(acts):
        if step == saved:
            samples = Samples.from_arrays(samples.arrays())
        if act == "take":
            times = np.arange(following, following + count)
            samples.take(np.full(count, rows[one], np.int32), times, times / 2)
            held[one] += times.tolist()
            following += count
        elif act == "trim" and held[one]:
            samples.trim(np.array([rows[one]]), np.array([held[one][-count:][0]]))
            # With the last of those before, from which a counter's next increase is counted.
            held[one] = held[one][-count - 1 :]
        elif act == "drop":
            samples.drop(rows[one])
            rows[one], held[one] = samples.add(owner), []
        for row, mine in zip(rows, held, strict=True):
            start, end = samples.bounds(row)
            assert samples.times[start:end].tolist() == mine
            assert samples.values[start:end].tolist() == [time / 2 for time in mine]


def test_a_late_sample_is_put_in_its_place_after_much_was_kept() -> None:
    found = Series(key())
    times = np.arange(0, 8_000, 2)
    found.extend(times, np.zeros(len(times)))
    assert found.extend(np.array([7_993]), np.array([9.0])) == 1
    place = int(np.searchsorted(found.times, 7_993))
    assert (found.times[place], found.values[place]) == (7_993, 9.0)
    assert (np.diff(found.times) > 0).all()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.floats(0, 1)), max_size=20))
def test_columns_are_split_by_series_and_keep_their_order(said: list[tuple[str, int, float]]) -> None:
    block = columns([(key(metric), NOON + time, value) for metric, time, value in said])
    found = {one.metric: (times.tolist(), values.tolist()) for one, times, values in split(block)}
    for metric in "abc":
        mine = [(NOON + time, value) for name, time, value in said if name == metric]
        assert found.get(metric, ([], [])) == ([t for t, _ in mine], [v for _, v in mine])


@pytest.mark.parametrize("metrics", [1, 3])
def test_keys_without_samples_make_no_series(metrics: int) -> None:
    block = columns([(key(str(i)), NOON, 1.0) for i in range(metrics)])
    empty = type(block)(keys=block.keys, series=block.series[:0], times=block.times[:0], values=block.values[:0])
    assert split(empty) == []


@given(st.lists(st.lists(st.integers(0, 200), max_size=8), max_size=4), st.integers(0, 220), st.integers(1, 8))
def test_whether_any_series_has_come_for_long_is_told_of_all_at_once(
    times: list[list[int]], moment: int, looks: int
) -> None:
    samples = Samples()
    owner = samples.owner()
    many = [Series(key(str(number)), samples, owner) for number in range(len(times))]
    for one, told in zip(many, times, strict=True):
        one.extend(np.array(told, np.int64), np.zeros(len(told)))
    plainly = any(
        len(one.times) > 1
        and (moment - one.born) * (len(one.times) - 1) >= looks * int(one.times[-1] - one.times[0])
        for one in many
    )  # fmt: skip
    assert samples.came_for(np.array([one.row for one in many], np.int64), looks, moment) is plainly

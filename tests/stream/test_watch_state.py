"""A watch that was saved and had back says what one says that was never disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase
from deploy.evidence import Report
from stream.columns import MetricKind, SeriesKey
from stream.restarts import columns_of
from stream.series_ids import SeriesIds
from stream.snapshots import Packing, SnapshotRefused, Unpacking, read_head
from stream.watch import Watch
from tests.factories import NOON, Recording, change, columns, key, policy, shop
from tests.stream.test_learning import MINUTE, latency, noise
from tests.stream.test_watch import STREAMS, moments

SLOW = settings(deadline=None, max_examples=6)


def again(watch: Watch) -> Watch:
    """Another watch that knows what this one knows, by way of bytes."""
    header, arrays = watch.snapshot()
    packing = Packing(header, arrays)
    chunks = list(packing.chunks())
    unpacking = Unpacking(read_head(packing.head(partition=0, generation="-", positions={}, first=0, taken_ms=0)))
    for chunk in chunks:
        unpacking.add(chunk)
    found = Watch(policy())
    found.restore(*unpacking.state())
    return found


def told(
    recording: Recording, changes: Sequence[Change], cuts: Sequence[int], each: int = 1, heard: int = 0
) -> tuple[list[Report], Watch]:
    """What is said when the watch dies after these messages; changes are heard before message number `heard`."""
    watch, reports = Watch(policy()), []
    groups = moments(recording)
    blocks = [[*chain.from_iterable(groups[i : i + each])] for i in range(0, len(groups), each)]
    for number, block in enumerate(blocks):
        if number == heard:
            for one in changes:
                reports += watch.change(one)
        reports += watch.telemetry(columns(block), span=0)
        # With the end of the input nothing comes that would make it go on.
        if number in cuts and number < len(blocks) - 1:
            watch = again(watch)
            for one in changes if number >= heard else ():
                assert watch.change(one) == []
    return reports + watch.finish(), watch


@pytest.mark.parametrize("name", STREAMS)
@given(seed=st.integers(0, 50), cuts=st.sets(st.integers(0, 260), max_size=3), each=st.sampled_from([1, 7]))
@example(seed=0, cuts={182}, each=7)  # the last message is of the other service
@SLOW
def test_it_says_the_same_after_dying_at_any_message(name: str, seed: int, cuts: set[int], each: int) -> None:
    recording = STREAMS[name](seed)
    both = (change(), change("c2", service="cart", version=""))
    whole, _ = told(recording, both, [], each)
    restarted, _ = told(recording, both, [cut // each for cut in cuts], each)
    # What was said before is said again by what is begun again.
    assert set(map(str, restarted)) == set(map(str, whole))


def long(seed: int) -> tuple[Recording, list[Change]]:
    """Services with a past, three changes on one of them: the first harmful and rolled back, the others overlapping."""
    values = noise(1_000, seed)
    values[500:520] *= 4.0
    recording = latency(values, version="", instance="")
    for number in range(4):
        recording |= latency(noise(1_000, seed + 1 + number), service=f"other{number}", version="", instance="")
    first = change("c1", version="", time=NOON + 498 * MINUTE)
    return recording, [
        first,
        change("c1", version="", time=NOON + 530 * MINUTE, phase=Phase.ROLLED_BACK),
        change("c2", version="", time=NOON + 700 * MINUTE),
        change("c3", version="", time=NOON + 720 * MINUTE, service="other1"),
        change("c4", version="", time=NOON + 930 * MINUTE),
    ]


@given(seed=st.integers(0, 20), cuts=st.sets(st.integers(50, 110), min_size=1, max_size=3))
@SLOW
def test_what_was_learned_is_kept(seed: int, cuts: set[int]) -> None:
    recording, changes = long(seed)
    whole, undisturbed = told(recording, changes, [], each=9)
    restarted, watch = told(recording, changes, list(cuts), each=9)
    assert set(map(str, restarted)) == set(map(str, whole))
    (header, mine), (_, theirs) = watch.snapshot(), undisturbed.snapshot()
    assert mine.keys() == theirs.keys()
    for name in mine:
        if name not in ("samples.facts", "samples.messages", "keys.text"):
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    assert header["open"] == []


def test_what_nothing_was_asked_of_since_is_saved_again_as_it_was() -> None:
    recording, changes = long(3)
    _, watch = told(recording, changes, [], each=9)
    restored = again(watch)
    for mine, theirs in zip(again(restored).snapshot(), restored.snapshot(), strict=True):
        np.testing.assert_equal(mine, theirs)
    for one, other in zip(watch.services(), restored.services(), strict=True):
        assert list(one.rows) == list(other.rows)
        assert {key: series.row for key, series in one.series.items()} == {
            key: series.row for key, series in other.series.items()
        }
        np.testing.assert_equal(one.learning.state, other.learning.state)  # type: ignore[union-attr]


def test_it_goes_on_with_any_registry() -> None:
    recording = shop(before=200, seconds=20)
    watch = Watch(policy())
    blocks = [columns(group) for group in moments(recording)]
    for block in blocks[:100]:
        watch.telemetry(block)
    watch = again(watch)
    ids = SeriesIds()
    for block in blocks[100:]:
        order = np.array([ids.of(key) for key in block.keys], np.int32)
        watch.telemetry(type(block)(ids.keys, order[block.series], block.times, block.values))
    [service] = watch.services()
    assert {key: len(series.times) for key, series in service.series.items()} == {
        key: len(times) for key, (times, _) in recording.items()
    }


def test_another_layout_is_refused_and_so_is_what_does_not_fit() -> None:
    watch = Watch(policy())
    watch.telemetry(columns([(SeriesKey("s", "", "m", (), "", ""), NOON, 1.0)]))
    header, arrays = watch.snapshot()
    with pytest.raises(SnapshotRefused, match="layout 99"):
        Watch(policy()).restore(dict(header) | {"version": 99}, arrays)
    less: dict[str, Any] = dict(arrays)
    less["samples.times"] = less["samples.times"][:-1]
    with pytest.raises(ValueError, match="0 times and 1 values"):
        Watch(policy()).restore(header, less)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 20)), min_size=2, max_size=25),
    st.integers(0, 24), st.integers(0, 9),
)  # fmt: skip
def test_a_counter_that_began_anew_meanwhile_is_seen_to(
    steps: list[tuple[int, bool, int]], cut: int, delay: int
) -> None:
    one = key("x.requests", kind=MetricKind.CUMULATIVE)

    def kept(cut: int | None) -> tuple[list[int], list[float]]:
        """The samples of the series, when the process dies after message number `cut`."""
        watch, ids = Watch(policy()), SeriesIds()
        time, start, value = NOON, NOON - 50_000, 0.0
        for number, (seconds, anew, more) in enumerate(steps):
            if anew:
                # Soon after its last sample, or at once; it may have come further than before by the next one.
                start, value = time + min(delay, seconds - 1) * 1_000, 0.0
            time, value = time + seconds * 1_000, value + more
            told = [np.array([part]) for part in (time, value, start)]
            series = np.array([ids.of(one)], np.int32)
            watch.telemetry(columns_of(ids, series, told[0], told[1].astype(float), told[2]), span=0)
            if number == cut:
                watch, ids = again(watch), SeriesIds()
                ids.newest_of = watch.newest
        [service] = watch.services()
        return service.series[one].times.tolist(), service.series[one].values.tolist()

    assert kept(cut) == kept(None)

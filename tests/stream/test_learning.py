"""Learning: the same rows however samples came, nothing of what is bad or came later, and few raw samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.change import Change
from detectors.online_past import OnlinePast
from stream.columns import MetricKind
from stream.learning import CHUNK, HISTORY, LAG, Own, Past
from stream.service import ServiceSamples
from stream.signals import SignalId
from stream.watch import Watch
from tests.factories import NOON, Recording, Sample, change, columns, gauges, key, policy, samples, shop
from tests.stream.plain_slots import numbered

MINUTE = 60_000
LATENCY = SignalId("latency")
SLOW = settings(deadline=None, max_examples=5)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return 20.0 * np.random.default_rng(seed).lognormal(0.0, 0.1, n)


def latency(values: Iterable[float], start: int = NOON, period: int = MINUTE, **fields: Any) -> Recording:
    said = list(values)
    return {key("latency", **fields): ([start + i * period for i in range(len(said))], said)}


def fed(recording: Recording, each: int = 0, *, changes: Iterable[Change] = (), seed: int | None = None) -> Watch:
    """A watch that got these samples, so many at a time; with `seed` up to half of the lag out of order."""
    watch = Watch(policy())
    for one in changes:
        watch.change(one)
    told: list[Sample] = list(samples(recording))
    if seed is not None:
        late = Random(seed)
        period = next(times[1] - times[0] for times, _ in recording.values())
        told.sort(key=lambda one: one[1] + late.random() * period * LAG / 2)
    for start in range(0, len(told), each or len(told)):
        watch.telemetry(columns(told[start : start + (each or len(told))]), span=0)
    return watch


def service(watch: Watch) -> ServiceSamples:
    [one] = watch.services()
    return one


def past(watch: Watch, moment: int) -> Past:
    found = service(watch).past(moment, "", service(watch).series)
    assert found is not None
    return found


def state(own: Own) -> tuple[object, ...]:
    """All that a row knows."""
    arrays = own.past.fork([own.row]).arrays()
    return own.period, own.late, sorted(own.gaps), *(arrays[name].tobytes() for name in sorted(arrays))


@given(
    seed=st.integers(0, 99),
    each=st.sampled_from([100, 400]),
    shuffled=st.booleans(),
    kind=st.sampled_from([MetricKind.DELTA, MetricKind.CUMULATIVE]),
    after=st.integers(1, LAG),
)
@SLOW
def test_rows_are_the_same_however_the_samples_came(
    seed: int, each: int, shuffled: bool, kind: MetricKind, after: int
) -> None:
    recording = shop(seconds=600, before=600, instances=3, jitter=0.2, phases=True, gaps=0.03, seed=seed, kind=kind)
    moment = max(times[-1] for times, _ in recording.values()) - after * 1_000
    whole = past(fed(recording), moment)
    cut = past(fed(recording, each, seed=seed if shuffled else None), moment)
    # The one was led on from the last chunk, the other knew the change before any sample came.
    known = fed(recording, changes=[change(time=moment)])
    assert {signal.title for signal in whole} == {"error_ratio", "http.server.duration.p99"}
    for signal, own in whole.items():
        assert not own.late
        assert own.samples > 300
        assert state(own) == state(cut[signal])
        watch = service(known).watches["c1"]
        assert watch._past is not None
        assert state(own) == state(watch._past[signal])


def test_a_series_alone_is_learned_sample_by_sample() -> None:
    values = noise(900)
    own = past(fed(latency(values)), NOON + 899 * MINUTE)[LATENCY]
    alone = OnlinePast(1)
    alone.update(np.zeros(900, np.int64), NOON + MINUTE * np.arange(900), values)
    assert own.samples == alone.seen(0)
    mine = own.calibration(watch=30, harm="both", least_effect=None, relative=True)
    theirs = alone.calibration(0, watch=30)
    assert mine.level == theirs.level
    assert [one.excursion.tolist() for one in mine.yardsticks] == [one.excursion.tolist() for one in theirs.yardsticks]


def test_a_change_that_is_heard_of_too_late_is_not_judged_by_what_came_after_it() -> None:
    watch = fed(latency(noise(900)), each=30)
    in_time, late = NOON + (899 - LAG) * MINUTE, NOON + (899 - LAG - 2 * CHUNK) * MINUTE
    assert not past(watch, in_time)[LATENCY].late
    own = past(watch, late)[LATENCY]
    assert own.late
    found = own.calibration(watch=30, harm="both", least_effect=None, relative=True)
    assert not found.ready
    assert "too late" in found.reason
    reports = watch.change(change(time=late, version=""))
    assert reports[-1].tests == 0
    assert "too late" in reports[-1].warming


def test_what_a_change_did_harm_to_is_no_past_and_what_it_did_not_is() -> None:
    """Twenty samples five times as high: learned if no change was there, left out if one was."""
    values = noise(1_200)
    values[800:820] *= 5.0
    moment = NOON + 1_199 * MINUTE
    harm = [change("c0", version="", time=NOON + 798 * MINUTE)]
    by_itself = past(fed(latency(values), each=10), moment)[LATENCY]
    aftermath = past(fed(latency(values), each=10, changes=harm), moment)[LATENCY]
    calm = past(fed(latency(noise(1_200)), each=10, changes=harm), moment)[LATENCY]
    never = past(fed(latency(noise(1_200)), each=10), moment)[LATENCY]
    reach = {
        name: own.calibration(watch=30, harm="up", least_effect=None, relative=True).yardsticks[0].excursion[0]
        for name, own in {"by itself": by_itself, "aftermath": aftermath, "never": never}.items()
    }
    assert reach["by itself"] > 1.2
    assert reach["aftermath"] < 0.6
    assert reach["never"] < 0.6
    assert state(calm) == state(never)


def test_new_instances_of_a_new_version_go_on_with_the_same_row() -> None:
    values = noise(900)
    recording = latency(values[:450], instance="a", version="v1")
    recording |= latency(values[450:], start=NOON + 450 * MINUTE, instance="b", version="v2")
    watch = fed(recording, each=10)
    whole = past(fed(latency(values)), NOON + 899 * MINUTE)[LATENCY]
    assert watch.store.rows == 1
    assert state(past(watch, NOON + 899 * MINUTE)[LATENCY]) == state(whole)


def test_a_signal_that_comes_four_times_as_often_begins_anew_with_its_new_period() -> None:
    slow, fast = 600, 2_000
    recording = latency(noise(slow))
    [(times, values)] = recording.values()
    times += [times[-1] + (i + 1) * MINUTE // 4 for i in range(fast)]
    values += noise(fast, 1).tolist()
    own = past(fed(recording, each=10), times[-1])[LATENCY]
    assert own.period == MINUTE // 4
    assert fast / 2 < own.samples < fast


def test_a_series_that_comes_at_no_pace_at_all_is_judged_by_its_row() -> None:
    rng = np.random.default_rng(4)
    times = (NOON + MINUTE * np.cumsum(rng.choice([1, 2, 3, 30], 900, p=[0.3, 0.3, 0.2, 0.2]))).tolist()
    recording: Recording = {key("latency", version="", instance=""): (times, noise(900).tolist())}
    moment = times[850]
    watch = Watch(policy())
    reports = watch.change(change(time=moment, version=""))
    for sample in samples(recording):
        reports += watch.telemetry(columns([sample]), span=0)
    [last] = [one for one in reports if one.ended]
    assert (last.tests, last.warming) == (1, "")


def test_before_its_first_error_a_service_had_none() -> None:
    requests, errors = (
        key(f"x.{name}", kind=MetricKind.DELTA, version="", instance="") for name in ("requests", "errors")
    )
    times = [NOON + i * MINUTE for i in range(700)]
    recording: Recording = {requests: (times, [50.0] * 700), errors: (times[690:], [5.0] * 10)}
    watch = fed(recording, each=10)
    ratio = SignalId("x.errors", "x.requests", (), "error_ratio", False, "up")
    own = past(watch, times[-1])[ratio]
    assert own.samples == 700
    found = own.calibration(watch=30, harm="up", least_effect=None, relative=True)
    assert found.ready
    assert found.level == pytest.approx(0.0, abs=1e-6)


def test_a_row_is_free_again_when_its_signal_is_no_more() -> None:
    times = [NOON + i * MINUTE for i in range(700)]
    fields: dict[str, Any] = {"kind": MetricKind.DELTA, "version": "", "instance": ""}
    recording: Recording = {key("x.requests", **fields): (times, [50.0] * 700)}
    watch = fed(recording)
    assert watch.store.rows == 2
    watch.telemetry(columns([(key("x.errors", **fields), times[-1] + 1, 1.0)]))
    more = [(key("x.requests", **fields), times[-1] + (i + 1) * MINUTE, 50.0) for i in range(2 * CHUNK)]
    watch.telemetry(columns(more))
    assert watch.store.rows == 1


@pytest.mark.parametrize("each", [10, 500])
def test_raw_samples_stay_few_but_for_what_a_change_is_judged_by(each: int) -> None:
    plain: dict[str, Any] = {"version": "", "instance": ""}
    watch = fed(latency(noise(3_000), **plain), each=each)
    [one] = service(watch).series.values()
    assert HISTORY + LAG <= len(one.times) <= HISTORY + LAG + 2 * CHUNK + each
    # Until its watch is over nothing is learned from then on.
    held = fed(latency(noise(3_000), **plain), each=each, changes=[change(time=NOON + 1_000 * MINUTE, version="")])
    [one] = service(held).series.values()
    assert len(one.times) <= HISTORY + LAG + 2 * CHUNK + each


def test_young_signals_have_no_row_and_all_their_samples() -> None:
    recording = gauges({"latency": noise(50)}, start=NOON)
    watch = fed(recording, each=1)
    assert watch.store.rows == 0
    assert all(len(series.times) == 50 for series in service(watch).series.values())


@given(
    st.lists(st.sampled_from([700, 980, 1_000, 1_020, 1_300, 5_000, 20_000]), min_size=1, max_size=200),
    st.integers(0, 999),
    st.integers(0, 200),
)
def test_slots_follow_the_clock_and_do_not_depend_on_the_cut(steps: list[int], phase: int, cut: int) -> None:
    times = NOON + phase + np.cumsum(np.array(steps, np.int64))
    whole = numbered(times, None, 0, 1_000)
    assert (np.diff(whole) >= 0).all()
    assert (np.abs(whole * 1_000 + 500 - times) <= 1_500).all()
    cut = min(cut, len(times) - 1)
    if cut:
        first = numbered(times[:cut], None, 0, 1_000)
        rest = numbered(times[cut:], int(times[cut - 1]), int(first[-1]), 1_000)
        assert np.concatenate([first, rest]).tolist() == whole.tolist()


def test_services_do_not_learn_at_the_same_moment() -> None:
    recording: Recording = {}
    for number in range(20):
        recording |= latency(noise(400, number), service=f"s{number}", version="", instance="")
    watch = Watch(policy())
    moments = []
    for _, group in itertools.groupby(sorted(samples(recording), key=lambda one: one[1]), key=lambda one: one[1]):
        told = list(group)
        before = sum(len(series.times) for one in watch.services() for series in one.series.values())
        watch.telemetry(columns(told))
        after = sum(len(series.times) for one in watch.services() for series in one.series.values())
        moments.append(before + len(told) - after)
    assert sum(dropped > 0 for dropped in moments) > 10

"""One signal: who is new and who is old, when a look is complete, and what each control says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.columns import MetricKind, SeriesKey
from stream.neighbours import Neighbours
from stream.samples import Samples
from stream.series import Series
from stream.signal_watch import Look, SignalWatch
from stream.signals import SignalId
from tests.factories import NOON, Recording, change, key, shop

RATIO = SignalId("http.server.errors", "http.server.requests", (), "error_ratio", False, "up")
P99 = SignalId("http.server.duration.p99")
#: No other service is known.
ALONE = Neighbours(change(), ())


def stored(recording: Recording, signal: SignalId) -> list[Series]:
    found, store = [], Samples()
    for one, (times, values) in sorted(recording.items()):
        if one.metric in (signal.metric, signal.over):
            found.append(Series(one, store))
            found[-1].extend(np.array(times), np.array(values))
    return found


def watching(
    recording: Recording, signal: SignalId = RATIO, *, looks: int = 1_800, **fields: Any
) -> tuple[SignalWatch, list[Look]]:
    """A watch of the signal, and all that it says up to the end of the recording."""
    watch = SignalWatch("checkout", signal, change(**fields), 1_000, looks)
    watch.attach(stored(recording, signal))
    watch.calibrate(lambda times: np.ones(len(times), bool), ALONE)
    end = max(times[-1] for times, _ in recording.values())
    return watch, list(watch.update(end))


def controls(looks: list[Look], below: float = -5.5) -> set[str]:
    return {look.control for look in looks if look.log_p < below}


def calm(instances: int = 4, seconds: int = 200) -> Recording:
    return shop(canary=0, harm_after=None, instances=instances, seconds=seconds)


def test_every_control_says_its_part_in_the_order_of_looks() -> None:
    _, looks = watching(shop())
    assert controls(looks) >= {"concurrent"}
    for control in ("concurrent", "past", "silence"):
        said = [look for look in looks if look.control == control]
        assert [one.time for one in said] == sorted(one.time for one in said)
        assert [one.log_p for one in said] == sorted((one.log_p for one in said), reverse=True)


def test_a_finding_carries_the_numbers_of_both_sides() -> None:
    _, looks = watching(shop())
    worst = min(looks, key=lambda look: look.log_p).describe()
    assert worst.metric == "error_ratio"
    assert worst.expected is not None
    assert worst.effect == pytest.approx(0.3, abs=0.15)
    assert worst.reason.startswith("error_ratio 0.")
    assert " > " in worst.reason
    assert "e=" in worst.reason


def test_values_of_the_new_instance_are_compared_with_those_beside_it() -> None:
    recording = shop(harm_after=None, seconds=160)
    slow = {
        one: (times, [value * 4 for value in values] if one.version == "v2" else values)
        for one, (times, values) in recording.items()
    }
    _, looks = watching(slow, P99)
    assert "concurrent" in controls(looks, -4.0)
    assert "concurrent" not in controls(watching(recording, P99)[1], -4.0)


def test_once_every_old_instance_is_replaced_the_new_are_judged_by_what_the_old_had_been() -> None:
    def rolled(factor: float) -> Recording:
        recording = shop(harm_after=None, before=400, seconds=460)
        return {
            one: (times, [value * factor for value in values])
            if one.version == "v2"
            else (kept := [time for time in times if time < NOON + 8_000], values[: len(kept)])
            for one, (times, values) in recording.items()
        }

    _, looks = watching(rolled(4.0), P99, looks=60)
    found = [look for look in looks if look.control == "replaced"]
    assert found[-1].log_p < -5.5
    assert "of the old, which are gone (n=" in found[-1].describe().reason
    assert found[-1].describe().control == "past"
    assert "replaced" not in controls(watching(rolled(1.0), P99, looks=60)[1], -3.0)


@pytest.mark.parametrize(
    ("recording", "fields", "compared"),
    [
        (shop(harm_after=None), {}, True),
        (shop(harm_after=None), {"version": ""}, True),
        (shop(harm_after=None), {"version": "v9"}, False),
        (shop(harm_after=None, versions=("", "")), {}, True),
        (calm(), {"instances": ("p1",)}, True),
        (calm(), {"instances": ("elsewhere",)}, False),
        (calm(), {"version": ""}, False),
        (calm(), {"version": "v1"}, False),
        (calm(instances=1), {}, False),
    ],
)
def test_new_and_old_are_told_apart_by_name_then_version_then_age(
    recording: Recording, fields: dict[str, Any], compared: bool
) -> None:
    watch, _ = watching(recording, **fields)
    assert watch.control_ready(2**62) is compared


def test_before_new_ones_report_there_is_no_comparison() -> None:
    watch, _ = watching(shop(starts_after=10))
    assert not watch.control_ready(NOON + 10_000)
    assert watch.control_ready(NOON + 11_000)


def test_too_short_a_past_says_why_it_is_silent() -> None:
    watch, looks = watching(shop(before=30, seconds=60))
    assert not watch.past_ready
    assert watch.warming == "31 of 100 samples of history"
    assert "past" not in {look.control for look in looks}


def test_a_look_is_complete_with_its_last_sample_and_not_before() -> None:
    recording = calm(instances=3, seconds=125)
    watch = SignalWatch("checkout", P99, change(), 1_000, 1_800)
    times, values = next(told for one, told in recording.items() if (one.metric, one.instance) == (P99.metric, "p2"))
    held = times.pop()
    values.pop()
    series = stored(recording, P99)
    late = next(one for one in series if one.key.instance == "p2")
    watch.attach(series)
    watch.calibrate(lambda times: np.ones(len(times), bool), ALONE)
    list(watch.update(int(held)))
    assert watch.closed == 3
    late.extend(np.array([held]), np.array([0.2]))
    list(watch.update(int(held)))
    assert watch.closed == 4


def test_a_look_is_complete_half_a_period_after_what_never_came() -> None:
    recording = calm(instances=3, seconds=125)
    gone = {
        one: (times[:122], values[:122]) if one.instance == "p2" else (times, values)
        for one, (times, values) in recording.items()
    }
    watch = SignalWatch("checkout", P99, change(), 1_000, 1_800)
    watch.attach(stored(gone, P99))
    watch.calibrate(lambda times: np.ones(len(times), bool), ALONE)
    closed = []
    for after in (4_000, 4_500, 4_501):
        list(watch.update(NOON + after))
        closed.append(watch.closed)
    assert closed == [3, 3, 4]


def test_no_look_is_taken_after_the_last_one() -> None:
    watch, _ = watching(shop(seconds=200), looks=10)
    assert watch.closed == 10
    assert watch.looks_by(2**62) == 10


def test_counts_without_requests_are_judged_by_their_own_past() -> None:
    jobs = SignalId("jobs")
    rng = np.random.default_rng(0)
    values = rng.poisson(50, 3_060).astype(float)
    values[3_005:] *= 6
    one = key("jobs", kind=MetricKind.DELTA)
    recording: Recording = {one: ([NOON - 2_999_000 + i * 1_000 for i in range(3_060)], values.tolist())}
    _, looks = watching(recording, jobs, looks=60)
    assert controls(looks) == {"past"}


def test_silence_of_one_instance_is_not_silence_of_the_signal() -> None:
    recording = calm(seconds=180)
    gone = {
        one: (times[:125], values[:125]) if one.instance == "p2" else (times, values)
        for one, (times, values) in recording.items()
    }
    assert "silence" not in {look.control for look in watching(gone)[1]}


def test_series_of_other_kinds_do_not_crash_a_signal() -> None:
    """The same metric told as a gauge by one instance and as a counter by another."""
    recording: Recording = {}
    for number, kind in enumerate(MetricKind):
        one: SeriesKey = key("m", instance=f"p{number}", kind=kind)
        recording[one] = ([NOON - 120_000 + i * 1_000 for i in range(150)], [float(i) for i in range(150)])
    watch, _ = watching(recording, SignalId("m"), version="")
    assert watch.closed == 29

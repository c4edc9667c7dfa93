"""Rounds: what all signals of a watch say together is what each says by itself, read plainly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.change import Change
from stream.columns import MetricKind, SeriesKey
from stream.rounds import Rounds
from stream.samples import Samples
from stream.series import Series
from stream.signal_watch import Look, SignalWatch
from stream.signals import SignalId, period_of
from tests.factories import NOON, Recording, change, shop
from tests.stream.plain_rounds import PlainSignalWatch
from tests.stream.public_sets import SETS, services_of
from tests.stream.test_signal_watch import ALONE, P99, RATIO

REQUESTS = SignalId("http.server.requests")
ERRORS_DOWN = SignalId("http.server.duration.p99", name="fast", guardrail=True, harm="down")
SIGNALS = (RATIO, P99, REQUESTS, ERRORS_DOWN)
Said = tuple[int, str, float, str]


def stored(recording: Recording) -> dict[SeriesKey, Series]:
    store = Samples()
    found = {}
    for one, (times, values) in sorted(recording.items()):
        found[one] = Series(one, store)
        found[one].extend(np.array(times), np.array(values))
    return found


def begun(
    kind: type[SignalWatch],
    of: Change,
    signal: SignalId,
    series: list[Series],
    *,
    period: int,
    looks: int,
    beside: bool,
) -> SignalWatch:
    watch = kind("checkout", signal, of, period, looks)
    watch.attach(series)
    watch.calibrate(lambda times: np.ones(len(times), bool), ALONE, beside=beside)
    return watch


def words(looks: list[Look]) -> list[Said]:
    return [(one.time, one.control, one.log_p, one.describe().reason) for one in looks]


def assert_same(found: list[Said], expected: list[Said]) -> None:
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    np.testing.assert_allclose([one[2] for one in found], [one[2] for one in expected], rtol=1e-9)
    assert [one[3] for one in found] == [one[3] for one in expected]


def compare(
    told: dict[str, Any], slow: float, named: dict[str, Any], beside: bool, moves: list[int], named_later: int = -1
) -> set[str]:
    """Take the looks of several signals of a shop together and each by itself; returns which controls spoke.

    What is new takes `slow` times as long. At move `named_later` the change names an instance more.
    """
    recording = {
        one: (times, [value * slow for value in values] if one.version == "v2" and one.metric == P99.metric else values)
        for one, (times, values) in shop(**told).items()
    }
    of = change(**named)
    watches: list[list[SignalWatch]] = [[], []]
    for kind, into in zip((PlainSignalWatch, SignalWatch), watches, strict=True):
        series = stored(recording)
        for signal in SIGNALS:
            part = [one for key, one in series.items() if key.metric in (signal.metric, signal.over)]
            into.append(begun(kind, of, signal, part, period=1_000, looks=320, beside=beside))
    rounds, watermark = Rounds(of.time), NOON
    found: list[list[Look]] = [[] for _ in SIGNALS]
    expected: list[list[Look]] = [[] for _ in SIGNALS]
    for watch in watches[1]:
        watch.join(rounds)
    for number, move in enumerate(moves):
        watermark += move
        if number == named_later:
            more = change(**(named | {"instances": (*named.get("instances", ()), "p3")}))
            for watch in (*watches[0], *watches[1]):
                watch.name(more)
        for place, look in rounds.take(watermark):
            found[place].append(look)
        for place, watch in enumerate(watches[0]):
            expected[place] += watch.update(watermark)
    for one, other in zip(found, expected, strict=True):
        assert_same(words(one), words(other))
    return {look.control for looks in found for look in looks}


@given(
    st.fixed_dictionaries(
        {
            "seconds": st.just(170),
            "canary": st.integers(0, 4),
            "harm_after": st.sampled_from([None, 0, 3]),
            "starts_after": st.integers(0, 9),
            "jitter": st.sampled_from([0.0, 0.2]),
            "phases": st.booleans(),
            "gaps": st.sampled_from([0.0, 0.1, 0.6]),
            "kind": st.sampled_from([MetricKind.DELTA, MetricKind.CUMULATIVE]),
            "seed": st.integers(0, 9),
        }
    ),
    st.sampled_from([1.0, 0.3, 4.0]),
    st.sampled_from([{}, {"version": ""}, {"version": "", "instances": ("p1", "p2")}]),
    st.booleans(),
    st.lists(st.integers(1, 20_000), min_size=1, max_size=12),
    st.integers(-1, 6),
)
@settings(deadline=None)
def test_together_they_say_what_each_says_alone(
    told: dict[str, Any], slow: float, named: dict[str, Any], beside: bool, moves: list[int], named_later: int
) -> None:
    compare(told, slow, named, beside, moves, named_later if named.get("instances") else -1)


@pytest.mark.parametrize(
    ("told", "named", "control"),
    [
        ({"canary": 1}, {}, "concurrent"),
        ({"canary": 4, "before": 400, "seconds": 450}, {}, "replaced"),
        ({"canary": 3, "before": 400, "seconds": 450, "gaps": 0.1}, {}, "past"),
        ({"canary": 0, "seconds": 125}, {"version": ""}, "silence"),
        ({"canary": 0, "seconds": 440}, {}, "missing"),
    ],
)
def test_each_control_is_heard_as_by_itself(told: dict[str, Any], named: dict[str, Any], control: str) -> None:
    assert control in compare(told, 4.0, named, True, [500, 2_500, 1_000, 1_000, 9_000, 1_000, 30_000, 260_000])


def instances(name: str) -> Iterator[list[tuple[SeriesKey, np.ndarray, np.ndarray]]]:
    """The metrics of some services of a public set, each of which is cut into three that run beside each other."""
    for service in services_of(name, 4):
        made = []
        for metric, values in list(service.metrics.items())[:4]:
            known = np.flatnonzero(np.isfinite(values))[:2_000]
            for number in range(3):
                key = SeriesKey(service.name, "", metric, (), "", f"p{number}")
                made.append((key, service.times[known].astype(np.int64), values[known] * (1.0 + 0.01 * number)))
        yield made


@pytest.mark.parametrize("name", SETS)
def test_on_public_data_they_say_what_each_says_alone(name: str) -> None:
    compared = 0
    for made in instances(name):
        store, series = Samples(), {}
        for key, times, values in made:
            series[key] = Series(key, store)
            series[key].extend(times, values)
        times = made[0][1]
        if len(times) < 60 or not (period := period_of(series.values(), int(times[-1]))):
            continue
        of = change(time=int(times[3 * len(times) // 4]), version="", instances=("p1",))
        watches: list[list[SignalWatch]] = [[], []]
        for metric in dict.fromkeys(key.metric for key in series):
            part = [one for key, one in series.items() if key.metric == metric]
            for kind, into in zip((PlainSignalWatch, SignalWatch), watches, strict=True):
                into.append(begun(kind, of, SignalId(metric), part, period=period, looks=200, beside=True))
        rounds, found, expected = Rounds(of.time), [[] for _ in watches[0]], [[] for _ in watches[0]]
        for watch in watches[1]:
            watch.join(rounds)
        for watermark in range(of.time, int(times[-1]), 7 * period):
            for place, look in rounds.take(watermark, watermark):
                found[place].append(look)
            for place, watch in enumerate(watches[0]):
                expected[place] += watch.update(watermark, watermark)
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(words(one), words(other))
            compared += watches[1][place].closed
    assert compared > 500

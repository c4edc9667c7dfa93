"""Slots: what signals say by them is what a plain reading of the samples says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.columns import MetricKind, SeriesKey
from stream.samples import NEVER, Samples
from stream.series import Series
from stream.signals import SignalId
from stream.slots import BEGUN, NEXT, PERIOD, Slots
from tests.factories import NOON, key
from tests.stream.plain_slots import PlainSlots

PERIOD_MS = 1_000
RATIO = SignalId("x.errors", "x.requests", (), "error_ratio", False, "up")
VALUE = SignalId("x.requests")
STEPS = st.sampled_from([0, 1, 400, 980, 1_000, 1_000, 1_000, 1_020, 1_300, 5_000, 20_000])


@st.composite
def members(draw: st.DrawFn) -> dict[SeriesKey, tuple[list[int], list[float]]]:
    """Counters and gauges of some instances, of whatever pace."""
    kind = draw(st.sampled_from(list(MetricKind)))
    told = {}
    for number in range(draw(st.integers(1, 5))):
        metric, instance = draw(st.sampled_from(["x.requests", "x.errors"])), draw(st.sampled_from("abc"))
        name = key(metric, instance=instance, kind=kind, attributes=(("route", str(number)),))
        steps = draw(st.lists(STEPS, min_size=1, max_size=40))
        times = (NOON + draw(st.integers(0, 5_000)) + np.cumsum(steps)).tolist()
        told[name] = times, [float(draw(st.integers(0, 9))) for _ in times]
    return told


@given(
    members(), st.booleans(), st.lists(st.integers(0, 15), min_size=1, max_size=6), st.integers(0, 60_000),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_they_say_what_a_plain_reading_says(
    told: dict[SeriesKey, tuple[list[int], list[float]]], ratio: bool, chunks: list[int], until: int, begun: bool,
    whole: bool,
) -> None:  # fmt: skip
    signal = RATIO if ratio else VALUE
    keys = sorted(one for one in told if ratio or one.metric == VALUE.metric)
    samples = Samples()
    series = {}
    for one in keys:
        series[one] = Series(one, samples)
        series[one].extend(np.array(told[one][0]), np.array(told[one][1]))
    begin = NOON // PERIOD_MS + 1
    slots = Slots({signal: keys}, series)
    plain = PlainSlots(signal, keys, PERIOD_MS, begin, NOON + 3_000 if begun else NEVER)
    slots.facts[0, [PERIOD, NEXT, BEGUN]] = PERIOD_MS, begin, plain.begun
    for chunk in chunks:
        last = plain.next + chunk
        values, most = plain.take(series, last, NOON + until)
        stop = max(plain.complete(last) - plain.next, 0) if whole else len(values)
        filled = np.flatnonzero(np.isfinite(values[:stop]))
        ends, found, said, busiest = slots.take(samples, np.array([0]), np.array([last]), NOON + until, complete=whole)
        assert found.tolist() == (plain.next + filled).tolist()
        np.testing.assert_allclose(said, values[filled], rtol=1e-9)
        assert (ends.tolist(), busiest.tolist()) == ([len(filled)], [most])
        assert slots.places(0) == plain.places
        plain.next = last
        slots = Slots({signal: keys}, series, slots)
        slots.facts[0, NEXT] = last

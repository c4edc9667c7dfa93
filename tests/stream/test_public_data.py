"""On public data the compiled paths say what the plain readings say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stream.columns import Float64, Int64, SeriesKey
from stream.samples import NEVER, Samples
from stream.series import Series
from stream.signals import Line, SignalId, period_of
from stream.slots import NEXT, PERIOD, Slots
from tests.stream.plain_looks import PlainCollector
from tests.stream.plain_slots import PlainSlots
from tests.stream.public_sets import SETS, services_of
from tests.stream.test_collect import Collecting

#: Series of each set, and samples of each.
SERIES, LENGTH, CHUNK = 12, 3_000, 64


def some(name: str) -> Iterator[tuple[SeriesKey, Int64, Float64]]:
    """Series of a public set, spread over its services."""
    for service in services_of(name, SERIES):
        metric, values = next(iter(service.metrics.items()))
        known = np.flatnonzero(np.isfinite(values))[:LENGTH]
        key = SeriesKey(service.name, "", metric, (), "", service.instance or "")
        yield key, service.times[known].astype(np.int64), values[known]


@pytest.mark.parametrize("name", SETS)
def test_slots_and_looks_are_those_of_a_plain_reading(name: str) -> None:
    compared = 0
    for key, times, values in some(name):
        store = Samples()
        series = {key: Series(key, store)}
        series[key].extend(times, values)
        if not (period := period_of(series.values(), int(times[-1]))):
            continue
        signal = SignalId(key.metric)
        plain = PlainSlots(signal, [key], period, int(times[0]) // period - 1, NEVER)
        slots = Slots({signal: [key]}, series)
        slots.facts[0, [PERIOD, NEXT]] = period, plain.next
        while plain.next * period < times[-1]:
            last = plain.next + CHUNK
            expected, most = plain.take(series, last)
            _, found, said, busiest = slots.take(store, np.array([0]), np.array([last]))
            filled = np.flatnonzero(np.isfinite(expected))
            assert (found - plain.next).tolist() == filled.tolist()
            np.testing.assert_allclose(said, expected[filled], rtol=1e-9)
            assert busiest.tolist() == [most]
            plain.next = last
            slots.facts[0, NEXT] = last
            compared += len(filled)
        moment = int(times[len(times) // 2])
        slow = PlainCollector(series, LENGTH, moment, ratio=False, moment=moment, period=period)
        fast = Collecting(moment, period, LENGTH, moment, ratio=False)
        fast.add(Line(series[key], moment, period), 0)
        for watermark in range(moment, int(times[-1]), 7 * period):
            one, other = slow.collect(watermark, watermark), fast.collect(watermark, watermark)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert other.closings.tolist() == one.closings
                np.testing.assert_allclose(other.whole, one.whole, rtol=1e-9)
                compared += len(other.whole)
    assert compared > 1_000

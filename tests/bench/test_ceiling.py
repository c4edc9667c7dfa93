"""The judge with hindsight goes by the same distances as the detector, and sees nothing where nothing moves."""

from __future__ import annotations

import numpy as np
import pytest

from bench import ceiling
from bench.own_past import learn
from bench.telemetry import Floats, Service
from detectors import bank


def one(values: Floats) -> Service:
    return Service("one", "made", 60.0, 0.0, values[None], np.zeros(len(values), dtype=bool))


NOISE = np.random.default_rng(5).lognormal(4.0, 0.05, 4_000)


def test_distances_are_those_of_the_detector() -> None:
    (past,) = learn(one(NOISE), [3_000], ceiling.WATCH)[3_000]
    watch = 1.3 * NOISE[3_001 : 3_001 + ceiling.WATCH]
    said = past.start().update(watch)
    ratios = [ceiling.distances(past, watch)[w] / y.excursion for w, y in enumerate(past.yardsticks)]
    known = [ratio[j] for ratio in ratios for j in range(9) if bank.STATISTICS[j] == said.statistic]
    lasting = [np.sqrt(ratio[i] * ratio[i + 1]) for ratio in ratios for i in (1, 5)]
    staying = [np.sqrt(ratios[1][i] * ratios[2][i + 2]) for i in (1, 5)]
    assert any(ratio == pytest.approx(said.ratio, rel=1e-9) for ratio in (*known, *lasting, *staying))


def test_what_rests_at_zero_is_beyond_everybody_and_what_stands_out_is_not() -> None:
    quiet = dict(ceiling.measure(one(np.zeros(4_000)), 0.004))
    assert all(not lines.any() for lines in quiet.values())
    loud = dict(ceiling.measure(one(NOISE), 0.004))
    moves, caught, *beyond = loud["+100 %"].mean(axis=0)
    assert moves == 1.0
    assert caught > 0.9
    assert max(beyond) == 1.0

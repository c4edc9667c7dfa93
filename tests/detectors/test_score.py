"""The score of a series without a change: causal, unbounded, one a row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.score import score


def noise(n, seed=0):
    return 20.0 * np.random.default_rng(seed).lognormal(0.0, 0.1, n)


@pytest.mark.parametrize("factor", [3.0, 0.2])
def test_the_oddest_row_is_the_odd_one(factor):
    values = noise(3000)
    values[2000] *= factor
    assert np.argmax(score(values)) == 2000


def test_an_incident_counts_once():
    values = noise(3000)
    values[2000:2100] *= 3.0
    found = score(values)
    assert found[2000] > 2.0
    assert np.sum(found[2000:2100] > 2.0) <= 3


def test_scores_are_not_clipped():
    heights = []
    for factor in (10.0, 1e3, 1e6, 1e9):
        values = noise(1000)
        values[900] *= factor
        heights.append(score(values)[900])
    assert np.all(np.diff(heights) > 1.0)


def test_the_level_of_noon_is_odd_only_at_midnight():
    place = np.arange(12 * 288) % 288
    values = noise(len(place)) * np.exp(1.5 * np.sin(2.0 * np.pi * place / 288.0))
    noon, midnight = 10 * 288 + 72, 11 * 288 + 216
    values[midnight] = values[noon]
    found = score(values, 300.0 * np.arange(len(values)))
    assert found[midnight] > 2.0 > found[noon]
    assert np.argmax(found[5 * 288 :]) == midnight - 5 * 288


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 300, [0.0] * 300, [1e300] * 300, [-5.0] * 300, [np.inf] * 90])
def test_nothing_to_see_scores_nothing(values):
    assert np.array_equal(score(np.array(values)), np.zeros(len(values)))


def test_a_missing_row_is_neutral():
    values = noise(500)
    values[300:310] = np.nan
    assert np.all(score(values)[300:310] == 0.0)


def test_a_time_for_each_value():
    with pytest.raises(ValueError, match="3 times for 4 values"):
        score(np.ones(4), np.ones(3))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 1400), gaps=st.booleans(), timed=st.booleans())
def test_cutting_off_the_future_changes_no_earlier_row(seed, cut, gaps, timed):
    values = noise(1400, seed)
    values[seed % 1400 :] *= 2.0
    if gaps:
        values[np.random.default_rng(seed).random(1400) < 0.2] = np.nan
    times = 1800.0 * np.arange(1400) + 1.5e9 + seed if timed else None
    whole = score(values, times)
    part = score(values[:cut], None if times is None else times[:cut])
    assert np.all(np.isfinite(whole))
    assert part.tobytes() == whole[:cut].tobytes()

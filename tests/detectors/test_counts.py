"""Events over exposure: what trips, what does not, and that looking often costs nothing."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.counts import CountsCalibration, CountsEvidence, CountsTest, calibrate_counts
from tests.detectors import reference_counts

TRIPS = log(200.0)


def calibration(overdispersion: float = 1.0, tolerance: float = 1.0) -> CountsCalibration:
    return CountsCalibration(overdispersion, 0, True, "given", tolerance)


def run(new: list[float], old: list[float], *, requests: float = 100.0, phi: float = 1.0, **options) -> CountsEvidence:
    n = np.full(len(new), requests)
    return CountsTest(calibration(phi), **options).update(np.array(new, float), n, np.array(old, float), n)


@pytest.mark.parametrize(
    ("new", "old", "trips"),
    [
        ([1] * 11, [0] * 11, True),
        ([0, 0, 0, 0, 1] * 11, [0] * 55, True),
        ([0, 1, 2, 1, 0, 0], [0] * 6, False),
        ([5] * 60, [5] * 60, False),
        ([0, 0, 0, 30, 40, 35, 0, 0], [0, 0, 0, 32, 38, 36, 0, 0], False),
        ([3, 2, 1] + [0] * 60, [0] * 63, False),
    ],
    ids=["eleven against none", "spread out", "a few", "equal", "a burst in both arms", "a bad start that ends"],
)
def test_vectors(new, old, trips):
    assert (run(new, old).log_e_max[-1] >= TRIPS) == trips


def test_harm_down_sees_fewer_and_only_fewer():
    assert run([0] * 8, [9] * 8, harm="down").log_e_max[-1] >= TRIPS
    assert run([9] * 8, [0] * 8, harm="down").log_e_max[-1] < 1.0
    assert run([0] * 8, [9] * 8, harm="both").log_e_max[-1] >= TRIPS
    with pytest.raises(ValueError, match="sideways"):
        CountsTest(calibration(), harm="sideways")


def test_overwhelming_harm_trips_within_the_warm_up_and_a_bad_start_does_not():
    assert run([60, 60, 60], [0, 1, 0]).log_e_max[-1] >= TRIPS
    assert run([3, 3, 3], [1, 1, 1]).log_e_max[-1] < 1.0


def test_a_difference_below_the_least_effect_is_none():
    new, old = [30.0] * 300, [20.0] * 300
    assert run(new, old, requests=1000.0).log_e_max[-1] >= TRIPS
    assert run(new, old, requests=1000.0, least_effect=0.02).log_e_max[-1] == 0.0


def test_evidence_fades_when_the_gap_closes():
    evidence = run([4.0] * 10 + [2.0] * 200, [0.0] * 10 + [2.0] * 200)
    assert evidence.log_e_max[9] == evidence.log_e_max[-1] >= TRIPS
    assert evidence.log_e[-1] < 0.0


def test_empty_bins_say_nothing():
    nan = np.nan
    test = CountsTest(calibration())
    some = test.update(np.array([nan, 1, 0, 1]), np.array([9, nan, 0, 9.0]), np.array([0, 0, 0, nan]), np.full(4, 9.0))
    assert some.log_e_max.tolist()[:3] == [0.0, 0.0, 0.0]
    assert np.isfinite(some.log_e).all()
    assert np.isnan(some.new_ratio[:3]).all()
    assert test.update(*(np.empty(0) for _ in range(4))).log_e.shape == (0,)


counts = st.lists(st.tuples(*[st.integers(0, 30), st.integers(1, 500)] * 2), min_size=1, max_size=25)


@given(counts, st.floats(1.0, 5.0), st.floats(1.0, 2.0), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_the_fast_path_equals_the_formula(bins, phi, tolerance, warm_up):
    x, n, y, m = (np.array(column, dtype=float) for column in zip(*bins, strict=True))
    fast = CountsTest(calibration(phi, tolerance), warm_up=warm_up).update(x, n, y, m)
    slow = reference_counts.log_e(x, n, y, m, phi=phi, tolerance=tolerance, warm_up=warm_up)
    np.testing.assert_allclose(fast.log_e, slow, rtol=1e-9, atol=1e-9)


@given(st.lists(st.integers(0, 20), min_size=4, max_size=20), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_more_errors_of_the_new_one_are_never_less_evidence(new, more):
    old = [1.0] * len(new)
    worse = [float(x) for x in new[:-1]] + [float(new[-1] + more)]
    assert run(worse, old).log_e[-1] >= run([float(x) for x in new], old).log_e[-1] - 1e-9


def test_ten_thousand_looks_trip_no_more_than_alpha():
    # 120 runs at 5 %: more than 13 trips have a chance below 1 in 200 even if the bound were met with equality.
    rng = np.random.default_rng(11)
    n, m = np.full(10_000, 100.0), np.full(10_000, 300.0)
    tripped = sum(
        CountsTest(calibration())
        .update(rng.poisson(0.2, 10_000).astype(float), n, rng.poisson(0.6, 10_000).astype(float), m)
        .log_e_max[-1]
        >= log(20.0)
        for _ in range(120)
    )
    assert tripped <= 13


def test_the_controls_past_is_used_while_it_agrees_and_not_when_it_does_not():
    rng = np.random.default_rng(12)
    n = np.full((600, 3), 100.0)
    past = calibrate_counts(rng.poisson(0.5, (600, 3)).astype(float), n)
    assert past.past_share > 1.0
    ones = np.full(20, 300.0)

    def evidence(known: CountsCalibration, new: float, old: float) -> float:
        test = CountsTest(known)
        return test.update(np.full(20, new), ones, np.full(20, old), ones).log_e_max[-1]

    without = CountsCalibration(past.overdispersion, past.samples, True, "", past.tolerance)
    assert evidence(past, 5.0, 2.0) > evidence(without, 5.0, 2.0)
    # The whole service is ill since before the change: the past is no control for it.
    assert evidence(past, 30.0, 30.0) < 1.0


class TestCalibration:
    def test_bursts_of_single_instances_raise_the_overdispersion(self):
        rng = np.random.default_rng(13)
        n, x = np.full((1200, 4), 20.0), rng.poisson(0.1, (1200, 4)).astype(float)
        calm = calibrate_counts(x, n)
        for start, instance in ((100, 0), (400, 2), (700, 3), (900, 1)):
            x[start : start + 10, instance] += rng.poisson(3.0, 10)
        assert calm.overdispersion < 1.5
        assert calibrate_counts(x, n).overdispersion > 2.0 * calm.overdispersion

    def test_a_burst_like_those_before_does_not_trip(self):
        rng = np.random.default_rng(14)
        x = rng.poisson(0.1, (2400, 4)).astype(float)
        for start in range(100, 2400, 300):
            x[start : start + 10, rng.integers(4)] += rng.poisson(3.0, 10)
        n = np.full((2400, 4), 20.0)
        new = rng.poisson(0.1, 300).astype(float)
        new[200:210] += rng.poisson(3.0, 10)
        old = rng.poisson(0.4, 300).astype(float)
        arms = (new, np.full(300, 20.0), old, np.full(300, 80.0))
        assert CountsTest(calibrate_counts(x, n)).update(*arms).log_e_max[-1] < TRIPS
        assert CountsTest(calibration()).update(*arms).log_e_max[-1] >= TRIPS

    def test_instances_that_differ_for_ever_raise_the_tolerance(self):
        rng = np.random.default_rng(15)
        rate = np.array([0.5, 1.0, 1.5, 2.0])
        unequal = calibrate_counts(rng.poisson(rate, (600, 4)).astype(float), np.full((600, 4), 100.0))
        equal = calibrate_counts(rng.poisson(1.0, (600, 4)).astype(float), np.full((600, 4), 100.0))
        assert unequal.tolerance > 1.5 > 1.3 > equal.tolerance

    def test_too_little_is_not_ready(self):
        assert not calibrate_counts(np.empty((0, 2)), np.empty((0, 2))).ready
        nothing = calibrate_counts(np.full((50, 2), np.nan), np.ones((50, 2)))
        assert not nothing.ready
        assert nothing.overdispersion == 1.0
        with pytest.raises(ValueError, match="must be equal"):
            calibrate_counts(np.ones((3, 2)), np.ones((3, 1)))

    def test_one_instance_alone_is_calibrated_on_its_own_past(self):
        rng = np.random.default_rng(16)
        alone = calibrate_counts(rng.poisson(2.0, (400, 1)).astype(float), np.full((400, 1), 100.0))
        assert alone.ready
        assert "own past" in alone.reason

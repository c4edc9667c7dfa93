"""New against old instances: vectors, cuts, scale, the false rate, and what one pod alone can say."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.concurrent import ConcurrentTest, calibrate_concurrent, pool
from detectors.order import OrderTest

TRIPS = log(1 / 200)


def latency(rng: np.random.Generator, bins: int, instances: int, level: float = 200.0, noise: float = 0.06):
    return level * rng.lognormal(0.0, noise, (bins, instances))


def judge(history, new, old, **options) -> float:
    return float(ConcurrentTest(calibrate_concurrent(history, watch=30, **options)).update(new, old).log_p[-1])


@pytest.mark.parametrize("seed", range(4))
def test_seven_of_ten_at_a_hundred_against_one_trips(seed):
    new = np.random.default_rng(seed).permutation([1.0] * 3 + [100.0] * 7)[:, None]
    assert judge(np.ones((40, 3)), new, np.ones((10, 3))) <= TRIPS


def test_without_history_it_trips_by_order_alone():
    new = np.array([1.0] * 3 + [100.0] * 7)[:, None]
    assert judge(np.empty((0, 1)), new, np.ones((10, 1))) <= TRIPS


def test_ties_and_a_shift_of_both_sides_are_nothing():
    rng = np.random.default_rng(1)
    assert judge(np.ones((40, 3)), np.ones((30, 1)), np.ones((30, 3))) == 0.0
    history = latency(rng, 120, 4)
    assert judge(history, latency(rng, 30, 1, 500.0), latency(rng, 30, 4, 500.0)) > -3.0


def test_a_success_rate_that_never_moved_speaks_after_one_sample():
    perfect = np.full((40, 3), 100.0)
    others = pool([calibrate_concurrent(perfect, kind="bounded", watch=30) for _ in range(10)])
    calibration = calibrate_concurrent(perfect, kind="bounded", watch=30, pooled=others)
    new = np.array([100.0] * 4 + [70.0])[:, None]
    p = ConcurrentTest(calibration).update(new, perfect[:5]).log_p
    assert p[3] == 0.0
    assert p[4] < log(0.002)


def test_two_bad_samples_of_a_success_rate_in_a_row_say_more_than_one():
    perfect = np.full((40, 3), 100.0)
    others = pool([calibrate_concurrent(perfect, kind="bounded", watch=30) for _ in range(10)])
    calibration = calibrate_concurrent(perfect, kind="bounded", watch=30, pooled=others)
    new = np.array([100.0] * 4 + [90.0, 90.0, 100.0])[:, None]
    p = ConcurrentTest(calibration).update(new, perfect[:7]).log_p
    assert p[5] < p[4] - 1.0
    assert p[6] == p[5]


def test_a_burst_that_many_shadows_overlap_counts_as_the_disjoint_ones_do():
    rng = np.random.default_rng(6)
    history = latency(rng, 400, 4, noise=0.02)
    history[100:104, 1] *= 9.0
    history[300:310, 2] *= 9.0
    calibration = calibrate_concurrent(history, harm="up", watch=30)
    shares = np.array([1.0, 1 / 2, 1 / 3, 1 / 4]) / (1 + 1 / 2 + 1 / 3 + 1 / 4)
    for w, maxima in enumerate(calibration.maxima):
        # One of so many shadows stands for itself, the others lie over it.
        beyond = (maxima >= calibration.reference[w]).mean(axis=0) * calibration.disjoint[w]
        expected = np.maximum(beyond, 1.0) / (calibration.disjoint[w] + 1.0) / shares[w]
        np.testing.assert_allclose(calibration.log_rank[w], np.log(expected), rtol=0, atol=1e-9)
    assert calibration.windows.tolist() == [4, 8, 16, 32]


def test_a_variance_that_grows_is_seen_where_harm_goes_both_ways():
    rng = np.random.default_rng(2)
    history, old = 100 + 5 * rng.standard_normal((240, 3)), 100 + 5 * rng.standard_normal((60, 3))
    wild = 100 + 30 * rng.standard_normal((60, 1))
    assert judge(history, wild, old) <= TRIPS
    assert judge(history, old[:, :1] + rng.standard_normal((60, 1)), old) > -3.0


def test_a_bad_start_is_forgiven_and_lasting_harm_is_not():
    rng = np.random.default_rng(3)
    history, old = latency(rng, 240, 4), latency(rng, 20, 4)
    start, ill = latency(rng, 20, 1), latency(rng, 20, 1, 500.0)
    start[:3] *= 3.0
    assert judge(history, start, old, harm="up") > -3.0
    assert judge(history, ill, old, harm="up") <= TRIPS
    assert judge(history, ill, old, harm="down") > -3.0


def test_absent_samples_take_no_part():
    rng = np.random.default_rng(4)
    history, new, old = latency(rng, 240, 4), latency(rng, 20, 2, 500.0), latency(rng, 20, 4)
    history[::7, 1] = np.nan
    new[5:9], old[::3, 0] = np.nan, np.nan
    test = ConcurrentTest(calibrate_concurrent(history, watch=30))
    evidence = test.update(new, old)
    assert np.isfinite(evidence.log_p).all()
    assert evidence.samples[-1] == 16
    assert np.isnan(evidence.effect[6])
    assert evidence.log_p[-1] <= TRIPS
    # With the old ones gone there is no concurrent control.
    gone = ConcurrentTest(calibrate_concurrent(history, watch=30)).update(new, np.full((20, 4), np.nan))
    assert not gone.log_p.any()


def test_one_old_instance_that_went_away_is_judged_by_its_level_before():
    rng = np.random.default_rng(4)
    history, new = latency(rng, 240, 1), latency(rng, 20, 2, 500.0)
    gone = ConcurrentTest(calibrate_concurrent(history, watch=30)).update(new, np.full((20, 1), np.nan))
    assert gone.log_p[-1] <= TRIPS


def test_one_old_instance_is_calibrated_on_its_own_past_and_says_so():
    rng = np.random.default_rng(5)
    calibration = calibrate_concurrent(latency(rng, 240, 1), watch=30)
    assert calibration.ready
    assert "no sibling" in calibration.reason


def test_no_history_is_not_ready_until_some_bins_were_compared():
    test = ConcurrentTest(calibrate_concurrent(np.full((3, 2), np.nan)))
    assert not test.update(np.ones((2, 1)), np.ones((2, 2))).ready
    assert test.update(np.ones((9, 1)), np.ones((9, 2))).ready
    with pytest.raises(ValueError, match="sideways"):
        calibrate_concurrent(np.ones((9, 2)), harm="sideways")


def test_healthy_canaries_reach_the_level_no_more_often_than_it_says():
    # 400 canaries at 2 %: 8 expected at most, 18 has a chance of one in 1,000.
    rng, false = np.random.default_rng(7), 0
    for _ in range(400):
        apart = rng.lognormal(0.0, 0.08, 4)
        values = latency(rng, 70, 4) * apart
        false += judge(values[:40, 1:], values[40:, :1], values[40:, 1:]) <= log(0.02)
    assert false <= 18


class TestOrder:
    def test_alike_instances_trip_no_more_than_alpha(self):
        # 300 canaries at 5 %: 15 expected at most, 29 has a chance of one in 1,000.
        rng = np.random.default_rng(8)
        level = [rng.lognormal(0, 1, (60, 1)) for _ in range(300)]
        false = sum(
            OrderTest().update(x * rng.lognormal(0, 1, (60, 1)), x * rng.lognormal(0, 1, (60, 2))).log_e_max[-1]
            >= log(20.0)
            for x in level
        )
        assert false <= 29

    @given(st.integers(0, 1000))
    @settings(max_examples=20, deadline=None)
    def test_only_the_order_matters_one_sided(self, seed):
        rng = np.random.default_rng(seed)
        new, old = rng.integers(0, 9, (20, 1)).astype(float), rng.integers(0, 9, (20, 2)).astype(float)
        plain, bent = (OrderTest(harm="up").update(f(new), f(old)).log_e for f in (np.asarray, np.exp))
        np.testing.assert_allclose(plain, bent, rtol=1e-12)

    def test_an_unknown_harm_is_refused(self):
        with pytest.raises(ValueError, match="sideways"):
            OrderTest(harm="sideways")

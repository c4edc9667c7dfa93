"""Every old instance gone: what the new ones do is judged by the swings that the old ones had together."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.concurrent import ConcurrentTest, calibrate_concurrent, pool
from detectors.replaced import ReplacedTest

TRIPS = log(1 / 200)
HISTORY, WATCH, OLD = 480, 40, 3


def rolling(seed: int, factor: float = 1.0, wander: float = 0.02, beside: int = 6):
    """History, and new and old after the change: the load wanders for all, and the old ones are gone after a while."""
    rng = np.random.default_rng(seed)
    load = np.exp(np.cumsum(rng.normal(0.0, wander, HISTORY + WATCH)))[:, None]
    values = 200.0 * load * rng.lognormal(0.0, 0.05, (HISTORY + WATCH, 2 * OLD)) * rng.lognormal(0.0, 0.05, 2 * OLD)
    new, old = values[HISTORY:, :OLD] * factor, values[HISTORY:, OLD:].copy()
    old[beside:] = np.nan
    return values[:HISTORY, OLD:], new, old


def test_a_load_that_wanders_is_no_harm_when_the_old_ones_are_gone():
    # 200 releases at 2 %: 4 expected at most, 11 has a chance of less than one in 200.
    false = 0
    for seed in range(200):
        history, new, old = rolling(seed)
        test = ReplacedTest(calibrate_concurrent(history, harm="up", watch=WATCH))
        false += test.update(new, old).log_p[-1] <= log(0.02)
    assert false <= 11


def test_harm_beyond_what_the_old_ones_ever_did_together_is_seen():
    caught = 0
    for seed in range(20):
        history, new, old = rolling(seed, factor=3.0)
        caught += (
            ReplacedTest(calibrate_concurrent(history, harm="up", watch=WATCH)).update(new, old).log_p[-1] <= TRIPS
        )
    assert caught >= 18


def test_a_success_rate_that_falls_once_all_are_replaced_is_seen():
    history, old = np.full((240, 3), 100.0), np.full((20, 3), np.nan)
    history[::50] = 97.0
    new = np.full((20, 3), 70.0)
    calibration = calibrate_concurrent(history, kind="bounded", watch=30)
    assert ReplacedTest(calibration).update(new, old).log_p[-1] <= TRIPS


def test_as_long_as_an_old_one_is_there_it_says_nothing_and_then_the_other_does_not():
    history, new, old = rolling(1, factor=5.0, beside=10)
    calibration = calibrate_concurrent(history, harm="up", watch=WATCH)
    beside, replaced = ConcurrentTest(calibration).update(new, old), ReplacedTest(calibration).update(new, old)
    assert not replaced.log_p[:10].any()
    assert replaced.samples[-1] == WATCH - 10
    assert beside.samples[-1] == 10
    assert (beside.log_p[10:] == beside.log_p[9]).all()


def test_the_level_is_that_of_the_old_ones_as_they_were_last():
    history, new, old = rolling(2, beside=35)
    old[:35] *= 4.0
    found = ReplacedTest(calibrate_concurrent(history, watch=WATCH)).update(new, old)
    assert found.expected[-1] == pytest.approx(np.median(old[5:35]), rel=0.1)


def test_a_single_old_instance_has_nothing_together():
    history, new, old = rolling(3)
    test = ReplacedTest(calibrate_concurrent(history[:, :1], watch=WATCH))
    assert not test.ready
    assert not test.update(new, old[:, :1]).log_p.any()


def test_a_young_service_borrows_the_swings_of_others():
    others = pool([calibrate_concurrent(rolling(seed)[0], watch=WATCH) for seed in range(6)])
    history, new, old = rolling(7, factor=6.0)
    alone = ReplacedTest(calibrate_concurrent(history[-20:], harm="up", watch=WATCH)).update(new, old)
    borrowed = ReplacedTest(calibrate_concurrent(history[-20:], harm="up", watch=WATCH, pooled=others)).update(new, old)
    assert borrowed.log_p[-1] < alone.log_p[-1]


@given(seed=st.integers(0, 100), cut=st.integers(1, WATCH - 1))
@settings(deadline=None, max_examples=20)
def test_a_cut_changes_nothing(seed: int, cut: int):
    history, new, old = rolling(seed, factor=1.5)
    old[12] = 300.0
    calibration = calibrate_concurrent(history, watch=WATCH)
    whole, parts = ReplacedTest(calibration).update(new, old), ReplacedTest(calibration)
    cuts = [parts.update(new[:cut], old[:cut]), parts.update(new[cut:], old[cut:])]
    for name in ("log_p", "effect", "expected", "samples"):
        joined = np.concatenate([getattr(one, name) for one in cuts])
        np.testing.assert_array_equal(joined, getattr(whole, name))

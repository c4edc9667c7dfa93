"""Silence: of the regular, of the new version, of its traffic; low traffic is none."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.silence import gap_log_p, never_reported_log_p, traffic_shun

SECOND = np.full(2400, 1.0)


def test_a_regular_series_is_silent_after_three_of_its_intervals():
    assert gap_log_p(SECOND, 2.9, 1.0, watch=1800).log_p == 0.0
    assert gap_log_p(SECOND, 3.0, 1.0, watch=1800).log_p < -5.0
    assert gap_log_p(SECOND, 6.0, 1.0, watch=1800).log_p < log(0.002)
    assert gap_log_p(60.0 * SECOND[:40], 360.0, 60.0).log_p < log(0.002)


@pytest.mark.parametrize(
    ("gaps", "gap", "words"),
    [
        (np.full(5, 1.0), 50.0, "too short a past: 5 gaps"),
        (np.random.default_rng(0).exponential(1.0, 500), 20.0, "irregular"),
        (np.concatenate((SECOND, np.full(40, 8.0))), 7.0, "longest of 2440 gaps 8"),
        (np.full(50, np.nan), 9.0, "too short"),
    ],
    ids=["short", "irregular", "gaps like it before", "no gap known"],
)
def test_where_there_was_no_regularity_silence_says_nothing(gaps, gap, words):
    evidence = gap_log_p(gaps, gap, 1.0)
    assert evidence.log_p == 0.0
    assert words in evidence.reason


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e3), st.floats(0.01, 1e4))
def test_longer_silence_is_never_likelier_and_the_unit_does_not_matter(gap, more, unit):
    first = gap_log_p(SECOND[:100], gap, 1.0).log_p
    assert gap_log_p(SECOND[:100], gap + more, 1.0).log_p <= first
    if abs(gap - 3.0) > 1e-6:
        assert gap_log_p(SECOND[:100] * unit, gap * unit, unit).log_p == pytest.approx(first, abs=1e-6)


def test_false_silences_where_samples_are_lost_by_chance():
    # 300 watches of half an hour that lose one sample in 200: at .002 more than 6 have a chance below one in 10,000.
    rng, false = np.random.default_rng(31), 0
    for _ in range(300):
        at = np.flatnonzero(rng.random(4200) >= 0.005).astype(float)
        worst = float(np.diff(at[at >= 2400]).max())
        false += gap_log_p(np.diff(at[at < 2400]), worst, 1.0, watch=1800).log_p <= log(0.002)
    assert false <= 6


class TestNeverReported:
    starts = np.array([30.0, 45.0, 60.0])

    def test_within_the_time_others_took_it_is_only_starting(self):
        assert never_reported_log_p(60.0, 10.0, self.starts, old_presence=1.0).log_p == 0.0

    def test_beyond_it_each_known_start_makes_it_odder(self):
        few = never_reported_log_p(300.0, 10.0, self.starts, old_presence=1.0)
        many = never_reported_log_p(300.0, 10.0, np.tile(self.starts, 10), old_presence=1.0)
        nothing_known = never_reported_log_p(300.0, 10.0, np.empty(0), old_presence=1.0)
        assert many.log_p < few.log_p < -5.0
        assert nothing_known.log_p < 0.0

    def test_low_traffic_is_no_silence(self):
        rare = never_reported_log_p(600.0, 10.0, self.starts, old_presence=0.3)
        assert rare.log_p == 0.0
        assert "30 %" in rare.reason
        assert never_reported_log_p(200.0, 60.0, self.starts, old_presence=0.6).log_p > -2.0


class TestTrafficShun:
    old = np.random.default_rng(32).poisson(40.0, (60, 3)).astype(float)

    def judge(self, share: float) -> float:
        rng = np.random.default_rng(33)
        new, old = rng.poisson(40.0 * share, 10).astype(float), rng.poisson(120.0, 10).astype(float)
        return float(traffic_shun(self.old).update(new, np.ones(10), old, np.full(10, 3.0)).log_e_max[-1])

    def test_no_traffic_is_seen_and_half_the_traffic_is_not(self):
        assert self.judge(0.0) > 8.0
        assert self.judge(0.5) < 1.0
        assert self.judge(1.0) < 1.0

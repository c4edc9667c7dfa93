"""Combining: the numbers by hand, what must never happen, and the false rate of many metrics."""

from __future__ import annotations

from math import exp, isfinite, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.combine import (
    Elond,
    elond,
    families_log_p,
    log_e_to_log_p,
    log_p_to_log_e,
    product_log_p,
    service_log_p,
    together_log_p,
)

log_ps = st.lists(st.floats(-1e4, 0.0), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("p", "guardrail", "groups", "expected"),
    [
        ([0.01], None, None, 0.01),
        ([0.01, 0.5], None, None, 0.04),
        ([0.01, 0.01], None, None, 2e-4),
        ([1e-4, 0.9, 0.9], [1, 0, 0], None, 1e-4 / 0.8),
        ([0.9, 1e-4, 0.9], [1, 0, 0], None, 2 * 2 * 1e-4 / 0.2),
        ([0.01, 0.01, 0.01], None, [7, 7, 7], 0.01),
        ([0.01, 0.9, 0.9], None, [7, 7, 7], 0.03),
        ([1.0, 1.0], None, None, 1.0),
    ],
    ids=["alone", "one of two", "two together", "named", "unnamed", "one latency", "one quantile of it", "calm"],
)
def test_service(p, guardrail, groups, expected):
    named = None if guardrail is None else np.array(guardrail, bool)
    got = service_log_p(np.log(p), guardrail=named, groups=None if groups is None else np.array(groups))
    assert exp(got) == pytest.approx(expected, rel=1e-9)


def test_a_metric_with_nothing_to_say_takes_no_share():
    assert service_log_p(np.array([np.nan, -5.0])) == -5.0
    assert service_log_p(np.array([np.nan])) == 0.0
    assert service_log_p(np.empty(0)) == 0.0
    with pytest.raises(ValueError, match="as many as 2"):
        service_log_p(np.zeros(2), weights=np.ones(3))


@given(log_ps, st.integers(0, 11), st.floats(0.0, 100.0))
def test_less_p_is_never_more_p_and_order_does_not_matter(p, which, less):
    base = service_log_p(np.array(p))
    assert base <= 0.0
    assert service_log_p(np.array(p[::-1])) == pytest.approx(base, abs=1e-9)
    p[which % len(p)] -= less
    assert service_log_p(np.array(p)) <= base + 1e-9


def test_nineteen_calm_metrics_reach_the_level_as_often_as_it_says():
    # 4,000 services at 2 %: 80 expected at most, 112 is 3.5 standard deviations beyond.
    p = np.log(np.random.default_rng(21).random((4_000, 19)))
    assert sum(service_log_p(row) <= log(0.02) for row in p) < 112


def test_families_share_what_is_there():
    nan = float("nan")
    assert families_log_p({"past": -5.0}) == pytest.approx(-5.0)
    assert families_log_p({"past": -5.0, "concurrent": nan}) == pytest.approx(-5.0)
    assert families_log_p({"past": -5.0, "silence": 0.0}) == pytest.approx(-5.0 - log(0.85))
    assert families_log_p({"concurrent": -5.0, "silence": 0.0}) == pytest.approx(-5.0 + log(0.56 / 0.41))
    assert families_log_p({"past": -5.0, "concurrent": 0.0}) == pytest.approx(-5.0 + log(0.85 / 0.44) - log(0.5))
    assert families_log_p({}) == 0.0
    with pytest.raises(ValueError, match="astrology"):
        families_log_p({"astrology": -9.0})


def test_what_two_controls_see_together_counts_for_more_than_either_and_costs_no_error():
    assert families_log_p({"concurrent": -5.3, "past": -4.2}) < log(0.004)
    assert min(families_log_p({"concurrent": -5.3}), families_log_p({"past": -4.2})) > log(0.004) - 0.1
    p = np.log(np.random.default_rng(22).random((20_000, 3)))
    names = ("concurrent", "past", "silence")
    # 20,000 services at 2 %: 400 expected at most, 470 is 3.5 standard deviations beyond.
    assert sum(families_log_p(dict(zip(names, row, strict=True))) <= log(0.02) for row in p) < 470


def test_two_controls_that_see_the_same_metric_say_more_than_two_that_see_different_ones():
    named, apart = np.array([True, True, False]), np.full(3, -1)
    beside, before = np.array([-5.0, 0.0, 0.0]), np.array([-4.0, 0.0, 0.0])
    same = together_log_p(beside, before, named, apart)
    assert same < together_log_p(beside, before[::-1], named, apart)
    assert same < product_log_p(service_log_p(beside, guardrail=named), service_log_p(before, guardrail=named))
    # What only one of them can tell takes no part, unless it is the same thing told twice.
    assert together_log_p(np.array([-9.0, np.nan]), np.array([np.nan, -9.0]), named[:2], apart[:2]) == 0.0
    told_twice = together_log_p(np.array([-9.0, np.nan]), np.array([np.nan, -9.0]), named[:2], np.zeros(2, np.int64))
    assert told_twice == pytest.approx(product_log_p(-9.0, -9.0))


def test_what_two_controls_see_together_of_seven_metrics_reaches_the_level_as_often_as_it_says():
    # 4,000 services at 2 %: 80 expected at most, 112 is 3.5 standard deviations beyond.
    rng, named = np.random.default_rng(23), np.arange(7) < 3
    beside, before = np.log(rng.random((2, 4_000, 7)))
    groups = np.array([0, 0, -1, -1, 1, 1, -1])
    both = zip(beside, before, strict=True)
    assert sum(together_log_p(one, other, named, groups) <= log(0.02) for one, other in both) < 112


@given(st.floats(-1e4, 0.0), st.floats(0.0, 10.0))
def test_the_calibrator_is_finite_and_falls(log_p, less):
    assert isfinite(log_p_to_log_e(log_p))
    assert log_p_to_log_e(log_p - less) >= log_p_to_log_e(log_p) - 1e-9
    assert log_p_to_log_e(log_p) <= -log_p


def test_the_calibrator_integrates_to_one():
    # In u = ln(1/p) the integral of e du e^-u; its tail beyond u is 1/u.
    u = np.linspace(1e-6, 400.0, 400_001)
    f = np.array([exp(log_p_to_log_e(-float(x)) - float(x)) for x in u])
    assert float(((f[1:] + f[:-1]) / 2 * np.diff(u)).sum()) + 1 / 400.0 == pytest.approx(1.0, abs=1e-3)


def test_an_e_process_makes_a_p_value():
    assert log_e_to_log_p(3.0) == -3.0
    assert log_e_to_log_p(-3.0) == 0.0


class TestElond:
    def test_levels_sum_to_alpha_and_rise_with_discoveries(self):
        levels = [exp(-Elond(0.05, tested=t).log_threshold) for t in range(5000)]
        assert 0.04 < sum(levels) < 0.05
        assert exp(-Elond(0.05, 10, 3).log_threshold) == pytest.approx(4 * levels[10])

    def test_lanes_do_not_touch_each_other(self):
        lanes, found = elond({"ai": Elond(), "human": Elond()}, "ai", 50.0)
        assert found
        assert lanes == {"ai": Elond(0.05, 1, 1), "human": Elond()}

    def test_false_discoveries_stay_below_alpha(self):
        # A tenth of the changes does harm (log e = 12), the rest are calibrated uniform p-values.
        rng = np.random.default_rng(22)
        false, discovered = 0, 0
        for _ in range(20):
            lanes = {"x": Elond(0.1)}
            for _ in range(200):
                harm = rng.random() < 0.1
                lanes, found = elond(lanes, "x", 12.0 if harm else log_p_to_log_e(log(rng.random())))
                discovered += found
                false += found and not harm
        assert discovered > 200
        assert false / discovered < 0.1

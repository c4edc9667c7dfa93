"""Seasons: only finished days, the same number whatever the moment of the change, robust to one bad day."""

import numpy as np
import pytest

from detectors.season import seasons

DAY = 86_400.0


def daily(days, period=1800.0, job=10):
    y = np.zeros(int(days * DAY / period))
    y[np.arange(len(y)) % int(DAY / period) == job] = 5.0
    y[(np.arange(len(y)) % int(DAY / period) == job + 1) | (np.arange(len(y)) % int(DAY / period) == job - 1)] = 5.0
    return y


def of(y, period=1800.0, watch=10, tail=None, start=0.0):
    return seasons(
        y, period=period, end=start + period * (len(y) - 1), watch=watch, tail=len(y) if tail is None else tail
    )


def test_the_first_day_has_no_season_and_the_third_has():
    found = of(daily(3))[0]
    assert np.isnan(found[:46]).all()
    assert found[2 * 48 + 10] == 5.0
    assert found[2 * 48 + 30] == 0.0


def test_one_bad_day_of_five_changes_nothing():
    y = daily(7)
    bad = y.copy()
    bad[5 * 48 : 6 * 48] += 100.0
    assert np.array_equal(of(bad)[0, 7 * 48 :], of(y)[0, 7 * 48 :])


def test_the_week_wants_a_week():
    found = of(daily(9))
    assert np.isnan(found[1, : 7 * 48 - 1]).all()
    assert np.isfinite(found[1, 7 * 48 + 2 :]).all()


@pytest.mark.parametrize("period", [1.0, 60.0, 420.0, 1800.0, 3600.0])
def test_a_moment_has_the_same_season_whatever_the_change(period):
    rng = np.random.default_rng(4)
    n = int(2.5 * DAY / period)
    y = rng.normal(size=n)
    y[rng.random(n) < 0.1] = np.nan
    watch, start = 7, 1_700_000_123.0
    whole = of(y, period, watch, tail=30, start=start)
    for cut in (1, 5, 7):
        part = of(y[: n - cut], period, watch, tail=30 - cut, start=start)
        assert part[:, : 30 - cut + watch].tobytes() == whole[:, : 30 - cut + watch].tobytes()


def test_long_watches_look_further_back():
    y = daily(6, job=10)
    two_days = of(y, watch=96)[0]
    assert np.isnan(two_days[: 2 * 48]).all()
    assert two_days[len(y) + 48 + 10] == 5.0


@pytest.mark.parametrize("y", [np.zeros(0), np.full(500, np.nan)])
def test_nothing_known_nothing_said(y):
    assert np.isnan(of(y)).all()


def test_a_sample_a_day_has_no_daily_season():
    assert np.isnan(of(np.arange(50.0), period=DAY)).all()

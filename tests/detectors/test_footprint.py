"""Footprints of a class: odd ones and drifts are told by p-values that hold, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from math import exp, log

import numpy as np
import pytest

from detectors.footprint import LEAST, MOST, Footprints, judge


def calm(rows: int = 100, seed: int = 1, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize("rows", [0, 1, LEAST])
def test_few_footprints_say_nothing(rows: int) -> None:
    assert judge(calm(rows)) == Footprints(rows)


def test_no_numbers_say_nothing() -> None:
    assert judge(np.empty((100, 0))) == Footprints(100)


def test_an_odd_footprint_is_told_and_a_usual_one_is_not() -> None:
    odd = judge(np.vstack([calm(), np.full((1, 4), 8.0)]))
    assert odd.log_p is not None
    assert odd.log_p < log(0.05)
    usual = [judge(calm(101, seed)).log_p or 0.0 for seed in range(20)]
    assert sum(one > log(0.05) for one in usual) >= 17


def test_a_drift_is_told_when_half_of_them_moved() -> None:
    rows = calm(256)
    rows[120:, 2] += 3.0
    drift = judge(rows).drift_log_p
    assert drift is not None
    assert drift < log(0.05)


def test_both_are_right_as_often_as_they_say() -> None:
    """300 classes that leave the same footprints all the time."""
    rng = np.random.default_rng(2)
    said = [judge(rng.lognormal(size=(80, 3))) for _ in range(300)]
    for level, most in ((0.1, 45), (0.05, 27)):
        assert sum(exp(one.log_p or 0.0) <= level for one in said) <= most
        assert sum(exp(one.drift_log_p or 0.0) <= level for one in said) <= most
    assert sum(exp(one.log_p or 0.0) <= 0.1 for one in said) > 5


def test_a_score_is_never_returned_and_no_input_makes_a_number_that_is_not_one() -> None:
    rows = calm(90)
    for odd in (rows * 1e300, np.full((90, 2), 5.0), np.where(rows > 1, np.nan, rows), np.full((90, 3), np.nan)):
        said = judge(odd)
        assert said.log_p is not None and said.drift_log_p is not None
        assert -10.0 < said.log_p <= 0.0
        assert -10.0 < said.drift_log_p <= 0.0


def test_the_same_stream_says_the_same_and_only_the_newest_count() -> None:
    rows = calm(MOST + 40)
    assert judge(rows) == judge(rows.copy())
    assert judge(rows).samples == MOST
    assert judge(rows) == judge(rows[40:])


def test_river_is_imported_only_for_enough_footprints() -> None:
    program = """
import sys
import numpy as np
from detectors.footprint import judge
judge(np.zeros((10, 3)))
assert "river" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

"""The bank is what sorted lists say, online and sliding alike."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import bank
from tests.detectors.reference_own_past import bank_of

values = st.lists(st.one_of(st.integers(-2, 2).map(float), st.floats(-1e6, 1e6)), min_size=1, max_size=90)


@settings(max_examples=100, deadline=None)
@given(values)
def test_sliding_is_sorting(numbers):
    rows = bank.slide(np.array(numbers))
    for i in range(len(numbers)):
        expected = [-np.inf if v is None else v for v in bank_of(numbers[max(0, i - 29) : i + 1])]
        np.testing.assert_allclose(rows[i], expected, rtol=0.0, atol=0.0)


@settings(max_examples=100, deadline=None)
@given(values)
def test_one_by_one_is_sliding(numbers):
    ring, ten, thirty, row = np.zeros(bank.RING), np.zeros(10), np.zeros(bank.RING), np.empty(bank.COUNT)
    for seen, whole in enumerate(bank.slide(np.array(numbers))):
        bank.push(numbers[seen], seen, ring, ten, thirty, row)
        assert np.array_equal(row, whole)


@settings(max_examples=100, deadline=None)
@given(values, st.integers(1, 20))
def test_a_long_median_by_rank_is_the_short_one_by_order(numbers, length):
    numbers = np.array(numbers * 3)
    by_rank = bank.median_by_rank(numbers, np.argsort(numbers), length)
    assert np.array_equal(by_rank, bank.rolling_median(numbers, length), equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(values, st.integers(1, 20))
def test_rolling_median_is_the_median(numbers, length):
    found = bank.rolling_median(np.array(numbers), length)
    for i in range(len(numbers)):
        if i < length - 1:
            assert np.isnan(found[i])
        else:
            np.testing.assert_allclose(found[i], np.median(numbers[i - length + 1 : i + 1]), rtol=1e-12, atol=1e-12)


def test_one_outlier_moves_only_the_sharp_one():
    calm = np.zeros(40)
    spiked = calm.copy()
    spiked[35] = 100.0
    moved = bank.slide(spiked)[35:].max(axis=0) != bank.slide(calm)[35:].max(axis=0)
    assert [name for name, m in zip(bank.STATISTICS, moved, strict=True) if m] == ["b1 up"]


def test_down_is_the_mirror_of_up():
    numbers = np.random.default_rng(2).normal(size=80)
    up, down = bank.slide(numbers), bank.slide(-numbers)
    assert np.array_equal(up[:, :4], down[:, 4:8])
    assert np.array_equal(up[:, 8], down[:, 8])

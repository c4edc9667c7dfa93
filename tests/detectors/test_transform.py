"""Transforms are monotone, invertible and at home in any unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.transform import KINDS, fit

finite = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("history", "kind", "form"),
    [
        ([0.2, 0.3, 0.5], "value", "log"),
        ([-1.0, 2.0, 3.0], "value", "asinh"),
        ([100.0, 99.0, 100.0], "value", "bounded"),
        ([1.0, 0.99, 1.0], "value", "bounded"),
        ([1.0, 1.0, 1.0], "value", "log"),  # constantly 1: a latency as well as a success rate
        ([1.0, 1.0, 1.0], "bounded", "bounded"),
        ([0.0, 100.0, 0.0], "value", "log"),  # a load that touches 100
        ([0.0, 0.1], "ratio", "ratio"),
        ([], "value", "log"),
    ],
)
def test_the_form_follows_the_history(history, kind, form):
    assert fit(np.array(history), kind).form == form


def test_one_request_after_silence_is_no_event():
    counts = fit(np.array([0.0, 0.0, 1.0, 0.0]))
    rise = counts.forward(np.array([0.0, 1.0]))
    assert rise[1] - rise[0] == pytest.approx(np.log(2.0))


def test_a_failure_weighs_more_where_none_is_usual():
    success = fit(np.array([100.0, 99.9, 100.0]))
    y = success.forward(np.array([100.0, 95.0, 55.0, 50.0]))
    assert y[0] - y[1] > 5.0 * (y[2] - y[3])


def test_infinite_is_missing():
    assert np.isnan(fit(np.array([1.0, 2.0])).forward(np.array([np.inf, -np.inf, np.nan]))).all()


@settings(max_examples=200, deadline=None)
@given(st.lists(finite, max_size=30), st.lists(finite, min_size=2, max_size=30), st.sampled_from(KINDS))
def test_larger_stays_larger_and_comes_back(history, values, kind):
    transform = fit(np.array(history, dtype=float), kind)
    values = np.sort(np.array(values))
    y = transform.forward(values)
    assert np.all(np.isfinite(y))
    assert np.all(np.diff(y) >= 0.0)
    again = transform.inverse(y)
    within = values <= transform.top if transform.form == "bounded" else np.full(len(values), True)
    np.testing.assert_allclose(again[within], values[within], rtol=1e-6, atol=1e-6 * max(1.0, transform.unit))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of value, ratio"):
        fit(np.zeros(3), "colour")

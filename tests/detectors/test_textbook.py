"""The own past, fast, is the textbook, slow: on series that nobody would think of, to nine digits."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.own_past import calibrate
from tests.detectors import reference_own_past as reference

HALF_AN_HOUR, END, WATCH = 1_800.0, 1_700_000_000.0, 15


@st.composite
def series(draw: st.DrawFn) -> np.ndarray:
    """Noise with ties, gaps, jumps, a daily job and a trend, each or none of them, of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(100, 260)) + WATCH
    values = rng.lognormal(draw(st.sampled_from([-8.0, 0.0, 3.0])), draw(st.sampled_from([0.01, 0.1, 1.0])), rows)
    if draw(st.booleans()):
        values[np.arange(rows) % 48 == 10] *= draw(st.sampled_from([0.0, 3.0]))
    for _ in range(draw(st.integers(0, 3))):
        start = int(rng.integers(rows))
        values[start : start + int(rng.integers(1, 30))] *= rng.lognormal(0.0, 1.0)
    if draw(st.booleans()):
        values *= np.linspace(1.0, draw(st.sampled_from([0.5, 2.0])), rows)
    if draw(st.booleans()):
        values = values - float(np.median(values))
    if draw(st.booleans()):
        values = np.round(values, draw(st.integers(0, 1)))
    values[rng.random(rows) < draw(st.sampled_from([0.0, 0.05, 0.3]))] = np.nan
    return values


@given(values=series(), watched=st.booleans(), kind=st.sampled_from(["value", "count", "ratio", "bounded"]))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_the_fast_path_is_the_textbook_on_anything(values: np.ndarray, watched: bool, kind: str) -> None:
    history, future = values[:-WATCH], values[-WATCH:]
    usable = np.ones(len(history), dtype=bool)
    if watched:
        usable[40:70] = False
    found = calibrate(history, period=HALF_AN_HOUR, end=END, watch=WATCH, usable=usable, kind=kind)
    if not found.ready:
        return
    slow = reference.log_p(history, future, period=HALF_AN_HOUR, end=END, usable=usable, kind=kind)
    np.testing.assert_allclose(found.start().update(future).log_p, slow, rtol=1e-9, atol=1e-9)

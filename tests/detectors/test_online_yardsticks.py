"""The compiled yardsticks are those that array expressions give."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import bank, online_row, shadow
from detectors.online_past import OnlinePast
from detectors.online_yardsticks import yardsticks
from tests.detectors import reference_yardsticks as reference

STEP_MS = 60_000


@pytest.mark.parametrize("watch", [3, 12, 30, 60, 600])
@pytest.mark.parametrize("shape", ["steady", "off", "jumps", "young", "watched"])
def test_they_equal_array_expressions(watch: int, shape: str) -> None:
    rng = np.random.default_rng(watch)
    count = 150 if shape == "young" else 3_000
    values = rng.lognormal(3.0, 0.2, count)
    if shape == "off":
        values[count // 2 : count - 200] = 0.0
    if shape == "jumps":
        values[rng.random(count) < 0.01] *= 5.0
        values[-8:] *= 4.0
    past = OnlinePast(1)
    times = 1_700_000_000_000 + STEP_MS * np.arange(count)
    if shape == "watched":
        past.update(np.zeros(count // 2, np.int64), times[: count // 2], values[: count // 2])
        past.watch([0])
    past.update(np.zeros(count, np.int64), times, values)
    words, small, _, _ = past._row(0)
    levels, sigmas = np.full(shadow.BASELINES, np.nan), np.zeros(shadow.BASELINES)
    levels[:3], sigmas[:6] = [3.0, 3.1, 2.9], rng.random(6)
    for active in ((0, 1, 2, 3), tuple(range(bank.COUNT))):
        said = words, small, watch, levels, sigmas, 0.05, active, shadow.PRICES
        found, expected = list(yardsticks(*said)), list(reference.yardsticks(*said))
        assert expected
        assert [one.window for one in found] == [one.window for one in expected]
        for mine, theirs in zip(found, expected, strict=True):
            for name in ("baseline", "level", "excursion", "disjoint", "tail", "surprises", "price", "share"):
                np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-9, atol=0.0)


def test_a_row_without_shadows_has_none() -> None:
    words, small = np.zeros(online_row.WORDS, np.int16), np.zeros(online_row.BYTES, np.uint8)
    nothing = np.zeros(shadow.BASELINES)
    assert not list(yardsticks(words, small, 60, nothing, nothing, 0.05, (0,), shadow.PRICES))

"""Shares with intervals: exact, and wider where the cases of a service go together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.backtest.proportion import exact, rate


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 100, 0.0164, 0.1128), (10, 10, 0.6915, 1.0), (0, 0, 0.0, 1.0)],
)
def test_the_exact_interval_is_that_of_the_tables(hits: int, of: int, low: float, high: float) -> None:
    assert exact(hits, of) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 3_000), st.data())
def test_the_interval_holds_the_share_and_shrinks_with_more_cases(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    low, high = exact(hits, of)
    assert 0.0 <= low <= hits / of <= high <= 1.0
    narrow = exact(4 * hits, 4 * of)
    assert narrow[1] - narrow[0] <= high - low


def test_freezes_of_one_service_that_come_together_make_the_interval_wider() -> None:
    spread = rate({f"s{i}": (1, 100) for i in range(20)})
    together = rate({f"s{i}": (20 if i == 0 else 0, 100) for i in range(20)})
    assert (
        (spread.hits, spread.of, spread.per_1000) == (together.hits, together.of, together.per_1000) == (20, 2_000, 10)
    )
    assert together.high > 1.5 * spread.high
    assert together.low == 0.0


def test_the_order_of_the_services_changes_nothing_and_nothing_has_no_rate() -> None:
    groups = {f"s{i}": (i % 3, 50) for i in range(9)}
    assert rate(groups) == rate(dict(reversed(groups.items())))
    nothing = rate({})
    assert (nothing.per_1000, nothing.low, nothing.high) == (None, 0.0, 1_000.0)

"""Gaps in 32 bytes judge silence as all gaps would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.online_gaps import SPELL, OnlineGaps
from detectors.silence import gap_log_p

FEW = st.lists(st.integers(1, 60), max_size=300)


def learned(*parts: list[int]) -> OnlineGaps:
    gaps = OnlineGaps()
    for part in parts:
        gaps.update(0, np.array(part, np.int64))
    return gaps


@given(FEW, st.integers(0, 300), st.integers(1, 90))
def test_silence_is_judged_as_by_all_gaps_however_they_were_cut(told: list[int], cut: int, away: int) -> None:
    whole = np.array(told, np.float64)
    for gaps in (learned(told), learned(told[:cut], told[cut:])):
        mine, theirs = gap_log_p(gaps.of(0), away, 1.0), gap_log_p(whole, away, 1.0)
        assert mine.log_p == pytest.approx(theirs.log_p)
        assert mine.samples == theirs.samples


def test_what_is_older_than_two_spells_is_forgotten() -> None:
    gaps = learned([50], [1] * SPELL)
    assert gaps.of(0).max() == 50.0
    gaps.update(0, np.ones(SPELL, np.int64))
    assert gaps.of(0).max() == 1.0
    assert SPELL < len(gaps.of(0)) <= 2 * SPELL


def test_rows_know_nothing_of_each_other_and_a_copy_goes_its_own_way() -> None:
    gaps = learned([1, 2, 3])
    gaps.update(9, np.array([7]))
    copy = gaps.fork(np.array([0]))
    copy.update(0, np.array([40]))
    assert sorted(gaps.of(0)) == [1.0, 2.0, 3.0]
    assert sorted(copy.of(0)) == [1.0, 2.0, 3.0, 40.0]
    gaps.reset(0)
    assert len(gaps.of(0)) == 0
    assert gaps.of(9).tolist() == [7.0]
    assert gaps.row_bytes == 32

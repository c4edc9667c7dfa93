"""The safe 2x2 test: right at every look, in any order of harm, and equal to a slow textbook."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import comb, exp, inf, log

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.two_by_two import (
    Block,
    Rate,
    TwoByTwo,
    Unused,
    _gains,
    answered,
    difference_interval,
    next_block,
    oldest,
    rate_interval,
    staked,
)
from tests.detectors.reference_two_by_two import EXCESS, Textbook, block_e

rates = st.floats(0.001, 0.9)


class Follower:
    """One class in a stream, with the product's functions; its stake is the same after each of its harms."""

    def __init__(self, stake: float) -> None:
        self.stake, self.state, self.unused, self.rate = stake, TwoByTwo(), Unused(), Rate()
        self.own: list[bool] = []
        self.harm: list[bool] = []
        self.staked = 0.0
        self.peak = -inf

    def take(self, own: bool, harmful: bool) -> None:
        if own:
            if self.state.asked:
                block, self.unused = next_block(
                    self.unused, len(self.own), lambda i: not self.own[i], lambda i: self.harm[i]
                )
                self.state = answered(self.state, harmful, block, self.rate.value)
                self.peak = max(self.peak, self.state.log_e - self.state.log_bar)
            if harmful:
                self.state = staked(self.state, self.stake)
                self.staked += self.stake
        before = oldest(len(self.own))
        self.own.append(own)
        self.harm.append(harmful)
        for i in range(before, oldest(len(self.own))):
            self.rate = self.rate.after(self.harm[i])


def follow(own: Sequence[bool], harmful: Sequence[bool], stake: float = 0.002) -> Follower:
    one = Follower(stake)
    for pair in zip(own, harmful, strict=True):
        one.take(*pair)
    return one


@settings(max_examples=60)
@given(rates, st.floats(0.001, 0.5), st.integers(1, 12), st.integers(0, 2))
def test_a_block_has_mean_at_most_one_while_the_class_is_no_worse(true: float, base: float, n: int, which: int) -> None:
    """Summed over every outcome there can be: at equal rates, and at a lower one of the class."""
    for own_rate in (true, 0.5 * true):
        mean = 0.0
        for own, k in product((False, True), range(n + 1)):
            chance = (own_rate if own else 1 - own_rate) * comb(n, k) * true**k * (1 - true) ** (n - k)
            mean += chance * exp(_gains(own, n, k, base)[which])
        assert mean <= 1.0 + 1e-9


@given(st.booleans(), st.lists(st.booleans(), min_size=1, max_size=20), st.floats(0.001, 0.5))
def test_a_block_is_the_ratio_of_likelihoods(own: bool, others: list[bool], base: float) -> None:
    for excess, gain in zip(EXCESS, _gains(own, len(others), sum(others), base), strict=True):
        assert exp(gain) == pytest.approx(block_e(base + (1 - base) * excess, base, own, others), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=120), st.integers(0, 2**32), st.floats(0.02, 0.5))
def test_it_equals_the_textbook(opening: list[tuple[bool, bool]], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    rest = zip(rng.random(300) < share, rng.random(300) < 0.05, strict=True)
    slow, fast = Textbook(0.002), Follower(0.002)
    for own, harmful in [*opening, *((bool(a), bool(b)) for a, b in rest)]:
        slow.take(own, harmful)
        fast.take(own, harmful)
        assert fast.state.stake == pytest.approx(slow.stakes, rel=1e-9)
        if slow.stakes:
            assert exp(fast.state.log_e) == pytest.approx(sum(slow.wealth) / slow.stakes, rel=1e-9)


@pytest.mark.parametrize(("share", "rate", "stake"), [(0.05, 0.02, 0.2), (0.3, 0.1, 0.005), (0.6, 0.3, 0.001)])
def test_wealth_crosses_no_more_often_than_its_stakes_allow(share: float, rate: float, stake: float) -> None:
    """60 streams of 1,500 changes each, a look after each: 90,000 looks at an excess that is not there."""
    rng = np.random.default_rng(7)
    crossings, stakes = 0, 0.0
    for _ in range(60):
        one = follow((rng.random(1500) < share).tolist(), (rng.random(1500) < rate).tolist(), stake)
        crossings += one.peak >= 0.0
        stakes += one.staked
    assert 8.0 < stakes < 30.0
    assert crossings <= stakes


def test_a_class_with_fewer_harms_than_the_rest_is_never_accused() -> None:
    rng = np.random.default_rng(8)
    for _ in range(10):
        own = rng.random(2000) < 0.3
        harmful = rng.random(2000) < np.where(own, 0.02, 0.15)
        assert follow(own.tolist(), harmful.tolist(), stake=0.05).peak < 0.0


def test_harms_in_a_row_find_their_control_and_so_do_harms_with_others_between() -> None:
    calm = [(False, i % 100 == 50) for i in range(600)]
    for bad in ([(True, True)] * 5, [(True, True), (False, False), (False, True), (True, True)] * 3):
        one = Follower(0.002)
        for own, harmful in [*calm, *bad]:
            one.take(own, harmful)
        assert one.state.crossed


def test_a_thousand_good_changes_do_not_hide_a_release_that_turned_bad() -> None:
    rng = np.random.default_rng(9)
    own = rng.random(3000) < 0.1
    harmful = rng.random(3000) < np.where(own & (np.arange(3000) >= 2600), 0.4, 0.01)
    one = Follower(0.001)
    for i in range(3000):
        one.take(bool(own[i]), bool(harmful[i]))
        if one.state.crossed:
            break
    assert i >= 2600
    assert sum(harmful[2600 : i + 1] & own[2600 : i + 1]) <= 8


def test_what_everybody_suffers_is_no_excess_of_one_class() -> None:
    rng = np.random.default_rng(10)
    crossed = 0
    for _ in range(30):
        own = rng.random(1400) < 0.4
        harmful = rng.random(1400) < np.where(np.arange(1400) < 1200, 0.01, 0.25)
        crossed += follow(own.tolist(), harmful.tolist(), stake=0.0004).peak >= 0.0
    assert crossed <= 6


def test_nothing_is_asked_before_a_harm_and_evidence_fades_without_more() -> None:
    assert not follow([True, False] * 300, [False] * 600).state.asked
    harmful = [False] * 600
    harmful[300] = True
    rest_harm = [i % 20 == 1 for i in range(600)]
    one = follow([True, False] * 300, [a or b for a, b in zip(harmful, rest_harm, strict=True)])
    assert not one.state.asked


def test_no_outcome_of_the_rest_is_in_two_blocks() -> None:
    rng = np.random.default_rng(11)
    own = (rng.random(800) < 0.2).tolist()
    asked: list[int] = []
    seen: set[int] = set()
    unused = Unused()

    def harmful(number: int) -> bool:
        asked.append(number)
        return False

    for known in range(800):
        if own[known]:
            asked.clear()
            block, unused = next_block(unused, known, lambda i: not own[i], harmful)
            taken = set(asked[: block.n])
            assert not taken & seen
            assert all(oldest(known) <= i < known and not own[i] for i in taken)
            seen |= taken
    assert len(seen) > 300


def test_the_state_is_a_few_plain_numbers() -> None:
    state = answered(staked(TwoByTwo(), 0.01), True, Block(30, 0), 0.01)
    assert msgspec.json.decode(msgspec.json.encode(state), type=TwoByTwo) == state
    assert staked(TwoByTwo(), 0.0) == TwoByTwo()
    assert answered(TwoByTwo(), True, Block(30, 0), 0.01) == TwoByTwo()
    assert TwoByTwo().log_bar == inf


@given(st.lists(st.booleans(), max_size=3000))
def test_the_usual_rate_stays_between_zero_and_one(outcomes: list[bool]) -> None:
    rate = Rate()
    for harmful in outcomes:
        rate = rate.after(harmful)
    assert 0.0 < rate.value < 1.0


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_an_interval_covers_at_every_look_at_once(rate: float) -> None:
    rng = np.random.default_rng(12)
    missed = 0
    for _ in range(200):
        counts = np.cumsum(rng.random(400) < rate)
        missed += any(
            not low <= rate <= high
            for n in (*range(1, 40), *range(40, 401, 20))
            for low, high in (rate_interval(int(counts[n - 1]), n, 0.1),)
        )
    assert missed <= 20


@given(st.integers(0, 300), st.integers(0, 300))
def test_an_interval_holds_the_share_seen_and_turns_with_its_question(k: int, extra: int) -> None:
    n = k + extra
    low, high = rate_interval(k, n)
    assert 0.0 <= low <= (k / n if n else 0.0) <= high <= 1.0
    assert rate_interval(extra, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_a_difference_is_told_when_there_is_one() -> None:
    assert difference_interval(12, 20, 3, 400)[0] > 0.1
    low, high = difference_interval(0, 3, 3, 400)
    assert low < 0.0 < high
    assert difference_interval(0, 0, 0, 0) == (-1.0, 1.0)
    assert rate_interval(1, 2, 0.05)[0] < exp(log(0.5))

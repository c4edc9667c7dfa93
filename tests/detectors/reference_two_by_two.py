"""The 2x2 test as a textbook has it: plain likelihoods, wealth instead of its logarithm, every outcome kept."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

EXCESS, PRIOR = (0.1, 0.3, 0.6), (0.25, 0.5, 0.25)


def likelihood(rate: float, outcomes: Sequence[bool]) -> float:
    result = 1.0
    for harmful in outcomes:
        result *= rate if harmful else 1.0 - rate
    return result


def block_e(worse: float, base: float, own: bool, others: Sequence[bool]) -> float:
    """S of one block: alternative over the null that is nearest to it."""
    mean = (worse + len(others) * base) / (1 + len(others))
    top = likelihood(worse, [own]) * likelihood(base, others)
    return top / likelihood(mean, [own, *others])


class Textbook:
    """One class in a stream of (of the class, harmful), staking `stake` after each of its harmful changes."""

    def __init__(self, stake: float) -> None:
        self.stake = stake
        self.stream: list[tuple[bool, bool]] = []
        self.used: set[int] = set()
        self.stakes = 0.0
        self.wealth = [0.0] * len(EXCESS)

    def base(self) -> float:
        harmful, changes = 0.5, 50.0
        for _, harm in self.stream[: self.floor]:
            harmful = 0.998 * harmful + 0.002 * 0.5 + harm
            changes = 0.998 * changes + 0.002 * 50.0 + 1.0
        return harmful / changes

    @property
    def floor(self) -> int:
        return max(len(self.stream) - 1024, len(self.stream) // 2)

    def take(self, own: bool, harmful: bool) -> None:
        if own:
            known = range(self.floor, len(self.stream))
            others = [i for i in known if not self.stream[i][0]]
            if self.stakes > 0.0:
                stock = [i for i in others if i not in self.used]
                block = stock[-max(1, len(stock) // 12) :]
                if block:
                    # What lies behind the block is given up, so that one number says what is left.
                    self.used |= set(range(block[0], len(self.stream)))
                    self.bet(harmful, [self.stream[i][1] for i in block], [self.stream[i][1] for i in others[-50:]])
            if harmful:
                self.stakes += self.stake
                self.wealth = [w + self.stake * p for w, p in zip(self.wealth, PRIOR, strict=True)]
        self.stream.append((own, harmful))

    def bet(self, harmful: bool, block: Sequence[bool], newest: Sequence[bool]) -> None:
        base = self.base()
        usual = base * len(newest)
        wave = sum(newest) > usual + 2.0 * sqrt(usual) + 1.0
        now = (sum(newest) + 0.5) / (len(newest) + 1.0)
        for i, excess in enumerate(EXCESS):
            e = block_e(base + (1.0 - base) * excess, base, harmful, block)
            if wave:
                e = min(e, block_e(now + (1.0 - now) * excess, now, harmful, newest))
            self.wealth[i] *= e
        if sum(self.wealth) < 0.05 * self.stakes:
            self.stakes, self.wealth = 0.0, [0.0] * len(EXCESS)
        elif sum(self.wealth) > 100.0:
            self.wealth = [100.0 * w / sum(self.wealth) for w in self.wealth]

"""Is the harm rate of one class of changes above that of the others? A safe 2x2 test, valid at every look.

One block is the outcome of a change of the class beside outcomes of ``n`` others, ``k`` of them harmful. With
alternatives θ₁ > θ₀ for class and rest, and θ the mean over the block, θ = (θ₁ + n θ₀) / (1 + n),

    S = p(θ₁) / p(θ) for the class's change times, for each of the others, p(θ₀) / p(θ),   p(θ) = θ or 1 - θ,

has mean at most 1 whenever the true rate of the class is at or below that of the rest (Turner, Ly & Grünwald, *Generic
e-variables for exact sequential k-sample tests*, 2024, theorem 1). At a common rate r the factors have means 1 + δ₁ and
1 + δ₀ with δᵢ = (r - θ)(θᵢ - θ) / (θ (1 - θ)) and δ₁ + n δ₀ = 0, so (1 + δ₁)(1 + δ₀)ⁿ ≤ 1 by the means of arithmetic
and geometry; a lower rate of the class or a higher one of the rest lowers the product, as θ₁ > θ > θ₀.

* **Any order of harm.** Which outcomes make a block depends on how many of each group there were, never on what they
  were (`Unused`), each outcome is in one block at most, and θ₀ is learnt from outcomes that no later block holds. So
  S has mean at most 1 given what was used before, and products of S are an e-process. It need not be one of the
  stream as it came: outcomes of the rest wait unlooked-at, which is why five harms in a row find their control.
* **Any moment.** A release may turn bad after a thousand good ones. So wealth is not one product from the beginning:
  after every harmful change of the class `staked` adds a stake and the changes after it bet with it (Shiryaev–Roberts:
  Shin, Ramdas & Rinaldo, *E-detectors*, 2024). Wealth minus all stakes so far is a supermartingale, so by Ville the
  chance that wealth ever reaches 1 is at most the sum of the stakes, over any number of classes together: a budget of
  stakes of α a day means at most α false accusations a day, however many classes and looks. The stake may depend on
  the class's own outcomes and on when changes start, not on outcomes of the rest.
* **Waves.** Where the rest itself is far above its usual rate, a block counts no more than its newest outcomes alone
  would make it. Less is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, lgamma, log, log1p, sqrt

EXCESS = (0.1, 0.3, 0.6)
"""Harm rates of the class beyond the rest's that wealth is spread over, as shares of what the rest leaves healthy."""
PRIOR = (0.25, 0.5, 0.25)
"""How it is spread. What is published on classes of changes is observational: nothing stronger is known beforehand."""
BASE = (0.5, 50.0)
"""Harmful and all outcomes taken to have been seen of the rest before any was."""
MEMORY = 0.998
"""What an outcome of the rest still weighs in its rate after one more."""
STOCK = 1_024
"""Outcomes kept for blocks; the older half of them while there are fewer than twice as many teaches the rest's rate."""
PART = 12
"""A block takes one such part of what is in stock, and not everything: the next change of the class needs a control."""
NEWEST = 50
"""Outcomes of the rest that show whether a wave goes through everybody."""
FADED = log(0.05)
"""A class whose wealth has come down to this part of its stakes is no longer asked about; giving up wealth is free."""
CEILING = log(100.0)
"""Wealth does not grow beyond this, so that a class that became good again is not held to its past for ever."""


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """What a class brings along: the stakes so far, and the log wealth of each excess; nothing is asked at stake 0."""

    stake: float = 0.0
    log_wealth: tuple[float, ...] = ()

    @property
    def asked(self) -> bool:
        return self.stake > 0.0

    @property
    def log_e(self) -> float:
        """The evidence so far, ln of wealth over stakes: an e-value at every look."""
        return _log_sum(self.log_wealth) - log(self.stake) if self.asked else 0.0

    @property
    def log_bar(self) -> float:
        """What `log_e` must reach for an accusation, ln 1/stakes."""
        return -log(self.stake) if self.asked else inf

    @property
    def crossed(self) -> bool:
        return self.asked and self.log_e >= self.log_bar


def staked(state: TwoByTwo, stake: float) -> TwoByTwo:
    """Add a stake (a share of the error rate): to be called after an outcome, for the outcomes after it."""
    if not stake > 0.0:
        return state
    before = state.log_wealth or (-inf,) * len(EXCESS)
    wealth = tuple(_log_add(log(stake * prior), w) for prior, w in zip(PRIOR, before, strict=True))
    return TwoByTwo(state.stake + stake, wealth)


@dataclass(frozen=True, slots=True)
class Block:
    """The rest's part of a block: ``n`` outcomes, ``k`` harmful, and the same of the newest outcomes of the rest."""

    n: int
    k: int
    newest_n: int = 0
    newest_k: int = 0


def answered(state: TwoByTwo, harmful: bool, block: Block, base: float) -> TwoByTwo:
    """Bet on the outcome of one change of the class beside ``block``; ``base`` is the rest's rate as known before.

    >>> state = staked(TwoByTwo(), 0.001)
    >>> for harmful in (True, False, False, True):
    ...     state = answered(state, harmful, Block(n=60, k=1), base=0.01)
    >>> round(state.log_e, 1), round(state.log_bar, 1), state.crossed
    (4.7, 6.9, False)
    >>> answered(state, True, Block(n=60, k=1), base=0.01).crossed
    True
    """
    if not state.asked or block.n < 1:
        return state
    gains = _gains(harmful, block.n, block.k, base)
    usual = base * block.newest_n
    if block.newest_k > usual + 2.0 * sqrt(usual) + 1.0:
        now = (block.newest_k + BASE[0]) / (block.newest_n + 2.0 * BASE[0])
        alone = _gains(harmful, block.newest_n, block.newest_k, now)
        gains = tuple(min(pair) for pair in zip(gains, alone, strict=True))
    wealth = tuple(w + gain for w, gain in zip(state.log_wealth, gains, strict=True))
    total = _log_sum(wealth)
    if total < log(state.stake) + FADED:
        return TwoByTwo()
    over = max(0.0, total - CEILING)
    return replace(state, log_wealth=tuple(w - over for w in wealth))


def _gains(harmful: bool, n: int, k: int, base: float) -> tuple[float, ...]:
    """ln S of a block for each excess."""
    gains = []
    for excess in EXCESS:
        worse = base + (1.0 - base) * excess
        mean = (worse + n * base) / (1.0 + n)
        own = log(worse / mean) if harmful else log1p(-worse) - log1p(-mean)
        gains.append(own + k * log(base / mean) + (n - k) * (log1p(-base) - log1p(-mean)))
    return tuple(gains)


@dataclass(frozen=True, slots=True)
class Unused:
    """Which outcomes, numbered from 0 in the order in which they became known, a class has not yet used as control.

    ``spans`` are half-open and ascending; every number from ``seen`` on is unused.
    """

    spans: tuple[tuple[int, int], ...] = ()
    seen: int = 0


def oldest(known: int) -> int:
    """The first outcome of the stock when ``known`` outcomes are known; those before it teach the rest's rate.

    >>> oldest(0), oldest(100), oldest(5000)
    (0, 50, 3976)
    """
    return max(known - STOCK, known // 2)


def next_block(
    unused: Unused, known: int, of_rest: Callable[[int], bool], harmful: Callable[[int], bool]
) -> tuple[Block, Unused]:
    """The block for the outcome numbered ``known``: the newest unused outcomes of the rest, one part of the stock.

    The size and the members follow from which changes were of the class alone.
    """
    floor = oldest(known)
    spans = [(max(a, floor), b) for a, b in unused.spans if b > floor]
    begin = max(unused.seen, floor)
    if spans and spans[-1][1] >= begin:
        spans[-1] = (spans[-1][0], known)
    elif begin < known:
        spans.append((begin, known))
    stock = [i for a, b in spans for i in range(a, b) if of_rest(i)]
    taken = stock[-max(1, len(stock) // PART) :]
    newest: list[int] = []
    for i in range(known - 1, floor - 1, -1):
        if len(newest) == NEWEST:
            break
        if of_rest(i):
            newest.append(i)
    block = Block(len(taken), sum(map(harmful, taken)), len(newest), sum(map(harmful, newest)))
    cut = taken[0] if taken else known
    return block, Unused(tuple((a, min(b, cut)) for a, b in spans if a < cut), known + 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """The usual share of harmful changes, learnt from outcomes that left the stock; old ones fade."""

    harmful: float = BASE[0]
    changes: float = BASE[1]

    @property
    def value(self) -> float:
        return self.harmful / self.changes

    def after(self, harmful: bool) -> Rate:
        # What was taken to have been seen fades too, so the smallest rate stays above zero by one more of it.
        return Rate(
            MEMORY * self.harmful + (1.0 - MEMORY) * BASE[0] + harmful,
            MEMORY * self.changes + (1.0 - MEMORY) * BASE[1] + 1.0,
        )


def rate_interval(harmful: int, changes: int, alpha: float = 0.05) -> tuple[float, float]:
    """Where a harm rate is, with probability 1 - ``alpha`` at all looks together: a confidence sequence.

    The rates at which the e-process B(½ + k, ½ + n - k) / (B(½, ½) θᵏ (1 - θ)ⁿ⁻ᵏ) stays below 1/α (Robbins,
    *Statistical methods related to the law of the iterated logarithm*, Ann. Math. Stat. 1970).

    >>> [round(edge, 3) for edge in rate_interval(5, 14)]
    [0.074, 0.742]
    >>> rate_interval(0, 0)
    (0.0, 1.0)
    """
    if changes < 1:
        return 0.0, 1.0
    mixture = _log_beta(0.5 + harmful, 0.5 + changes - harmful) - _log_beta(0.5, 0.5)

    def rejected(rate: float) -> bool:
        likelihood = (harmful * log(rate) if harmful else 0.0) + (
            (changes - harmful) * log1p(-rate) if changes > harmful else 0.0
        )
        return mixture - likelihood >= -log(alpha)

    best = harmful / changes
    low = 0.0 if harmful == 0 else _edge(rejected, 0.0, best)
    high = 1.0 if harmful == changes else _edge(rejected, 1.0, best)
    return low, high


def difference_interval(
    harmful: int, changes: int, rest_harmful: int, rest: int, alpha: float = 0.05
) -> tuple[float, float]:
    """Where the class's harm rate minus the rest's is, at all looks together: each rate at half of ``alpha``.

    >>> low, high = difference_interval(5, 14, 3, 300)
    >>> round(low, 3), round(high, 3)
    (0.016, 0.765)
    """
    low, high = rate_interval(harmful, changes, alpha / 2.0)
    rest_low, rest_high = rate_interval(rest_harmful, rest, alpha / 2.0)
    return low - rest_high, high - rest_low


def _edge(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """The last rejected rate on the way from ``outside`` to ``inside``, by halving."""
    for _ in range(60):
        middle = 0.5 * (outside + inside)
        if middle in (outside, inside):
            break
        if 0.0 < middle < 1.0 and not rejected(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_add(a: float, b: float) -> float:
    top, low = max(a, b), min(a, b)
    return top if low == -inf else top + log1p(exp(low - top))


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs, default=-inf)
    return top if top == -inf else top + log(sum(exp(one - top) for one in logs))

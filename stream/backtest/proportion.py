"""A share with its 95 % interval: exact binomial, or wider where the cases of one service go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import lgamma, log, log1p

import msgspec
import numpy as np

_TAIL = 0.025
_DRAWS = 4_000
_SEED = 20_261_121


class Rate(msgspec.Struct, frozen=True):
    """`hits` of `of`, per thousand, between `low` and `high` per thousand with 95 % confidence."""

    hits: int
    of: int
    per_1000: float | None
    low: float
    high: float


def exact(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0 to 1 (Clopper & Pearson, Biometrika 1934).

    >>> [round(end, 4) for end in exact(0, 1000)], [round(end, 3) for end in exact(5, 10)]
    ([0.0, 0.0037], [0.187, 0.813])
    >>> exact(0, 0)
    (0.0, 1.0)
    """
    if not of:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else _root(lambda fewer: 1.0 - fewer - _TAIL, hits - 1, of)
    high = 1.0 if hits == of else _root(lambda at_most: _TAIL - at_most, hits, of)
    return low, high


def rate(groups: Mapping[str, tuple[int, int]]) -> Rate:
    """The rate over groups (services) of `hits, of` each: the wider of exact and of drawing whole groups again.

    False alarms of one service come together, so that a thousand cases of three services are not a thousand.

    >>> rate({"cart": (1, 500), "checkout": (0, 500)})
    Rate(hits=1, of=1000, per_1000=1.0, low=0.0, high=5.6)
    """
    table = np.array([groups[name] for name in sorted(groups)], np.float64).reshape(-1, 2)
    hits, of = (int(total) for total in table.sum(axis=0))
    low, high = exact(hits, of)
    table = table[table[:, 1] > 0]
    if hits and len(table) > 1:
        drawn = table[np.random.default_rng(_SEED).integers(len(table), size=(_DRAWS, len(table)))].sum(axis=1)
        ends = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return Rate(hits, of, round(1_000 * hits / of, 2) if of else None, round(1_000 * low, 1), round(1_000 * high, 1))


def _root(rising: Callable[[float], float], hits: int, of: int) -> float:
    """The share p at which `rising`, of the chance of at most `hits` of `of`, is zero; it rises with p."""
    k = np.arange(hits + 1)
    ways = np.array([lgamma(of + 1) - lgamma(i + 1) - lgamma(of - i + 1) for i in k.tolist()])
    low, high = 0.0, 1.0
    for _ in range(60):
        p = 0.5 * (low + high)
        if not 0.0 < p < 1.0:
            break
        at_most = min(1.0, float(np.exp(ways + k * log(p) + (of - k) * log1p(-p)).sum()))
        low, high = (p, high) if rising(at_most) < 0.0 else (low, p)
    return 0.5 * (low + high)

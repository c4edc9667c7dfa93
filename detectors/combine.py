"""From many p-values to one, and from p-values to e-values: all in natural logarithms, so nothing overflows.

* Over the metrics of a service: one metric far out, or two out together, p = 2 min(M p₁, M(M-1)/2 p₂²), with weights.
  The first term is Bonferroni's and holds under any dependence; the second takes the two for independent, which is no
  theorem but was measured (placebo rates of 19 metrics together).
* Over families of evidence: weighted Bonferroni, min pᵢ/wᵢ.
* Over changes: e-LOND, which needs true e-values. A p-value is none: the calibrator below makes one of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp, inf, log, log1p

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GUARDRAIL_SHARE = 0.8
"""Part of the error rate that the metrics named in the policy carry, where there are any; the rest share the rest."""
FAMILIES: Mapping[str, float] = {"concurrent": 0.41, "past": 0.44, "silence": 0.15}
"""Shares of the error rate. The own past of the whole service is what its callers see: on real canaries the earliest
witness, and most misses lay where it had too little weight; the ratio of the two was chosen on the even seeds of
``bench.minute_canaries``. Silence gets what it needs to be seen within five samples where one in a hundred is lost
anyway (``bench.silence``), and no more: it grows fast. So what the concurrent control would have carried goes to the
past alone where there is no such control: 0.85 of the rate."""

ALONE, ALONE_PAST = 0.5, 0.3
"""Share of one metric far out beside two out together; against the past chance has one metric wander more often."""

TOGETHER = 0.5
"""Part of the error rate that concurrent control and own past carry together, where both speak."""


def service_log_p(
    log_p: Floats,
    weights: Floats | None = None,
    guardrail: NDArray[np.bool_] | None = None,
    groups: NDArray[np.int64] | None = None,
    both: float = 2.0,
    alone: float = ALONE,
) -> float:
    """Combine the log p-values of a service's metrics, float64[M]; NaN is a metric with nothing to say yet.

    Metrics with the same number in ``groups`` (quantiles of one latency) are one metric; -1 stands alone. ``both`` is
    the power of p to which two together count: 2 for independent ones, 1 for two that are always ill at once;
    ``alone`` is the share of the error rate that one far out carries.

    >>> round(exp(service_log_p(np.log([1e-4, 0.5, 0.5, 0.5]))), 6)  # one far out: 2 * 4 * p
    0.0008
    >>> round(exp(service_log_p(np.log([0.005, 0.005, 0.5, 0.5]))), 6)  # two together: 2 * 6 * p**2
    0.0003
    >>> named = np.array([True, False, False, False])
    >>> round(exp(service_log_p(np.log([1e-4, 0.5, 0.5, 0.5]), guardrail=named)), 6)
    0.000125
    """
    p = np.minimum(np.asarray(log_p, dtype=np.float64), 0.0)
    w = np.ones(p.size) if weights is None else np.asarray(weights, dtype=np.float64)
    named = np.zeros(p.size, dtype=bool) if guardrail is None else np.asarray(guardrail, dtype=bool)
    group = np.full(p.size, -1) if groups is None else np.asarray(groups)
    if not p.size == w.size == named.size == group.size:
        raise ValueError(
            f"weights {w.size}, guardrail {named.size} and groups {group.size} must be as many as {p.size}"
        )
    parts: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
    for same in _metrics(~np.isnan(p) & (w > 0), group):
        part = parts[0 if named[same].any() else 1]
        part[0].append(_simes(p[same]))
        part[1].append(float(w[same].max()))
    if not parts[0][0] or not parts[1][0]:
        return min((_one_or_two(*part, both, alone) for part in parts if part[0]), default=0.0)
    return min(
        0.0,
        _one_or_two(*parts[0], both, alone) - log(GUARDRAIL_SHARE),
        _one_or_two(*parts[1], both, alone) - log1p(-GUARDRAIL_SHARE),
    )


def together_log_p(
    concurrent: Floats, past: Floats, guardrail: NDArray[np.bool_], groups: NDArray[np.int64], both: float = 2.0
) -> float:
    """What two controls see in one metric together: their log p-values of each metric, float64[M]; the rest as above.

    New against old is a difference at one time, the own past one over time, and without harm neither moves the other.
    So the two are multiplied metric by metric, and only then is it paid for how many metrics there are, which is once.

    >>> one, other = np.array([False]), np.array([-1])
    >>> round(exp(together_log_p(np.log([0.01]), np.log([0.02]), one, other)), 6)
    0.001903
    """
    joined, named = [], []
    for same in _metrics(np.ones(len(groups), dtype=bool), groups):
        beside, before = (p[same & ~np.isnan(p)] for p in (concurrent, past))
        if beside.size and before.size:
            joined.append(product_log_p(_simes(beside), _simes(before)))
            named.append(bool(guardrail[same].any()))
    return service_log_p(np.array(joined), guardrail=np.array(named, dtype=bool), both=both)


def product_log_p(log_p: float, other: float) -> float:
    """P = x (1 - ln x) of a product x of two p-values (Fisher, *Statistical Methods for Research Workers*, 1925)."""
    x = min(0.0, log_p) + min(0.0, other)
    return x + log1p(-x)


def _metrics(heard: NDArray[np.bool_], groups: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Which of what is ``heard`` is one metric, bool[M] for each; -1 stands alone."""
    for first in np.flatnonzero(heard):
        same = heard & (groups == groups[first]) & (groups[first] >= 0)
        if not same.any():
            same[first] = True
        if np.flatnonzero(same)[0] == first:
            yield same


def _simes(log_p: Floats) -> float:
    """min over r of m p_(r) / r: exact for metrics that move together or not at all (Simes, Biometrika 1986)."""
    ordered = np.sort(log_p)
    return min(0.0, float((ordered + log(ordered.size) - np.log(np.arange(1, ordered.size + 1))).min()))


def _one_or_two(log_p: list[float], weights: list[float], both: float, alone: float) -> float:
    """Weighted min(M p₁ / alone, M(M-1)/2 p₂² / (1 - alone)); a metric alone is itself."""
    if len(log_p) == 1:
        return min(0.0, log_p[0])
    p, w = np.array(log_p), np.array(weights)
    log_w = np.log(w / w.sum())
    one = float((p - log_w).min())
    i, j = np.triu_indices(p.size, 1)
    pairs = log_w[i] + log_w[j]
    pairs -= float(np.logaddexp.reduce(pairs))
    two = float((both * np.maximum(p[i], p[j]) - pairs).min())
    # The less the second tells beside the first, the less of the error rate it is worth.
    alone = alone if both >= 2.0 else 0.8
    return min(0.0, one - log(alone), two - log(1.0 - alone))


def families_log_p(
    families: Mapping[str, float], weights: Mapping[str, float] = FAMILIES, together: float | None = None
) -> float:
    """Combine log p-values by family; NaN is a family that has nothing to say, its share goes to the others, that of
    the concurrent control to the past.

    What is worse than the instances beside it, and makes the whole service worse than its past, is seen twice. So where
    both speak, ``TOGETHER`` of the error rate goes to what they say ``together``: of each metric
    (``together_log_p``), or where that is not known, the product of the two families.

    >>> round(exp(families_log_p({"concurrent": log(0.001), "past": float("nan")})), 4)
    0.001
    >>> round(exp(families_log_p({"past": log(0.00085), "silence": 0.0})), 6)
    0.001
    >>> round(exp(families_log_p({"concurrent": log(0.001), "past": log(0.5)})), 6)
    0.004146
    >>> round(exp(families_log_p({"concurrent": log(0.005), "past": log(0.03)})), 6)
    0.002941
    """
    unknown = sorted(set(families) - set(weights))
    if unknown:
        raise ValueError(f"unknown families {', '.join(unknown)}; known are {', '.join(sorted(weights))}")
    heard = {name: p for name, p in families.items() if p == p}
    shares = {name: weights[name] for name in sorted(heard)}
    if "past" in heard and "concurrent" not in heard:
        shares["past"] += weights.get("concurrent", 0.0)
    total = sum(shares.values())
    alone = min((p - log(shares[name] / total) for name, p in heard.items()), default=0.0)
    if "concurrent" not in heard or "past" not in heard:
        return min(0.0, alone)
    if together is None:
        together = product_log_p(heard["concurrent"], heard["past"])
    return min(0.0, alone - log(1.0 - TOGETHER), together - log(TOGETHER))


def log_e_to_log_p(log_e: float) -> float:
    """Turn the maximum of an e-process into an anytime p-value, p = min(1, 1/e) (Ville).

    >>> log_e_to_log_p(5.0), log_e_to_log_p(-1.0)
    (-5.0, 0.0)
    """
    return min(0.0, -log_e)


def log_p_to_log_e(log_p: float) -> float:
    """Calibrate a p-value to an e-value, e = (1 - p + p ln p) / (p ln² p) (Vovk & Wang, *E-values*, Ann. Stat. 2021).

    It integrates to 1 over p, so a p-value makes an e-value; the price is about 2 ln ln(1/p).

    >>> round(exp(log_p_to_log_e(log(1e-4)))), exp(log_p_to_log_e(0.0))
    (118, 0.5)
    """
    x = min(0.0, log_p)
    if x > -0.01:
        # The terms cancel near p = 1; this is their series in ln p.
        return log(0.5 + x / 3.0 + x * x / 8.0 + x**3 / 30.0 + x**4 / 144.0) - x
    if x == -inf:
        return inf
    p = exp(x)
    return log1p(p * x - p) - x - 2.0 * log(-x)


@dataclass(frozen=True, slots=True)
class Elond:
    """Online false discovery control of one lane: of its freezes an expected ``alpha`` at most are false."""

    alpha: float = 0.05
    tested: int = 0
    rejected: int = 0

    @property
    def log_threshold(self) -> float:
        """The log e-value that the next change must reach: ln 1/(α γ_t (R + 1)), Σ γ_t = 1."""
        t = self.tested + 1
        gamma = log(2.0) * (1.0 / log(t + 1.0) - 1.0 / log(t + 2.0))
        return -log(self.alpha * gamma * (self.rejected + 1))


def elond(lanes: Mapping[str, Elond], lane: str, log_e: float) -> tuple[dict[str, Elond], bool]:
    """Test one change of ``lane``: the lanes afterwards, and whether it is a discovery.

    Holds under any dependence of the e-values (Xu & Ramdas, *Online multiple testing with e-values*, AISTATS 2024).

    >>> lanes, found = elond({"ai": Elond(0.05)}, "ai", 9.0)
    >>> found, lanes["ai"].rejected, round(lanes["ai"].log_threshold, 1)
    (True, 1, 4.3)
    """
    state = lanes[lane]
    found = log_e >= state.log_threshold
    after = replace(state, tested=state.tested + 1, rejected=state.rejected + int(found))
    return {**lanes, lane: after}, found

"""Delay of the own past over Lorden's bound: a lasting shift of 3 and of 1 sigma in exchangeable noise.

Lognormal noise of 15 %, 4,032 samples of own past, a watch of 60 samples, the error rate as it ships. The shift begins
with the first sample after the change. Lorden's bound is ln(gamma) / KL with KL = shift² / 2 and gamma the mean number
of samples to a false alarm, watch / alpha. In the mean delay a miss counts as the whole watch, which is too little.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import log

import numpy as np

from bench.data import Floats
from bench.judged import share
from bench.tables import short, table
from deploy.policy import Breaker
from detectors.own_past import calibrate

PAST, WATCH, NOISE = 4_032, 60, 0.15
SHIFTS = (3.0, 1.0, 0.0)


def bound(shift: float, alpha: float) -> float:
    """Lorden's bound in samples, for a shift in sigma.

    >>> round(bound(3.0, 0.004), 2), round(bound(1.0, 0.004), 1)
    (2.14, 19.2)
    """
    return log(WATCH / alpha) / (shift * shift / 2.0)


def delays(runs: int, shift: float, alpha: float, past: int = PAST) -> Floats:
    """Samples until the p-value is at most `alpha`, float64[runs]; infinite where it never is within the watch."""
    found = np.full(runs, np.inf)
    for seed in range(runs):
        noise = np.random.default_rng((26, seed)).standard_normal(past + WATCH)
        noise[past:] += shift
        values = 200.0 * np.exp(NOISE * noise)
        looks = calibrate(values[:past], period=60.0, end=0.0, watch=WATCH).start()
        reached = np.flatnonzero(looks.update(values[past:]).log_p <= log(alpha))
        if reached.size:
            found[seed] = reached[0] + 1
    return found


def mean_delay(found: Floats) -> float:
    """Mean delay in samples; a miss counts as the whole watch.

    >>> mean_delay(np.array([2.0, np.inf]))
    31.0
    """
    return float(np.minimum(found, WATCH).mean())


def main(argv: Sequence[str]) -> int:
    """Print one line a shift."""
    parser = argparse.ArgumentParser(prog="python -m bench lorden", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="streams a shift (default: %(default)s)")
    runs = parser.parse_args(list(argv)).runs
    alpha = Breaker().error_rate
    rows = []
    for shift in SHIFTS:
        found = delays(runs, shift, alpha)
        met = found[np.isfinite(found)]
        mean = mean_delay(found)
        least = bound(shift, alpha) if shift else float("nan")
        rows.append(
            [f"{shift:g} sigma", share(met.size, runs), short(float(np.median(found))), short(mean), short(least),
             short(mean / least)]
        )  # fmt: skip
    header = ["shift", "caught", "median, misses infinite", "mean, misses 60", "bound", "ratio"]
    print(table(f"own past of {PAST:,} samples, watch {WATCH}, alpha {alpha:g}", header, rows))
    return 0

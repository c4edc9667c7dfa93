"""Looking 10,000 times at alpha 5 %: how many of the harmless ever trip, for each test, on exchangeable noise.

* `counts`: errors over requests, new against old, Poisson; `CountsTest` against ln 20;
* `2x2`: one class of changes against the rest, both harmful at 1 %; `two_by_two`, all of alpha staked at once;
* `order` and `concurrent`: values of one new and three old instances, lognormal, without and with 240 samples before;
* `own past`: 1,000 looks, as long a watch as 4,032 samples of history can hold shadows of, lognormal.

Beside them what a test that does not know of looking does: Student's z of the values so far, at every look.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import log

import numpy as np

from bench.canary import peeking as counts
from bench.data import Floats
from bench.judged import share
from bench.tables import table
from detectors.concurrent import ConcurrentTest, calibrate_concurrent
from detectors.order import OrderTest
from detectors.own_past import calibrate
from detectors.two_by_two import Block, TwoByTwo, answered, staked

ALPHA, LOOKS = 0.05, 10_000
PAST, PAST_LOOKS = 4_032, 1_000
BASE, REST = 0.01, 20


def two_by_two(seed: int, looks: int) -> bool:
    """Whether a class no worse than the rest is ever accused."""
    rng = np.random.default_rng((21, seed))
    own, rest = rng.random(looks) < BASE, rng.binomial(REST, BASE, looks)
    state = staked(TwoByTwo(), ALPHA)
    for harmful, k in zip(own.tolist(), rest.tolist(), strict=True):
        state = answered(state, harmful, Block(n=REST, k=k), base=BASE)
        if state.crossed:
            return True
        if not state.asked:
            return False
    return False


def order(seed: int, looks: int) -> bool:
    """Whether equal instances ever differ by order."""
    values = 200 * np.random.default_rng((22, seed)).lognormal(0, 0.1, (looks, 4))
    return bool(OrderTest(harm="up").update(values[:, :1], values[:, 1:]).log_e_max[-1] >= -log(ALPHA))


def concurrent(seed: int, looks: int) -> bool:
    """Whether equal instances ever differ by what the old ones show of each other."""
    values = 200 * np.random.default_rng((23, seed)).lognormal(0, 0.1, (240 + looks, 4))
    test = ConcurrentTest(calibrate_concurrent(values[:240, 1:], harm="up", watch=looks))
    return bool(test.update(values[240:, :1], values[240:, 1:]).log_p[-1] <= log(ALPHA))


def own_past(seed: int, looks: int) -> bool:
    """Whether a series without a change ever leaves its own past."""
    values = 200 * np.random.default_rng((24, seed)).lognormal(0, 0.1, PAST + looks)
    past = calibrate(values[:PAST], period=60.0, end=0.0, watch=looks, harm="up")
    return bool(past.start().update(values[PAST:]).log_p[-1] <= log(ALPHA))


def z_test(seed: int, looks: int) -> bool:
    """Whether the mean of noise is ever 1.96 standard errors from zero."""
    return bool((np.abs(z_values(seed, looks)) >= 1.96).any())


def z_values(seed: int, looks: int) -> Floats:
    """Sum over its standard error after each sample of noise, float64[looks]."""
    noise = np.random.default_rng((25, seed)).standard_normal(looks)
    return np.asarray(np.cumsum(noise) / np.sqrt(np.arange(1, looks + 1)))


#: Name, looks, and the test of one seed.
TESTS: tuple[tuple[str, int, Callable[[int, int], bool]], ...] = (
    ("2x2 of classes", LOOKS, two_by_two),
    ("order", LOOKS, order),
    ("concurrent", LOOKS, concurrent),
    ("own past", PAST_LOOKS, own_past),
    ("z at every look", LOOKS, z_test),
)


def measure(runs: int) -> list[tuple[str, int, int, int]]:
    """Name, looks, how many tripped, of how many; the naive z last."""
    found = [("counts", LOOKS, counts(runs, LOOKS), runs)]
    return found + [(name, looks, sum(test(seed, looks) for seed in range(runs)), runs) for name, looks, test in TESTS]


def main(argv: Sequence[str]) -> int:
    """Print one line a test."""
    parser = argparse.ArgumentParser(prog="python -m bench peeking", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="harmless streams a test (default: %(default)s)")
    runs = parser.parse_args(list(argv)).runs
    rows = [[name, f"{looks:,}", share(hits, n)] for name, looks, hits, n in measure(runs)]
    print(table(f"harmless streams that ever trip, alpha {ALPHA:.0%}", ["", "looks", "tripped"], rows))
    return 0

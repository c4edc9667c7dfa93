"""Does a class of changes leave other footprints than it used to? river's half-space trees and ADWIN, calibrated.

A footprint is one vector a change: how far each guardrail moved, how large the change was, how long after the one
before. It is no harm. So what is said here only makes people look; it carries a p-value, never a score, and no freeze
hears it.

* `Footprints.log_p`: is the newest footprint odd? The trees learn from the first half of what was known and are then
  left alone, and the score is ranked among those of the second half and after: p = (1 + as high or higher) / (n + 1),
  exact while footprints are exchangeable (split conformal prediction: Vovk, Gammerman & Shafer, *Algorithmic Learning
  in a Random World*, 2005). They learn again at each doubling, so both halves grow.
* `Footprints.drift_log_p`: did they drift? The drifts that ADWIN counts in the stream as it came, ranked among those in
  the same footprints shuffled (a permutation test, exact for the same reason). Asked at each doubling only; the k-th
  time costs a factor 2ᵏ⁺¹, which pays for all of them (Σ 2⁻ᵏ⁻¹ <= 1).

river takes seconds to import, so it is imported where enough footprints wait to be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST = 32
"""Footprints before anything is said."""
MOST = 512
"""The newest footprints are kept; what a class did long ago says little."""
SHUFFLES = 999
TREES: Mapping[str, object] = {"n_trees": 10, "height": 6, "window_size": 16}
WINDOW: Mapping[str, object] = {"clock": 4, "grace_period": 8}
"""ADWIN compares at every 32nd number unless told otherwise, and a class has few."""
ANOMALY, DRIFT = "river.anomaly.HalfSpaceTrees", "river.drift.ADWIN"
_FAR = 8.0


@dataclass(frozen=True, slots=True)
class Footprints:
    """What the stream says: natural logs of p-values, None where there are too few of its ``samples``."""

    samples: int
    log_p: float | None = None
    drift_log_p: float | None = None


def judge(rows: Floats) -> Footprints:
    """Judge a class by its footprints, float64[n, m] in the order of the changes; NaN is a number that is not known.

    >>> rng = np.random.default_rng(1)
    >>> calm = rng.normal(size=(64, 3))
    >>> judge(calm[:20])
    Footprints(samples=20, log_p=None, drift_log_p=None)
    >>> odd = judge(np.vstack([calm, [[9.0, 9.0, 9.0]]]))
    >>> bool(odd.log_p < log(0.05)), odd.drift_log_p > log(0.05)
    (True, True)
    """
    rows = np.asarray(rows, dtype=np.float64)[-MOST:]
    samples = len(rows)
    if samples <= LEAST or not rows.shape[1]:
        return Footprints(samples)
    return Footprints(samples, _odd(rows), _drift(rows))


def _odd(rows: Floats) -> float:
    from detectors.river_detector import RiverDetector

    learnt = _doubling(len(rows) - 1) // 2
    trees = RiverDetector(ANOMALY, TREES, rows[:learnt])
    scores = trees.update(rows[learnt:], learn=False)
    newest, others = scores[-1], scores[:-1]
    if not np.isfinite(newest):
        return 0.0
    others = others[np.isfinite(others)]
    return log((1 + int((others >= newest).sum())) / (1 + others.size))


def _drift(rows: Floats) -> float:
    sizes = [LEAST]
    while 2 * sizes[-1] <= len(rows):
        sizes.append(2 * sizes[-1])
    return min(0.0, *(_drifted(rows[:size]) + (k + 1) * log(2.0) for k, size in enumerate(sizes)))


def _drifted(rows: Floats) -> float:
    """Log p of the drifts in these rows against the same rows shuffled."""
    from river import base

    from detectors.river_detector import detector_class

    kind = detector_class(DRIFT)
    middle = np.nan_to_num(_median(rows))
    spread = np.nan_to_num(1.4826 * _median(np.abs(rows - middle)))
    z = np.clip((rows - middle) / np.maximum(spread, 1e-9), -_FAR, _FAR)
    rng = np.random.default_rng(1)

    def drifts(order: NDArray[np.int64]) -> int:
        found = 0
        for column in z[order].T:
            window = kind(**WINDOW)
            assert isinstance(window, base.DriftDetector)
            for x in column[np.isfinite(column)].tolist():
                window.update(x)
                found += int(window.drift_detected)
        return found

    came = drifts(np.arange(len(z)))
    if not came:
        return 0.0
    shuffled = [drifts(rng.permutation(len(z))) for _ in range(SHUFFLES)]
    return log((1 + sum(one >= came for one in shuffled)) / (1 + SHUFFLES))


def _median(rows: Floats) -> Floats:
    """Of each column, NaN where nothing is known in it."""
    known = np.isfinite(rows)
    columns = [
        np.median(column[there]) if there.any() else np.nan for column, there in zip(rows.T, known.T, strict=True)
    ]
    return np.array(columns)


def _doubling(samples: int) -> int:
    """The largest of LEAST, 2 LEAST, 4 LEAST … that is at most ``samples``."""
    size = LEAST
    while 2 * size <= samples:
        size *= 2
    return size

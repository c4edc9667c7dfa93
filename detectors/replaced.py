"""Every old instance is gone: the new ones against what the old ones had been, by the swings that those had together.

While a rolling release goes on, new and old run side by side (``detectors.concurrent``). Afterwards there is only the
level that the old ones had last, and that is no control: load wanders, a burst hits everybody, and what was learnt from
instances beside each other knows neither. So those bins are judged by themselves,

    d = mean(new) - max(level, end),    u = d / sqrt(ω² + τ² (1/n_new + 1/n_old))

with level and end the medians of the last 30 and the last 5 bins in which an old one was there (what already ailed the
old ones is no harm of the new), ω how far all old instances **together** were from their level before, τ² how much
equal instances differ for ever, and shadows of that mean against its own level at many moments before the change. It is
a past, not a concurrent control: a wave that begins when the old ones are gone looks like harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.concurrent import LEAST_LEVEL, LEVEL, WARM_UP, Comparison, ConcurrentCalibration, none_left

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ReplacedEvidence:
    """One row a bin, float64[k] each; all of them after that bin."""

    log_p: Floats
    """Running, non-increasing; 0 as long as old ones are there."""
    effect: Floats
    """Mean of the new ones less how the old ended (own units), NaN where an old one is there or no new one."""
    expected: Floats
    """How the old ones ended."""
    samples: NDArray[np.int64]
    """Bins compared so far."""


class ReplacedTest:
    """The test of one metric of one change; ``ready`` is False where too little was known of the old ones together.

    >>> from detectors.concurrent import calibrate_concurrent
    >>> rng = np.random.default_rng(4)
    >>> load = np.exp(np.cumsum(rng.normal(0, 0.02, 520)))[:, None]  # wanders, and all instances with it
    >>> old = 200 * load * rng.lognormal(0, 0.05, (520, 3))
    >>> calibration = calibrate_concurrent(old[:480], harm="up", watch=40)
    >>> gone, new = np.full((40, 3), np.nan), 200 * load[480:] * rng.lognormal(0, 0.05, (40, 3))
    >>> calm, slow = ReplacedTest(calibration), ReplacedTest(calibration)
    >>> bool(calm.update(new, gone).log_p[-1] > -3)
    True
    >>> bool(slow.update(3 * new, gone).log_p[-1] < -5)
    True
    """

    __slots__ = ("_held", "_last", "calibration", "comparison")

    def __init__(self, calibration: ConcurrentCalibration, *, warm_up: int = WARM_UP) -> None:
        self.calibration = calibration
        away = calibration.away
        self.comparison = Comparison(away, warm_up) if away is not None and away.ready else None
        means = _means(calibration.worse(calibration.history))
        known = means[np.isfinite(means)][-LEVEL:]
        self._last, self._held = np.zeros(LEVEL), np.array([len(known)])
        self._last[: len(known)] = known

    def move(self, last: Floats, held: NDArray[np.int64]) -> None:
        """Keep the last levels of the old in these arrays, float64[30] and int64[1], as ``beside_rows`` does."""
        last[:], held[:] = self._last, self._held
        self._last, self._held = last, held

    @property
    def ready(self) -> bool:
        return self.comparison is not None

    def update(self, new: Floats, old: Floats) -> ReplacedEvidence:
        """Take closed bins in order, as ``ConcurrentTest`` does; a cut changes nothing."""
        if self.comparison is None:
            nothing = np.full(len(new), np.nan)
            return ReplacedEvidence(np.zeros(len(new)), nothing, nothing, np.zeros(len(new), np.int64))
        new = np.where(np.isfinite(new), new, np.nan)
        levels, ends = self._moved_on(old)
        before = self.calibration.own(ends)[:, None].repeat(self.calibration.instances, axis=1)
        out = self.comparison.update(new, before, levels, ~none_left(old))
        return ReplacedEvidence(np.minimum(out[0], 0.0), out[1], self.calibration.own(ends), out[3].astype(np.int64))

    def _moved_on(self, old: Floats) -> tuple[Floats, Floats]:
        """The level that the old ones had last, and how they ended, float64[k]: both move on while any is there."""
        now = _means(self.calibration.worse(old))
        there = np.isfinite(now)
        before = self._last[: self._held[0]]
        known = np.concatenate([before, now[there]])
        upto = len(before) + np.cumsum(there)
        self._held[0] = len(known[-LEVEL:])
        self._last[: self._held[0]] = known[-LEVEL:]
        levels, ends = (
            np.array([np.median(known[max(0, n - length) : n]) if n else np.nan for n in upto.tolist()])
            for length in (LEVEL, LEAST_LEVEL)
        )
        return levels, ends


def _means(values: Floats) -> Floats:
    """Mean of each bin over the instances in it: float64[bins], NaN where there is none."""
    there = np.isfinite(values)
    count = there.sum(axis=1)
    return np.asarray(np.where(count > 0, np.where(there, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan))

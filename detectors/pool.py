"""Pooled shadows: the same metric of many services tells a young one what is normal.

Forty samples of one series hold a handful of shadow watches, and then no excursion is rare enough to stop anything.
Thirty services with forty samples each hold thirty times as many. They are comparable in units of the one-step scale of
each series, which is itself shrunk towards the scale of the pool,

    sigma^2 = (n own^2 + 5 pooled^2) / (n + 5).

The largest excursion of a pool is that of its strangest member. So the yardstick is the ``r``-th largest, ``r`` one
in a hundred disjoint shadows, and that share is paid for in the p-value, ``p = r / (N + 1) R ** -a``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import bank, shadow
from detectors.shadow import Yardstick
from detectors.transform import fit

Floats = NDArray[np.float64]

LENGTH, LENGTH_YOUNG = shadow.LEVELS[0], 5
#: Samples that must be known of a series before any pool can judge it.
FEWEST = 2 * LENGTH_YOUNG
"""Samples in a level, and where most members have fewer than four times as many."""
PRIOR = 5.0
SHARE = 0.01
LASTING = np.array([1.5, 3.0, 6.0, 6.0, 1.5, 3.0, 6.0, 6.0, 1.5])
"""Tails of a bounded metric: bursts of one sample are common, several in a row are not."""
KEPT = 720
"""At most so many of the last samples of each member."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Shadows of one metric over many series; excursions in units of each series' own scale.

    >>> rng = np.random.default_rng(5)
    >>> pool = Pool.of([rng.lognormal(3.0, 0.1, 60) for _ in range(20)], watch=30)
    >>> pool.members, [y.window for y in pool.yardsticks]
    (20, [5, 15, 30])
    """

    members: int
    sigma: float
    yardsticks: tuple[Yardstick, ...]
    length: int = LENGTH
    """Samples in a level."""

    @staticmethod
    def of(histories: Sequence[Floats], *, watch: int, kind: str = "value") -> "Pool":
        """Pool the shadows of ``histories`` (each float64[n], own units, before the change, NaN = missing)."""
        series = []
        sizes = [np.count_nonzero(np.isfinite(history[-KEPT:])) for history in histories]
        length = LENGTH if len(sizes) and float(np.median(sizes)) >= 4 * LENGTH else LENGTH_YOUNG
        for history, size in zip(histories, sizes, strict=True):
            if size >= 2 * length:
                recent = np.ascontiguousarray(history[-KEPT:], dtype=np.float64)
                y = fit(recent, kind).forward(recent)
                series.append((y, *steps(y, length)))
        if not series:
            return Pool(0, 0.0, ())
        sigma = float(np.median([own for _, own, _ in series]))
        used = []
        windows = shadow.windows_of(watch)
        for window in windows:
            found = [_shadows(y, window, length) / max(shrunk(own, n, sigma), 1e-9) for y, own, n in series]
            yardstick = _yardstick(window, np.concatenate(found), 1.0 / len(windows))
            if yardstick is not None:
                used.append(yardstick)
        return Pool(len(series), sigma, tuple(used), length)

    def place(self, y: Floats) -> tuple[float, float, Floats]:
        """Level, scale and largest excursions so far (float64[9]) of a young series, transformed values float64[n]."""
        own, n = steps(y, self.length)
        known = y[~np.isnan(y)]
        level = float(np.median(known[-self.length :]))
        largest = np.max(bank.slide(known), axis=0) - bank.SIGNS * level
        return level, shrunk(own, n, self.sigma), largest

    @staticmethod
    def scaled(
        yardstick: Yardstick, level: float, sigma: float, largest: Floats, floor: float, *, bounded: bool = False
    ) -> Yardstick:
        """A yardstick of the pool for a series of that ``level`` and ``sigma``, never below the least effect.

        Nor below the ``largest`` excursions (float64[9]) of its own few samples: what it did before is no news.
        Of a ``bounded`` metric, success, what lasts is judged by itself: it rests at perfect with single bad samples,
        which say nothing of how far three or ten in a row may fall.
        """
        excursion = np.maximum(yardstick.excursion * sigma, largest)
        sharp = np.concatenate([np.full(4, excursion[0]), np.full(4, excursion[4]), [max(excursion[0], excursion[4])]])
        return Yardstick(
            yardstick.window,
            yardstick.baseline,
            np.full(bank.COUNT, level),
            np.asarray(np.maximum(excursion if bounded else np.maximum(excursion, shadow.WHITE * sharp), floor)),
            yardstick.disjoint,
            LASTING if bounded else yardstick.tail,
            yardstick.surprises,
            yardstick.price,
            yardstick.share,
        )


def steps(y: Floats, length: int) -> tuple[float, int]:
    """Robust one-step scale of a series around its last level, and from how many steps."""
    values = y[~np.isnan(y)]
    steps = np.abs(values[1:] - bank.rolling_median(values, length)[:-1])
    steps = steps[~np.isnan(steps)]
    return (1.4826 * float(np.median(steps)), len(steps)) if len(steps) else (0.0, 0)


def shrunk(own: float, n: int, pooled: float) -> float:
    return float(np.sqrt((n * own**2 + PRIOR * pooled**2) / (n + PRIOR)))


def _shadows(y: Floats, window: int, length: int) -> Floats:
    """Excursions of the shadow watches of one series around its plain level: float64[shadows, 9], NaN where none."""
    present = ~np.isnan(y)
    values = y[present]
    rows = bank.slide(values)
    levels = bank.rolling_median(values, length)[:, None]
    stride = shadow.stride_of(window)
    out = np.full((max(0, (len(y) - window - length) // stride + 1), bank.COUNT, 1), np.nan)
    free = np.zeros(len(y) + 1, dtype=np.int64)
    shadow.excursions(rows, levels, np.cumsum(present) - 1, free, np.zeros(len(y), dtype=bool), window, stride, out)
    return np.asarray(out[:, :, 0])


def _yardstick(window: int, found: Floats, share: float) -> Yardstick | None:
    known = np.count_nonzero(~np.isnan(found), axis=0)
    if not known[0]:
        return None
    disjoint = known * min(1.0, shadow.stride_of(window) / window)
    rank = 1.0 + SHARE * disjoint
    excursion = np.full(bank.COUNT, 1e-9)
    for j in range(bank.COUNT):
        mine = np.sort(found[~np.isnan(found[:, j]), j])
        if len(mine):
            # Overlapping shadows stand for one disjoint one.
            place = int(rank[j] * known[j] / disjoint[j])
            excursion[j] = max(mine[-min(place, len(mine))], 1e-9)
    effective = np.maximum((disjoint + 1.0) / rank - 1.0, 0.0)
    # Members share their slow swings: however many they are, no steep tail is earned.
    tail = np.full(bank.COUNT, shadow.SHARP_TAIL)
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence = tail * np.log(np.where(found > 0.0, found, 0.0) / excursion) + np.log(effective + 1.0)
    part = evidence[~np.isnan(found[:, 0])]
    # Beyond the yardstick the tail speaks, and its price is paid: the strangest members must not be charged twice.
    surprises = np.sort(np.minimum(np.max(part, axis=1), np.log(effective[0] + 1.0)))
    baseline = np.zeros(bank.COUNT, dtype=np.int64)
    # A young service is seldom looked at for long: every window and statistic counts alike.
    even = np.zeros(bank.COUNT)
    return Yardstick(window, baseline, np.zeros(bank.COUNT), excursion, effective, tail, surprises, even, share)

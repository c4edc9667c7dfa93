"""The yardsticks of a watch out of the row of a series, compiled: a change asks all of its signals at once.

The numbers are those of `detectors.shadow`, from the largest excursions of each bucket in the place of every shadow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import bank, online_row, shadow
from detectors.online_row import (
    BUCKET_AT,
    BUCKETS,
    CELLS,
    CODES,
    COUNTS,
    IN_BUCKET,
    KEPT,
    LEVELS,
    NOW,
    NOW_COUNTS,
    ODD,
    ODD_CODES,
    ODD_COUNTS,
    QUIET,
    SINCE,
    STILL,
    STILL_BLOCKS,
    UNIT,
    UNSET,
)
from detectors.online_step import odd_limit
from detectors.shadow import EARNED, KAPPA, SHARP_TAIL, SHRINK, TAILS, WHITE, Yardstick

Floats = NDArray[np.float64]

MOST_KNOWN = 400
"""Surprises listed for each window."""
SERVES = (10, 30)
"""Windows shorter than these are judged by the kept ones of 5 and 15, which have all statistics that fit into them: by
those of 60 a watch of 20 would know a third of the shadows, and caught half as much."""
GROWTH = 0.5
"""How excursions grow beyond the window kept: as those of a random walk."""
BELOW = 0.7
"""How far below the smallest excursion known all the others are taken to be."""
_STATISTICS, _WINDOWS = bank.COUNT, len(online_row.WINDOWS)
_SIZES, _STRIDES = np.array(online_row.WINDOWS, np.float64), np.array(online_row.STRIDES, np.float64)
_WINDOW, _STATISTIC = np.array(CELLS).T.copy()
_STILL_BELOW = shadow.STILL
#: What each code stands for.
_DECODED = online_row.decode(np.arange(256, dtype=np.uint8))
#: Fourteen buckets, the older odd ones, the bucket under way, the younger odd ones.
_ROWS = BUCKETS + 3


def yardsticks(
    words: NDArray[np.int16],
    small: NDArray[np.uint8],
    watch: int,
    levels: Floats,
    sigmas: Floats,
    floor: float,
    active: tuple[int, ...],
    price: Floats,
) -> Iterator[Yardstick]:
    """The yardstick of each nested window of which there are shadows.

    ``levels`` and ``sigmas``, float64[9], are those of the baselines now, NaN where unknown.
    """
    baseline = small[online_row.CHOSEN : online_row.CHOSEN + bank.COUNT].astype(np.int64)
    # What is chosen may be unknown just now: then the shortest level, which always is known.
    baseline = np.where(np.isnan(levels[baseline]), 0, baseline)
    windows = shadow.windows_of(watch)
    numbers = np.zeros((len(windows), 3, bank.COUNT))
    counts, surprises = np.zeros(len(windows), np.int64), np.empty((len(windows), MOST_KNOWN))
    _read(
        words, small, np.array(windows, np.float64), np.array([shadow.grow(window) for window in windows]),
        sigmas[baseline], floor, np.array(active, np.int64), price, numbers, counts, surprises,
    )  # fmt: skip
    known = zip(windows, shadow.shares_of(windows), numbers, counts.tolist(), surprises, strict=True)
    for window, share, (excursion, disjoint, tail), count, said in known:
        if count:
            yield Yardstick(
                window, baseline, levels[baseline], excursion, disjoint, tail, said[:count].copy(), price, share
            )


@numba.njit(cache=True, nogil=True)
def _read(words, small, windows, growths, sigma, floor, active, price, numbers, counts, surprises):  # type: ignore[no-untyped-def]
    """Write excursion, disjoint shadows and tail of each window, and its surprises; none where no shadow counts."""
    cells, shadows = np.zeros((_ROWS, _WINDOWS, _STATISTICS)), np.zeros((_ROWS, _WINDOWS))
    valid = np.ones((_ROWS, _STATISTICS), np.bool_)
    _buckets(words, small, cells, shadows, valid)
    mine, tops = np.empty((_ROWS, _STATISTICS)), np.empty(_ROWS)
    for w in range(len(windows)):
        window = windows[w]
        kept = 0
        while kept < _WINDOWS - 1 and window >= SERVES[kept]:
            kept += 1
        size = _SIZES[kept]
        # A longer window than the one kept is as rare as it is long, and goes as much further.
        longer = max(1.0, window / size)
        alone = min(1.0, _STRIDES[kept] / size) / longer
        further = longer**GROWTH
        excursion, disjoint, tail = numbers[w, 0], numbers[w, 1], numbers[w, 2]
        for j in range(_STATISTICS):
            known, own = 0.0, 0.0
            for i in range(_ROWS):
                counts_here = valid[i, j] and shadows[i, kept] > 0.0
                mine[i, j] = cells[i, kept, j] * further if counts_here else 0.0
                known += shadows[i, kept] if valid[i, j] else 0.0
                own = max(own, mine[i, j])
            disjoint[j] = known * alone
            tail[j] = SHARP_TAIL + (TAILS[j] - SHARP_TAIL) * disjoint[j] / (disjoint[j] + EARNED)
            weight = disjoint[j] * max(1.0, window / 10.0)
            weight /= weight + SHRINK
            usual = max(KAPPA[j] * growths[w] * sigma[j], 1e-12)
            excursion[j] = np.exp(weight * np.log(max(own, 1e-12)) + (1.0 - weight) * np.log(usual))
        if disjoint[0] < 1.0:
            continue
        up, down = excursion[0], excursion[4]
        for j in range(_STATISTICS):
            sharp = up if j < 4 else down if j < 8 else max(up, down)
            excursion[j] = max(excursion[j], WHITE[j] * sharp, floor)
        told, total = 0, 0.0
        for i in range(_ROWS):
            total += shadows[i, kept]
            if shadows[i, kept] > 0.0:
                top = -np.inf
                for j in active:
                    ratio = mine[i, j] / excursion[j]
                    said = tail[j] * np.log(ratio) if ratio > 0.0 else -np.inf
                    top = max(top, said + np.log(disjoint[j] + 1.0) + price[j])
                tops[told] = top
                told += 1
        counts[w] = _surprises(np.sort(tops[:told])[::-1], total, surprises[w])


@numba.njit(cache=True, nogil=True)
def _buckets(words, small, cells, shadows, valid):  # type: ignore[no-untyped-def]
    """Largest excursions of each bucket, how many shadows are behind them, and whether they count for a statistic.

    A bucket does not count for a statistic whose baseline was no season then and is one now.
    """
    for cell in range(KEPT):
        w, j = _WINDOW[cell], _STATISTIC[cell]
        for i in range(BUCKETS):
            cells[i, w, j] = _DECODED[small[CODES + i * KEPT + cell]]
        cells[BUCKETS, w, j] = _DECODED[small[ODD_CODES + cell]]
        cells[BUCKETS + 1, w, j] = words[NOW + cell] / UNIT
        cells[BUCKETS + 2, w, j] = words[ODD + cell] / UNIT
    short, far = np.int64(words[LEVELS]), np.int64(words[LEVELS + 2])
    away = abs(short - far) if far != UNSET else 0
    # Where the change comes at an ordinary moment, it is compared with ordinary moments.
    odd = 1.5 * away > odd_limit(words, 0)
    # What a series did not do while it was off says nothing of what it does when it is on.
    moving = small[QUIET] < _STILL_BELOW
    for w in range(_WINDOWS):
        for i in range(BUCKETS):
            pair = small[STILL + i // 2]
            still = (pair & 15 if i % 2 == 0 else pair >> 4) / 15.0
            shadows[i, w] = small[COUNTS + 3 * i + w] * (1.0 - still if moving else 1.0)
        shadows[BUCKETS, w] = small[ODD_COUNTS + w] if odd else 0.0
        now = max(0.0, 1.0 - small[STILL_BLOCKS] / (small[IN_BUCKET] + 1.0)) if moving else 1.0
        shadows[BUCKETS + 1, w] = small[NOW_COUNTS + w] * now
        shadows[BUCKETS + 2, w] = small[ODD_COUNTS + 3 + w] if odd else 0.0
    for j in range(_STATISTICS):
        since = small[SINCE + j]
        for i in range(BUCKETS):
            valid[i, j] = (np.int64(small[BUCKET_AT]) - 1 - i) % BUCKETS < since
        # Of the odd ones nobody remembers when they were: the older count where all do.
        valid[BUCKETS, j] = since == BUCKETS


@numba.njit(cache=True, nogil=True)
def _surprises(ranked, known, out):  # type: ignore[no-untyped-def]
    """Sorted surprises of ``known`` shadows of which only the largest of each bucket is kept, ``ranked`` from the top.

    Where the i-th largest of B bucket maxima lies, a share ``1 - (1 - i / (B + 1)) ** (B / known)`` of all shadows is
    expected beyond it. Below the smallest of them nothing is known, and everything is taken to be near it. Returns how
    many there are.
    """
    told = len(ranked)
    count = int(min(known, MOST_KNOWN))
    share, finite = np.empty(told + 1), np.empty(told + 1)
    for i in range(told):
        share[i] = 1.0 - (1.0 - (i + 1) / (told + 1.0)) ** (told / known)
        finite[i] = max(ranked[i], -1e6)
    share[told], finite[told] = 1.0, finite[told - 1] - BELOW
    for i in range(count):
        out[count - 1 - i] = (i + 0.5) / count
    found = np.interp(out[:count], share, finite)
    out[:count] = found
    return count

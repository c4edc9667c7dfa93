"""The yardsticks of a row as array expressions, one window after the other: what `detectors.online_yardsticks` does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detectors import bank, online_row, online_step, shadow
from detectors.online_yardsticks import BELOW, GROWTH, MOST_KNOWN, SERVES
from detectors.shadow import Yardstick

Floats = NDArray[np.float64]


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
    """The yardstick of each nested window of which there are shadows."""
    largest, counts, valid = _buckets(words, small)
    baseline = small[online_row.CHOSEN : online_row.CHOSEN + bank.COUNT].astype(np.int64)
    # What is chosen may be unknown just now: then the shortest level, which always is known.
    baseline = np.where(np.isnan(levels[baseline]), 0, baseline)
    windows = shadow.windows_of(watch)
    for window, share in zip(windows, shadow.shares_of(windows), strict=True):
        kept = next((k for k, size in enumerate(SERVES) if window < size), len(online_row.WINDOWS) - 1)
        size = online_row.WINDOWS[kept]
        n = counts[:, kept]
        # A longer window than the one kept is as rare as it is long, and goes as much further.
        longer = max(1.0, window / size)
        alone = min(1.0, online_row.STRIDES[kept] / size) / longer
        known = n @ valid
        disjoint = known * alone
        if disjoint[0] < 1.0:
            continue
        mine = np.where(valid & (n > 0.0)[:, None], largest[:, kept], 0.0) * longer**GROWTH
        own = mine.max(axis=0)
        excursion = shadow.yardsticks(own, disjoint * max(1.0, window / 10.0), sigmas[baseline], window, floor)
        tail = shadow.tails(disjoint)
        with np.errstate(divide="ignore"):
            evidence = tail * np.log(mine / excursion) + np.log(disjoint + 1.0) + price
        tops = np.max(evidence[n > 0.0][:, list(active)], axis=1)
        surprises = _surprises(tops, float(n.sum()))
        yield Yardstick(window, baseline, levels[baseline], excursion, disjoint, tail, surprises, price, share)


def _buckets(words: NDArray[np.int16], small: NDArray[np.uint8]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Largest excursions float64[buckets, windows, 9], shadows float64[buckets, windows], what counts bool[buckets, 9].

    A bucket does not count for a statistic whose baseline was no season then and is one now.
    """
    r = online_row
    codes = np.concatenate([small[r.CODES : r.COUNTS], small[r.ODD_CODES : r.ODD_COUNTS]])
    old = r.decode(codes).reshape(-1, r.KEPT)
    new = np.stack([words[r.NOW : r.NOW + r.KEPT], words[r.ODD : r.ODD + r.KEPT]]) / r.UNIT
    counts = np.concatenate([small[r.COUNTS : r.ODD_CODES], small[r.ODD_COUNTS : r.ODD_COUNTS + 3]])
    recent = np.stack([small[r.NOW_COUNTS : r.NOW_COUNTS + 3], small[r.ODD_COUNTS + 3 : r.ODD_COUNTS + 6]])
    # In the order: fourteen buckets, the older odd ones, the bucket under way, the younger odd ones.
    cells = np.zeros((r.BUCKETS + 3, len(r.WINDOWS), bank.COUNT))
    window, statistic = np.array(r.CELLS).T
    cells[:, window, statistic] = np.concatenate([old, new])
    number = np.concatenate([counts.reshape(-1, 3), recent]).astype(np.float64)
    short, far = int(words[r.LEVELS]), int(words[r.LEVELS + 2])
    away = abs(short - far) if far != r.UNSET else 0
    if 1.5 * away <= online_step.odd_limit(words, 0):
        # The change comes at an ordinary moment: it is compared with ordinary moments.
        number[[r.BUCKETS, r.BUCKETS + 2]] = 0.0
    if small[r.QUIET] < shadow.STILL:
        # What a series did not do while it was off says nothing of what it does when it is on.
        number[: r.BUCKETS] *= 1.0 - r.still(small)[:, None]
        number[r.BUCKETS + 1] *= max(0.0, 1.0 - small[r.STILL_BLOCKS] / (small[r.IN_BUCKET] + 1.0))
    since = small[r.SINCE : r.SINCE + bank.COUNT]
    ages = (int(small[r.BUCKET_AT]) - 1 - np.arange(r.BUCKETS)) % r.BUCKETS
    valid = np.ones((len(cells), bank.COUNT), dtype=bool)
    valid[: r.BUCKETS] = ages[:, None] < since
    # Of the odd ones nobody remembers when they were: the older count where all do.
    valid[r.BUCKETS] = since == r.BUCKETS
    return cells, number, valid


def _surprises(tops: Floats, known: float) -> Floats:
    """Sorted surprises of ``known`` shadows of which only the largest of each bucket, ``tops``, is kept.

    Where the i-th largest of B bucket maxima lies, a share ``1 - (1 - i / (B + 1)) ** (B / known)`` of all shadows is
    expected beyond it. Below the smallest of them nothing is known, and everything is taken to be near it.
    """
    ranked = np.sort(tops)[::-1]
    share = 1.0 - (1.0 - np.arange(1, len(ranked) + 1) / (len(ranked) + 1.0)) ** (len(ranked) / known)
    count = int(min(known, MOST_KNOWN))
    places = (np.arange(count) + 0.5) / count
    finite = np.maximum(ranked, -1e6)
    found = np.interp(places, np.append(share, 1.0), np.append(finite, finite[-1] - BELOW))
    return np.ascontiguousarray(found[::-1])

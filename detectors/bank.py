"""A bank of order statistics: the same harm seen short and sharp, or long and low.

Of the deviations since the change,

* ``b1`` is the last one, ``b3`` the smallest of the last 3, ``b10`` the third-smallest of the last 10 and ``b30`` the
  eleventh-smallest of the last 30: for a shift to raise one of them, most of the samples must take part, so one outlier
  or one missing sample does nothing. Down is the mirror image;
* ``spread`` is the seventh-smallest distance of the last 10 from their median.

A statistic of a deviation from a level is the statistic of the values less that level, which is what makes hundreds of
shadow changes cheap: the bank slides once over the values, whatever the level.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STATISTICS = ("b1 up", "b3 up", "b10 up", "b30 up", "b1 down", "b3 down", "b10 down", "b30 down", "spread")
LENGTHS = np.array([1, 3, 10, 30, 1, 3, 10, 30, 10], dtype=np.int64)
"""How many samples each statistic needs."""
SIGNS = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 0.0])
"""A statistic of deviations from a level is that of the values minus sign times the level."""
COUNT = len(STATISTICS)
RING = 30
LONG = 100
"""Windows longer than this are followed by rank: to keep them sorted would cost more."""


@numba.njit(cache=True, nogil=True)
def _swap(ordered, size, old, new, full):  # type: ignore[no-untyped-def]
    """Put ``new`` into the ascending ``ordered[:size]``, in the place of ``old`` when it is full."""
    hole = size
    if full:
        hole = 0
        while ordered[hole] != old:
            hole += 1
    while hole > 0 and ordered[hole - 1] > new:
        ordered[hole] = ordered[hole - 1]
        hole -= 1
    last = size - 1 if full else size
    while hole < last and ordered[hole + 1] < new:
        ordered[hole] = ordered[hole + 1]
        hole += 1
    ordered[hole] = new


@numba.njit(cache=True, nogil=True)
def push(value, seen, ring, ten, thirty, out):  # type: ignore[no-untyped-def]
    """Take one value (not NaN) as the ``seen``-th (from 0) and write the nine statistics, -inf where too few were seen.

    ``ring`` float64[30], ``ten`` float64[10] and ``thirty`` float64[30] are the state: the values in their order of
    arrival, and the last 10 and 30 of them ascending.
    """
    _swap(ten, min(seen, 10), ring[(seen - 10) % RING], value, seen >= 10)
    _swap(thirty, min(seen, RING), ring[seen % RING], value, seen >= RING)
    ring[seen % RING] = value
    out[:] = -np.inf
    out[0] = value
    out[4] = -value
    if seen >= 2:
        before = ring[(seen - 1) % RING]
        third = ring[(seen - 2) % RING]
        out[1] = min(value, before, third)
        out[5] = -max(value, before, third)
    if seen >= 9:
        out[2] = ten[2]
        out[6] = -ten[7]
        middle = 0.5 * (ten[4] + ten[5])
        # The seven nearest to the median are neighbours in order: four places where they can begin.
        spread = np.inf
        for i in range(4):
            spread = min(spread, max(middle - ten[i], ten[i + 6] - middle))
        out[8] = spread
    if seen >= 29:
        out[3] = thirty[10]
        out[7] = -thirty[19]


@numba.njit(cache=True, nogil=True, inline="always")
def _renew(ordered, size, old, new, spare):  # type: ignore[no-untyped-def]
    """Replace ``old`` by ``new`` in the ascending ``ordered[:size]``; infinity stands behind it and in empty places.

    The same as ``_swap`` for a whole past at once: without a branch, so the processor takes several places at a time.
    """
    for k in range(size):
        spare[k] = ordered[k] if ordered[k] < old else ordered[k + 1]
    ordered[0] = min(spare[0], new)
    for k in range(1, size):
        ordered[k] = max(spare[k - 1], min(spare[k], new))


@numba.njit(cache=True, nogil=True)
def slide(values):  # type: ignore[no-untyped-def]
    """The nine statistics at each of ``values`` (float64[m], no NaN): float64[m, 9], -inf where too few came before.

    >>> rows = slide(np.array([0.0, 0.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
    >>> rows[[2, 4, 9], 1], rows[[9, 10], 2], rows[[9, 10], 6]
    (array([0., 1., 5.]), array([1., 2.]), array([-6., -7.]))
    """
    out = np.full((len(values), COUNT), -np.inf)
    ten, thirty, spare = np.full(11, np.inf), np.full(RING + 1, np.inf), np.empty(RING)
    for i in range(len(values)):
        value = values[i]
        _renew(ten, 10, values[i - 10] if i >= 10 else np.inf, value, spare)
        _renew(thirty, RING, values[i - RING] if i >= RING else np.inf, value, spare)
        out[i, 0] = value
        out[i, 4] = -value
        if i >= 2:
            out[i, 1] = min(value, values[i - 1], values[i - 2])
            out[i, 5] = -max(value, values[i - 1], values[i - 2])
        if i >= 9:
            out[i, 2] = ten[2]
            out[i, 6] = -ten[7]
            middle = 0.5 * (ten[4] + ten[5])
            spread = np.inf
            for k in range(4):
                spread = min(spread, max(middle - ten[k], ten[k + 6] - middle))
            out[i, 8] = spread
        if i >= 29:
            out[i, 3] = thirty[10]
            out[i, 7] = -thirty[19]
    return out


@numba.njit(cache=True, nogil=True)
def rolling_median(values, length):  # type: ignore[no-untyped-def]
    """Median of the last ``length`` of ``values`` (no NaN) at each of them; NaN before there are so many.

    >>> rolling_median(np.array([3.0, 1.0, 2.0, 9.0]), 3)
    array([nan, nan,  2.,  2.])
    """
    if length > LONG:
        return median_by_rank(values, np.argsort(values), length)
    out = np.full(len(values), np.nan)
    ordered, spare = np.full(length + 1, np.inf), np.empty(length)
    for i in range(len(values)):
        _renew(ordered, length, values[i - length] if i >= length else np.inf, values[i], spare)
        if i >= length - 1:
            out[i] = 0.5 * (ordered[(length - 1) // 2] + ordered[length // 2])
    return out


@numba.njit(cache=True, nogil=True)
def median_by_rank(values, order, length):  # type: ignore[no-untyped-def]
    """The rolling median of a long window, with the ``order`` that sorts the values (int64[m]) known.

    One mark a rank says which values are in the window; a pointer to the lower of the two in its middle moves to the
    next mark whenever a value leaves on one side and another comes on the other.
    """
    n = len(values)
    out = np.full(n, np.nan)
    if n < length:
        return out
    ranks, present = np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    for rank in range(n):
        ranks[order[rank]] = rank
    present[ranks[:length]] = True
    low = -1
    for _ in range((length - 1) // 2 + 1):
        low += 1
        while not present[low]:
            low += 1
    for i in range(length - 1, n):
        if i >= length:
            new, old = ranks[i], ranks[i - length]
            present[new], present[old] = True, False
            if new < low <= old:
                low -= 1
                while not present[low]:
                    low -= 1
            elif old <= low < new:
                low += 1
                while not present[low]:
                    low += 1
        high = low
        if length % 2 == 0:
            high += 1
            while not present[high]:
                high += 1
        out[i] = 0.5 * (values[order[low]] + values[order[high]])
    return out


def rolling_medians(values: Floats, lengths: tuple[int, ...]) -> Floats:
    """Rolling medians of several lengths beside each other: float64[m, lengths]."""
    order = np.argsort(values)
    found = [
        median_by_rank(values, order, length) if length > LONG else rolling_median(values, length) for length in lengths
    ]
    return np.column_stack(found)

"""The hour of the day and the day of the week: what a series does at this time on other days.

The season of a moment is the median of the same slot and its two neighbours on five earlier days; of the week, on
three earlier weeks. A slot is a minute, or one sample where samples are rarer. Only days that were over before the
longest watch began are used, so the season of a moment is the same number whatever the moment of the change: it is
frozen at the start of a change without being stored for it.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY = 86_400.0
SLOT_SECONDS = 60.0
DAYS = 5
WEEKS = 3


@numba.njit(cache=True, nogil=True)
def _slot_medians(y, slots, first, count):  # type: ignore[no-untyped-def]
    """Median of the present samples of each slot; NaN where there is none. ``slots`` never decreases."""
    out = np.full(count, np.nan)
    buffer = np.empty(len(y))
    i = 0
    while i < len(y):
        slot = slots[i]
        kept = 0
        while i < len(y) and slots[i] == slot:
            if not np.isnan(y[i]):
                buffer[kept] = y[i]
                kept += 1
            i += 1
        if kept == 1:
            out[slot - first] = buffer[0]
        elif kept:
            out[slot - first] = np.median(buffer[:kept])
    return out


@numba.njit(cache=True, nogil=True)
def _profile(medians, wanted, first, step, lag, repeats):  # type: ignore[no-untyped-def]
    """Median of a slot and its neighbours over ``repeats`` earlier periods of ``step`` slots, from ``lag`` back."""
    out = np.full(len(wanted), np.nan)
    buffer = np.empty(3 * repeats)
    for i in range(len(wanted)):
        if i and wanted[i] == wanted[i - 1]:
            out[i] = out[i - 1]
            continue
        kept = 0
        for back in range(lag, lag + repeats):
            centre = wanted[i] - first - back * step
            for slot in range(max(centre - 1, 0), min(centre + 2, len(medians))):
                value = medians[slot]
                if not np.isnan(value):
                    j = kept
                    while j > 0 and buffer[j - 1] > value:
                        buffer[j] = buffer[j - 1]
                        j -= 1
                    buffer[j] = value
                    kept += 1
        if kept:
            out[i] = 0.5 * (buffer[(kept - 1) // 2] + buffer[kept // 2])
    return out


def seasons(y: Floats, *, period: float, end: float, watch: int, tail: int) -> Floats:
    """Seasons of the last ``tail`` samples of ``y`` and of the ``watch`` samples after them.

    ``y`` is a regular grid of ``period`` seconds whose last entry is at ``end`` Unix seconds. Returns
    float64[2, tail + watch]: the day, and half day plus half week; NaN where the past does not reach.

    >>> y = np.tile([0.0, 0.0, 5.0, 0.0, 0.0, 0.0], 4)  # a job at eight o'clock, every day, seen every four hours
    >>> seasons(y, period=14400.0, end=23 * 14400.0, watch=6, tail=1)[0, 1:]
    array([nan, nan, nan, nan, nan, nan])
    >>> y = np.tile(np.repeat([0.0, 0.0, 5.0, 0.0], 12), 4)  # a quiet quarter of an hour every half hour
    >>> hours = seasons(y, period=1800.0, end=191 * 1800.0, watch=48, tail=1)[0, 1:]
    >>> hours[[6, 30, 42]]
    array([0., 5., 0.])
    """
    out = np.full((2, tail + watch), np.nan)
    width = max(SLOT_SECONDS, period)
    a_day = int(DAY / width + 0.5)
    if a_day < 8 or not len(y):
        return out
    moments = end + period * (np.arange(len(y) + watch) - (len(y) - 1))
    day = np.floor(moments / DAY)
    # The nudge keeps a sample that lies on the edge of its slot from falling either way by rounding.
    slots = (day * a_day + np.minimum(np.floor((moments - day * DAY) / width + 1e-6), a_day - 1)).astype(np.int64)
    first, last = slots[0], slots[len(y) - 1]
    medians = _slot_medians(y, slots[: len(y)], first, last - first + 1)
    reach = watch * period + 2.0 * width
    wanted = slots[len(y) - tail :]
    out[0] = _profile(medians, wanted, first, a_day, int(np.ceil(reach / DAY)), DAYS)
    week = _profile(medians, wanted, first, 7 * a_day, int(np.ceil(reach / (7.0 * DAY))), WEEKS)
    out[1] = 0.5 * out[0] + 0.5 * week
    return out

"""New beside old for many series side by side, so that compiled code compares those of all of them in one call.

What `ConcurrentTest` and `ReplacedTest` hold of one series is a row here; what differs in length lies one after
another. The judging is their own: only what they hand to it is put together in compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import concurrent
from detectors.concurrent import STATISTICS, ConcurrentCalibration, ConcurrentTest, judge
from detectors.replaced import ReplacedTest
from detectors.transform import forward, inverse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# numba takes globals of this module as constants of the compiled code.
LEVEL, LEAST_LEVEL, WARM_UP_RATIO = concurrent.LEVEL, concurrent.LEAST_LEVEL, concurrent.WARM_UP_RATIO
WARM_UP_FAILURE = concurrent.WARM_UP_FAILURE
SHORT, SHORT_BOUNDED = concurrent.SHORT, concurrent.SHORT_BOUNDED
TAIL, TAIL_BOUNDED = concurrent.TAIL, concurrent.TAIL_BOUNDED

#: Of a series: whether it is compared; its transform; whether harm goes both ways, whether it is a success rate, and
#: whether there is a test for when none of the old is left; old instances before; samples that are the warm-up of a new
#: one; where its windows begin and how many there are, beside the old and without them; where its new ones begin, and
#: how many there are.
(
    READY, _FORM, _BOTH, _BOUNDED, _AWAY, _BEFORE, _WARM_UP, _WINDOWS, _COUNT, _AWAY_WINDOWS, _AWAY_COUNT, _NEW, _NEWS,
) = range(13)  # fmt: skip
#: And: unit and top of the transform, its sign; level of the old before, as it is judged and in own units; the two
#: variances, least effects, and the variance without the old.
_UNIT, _TOP, _SIGN, _LEVEL, _OWN_LEVEL, _SIGMA2, _TAU2, _UP, _DOWN, _AWAY_SIGMA2 = range(10)
#: What is written of each bin: running log p, effect, new values so far; and of the test without the old running log p,
#: effect, how the old ended, bins so far.
LOG_P, EFFECT, VALUES, AWAY_LOG_P, AWAY_EFFECT, ENDED, BINS = range(7)
OUT = 7


class BesideRows(NamedTuple):
    """Tables and states of n series; of two states the second is for when none of the old is left."""

    tables: Ints
    """int64[n, 13]"""
    scales: Floats
    """float64[n, 10]"""
    windows: Ints
    reference: Floats
    log_rank: Floats
    u: Floats
    """float64[n, 2, 2, 10]"""
    tops: Floats
    """float64[n, 2, 2, 9]"""
    state: Floats
    """float64[n, 2, 3]"""
    seen: Ints
    """How many values each new instance has shown."""
    last: Floats
    """float64[n, 30]: the last levels of the old, the oldest first; int64[n] in ``held`` how many there are."""
    held: Ints


def side_by_side(tests: Sequence[tuple[ConcurrentTest, ReplacedTest | None, int] | None]) -> BesideRows:
    """Rows of these tests, each with the number of its new instances; their states are parts of the rows from now on.

    None for a series that is not compared. The calibration of each test must be ready.
    """
    n, count = len(tests), len(STATISTICS)
    tables, scales = np.zeros((n, 13), np.int64), np.ones((n, 10))
    u, tops, state = np.zeros((n, 2, 2, 10)), np.zeros((n, 2, 2, count)), np.zeros((n, 2, 3))
    seen = np.zeros(sum(one[2] for one in tests if one is not None), np.int64)
    last, held = np.zeros((n, LEVEL)), np.zeros((n, 1), np.int64)
    judged: list[ConcurrentCalibration] = []
    windows = begun = 0
    for row, one in enumerate(tests):
        if one is None:
            continue
        beside, replaced, news = one
        c = beside.calibration
        beside.comparison.move(u[row, 0], tops[row, 0], state[row, 0], seen[begun : begun + news])
        form, unit, top = c.transform.code
        tables[row, [READY, _FORM, _BOTH, _BOUNDED, _BEFORE, _WARM_UP, _WINDOWS, _COUNT, _NEW, _NEWS]] = (
            1, form, c.harm == "both", c.transform.form == "bounded", c.instances, beside.comparison.warm_up, windows,
            len(c.windows), begun, news,
        )  # fmt: skip
        own = float(c.own(np.array([c.level]))[0])
        sign = -1.0 if c.harm == "down" else 1.0
        scales[row] = unit, top, sign, c.level, own, c.sigma**2, c.tau2, *c.least, 0.0
        windows, begun = windows + len(c.windows), begun + news
        judged.append(c)
        away = None if replaced is None else replaced.comparison
        if replaced is not None and away is not None:
            # It counts the same values of the same instances.
            away.move(u[row, 1], tops[row, 1], state[row, 1], beside.comparison.seen)
            replaced.move(last[row], held[row])
            tables[row, [_AWAY, _AWAY_WINDOWS, _AWAY_COUNT]] = 1, windows, len(away.calibration.windows)
            scales[row, _AWAY_SIGMA2] = away.calibration.sigma**2
            windows += len(away.calibration.windows)
            judged.append(away.calibration)
    parts: tuple[NDArray[Any], ...] = (
        np.concatenate([np.empty(0, np.int64), *(c.windows for c in judged)]),
        np.concatenate([np.empty((0, count)), *(c.reference for c in judged)]),
        np.concatenate([np.empty((0, count)), *(c.log_rank for c in judged)]),
    )
    return BesideRows._make((tables, scales, *parts, u, tops, state, seen, last, held[:, 0]))


@numba.njit(cache=True, nogil=True)
def compare_row(rows, row, said, news, olds, out):  # type: ignore[no-untyped-def]
    """Take the next bins of one series: ``said`` float64[instances, k], own units; ``news`` and ``olds`` number them.

    ``out`` float64[7, k] is written to.
    """
    table, scale = rows.tables[row], rows.scales[row]
    form, unit, top, sign, bounded = table[_FORM], scale[_UNIT], scale[_TOP], scale[_SIGN], table[_BOUNDED] != 0
    k, away = said.shape[1], table[_AWAY] != 0
    seen = rows.seen[table[_NEW] : table[_NEW] + table[_NEWS]]
    own_new, own_old = np.full((k, len(news)), np.nan), np.full((k, len(olds)), np.nan)
    new, patient, old = own_new.copy(), own_new.copy(), own_old.copy()
    warming, left = np.zeros((k, len(news)), np.bool_), np.zeros(k, np.bool_)
    for t in range(k):
        for j in range(len(olds)):
            value = said[olds[j], t]
            if np.isfinite(value):
                own_old[t, j], old[t, j], left[t] = value, sign * forward(form, unit, top, value), True
        for j in range(len(news)):
            value = said[news[j], t]
            warming[t, j] = seen[j] < table[_WARM_UP]
            if np.isfinite(value):
                seen[j] += 1
                kind = min(value + WARM_UP_FAILURE * top, top) if bounded else value
                own_new[t, j], new[t, j] = value, sign * forward(form, unit, top, value)
                patient[t, j] = sign * forward(form, unit, top, kind)
        out[VALUES, t] = seen.sum()
    tail = TAIL_BOUNDED if bounded else TAIL
    allowance = 0.0 if bounded else WARM_UP_RATIO
    short = SHORT_BOUNDED if bounded else SHORT
    both, before, tau2 = table[_BOTH] != 0, max(table[_BEFORE], 1), scale[_TAU2]
    levels, own_levels = np.full(k, scale[_LEVEL]), np.full(k, scale[_OWN_LEVEL])
    first, end = table[_WINDOWS], table[_WINDOWS] + table[_COUNT]
    found, hidden = np.empty((4, k)), new
    if away:
        # Where nobody is left beside them, the other test judges.
        hidden = new.copy()
        for t in range(k):
            if not left[t]:
                hidden[t, :] = np.nan
    judge(
        hidden, patient, old, own_new, own_old, allowance, warming, levels, own_levels, scale[_SIGMA2], tau2, before,
        scale[_UP], scale[_DOWN], both, rows.windows[first:end], rows.reference[first:end], rows.log_rank[first:end],
        tail, short, rows.u[row, 0], rows.tops[row, 0], rows.state[row, 0], found,
    )  # fmt: skip
    out[LOG_P], out[EFFECT] = found[0], found[1]
    out[AWAY_LOG_P:] = 0.0
    if not away:
        return
    own_then, then = np.empty((k, before)), np.empty((k, before))
    last, held = rows.last[row], rows.held[row]
    for t in range(k):
        if left[t]:
            total, count = 0.0, 0
            for j in range(len(olds)):
                if not np.isnan(old[t, j]):
                    total, count = total + old[t, j], count + 1
            if held == LEVEL:
                last[:-1] = last[1:].copy()
                held -= 1
            last[held] = total / count
            held += 1
            new[t, :] = np.nan
        levels[t] = np.median(last[:held]) if held else np.nan
        ended = np.median(last[max(0, held - LEAST_LEVEL) : held]) if held else np.nan
        own_levels[t] = inverse(form, unit, top, sign * levels[t])
        out[ENDED, t] = inverse(form, unit, top, sign * ended)
        own_then[t, :] = out[ENDED, t]
        then[t, :] = sign * forward(form, unit, top, out[ENDED, t]) if np.isfinite(out[ENDED, t]) else np.nan
    rows.held[row] = held
    first, end = table[_AWAY_WINDOWS], table[_AWAY_WINDOWS] + table[_AWAY_COUNT]
    judge(
        new, patient, then, own_new, own_then, allowance, warming, levels, own_levels, scale[_AWAY_SIGMA2], tau2,
        before, scale[_UP], scale[_DOWN], both, rows.windows[first:end], rows.reference[first:end],
        rows.log_rank[first:end], tail, short, rows.u[row, 1], rows.tops[row, 1], rows.state[row, 1], found,
    )  # fmt: skip
    for t in range(k):
        out[AWAY_LOG_P, t] = min(found[0, t], 0.0)
        out[AWAY_EFFECT, t], out[BINS, t] = found[1, t], found[3, t]

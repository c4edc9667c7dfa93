"""Shadow changes: what the watch of a change would have seen, had the change come earlier, when there was none.

No textbook distribution describes production telemetry. So the very thing that is done after a change is done at many
moments of the series' own past, and the largest excursion of those shadow watches is the yardstick ``Q`` of each
statistic. A shadow watch that touches time in which a change was being watched, or that begins while the level still
settles after it, never counts: a past full of harm would teach the detector that harm is normal.

Nor does one that begins while the series is far from where it usually is, when the change itself does not: what follows
an outage is the way back, and says nothing of what follows a change on an ordinary day. That is a conformal prediction
within a category known before the outcome (Mondrian; Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*,
2005), so it keeps its validity.

Each statistic is judged against its own baseline, a season (none, day, day and week) and a level (the median of the
last 10, 60 or 360 samples), the one that would have predicted best **on the same shadows**. A season or a longer level
is unknown for some shadows, and comparing over different ones lets noisy profiles win.

What makes it hold on degenerate series: the maximum is shrunk towards what pooled telemetry shows in units of the
series' own one-step scale, no statistic is believed to average out better than white noise would let it, and nothing
under a least effect is an excursion at all.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import bank

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# numba takes globals of this module as constants of the compiled code.
LENGTHS, SIGNS = bank.LENGTHS, bank.SIGNS
SEASONS = 3
LEVELS = (10, 60, 360)
BASELINES = SEASONS * len(LEVELS)
"""Baseline ``b`` is season ``b // 3`` (none, day, day and week) with level ``b % 3``."""
SETTLE = 10
"""A window counts as touched until this many samples after the time that may not be used."""
ENOUGH = 12
"""Shadows needed before a season or a long level may be chosen."""
SEASON_GAIN = 0.9
SHRINK = 6.0
RECENT = 500
KAPPA = np.array([9.5, 7.5, 6.0, 4.0, 9.5, 7.5, 6.0, 4.0, 6.0])
"""Largest excursion of a watch of 60 samples in units of the one-step scale: pooled medians of placebo changes."""
WHITE = np.array([1.0, 0.4, 0.21, 0.14, 1.0, 0.4, 0.21, 0.14, 0.4])
"""Largest excursion of each statistic over that of ``b1`` on white noise."""


SHARP_TAIL = 1.5
TAILS = np.array([1.5, 2.0, 2.5, 3.5, 1.5, 2.0, 2.5, 3.5, 1.5])
"""Exponents of the tail beyond the largest excursion: what lasts exceeds its past less far than what is sharp does."""
PRICES = np.log(np.array([0.1, 1.0, 1.0, 1.0, 0.1, 1.0, 1.0, 1.0, 0.3]))
"""Log share of the error rate of each statistic: a single sample out of range is the least of harm and the most of
noise, so it must stand out further than what lasts."""
PRICES_SHORT = np.log(np.array([0.5, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.3]))
"""The same for a watch of fewer than fifteen samples, in which little can last."""
FIRST, REST, FADE = 0.05, 0.85, 0.6
"""Shares of the error rate: of the first window, of the others together, and of each against the one before it. A tenth
is kept in reserve, because windows that were alike in the past are not quite in the future."""
ODD = 3.0
"""A shadow that begins so many times further from the long level than usual is not like an ordinary day."""
LEAST_AWAY = 0.05
"""Nearer to the long level than this (5 %) nothing is odd."""
STILL = 60
"""A series that did not move for so many samples lies still."""
ALIKE = 0.25
"""Where fewer of the past's moments than this are left as ordinary, all are taken."""
EARNED = 20.0
"""Disjoint shadows that make half of the difference: in a short past the next slow swing is still unknown."""


def windows_of(watch: int) -> tuple[int, ...]:
    """Nested windows of a watch: 5, 15, 60, 240, … while they are at most half of it, and the watch itself.

    >>> windows_of(30), windows_of(60), windows_of(1800)
    ((5, 15, 30), (5, 15, 60), (5, 15, 60, 240, 1800))
    """
    windows, size = [], 5
    while 2 * size <= watch:
        windows.append(size)
        size *= 3 if size == 5 else 4
    return (*windows, watch)


def shares_of(windows: tuple[int, ...]) -> tuple[float, ...]:
    """Share of the error rate that each nested window carries.

    Most shadows are in the second: it is long enough for harm to show as more than one bad sample, and short enough for
    the past to hold hundreds of it.

    >>> [round(share, 3) for share in shares_of((5, 15, 60))]
    [0.05, 0.531, 0.319]
    """
    weights = [FADE**i for i in range(len(windows) - 1)]
    return (FIRST, *(REST * weight / sum(weights) for weight in weights)) if weights else (REST,)


def prices_of(watch: int) -> Floats:
    """Log share of the error rate that each statistic carries in a watch of so many samples: float64[9]."""
    return np.asarray(PRICES if watch >= 15 else PRICES_SHORT)


def stride_of(window: int) -> int:
    """Distance between neighbouring shadows of a window."""
    return max(5, window // 6)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the past says of one nested window, for each of the nine statistics (float64[9] each)."""

    window: int
    baseline: Ints
    level: Floats
    excursion: Floats
    disjoint: Floats
    tail: Floats
    surprises: Floats
    """Sorted evidence, ``max a log R + log(N + 1)``, of every shadow watch itself."""
    price: Floats
    """Log share of the error rate that each statistic carries."""
    share: float
    """Share of the error rate that the window carries."""


@numba.njit(cache=True, nogil=True)
def excursions(rows, levels, last, unusable, odd, window, stride, out):  # type: ignore[no-untyped-def]
    """Largest deviation of each statistic in each shadow watch of ``window`` samples, the youngest shadow first.

    ``rows`` float64[m, 9] and ``levels`` float64[m, 3] belong to the m present samples, ``last`` int64[n] is the index
    of the last present sample up to each moment (-1: none), ``unusable`` int64[n + 1] the running count of moments
    that may not be used, ``odd`` bool[n] those at which no shadow may begin. Writes ``out`` float64[shadows, 9, 3]; NaN
    where a shadow does not count or is too short.
    """
    largest = np.empty(len(LENGTHS))
    for shadow in range(out.shape[0]):
        moment = len(last) - 1 - window - shadow * stride
        out[shadow] = np.nan
        before, final = last[moment], last[moment + window]
        touched = unusable[moment + window + 1] - unusable[max(moment + 1 - SETTLE, 0)]
        if touched or odd[moment] or before < 0 or 2 * (final - before) < window:
            continue
        largest[:] = -np.inf
        for i in range(before + 1, final + 1):
            seen = i - before
            # Each statistic counts from the sample at which all it looks at came after the change.
            for j in range(len(LENGTHS)):
                largest[j] = max(largest[j], rows[i, j] if seen >= LENGTHS[j] else -np.inf)
        for j in range(len(LENGTHS)):
            if largest[j] > -np.inf:
                for level in range(levels.shape[1]):
                    out[shadow, j, level] = largest[j] - SIGNS[j] * levels[before, level]


@numba.njit(cache=True, nogil=True)
def _select(values, rank):  # type: ignore[no-untyped-def]
    """The ``rank``-th smallest (from 0) of ``values``, which are put into another order (Hoare's quickselect, 1961)."""
    left, right = 0, len(values) - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            break
    return values[rank]


@numba.njit(cache=True, nogil=True)
def _quantile(values, where, buffer):  # type: ignore[no-untyped-def]
    """The 90 % quantile of ``values`` where ``where`` is known too (its index ceil(.9 m)), and how many there are."""
    kept = 0
    for i in range(len(values)):
        if not np.isnan(values[i]) and not np.isnan(where[i]):
            buffer[kept] = values[i]
            kept += 1
    if kept == 0:
        return np.nan, 0
    return _select(buffer[:kept], int(np.ceil(0.9 * kept)) - 1), kept


@numba.njit(cache=True, nogil=True)
def _better(values, plain, whole, total, best, buffer):  # type: ignore[no-untyped-def]
    """Quantile of ``values`` over that of ``plain`` on the same shadows, if less than ``best``; else ``best``.

    ``whole`` is the quantile of all the known ``plain``, ``total`` how many shadows there are.
    """
    kept = lost = 0
    for i in range(len(values)):
        if not np.isnan(plain[i]):
            if np.isnan(values[i]):
                lost += 1
            else:
                buffer[kept] = values[i]
                kept += 1
    if kept < ENOUGH or 2 * kept < total:
        return best
    rank = int(np.ceil(0.9 * kept)) - 1
    base = whole
    if lost:
        here = np.empty(kept)
        kept = 0
        for i in range(len(values)):
            if not np.isnan(plain[i]) and not np.isnan(values[i]):
                here[kept] = plain[i]
                kept += 1
        base = _select(here, rank)
    if base <= 0.0:
        return best
    # To count is cheaper than to select: most candidates are no better. The margin keeps rounding out of it.
    limit, below = best * base * (1.0 + 1e-9), 0
    for i in range(kept):
        below += buffer[i] < limit
    if below <= rank:
        return best
    return min(best, _select(buffer[:kept], rank) / base)


@numba.njit(cache=True, nogil=True)
def choose(shadows, fallback):  # type: ignore[no-untyped-def]
    """The baseline of each statistic: int64[9], from ``shadows`` float64[shadows, 9, 9] (statistic, baseline).

    ``fallback`` is the plain level taken where there are fewer than twelve shadows.
    """
    count, statistics, baselines = shadows.shape
    chosen = np.full(statistics, fallback)
    buffer = np.empty(count)
    columns = np.empty((baselines, count))
    for j in range(statistics):
        for b in range(baselines):
            columns[b] = shadows[:, j, b]
        whole, total = _quantile(columns[0], columns[0], buffer)
        if total < ENOUGH:
            continue
        best, ratio = 0, 1.0
        for b in range(1, 3):
            found = _better(columns[b], columns[0], whole, total, ratio, buffer)
            if found < ratio:
                best, ratio = b, found
        level, ratio = best, SEASON_GAIN
        if level:
            whole, _ = _quantile(columns[level], columns[level], buffer)
        for b in range(3, baselines):
            found = _better(columns[b], columns[level], whole, total, ratio, buffer)
            if found < ratio:
                best, ratio = b, found
        chosen[j] = best
    return chosen


def odd_moments(values: Floats, medians: Floats, last: Ints) -> NDArray[np.bool_]:
    """Where the short level was far from the long one, or the series lay still while it moves now: bool[n].

    ``values`` float64[m] and ``medians`` float64[m, 3] belong to the present samples, ``last`` int64[n] is the index of
    the last of them up to each moment. A change that comes at an odd moment is compared with moments as odd as its own.
    """
    away = np.abs(medians[:, 0] - medians[:, -1])
    known = ~np.isnan(away)
    odd = np.zeros(len(values), dtype=bool)
    if known.any():
        here = float(away[-1]) if known[-1] else 0.0
        limit = max(ODD * float(np.median(away[known])), 1.5 * here, LEAST_AWAY)
        odd = np.nan_to_num(away) > limit
        if np.count_nonzero(odd) >= (1.0 - ALIKE) * len(odd):
            odd[:] = False
    moved = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
    since = np.arange(len(values)) - moved[np.searchsorted(moved, np.arange(len(values)), side="right") - 1]
    if since[-1] < STILL:
        # What a series did not do while it was off says nothing of what it does when it is on.
        odd |= since >= STILL
    return np.where(last >= 0, odd[last], False)


def tails(disjoint: Floats) -> Floats:
    """Exponent of the tail of each statistic after so many ``disjoint`` shadows (float64[9] both).

    >>> tails(np.full(9, 20.0))[:4]
    array([1.5 , 1.75, 2.  , 2.5 ])
    """
    return np.asarray(SHARP_TAIL + (TAILS - SHARP_TAIL) * disjoint / (disjoint + EARNED))


def grow(window: int) -> float:
    """How much smaller excursions are in a shorter window: 0.5, 0.7 and 1 at 5, 15 and 60 samples."""
    return float((window / 60.0) ** 0.28)


def yardsticks(own: Floats, shadows: Floats, sigma: Floats, window: int, floor: float) -> Floats:
    """The excursion ``Q`` of each statistic that counts as the largest so far: float64[9], positive.

    ``own`` is the largest of the ``shadows`` (how many) watches, ``sigma`` the one-step scale of its baseline, both
    float64[9]; ``floor`` the least effect. ``log Q = w log own + (1 - w) log(kappa sigma)``, ``w = N / (N + 6)``.

    >>> calm = np.zeros(9)
    >>> yardsticks(calm, np.full(9, 400.0), calm, 60, floor=0.05)
    array([0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    """
    weight = shadows / (shadows + SHRINK)
    tiny = 1e-12
    q = np.exp(
        weight * np.log(np.maximum(own, tiny)) + (1.0 - weight) * np.log(np.maximum(KAPPA * grow(window) * sigma, tiny))
    )
    sharp = np.concatenate([np.full(4, q[0]), np.full(4, q[4]), [max(q[0], q[4])]])
    return np.asarray(np.maximum(np.maximum(q, WHITE * sharp), floor))


def room(tail: int, span: int, window: int) -> Floats:
    """NaN for each shadow of ``window`` that fits behind its level: float64[shadows, 9, 9]."""
    oldest = max(SETTLE - 1, tail - 1 - span)
    count = max(0, (tail - 1 - window - oldest) // stride_of(window) + 1)
    return np.full((count, bank.COUNT, BASELINES), np.nan)


def yardstick(
    window: int,
    found: Floats,
    levels: Floats,
    sigmas: Floats,
    fallback: int,
    floor: float,
    active: tuple[int, ...],
    share: float,
    price: Floats,
) -> Yardstick | None:
    """The yardstick of one window from its shadows, or None where no shadow counts."""
    unknown = np.isnan(levels)
    if unknown.any():
        found = np.where(unknown, np.nan, found)
    baseline = choose(found, fallback)
    mine = np.take_along_axis(found, baseline[None, :, None], axis=2)[:, :, 0]
    known = np.count_nonzero(~np.isnan(mine), axis=0).astype(np.float64)
    if known[0] == 0:
        return None
    own = np.max(np.where(np.isnan(mine), -np.inf, mine), axis=0)
    disjoint = known * min(1.0, stride_of(window) / window)
    excursion = yardsticks(own, disjoint * max(1.0, window / 10.0), sigmas[baseline], window, floor)
    tail = tails(disjoint)
    with np.errstate(divide="ignore", invalid="ignore"):
        evidence = tail * np.log(np.where(mine > 0.0, mine, 0.0) / excursion) + np.log(disjoint + 1.0) + price
    part = evidence[~np.isnan(mine[:, 0])][:, list(active)]
    surprises = np.sort(np.max(part, axis=1))
    return Yardstick(window, baseline, levels[baseline], excursion, disjoint, tail, surprises, price, share)

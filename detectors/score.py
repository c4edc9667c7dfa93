"""How odd is each row of one series, with no change given: for comparison with streaming detectors.

The same pieces as the own past, turned into a stream: the row's deviation from its baseline (a season and a level of
past rows, the pair that erred least in its last 250 rows), measured in the 99 % excursion of its own past in that
direction, never less than the 5 % least effect. 1 is what happens in a hundred rows; 2 is twice that. Only the sharp
statistic of the bank is used: lasting ones say again what the first row said.

An incident is one event: a row counts in full when nothing so odd was seen in the last 300 rows, otherwise only by what
it adds to that, which is negative when it adds nothing.

Everything is causal. The transform and the period are fitted again whenever the series has grown by a quarter and hold
for the rows that follow, so the whole costs a small multiple of one pass.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import bank
from detectors.own_past import LEAST
from detectors.season import seasons
from detectors.shadow import SEASON_GAIN
from detectors.transform import fit

Floats = NDArray[np.float64]

FIRST = 50
GROWTH = 1.25
LEVELS = (60, 360)
EXCURSION = 0.99
FORGET = 0.01
QUIET = 300
TRIED = 25
MEMORY = 250
BASELINES = 3 * len(LEVELS)


def score(values: Floats, times: Floats | None = None) -> Floats:
    """Score of each row, float64[n], from the rows up to it only: larger is odder, 0 where no value is.

    ``values`` float64[n] with NaN = missing, ``times`` float64[n] Unix seconds (none: no season is looked for).
    Raises ValueError when the two differ in length.

    >>> values = np.random.default_rng(3).lognormal(3.0, 0.1, 1000)
    >>> values[700] *= 3.0
    >>> int(np.argmax(score(values)))
    700
    """
    x = np.ascontiguousarray(values, dtype=np.float64)
    if times is not None and len(times) != len(x):
        raise ValueError(f"{len(times)} times for {len(x)} values: expected one for each")
    deviations = np.full((len(x), BASELINES), np.nan)
    begin = FIRST
    while begin < len(x):
        end = max(begin + FIRST, int(begin * GROWTH))
        # A block that is not full yet is filled up with missing rows, so that what comes later changes no bit of it.
        block = np.concatenate([x[:end], np.full(max(0, end - len(x)), np.nan)])
        deviations[begin:end] = _deviations(block, begin, times)[: len(x) - begin]
        begin = end
    return np.asarray(_surprise(_choose(deviations), EXCURSION, FORGET, LEAST, QUIET))


def _deviations(x: Floats, begin: int, times: Floats | None) -> Floats:
    """Deviations of the rows from ``begin`` from each baseline: float64[rows, 6], NaN where there is none."""
    y = fit(x[:begin]).forward(x)
    out = np.full((len(y), BASELINES), np.nan)
    away = np.zeros((3, len(y)))
    away[1:] = np.nan
    steps = np.zeros(0) if times is None else np.diff(times[:begin])
    steps = steps[steps > 0.0]
    if times is not None and len(steps):
        period = float(np.median(steps))
        last = float(times[begin - 1]) + period * (len(y) - begin)
        away[1:] = seasons(y, period=period, end=last, watch=1, tail=len(y))[:, :-1]
    for s in range(3):
        rows = np.flatnonzero(~np.isnan(y - away[s]))
        here = (y - away[s])[rows]
        for n, length in enumerate(LEVELS):
            out[rows[1:], len(LEVELS) * s + n] = here[1:] - bank.rolling_median(here, length)[:-1]
    return out[begin:]


def _choose(deviations: Floats) -> Floats:
    """The deviation from the baseline that erred least (median size) in its last 250 rows: float64[n]."""
    best, least = np.full(len(deviations), np.nan), np.full(len(deviations), np.inf)
    for b in range(BASELINES):
        rows = np.flatnonzero(~np.isnan(deviations[:, b]))
        errors = _errors(np.abs(deviations[rows, b]), TRIED, MEMORY)
        better = errors < least[rows] * (1.0 if b < len(LEVELS) else SEASON_GAIN)
        best[rows[better]] = deviations[rows[better], b]
        least[rows[better]] = errors[better]
    return best


@numba.njit(cache=True, nogil=True)
def _errors(sizes, tried, memory):  # type: ignore[no-untyped-def]
    """Median of the last ``memory`` of ``sizes`` before each; infinite until ``tried`` of them came."""
    out = np.full(len(sizes), np.inf)
    whole = bank.rolling_median(sizes, memory)
    for i in range(tried, len(sizes)):
        out[i] = np.median(sizes[:i]) if i < memory else whole[i - 1]
    return out


@numba.njit(cache=True, nogil=True)
def _surprise(deviations, excursion, forget, floor, quiet):  # type: ignore[no-untyped-def]
    """Deviation over the running quantile ``excursion`` of its direction, less the largest of the last ``quiet`` rows.

    The quantile is followed by stochastic approximation (Robbins and Monro, 1951), its step in units of the mean size.
    """
    n = len(deviations)
    out = np.zeros(n)
    raw = np.zeros(n)
    places = np.empty(n, dtype=np.int64)  # a falling queue of the largest rows
    head, tail = 0, 0
    quantile = np.zeros(2)
    size, seen = 0.0, 0
    for t in range(n):
        deviation = deviations[t]
        while head < tail and places[head] < t - quiet:
            head += 1
        if not np.isnan(deviation):
            seen += 1
            size += (abs(deviation) - size) / min(seen, 500)
            step = max(size, floor) * max(forget, 1.0 / (seen + 1.0))
            for side in range(2):
                d = deviation if side == 0 else -deviation
                if seen > 30 and d > 0.0:
                    raw[t] = d / max(quantile[side], floor)
                quantile[side] = max(quantile[side] + step * (excursion - (1.0 if d <= quantile[side] else 0.0)), 0.0)
            peak = raw[places[head]] if head < tail else 0.0
            out[t] = raw[t] if raw[t] > peak else raw[t] - peak
        while tail > head and raw[places[tail - 1]] <= raw[t]:
            tail -= 1
        places[tail] = t
        tail += 1
    return out

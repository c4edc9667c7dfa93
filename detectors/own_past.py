"""Did the series leave its own past after the change? A p-value that may be looked at after every sample.

The watch is cut into nested windows, the first 5, 15, 60 … samples after the change, and the error rate is split over
them (alpha spending): a short window has far more disjoint shadows in the past, so harm right after the change needs
far less excess to be believed. In each window with its share ``s``, with the running maximum ``D`` of each statistic
and that one's share ``v``, its yardstick ``Q`` from ``N`` disjoint shadow watches and ``R = D / Q``,

    p = 1/s min over statistics of R ** -a / (v (N + 1)),

and not less than the rank among the shadows. Half of the error rate goes to harm that lasts: it goes out at two
scales alike, while chance mostly goes out at one of them. So the geometric mean ``G`` of two ``R`` of one direction has
its own ``p = G ** -a / (v (N + 1))``: the smallest of three and the third-smallest of ten, both in the first window of
fifteen samples or more; and what came soon and stayed, the same smallest of three and, in the window after it, the
eleventh-smallest of thirty.

``1 / (N + 1)`` is the conformal part: under exchangeability the new watch
is the largest of ``N + 1`` no more often. ``R ** -a`` is a Pareto tail beyond the largest excursion ever seen, heavy
because what is beyond it in real telemetry are changes of regime, not noise. As the statistic is a running maximum and
``Q`` comes from whole windows, looking after every sample costs nothing more.

The constants are one set for all data and were chosen by placebo changes alone: the steepest tails and the finest
strides for which no public set freezes more than 4 of 1,000 services at an error rate of 0.4 % (``bench.own_past``).

The rank part is that of conformal prediction (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005);
that past and new watches are exchangeable is an assumption, and the placebo bench is its test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import bank, shadow
from detectors.pool import Pool
from detectors.season import seasons
from detectors.shadow import Yardstick, windows_of
from detectors.transform import Transform, fit, forward

# numba takes globals of this module as constants of the compiled code.
push, SIGNS = bank.push, bank.SIGNS
SHARP_TAIL, EARNED = shadow.SHARP_TAIL, shadow.EARNED

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEEDED = 100
"""Fewer present samples than this are no past to judge by."""
SPAN = 4032
"""Samples of the past in which shadows are taken (two weeks at five minutes)."""
LEAST, LEAST_YOUNG = 0.05, 0.10
"""Least effect (5 and 10 %) with and without a day of history: without one the daily swing is unknown."""
LEAST_BOUNDED = float(np.log(2.0))
"""One point below a perfect success rate of 100."""
LASTING, TAIL_LASTING, BELOW = 0.5, 2.0, 2.0
"""Of what lasts: the share of the error rate that the others leave to it; the exponent of its tail, earned as theirs
are; and the exponent below one, which counts only where several metrics are judged together."""
SOON, STAYS = 0.85, 3.0
"""What lasts for ten samples has this share of ``1 / (N + 1)``, what came soon and stayed for thirty this many of it.
After harmless changes the first ``G`` is above one in .2 to .6 of ``N + 1``, mostly in the watches in which one of its
two goes out alone; the second in .06 to .13, above .7 in .2 to .6 and above a half in .6 to 2 (``bench.ceiling``)."""
ROOM = 15
"""Samples of the window in which what lasts is judged: ten, and the first ones after the change."""
NAMES = (*bank.STATISTICS, "lasting up", "lasting down", "staying up", "staying down")
DIRECTIONS = {"up": (0, 1, 2, 3), "down": (4, 5, 6, 7), "both": tuple(range(bank.COUNT))}


@dataclass(frozen=True)
class Calibration:
    """The own past of one series at the start of a change; immutable.

    ``ready`` is False with a ``reason`` where there is too little of it. ``level`` is the median before the change in
    own units and ``scale`` the robust one-step standard deviation there; ``samples`` are the present ones.
    """

    ready: bool
    reason: str
    samples: int
    level: float
    scale: float
    watch: int = 0
    transform: Transform = field(default_factory=lambda: Transform("log", 1.0))
    seasons: Floats = field(default_factory=lambda: np.zeros((shadow.SEASONS, 0)))
    """float64[3, watch]: the season to take away at each look."""
    yardsticks: tuple[Yardstick, ...] = ()
    least: Floats = field(default_factory=lambda: np.zeros(bank.COUNT))
    """Least deviation that counts, for each statistic; infinite where the direction is no harm."""
    expected: Floats = field(default_factory=lambda: np.zeros(0))
    """float64[watch]: what the series was expected to do, own units."""
    lasting: bool = False
    """Whether what goes out at every scale at once has its own share of the error rate."""

    def start(self) -> "Looks":
        """Begin to watch: a new, independent state."""
        return Looks(self)

    @cached_property
    def tables(self) -> tuple[Ints, Floats, Ints, Floats, Ints, Floats, int]:
        """The yardsticks as plain arrays for the kernel."""
        used = self.yardsticks
        room = next((w for w, y in enumerate(used) if self.lasting and y.window >= ROOM), -1)
        left = 1.0 if room < 0 else 1.0 - LASTING
        numbers = np.array([[y.level, y.excursion, np.log(y.disjoint + 1.0), y.tail, y.price] for y in used])
        edges = np.cumsum([0, *(len(y.surprises) for y in used)])
        return (
            np.array([y.window for y in used], dtype=np.int64),
            np.log(np.array([y.share * left for y in used])),
            np.array([y.baseline // len(shadow.LEVELS) for y in used], dtype=np.int64).reshape(-1, bank.COUNT),
            numbers.reshape(-1, 5, bank.COUNT),
            edges.astype(np.int64),
            np.concatenate([y.surprises for y in used]) if used else np.zeros(0),
            room,
        )


@dataclass(frozen=True, slots=True)
class PastEvidence:
    """What the looks so far say: arrays with one entry a look of this update, and the numbers behind the last one.

    ``log_p`` is the natural logarithm of the running p-value of the series (never rising), ``expected`` and ``effect``
    (value less expected; NaN for a missing sample) are in own units, ``statistic`` and ``ratio`` name the strongest
    statistic so far and its multiple of the largest excursion of the past, ``samples`` counts those since the change.
    """

    log_p: Floats
    effect: Floats
    expected: Floats
    statistic: str
    ratio: float
    samples: int


@numba.njit(cache=True, nogil=True)
def _excess(largest, season_of, numbers, least, w, j):  # type: ignore[no-untyped-def]
    """Log ratio of statistic ``j`` to its largest excursion in window ``w``; -inf where it did not go out."""
    deviation = largest[season_of[w, j], j] - SIGNS[j] * numbers[w, 0, j]
    if deviation > 0.0 and deviation >= least[j] and deviation < np.inf:
        return np.log(deviation / numbers[w, 1, j])
    return -np.inf


@numba.njit(cache=True, nogil=True)
def _last(state, which, second, log_count, share):  # type: ignore[no-untyped-def]
    """Judge the geometric mean of the smallest of three (in the state) and the ``second`` by N + 1 shadows."""
    log_g = 0.5 * (state[3 + (which - 9) % 2] + second)
    if log_g > -np.inf:
        disjoint = np.exp(log_count) - 1.0
        tail = BELOW
        if log_g > 0.0:
            tail = SHARP_TAIL + (TAIL_LASTING - SHARP_TAIL) * disjoint / (disjoint + EARNED)
        log_p = -(tail * log_g + log_count + np.log(share))
        if log_p < state[0]:
            state[0], state[1], state[2] = log_p, which, np.exp(log_g)


@numba.njit(cache=True, nogil=True)
def take_looks(  # type: ignore[no-untyped-def]
    x,
    form,
    unit,
    top,
    first,
    seasons,
    windows,
    shares,
    season_of,
    numbers,
    edges,
    surprises,
    room,
    least,
    rings,
    tens,
    thirties,
    seen,
    largest,
    state,
    out,
):
    """Take the looks ``first``, ``first + 1`` … with values ``x``; write the running log p to ``out``.

    ``state`` float64[5]: running log p, strongest statistic, its ratio, and the log ratio of the smallest of three,
    up and down, within ``room``. ``largest`` float64[3, 9]: running maxima. ``room`` is the window in which what lasts
    is judged, the next one that in which it stays, -1 for none.
    """
    row = np.empty(9)
    for i in range(len(x)):
        look = first + i
        if look < seasons.shape[1] and np.isfinite(x[i]):
            y = forward(form, unit, top, x[i])
            for s in range(3):
                value = y - seasons[s, look]
                if not np.isnan(value):
                    push(value, seen[s], rings[s], tens[s], thirties[s], row)
                    seen[s] += 1
                    for j in range(9):
                        largest[s, j] = max(largest[s, j], row[j])
            for w in range(len(windows)):
                if look >= windows[w]:
                    continue
                strongest, which, ratio = -np.inf, -1, 0.0
                for j in range(9):
                    most = largest[season_of[w, j], j]
                    deviation = most - SIGNS[j] * numbers[w, 0, j]
                    # NaN (no such baseline) and infinities (too few samples, no harm) fall through.
                    if deviation > 0.0 and deviation >= least[j] and deviation < np.inf:
                        r = deviation / numbers[w, 1, j]
                        surprise = numbers[w, 3, j] * np.log(r) + numbers[w, 2, j] + numbers[w, 4, j]
                        if surprise > strongest:
                            strongest, which, ratio = surprise, j, r
                if which < 0:
                    continue
                known = surprises[edges[w] : edges[w + 1]]
                above = len(known) - np.searchsorted(known, strongest)
                # The shadows overlap: so many of them stand for one of the disjoint ones.
                disjoint = np.exp(numbers[w, 2, which])
                log_p = -strongest
                if above:
                    log_p = max(log_p, np.log(above / len(known) + 1.0 / disjoint))
                log_p = min(log_p - shares[w], 0.0)
                if log_p < state[0] or state[1] < 0.0:
                    state[0], state[1], state[2] = min(log_p, state[0]), which, ratio
            for side in range(2 if room >= 0 else 0):
                if look < windows[room]:
                    state[3 + side] = _excess(largest, season_of, numbers, least, room, 4 * side + 1)
                    tenth = _excess(largest, season_of, numbers, least, room, 4 * side + 2)
                    _last(state, 9 + side, tenth, numbers[room, 2, 4 * side + 1], SOON)
                if room + 1 < len(windows) and look < windows[room + 1]:
                    thirtieth = _excess(largest, season_of, numbers, least, room + 1, 4 * side + 3)
                    _last(state, 11 + side, thirtieth, numbers[room + 1, 2, 4 * side + 3], STAYS)
        out[i] = state[0]


class Looks:
    """The online state of one series after its change: some arrays of fixed size.

    >>> rng = np.random.default_rng(7)
    >>> past = calibrate(rng.lognormal(3.0, 0.1, 2000), period=60.0, end=0.0, watch=60)
    >>> calm = past.start().update(rng.lognormal(3.0, 0.1, 60))
    >>> bool(calm.log_p[-1] > np.log(0.05))
    True
    >>> harm = past.start().update(rng.lognormal(3.0, 0.1, 60) * 3.0)
    >>> bool(harm.log_p[2] < np.log(0.002)), harm.statistic.endswith("up")
    (True, True)
    """

    __slots__ = ("_largest", "_look", "_rings", "_seen", "_state", "_tens", "_thirties", "past")

    def __init__(self, past: Calibration) -> None:
        self.past = past
        self._look = 0
        self._rings = np.zeros((shadow.SEASONS, bank.RING))
        self._tens = np.zeros((shadow.SEASONS, 10))
        self._thirties = np.zeros((shadow.SEASONS, 30))
        self._seen = np.zeros(shadow.SEASONS, dtype=np.int64)
        self._largest = np.full((shadow.SEASONS, bank.COUNT), -np.inf)
        self._state = np.array([0.0, -1.0, 0.0, -np.inf, -np.inf])

    def move(self, to: Sequence[NDArray[Any]]) -> None:
        """Keep the state in these arrays from now on, as ``detectors.past_rows`` does for many series together."""
        own = (self._rings, self._tens, self._thirties, self._seen, self._largest, self._state)
        for there, here in zip(to, own, strict=True):
            there[...] = here
        self._rings, self._tens, self._thirties, self._seen, self._largest, self._state = to

    def update(self, values: Floats) -> PastEvidence:
        """Take the next looks, own units, NaN = missing. However the looks are cut, the numbers are the same."""
        past = self.past
        x = np.ascontiguousarray(values, dtype=np.float64)
        log_p = np.zeros(len(x))
        places = np.minimum(np.arange(self._look, self._look + len(x)), past.watch - 1)
        if past.ready:
            windows, shares, season_of, numbers, edges, surprises, room = past.tables
            form, unit, top = past.transform.code
            take_looks(
                x, form, unit, top, self._look, past.seasons, windows, shares, season_of, numbers, edges, surprises,
                room,
                past.least, self._rings, self._tens, self._thirties, self._seen, self._largest, self._state,
                log_p,
            )  # fmt: skip
            expected = past.expected[places]
        else:
            expected = np.full(len(x), past.level)
        self._look += len(x)
        return PastEvidence(
            log_p=log_p,
            effect=x - expected,
            expected=expected,
            statistic=NAMES[int(self._state[1])] if self._state[1] >= 0.0 else "",
            ratio=float(self._state[2]),
            samples=int(self._seen[0]),
        )


def calibrate(
    history: Floats,
    *,
    period: float,
    end: float,
    watch: int,
    usable: NDArray[np.bool_] | None = None,
    harm: str = "both",
    least_effect: float | None = None,
    relative: bool = True,
    kind: str = "value",
    pooled: Pool | None = None,
) -> Calibration:
    """Learn from the past of a series what a watch of it looks like when nothing was changed.

    ``history`` float64[n], own units, NaN = missing, is a regular grid of ``period`` seconds that ends with the last
    sample at or before the change, at ``end`` Unix seconds; ``watch`` is how many looks there will be. Where ``usable``
    (bool[n]) is False no shadow is taken. ``harm`` is ``up``, ``down`` or ``both``; deviations below ``least_effect``
    (own units, or ``relative`` to the level before the change) are no harm. ``kind`` as in ``detectors.transform``.
    Where the history is too short to judge by, the ``pooled`` shadows of the same metric stand in for its own.

    Raises ValueError for a watch under one look, a period that is not positive, or an unknown ``harm`` or ``kind``.
    """
    if watch < 1 or not period > 0.0:
        raise ValueError(f"watch {watch}, period {period}: expected at least one look and a positive period in seconds")
    if harm not in DIRECTIONS:
        raise ValueError(f"harm {harm!r}: expected one of {', '.join(DIRECTIONS)}")
    history = np.ascontiguousarray(history, dtype=np.float64)
    span = max(SPAN, 24 * watch)
    tail = min(len(history), span + max(shadow.LEVELS))
    recent = history[len(history) - tail :]
    transform = fit(recent, kind)
    present = int(np.count_nonzero(np.isfinite(recent)))
    level, scale = _summary(recent)
    if present < NEEDED and pooled is not None and pooled.yardsticks and present >= 2 * pooled.length:
        return _from_pool(recent, transform, watch, harm, least_effect, relative, pooled, level, scale)
    if present < NEEDED:
        return Calibration(False, f"{present} of {NEEDED} samples of history", present, level, scale)

    y = transform.forward(history)
    season = np.zeros((shadow.SEASONS, tail + watch))
    season[1:] = seasons(y, period=period, end=end, watch=watch, tail=tail)
    blocked = np.zeros(tail + 1, dtype=np.int64)
    if usable is not None:
        blocked[1:] = np.cumsum(~np.asarray(usable, dtype=bool)[len(history) - tail :])
    windows = windows_of(watch)
    shadows = [shadow.room(tail, span, window) for window in windows]
    odd = np.zeros(tail, dtype=bool)
    levels, sigmas, errors = np.full(shadow.BASELINES, np.nan), np.zeros(shadow.BASELINES), np.zeros(shadow.BASELINES)
    width = len(shadow.LEVELS)
    for s in range(shadow.SEASONS):
        here = y[len(y) - tail :] - season[s, :tail]
        values = here[~np.isnan(here)]
        if len(values) < shadow.ENOUGH:
            continue
        medians = bank.rolling_medians(values, shadow.LEVELS)
        last = np.cumsum(~np.isnan(here)) - 1
        rows = bank.slide(values)
        if s == 0:
            odd = shadow.odd_moments(values, medians, last)
        for window, out in zip(windows, shadows, strict=True):
            part = out[:, :, s * width : (s + 1) * width]
            shadow.excursions(rows, medians, last, blocked, odd, window, shadow.stride_of(window), part)
        levels[s * width : (s + 1) * width] = medians[-1]
        steps = np.abs(values[1:, None][-shadow.RECENT :] - medians[:-1][-shadow.RECENT :])
        for n in range(width):
            known = steps[~np.isnan(steps[:, n]), n]
            sigmas[s * width + n] = 1.4826 * float(np.median(known)) if len(known) else 0.0
            errors[s * width + n] = sigmas[s * width + n] if len(known) >= shadow.ENOUGH else np.inf
    # With too few shadows to choose by: the shorter of two plain levels unless the longer errs less.
    fallback = 1 if errors[1] < errors[0] else 0
    day = len(history) * period >= 86_400.0
    floor = LEAST if day else LEAST_YOUNG
    price = shadow.prices_of(watch)
    if transform.form == "bounded":
        # Success rests at perfect: there one sample far below is no noise.
        floor, price = LEAST_BOUNDED, np.zeros(bank.COUNT)
    elif bool(np.all(np.floor(recent) == recent, where=np.isfinite(recent))):
        # Of what is counted, one more is no excursion, however long there was none.
        own = float(transform.inverse(levels[:1])[0])
        floor = max(floor, float(np.diff(transform.forward(np.array([own, own + 1.0])))[0]))
    used = []
    for window, found, share in zip(windows, shadows, shadow.shares_of(windows), strict=True):
        yardstick = shadow.yardstick(window, found, levels, sigmas, fallback, floor, DIRECTIONS[harm], share, price)
        if yardstick is not None:
            used.append(yardstick)
    if not used:
        return Calibration(False, "no undisturbed window of history", present, level, scale)
    main = int(used[-1].baseline[0 if harm != "down" else 4])
    ahead = levels[main] + season[main // width, tail:]
    ahead = np.where(np.isnan(ahead), levels[main % width], ahead)
    expected = transform.inverse(ahead)
    least = least_deviations(transform, levels[main % width], harm, least_effect, relative)
    ahead_season = np.ascontiguousarray(season[:, tail:])
    return Calibration(
        True, "", present, level, scale, watch, transform, ahead_season, tuple(used), least, expected, lasting=True
    )  # fmt: skip


def _summary(recent: Floats) -> tuple[float, float]:
    """Level before the change and robust one-step scale, own units; NaN without samples."""
    values = recent[np.isfinite(recent)]
    if not len(values):
        return float("nan"), float("nan")
    steps = np.abs(np.diff(values[-shadow.RECENT :]))
    # A difference of two samples has the square root of two times their scale.
    scale = 1.4826 / np.sqrt(2.0) * float(np.median(steps)) if len(steps) else 0.0
    return float(np.median(values[-60:])), scale


def least_deviations(
    transform: Transform, level: float, harm: str, least_effect: float | None, relative: bool
) -> Floats:
    """The least deviation of each statistic that counts, transformed: float64[9], infinite where it is no harm."""
    least = np.full(bank.COUNT, np.inf)
    least[list(DIRECTIONS[harm])] = 0.0
    if least_effect is None:
        return least
    own = float(transform.inverse(np.array([level]))[0])
    step = abs(least_effect) * (abs(own) if relative else 1.0)
    low, here, high = (float(v) for v in transform.forward(np.array([own - step, own, own + step])))
    return np.asarray(np.maximum(least, [high - here] * 4 + [here - low] * 4 + [max(high - here, here - low)]))


def _from_pool(
    recent: Floats,
    transform: Transform,
    watch: int,
    harm: str,
    least_effect: float | None,
    relative: bool,
    pooled: Pool,
    level: float,
    scale: float,
) -> Calibration:
    """A calibration whose yardsticks are those of the pool, in units of this series' own scale."""
    present = int(np.count_nonzero(np.isfinite(recent)))
    middle, sigma, largest = pooled.place(transform.forward(recent))
    bounded = transform.form == "bounded"
    floor = LEAST_BOUNDED if bounded else LEAST_YOUNG
    used = tuple(pooled.scaled(y, middle, sigma, largest, floor, bounded=bounded) for y in pooled.yardsticks)
    expected = transform.inverse(np.full(watch, middle))
    season = np.zeros((shadow.SEASONS, watch))
    least = least_deviations(transform, middle, harm, least_effect, relative)
    return Calibration(True, "", present, level, scale, watch, transform, season, used, least, expected)

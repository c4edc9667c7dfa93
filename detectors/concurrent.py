"""Values (latency, CPU, success) of the new instances against the old ones beside them, calibrated old against old.

On a scale on which larger is worse (``detectors.transform``), in every bin

    d = mean(new) - max(mean(old now), level(old before)),    u = d / sqrt(σ² + τ² (1/n_new + 1/n_old))

σ is how much one instance wavers against its siblings, τ² how much equal instances differ for ever (memory, CPU):
without it every lasting statistic takes that for harm. The maximum makes a burst that hits both sides harmless. Judged
are the last u (b1), the smallest of the last 3, of a success rate 2 (b3), the second smallest of the last 6 (o6), the
mean of the last 10 without the two largest (t10), and, where harm goes both ways, their median distance from their
median (spread).

How large these grow by chance is not taken from a textbook but from **shadows**: every old instance against its
siblings at many moments before the change, windows of 4, 8, 16 … bins, pooled over instances and, with ``pooled``, over
services in units of σ. With c of N_d disjoint shadows at or beyond the reference Q, and most of the error rate to the
first window (1, 1/2, 1/3 … of it),

    p = c / (N_d + 1) / share · (x / Q)^-a

the first factor the rank (conformal: Vovk et al., *Testing randomness online*, Stat. Sci. 2021), the last a tail beyond
anything seen: flat (1.5) for short statistics, as bursts of minutes are common, steep for lasting ones and for success
rates, which do not waver. A statistic is its running maximum and Q comes from whole windows, so looking costs nothing.

A rolling release leaves no old instance beside the new. Then d is against the level that the old ones had last, which
is no control: load wanders, and a burst hits everybody. So these bins are judged by themselves, by shadows of the old
instances **together** against their own level before (``detectors.replaced``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.order import OrderTest
from detectors.transform import Transform, fit

Floats = NDArray[np.float64]

STATISTICS = ("b1", "b3", "o6", "t10", "b1 down", "b3 down", "o6 down", "t10 down", "spread")
_FLOOR = np.array([6.0, 4.0, 0.8, 0.8, 6.0, 4.0, 0.8, 0.8, 1.5])
"""Units of σ below which a reference is never believed, as no past is long enough to show that nothing happens."""
TAIL = np.array([1.5, 1.5, 4.0, 4.0, 1.5, 1.5, 4.0, 4.0, 6.0])
TAIL_BOUNDED = np.array([4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 6.0])
SHORT, SHORT_BOUNDED = 3, 2
"""Bins of b3: a success rate does not waver, so two in a row tell there what three do elsewhere."""
_SHRINK = 8.0
LEVEL = 30
"""The level before is the median of so many bins."""
LEAST_LEVEL = 5
WARM_UP = 3
"""First samples of a new instance, of which only the excess over the following counts."""
WARM_UP_RATIO = log(4.0)
WARM_UP_FAILURE = 0.25
_STARTS = 300
_PRIOR_SIGMA, _PRIOR_TAU, _PRIOR_TAU_WEIGHT = 15.0, 0.15**2, 5.0
_RING = 10


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Shadows of one metric over services, in units of σ: what a short history borrows."""

    maxima: tuple[Floats, ...]
    """Running maxima of the nine statistics, float64[shadows, 9] for each window 4, 8, 16 …"""
    disjoint: tuple[float, ...]
    sigma: float
    tau2: float
    services: int
    away: Pool | None = None
    """The same of all instances together against their own level."""


@dataclass(frozen=True, slots=True, eq=False)
class ConcurrentCalibration:
    """What the old instances showed of each other before the change."""

    transform: Transform
    harm: str
    level: float
    """Level of the old ones before, on the transformed scale, larger is worse; NaN without history."""
    sigma: float
    tau2: float
    least: tuple[float, float]
    """Least effect upwards and downwards, on the transformed scale."""
    maxima: tuple[Floats, ...]
    disjoint: tuple[float, ...]
    windows: NDArray[np.int64]
    reference: Floats
    """Q, float64[windows, 9], in units of σ."""
    log_rank: Floats
    """log of c / (N_d + 1) over the window's share of the error rate, float64[windows, 9]."""
    bins: int
    instances: int
    ready: bool
    reason: str
    history: Floats
    """The last values of the old instances, own units: control of the order test where nothing can be calibrated."""
    away: ConcurrentCalibration | None = None
    """What the old ones together showed of their own level before: for when none is left beside the new."""

    def worse(self, values: Floats) -> Floats:
        """On the transformed scale, larger is worse; any shape."""
        return np.ascontiguousarray((-1.0 if self.harm == "down" else 1.0) * self.transform.forward(values))

    def own(self, values: Floats) -> Floats:
        """Back from there to own units."""
        return self.transform.inverse((-1.0 if self.harm == "down" else 1.0) * values)


@dataclass(frozen=True, slots=True, eq=False)
class ConcurrentEvidence:
    """One row a bin, float64[k] each; all of them after that bin."""

    log_p: Floats
    """Running, non-increasing."""
    effect: Floats
    """Mean of the new ones less that of the old ones in that bin (own units), NaN where one is absent."""
    statistic: Floats
    """Largest excess x / Q so far (of the order test: its log e)."""
    samples: NDArray[np.int64]
    """Bins compared so far."""
    ready: bool
    reason: str


def pool(calibrations: Sequence[ConcurrentCalibration]) -> Pool | None:
    """Put the shadows of one metric of several services together; None if there are none."""
    useful = [c for c in calibrations if c.disjoint]
    if not useful:
        return None
    away = pool([c.away for c in useful if c.away is not None])
    most = max(len(c.disjoint) for c in useful)
    return Pool(
        tuple(np.concatenate([c.maxima[w] for c in useful if len(c.disjoint) > w]) for w in range(most)),
        tuple(sum(c.disjoint[w] for c in useful if len(c.disjoint) > w) for w in range(most)),
        float(np.median([c.sigma for c in useful])),
        float(np.mean([c.tau2 for c in useful])),
        len(useful),
        away,
    )


def calibrate_concurrent(
    history: Floats,
    *,
    period: float = 60.0,
    kind: str = "value",
    harm: str = "both",
    least_effect: float | None = None,
    relative: bool = True,
    watch: int = 60,
    pooled: Pool | Sequence[ConcurrentCalibration] | None = None,
) -> ConcurrentCalibration:
    """Learn level, scale and shadows from ``history``, float64[bins, old instances] before the change (NaN = absent).

    ``period``: seconds of a bin; ``kind``: of ``detectors.transform``; ``harm``: up, down or both; ``least_effect``: a
    share of the level if ``relative``, else in own units (default 10 %, of success 1 point, of a ratio .002);
    ``watch``: bins. ``pooled``: shadows of the same metric from other services.
    One old instance has no siblings: its shadows are against its own level before.

    >>> rng = np.random.default_rng(3)
    >>> calibration = calibrate_concurrent(200 * rng.lognormal(0, 0.05, (240, 4)), harm="up", watch=30)
    >>> calibration.ready, calibration.instances, calibration.windows.tolist(), bool(0.03 < calibration.sigma < 0.06)
    (True, 4, [4, 8, 16, 32], True)
    """
    if harm not in ("up", "down", "both"):
        raise ValueError(f"harm {harm!r}: expected up, down or both")
    raw = np.asarray(history, dtype=np.float64)
    raw = np.where(np.isfinite(raw), raw, np.nan)
    raw = raw[:, np.isfinite(raw).any(axis=0)] if raw.size else raw.reshape(len(raw), 0)
    transform = fit(raw, kind)
    if transform.form == "bounded":
        harm = "down"  # no success rate is better than perfect
    sign = -1.0 if harm == "down" else 1.0
    z = np.ascontiguousarray(sign * transform.forward(raw))
    if isinstance(pooled, Sequence):
        pooled = pool(pooled)
    bins, instances = z.shape
    present = np.isfinite(z).any(axis=1)
    level = _level(np.nanmean(z[present], axis=1)) if present.any() else float("nan")
    least = _least(transform, sign, level, least_effect, relative)
    siblings, offset, scale, freedom = _against_siblings(z)
    sigma2 = min(scale, 9.0 * pooled.sigma**2) if pooled else scale
    if pooled:
        sigma2 = (freedom * sigma2 + _PRIOR_SIGMA * pooled.sigma**2) / (freedom + _PRIOR_SIGMA)
    sigma2 = max(sigma2, (min(least) / 4.0) ** 2, 1e-18)
    prior = pooled.tau2 if pooled else (0.0 if transform.form == "bounded" else _PRIOR_TAU)
    known = max(instances - 1, 0)
    tau2 = (known * offset + _PRIOR_TAU_WEIGHT * prior) / (known + _PRIOR_TAU_WEIGHT)

    beside = max(instances - 1, 1)
    maxima, disjoint = _watches(z, siblings, watch, sigma2, tau2, beside, least, _short(transform))
    reason = "one old instance against its own past (no sibling)" if instances == 1 else f"{instances} old instances"
    found = ConcurrentCalibration(
        transform,
        harm,
        level,
        float(np.sqrt(sigma2)),
        float(tau2),
        least,
        maxima,
        disjoint,
        *_judged_by(maxima, disjoint, pooled, watch),
        int(present.sum()),
        instances,
        False,
        "",
        raw[-LEVEL:],
    )
    away = None
    if instances > 1:
        together = np.full((bins, 1), np.nan)
        together[present, 0] = np.nanmean(z[present], axis=1)
        away = _away(found, together, watch, pooled.away if pooled else None)
    ready = bool(len(found.windows)) and bool(np.isfinite(level))
    known_bins = f"{int(present.sum())} bins"
    total = sum((pooled.disjoint if pooled else disjoint)[:1])
    return replace(
        found,
        ready=ready,
        reason=f"{reason}, {known_bins} of {period:g} s, {total:.0f} disjoint shadows"
        + (f" of {pooled.services} services" if pooled else "")
        if ready
        else f"too short a past ({known_bins}) to calibrate {reason}: by order of the values",
        away=away,
    )


def _watches(
    z: Floats,
    siblings: Floats,
    watch: int,
    sigma2: float,
    tau2: float,
    beside: int,
    least: tuple[float, float],
    short: int,
) -> tuple[tuple[Floats, ...], tuple[float, ...]]:
    """The shadows of each window 4, 8, 16 … for which there is room, and how many of them are disjoint."""
    bins, instances = z.shape
    maxima, disjoint = [], []
    width = 4
    while width < 2 * watch and instances and bins - LEAST_LEVEL >= 2 * width:
        step = max(2, width // 4, bins // _STARTS)
        found = _shadows(z, siblings, width, step, short, sigma2, tau2, beside, least[0], least[1])
        if len(found) < 2:
            break
        maxima.append(found)
        disjoint.append(len(found) * min(1.0, step / width))
        width *= 2
    return tuple(maxima), tuple(disjoint)


def _judged_by(
    maxima: tuple[Floats, ...], disjoint: tuple[float, ...], pooled: Pool | None, watch: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The windows that can be judged, with their Q and their log rank: by the pool's shadows where there is one."""
    shadows, numbers = (pooled.maxima, pooled.disjoint) if pooled else (maxima, disjoint)
    usable = [4 << w for w in range(len(shadows)) if 4 << w < 2 * watch]
    return np.array(usable, dtype=np.int64), *_reference(shadows, numbers, maxima, len(usable))


def _away(found: ConcurrentCalibration, together: Floats, watch: int, pooled: Pool | None) -> ConcurrentCalibration:
    """The same metric with no old instance beside: the old ones ``together``, float64[bins, 1], against their level."""
    siblings, _, scale, freedom = _against_siblings(together)
    sigma2 = min(scale, 9.0 * pooled.sigma**2) if pooled else scale
    if pooled:
        sigma2 = (freedom * sigma2 + _PRIOR_SIGMA * pooled.sigma**2) / (freedom + _PRIOR_SIGMA)
    sigma2 = max(sigma2, found.sigma**2 / found.instances, (min(found.least) / 4.0) ** 2)
    maxima, disjoint = _watches(together, siblings, watch, sigma2, 0.0, 1, found.least, _short(found.transform))
    windows, reference, log_rank = _judged_by(maxima, disjoint, pooled, watch)
    return replace(
        found,
        sigma=float(np.sqrt(sigma2)),
        maxima=maxima,
        disjoint=disjoint,
        windows=windows,
        reference=reference,
        log_rank=log_rank,
        ready=bool(len(windows)) and bool(np.isfinite(found.level)),
        reason="the old instances together against their own past",
    )


def _short(transform: Transform) -> int:
    return SHORT_BOUNDED if transform.form == "bounded" else SHORT


def _level(values: Floats) -> float:
    """Median of the last ``LEVEL`` values."""
    return float(np.median(values[-LEVEL:]))


def _least(t: Transform, sign: float, level: float, effect: float | None, relative: bool) -> tuple[float, float]:
    """Least effect for the worse and for the other way, on the transformed scale at ``level``."""
    at = float(t.inverse(np.array([sign * level]))[0]) if np.isfinite(level) else 0.0
    if effect is None:
        size = {"bounded": 0.01 * t.top, "ratio": 0.002}.get(t.form, 0.1 * abs(at))
    else:
        size = effect * abs(at) if relative else effect
    ends = sign * t.forward(np.array([at - size, at, at + size]))
    if sign < 0:
        ends = ends[::-1]
    worse, better = float(ends[2] - ends[1]), float(ends[1] - ends[0])
    # At the end of a scale there is no other way.
    return max(worse, 1e-9), better if better > 1e-9 else max(worse, 1e-9)


def _against_siblings(z: Floats) -> tuple[Floats, float, float, float]:
    """Mean of each one's siblings, float64[bins, instances], their τ², σ² and the number of values behind."""
    bins, instances = z.shape
    if instances == 0 or bins < 2:
        return np.full(z.shape, np.nan), 0.0, 0.0, 0.0
    if instances == 1:
        steps = np.diff(z[np.isfinite(z[:, 0]), 0])
        # Against a fixed level: at least the one-step noise, and whatever the series wanders around its own median.
        wander = z[:, 0] - np.nanmedian(z)
        scale = max(float(np.median(np.abs(steps))) / np.sqrt(2) if steps.size else 0.0, _mad(wander))
        return np.full(z.shape, np.nan), 0.0, (1.4826 * scale) ** 2, float(steps.size)
    there = np.isfinite(z)
    count = there.sum(axis=1, keepdims=True) - there
    total = np.where(there, z, 0.0).sum(axis=1, keepdims=True) - np.where(there, z, 0.0)
    siblings = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    difference = z - siblings
    offsets = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in difference.T])
    rest = difference - offsets
    scale = (1.4826 * _mad(rest)) ** 2
    # An offset against the mean of the others is larger than one against all by k / (k - 1).
    tau2 = float((offsets**2).sum()) / max(instances - 1, 1) * ((instances - 1) / instances) ** 2
    freedom = float(np.isfinite(rest).sum())
    return siblings, max(0.0, tau2 - 1.57 * scale / max(bins, 1)), scale, freedom


def _mad(x: Floats) -> float:
    """Median distance from zero."""
    heard = np.abs(x[np.isfinite(x)])
    return float(np.median(heard)) if heard.size else 0.0


def _reference(
    shadows: tuple[Floats, ...], disjoint: tuple[float, ...], own: tuple[Floats, ...], usable: int
) -> tuple[Floats, Floats]:
    """Q and log(c / (N_d + 1) / share) per window and statistic; shares fall as 1, 1/2, 1/3 … of the first."""
    reference, log_rank = np.empty((usable, 9)), np.empty((usable, 9))
    shares = 1.0 / np.arange(1.0, usable + 1.0)
    shares /= shares.sum()
    for w in range(usable):
        ordered = np.sort(shadows[w], axis=0)[::-1]
        n = len(ordered)
        q = ordered[int(0.01 * n)]
        q = np.maximum((disjoint[w] * q + _SHRINK * 2.0 * _FLOOR) / (disjoint[w] + _SHRINK), _FLOOR)
        if w < len(own):
            # A service whose own past is wilder than the pool's is judged by its own.
            mine = np.sort(own[w], axis=0)[::-1]
            q = np.maximum(q, mine[int(0.01 * len(mine))])
        # Overlapping shadows stand for one disjoint one.
        reached = np.maximum((ordered >= q).sum(axis=0) * (disjoint[w] / n), 1.0)
        reference[w] = q
        log_rank[w] = np.log(reached / (disjoint[w] + 1.0) / shares[w])
    return reference, log_rank


class ConcurrentTest:
    """The test of one metric of one change; without a calibration that is ready, the order test stands in.

    >>> rng = np.random.default_rng(4)
    >>> calibration = calibrate_concurrent(200 * rng.lognormal(0, 0.05, (240, 4)), harm="up", watch=30)
    >>> old = 200 * rng.lognormal(0, 0.05, (20, 4))
    >>> calm, slow = ConcurrentTest(calibration), ConcurrentTest(calibration)
    >>> bool(calm.update(200 * rng.lognormal(0, 0.05, (20, 1)), old).log_p[-1] > -3)
    True
    >>> bool(slow.update(400 * rng.lognormal(0, 0.05, (20, 1)), old).log_p[-1] < -7)
    True
    """

    __slots__ = ("_order", "calibration", "comparison")

    def __init__(self, calibration: ConcurrentCalibration, *, warm_up: int = WARM_UP) -> None:
        self.calibration = calibration
        self._order = None if calibration.ready else OrderTest(harm=calibration.harm, history=calibration.history)
        self.comparison = Comparison(calibration, warm_up)

    def update(self, new: Floats, old: Floats) -> ConcurrentEvidence:
        """Take closed bins in order: ``new`` float64[k, n_new], ``old`` float64[k, n_old], own units, NaN = absent.

        A cut changes nothing. Columns are instances; new ones may be added on the right.
        """
        c = self.calibration
        new, old = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
        if self._order is not None:
            return self._by_order(new, old)
        new, old = np.where(np.isfinite(new), new, np.nan), np.where(np.isfinite(old), old, np.nan)
        # Where nobody is left beside them, ``detectors.replaced`` judges, if it can.
        left_out = none_left(old) if c.away is not None and c.away.ready else np.zeros(len(new), bool)
        out = self.comparison.update(new, old, np.full(len(new), c.level), left_out)
        effect, most = (out[1, -1], out[2, -1]) if len(new) else (float("nan"), 0.0)
        reason = f"difference {effect:.3g}, {most:.2f} times anything among {c.reason}"
        return ConcurrentEvidence(out[0], out[1], out[2], out[3].astype(np.int64), True, reason)

    def _by_order(self, new: Floats, old: Floats) -> ConcurrentEvidence:
        assert self._order is not None
        evidence = self._order.update(new, old)
        ready = bool(evidence.samples.size) and int(evidence.samples[-1]) >= LEAST_LEVEL
        reason = f"{evidence.reason}; {self.calibration.reason}"
        return ConcurrentEvidence(
            -np.maximum(evidence.log_e_max, 0.0), evidence.effect, evidence.log_e, evidence.samples, ready, reason
        )


class Comparison:
    """The running statistics of one calibration."""

    __slots__ = ("_state", "_tops", "_u", "calibration", "seen", "warm_up")

    def __init__(self, calibration: ConcurrentCalibration, warm_up: int) -> None:
        self.calibration, self.warm_up = calibration, warm_up
        self.seen = np.zeros(0, dtype=np.int64)
        self._u = np.zeros((2, _RING))
        self._tops = np.full((2, len(STATISTICS)), -np.inf)
        self._state = np.zeros(3)

    def move(self, u: Floats, tops: Floats, state: Floats, seen: NDArray[np.int64]) -> None:
        """Keep the state in these arrays from now on, as ``detectors.beside_rows`` does for many series together.

        ``seen`` int64[n] may have room for more new instances than were known.
        """
        for there, here in ((u, self._u), (tops, self._tops), (state, self._state), (seen, self.seen)):
            there[: len(here)] = here
        self._u, self._tops, self._state, self.seen = u, tops, state, seen

    def update(self, new: Floats, old: Floats, levels: Floats, left_out: NDArray[np.bool_]) -> Floats:
        """Log p, effect, largest excess and bins compared after each bin: float64[4, k].

        ``levels`` (float64[k], larger is worse): of the old ones where none is there; ``left_out`` (bool[k]): not
        judged, but the new instances grow older all the same.
        """
        c = self.calibration
        if new.shape[1] > self.seen.size:
            self.seen = np.concatenate((self.seen, np.zeros(new.shape[1] - self.seen.size, dtype=np.int64)))
        there = np.isfinite(new)
        ages = self.seen[: new.shape[1]] + np.cumsum(there, axis=0) - there
        self.seen[: new.shape[1]] += there.sum(axis=0)
        new = np.where(left_out[:, None], np.nan, new)
        bounded = c.transform.form == "bounded"
        patient = np.minimum(new + WARM_UP_FAILURE * c.transform.top, c.transform.top) if bounded else new
        out = np.empty((4, len(new)))
        judge(
            c.worse(new),
            c.worse(patient),
            c.worse(old),
            np.ascontiguousarray(new),
            np.ascontiguousarray(old),
            0.0 if bounded else WARM_UP_RATIO,
            ages < self.warm_up,
            levels,
            c.own(levels),
            c.sigma**2,
            c.tau2,
            max(c.instances, 1),
            c.least[0],
            c.least[1],
            c.harm == "both",
            c.windows,
            c.reference,
            c.log_rank,
            TAIL_BOUNDED if bounded else TAIL,
            _short(c.transform),
            self._u,
            self._tops,
            self._state,
            out,
        )
        return out


def none_left(old: Floats) -> NDArray[np.bool_]:
    """In which bins no old instance reported: bool[k], of float64[k, n_old]."""
    return np.asarray(~np.isfinite(old).any(axis=1))


@numba.njit(cache=True, nogil=True)
def _gate(d, up, down):  # type: ignore[no-untyped-def]
    """A difference smaller than the least effect is none."""
    return d if d >= up or d <= -down else 0.0


@numba.njit(cache=True, nogil=True)
def _ascend(x, count):  # type: ignore[no-untyped-def]
    """Sort the first few by insertion: for ten values faster than any call."""
    for i in range(1, count):
        value, hole = x[i], i
        while hole > 0 and x[hole - 1] > value:
            x[hole] = x[hole - 1]
            hole -= 1
        x[hole] = value


@numba.njit(cache=True, nogil=True)
def _statistics(u, seen, short, work, out):  # type: ignore[no-untyped-def]
    """The nine statistics of ``u``, a ring of the last 10 of ``seen`` values, -inf where too few were seen."""
    out[:] = -np.inf
    for i in range(min(seen, 10)):
        work[i] = u[(seen - 1 - i) % 10]
    out[0], out[4] = work[0], -work[0]
    if seen >= short:
        low, high = work[0], work[0]
        for i in range(1, short):
            low, high = min(low, work[i]), max(high, work[i])
        out[1], out[5] = low, -high
    if seen >= 6:
        _ascend(work, 6)
        out[2], out[6] = work[1], -work[4]
    if seen >= 10:
        _ascend(work, 10)
        low, high = 0.0, 0.0
        for i in range(8):
            low += work[i]
            high += work[i + 2]
        out[3], out[7] = low / 8.0, -high / 8.0
        middle = 0.5 * (work[4] + work[5])
        for i in range(10):
            work[i] = abs(work[i] - middle)
        _ascend(work, 10)
        out[8] = work[4]


@numba.njit(cache=True, nogil=True)
def _shadows(z, siblings, width, step, short, sigma2, tau2, beside, up, down):  # type: ignore[no-untyped-def]
    """Running maxima of the statistics over windows of ``width`` bins: every old instance against its siblings."""
    bins, instances = z.shape
    alone = instances == 1
    starts = max(0, (bins - LEAST_LEVEL - width) // step + 1)
    found = np.full((starts * instances, 9), -np.inf)
    scale = np.sqrt(sigma2 + tau2 * (1.0 + 1.0 / beside))
    ring, work, now, before = np.zeros(10), np.empty(10), np.empty(9), np.empty(LEVEL)
    count = 0
    for s in range(starts):
        # From the end backwards, so that the latest past is always used.
        first = bins - width - s * step
        for i in range(instances):
            held = 0
            for t in range(max(0, first - LEVEL), first):
                value = z[t, 0] if alone else siblings[t, i]
                if not np.isnan(value):
                    before[held] = value
                    held += 1
            if held < LEAST_LEVEL:
                continue
            level = np.median(before[:held])
            seen = 0
            for t in range(first, first + width):
                beside_now = level if alone else siblings[t, i]
                if np.isnan(z[t, i]) or np.isnan(beside_now):
                    continue
                high, low = z[t, i] - max(beside_now, level), z[t, i] - min(beside_now, level)
                d = max(high, 0.0) + min(low, 0.0)
                ring[seen % 10] = _gate(d, up, down) / scale
                seen += 1
                _statistics(ring, seen, short, work, now)
                now[8] *= scale / np.sqrt(sigma2)
                for j in range(9):
                    found[count, j] = max(found[count, j], now[j])
            if 2 * seen >= width:
                count += 1
            else:
                found[count, :] = -np.inf
    return found[:count]


@numba.njit(cache=True, nogil=True)
def judge(  # type: ignore[no-untyped-def]
    new, patient, old, new_raw, old_raw, allowance, warming, levels, levels_raw, sigma2, tau2, before, up, down, both,
    windows, reference, log_rank, tail, short, u, tops, state, out,
):  # fmt: skip
    """``state``: bins compared, log p, largest excess."""
    now, later, work = np.empty(9), np.empty(9), np.empty(10)
    longest = windows[-1]
    for t in range(new.shape[0]):
        total, gentle, raw, n, cold = 0.0, 0.0, 0.0, 0, False
        for i in range(new.shape[1]):
            if np.isnan(new[t, i]):
                continue
            n += 1
            total += new[t, i]
            raw += new_raw[t, i]
            if warming[t, i]:
                cold = True
                gentle += patient[t, i] - allowance
            else:
                gentle += new[t, i]
        beside, beside_raw, m = 0.0, 0.0, 0
        level, level_raw = levels[t], levels_raw[t]
        for i in range(old.shape[1]):
            if not np.isnan(old[t, i]):
                beside += old[t, i]
                beside_raw += old_raw[t, i]
                m += 1
        out[1, t] = np.nan
        if n > 0:
            old_now = beside / m if m > 0 else level
            out[1, t] = raw / n - (beside_raw / m if m > 0 else level_raw)
            scale = np.sqrt(sigma2 + tau2 * (1.0 / n + 1.0 / (m if m > 0 else before)))
            worst, best = max(old_now, level), min(old_now, level)
            d = max(total / n - worst, 0.0) + min(total / n - best, 0.0)
            mild = min(d, max(gentle / n - worst, 0.0)) if d > 0.0 else max(d, min(0.0, d + allowance))
            k = int(state[0])
            u[0, k % 10] = _gate(d, up, down) / scale
            u[1, k % 10] = _gate(mild, up, down) / scale if cold else u[0, k % 10]
            k += 1
            state[0] = k
            # Once an instance is warm, its first samples count in full beside bad ones after it; before, their excess.
            _statistics(u[1], k, short, work, now)
            # What differs for ever has no spread.
            now[8] *= scale / np.sqrt(sigma2)
            if not cold:
                _statistics(u[0], k, short, work, later)
                for j in (1, 2, 5, 6):
                    now[j] = later[j]
            block = (k - 1) // longest
            if k - 1 == block * longest and block > 0:
                tops[1, :] = -np.inf
            for j in range(9):
                if j >= 4 and not both:
                    break
                tops[0, j] = max(tops[0, j], now[j])
                tops[1, j] = max(tops[1, j], now[j])
                for w in range(windows.size):
                    inside = k <= windows[w]
                    if not inside and w < windows.size - 1:
                        continue
                    top = tops[0, j] if inside else tops[1, j]
                    if top <= 0.0:
                        continue
                    excess = top / reference[w, j]
                    log_p = log_rank[w, j] - tail[j] * np.log(excess)
                    if both:
                        log_p += np.log(2.0)
                    if not inside:
                        log_p += 2.0 * np.log(block + 1.0)
                    state[1] = min(state[1], log_p)
                    if excess > state[2]:
                        state[2] = excess
        out[0, t], out[2, t], out[3, t] = state[1], state[2], state[0]

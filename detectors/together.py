"""All metrics of a young service together, judged by the pasts of the services beside it.

Forty samples of one metric prove little, and with nineteen metrics each must prove nineteen times as much. But that
everything in a service moves at once is rare among its neighbours, and it is one number, paid for once:

    S_t = mean over metrics of min(b_t, 30),   b_t = how far the last two samples both lie from the level, in sigmas

on one side. What the running maximum of S does in watches that nothing was changed in, the other services show: their
shadows are the yardstick Q of ``R = max S / Q``, and with N disjoint ones beside the r-th largest of them

    p = r / (N + 1) R ** -a

as in `detectors.pool`. What the service did itself in its few samples is no news either: Q is at least that. Sigma is
the one-step scale of the series, shrunk towards that of the same metric elsewhere.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import bank, pool, shadow
from detectors.transform import Transform, fit

Floats = NDArray[np.float64]
History = Mapping[Any, Floats]
"""Of one service: by metric its samples, float64[n], own units, before the change, NaN where missing."""

FEWEST_METRICS = 3
FEWEST_SERVICES = 3
LENGTH = 5
"""Samples in a level."""
ROW = 2
"""Samples that must lie out together: one alone may be a spike."""
CAP = 30.0
LEAST = 0.05
"""Least sigma, on the transformed scale: a metric that never moved is not infinitely strange when it does."""
TAIL = 3.0
"""The steepest whole one at which harmless changes of `bench.young` stay within every level up to 0.01: many metrics
that move together have a lighter tail than any of them."""
STRIDE = 2
WHITE = 0.7
"""Least yardstick: what white noise in seven metrics apart reaches in a short watch once in a hundred. No few samples
prove that a service is calmer than noise."""
PASTS = 2.5
"""How many watches of a length the usual past must hold for it to count. A tide that is longer than all pasts moves
every service within such a watch, and none of them has shown it before."""


@dataclass(frozen=True, slots=True)
class _Metric:
    transform: Transform
    values: Floats
    levels: Floats
    scale: float
    steps: int


@dataclass(frozen=True, slots=True)
class Window:
    """Shadow watches of one length: their yardstick, and ln of r / (N + 1), the window's share of the error paid."""

    length: int
    yardstick: float
    log_rate: float


@dataclass(frozen=True, slots=True)
class Together:
    """What the services beside it say a young one may do.

    >>> rng = np.random.default_rng(3)
    >>> shop = [{m: rng.lognormal(3.0, 0.1, 40) for m in "abcde"} for _ in range(30)]
    >>> beside = Together.of(shop[0], shop[1:], watch=15)
    >>> calm, doubled = (rng.lognormal(3.0, 0.1, (6, 5)) * factor for factor in (1.0, 2.0))
    >>> bool(beside.start().update(calm)[-1] < log(0.003)), bool(beside.start().update(doubled)[-1] < log(0.003))
    (False, True)
    """

    services: int
    metrics: tuple[Hashable, ...]
    transforms: tuple[Transform, ...]
    levels: Floats
    sigmas: Floats
    signs: Floats
    """float64[2, metrics]: whether up, and whether down, is harm."""
    windows: tuple[Window, ...]

    @property
    def ready(self) -> bool:
        """Whether there was enough beside it to judge by."""
        return bool(self.windows)

    @staticmethod
    def of(
        own: History,
        others: Sequence[History],
        *,
        watch: int,
        kinds: Mapping[Any, str] | None = None,
        harms: Mapping[Any, str] | None = None,
    ) -> "Together":
        """Learn from the service's ``own`` few samples and from ``others``.

        By metric: ``kinds`` as in `detectors.transform`, ``harms`` up, down or both (the default).
        """
        kind, harm = dict(kinds or {}), dict(harms or {})
        mine = _prepare(own, kind)
        rest = [prepared for one in others if len(prepared := _prepare(one, kind)) >= FEWEST_METRICS]
        if len(mine) < FEWEST_METRICS or len(rest) < FEWEST_SERVICES:
            return Together(0, (), (), np.empty(0), np.empty(0), np.empty((2, 0)), ())
        pooled = {
            name: float(np.median([one[name].scale for one in (mine, *rest) if name in one]))
            for name in {name for one in (mine, *rest) for name in one}
        }
        usual = float(np.median([len(metric.values) for one in rest for metric in one.values()]))
        sizes = [size for size in shadow.windows_of(watch) if PASTS * size <= usual]
        windows = []
        for size in sizes:
            found = np.concatenate([_shadows(one, pooled, harm, size) for one in rest])
            if len(found):
                itself = float(_shadows(mine, pooled, harm, size).max(initial=0.0))
                windows.append(_window(size, found, itself, 1.0 / len(sizes)))
        names = tuple(mine)
        return Together(
            len(rest),
            names,
            tuple(mine[name].transform for name in names),
            np.array([mine[name].levels[-1] for name in names]),
            _sigmas(mine, pooled),
            _signs(mine, harm),
            tuple(windows),
        )

    def start(self) -> "TogetherLooks":
        """A new watch."""
        return TogetherLooks(self)


class TogetherLooks:
    """One watch of a young service; `update` takes looks in order, however they are cut.

    `largest` is the largest S so far, in sigmas, and `yardstick` that of the shadows that it is most beyond.
    """

    __slots__ = ("_before", "_log_p", "_past", "_seen", "largest", "yardstick")

    def __init__(self, past: Together) -> None:
        self._past = past
        self._before = np.full((ROW - 1, len(past.metrics)), np.nan)
        self._seen = 0
        self._log_p = 0.0
        self.largest, self.yardstick = 0.0, 0.0

    def update(self, values: Floats) -> Floats:
        """Running log p, float64[k], of looks float64[k, metrics] in the order of ``metrics``; NaN is missing."""
        past = self._past
        if not past.ready:
            return np.zeros(len(values))
        moved = np.column_stack([one.forward(values[:, m]) for m, one in enumerate(past.transforms)])
        rows = np.vstack([self._before, (moved - past.levels) / past.sigmas])
        self._before = rows[len(rows) - ROW + 1 :]
        out = np.empty(len(values))
        for k, strange in enumerate(_strange(rows, past.signs)):
            self._seen += 1
            self.largest = max(self.largest, float(strange))
            for window in past.windows:
                if self._seen <= window.length and self.largest > window.yardstick:
                    log_p = window.log_rate - TAIL * log(self.largest / window.yardstick)
                    if log_p < self._log_p:
                        self._log_p, self.yardstick = log_p, window.yardstick
            out[k] = self._log_p
        return out


def _prepare(history: History, kinds: Mapping[Hashable, str]) -> dict[Hashable, _Metric]:
    found = {}
    for name, raw in history.items():
        values = np.asarray(raw, dtype=np.float64)
        if np.count_nonzero(np.isfinite(values)) < pool.FEWEST:
            continue
        transform = fit(values, kinds.get(name, "value"))
        y = transform.forward(values)
        known = np.isfinite(y)
        levels = np.full(len(y), np.nan)
        levels[known] = bank.rolling_median(y[known], LENGTH)
        scale, steps = pool.steps(y, LENGTH)
        # Where a sample is missing, the level before it still stands.
        last = np.maximum.accumulate(np.where(np.isfinite(levels), np.arange(len(y)), 0))
        found[name] = _Metric(transform, y, levels[last], scale, steps)
    return found


def _sigmas(metrics: Mapping[Hashable, _Metric], pooled: Mapping[Hashable, float]) -> Floats:
    return np.array([max(pool.shrunk(one.scale, one.steps, pooled[name]), LEAST) for name, one in metrics.items()])


def _signs(metrics: Mapping[Hashable, _Metric], harms: Mapping[Hashable, str]) -> Floats:
    harm = [harms.get(name, "both") for name in metrics]
    return np.array([[one != "down" for one in harm], [one != "up" for one in harm]], dtype=np.float64)


def _strange(rows: Floats, signs: Floats) -> Floats:
    """S of each look but the first ``ROW - 1``, from deviations in sigmas float64[..., looks, metrics]."""
    looks = rows.shape[-2] - ROW + 1
    ahead = np.stack([rows[..., i : looks + i, :] for i in range(ROW)])
    both = np.maximum(signs[0] * ahead.min(axis=0), signs[1] * (-ahead).min(axis=0))
    return np.asarray(np.clip(np.nan_to_num(both), 0.0, CAP).mean(axis=-1))


def _shadows(
    metrics: Mapping[Hashable, _Metric], pooled: Mapping[Hashable, float], harms: Mapping[Hashable, str], size: int
) -> Floats:
    """Largest S of each shadow watch of ``size`` looks in the past of one service."""
    sigmas, signs = _sigmas(metrics, pooled), _signs(metrics, harms)
    length = min(len(one.values) for one in metrics.values())
    values = np.column_stack([one.values[-length:] for one in metrics.values()])
    levels = np.column_stack([one.levels[-length:] for one in metrics.values()])
    starts = np.arange(LENGTH - 1, length - size, STRIDE)
    watches = values[starts[:, None] + 1 + np.arange(size)] - levels[starts][:, None]
    return np.asarray(_strange(watches / sigmas, signs).max(axis=1, initial=0.0))


def _window(size: int, found: Floats, itself: float, share: float) -> Window:
    disjoint = len(found) * min(1.0, STRIDE / size)
    rank = 1.0 + pool.SHARE * disjoint
    place = min(int(rank * len(found) / max(disjoint, 1e-9)), len(found))
    yardstick = max(float(np.sort(found)[-max(place, 1)]), itself, WHITE)
    return Window(size, yardstick, min(0.0, log(rank / (disjoint + 1.0))) - log(share))

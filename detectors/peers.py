"""Peers: what the same metric did meanwhile in services that did not change, taken away (difference in differences).

On a scale on which harm is a step, each peer less its median, over its own one-step noise, is z; what they do together,

    c(t) = median over peers of z(t),        y'(t) = y(t) - β (c(t) - c(change)),

moves with the load of the hour, a wave of traffic, a slow network, and not with what one change did (FUNNEL, Zhang et
al., CoNEXT 2015, compares with unchanged servers alike). β is how much of it the series takes part in: least squares
over steps of ten samples, clipped at 4 robust deviations, never negative. Then y' is judged as any series is by its own
past: shadow changes in which the peers were taken away as well (`detectors.own_past`).

Whether the peers are a control at all is decided before the change, by the past alone: only where the largest
excursions of y' are on the whole below nine tenths of those of y, from a past at least half as long. Peers that never
moved together with the series gain nothing and change nothing. One test takes the place of the other, so the error rate
stays what it is.

Peers that do what they never did (an outage among them) are beyond what was learned. Where c has left the level of the
change further than in any watch of the past, y' may be no further from what was expected than y is, and on the same
side, each in units of its own excursions: then the peers can explain, and not accuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detectors import bank, own_past
from detectors.own_past import Calibration, calibrate
from detectors.transform import Transform, fit

Floats = NDArray[np.float64]

FEWEST = 4
"""Peers that are needed, at every moment; of fewer the median is one of them."""
GAIN = 0.9
"""The excursions without the peers must be below this part of those with them, on the geometric mean."""
STEP, CLIP = 10, 4.0
LEVEL = 10
"""Samples whose median is the common level at the change."""
_STRIDE = 5
WHOLE_LEAST = 20.0
"""Whole numbers around less than this stay whole: of what is counted, taking a part away makes noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """What a set of peers does together: the scale, level and noise of each, from the time before the change."""

    transforms: tuple[Transform, ...]
    middles: Floats
    noises: Floats

    @staticmethod
    def of(histories: Floats, kind: str = "value") -> Common:
        """Learn from ``histories``, float64[n, peers] in own units, NaN = missing; each has a sample."""
        transforms = tuple(fit(column, kind) for column in histories.T)
        scaled = [transform.forward(column) for transform, column in zip(transforms, histories.T, strict=True)]
        noises = []
        for y in scaled:
            steps = np.abs(np.diff(y[~np.isnan(y)]))
            noises.append(max(1.4826 * float(np.median(steps)) if len(steps) else 0.0, own_past.LEAST))
        return Common(transforms, np.array([np.nanmedian(y) for y in scaled]), np.array(noises))

    def at(self, values: Floats, last: float = float("nan")) -> Floats:
        """What they do at each moment, float64[k], of ``values`` float64[k, peers]; ``last`` while too few are known.

        >>> peers = np.repeat([[10.0], [11.0], [10.0], [22.0]], 5, axis=1) * np.arange(1, 6)
        >>> common = Common.of(peers)
        >>> [round(float(c), 1) for c in common.at(peers)]
        [-0.3, 0.3, -0.3, 5.4]
        """
        scaled = np.column_stack([t.forward(column) for t, column in zip(self.transforms, values.T, strict=True)])
        # NaN goes to the end, so that the middle of the known ones can be pointed at.
        z = np.sort((scaled - self.middles) / self.noises, axis=1)
        known, rows = (~np.isnan(z)).sum(axis=1), np.arange(len(z))
        enough = known >= FEWEST
        low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, z.shape[1] - 1)
        middle = np.where(enough, 0.5 * (z[rows, low] + z[rows, high]), last)
        # Where too few are known, the last moment at which enough were.
        latest = np.maximum.accumulate(np.where(enough, rows, -1))
        return np.asarray(np.where(latest >= 0, middle[latest], last))


@dataclass(frozen=True, slots=True, eq=False)
class PeersCalibration:
    """How a series took part in what its peers did, and what is left of its past without them."""

    common: Common
    transform: Transform
    share: float
    """β: own transformed units for one of c."""
    level: float
    """c at the change."""
    reach: float
    """How far c came from its level in any watch of the past."""
    past: Calibration
    """The own past without the peers."""
    plain: Calibration
    """The own past as it is."""
    gain: float
    """Excursions of the past without the peers over those with them."""
    last: float
    chosen: tuple[int, ...]
    """Which of the peers that were offered have a past to learn from."""

    @property
    def peers(self) -> int:
        return len(self.common.transforms)

    def start(self) -> PeersLooks:
        """Begin to watch: a new, independent state."""
        return PeersLooks(self)


@dataclass(frozen=True, slots=True, eq=False)
class PeersEvidence:
    """One entry a look of this update: the running log p, and the numbers behind the last one, own units.

    ``expected`` is what the series was expected to do with what its peers did, ``effect`` what it did less that.
    """

    log_p: Floats
    effect: Floats
    expected: Floats
    samples: int


def calibrate_peers(
    history: Floats,
    peers: Floats,
    plain: Calibration,
    *,
    period: float,
    end: float,
    watch: int,
    usable: NDArray[np.bool_] | None = None,
    harm: str = "both",
    least_effect: float | None = None,
    relative: bool = True,
    kind: str = "value",
) -> PeersCalibration | None:
    """The control by ``peers``, float64[n, peers] beside ``history`` float64[n]; None where it is none.

    ``plain`` is what ``detectors.own_past.calibrate`` made of the same history and options.

    >>> rng = np.random.default_rng(3)
    >>> load = np.exp(np.cumsum(rng.normal(0.0, 0.05, 1500)) * 0.3)[:, None]
    >>> shop = 100.0 * load * rng.lognormal(0.0, 0.03, (1500, 7))
    >>> options = {"period": 60.0, "end": 0.0, "watch": 60}
    >>> found = calibrate_peers(shop[:, 0], shop[:, 1:], calibrate(shop[:, 0], **options), **options)
    >>> found.peers, 0.0 < found.gain < 0.9
    (6, True)
    >>> apart = rng.lognormal(0.0, 0.2, (1500, 7))
    >>> calibrate_peers(apart[:, 0], apart[:, 1:], calibrate(apart[:, 0], **options), **options) is None
    True
    """
    history = np.ascontiguousarray(history, dtype=np.float64)
    enough = np.isfinite(peers).sum(axis=0) >= max(own_past.NEEDED, len(history) // 2)
    peers = peers[:, enough]
    if not plain.ready or peers.shape[1] < FEWEST or _few_whole(history):
        return None
    common = Common.of(peers, kind)
    c = common.at(peers)
    begun = np.flatnonzero(~np.isnan(c))
    if len(begun) < own_past.NEEDED:
        return None
    # What came before the peers did is no past with them.
    history, c = history[begun[0] :], c[begun[0] :]
    transform = fit(history, kind)
    y = transform.forward(history)
    share = _share(y, c)
    level = float(np.median(c[-LEVEL:]))
    if share <= 0.0:
        return None
    left = transform.inverse(y - share * (c - level))
    past = calibrate(
        left, period=period, end=end, watch=watch, usable=None if usable is None else usable[begun[0] :],
        harm=harm, least_effect=least_effect, relative=relative, kind=kind,
    )  # fmt: skip
    gain = _gain(past, plain)
    if not gain < GAIN or 2 * past.samples < min(plain.samples, own_past.SPAN):
        return None
    return PeersCalibration(
        common,
        transform,
        share,
        level,
        _reach(c, watch),
        past,
        plain,
        gain,
        float(c[-1]),
        tuple(np.flatnonzero(enough).tolist()),
    )


def _few_whole(history: Floats) -> bool:
    """Whether these are whole numbers, and few."""
    known = history[np.isfinite(history)]
    return bool(len(known)) and bool(np.all(known == np.floor(known))) and float(np.median(known)) < WHOLE_LEAST


def _share(y: Floats, c: Floats) -> float:
    """How much of what the peers do the series takes part in, by steps of ten samples; 0 where it does not."""
    if len(y) <= STEP:
        return 0.0
    own, theirs = y[STEP:] - y[:-STEP], c[STEP:] - c[:-STEP]
    known = ~np.isnan(own)
    own, theirs = _clipped(own[known]), _clipped(theirs[known])
    power = float(theirs @ theirs)
    return max(0.0, float(own @ theirs) / power) if power > 0.0 else 0.0


def _clipped(steps: Floats) -> Floats:
    if not len(steps):
        return steps
    bound = CLIP * 1.4826 * float(np.median(np.abs(steps)))
    return np.asarray(np.clip(steps, -bound, bound))


def _gain(past: Calibration, plain: Calibration) -> float:
    """Geometric mean of the excursions of one past over those of the other, in the windows that both have."""
    before = {one.window: one for one in plain.yardsticks}
    logs = [np.log(one.excursion / before[one.window].excursion) for one in past.yardsticks if one.window in before]
    return float(np.exp(np.mean(logs))) if past.ready and logs else np.inf


def _reach(c: Floats, watch: int) -> float:
    """How far c ever came from its level within a watch."""
    windows = sliding_window_view(c[LEVEL:], min(watch, len(c) - LEVEL))[::_STRIDE]
    levels = bank.rolling_median(c, LEVEL)[LEVEL - 1 :: _STRIDE][: len(windows)]
    return float(max((windows.max(axis=1) - levels).max(), (levels - windows.min(axis=1)).max()))


class PeersLooks:
    """The online state of one series and its peers after the change."""

    __slots__ = ("_calibration", "_last", "_look", "_looks")

    def __init__(self, calibration: PeersCalibration) -> None:
        self._calibration = calibration
        self._looks = calibration.past.start()
        self._look, self._last = 0, calibration.last

    def update(self, values: Floats, peers: Floats) -> PeersEvidence:
        """Take the next looks: ``values`` float64[k] and ``peers`` float64[k, peers], own units, NaN = missing.

        However the looks are cut, the numbers are the same.
        """
        known, x = self._calibration, np.ascontiguousarray(values, dtype=np.float64)
        if not len(x):
            return PeersEvidence(np.zeros(0), np.zeros(0), np.zeros(0), 0)
        c = known.common.at(peers, self._last)
        self._last = float(c[-1])
        moved = c - known.level
        places = np.minimum(np.arange(self._look, self._look + len(x)), known.past.watch - 1)
        self._look += len(x)
        y = known.transform.forward(x)
        usual, plain = (known.transform.forward(one.expected[places]) for one in (known.past, known.plain))
        left = y - known.share * moved
        beyond = np.abs(moved) > known.reach
        away, own = left - usual, known.gain * (y - plain)
        least = np.where(away * own > 0.0, np.sign(away) * np.minimum(np.abs(away), np.abs(own)), 0.0)
        left = np.where(beyond & ~np.isnan(left), usual + least, left)
        found = self._looks.update(known.transform.inverse(left))
        expected = known.transform.inverse(usual + known.share * moved)
        return PeersEvidence(found.log_p, x - expected, expected, found.samples)

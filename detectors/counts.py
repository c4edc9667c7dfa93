"""Events over exposure (errors over requests), the new version against the old one running beside it.

Given the exposures, each event of a bin falls on the new version with probability ρ = its share of the exposure, if
both fail alike; if the new one fails θ times as often, with probability θρ / (1 + ρ(θ - 1)). The likelihood ratio of
``x`` new among ``E`` events is a martingale under "alike", whatever the rate of failure does meanwhile:

    log Λ_θ = Σ_t [ x_t log θ - E_t log(1 + ρ_t (θ - 1)) ] / φ

A mixture of it over effect sizes θ and over starting moments stays a test martingale, so for φ = 1 the chance that it
*ever* passes 1/α is at most α, however often one looks (Ville's inequality; Lindon & Malek, *Anytime-valid inference
for multinomial count data*, NeurIPS 2022). Real events come in bursts and instances differ: φ ≥ 1 is the overdispersion
of the old instances among each other (a quasi-likelihood), and ``tolerance`` τ the ratio that two equal instances may
keep for ever: the null is then "at most τ times as often", the same formula with ρ' = ρτ / (1 + ρ(τ - 1)).

A start in every bin costs nothing: M_θ(t) = (M_θ(t-1) + w_t) · Λ_θ(t), with Σ w_t ≤ 1 and the unspent weight not at
stake (a Shiryaev–Roberts sum with a budget; Shin, Ramdas & Rinaldo, *E-detectors*, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EFFECTS = np.array([1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0, 200.0])
"""Effect sizes θ of the mixture, equal weights."""
AT_ONCE = 0.6
"""Weight of harm that begins with the change; the rest is spread over later moments as (1 + t)^-1/4."""
WARM_UP = 3
"""Bins in which a new instance may fail ``WARM_UP_RATIO`` times as often as the old ones."""
WARM_UP_RATIO = 4.0
CONFIRMED = 2.0
"""Nats that the bins after the warm-up must bring by themselves before those of the warm-up count in full."""
PAST_SHARE = 4.0
"""The control's own past is added to its exposure, at most so many times what it has now."""
PAST_BINS = 4096
FADE = 0.95
"""Memory of the recent ratios, a bin (half of the weight lies in the last 14)."""
SHADOW_BINS = 256
"""Length of a shadow: an old instance tested against its siblings."""
MOST_SHADOWED = 12
BURST = 5.8
"""Bins of a burst that no past needs to have shown: φ is at least so many times the events of an instance in a bin.

An instance that fails 4 times as often for 12 bins brings 12 μ (4 ln 4 - 3) nats; this keeps it at ln 200. Only where
events are many does it bind, and there a bin of real harm brings enough all the same."""
BURST_MOST = 8.0
SPREAD = 0.1
"""How much equal instances are taken to differ for ever where few events were seen (coefficient of variation)."""
BIN_CAP = 3.0
"""Nats that one bin may bring: a single second decides nothing, whatever its traffic (lower bets stay valid)."""
_BLOCKS = (1, 4, 16, 64)
_STATE = 12
_SEEN, _POINTER, _LOG_E, _LOG_MAX, _X, _N, _Y, _M, _RX, _RN, _RY, _RM = range(_STATE)


@dataclass(frozen=True, slots=True, eq=False)
class CountsCalibration:
    """What the old instances showed of themselves before the change."""

    overdispersion: float
    """φ ≥ 1: variance of an instance's events over that of Poisson events, at the block length where it is largest."""
    samples: int
    """Bins with an exposure."""
    ready: bool
    """False where the past was too short to estimate φ: it is then 1, as if events came one by one."""
    reason: str
    tolerance: float = 1.0
    """Ratio τ ≥ 1 that two equal instances may keep for ever."""
    past_events: Floats = field(default_factory=lambda: np.empty(0))
    """Events of all old instances, the latest bin first."""
    past_exposure: Floats = field(default_factory=lambda: np.empty(0))
    past_share: float = 0.0
    """How much of the past may stand beside the control's present, as a multiple of it."""


@dataclass(frozen=True, slots=True, eq=False)
class CountsEvidence:
    """One row a bin, float64[k] each; all of them after that bin."""

    log_e: Floats
    """Natural logarithm of the running e-process: fades when the gap closes."""
    log_e_max: Floats
    """Its largest value so far among bins where the effect was at least the least effect; never below 0."""
    new_ratio: Floats
    """Events over exposure since the change, NaN before any exposure."""
    old_ratio: Floats
    new_recent: Floats
    """The same, recent bins weighing more."""
    old_recent: Floats
    new_events: Floats
    new_exposure: Floats
    old_events: Floats
    old_exposure: Floats
    overdispersion: float
    tolerance: float

    @property
    def reason(self) -> str:
        """The last bin in numbers, for people."""
        if not self.log_e.size:
            return "no sample yet"
        new, old, last = self.new_ratio[-1], self.old_ratio[-1], -1
        return (
            f"{new:.3g} against {old:.3g} (n={self.new_events[last]:.0f}/{self.new_exposure[last]:.0f} against "
            f"{self.old_events[last]:.0f}/{self.old_exposure[last]:.0f}, overdispersion {self.overdispersion:.2g}, "
            f"log_e={self.log_e_max[last]:.2f})"
        )


def calibrate_counts(events: Floats, exposure: Floats, *, burst: float = BURST) -> CountsCalibration:
    """Learn overdispersion and tolerance from ``events`` and ``exposure``, float64[bins, instances] before the change.

    NaN is an absent instance. With one instance alone its neighbouring blocks of time stand for siblings.
    ``burst``: see ``BURST``; 0 where events are frequent and come evenly.

    >>> rng = np.random.default_rng(1)
    >>> exposure = np.full((600, 4), 100.0)
    >>> calm = calibrate_counts(rng.poisson(0.1, (600, 4)).astype(float), exposure)
    >>> bursts = rng.poisson(0.1 + 8.0 * (rng.random((600, 4)) < 0.02)).astype(float)
    >>> bool(calm.overdispersion < 1.3), bool(calibrate_counts(bursts, exposure).overdispersion > 2.0)
    (True, True)
    """
    if events.shape != exposure.shape or events.ndim != 2:
        raise ValueError(f"events {events.shape} and exposure {exposure.shape} must be equal [bins, instances]")
    present = np.isfinite(events) & np.isfinite(exposure) & (exposure > 0)
    x = np.where(present, events, 0.0)
    n = np.where(present, exposure, 0.0)
    pooled_x, pooled_n = x.sum(axis=1), n.sum(axis=1)
    seen = pooled_n > 0
    samples = int(seen.sum())
    backwards = np.flatnonzero(seen)[::-1][:PAST_BINS]
    alone = int(present.any(axis=0).sum()) < 2
    in_time, _ = _dispersion(*_in_time(pooled_x[seen], pooled_n[seen]))
    overdispersion, freedom = (in_time, float(samples // 2)) if alone else _dispersion(x, n)
    spread = 0.0 if alone else _lasting_spread(x.sum(axis=0), n.sum(axis=0), overdispersion)
    tolerance = min(exp(1.64 * spread), 3.0)
    if not alone:
        overdispersion *= _shadow_excess(x[-PAST_BINS:], n[-PAST_BINS:], overdispersion, tolerance)
        usual = float(pooled_x.sum()) / max(int(present.sum()), 1)
        overdispersion = max(overdispersion, min(burst * usual, BURST_MOST))
    ready = freedom >= 10.0 and samples >= 10
    how = "one old instance against its own past" if alone else f"{int(present.any(axis=0).sum())} old instances"
    total = float(pooled_x.sum())
    return CountsCalibration(
        overdispersion=overdispersion,
        samples=samples,
        ready=ready,
        reason=f"overdispersion {overdispersion:.2f} from {how} in {samples} bins with {total:.0f} events"
        if ready
        else f"too short a past ({samples} bins) for the overdispersion of {how}: taken as {overdispersion:.2f}",
        tolerance=tolerance,
        past_events=np.ascontiguousarray(pooled_x[backwards]),
        past_exposure=np.ascontiguousarray(pooled_n[backwards]),
        # A past whose own rate wanders more than instances differ says less about the rate now.
        past_share=PAST_SHARE * min(1.0, overdispersion / in_time) ** 2 if ready else 0.0,
    )


def _in_time(x: Floats, n: Floats) -> tuple[Floats, Floats]:
    """One series as two columns, even and odd bins: each is the other's sibling."""
    even = x.size // 2 * 2
    return x[:even].reshape(-1, 2), n[:even].reshape(-1, 2)


def _dispersion(x: Floats, n: Floats) -> tuple[float, float]:
    """Pearson's χ² over its degrees of freedom, given each block's total; the largest over block lengths, shrunk to 1.

    Each instance keeps its own long-run share, so that what differs for ever is left to the tolerance.
    """
    rate = x.sum(axis=0) + 0.5
    weight = n * (rate / (n.sum(axis=0) + 1e-300))
    largest, most_freedom = 1.0, 0.0
    for block in _BLOCKS:
        blocks = x.shape[0] // block
        if blocks < 4:
            break
        e = x[: blocks * block].reshape(blocks, block, -1).sum(axis=1)
        w = weight[: blocks * block].reshape(blocks, block, -1).sum(axis=1)
        there = w > 0
        total, share = e.sum(axis=1, keepdims=True), w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
        expected = total * share
        degrees = np.where(total[:, 0] > 0, there.sum(axis=1) - 1, 0).clip(min=0)
        freedom = float(degrees.sum())
        used = there & (expected > 0) & (degrees > 0)[:, None]
        chi2 = float((((e - expected) ** 2)[used] / expected[used]).sum())
        largest = max(largest, (chi2 + 10.0) / (freedom + 10.0))
        most_freedom = max(most_freedom, freedom)
    return largest, most_freedom


def _lasting_spread(x: Floats, n: Floats, overdispersion: float) -> float:
    """Coefficient of variation of the instances' long-run ratios, beyond what ``overdispersion`` explains.

    Shrunk to a tenth: few events cannot show that instances are alike.
    """
    there = n > 0
    expected = x.sum() * n[there] / n.sum() if n.sum() > 0 else n[there]
    squares = float((expected**2).sum())
    if squares <= 0.0 or there.sum() < 2:
        return 0.0
    noise = overdispersion * float(expected.sum())
    excess = float(((x[there] - expected) ** 2).sum()) - noise * (1 - 1 / there.sum())
    # Weight of the data: their squares against the noise in them, in units of the prior's variance.
    trust = squares * SPREAD**2 / (squares * SPREAD**2 + noise)
    return float(np.sqrt(trust * max(excess, 0.0) / squares + (1.0 - trust) * SPREAD**2))


def _shadow_excess(x: Floats, n: Floats, overdispersion: float, tolerance: float) -> float:
    """How many times larger the overdispersion must be for the test to be right about the old instances themselves.

    Every instance is tested against its siblings in blocks of the past. Beyond any level log e should fall off as e^-x:
    the largest j exceed the next one by 1 on average (Rényi). Where bursts make it c, φ must be c times as large, as
    log e goes with 1/φ. A variance alone does not see this: rare bursts hardly move it. Shrunk to 1.
    """
    bins, instances = x.shape
    length = min(SHADOW_BINS, bins // 2)
    if length < 16:
        return 1.0
    calibration = CountsCalibration(overdispersion, bins, True, "", tolerance)
    tops = []
    for i in range(min(instances, MOST_SHADOWED)):
        rest_x, rest_n = x.sum(axis=1) - x[:, i], n.sum(axis=1) - n[:, i]
        for end in range(bins, length - 1, -length):
            block = slice(end - length, end)
            shadow = CountsTest(calibration, warm_up=0, forever=True)
            tops.append(shadow.update(x[block, i], n[block, i], rest_x[block], rest_n[block]).log_e_max[-1])
    ordered = np.sort(np.array(tops))[::-1]
    most = max(1, ordered.size // 3)
    if ordered.size <= most:
        return 1.0
    counts = np.arange(1, most + 1)
    beyond = np.cumsum(ordered[:most]) - counts * ordered[1 : most + 1]
    factor = float(((beyond + 4.0) / (counts + 4.0)).max())
    return factor if factor > 1.5 else 1.0


class CountsTest:
    """The test of one metric of one change. ``harm``: up, down or both; ``least_effect``: a difference of ratios.

    ``forever``: no budget of starting moments, an e-detector: the mean time to a false alarm at ln A is then at least A
    bins, instead of the chance that there ever is one at most 1/A.

    >>> test = CountsTest(CountsCalibration(1.0, 0, False, "no past"))
    >>> ones, zeros, requests = np.ones(11), np.zeros(11), np.full(11, 100.0)
    >>> test.update(ones, requests, zeros, requests).log_e_max[-1] > np.log(200)
    np.True_
    >>> few = CountsTest(CountsCalibration(1.0, 0, False, "no past"))
    >>> evidence = few.update(np.array([0.0, 1, 2, 1, 0, 0]), requests[:6], zeros[:6], requests[:6])
    >>> evidence.log_e_max[-1] < 3
    np.True_
    """

    __slots__ = ("_late", "_post", "_state", "_theta", "_warm", "calibration", "forever", "least_effect", "warm_up")

    def __init__(
        self,
        calibration: CountsCalibration,
        *,
        harm: str = "up",
        least_effect: float = 0.0,
        warm_up: int = WARM_UP,
        forever: bool = False,
    ) -> None:
        effects = {"up": EFFECTS, "down": 1.0 / EFFECTS, "both": np.concatenate((EFFECTS, 1.0 / EFFECTS))}
        if harm not in effects:
            raise ValueError(f"harm {harm!r} must be one of {', '.join(effects)}")
        self.calibration = calibration
        self.least_effect = least_effect
        self.warm_up = warm_up
        self._theta = effects[harm]
        self._state = np.zeros(_STATE)
        self.forever = forever
        start = 0.0 if forever else log(AT_ONCE)
        # Three mixtures: everything; with patience in the warm-up; only what came after it.
        self._late = np.full(self._theta.size, start)
        self._warm = np.full(self._theta.size, start)
        self._post = np.full(self._theta.size, start)

    def update(
        self, new_events: Floats, new_exposure: Floats, old_events: Floats, old_exposure: Floats
    ) -> CountsEvidence:
        """Take closed bins in order, float64[k] each (NaN or no exposure: an empty bin); a cut changes nothing."""
        out = np.empty((10, len(new_events)))
        _take(
            np.asarray(new_events, dtype=np.float64),
            np.asarray(new_exposure, dtype=np.float64),
            np.asarray(old_events, dtype=np.float64),
            np.asarray(old_exposure, dtype=np.float64),
            self.calibration.past_events,
            self.calibration.past_exposure,
            self.calibration.past_share,
            self.calibration.overdispersion,
            self.calibration.tolerance,
            self.least_effect,
            self.warm_up,
            self.forever,
            self._theta,
            self._late,
            self._warm,
            self._post,
            self._state,
            out,
        )
        rows = (out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7], out[8], out[9])
        return CountsEvidence(*rows, self.calibration.overdispersion, self.calibration.tolerance)


@numba.njit(cache=True, nogil=True)
def _log_sum(logs, unspent):  # type: ignore[no-untyped-def]
    top = unspent
    for value in logs:
        top = max(top, value)
    total = np.exp(unspent - top)
    for value in logs:
        total += np.exp(value - top) / logs.size
    return top + np.log(total)


@numba.njit(cache=True, nogil=True)
def _gain(x, n, y, m, theta, tolerance):  # type: ignore[no-untyped-def]
    """Log likelihood ratio of "θ times more than tolerated" against "as tolerated" in one bin."""
    share = n * tolerance / (n * tolerance + m)
    return x * np.log(theta) - (x + y) * np.log1p(share * (theta - 1.0))


@numba.njit(cache=True, nogil=True)
def _take(  # type: ignore[no-untyped-def]
    new_x, new_n, old_x, old_n, past_x, past_n, past_share, phi, tolerance, least, warm_up, forever, theta, late, warm,
    post, state, out,
):  # fmt: skip
    past_rate = past_x.sum() / past_n.sum() if past_n.size else 0.0
    for t in range(new_x.size):
        x, n, y, m = new_x[t], new_n[t], old_x[t], old_n[t]
        if not (np.isfinite(y) and np.isfinite(m) and m > 0.0):
            y, m = 0.0, 0.0
        if np.isfinite(x) and np.isfinite(n) and n > 0.0:
            # The past stands beside the control only while the control agrees with it, and not in a bin in which
            # the control itself is worse than ever: bursts that hit both sides stay nobody's fault.
            c, d = 0.0, 0.0
            expected = past_rate * state[_RM]
            agrees = abs(state[_RY] - expected) <= 2.0 * np.sqrt(phi * expected) + 1.0
            loud = y > past_rate * m + 2.0 * np.sqrt(phi * past_rate * m) + 1.0
            if past_share > 0.0 and agrees:
                wanted = past_share * max(m, n)
                while d < wanted and state[_POINTER] < past_n.size:
                    c += past_x[int(state[_POINTER])]
                    d += past_n[int(state[_POINTER])]
                    state[_POINTER] += 1.0
            if m + d > 0.0:
                k = state[_SEEN]
                # Bets only on effects that count, by what the control showed until now.
                rate = (state[_Y] + past_rate + 1.0) / (state[_M] + 1.0) if state[_M] > 0 else 1.0
                for i in range(theta.size):
                    stay = tolerance if theta[i] > 1.0 else 1.0 / tolerance
                    gain = _gain(x, n, y + c, m + d, theta[i], stay) / phi
                    if loud:
                        gain = min(gain, _gain(x, n, y, m, theta[i], stay) / phi)
                    if k > 0.0:
                        begins = 0.0 if forever else np.log((1.0 - AT_ONCE) * (k**-0.25 - (k + 1.0) ** -0.25))
                        late[i] = np.logaddexp(late[i], begins)
                        warm[i] = np.logaddexp(warm[i], begins)
                        post[i] = np.logaddexp(post[i], begins)
                    if abs(theta[i] * stay - 1.0) * rate < least:
                        gain = 0.0
                    gain = min(gain, BIN_CAP)
                    late[i] += gain
                    if k >= warm_up:
                        warm[i] += gain
                        post[i] += gain
                    else:
                        stay = stay * WARM_UP_RATIO if theta[i] > 1.0 else stay / WARM_UP_RATIO
                        warm[i] += min(gain, _gain(x, n, y + c, m + d, theta[i], stay) / phi)
                state[_SEEN] = k + 1.0
                unspent = -np.inf if forever else np.log(1.0 - AT_ONCE) - 0.25 * np.log(k + 1.0)
                confirmed = k >= warm_up and _log_sum(post, unspent) >= CONFIRMED
                state[_LOG_E] = _log_sum(late if confirmed else warm, unspent)
            state[_X] += x
            state[_N] += n
            state[_RX] = FADE * state[_RX] + x
            state[_RN] = FADE * state[_RN] + n
        state[_Y] += y
        state[_M] += m
        state[_RY] = FADE * state[_RY] + y
        state[_RM] = FADE * state[_RM] + m
        ratios = (
            state[_X] / state[_N] if state[_N] > 0 else np.nan,
            state[_Y] / state[_M] if state[_M] > 0 else np.nan,
            state[_RX] / state[_RN] if state[_RN] > 0 else np.nan,
            state[_RY] / state[_RM] if state[_RM] > 0 else np.nan,
        )
        out[0, t] = state[_LOG_E]
        out[2, t], out[3, t], out[4, t], out[5, t] = ratios
        out[6, t], out[7, t], out[8, t], out[9, t] = state[_X], state[_N], state[_Y], state[_M]
        control = ratios[1] if state[_M] > 0 else past_rate
        recent = ratios[3] if state[_RM] > 0 else past_rate
        # A recent ratio of few requests is mostly chance: it counts less one standard error.
        error = np.sqrt(phi * max(state[_RX], 1.0)) / max(state[_RN], 1e-300)
        rise = max(ratios[0] - control, ratios[2] - recent - error)
        fall = max(control - ratios[0], recent - ratios[2] - error)
        effect = max(rise if theta[0] > 1.0 else -np.inf, fall if theta[-1] < 1.0 else -np.inf)
        if effect >= least:
            state[_LOG_MAX] = max(state[_LOG_MAX], state[_LOG_E])
        out[1, t] = state[_LOG_MAX]

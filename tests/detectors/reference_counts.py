"""The counts test written as its formula, bin by bin and start by start: slow, plain, no recursion over starts."""

from __future__ import annotations

from math import exp, inf, log

import numpy as np
from numpy.typing import NDArray

from detectors.counts import AT_ONCE, BIN_CAP, CONFIRMED, EFFECTS, WARM_UP_RATIO

Floats = NDArray[np.float64]


def gain(x: float, n: float, y: float, m: float, theta: float, tolerance: float) -> float:
    """Log likelihood ratio of one bin: θ times the tolerated ratio against the tolerated one."""
    share = tolerance * n / (tolerance * n + m)
    told = theta * share / (1.0 + share * (theta - 1.0))
    log_likelihood = (x * log(told) if x else 0.0) + (y * log(1.0 - told) if y else 0.0)
    null = (x * log(share) if x else 0.0) + (y * log(1.0 - share) if y else 0.0)
    return log_likelihood - null


def stake(t: int) -> float:
    """Weight of the start in bin t."""
    return AT_ONCE if t == 0 else (1.0 - AT_ONCE) * (t**-0.25 - (t + 1.0) ** -0.25)


def log_mixture(gains: list[list[float]], first: int) -> float:
    """ln of Σ_starts w_s mean_θ exp(Σ_{t >= s} gain), bins before ``first`` not played, the rest kept."""
    bins = len(gains)
    total = 1.0 - sum(stake(t) for t in range(bins))
    for start in range(bins):
        for theta in range(len(gains[0])):
            total += stake(start) * exp(sum(gains[t][theta] for t in range(max(start, first), bins))) / len(gains[0])
    return log(total)


def log_e(new: Floats, exposure: Floats, old: Floats, old_exposure: Floats, *, phi: float, tolerance: float,
          warm_up: int) -> Floats:  # fmt: skip
    """The running log e for harm upwards, no past, no least effect; complete bins only, float64[k]."""
    full: list[list[float]] = []
    patient: list[list[float]] = []
    out = []
    for t in range(len(new)):
        bin_ = (new[t], exposure[t], old[t], old_exposure[t])
        full.append([min(gain(*bin_, theta, tolerance) / phi, BIN_CAP) for theta in EFFECTS])
        strict = [gain(*bin_, theta, tolerance * WARM_UP_RATIO) / phi for theta in EFFECTS]
        patient.append([min(a, b) for a, b in zip(full[t], strict, strict=True)] if t < warm_up else full[t])
        confirmed = t >= warm_up and log_mixture(full, warm_up) >= CONFIRMED
        out.append(log_mixture(full if confirmed else patient, 0))
    return np.array(out, dtype=np.float64) if out else np.full(0, -inf)

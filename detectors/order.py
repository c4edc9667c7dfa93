"""Are the new values larger (smaller, wilder) than the old ones beside them? By order alone, with no history at all.

A threshold is taken from the control's values so far: its maximum, its 90 % quantile, its median. In every bin the n
new and m old values then are above it or not, and for rates a (new) and b (old) with p̄ = (n a + m b) / (n + m)

    e = a^x (1-a)^(n-x) b^y (1-b)^(m-y) / ( p̄^(x+y) (1-p̄)^(n+m-x-y) )

is an e-value of "all of this bin's values come from one distribution", whatever that is and wherever it moves from bin
to bin (Turner, Ly & Grünwald, *Generic e-variables for exact sequential k-sample tests*, 2024). The product over bins,
mixed over thresholds and rates, is an e-process: it holds at every look. Several thresholds make it a test of
stochastic order (Lindon, Sanden & Shirikian, KDD 2022). Ties are never above; only order matters, not scale.

It takes instances for alike. Where they differ for ever, use the calibrated comparison (``detectors.concurrent``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KEPT = 256
"""Values of the control from which thresholds are taken: the last so many."""
AT_ONCE = 0.9
_NEW_RATES = (0.3, 0.6, 0.95)
_LEVELS = (1.0, 0.9, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class OrderEvidence:
    """One row a bin, float64[k] each; all of them after that bin."""

    log_e: Floats
    log_e_max: Floats
    effect: Floats
    """Mean of the new less mean of the old ones in that bin, NaN where one is absent."""
    samples: NDArray[np.int64]
    """Bins with new and old values so far."""
    reason: str


def _cells(witnesses: tuple[int, ...]) -> Floats:
    """Witness (0 above, 1 below, 2 far from the median), level, new and old rate: float64[cells, 4]."""
    cells = [
        (float(witness), level, new, old)
        for witness in witnesses
        for level in _LEVELS
        for old in sorted({0.01, min(1.0 - level, 0.9)} - {0.0})
        for new in _NEW_RATES
        if new > old
    ]
    return np.array(cells)


class OrderTest:
    """``harm``: up, down, or both (which also sees a variance that grows); ``history``: old values before, any shape.

    >>> new, old = np.array([[1.0], [1], *[[100]] * 7, [1]]), np.ones((10, 1))
    >>> round(float(OrderTest(harm="up").update(new, old).log_e_max[-1]), 1)
    6.7
    >>> float(OrderTest(harm="up").update(old, old).log_e_max[-1])
    0.0
    """

    __slots__ = ("_cells", "_kept", "_logs", "_state", "harm")

    def __init__(self, *, harm: str = "both", history: Floats | None = None) -> None:
        witnesses = {"up": (0,), "down": (1,), "both": (0, 1, 2)}
        if harm not in witnesses:
            raise ValueError(f"harm {harm!r}: expected up, down or both")
        self.harm = harm
        self._cells = _cells(witnesses[harm])
        self._logs = np.full(len(self._cells), np.log(AT_ONCE))
        self._kept = np.zeros(KEPT)
        self._state = np.zeros(4)
        if history is not None:
            past = history[np.isfinite(history)][-KEPT:]
            self._kept[: past.size] = past
            self._state[0] = past.size

    def update(self, new: Floats, old: Floats) -> OrderEvidence:
        """Take closed bins in order: ``new`` float64[k, n], ``old`` float64[k, m], NaN = absent; any cut is fine."""
        new, old = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
        out = np.empty((4, len(new)))
        _compare(
            np.ascontiguousarray(new), np.ascontiguousarray(old), self._cells, self._logs, self._kept, self._state, out
        )
        effect = out[2, -1] if len(new) else float("nan")
        reason = f"difference {effect:.3g} by order, {int(self._state[1])} bins, log_e={self._state[3]:.2f}"
        return OrderEvidence(out[0], out[1], out[2], out[3].astype(np.int64), reason)


@numba.njit(cache=True, nogil=True)
def _compare(new, old, cells, logs, kept, state, out):  # type: ignore[no-untyped-def]
    """``state``: control values so far, bins compared, log e, its maximum."""
    for t in range(new.shape[0]):
        a, b = new[t][np.isfinite(new[t])], old[t][np.isfinite(old[t])]
        held = int(min(state[0], kept.size))
        out[2, t] = a.mean() - b.mean() if a.size and b.size else np.nan
        if a.size and b.size and held > 0:
            control = np.sort(kept[:held])
            middle = np.median(control)
            distance = np.sort(np.abs(control - middle))
            for c in range(len(cells)):
                witness, level, high, low = cells[c]
                x, y = 0, 0
                place = min(held - 1, int(np.ceil(level * held)) - 1)
                if witness == 0.0:
                    bound = control[place]
                    x, y = (a > bound).sum(), (b > bound).sum()
                elif witness == 1.0:
                    bound = control[held - 1 - place]
                    x, y = (a < bound).sum(), (b < bound).sum()
                else:
                    bound = distance[place]
                    x, y = (np.abs(a - middle) > bound).sum(), (np.abs(b - middle) > bound).sum()
                rate = (a.size * high + b.size * low) / (a.size + b.size)
                gain = x * np.log(high / rate) + (a.size - x) * np.log((1.0 - high) / (1.0 - rate))
                gain += y * np.log(low / rate) + (b.size - y) * np.log((1.0 - low) / (1.0 - rate))
                k = state[1]
                if k > 0.0:
                    begins = np.log(1.0 - AT_ONCE) + np.log(k**-0.25 - (k + 1.0) ** -0.25)
                    logs[c] = np.logaddexp(logs[c], begins)
                logs[c] += gain
            unspent = np.log(1.0 - AT_ONCE) - 0.25 * np.log(state[1] + 1.0)
            top = max(unspent, logs.max())
            state[2] = top + np.log(np.exp(unspent - top) + np.exp(logs - top).mean())
            state[3] = max(state[3], state[2])
        if a.size and b.size:
            state[1] += 1.0
        for value in b:
            kept[int(state[0]) % kept.size] = value
            state[0] += 1.0
        out[0, t], out[1, t], out[3, t] = state[2], state[3], state[1]

"""The metrics of a service together, watched for one change by a detector of river that the policy names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deploy.evidence import Finding
from deploy.policy import Detector
from detectors.combine import log_p_to_log_e
from detectors.own_past import calibrate
from stream.columns import Float64, Int64
from stream.signal_watch import Look, SignalWatch
from stream.signals import SignalId

#: Looks of history that the detector learns from; the first part only fills it, and its scores there say nothing.
HISTORY = 1_440
_FILLING = 4
#: Metrics in a vector at most.
_WIDEST = 16


class VectorWatch:
    """One detector on the signals of a service that share its period, from the moment of the change on."""

    def __init__(
        self, spec: Detector, service: str, signals: Sequence[SignalWatch], usable: Callable[[Int64], np.ndarray]
    ) -> None:
        from detectors.river_detector import RiverDetector  # takes seconds: only where the policy names it

        self._signals = list(signals)[:_WIDEST]
        self._service, self._spec = service, spec
        self.signal = SignalId(spec.name, name=spec.name)
        self.closed = 0
        self._log_p = 0.0
        like = self._signals[0]
        history = np.column_stack([one.whole_history(HISTORY) for one in self._signals])
        begun = np.flatnonzero(np.isfinite(history).any(axis=1))
        history = history[begun[0] :] if len(begun) else history[:0]
        self._detector = RiverDetector(spec.river, spec.parameters, history)
        scores = self._detector.scores[len(history) // _FILLING :]
        times = like.moment - np.arange(len(scores) - 1, -1, -1) * like.period
        calibration = calibrate(
            scores,
            period=like.period / 1_000,
            end=like.moment / 1_000,
            watch=like.looks,
            usable=usable(times),
            harm="up",
        )
        self.ready = calibration.ready
        self._looks = calibration.start()

    def update(self) -> Iterator[Look]:
        """Take the looks that are complete in every signal of the vector."""
        last = min(one.closed for one in self._signals)
        if last <= self.closed or not self.ready:
            return
        first, self.closed = self.closed + 1, last
        columns, closings = zip(*(one.taken(first, last) for one in self._signals), strict=True)
        scores = self._detector.update(np.column_stack(columns))
        found = self._looks.update(scores)
        times = np.max(closings, axis=0)
        for i in range(len(scores)):
            log_p = float(found.log_p[i])
            if log_p < self._log_p:
                self._log_p = log_p
                yield Look(int(times[i]), "past", log_p, self._describe(log_p, scores, found.expected, first, i))

    def _describe(self, log_p: float, scores: Float64, expected: Float64, first: int, i: int) -> Callable[[], Finding]:
        def finding() -> Finding:
            score, usual = float(scores[i]), float(expected[i])
            return Finding(
                service=self._service,
                metric=self._spec.name,
                control="past",
                log_p=log_p,
                log_e=log_p_to_log_e(log_p),
                effect=score - usual if np.isfinite(score) else 0.0,
                expected=usual,
                samples=first + i,
                reason=f"{self._spec.name} scores {score:.3g}, usually {usual:.3g} "
                f"({self._spec.river} on {len(self._signals)} metrics, n={first + i}, p={np.exp(log_p):.2g})",
            )

        return finding

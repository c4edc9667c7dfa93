"""Peers: a signal of a changed service beside the same signal of services that it has nothing to do with.

Where they moved together before the change, what they do now is taken away from it, and that is what is judged in the
place of its own past. A look is judged one look later: by then the peers have told of it, whoever was read first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deploy.evidence import Finding
from detectors.combine import log_p_to_log_e
from detectors.peers import PeersCalibration
from stream.columns import Float64, Int64
from stream.signal_watch import Look, SignalWatch

#: Peers of a signal at most.
MOST = 16


class PeersWatch:
    """One signal of a change and its peers, from the moment of the change on."""

    def __init__(self, own: SignalWatch, peers: Sequence[SignalWatch], calibration: PeersCalibration) -> None:
        self._own, self._peers = own, list(peers)
        self._known = calibration
        self._looks = calibration.start()
        self._log_p = 0.0
        self.closed = 0

    @staticmethod
    def of(
        own: SignalWatch, peers: Sequence[SignalWatch], history: int, usable: Callable[[Int64], np.ndarray]
    ) -> PeersWatch | None:
        """The control of `own` by these, by so many looks of `history`; None where they are none."""
        calibration = own.calibrate_peers(usable, peers, history)
        return None if calibration is None else PeersWatch(own, [peers[i] for i in calibration.chosen], calibration)

    def update(self, watermark: int) -> Iterator[Look]:
        """Take every look of the signal that has been complete for a look, by `watermark`."""
        first, last = self.closed + 1, self._own.closed - 1
        if last < first:
            return
        self.closed = last
        values, closings = self._own.taken(first, last + 1)
        # What had been told when the next look was complete.
        values, due = values[:-1], closings[1:]
        told = [self._told(peer, first, due, watermark) for peer in self._peers]
        found = self._looks.update(values, np.column_stack(told))
        for i in np.flatnonzero(found.log_p < np.concatenate([[self._log_p], found.log_p[:-1]])).tolist():
            log_p = self._log_p = float(found.log_p[i])
            yield Look(int(due[i]), "past", log_p, self._describe(log_p, values, found.expected, first, i))

    def _told(self, peer: SignalWatch, first: int, due: Int64, watermark: int) -> Float64:
        """What a peer had told of the looks from `first` on when they were due: float64[looks], NaN for nothing."""
        for _ in peer.update(watermark):
            pass
        row, last = np.full(len(due), np.nan), min(first + len(due) - 1, peer.closed)
        if last >= first:
            values, when = peer.taken(first, last)
            row[: len(values)] = np.where(when <= due[: len(values)], values, np.nan)
        return row

    def _describe(self, log_p: float, values: Float64, expected: Float64, first: int, i: int) -> Callable[[], Finding]:
        def describe() -> Finding:
            value, usual, samples = float(values[i]), float(expected[i]), first + i
            own, many = self._own, self._known.peers
            sign = ">" if value > usual else "<"
            text = f"{own.title} {value:.4g} {sign} {usual:.4g} by {many} peers (n={samples}, p={np.exp(log_p):.2g})"
            return Finding(
                service=own.service,
                metric=own.signal.title,
                attributes=dict(own.signal.attributes),
                control="peers",
                log_p=log_p,
                log_e=log_p_to_log_e(log_p),
                effect=value - usual if np.isfinite(value - usual) else 0.0,
                expected=usual if np.isfinite(usual) else None,
                samples=samples,
                reason=text,
            )

        return describe

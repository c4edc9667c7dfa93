"""All metrics of a service too young for a past of its own, watched together beside what its neighbours showed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from deploy.evidence import Finding
from detectors.combine import log_p_to_log_e
from detectors.pool import FEWEST
from detectors.together import FEWEST_METRICS, Together
from stream.columns import Float64
from stream.signal_watch import Look, SignalWatch
from stream.signals import SignalId

#: Samples of each past that are looked at: what is much longer than its own tells of other hours of the day.
_LENGTH = 120


class Neighbours(Protocol):
    """What other services showed before the change."""

    def services(self, like: Sequence[SignalWatch], length: int) -> Sequence[Mapping[SignalId, Float64]]: ...


class TogetherWatch:
    """The signals of a young service that share its period, from the moment of the change on."""

    signal = SignalId("together", name="together")

    def __init__(self, service: str, signals: Sequence[SignalWatch], neighbours: Neighbours) -> None:
        self._service = service
        by_signal = {one.signal: one for one in signals}
        own = {signal: one.whole_history(_LENGTH) for signal, one in by_signal.items()}
        told = sum(int(np.count_nonzero(np.isfinite(history))) >= FEWEST for history in own.values())
        self._past = Together.of(
            own,
            # Dear to put together, and for nothing where too little is known of its own.
            neighbours.services(signals, _LENGTH) if told >= FEWEST_METRICS else (),
            watch=max((one.looks for one in signals), default=1),
            kinds={signal: one.kind() for signal, one in by_signal.items()},
            harms={signal: signal.harm for signal in by_signal},
        )
        self._looks = self._past.start()
        self._signals = [by_signal[signal] for signal in self._past.metrics if isinstance(signal, SignalId)]
        self.closed = 0
        self._log_p = 0.0

    @property
    def ready(self) -> bool:
        return self._past.ready

    def update(self) -> Iterator[Look]:
        """Take the looks that are complete in every signal."""
        if not self.ready:
            return
        last = min(one.closed for one in self._signals)
        if last <= self.closed:
            return
        first, self.closed = self.closed + 1, last
        columns, closings = zip(*(one.taken(first, last) for one in self._signals), strict=True)
        times = np.max(closings, axis=0)
        for i, row in enumerate(np.column_stack(columns)):
            log_p = float(self._looks.update(row[None, :])[0])
            if log_p < self._log_p:
                self._log_p = log_p
                yield Look(int(times[i]), "past", log_p, self._describe(log_p, first + i))

    def _describe(self, log_p: float, looks: int) -> Callable[[], Finding]:
        out, usual, services = self._looks.largest, self._looks.yardstick, self._past.services

        def finding() -> Finding:
            return Finding(
                service=self._service,
                metric=self.signal.metric,
                control="past",
                log_p=log_p,
                log_e=log_p_to_log_e(log_p),
                effect=out - usual,
                expected=usual,
                samples=looks,
                reason=f"{len(self._signals)} metrics together {out:.1f} sigma out, {usual:.1f} in pasts of "
                f"{services} services beside it (n={looks}, p={np.exp(log_p):.2g})",
            )

        return finding

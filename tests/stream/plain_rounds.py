"""The looks of a signal, taken by itself and plainly: the reference for `stream/rounds.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deploy.change import Change
from detectors.own_past import Looks
from stream.collect import Collected
from stream.columns import Float64
from stream.signal_watch import Look, SignalWatch
from stream.signals import Member
from tests.stream.plain_looks import PlainCollector


class PlainSignalWatch(SignalWatch):
    """Line by line and test by test: nothing of it is taken together with other signals.

    Its series are those that it has at its first update.
    """

    _plain: PlainCollector | None = None
    _looks_of_past: Looks | None = None
    _missed = 0
    _alone: Sequence[Float64] = ()

    def update(self, watermark: int, horizon: int = 2**62) -> Iterator[Look]:
        if self._plain is None:
            self._plain = PlainCollector(
                {line.series.key: line.series for line in self._members.lines()}, self.looks, self.since,
                ratio=bool(self.signal.over), moment=self.moment, period=self.period, over=self.signal.over,
            )  # fmt: skip
            self._looks_of_past = self._past_of.start() if self._past_of is not None and self._past_of.ready else None
        first = self._plain.closed + 1
        found = self._plain.collect(watermark, horizon)
        if found is None:
            return
        count = len(found.closings)
        said = Collected(
            np.array(found.closings), found.whole,
            self._by_member(found.values, count), self._by_member(found.exposure, count),
        )  # fmt: skip
        past = None if self._looks_of_past is None else self._looks_of_past.update(found.whole).log_p
        if self.keeps:
            self._alone = [*self._alone, said.values]
        elif self._alone:
            self.know_old(self._alone)
            self._alone = ()
        missed = self._missed
        for value in found.whole.tolist():
            self._missed = 0 if np.isfinite(value) else self._missed + 1
        yield from self.hear(first, said, past, None, missed)

    def name(self, change: Change) -> None:
        if self.keeps and self._alone:
            self.know_old(self._alone)
            self._alone = ()
        super().name(change)

    def _by_member(self, said: dict[Member, Float64], count: int) -> Float64:
        rows = np.full((sum(1 for _ in self._members), count), np.nan)
        for arm in self._members:
            key = next(iter(arm)).series.key
            row = said[key.version, key.instance]
            rows[arm.number, : len(row)] = row
        return rows

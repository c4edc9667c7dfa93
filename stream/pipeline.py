"""The pure pipeline: changes and samples in, decisions out. `haltline replay` runs it whole, the worker in parts."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from deploy.change import Change
from deploy.evidence import Report
from deploy.judge import Decision, Judge
from deploy.order import Order
from deploy.policy import Policy
from stream.columns import Columns
from stream.learning import HISTORY
from stream.watch import Watch


class Pipeline:
    """Watch and judge joined without a broker. Time enters only with the records."""

    def __init__(self, policy: Policy, *, history: int = HISTORY) -> None:
        """Of each series at least `history` looks stay raw."""
        self.watch = Watch(policy, history=history)
        self.judge = Judge(policy)
        self._arrived = 0

    def change(self, change: Change) -> list[Decision]:
        decisions = self.judge.advance(change.time)
        decisions += self.judge.change(change)
        return decisions + self._judge(self.watch.change(change))

    def telemetry(self, columns: Columns) -> list[Decision]:
        """Take in samples that are complete up to their latest time: nothing of that time is still to come.

        Where a recording says when they arrived, nothing that they show was known any earlier.
        """
        if columns.arrived is not None:
            self._arrived = max(self._arrived, columns.arrived)
        reports = self.watch.telemetry(columns, span=0)
        return self._judge(reports + self.watch.advance(self.watch.clock))

    def order(self, order: Order) -> list[Decision]:
        return self.judge.order(order)

    def finish(self) -> list[Decision]:
        """The input ends: the last word on every change."""
        decisions = self._judge(self.watch.finish())
        return decisions + self.judge.finish(max(self.watch.clock, self._arrived))

    def _as_known(self, report: Report) -> Report:
        late = self._arrived - report.time
        if late <= 0:
            return report
        return msgspec.structs.replace(report, time=self._arrived, newest_sample=report.time, sample_age_ms=late)

    def _judge(self, reports: Iterable[Report]) -> list[Decision]:
        decisions: list[Decision] = []
        reports = [self._as_known(one) for one in reports]
        for report in sorted(reports, key=lambda one: one.order):
            decisions += self.judge.advance(report.time)
            decisions += self.judge.report(report)
        return decisions

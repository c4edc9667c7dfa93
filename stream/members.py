"""The members of a signal, one an instance and version: which of them are new, which are old, and what each says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deploy.change import Change
from stream.collect import Collector
from stream.columns import Float64
from stream.paces import last_before
from stream.series import Series
from stream.signals import Line, Member, SignalId
from stream.whole import first_known, known_where, total


class Arm:
    """One member of a signal: its lines, or of a ratio those of either counter."""

    __slots__ = ("beside", "errors", "existed", "lines", "number", "over", "role")

    def __init__(self, number: int) -> None:
        self.number = number
        #: `new`, `old`, `whole` where nothing tells members apart, `other`; empty before it is sorted.
        self.role = ""
        self.lines: list[Line] = []
        self.errors: list[Line] = []
        self.over: list[Line] = []
        #: Whether it reported around the moment of the change.
        self.existed = False
        #: Whether it is old though nothing came before the change.
        self.beside = False

    def __iter__(self) -> Iterator[Line]:
        yield from self.lines
        yield from self.errors
        yield from self.over

    def history(self, length: int) -> tuple[Float64, Float64]:
        """The looks up to 0: values, or of a ratio events and exposure; float64[length] each."""
        if not (self.errors or self.over):
            return first_known([line.history(length) for line in self.lines], length), np.empty(0)
        exposure = total([line.history(length) for line in self.over], length)
        return known_where(total([line.history(length) for line in self.errors], length), exposure), exposure


class Members:
    """The members of one signal for one change; those not known before are sorted into new and old as they come."""

    def __init__(self, signal: SignalId, change: Change, period: int, since: int) -> None:
        """`since` is when (Unix ms) the signal became known."""
        self._signal, self._change, self._period, self._since = signal, change, period, since
        #: What they say from the change on.
        self.collector = Collector()
        self._arms: dict[Member, Arm] = {}
        #: The series taken in so far, by their identity.
        self._held: dict[int, Series] = {}
        self.old: list[Arm] = []
        self.new: list[Arm] = []

    def __iter__(self) -> Iterator[Arm]:
        return iter(self._arms.values())

    def lines(self) -> Iterator[Line]:
        """Every series that is a part of the signal."""
        for arm in self:
            yield from arm

    @property
    def compared(self) -> list[Arm]:
        """The old ones that what is new can be compared with."""
        return [arm for arm in self.old if arm.existed or arm.beside]

    @property
    def new_born(self) -> int | None:
        """When what is new was first heard of in this signal (ms); None if it was not, or was there before."""
        born = [line.series.born for arm in self.new for line in arm]
        return min((time for time in born if time > self._change.time), default=None)

    def attach(self, series: Sequence[Series]) -> None:
        """Take in the series that make up the signal now."""
        opening = not self._arms
        fresh = [one for one in series if id(one) not in self._held]
        added = []
        for one, before in zip(fresh, last_before(fresh, self._change.time).tolist(), strict=True):
            self._held[id(one)] = one
            member = one.key.version, one.key.instance
            arm = self._arms.get(member)
            if arm is None:
                arm = self._arms[member] = Arm(len(self._arms))
            lines, below = arm.lines, False
            if self._signal.over:
                below = one.key.metric != self._signal.metric
                lines = arm.over if below else arm.errors
            line = Line(one, self._change.time, self._period, before)
            lines.append(line)
            added.append((line, arm.number, below))
            arm.existed = arm.existed or line.existed
        self.collector.add_all(added)
        if opening and self._since > self._change.time:
            # Nothing came before the change: whoever runs now and is not called new is the old beside it.
            for arm in self:
                arm.beside = True
        self._sort()

    def name(self, change: Change) -> None:
        """The change names more instances than before: those among the old ones are new from now on."""
        self._change = change
        for (_, instance), arm in self._arms.items():
            if instance in change.instances and arm.role != "new":
                arm.role = ""
        self.old = [arm for arm in self.old if arm.role]
        self._sort()

    def await_new(self) -> bool:
        """Whether the old ones tell their instance, and the version that something new should report by."""
        if self._change.instances:
            return self.told_by_instance
        versioned = any(arm.existed and member[0] for member, arm in self._arms.items())
        return bool(self._change.version) and versioned and not self._version_is_old_news()

    @property
    def told_by_instance(self) -> bool:
        """Whether one that was there before the change carries its instance."""
        return any(arm.existed and member[1] for member, arm in self._arms.items())

    def _sort(self) -> None:
        for member, arm in self._arms.items():
            if not arm.role:
                arm.role = self._role(member, arm)
                if arm.role == "new":
                    self.new.append(arm)
                elif arm.role == "old":
                    self.old.append(arm)

    def _role(self, member: Member, arm: Arm) -> str:
        """New or old: by the named instances, else by the version, else by who was there before the change."""
        version, instance = member
        change = self._change
        if change.instances and any(known[1] for known in self._arms):
            if instance in change.instances:
                return "new"
            return "old" if arm.existed or arm.beside else "other"
        if change.version and version and not self._version_is_old_news():
            if version == change.version:
                return "new"
            return "old" if arm.existed or arm.beside else "other"
        if not (version or instance):
            return "whole"
        return "old" if arm.existed else "new"

    def _version_is_old_news(self) -> bool:
        """Whether everything already ran this version before the change, so that it tells nothing apart."""
        before = [member for member, arm in self._arms.items() if arm.existed]
        return bool(before) and all(version == self._change.version for version, _ in before)

"""A figure of speed beside its goal, as the benches of speed print and write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from bench.tables import short, table


class Promise(msgspec.Struct, frozen=True):
    """What was promised, at most or at least, and what was measured; NaN where nothing was, which JSON has as null."""

    what: str
    bound: Literal["<=", ">="]
    goal: float
    figure: float | None

    @property
    def met(self) -> bool | None:
        """Whether it is kept; None where nothing was measured.

        >>> Promise("p99", "<=", 2.0, 1.5).met, Promise("rate", ">=", 2.0, 1.5).met, Promise("p", "<=", 1, math.nan).met
        (True, False, None)
        """
        if self.figure is None or math.isnan(self.figure):
            return None
        return self.figure <= self.goal if self.bound == "<=" else self.figure >= self.goal

    def cells(self) -> list[str]:
        """What, the goal, the figure, and whether it is kept."""
        word = {True: "met", False: "missed", None: "-"}[self.met]
        figure = math.nan if self.figure is None else self.figure
        return [self.what, f"{self.bound} {_plain(self.goal)}", _plain(figure), word]


def all_kept(promises: Sequence[Promise]) -> bool:
    """Whether none is missed of those that were measured."""
    return all(one.met is not False for one in promises)


def promise_table(promises: Sequence[Promise], title: str = "Goals") -> str:
    """The goals beside the figures."""
    return table(title, ["", "goal", "measured", ""], [one.cells() for one in promises])


def _plain(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= abs(number) < math.inf else short(number)

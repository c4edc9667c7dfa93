"""Plain text tables, aligned for reading in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A titled table: the first column to the left, the others to the right.

    >>> print(table("rates", ["set", "n"], [["a", "10"], ["bcd", "2"]]))
    rates
    set   n
    a    10
    bcd   2
    """
    everything = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]
    lines = [title]
    for row in everything:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    return "\n".join(lines)


def short(value: float) -> str:
    """A number for a cell; `-` where there is none and `inf` for never.

    >>> short(3.0), short(0.25), short(float("nan")), short(float("inf"))
    ('3', '0.25', '-', 'inf')
    """
    if math.isnan(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def pair(values: tuple[float, float]) -> str:
    """Median and 90 % point in one cell.

    >>> pair((1.0, 20.0))
    '1 / 20'
    """
    return f"{short(values[0])} / {short(values[1])}"

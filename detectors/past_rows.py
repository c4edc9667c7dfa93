"""The own pasts of many series side by side, so that compiled code takes the looks of all of them in one call.

What `Looks` holds of one series is a row here; of what differs in length (seasons, windows, shadows) the parts lie one
after another. The numbers are those of `Looks.update`, as it is the same code that takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import bank, shadow
from detectors.own_past import Looks, take_looks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Of a series: whether it has a past to judge by; its transform; in which window what lasts is judged; looks in all;
#: where its seasons, windows, edges and shadows begin, and how many windows there are.
READY, _FORM, _ROOM, _WATCH, _SEASONS, _WINDOWS, _COUNT, _EDGES, _SURPRISES = range(9)


class PastRows(NamedTuple):
    """Tables and states of n series; ``tables`` say where those of each begin."""

    tables: Ints
    """int64[n, 9]"""
    scales: Floats
    """float64[n, 2]: unit and top of the transform."""
    seasons: Floats
    windows: Ints
    shares: Floats
    season_of: Ints
    numbers: Floats
    edges: Ints
    surprises: Floats
    least: Floats
    rings: Floats
    tens: Floats
    thirties: Floats
    seen: Ints
    largest: Floats
    state: Floats
    """float64[n, 5]: running log p, strongest statistic, its ratio, how far the smallest of three went up and down."""


def side_by_side(looks: Sequence[Looks | None]) -> PastRows:
    """Rows of these series, None for one that has no past; their states are from now on parts of the rows."""
    n = len(looks)
    tables, scales, least = np.zeros((n, 9), np.int64), np.ones((n, 2)), np.zeros((n, bank.COUNT))
    states = [
        np.zeros((n, shadow.SEASONS, bank.RING)), np.zeros((n, shadow.SEASONS, 10)), np.zeros((n, shadow.SEASONS, 30)),
        np.zeros((n, shadow.SEASONS), np.int64), np.zeros((n, shadow.SEASONS, bank.COUNT)), np.zeros((n, 5)),
    ]  # fmt: skip
    parts: list[list[NDArray[Any]]] = [[] for _ in range(7)]
    ends = [0] * 4
    for row, one in enumerate(looks):
        if one is None or not one.past.ready:
            continue
        windows, shares, season_of, numbers, edges, surprises, room = one.past.tables
        form, *scales[row] = one.past.transform.code
        tables[row] = 1, form, room, one.past.watch, ends[0], ends[1], len(windows), ends[2], ends[3]
        least[row] = one.past.least
        one.move([state[row] for state in states])
        flat = np.ascontiguousarray(one.past.seasons).ravel()
        for part, values in zip(parts, (flat, windows, shares, season_of, numbers, edges, surprises), strict=True):
            part.append(values)
        ends = [end + len(part[-1]) for end, part in zip(ends, (parts[0], parts[1], parts[5], parts[6]), strict=True)]
    empty: tuple[NDArray[Any], ...] = (
        np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty((0, bank.COUNT), np.int64),
        np.empty((0, 5, bank.COUNT)), np.empty(0, np.int64), np.empty(0),
    )  # fmt: skip
    flats = [np.concatenate([one, *part]) for one, part in zip(empty, parts, strict=True)]
    return PastRows._make((tables, scales, *flats, least, *states))


@numba.njit(cache=True, nogil=True)
def take_row(rows, row, x, first, out):  # type: ignore[no-untyped-def]
    """Take the looks ``first``, ``first + 1`` … of one series, values ``x``; write the running log p to ``out``."""
    table = rows.tables[row]
    season, window, end = table[_SEASONS], table[_WINDOWS], table[_WINDOWS] + table[_COUNT]
    edges = rows.edges[table[_EDGES] : table[_EDGES] + table[_COUNT] + 1]
    begin = table[_SURPRISES]
    take_looks(
        x, table[_FORM], rows.scales[row, 0], rows.scales[row, 1], first,
        rows.seasons[season : season + 3 * table[_WATCH]].reshape((3, table[_WATCH])),
        rows.windows[window:end], rows.shares[window:end], rows.season_of[window:end], rows.numbers[window:end],
        edges, rows.surprises[begin : begin + edges[-1]], table[_ROOM], rows.least[row],
        rows.rings[row], rows.tens[row], rows.thirties[row], rows.seen[row], rows.largest[row], rows.state[row], out,
    )  # fmt: skip

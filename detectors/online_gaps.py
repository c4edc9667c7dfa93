"""The gaps between the samples of very many series, as far as silence is judged by them: 32 bytes a series.

``detectors.silence.gap_log_p`` asks how many gaps there were, how many of them were regular, and how long the longest
were. So of each series two spells are kept, the one under way and the one before it, each with these numbers; together
they reach back 2,016 to 4,032 gaps.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPELL = 2016
LONGEST = 6
"""So many of the longest are known of each spell: one gap in a thousand does not count, see ``gap_log_p``."""
_COUNT, _REGULAR, _TOP = 0, 1, 2
_MOST = 65_535


class OnlineGaps:
    """Gaps of many series, in units of the period of each; rows are added as they are named.

    >>> gaps = OnlineGaps()
    >>> gaps.update(0, np.array([1] * 400 + [7, 2]))
    >>> found = gaps.of(0)
    >>> len(found), float(found.max()), int((found == 1.0).sum())
    (402, 7.0, 400)
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: int = 1) -> None:
        self._rows = np.zeros((rows, 2, _TOP + LONGEST), dtype=np.uint16)

    @property
    def row_bytes(self) -> int:
        """Bytes of state of one series."""
        return int(self._rows[0].nbytes)

    def reset(self, row: int) -> None:
        """Forget a series, so that its row can serve another."""
        if row < len(self._rows):
            self._rows[row] = 0

    def update(self, row: int, gaps: Ints) -> None:
        """Take gaps of a row in their order, int64[n] whole periods; however they are cut, the state is the same."""
        self.update_all(np.array([row]), np.array([len(gaps)]), np.asarray(gaps, dtype=np.int64))

    def update_all(self, rows: Ints, ends: Ints, gaps: Ints) -> None:
        """The same of several rows, int64[m]: the gaps of one end where those of the next begin, ``ends`` int64[m]."""
        if len(rows):
            self._reserve(int(rows.max()) + 1)
            _update(self._rows, rows, ends, gaps)

    def _reserve(self, rows: int) -> None:
        if rows > len(self._rows):
            more = np.zeros((max(rows, 2 * len(self._rows)), *self._rows.shape[1:]), dtype=np.uint16)
            more[: len(self._rows)] = self._rows
            self._rows = more

    def fork(self, rows: Ints) -> OnlineGaps:
        """A copy of some rows, as rows 0, 1 …; of a negative one an empty row."""
        copy = OnlineGaps(max(len(rows), 1))
        known = (rows >= 0) & (rows < len(self._rows))
        copy._rows[: len(rows)][known] = self._rows[rows[known]]
        return copy

    def array(self, rows: int) -> NDArray[np.uint16]:
        """The state of the first ``rows`` rows, uint16[rows, 2, 8]; a copy."""
        self._reserve(rows)
        return self._rows[:rows].copy()

    @classmethod
    def from_array(cls, array: NDArray[np.generic]) -> OnlineGaps:
        """The state that ``array`` gave. Raises ValueError for another shape or type."""
        gaps = cls(max(len(array), 1))
        if array.dtype != np.uint16 or array.shape[1:] != gaps._rows.shape[1:]:
            raise ValueError(f"gaps {array.dtype}{list(array.shape)}: expected uint16[rows, 2, {_TOP + LONGEST}]")
        gaps._rows[: len(array)] = array
        return gaps

    def of(self, row: int) -> Floats:
        """Gaps of a row that ``gap_log_p`` judges like those that were: float64[n], those in between taken for two."""
        if row >= len(self._rows):
            return np.empty(0)
        parts = []
        for spell in self._rows[row].astype(np.int64):
            longest = spell[_TOP:][spell[_TOP:] > 0]
            between = max(int(spell[_COUNT] - spell[_REGULAR]) - len(longest), 0)
            parts += [np.ones(spell[_REGULAR]), np.full(between, 2.0), longest.astype(np.float64)]
        return np.concatenate(parts)


@numba.njit(cache=True, nogil=True)
def _update(spells, rows, ends, gaps):  # type: ignore[no-untyped-def]
    start = 0
    for j in range(len(rows)):
        now, before = spells[rows[j], 0], spells[rows[j], 1]
        for i in range(start, ends[j]):
            if now[_COUNT] == SPELL:
                before[:] = now
                now[:] = 0
            now[_COUNT] += 1
            gap = min(gaps[i], _MOST)
            if gap <= 1:
                now[_REGULAR] += 1
            elif gap > now[_TOP]:
                # The longest in rising order, the least of them given up.
                at = _TOP
                while at + 1 < _TOP + LONGEST and now[at + 1] < gap:
                    now[at] = now[at + 1]
                    at += 1
                now[at] = gap
        start = ends[j]

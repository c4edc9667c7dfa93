"""Rows that compiled code reads numbers into, each with the bytes that name its series.

A scan takes (text, size, rows, values, keys, used): the message as `stream.hash128.padded` makes it and its length;
int64[n, COLUMNS] and float64[n] to fill; room for `stream.wire.json_bytes.value_end`; an int64[1] for how many rows
there are. It returns 0, `RARE` for what is wrong or rare and left to a plain reading, which says the same of whatever
is taken, or `FULL`.
"""

from __future__ import annotations

import numpy as np

from stream.hash128 import combine, hash_bytes
from stream.wire.json_bytes import DEEPEST, compiled

#: The arrays are too small: to be tried again with larger ones.
FULL = -2
#: Columns of a row (int64): when (as the format has it), and the bytes of up to three parts of its name.
TIME, TAGS, TAGS_STOP, NAME, NAME_STOP, FIELD, FIELD_STOP = range(7)
COLUMNS = 7
#: A time that is not there.
NO_TIME = -(2**63)
ROWS = DEEPEST + 4

_NO = np.uint64(0)


@compiled
def identify(text, seed, format, rows, count, hi, lo):  # type: ignore[no-untyped-def]
    """The 128-bit ids (uint64[n] each) of the series of the first ``count`` rows; ``format`` (uint64) keeps those of
    different formats apart."""
    begin, stop, name = -1, -1, -1
    n_hi, n_lo = _NO, _NO
    for row in range(count):
        if rows[row, TAGS] != begin or rows[row, TAGS_STOP] != stop or rows[row, NAME] != name:
            begin, stop, name = rows[row, TAGS], rows[row, TAGS_STOP], rows[row, NAME]
            t_hi, t_lo = hash_bytes(text, begin, stop, seed)
            n_hi, n_lo = hash_bytes(text, name, rows[row, NAME_STOP], seed)
            n_hi, n_lo = combine(t_hi ^ format, t_lo, n_hi, n_lo, seed)
        f_hi, f_lo = hash_bytes(text, rows[row, FIELD], rows[row, FIELD_STOP], seed)
        hi[row], lo[row] = combine(n_hi, n_lo, f_hi, f_lo, seed)

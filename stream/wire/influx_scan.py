"""Points in InfluxDB's line protocol, read by compiled code; see `stream.wire.rows_scan`."""

from __future__ import annotations

import numpy as np

from stream.wire.json_bytes import (
    BACKSLASH,
    COMMA,
    MINUS,
    NINE,
    QUOTE,
    RARE,
    ZERO,
    byte_at,
    compiled,
    digits,
    real,
    word_at,
)
from stream.wire.rows_scan import (
    FIELD,
    FIELD_STOP,
    FULL,
    NAME,
    NAME_STOP,
    NO_TIME,
    TAGS,
    TAGS_STOP,
    TIME,
)

_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)


@compiled
def _influx_end(text, p, field):  # type: ignore[no-untyped-def]
    """The place of the first space, or, in the name of a field, of the first equals sign, that no backslash stands
    before."""
    while True:
        c = byte_at(text, p)
        if c == BACKSLASH:
            p += 1
            c = byte_at(text, p)
        elif c == (61 if field else 32):
            return p
        elif field and (c == COMMA or c == 32):
            return RARE
        if c < 32:
            return RARE
        p += 1


@compiled
def _influx_text_end(text, p, size):  # type: ignore[no-untyped-def]
    """The place after the string that begins at ``p``."""
    p += 1
    while p < size:
        c = byte_at(text, p)
        if c == QUOTE:
            return p + 1
        p += 2 if c == BACKSLASH else 1
    return RARE


@compiled
def influx(text, size, rows, values, keys, used):  # type: ignore[no-untyped-def]
    """Lines of points, empty ones and comments among them."""
    used[0] = 0
    p = 0
    while p < size:
        c = byte_at(text, p)
        if c == 10 or c == 13 or c == 32 or c == 9:
            p += 1
            continue
        if c == 35:
            while p < size and byte_at(text, p) != 10:
                p += 1
            continue
        if c == COMMA:
            return RARE
        begin, row = p, used[0]
        p = _influx_end(text, p, False)
        if p < 0:
            return RARE
        stop = p
        while byte_at(text, p) == 32:
            p += 1
        while True:
            field = p
            p = _influx_end(text, p, True)
            if p <= field:
                return RARE
            row = used[0]
            if row == len(rows):
                return FULL
            rows[row, TAGS], rows[row, TAGS_STOP] = begin, stop
            rows[row, NAME], rows[row, NAME_STOP] = 0, 0
            rows[row, FIELD], rows[row, FIELD_STOP] = field, p
            p += 1
            c = byte_at(text, p)
            if c == QUOTE:
                p = _influx_text_end(text, p, size)
                if p < 0:
                    return RARE
            elif c == MINUS or ZERO <= c <= NINE:
                number = p
                p, values[row] = real(text, p)
                if p < 0:
                    return RARE
                c = byte_at(text, p)
                if c == 105 or c == 117:
                    # Eighteen digits fit for certain.
                    least = number + 1 if byte_at(text, number) == MINUS else number
                    if p - least > 18 or (c == 117 and least > number):
                        return RARE
                    for k in range(least, p):
                        if not ZERO <= byte_at(text, k) <= NINE:
                            return RARE
                    values[row] += 0.0
                    p += 1
                used[0] += 1
            else:
                truth = _influx_truth(text, p)
                if truth == 0:
                    return RARE
                values[row] = 1.0 if truth > 0 else 0.0
                used[0] += 1
                p += abs(truth)
            c = byte_at(text, p)
            if c != COMMA:
                break
            p += 1
        time, before = np.int64(NO_TIME), p
        while byte_at(text, p) == 32:
            p += 1
        c = byte_at(text, p)
        if ZERO <= c <= NINE:
            if p == before:
                return RARE
            first = p
            p, number = digits(text, p)
            if p - first > 19 or number >= np.uint64(2**63):
                return RARE
            time = np.int64(number)
            while byte_at(text, p) == 32:
                p += 1
            c = byte_at(text, p)
        if c == 13:
            p += 1
            c = byte_at(text, p)
        if c != 10 and p != size:
            return RARE
        row = used[0] - 1
        while row >= 0 and rows[row, TAGS] == begin:
            rows[row, TIME] = time
            row -= 1
        p += 1
    return 0


@compiled
def _influx_truth(text, p):  # type: ignore[no-untyped-def]
    """How long the boolean at ``p`` is, below zero if it is false; 0 if it is none."""
    c = byte_at(text, p)
    end = p
    while 65 <= byte_at(text, end) <= 122:
        end += 1
    length = end - p
    word = word_at(text, p)
    if c == 116 or c == 84:
        if length == 1:
            return 1
        word &= _FOUR
        for k in range(3):
            if length == 4 and word == _TRUES[k]:
                return 4
    if c == 102 or c == 70:
        if length == 1:
            return -1
        word &= _FIVE
        for k in range(3):
            if length == 5 and word == _FALSES[k]:
                return -5
    return 0


_TRUES = np.array([int.from_bytes(word, "little") for word in (b"true", b"True", b"TRUE")], np.uint64)
_FALSES = np.array([int.from_bytes(word, "little") for word in (b"false", b"False", b"FALSE")], np.uint64)

"""Samples as prometheus-kafka-adapter writes them, read by compiled code; see `stream.wire.rows_scan`."""

from __future__ import annotations

import numpy as np

from stream.wire.json_bytes import (
    COLON,
    DOT,
    MINUS,
    NINE,
    OPEN,
    QUOTE,
    RARE,
    ZERO,
    after_space,
    any_string_end,
    byte_at,
    compiled,
    loose_end,
    real,
    value_end,
    word_at,
)
from stream.wire.json_members import member, opened
from stream.wire.names import table_of
from stream.wire.rows_scan import (
    FIELD,
    FIELD_STOP,
    FULL,
    NAME,
    NAME_STOP,
    TAGS,
    TAGS_STOP,
    TIME,
)

_NO = np.uint64(0)
_INF, _PLUS_INF, _MINUS_INF, _NAN = (
    np.uint64(int.from_bytes(word.ljust(8, b"\0"), "little")) for word in (b'Inf"', b'+Inf"', b'-Inf"', b'NaN"')
)
_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)

_PROMETHEUS = table_of(("timestamp", "value", "name", "labels"))
_P_TIME, _P_VALUE, _P_NAME, _P_LABELS = 1, 2, 3, 4


@compiled
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Days since 1970. Source: Hinnant, chrono-compatible low-level date algorithms."""
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@compiled
def _two(text, p):  # type: ignore[no-untyped-def]
    """The number that two digits say, or less than zero."""
    a, b = byte_at(text, p) - ZERO, byte_at(text, p + 1) - ZERO
    return a * 10 + b if 0 <= a <= 9 and 0 <= b <= 9 else RARE


@compiled
def rfc3339(text, p):  # type: ignore[no-untyped-def]
    """The place after the RFC 3339 time of this century at ``p``, written in the plainest way, and its Unix
    milliseconds."""
    high, low, month, day = _two(text, p), _two(text, p + 2), _two(text, p + 5), _two(text, p + 8)
    hour, minute, second = _two(text, p + 11), _two(text, p + 14), _two(text, p + 17)
    if high != 20 or low < 0 or month < 1 or month > 12 or day < 1 or hour < 0 or hour > 23:
        return RARE, 0
    if minute < 0 or minute > 59 or second < 0 or second > 59 or byte_at(text, p + 10) != 84:
        return RARE, 0
    if byte_at(text, p + 4) != MINUS or byte_at(text, p + 7) != MINUS:
        return RARE, 0
    if byte_at(text, p + 13) != COLON or byte_at(text, p + 16) != COLON:
        return RARE, 0
    year = 2_000 + low
    if day > 28:
        leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        most = 29 if leap else 28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31
        if day > most:
            return RARE, 0
    time = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1_000
    p += 19
    if byte_at(text, p) == DOT:
        p += 1
        scale, first = 100, p
        c = byte_at(text, p)
        while ZERO <= c <= NINE:
            time += (c - ZERO) * scale
            scale //= 10
            p += 1
            c = byte_at(text, p)
        if p == first or p > first + 9:
            return RARE, 0
    return (p + 1, time) if byte_at(text, p) == 90 else (RARE, 0)


@compiled
def _quoted_real(text, p):  # type: ignore[no-untyped-def]
    """A number, or one in quotes as Go writes it, which knows NaN, +Inf and -Inf."""
    if byte_at(text, p) != QUOTE:
        return real(text, p)
    p += 1
    word = word_at(text, p)
    if word & _FOUR == _NAN:
        return p + 4, np.nan
    if word & _FIVE == _PLUS_INF or word & _FIVE == _MINUS_INF:
        return p + 5, np.inf
    p, value = real(text, p)
    return (p + 1, value) if p >= 0 and byte_at(text, p) == QUOTE else (RARE, 0.0)


@compiled
def prometheus(text, size, rows, values, keys, used):  # type: ignore[no-untyped-def]
    """One object or several after each other."""
    used[0] = 0
    p = after_space(text, 0)
    while p < size:
        row = used[0]
        if row == len(rows):
            return FULL
        rows[row, NAME], rows[row, NAME_STOP], rows[row, FIELD], rows[row, FIELD_STOP] = 0, 0, 0, 0
        rows[row, TAGS], rows[row, TAGS_STOP] = 0, 0
        time, value, given = 0, 0.0, 0
        p = opened(text, p, OPEN)
        seen, first = _NO, True
        while p >= 0:
            p, name, seen = member(_PROMETHEUS, text, p, first, seen, keys, 0)
            if p < 0 or name < 0:
                break
            first = False
            if name == _P_TIME:
                if byte_at(text, p) != QUOTE:
                    return RARE
                p, time = rfc3339(text, p + 1)
                if p < 0 or byte_at(text, p) != QUOTE:
                    return RARE
                p += 1
                given += 1
            elif name == _P_VALUE:
                p, value = _quoted_real(text, p)
                given += 1
            elif name == _P_NAME:
                rows[row, NAME] = p
                p = any_string_end(text, p + 1) if byte_at(text, p) == QUOTE else RARE
                p = p + 1 if p >= 0 else RARE
                rows[row, NAME_STOP] = p
            elif name == _P_LABELS:
                rows[row, TAGS] = p
                p = loose_end(text, p) if byte_at(text, p) == OPEN else RARE
                rows[row, TAGS_STOP] = p
            else:
                p = value_end(text, p, keys)
        if p < 0 or given != 2:
            return RARE
        rows[row, TIME], values[row] = time, value
        # Nobody will read the labels of what is left out.
        unread = rows[row, TAGS] and not np.isfinite(value)
        if unread and value_end(text, rows[row, TAGS], keys) != rows[row, TAGS_STOP]:
            return RARE
        used[0] += 1
        p = after_space(text, p)
    return 0 if p == size and used[0] else RARE

"""Metrics as Telegraf's JSON serializer writes them, read by compiled code; see `stream.wire.rows_scan`."""

from __future__ import annotations

import numpy as np

from stream.wire.json_bytes import (
    CLOSE,
    DOT,
    MINUS,
    NINE,
    OPEN,
    OPEN_LIST,
    QUOTE,
    RARE,
    ZERO,
    after_space,
    any_string_end,
    byte_at,
    compiled,
    digits,
    literal_end,
    real,
    value_end,
)
from stream.wire.json_members import item, member, opened
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
_TELEGRAF = table_of(("timestamp", "name", "tags", "fields"))
_T_TIME, _T_NAME, _T_TAGS, _T_FIELDS = 1, 2, 3, 4
_BATCH = table_of(("metrics",))
_NOTHING = table_of(("\x00",))


@compiled
def _telegraf_metric(text, p, rows, values, keys, used):  # type: ignore[no-untyped-def]
    row, time, timed = used[0], np.int64(0), False
    begin, stop, tags, tags_stop = 0, 0, 0, 0
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(_TELEGRAF, text, p, first, seen, keys, 1)
        if p < 0 or name < 0:
            break
        first = False
        if name == _T_TIME:
            c = byte_at(text, p)
            if c == QUOTE:
                return RARE
            p, number = digits(text, p)
            # Another number is rare, not wrong.
            if p < 0 or number >= np.uint64(2**63) or number == _NO or c == ZERO:
                return RARE
            c = byte_at(text, p)
            if c == DOT or c == 101 or c == 69:
                return RARE
            time, timed = np.int64(number), True
        elif name == _T_NAME:
            begin = p
            p = any_string_end(text, p + 1) if byte_at(text, p) == QUOTE else RARE
            p = p + 1 if p >= 0 else RARE
            stop = p
        elif name == _T_TAGS:
            tags = p
            p = value_end(text, p, keys) if byte_at(text, p) == OPEN else RARE
            tags_stop = p
        elif name == _T_FIELDS:
            p = _telegraf_fields(text, p, rows, values, keys, used)
        else:
            p = value_end(text, p, keys)
    if p < 0:
        return p
    # No field at all is rare.
    if not timed or not begin or not seen & np.uint64(1 << _T_FIELDS):
        return RARE
    for each in range(row, used[0]):
        rows[each, TIME] = time
        rows[each, NAME], rows[each, NAME_STOP] = begin, stop
        rows[each, TAGS], rows[each, TAGS_STOP] = tags, tags_stop
    return p


@compiled
def _telegraf_fields(text, p, rows, values, keys, used):  # type: ignore[no-untyped-def]
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        # No field is known by name, so that each is compared with those before it.
        p, name, seen = member(_NOTHING, text, p, first, seen, keys, 2)
        if p < 0 or name < 0:
            break
        first = False
        row = used[0]
        if row == len(rows):
            return FULL
        # The name stands before the colon.
        stop = p - 1
        while byte_at(text, stop) != QUOTE:
            stop -= 1
        begin = stop - 1
        while byte_at(text, begin) != QUOTE:
            begin -= 1
        c = byte_at(text, p)
        if c == MINUS or ZERO <= c <= NINE:
            p, values[row] = real(text, p)
        elif c == 116 or c == 102:
            values[row] = 1.0 if c == 116 else 0.0
            p = literal_end(text, p)
        else:
            p = value_end(text, p, keys)
            continue
        rows[row, FIELD], rows[row, FIELD_STOP] = begin, stop + 1
        used[0] += 1
    return p


@compiled
def telegraf(text, size, rows, values, keys, used):  # type: ignore[no-untyped-def]
    """One metric, several after each other, or a batch of them."""
    used[0] = 0
    p = after_space(text, 0)
    read = 0
    while p < size:
        start = p
        # A batch has one name of its own and nothing else.
        p = opened(text, p, OPEN)
        if p < 0:
            return p
        p, name, _ = member(_BATCH, text, p, True, _NO, keys, 0)
        if p < 0:
            return p
        if name == 1:
            p = opened(text, p, OPEN_LIST)
            first = True
            while p >= 0:
                p, more = item(text, p, first)
                if p < 0 or not more:
                    break
                first = False
                p = _telegraf_metric(text, p, rows, values, keys, used)
            if p < 0:
                return p
            p = after_space(text, p)
            if byte_at(text, p) != CLOSE:
                return RARE
            p += 1
        else:
            p = _telegraf_metric(text, start, rows, values, keys, used)
        if p < 0:
            return p
        read += 1
        p = after_space(text, p)
    return 0 if p == size and read else RARE

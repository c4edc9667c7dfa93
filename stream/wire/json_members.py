"""Objects and lists of JSON, member by member, in compiled code."""

from __future__ import annotations

import numpy as np

from stream.wire.json_bytes import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    DEEPEST,
    QUOTE,
    RARE,
    after_space,
    byte_at,
    compiled,
    inlined,
    is_new,
    key_hash,
    string_end,
)
from stream.wire.names import number_of

_NO, _ONE = np.uint64(0), np.uint64(1)


@compiled
def member(table, text, p, first, seen, keys, level):  # type: ignore[no-untyped-def]
    """The value of the next member of an object: its place, its name's number, and all names seen.

    ``table`` is of `stream.wire.names.table_of`. The number is 0 for an unknown name and -1 at the end of the object,
    behind which the place then is. ``level`` tells the rows of ``keys`` apart that are for objects within each other.
    """
    p = after_space(text, p)
    c = byte_at(text, p)
    if c == CLOSE:
        return p + 1, -1, seen
    if not first:
        if c != COMMA:
            return RARE, 0, seen
        p = after_space(text, p + 1)
        c = byte_at(text, p)
    if c != QUOTE:
        return RARE, 0, seen
    stop = string_end(text, p + 1)
    if stop < 0:
        return RARE, 0, seen
    name = number_of(table, text, p + 1, stop)
    if name == 0:
        if seen & _ONE == _NO:
            keys[DEEPEST + level, 0] = _NO
        if not is_new(keys, DEEPEST + level, key_hash(text, p + 1, stop)):
            return RARE, 0, seen
    bit = _ONE << np.uint64(name)
    if name and seen & bit != _NO:
        return RARE, 0, seen
    p = after_space(text, stop + 1)
    if byte_at(text, p) != COLON:
        return RARE, 0, seen
    return after_space(text, p + 1), name, seen | bit


@inlined
def item(text, p, first):  # type: ignore[no-untyped-def]
    """The place of the next item of a list, and whether there is one; else the place behind the list."""
    p = after_space(text, p)
    c = byte_at(text, p)
    if c == CLOSE_LIST:
        return p + 1, False
    if not first:
        if c != COMMA:
            return RARE, False
        p = after_space(text, p + 1)
    return p, True


@inlined
def opened(text, p, bracket):  # type: ignore[no-untyped-def]
    """The place behind a bracket that must be there."""
    return p + 1 if byte_at(text, p) == bracket else RARE

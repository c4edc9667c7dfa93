"""Protobuf's wire format for compiled scanners: where the next field begins and ends, and nothing is built.

Numbers of fields, wire types and lengths are checked as Google's parser does. A place of -1 is what cannot be read.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from stream.hash128 import load64

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
#: Deeper messages are no telemetry; Google's own parsers stop at 100.
DEEPEST = 64
_HIGH_BITS = np.uint64(0x8080808080808080)
_MOST_32 = np.int64(0xFFFFFFFF)
_MORE = np.uint64(0x80)
_BYTE, _TWO_BYTES, _EIGHT = np.uint64(0xFF), np.uint64(0xFFFF), np.uint64(8)
_LONGEST = np.int64(0x7FFFFFFF)


@numba.njit(cache=True, nogil=True)
def varint(data, at, end):  # type: ignore[no-untyped-def]
    """A varint's 64 bits as an int64, and the place after it."""
    value, shift = np.int64(0), np.int64(0)
    while at < end and shift < 70:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, np.int64(at)
        shift += 7
    return value, np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _head(data, at, end):  # type: ignore[no-untyped-def]
    """Number and wire type of a field, and the place after them."""
    tag, after = np.int64(data[at]), np.int64(at + 1)
    if tag > 127:
        tag, after = varint(data, at, min(end, at + 5))
        if tag > _MOST_32:
            after = np.int64(-1)
    if tag < 8:
        after = np.int64(-1)
    return tag >> 3, tag & 7, after


@numba.njit(cache=True, nogil=True)
def _content(data, wire, at, end):  # type: ignore[no-untyped-def]
    """Start and end of what a field holds that is no group."""
    start, stop = np.int64(at), np.int64(-1)
    if wire == LENGTH:
        length = np.int64(data[at]) if at < end else np.int64(128)
        start = np.int64(at + 1)
        if length > 127:
            length, start = varint(data, at, end)
        if start >= 0 and 0 <= length <= _LONGEST and length <= end - start:
            stop = start + length
    elif wire == FIXED64:
        stop = np.int64(at + 8)
    elif wire == FIXED32:
        stop = np.int64(at + 4)
    elif wire == VARINT:
        _, stop = varint(data, at, end)
    return start, stop if stop <= end else np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _after_group(data, number, at, end):  # type: ignore[no-untyped-def]
    """The place after the group of this number that began at `at`."""
    open_groups = np.empty(DEEPEST, np.int64)
    open_groups[0] = number
    depth = 1
    while at < end:
        number, wire, at = _head(data, at, end)
        if at < 0:
            break
        if wire == GROUP:
            if depth == DEEPEST:
                break
            open_groups[depth] = number
            depth += 1
        elif wire == END_GROUP:
            depth -= 1
            if open_groups[depth] != number:
                break
            if depth == 0:
                return np.int64(at)
        else:
            _, at = _content(data, wire, at, end)
            if at < 0:
                break
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)
def usual_field(data, at, end):  # type: ignore[no-untyped-def]
    """`field` for those with a tag of one byte and little more, as nearly all have; for any other the end is -1.

    For loops over points, which then ask `field`: this one is compiled into the loop, and a call that is not costs ten
    times what it does, as it counts the references to the array.
    """
    word = load64(data, at)
    tag, size = np.int64(word & _BYTE), np.int64(word >> _EIGHT & _TWO_BYTES)
    if 8 <= tag < 128:
        if tag & 7 == LENGTH:
            start = at + 2
            if size & 128:
                size, start = size & 127 | size >> 1 & 0x7F80, at + 3
            else:
                size &= 127
            if size < 1 << 14 and size <= end - start:
                return tag >> 3, tag & 7, start, start + size
        elif tag & 7 == FIXED64 and at + 9 <= end:
            return tag >> 3, tag & 7, at + 1, at + 9
        elif tag & 7 == VARINT:
            rest, stop = word >> _EIGHT, at + 2
            while rest & _MORE and stop < at + 8:
                rest >>= _EIGHT
                stop += 1
            if not rest & _MORE and stop <= end:
                return tag >> 3, tag & 7, at + 1, stop
    return tag, tag, at, np.int64(-1)


@numba.njit(cache=True, nogil=True)
def field(data, at, end):  # type: ignore[no-untyped-def]
    """The field at `at`: its number, its wire type, where its content starts and ends, which is where the next begins.

    A group is one field; what it holds is checked and of no use. The end is -1 where the field cannot be read.
    """
    number, wire, start = _head(data, at, end)
    if start < 0:
        return number, wire, start, start
    if wire == GROUP:
        return number, wire, start, _after_group(data, number, start, end)
    start, stop = _content(data, wire, start, end)
    return number, wire, start, stop


@numba.njit(cache=True, nogil=True)
def is_utf8(data, at, end):  # type: ignore[no-untyped-def]
    """Whether `data[at:end]` is UTF-8 as RFC 3629 has it."""
    while at < end:
        if at + 8 <= end and not load64(data, at) & _HIGH_BITS:
            at += 8
            continue
        first = np.int64(data[at])
        if first < 0x80:
            at += 1
            continue
        more = 1 if 0xC2 <= first < 0xE0 else 2 if 0xE0 <= first < 0xF0 else 3 if 0xF0 <= first < 0xF5 else 0
        if more == 0 or at + more >= end:
            return False
        second = np.int64(data[at + 1])
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return False
        if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
            return False
        for place in range(at + 1, at + 1 + more):
            if data[place] & 0xC0 != 0x80:
                return False
        at += 1 + more
    return True


@numba.njit(cache=True, nogil=True)
def are_fields(data, at, end):  # type: ignore[no-untyped-def]
    """Whether `data[at:end]` is a message, whatever is in it."""
    while at < end:
        _, _, _, at = field(data, at, end)
        if at < 0:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def are_varints(data, at, end):  # type: ignore[no-untyped-def]
    """Whether `data[at:end]` is varints to its end, as a packed field must be."""
    while at < end:
        _, at = varint(data, at, end)
        if at < 0:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def zigzag(value):  # type: ignore[no-untyped-def]
    """The signed number that a varint of type sint32 stands for."""
    low = value & _MOST_32
    return (low >> 1) ^ -(low & 1)


#: In a schema of `is_sound`: a field whose content does not matter, and one that is text.
ANY, TEXT = 0, 1


@numba.njit(cache=True, nogil=True)
def is_sound(data, at, end, kind, schema):  # type: ignore[no-untyped-def]
    """Whether Google's parser would take `data[at:end]` as a message of this kind.

    `schema[kind, field]` (int64) is `ANY`, `TEXT` or the kind of message that the field holds; kinds begin at 2.
    """
    ends, kinds = np.empty(DEEPEST, np.int64), np.empty(DEEPEST, np.int64)
    ends[0], kinds[0] = end, kind
    depth = 0
    while True:
        if at == ends[depth]:
            if depth == 0:
                return True
            depth -= 1
            continue
        number, wire, start, stop = field(data, at, ends[depth])
        if stop < 0:
            return False
        at = stop
        if wire == LENGTH and number < schema.shape[1]:
            what = schema[kinds[depth], number]
            if what == TEXT:
                if not is_utf8(data, start, stop):
                    return False
            elif what != ANY:
                depth += 1
                if depth == DEEPEST:
                    return False
                ends[depth], kinds[depth] = stop, what
                at = start


def fields(text: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and content of each field of a message that is known to be sound: bytes, or the integer's bits.

    Plain Python, for the few places that are read once.
    """
    at, end = 0, len(text)
    while at < end:
        tag, at = _plain_varint(text, at)
        wire = tag & 7
        if wire == VARINT:
            value, at = _plain_varint(text, at)
            yield tag >> 3, wire, value
            continue
        if wire == LENGTH:
            size, at = _plain_varint(text, at)
        elif wire == FIXED64:
            size = 8
        elif wire == FIXED32:
            size = 4
        else:
            at = _plain_after_group(text, at)
            continue
        yield tag >> 3, wire, text[at : at + size]
        at += size


def _plain_varint(text: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = text[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _plain_after_group(text: bytes, at: int) -> int:
    depth = 1
    while depth:
        tag, at = _plain_varint(text, at)
        wire = tag & 7
        if wire == VARINT:
            _, at = _plain_varint(text, at)
        elif wire == LENGTH:
            size, at = _plain_varint(text, at)
            at += size
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            depth += 1 if wire == GROUP else -1
    return at


def varints(text: bytes) -> list[int]:
    """Packed varints that are known to be sound, as the bits of each."""
    found, at = [], 0
    while at < len(text):
        value, at = _plain_varint(text, at)
        found.append(value)
    return found

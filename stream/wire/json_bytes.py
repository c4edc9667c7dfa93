"""JSON read from bytes in compiled code: where a value ends, what a number says, without an object for either.

A place is an index into the text; a negative one is a refusal. Nothing here says what is wrong: whoever calls reads
the text again with a parser that does. A text is what `stream.hash128.padded` makes of bytes. No JSON goes on past a
zero byte, so that nobody asks at each byte whether it is the last.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from stream.hash128 import load64
from stream.wire.exact_float import exact_float

#: Nothing here makes an array, so numba is told not to count who uses them.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = numba.njit(**OPTIONS)
inlined = numba.njit(**OPTIONS, forceinline=True)

#: The text is no JSON, or of a shape that only the plain parser reads.
RARE = -1
#: Keys of one skipped object that are compared with each other; more are rare.
MOST_KEYS = 512
#: Deeper nesting of what is skipped is left to the plain parser, which has a limit of its own.
DEEPEST = 32

QUOTE, COMMA, COLON, BACKSLASH = 34, 44, 58, 92
OPEN_LIST, CLOSE_LIST, OPEN, CLOSE = 91, 93, 123, 125
MINUS, PLUS, DOT, ZERO, NINE = 45, 43, 46, 48, 57

_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_ZEROS, _NIBBLES, _SIXES = np.uint64(0x3030303030303030), np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x0606060606060606)
_PAIRS, _QUADS = np.uint64(0x000000FF000000FF), np.uint64(0x3333333333333333)
_MUL_1, _MUL_2 = np.uint64(0x000F424000000064), np.uint64(0x0000271000000001)
_TEN, _NO, _ONE = np.uint64(10), np.uint64(0), np.uint64(1)
_TRUE, _FALSE, _NULL = (np.uint64(int.from_bytes(word, "little")) for word in (b"true", b"false", b"null"))


def can_compile() -> bool:
    """Whether there is compiled code here; everything is read plainly where numba may not compile."""
    return not config.DISABLE_JIT  # type: ignore[attr-defined]  # numba sets it by name


def is_utf8(value: bytes) -> bool:
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _byte_at(typingctx, text, place):  # type: ignore[no-untyped-def]
    """The byte at a place as int64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
        return builder.zext(builder.load(builder.gep(data, [arguments[1]])), ir.IntType(64))

    return types.int64(text, types.int64), codegen


def _low_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """How many bits below the lowest set bit; the word is not zero."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


byte_at: Any = intrinsic(_byte_at)
low_zeros: Any = intrinsic(_low_zeros)
#: The eight bytes from a place on, the first of them lowest.
word_at: Any = load64


@inlined
def after_space(text, p):  # type: ignore[no-untyped-def]
    """The next place that is no white space."""
    c = byte_at(text, p)
    while c <= 32 and (c == 32 or c == 10 or c == 13 or c == 9):
        p += 1
        c = byte_at(text, p)
    return p


@inlined
def stop_in_string(text, p):  # type: ignore[no-untyped-def]
    """The next place, from ``p`` on, of a quote, a backslash or a control character."""
    while True:
        word = word_at(text, p)
        quote = word ^ _QUOTES
        slash = word ^ _BACKSLASHES
        found = (((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _SPACES) & ~word)) & _HIGHS
        if found != _NO:
            return p + (low_zeros(found) >> 3)
        p += 8


@compiled
def string_end(text, p):  # type: ignore[no-untyped-def]
    """The place of the quote that ends a string without escapes, whose first character is at ``p``; else RARE."""
    p = stop_in_string(text, p)
    return p if byte_at(text, p) == QUOTE else RARE


@compiled
def any_string_end(text, p):  # type: ignore[no-untyped-def]
    """As ``string_end``, escapes allowed; surrogates, which may stand alone, are rare."""
    while True:
        p = stop_in_string(text, p)
        c = byte_at(text, p)
        if c == QUOTE:
            return p
        if c != BACKSLASH:
            return RARE
        step = _escape(text, p)
        if step < 0:
            return RARE
        p += step


@inlined
def _is_hex(c):  # type: ignore[no-untyped-def]
    return (ZERO <= c <= NINE) or (97 <= (c | 32) <= 102)


@compiled
def _escape(text, p):  # type: ignore[no-untyped-def]
    """How long the escape at ``p`` is."""
    c = byte_at(text, p + 1)
    if c in (QUOTE, BACKSLASH, 47, 98, 102, 110, 114, 116):
        return 2
    if c != 117:
        return RARE
    for k in range(2, 6):
        if not _is_hex(byte_at(text, p + k)):
            return RARE
    # \ud800 to \udfff
    if (byte_at(text, p + 2) | 32) == 100 and byte_at(text, p + 3) >= 56:
        return RARE
    return 6


@compiled
def loose_end(text, p):  # type: ignore[no-untyped-def]
    """The place after the list or object that begins at ``p``, by its brackets and strings alone.

    What is between them is not looked at: for bytes that are known, or read strictly by someone else.
    """
    depth = 0
    while True:
        c = byte_at(text, p)
        if c == QUOTE:
            p += 1
            while True:
                p = stop_in_string(text, p)
                c = byte_at(text, p)
                if c == QUOTE:
                    break
                if c != BACKSLASH or byte_at(text, p + 1) == 0:
                    return RARE
                p += 2
        elif c in (OPEN_LIST, OPEN):
            depth += 1
        elif c in (CLOSE_LIST, CLOSE):
            depth -= 1
            if depth == 0:
                return p + 1
        elif c == 0:
            return RARE
        p += 1


@inlined
def eight_digits(word):  # type: ignore[no-untyped-def]
    """The number that eight digits say, first digit lowest. Source: Lemire, Fast float parsing in practice."""
    word -= _ZEROS
    word = word * _TEN + (word >> np.uint64(8))
    return (((word & _PAIRS) * _MUL_1) + (((word >> np.uint64(16)) & _PAIRS) * _MUL_2)) >> np.uint64(32)


@inlined
def are_digits(word):  # type: ignore[no-untyped-def]
    return ((word & _NIBBLES) | (((word + _SIXES) & _NIBBLES) >> np.uint64(4))) == _QUADS


@compiled
def digits(text, p):  # type: ignore[no-untyped-def]
    """The place after the digits from ``p`` on, and their number, which is right for up to nineteen of them."""
    number = _NO
    while True:
        word = word_at(text, p)
        if not are_digits(word):
            break
        number = number * np.uint64(100_000_000) + eight_digits(word)
        p += 8
    c = byte_at(text, p)
    while ZERO <= c <= NINE:
        number = number * _TEN + np.uint64(c - ZERO)
        p += 1
        c = byte_at(text, p)
    return p, number


@compiled
def real(text, p):  # type: ignore[no-untyped-def]
    """The place after the JSON number at ``p`` and its correctly rounded value; RARE where it is none or too long.

    >>> from stream.hash128 import padded
    >>> real(padded(b"-12.5e1,"), 0)
    (7, -125.0)
    """
    negative = byte_at(text, p) == MINUS
    if negative:
        p += 1
    first = p
    p, mantissa = digits(text, p)
    count = p - first
    if count == 0 or (count > 1 and byte_at(text, first) == ZERO):
        return RARE, 0.0
    exponent = 0
    significant = count
    if byte_at(text, first) == ZERO:
        significant = 0
    if byte_at(text, p) == DOT:
        p += 1
        fraction = p
        if mantissa == _NO:
            while byte_at(text, p) == ZERO:
                p += 1
        leading = p
        # Nineteen digits are what fits.
        p, tail = digits(text, p)
        if p == fraction:
            return RARE, 0.0
        significant += p - leading
        exponent = fraction - p
        if significant <= 19:
            mantissa = mantissa * _power(p - leading) + tail
    if significant > 19:
        return _long_real(text, first, negative)
    c = byte_at(text, p)
    if c == 101 or c == 69:
        p, more = _exponent(text, p)
        if p < 0:
            return RARE, 0.0
        exponent += more
    elif mantissa == _NO and p - first == 1:
        # The integer -0 has no sign.
        return p, 0.0
    value, exact = exact_float(mantissa, exponent)
    if not exact or value > 1.7976931348623157e308:
        return RARE, 0.0
    return p, -value if negative else value


@inlined
def _power(count):  # type: ignore[no-untyped-def]
    """Ten to the power of ``count``, from 0 to 19."""
    power = np.uint64(1)
    for _ in range(count):
        power *= _TEN
    return power


@compiled
def _exponent(text, p):  # type: ignore[no-untyped-def]
    p += 1
    c = byte_at(text, p)
    below = c == MINUS
    if below or c == PLUS:
        p += 1
    first = p
    p, number = digits(text, p)
    if p == first or p - first > 6:
        return RARE, 0
    return p, -np.int64(number) if below else np.int64(number)


@compiled
def _long_real(text, p, negative):  # type: ignore[no-untyped-def]
    """A number of more than nineteen digits: right if what is cut off makes no difference."""
    mantissa = _NO
    taken, exponent = 0, 0
    point = False
    while True:
        c = byte_at(text, p)
        if ZERO <= c <= NINE:
            if taken < 19:
                mantissa = mantissa * _TEN + np.uint64(c - ZERO)
                if mantissa != _NO:
                    taken += 1
                if point:
                    exponent -= 1
            elif not point:
                exponent += 1
        elif c == DOT and not point:
            point = True
        else:
            break
        p += 1
    if c == 101 or c == 69:
        p, more = _exponent(text, p)
        if p < 0:
            return RARE, 0.0
        exponent += more
    low, exact = exact_float(mantissa, exponent)
    high, also = exact_float(mantissa + np.uint64(1), exponent)
    if low != high or not exact or not also or low > 1.7976931348623157e308:
        return RARE, 0.0
    return p, -low if negative else low


@compiled
def whole(text, p):  # type: ignore[no-untyped-def]
    """The place after the integer at ``p``, as a number or in quotes, and what it says; RARE beyond eighteen digits."""
    quoted = byte_at(text, p) == QUOTE
    if quoted:
        p += 1
    negative = byte_at(text, p) == MINUS
    if negative:
        p += 1
    first = p
    p, number = digits(text, p)
    count = p - first
    if count == 0 or count > 19 or (count > 1 and byte_at(text, first) == ZERO):
        return RARE, 0
    if number >= np.uint64(9_223_372_036_854_775_807):
        return RARE, 0
    if quoted:
        if byte_at(text, p) != QUOTE:
            return RARE, 0
        p += 1
    else:
        c = byte_at(text, p)
        if c == DOT or c == 101 or c == 69:
            return RARE, 0
    return p, -np.int64(number) if negative else np.int64(number)


@compiled
def key_hash(text, p, stop):  # type: ignore[no-untyped-def]
    """A quick hash of a key; two keys with the same are read again by someone who compares them."""
    found = np.uint64(stop - p)
    while p < stop:
        word = word_at(text, p)
        if stop - p < 8:
            word &= (_ONE << np.uint64(8 * (stop - p))) - _ONE
        found = (found ^ word) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(32)
        p += 8
    return found


@compiled
def value_end(text, p, keys):  # type: ignore[no-untyped-def]
    """The place after the JSON value at ``p``, strictly read; RARE for anything wrong or a key that stands twice.

    ``keys`` (uint64[DEEPEST, MOST_KEYS + 1]) is room for the keys of the objects that are open.
    """
    # The open brackets, innermost lowest: 1 an object, 0 a list.
    kinds, depth = _NO, 0
    while True:
        p = after_space(text, p)
        c = byte_at(text, p)
        opened = False
        if c == QUOTE:
            p = any_string_end(text, p + 1)
            if p < 0:
                return RARE
            p += 1
        elif c in (OPEN, OPEN_LIST):
            if depth == DEEPEST:
                return RARE
            keys[depth, 0] = _NO
            depth += 1
            kinds = (kinds << _ONE) | np.uint64(c == OPEN)
            p += 1
            opened = True
        elif c == 116 or c == 102 or c == 110:
            p = literal_end(text, p)
            if p < 0:
                return RARE
        else:
            p, _ = real(text, p)
            if p < 0:
                return RARE
        # After a value, or at the first of what was opened.
        while True:
            if depth == 0:
                return p
            inside = (kinds & _ONE) != _NO
            p = after_space(text, p)
            c = byte_at(text, p)
            if c == (CLOSE if inside else CLOSE_LIST):
                p += 1
                depth -= 1
                kinds >>= _ONE
                opened = False
                continue
            if not opened:
                if c != COMMA:
                    return RARE
                p = after_space(text, p + 1)
            if inside:
                if byte_at(text, p) != QUOTE:
                    return RARE
                stop = string_end(text, p + 1)
                if stop < 0 or not is_new(keys, depth - 1, key_hash(text, p + 1, stop)):
                    return RARE
                p = after_space(text, stop + 1)
                if byte_at(text, p) != COLON:
                    return RARE
                p += 1
            break


@compiled
def is_new(keys, row, key):  # type: ignore[no-untyped-def]
    """Whether an object did not have this key before, and notes it; an object of very many keys is rare."""
    count = np.int64(keys[row, 0])
    if count == MOST_KEYS:
        return False
    for k in range(1, count + 1):
        if keys[row, k] == key:
            return False
    keys[row, count + 1] = key
    keys[row, 0] = np.uint64(count + 1)
    return True


@compiled
def literal_end(text, p):  # type: ignore[no-untyped-def]
    """The place after the ``true``, ``false`` or ``null`` at ``p``."""
    word = word_at(text, p)
    four = word & np.uint64(0xFFFFFFFF)
    if four in (_TRUE, _NULL):
        return p + 4
    if word & np.uint64(0xFFFFFFFFFF) == _FALSE:
        return p + 5
    return RARE

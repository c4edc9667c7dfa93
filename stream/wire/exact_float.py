"""The double nearest to a decimal number, in compiled code: the algorithm of Eisel and Lemire.

Source: Lemire, Number parsing at a gigabyte per second, Software: Practice and Experience 51 (2021), and Mushtak and
Lemire, Fast number parsing without fallback (2022), which proves that 128 bits of the power of five are enough.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba.core import cgutils, types
from numba.extending import intrinsic

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_compiled = numba.njit(**_OPTIONS)

_LEAST, _MOST = -342, 308


def _fives() -> tuple[Any, Any]:
    """The upper and lower 64 bits of the powers of five from -342 to 308, cut to 128 bits of which the first is set."""
    upper, lower = [], []
    for power in range(_LEAST, _MOST + 1):
        if power >= 0:
            five = 5**power
            bits = five.bit_length()
            cut = five >> (bits - 128) if bits > 128 else five << (128 - bits)
        else:
            # A reciprocal is rounded up.
            five = 5**-power
            bits = five.bit_length()
            cut = (1 << (bits + 127)) // five + 1
            if cut >= 1 << 128:
                cut >>= 1
        upper.append(cut >> 64)
        lower.append(cut & (2**64 - 1))
    return np.array(upper, dtype=np.uint64), np.array(lower, dtype=np.uint64)


_UPPER, _LOWER = _fives()
#: Powers of ten that are exact as doubles.
_TENS = np.array([10.0**power for power in range(23)])


def _product(typingctx, a, b):  # type: ignore[no-untyped-def]
    """The upper and the lower half of a product of two uint64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        wide, word = ir.IntType(128), ir.IntType(64)
        both = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        upper = builder.trunc(builder.lshr(both, ir.Constant(wide, 64)), word)
        return context.make_tuple(builder, signature.return_type, (upper, builder.trunc(both, word)))

    pair: Any = types.UniTuple
    return pair(types.uint64, 2)(types.uint64, types.uint64), codegen


def _leading_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


def _bitcast(typingctx, bits):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), codegen


_multiplied: Any = intrinsic(_product)
_high_zeros: Any = intrinsic(_leading_zeros)
_as_double: Any = intrinsic(_bitcast)


@_compiled
def exact_float(mantissa, exponent):  # type: ignore[no-untyped-def]
    """The double nearest to ``mantissa`` (uint64) times ten to ``exponent``, infinite beyond the largest, and whether
    this is certain; it always is, but for what the proof leaves out.

    >>> exact_float(np.uint64(17976931348623157), 292)
    (1.7976931348623157e+308, True)
    """
    if mantissa == np.uint64(0):
        return 0.0, True
    if mantissa <= np.uint64(1 << 53) and -22 <= exponent <= 22:
        # Both numbers are exact, so one operation rounds once.
        if exponent < 0:
            return np.float64(mantissa) / _TENS[-exponent], True
        return np.float64(mantissa) * _TENS[exponent], True
    if exponent < -342:
        return 0.0, True
    if exponent > 308:
        return np.inf, True
    zeros = _high_zeros(mantissa)
    word = mantissa << np.uint64(zeros)
    row = exponent + 342
    upper, lower = _multiplied(word, _UPPER[row])
    if upper & np.uint64(0x1FF) == np.uint64(0x1FF):
        more, _ = _multiplied(word, _LOWER[row])
        lower += more
        if more > lower:
            upper += np.uint64(1)
    # Source: fast_float asks for a plainer parser here; nobody has seen such a number.
    if lower == np.uint64(0xFFFFFFFFFFFFFFFF) and (exponent < -27 or exponent > 55):
        return 0.0, False
    first = np.int64(upper >> np.uint64(63))
    bits = upper >> np.uint64(first + 9)
    power = ((217706 * exponent) >> 16) + 63 + first - zeros + 1023
    if power <= 0:
        if power <= -63:
            return 0.0, True
        bits >>= np.uint64(1 - power)
        bits += bits & np.uint64(1)
        bits >>= np.uint64(1)
        # Carried into the smallest normal number, the bit that counts as its exponent is already there.
        return _as_double(bits), True
    even = lower <= np.uint64(1) and -4 <= exponent <= 23 and bits & np.uint64(3) == np.uint64(1)
    if even and bits << np.uint64(first + 9) == upper:
        # Half-way between two doubles: to the even one.
        bits &= ~np.uint64(1)
    bits += bits & np.uint64(1)
    bits >>= np.uint64(1)
    if bits >= np.uint64(1 << 53):
        bits = np.uint64(1 << 52)
        power += 1
    if power >= 0x7FF:
        return np.inf, True
    return _as_double((bits & np.uint64((1 << 52) - 1)) | (np.uint64(power) << np.uint64(52))), True

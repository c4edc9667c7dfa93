"""A fast 128-bit hash of ranges of bytes inside compiled code: what names a series before anything of it is decoded.

Two lanes of folded 64-bit products, as in wyhash (github.com/wangyi-fudan/wyhash), closed by two Feistel rounds. Its
seed is drawn anew in each process, so that nobody outside can make two series collide; a hash therefore means nothing
outside the process that made it and is never stored. Where numba may not compile, the hash is Python's own BLAKE2b.

An array that is hashed has `PADDING` bytes more than its content, as eight bytes are read at once.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

PADDING = 16
_LOW = np.uint64(0xFFFFFFFFFFFFFFFF)


def new_seed() -> UInt64:
    """uint64[4] of the system's randomness."""
    return np.frombuffer(os.urandom(32), dtype=np.uint64)


def padded(value: bytes) -> Bytes:
    """The bytes as uint8[len(value) + PADDING]."""
    return np.frombuffer(value + bytes(PADDING), dtype=np.uint8)


# Each compiled or plain, see below.
load64: Any
as_double: Any
as_bits: Any
hash_bytes: Any
hash_more: Any
combine: Any
absorb: Any

if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]  # made at run time
    from llvmlite import ir  # type: ignore[import-untyped]  # it has no types of its own
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def _load64(_context: Any, data: Any, at: Any) -> Any:
        """The eight bytes from `at` on as a little-endian uint64; `data` is a contiguous uint8 array."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.gep(array.data, [arguments[1]])
            word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
            word.align = 1
            return word

        return types.uint64(data, types.int64), generate

    @intrinsic
    def _as_double(_context: Any, word: Any) -> Any:
        """The float64 that has the bits of this uint64."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.DoubleType())

        return types.float64(types.uint64), generate

    @intrinsic
    def _as_bits(_context: Any, number: Any) -> Any:
        """The bits of a float64 as a uint64."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.IntType(64))

        return types.uint64(types.float64), generate

    @intrinsic
    def _fold(_context: Any, a: Any, b: Any) -> Any:
        """The two halves of the 128-bit product of two uint64, one xor the other."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            wide = ir.IntType(128)
            product = builder.mul(*(builder.zext(one, wide) for one in arguments))
            high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
            return builder.xor(builder.trunc(product, ir.IntType(64)), high)

        return types.uint64(types.uint64, types.uint64), generate

    load64, as_double, as_bits = _load64, _as_double, _as_bits
    fold: Any = _fold

    @numba.njit(cache=True, nogil=True)
    def _hash_bytes(data, start, end, seed):  # type: ignore[no-untyped-def]
        """The hash of `data[start:end]` (uint8) as two uint64."""
        return _hash_more(np.uint64(0), np.uint64(0), data, start, end, seed)

    @numba.njit(cache=True, nogil=True)
    def _hash_more(hi, lo, data, start, end, seed):  # type: ignore[no-untyped-def]
        """The hash of what has the hash `hi`, `lo` and `data[start:end]` after it."""
        a, b, at = seed[0] ^ hi, seed[1] ^ lo, start
        while at + 16 <= end:
            x, y = load64(data, at), load64(data, at + 8)
            a, b = fold(x ^ seed[2], y ^ a), fold(x ^ b, y ^ seed[3])
            at += 16
        if at < end:
            x, y = load64(data, at), np.uint64(0)
            if end - at > 8:
                y = load64(data, at + 8) & (_LOW >> np.uint64(8 * (16 - (end - at))))
            else:
                x &= _LOW >> np.uint64(8 * (8 - (end - at)))
            a, b = fold(x ^ seed[2], y ^ a), fold(x ^ b, y ^ seed[3])
        return _close(a, b, np.uint64(end - start), seed)

    @numba.njit(cache=True, nogil=True)
    def _combine(hi, lo, more_hi, more_lo, seed):  # type: ignore[no-untyped-def]
        """The hash of two hashes in this order."""
        a, b = fold(hi ^ seed[2], lo ^ seed[0]), fold(hi ^ seed[1], lo ^ seed[3])
        a, b = fold(more_hi ^ seed[2], more_lo ^ a), fold(more_hi ^ b, more_lo ^ seed[3])
        return _close(a, b, np.uint64(1), seed)

    @numba.njit(cache=True, nogil=True)
    def _absorb(hi, lo, more_hi, more_lo, seed):  # type: ignore[no-untyped-def]
        """As `combine`, in a third of the time, for one of several hashes that are taken in one after the other."""
        return fold(hi ^ more_hi, more_lo ^ seed[2]), fold(lo ^ more_lo, more_hi ^ seed[3])

    @numba.njit(cache=True, nogil=True)
    def _close(a, b, length, seed):  # type: ignore[no-untyped-def]
        hi = a + fold(b ^ seed[1], length ^ seed[2])
        return hi, b + fold(hi ^ seed[3], length ^ seed[0])

    hash_bytes, hash_more, combine, absorb = _hash_bytes, _hash_more, _combine, _absorb

else:

    def _load64_plain(data: Bytes, at: int) -> np.uint64:
        return np.uint64(int.from_bytes(data[at : at + 8].tobytes(), "little"))

    def _as_double_plain(word: np.uint64) -> np.float64:
        return np.float64(np.array(word, np.uint64).view(np.float64))

    def _as_bits_plain(number: float) -> np.uint64:
        return np.uint64(np.array(number, np.float64).view(np.uint64))

    def _hash_bytes_plain(data: Bytes, start: int, end: int, seed: UInt64) -> tuple[np.uint64, np.uint64]:
        return _blake(data[start:end].tobytes(), seed)

    def _hash_more_plain(
        hi: np.uint64, lo: np.uint64, data: Bytes, start: int, end: int, seed: UInt64
    ) -> tuple[np.uint64, np.uint64]:
        return _blake(np.array([hi, lo], np.uint64).tobytes() + data[start:end].tobytes(), seed)

    def _combine_plain(
        hi: np.uint64, lo: np.uint64, more_hi: np.uint64, more_lo: np.uint64, seed: UInt64
    ) -> tuple[np.uint64, np.uint64]:
        return _blake(np.array([hi, lo, more_hi, more_lo], np.uint64).tobytes(), seed)

    def _blake(text: bytes, seed: UInt64) -> tuple[np.uint64, np.uint64]:
        hi, lo = np.frombuffer(hashlib.blake2b(text, digest_size=16, key=seed.tobytes()).digest(), np.uint64)
        return hi, lo

    load64, as_double, as_bits = _load64_plain, _as_double_plain, _as_bits_plain
    hash_bytes, hash_more, combine = _hash_bytes_plain, _hash_more_plain, _combine_plain
    absorb = _combine_plain

"""The names that a format knows, found in bytes without making a text of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream.wire.json_bytes import compiled, inlined, word_at

UInt64 = npt.NDArray[np.uint64]

#: Longer names are known to no format here.
LONGEST = 24
_SLOTS, _SHIFT = 256, np.uint64(56)
_ONE = np.uint64(1)


def table_of(names: Sequence[str]) -> UInt64:
    """uint64[257, 4]: the names by their hash, each as three words and its number, which counts from one.

    The first row has the multiplier of a hash that puts each name into a slot of its own.
    """
    words = [_words(name) for name in names]
    for step in range(1, 1_000_000):
        factor = (step * 0x9E3779B97F4A7C15 | 1) & (2**64 - 1)
        slots = [_slot(word, factor) for word in words]
        if len(set(slots)) == len(slots):
            table = np.zeros((_SLOTS + 1, 4), np.uint64)
            table[0, 0] = factor
            for number, (slot, word) in enumerate(zip(slots, words, strict=True), 1):
                table[slot + 1] = (*word, number)
            return table
    raise ValueError(f"no hash tells these {len(names)} names apart")


def _words(name: str) -> tuple[int, int, int]:
    text = name.encode()
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"{name!r} is not 1 to {LONGEST} bytes long")
    text = text.ljust(LONGEST, b"\0")
    a, b, c = (int.from_bytes(text[place : place + 8], "little") for place in (0, 8, 16))
    return a, b, c


def _slot(words: tuple[int, int, int], factor: int) -> int:
    a, b, c = words
    return int((((a ^ (b << 1) ^ (c << 2)) * factor) & (2**64 - 1)) >> 56)


@inlined
def _part(text, p, stop):  # type: ignore[no-untyped-def]
    """The word at ``p``, zero from ``stop`` on."""
    left = stop - p
    if left <= 0:
        return np.uint64(0)
    word = word_at(text, p)
    return word if left >= 8 else word & ((_ONE << np.uint64(8 * left)) - _ONE)


@compiled
def number_of(table, text, p, stop):  # type: ignore[no-untyped-def]
    """The number of the name that stands between two places, 0 if it is not known."""
    if stop - p > LONGEST:
        return 0
    a, b, c = _part(text, p, stop), _part(text, p + 8, stop), _part(text, p + 16, stop)
    slot = np.int64(((a ^ (b << _ONE) ^ (c << np.uint64(2))) * table[0, 0]) >> _SHIFT) + 1
    if table[slot, 0] == a and table[slot, 1] == b and table[slot, 2] == c:
        return np.int64(table[slot, 3])
    return 0

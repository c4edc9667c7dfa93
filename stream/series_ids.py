"""The numbers of series: every message of a worker tells of a series by the same small number.

A `SeriesKey` decides what is the same series. The 128-bit ids, hashes of the bytes that named a series in some message
(`stream/hash128.py`), are only other names for it: whole arrays of them are looked up in compiled code, so that nothing
of a series that is known is decoded again. Two ways of writing the same attributes are two ids of one number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numba
import numpy as np

from stream.columns import Int32, Int64, MetricKind, SeriesKey, compact
from stream.hash128 import UInt64, new_seed

#: What `lookup` says of an id that it does not know, and of one whose series was refused.
UNKNOWN, REFUSED = -1, -2
#: Ids kept at most by default, 32 bytes each. Who sends ever new ones only makes those be forgotten that nobody uses.
MOST_IDS = 1 << 22
_FIRST_SLOTS = 1 << 10
#: In a slot stands the number and 3, so that zero is an empty one.
_NUMBER = np.uint64(0xFFFFFFFF)


def _unheard(_key: SeriesKey) -> int:
    return 0


class SeriesIds:
    """A registry of series. `seed` (uint64[4]) is for the hashes that are its ids.

    Numbers count from zero and index `keys`. That of a dropped series is given to another one later. `buckets_of` names
    the histograms whose buckets are wanted; those of others get no number.
    """

    def __init__(self, most_ids: int = MOST_IDS, buckets_of: Collection[str] = ()) -> None:
        self.seed: UInt64 = new_seed()
        self.buckets_of = frozenset(buckets_of)
        #: When the newest sample of a series came (Unix ms), as far as anybody here knows of one without a number.
        self.newest_of: Callable[[SeriesKey], int] = _unheard
        self._begun = np.zeros((_FIRST_SLOTS, 2), np.int64)
        self._keys: list[SeriesKey] = []
        self._numbers: dict[SeriesKey, int] = {}
        #: By number of a series the number of its service; and those.
        self._services: Int32 = np.empty(_FIRST_SLOTS, np.int32)
        self._of_service: dict[str, int] = {}
        self._free: list[int] = []
        self._parts: list[int] = []
        # Two generations: when the young one is full it becomes the old one, and what is then still asked for moves on.
        self._most = max(most_ids // 2, _FIRST_SLOTS)
        self._young, self._old = _slots(_FIRST_SLOTS), _slots(1)
        self._used = 0

    @property
    def keys(self) -> Sequence[SeriesKey]:
        """The key of each number; grows in place."""
        return self._keys

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._numbers)

    @property
    def services(self) -> Int32:
        """By number of a series, the number of its service: int32[n], at least as many as there are keys."""
        return self._services

    @property
    def nbytes(self) -> int:
        """Bytes of the table of ids, without the keys."""
        return self._young.nbytes + self._old.nbytes

    @property
    def begun(self) -> Int64:
        """int64[n, 2], for a decoder's use: when each counter last began, and its latest sample; zero is not known.

        No snapshot holds it, nor need one: whether a counter began anew is whether its start is later than the newest
        sample of it, which is in the snapshot of its service (`newest_of`). What this process does not read by service,
        and pieces of histograms, are as new: of them a first restart is seen only where the counter is smaller.
        """
        if len(self._begun) < len(self._keys):
            larger = np.zeros((2 * len(self._keys), 2), np.int64)
            larger[: len(self._begun)] = self._begun
            self._begun = larger
        return self._begun

    def lookup(self, hi: UInt64, lo: UInt64) -> Int32:
        """The number of each id (int32[n]), `UNKNOWN` where it has none and `REFUSED` where it is not wanted."""
        self._reserve(len(hi))
        numbers = np.empty(len(hi), np.int32)
        self._used += _lookup(self._young, self._old, hi, lo, numbers)
        return numbers

    def add(self, hi: int, lo: int, key: SeriesKey) -> int:
        """Give the series of this key an id; returns its number, `REFUSED` for a bucket that is not wanted."""
        if key.part not in ("", "count", "sum") and key.metric not in self.buckets_of:
            return self.ignore(hi, lo)
        number = self.of(key)
        self._reserve(1)
        self._used += _insert(self._young, np.uint64(hi), np.uint64(lo), number)
        return number

    def ignore(self, hi: int, lo: int) -> int:
        """Leave out from now on whatever goes by this id; returns `REFUSED`."""
        self._reserve(1)
        self._used += _insert(self._young, np.uint64(hi), np.uint64(lo), REFUSED)
        return REFUSED

    def of(self, key: SeriesKey) -> int:
        """The number of this key, a new one where it has none."""
        number = self._numbers.get(key)
        if number is None:
            key = compact(key)
            if self._free:
                number = self._free.pop()
                self._keys[number] = key
            else:
                number = len(self._keys)
                self._keys.append(key)
            self._numbers[key] = number
            if number >= len(self._services):
                self._services = np.concatenate([self._services, np.empty_like(self._services)])
            self._services[number] = self._of_service.setdefault(key.service, len(self._of_service))
            if key.part:
                self._parts.append(number)
            elif key.kind is MetricKind.CUMULATIVE and (newest := self.newest_of(key)) > 0:
                # It began at some time before that, and this is all that matters.
                self.begun[number] = 1, newest
        return number

    def want_buckets_of(self, names: Collection[str]) -> None:
        """Want the buckets of these histograms from now on; what was refused is asked for again when it comes."""
        self.buckets_of = frozenset(names)
        young, old = _slots(len(self._young)), _slots(len(self._old))
        self._used = _accepted(self._young, young)
        _accepted(self._old, old)
        self._young, self._old = young, old

    def numbers(self, keys: Iterable[SeriesKey]) -> Int32:
        """The numbers of those of these keys that have one."""
        return np.array([self._numbers[key] for key in keys if key in self._numbers], np.int32)

    def new_parts(self) -> list[int]:
        """The numbers given to pieces of histograms since this was asked before."""
        parts, self._parts = self._parts, []
        return parts

    def drop(self, numbers: Int32) -> None:
        """Forget these series; if they come again they are new. No samples of them may be under way."""
        self._rewrite(numbers, UNKNOWN)

    def refuse(self, numbers: Int32) -> None:
        """Forget these series, but not that their ids are not wanted: their samples are left out from now on."""
        self._rewrite(numbers, REFUSED)

    def _rewrite(self, numbers: Int32, instead: int) -> None:
        gone = np.zeros(len(self._keys), np.bool_)
        for number in numbers.tolist():
            if self._numbers.pop(self._keys[number], None) is not None:
                gone[number] = True
                self.begun[number] = 0
                self._free.append(number)
        young, old = _slots(len(self._young)), _slots(len(self._old))
        self._used = _copy(self._young, young, gone, instead)
        _copy(self._old, old, gone, instead)
        self._young, self._old = young, old

    def _reserve(self, more: int) -> None:
        """Make room for so many ids, at most half of the slots in use."""
        if self._used and self._used + more > self._most:
            self._young, self._old, self._used = _slots(_FIRST_SLOTS), self._young, 0
        slots = len(self._young)
        while slots < 2 * (self._used + more):
            slots *= 2
        if slots > len(self._young):
            larger = _slots(slots)
            _copy(self._young, larger, np.zeros(0, np.bool_), UNKNOWN)
            self._young = larger


def _slots(count: int) -> UInt64:
    """uint64[count, 2]: the high word of an id; the upper half of its low word, and its number.

    So 96 bits are compared: a chance of 1e-17 that any two of a million series are taken for one.
    """
    return np.zeros((count, 2), np.uint64)


@numba.njit(cache=True, nogil=True)
def _find(table, hi, lo):  # type: ignore[no-untyped-def]
    """The slot of an id, or the empty one where it would go."""
    mask = np.uint64(len(table) - 1)
    slot = hi & mask
    while table[slot, 1] & _NUMBER and (table[slot, 0] != hi or (table[slot, 1] ^ lo) > _NUMBER):
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _put(table, hi, lo, told):  # type: ignore[no-untyped-def]
    """Write what is told of an id; 1 where it is new, else 0."""
    slot = _find(table, hi, lo)
    new = 0 if table[slot, 1] & _NUMBER else 1
    table[slot, 0] = hi
    table[slot, 1] = (lo & ~_NUMBER) | told
    return new


@numba.njit(cache=True, nogil=True)
def _insert(table, hi, lo, number):  # type: ignore[no-untyped-def]
    return _put(table, hi, lo, np.uint64(number + 3))


@numba.njit(cache=True, nogil=True)
def _lookup(young, old, hi, lo, numbers):  # type: ignore[no-untyped-def]
    """Look ids up, the old ones too, which become young again; returns how many did."""
    moved = 0
    for i in range(len(hi)):
        told = young[_find(young, hi[i], lo[i]), 1] & _NUMBER
        if told == np.uint64(0) and len(old) > 1:
            told = old[_find(old, hi[i], lo[i]), 1] & _NUMBER
            if told:
                moved += _put(young, hi[i], lo[i], told)
        numbers[i] = np.int32(np.int64(told) - 3) if told else np.int32(UNKNOWN)
    return moved


@numba.njit(cache=True, nogil=True)
def _copy(table, into, gone, instead):  # type: ignore[no-untyped-def]
    """Copy a table into an empty one of at least its size; the numbers marked in `gone` become `instead`."""
    used = 0
    for i in range(len(table)):
        told = table[i, 1] & _NUMBER
        if told == np.uint64(0):
            continue
        number = np.int64(told) - 3
        if number >= 0 and number < len(gone) and gone[number]:
            if instead == UNKNOWN:
                continue
            told = np.uint64(instead + 3)
        used += _put(into, table[i, 0], table[i, 1], told)
    return used


@numba.njit(cache=True, nogil=True)
def _accepted(table, into):  # type: ignore[no-untyped-def]
    """Copy a table into an empty one of its size without what was refused; returns how many are left."""
    used = 0
    for i in range(len(table)):
        told = table[i, 1] & _NUMBER
        if told != np.uint64(0) and np.int64(told) - 3 >= 0:
            used += _put(into, table[i, 0], table[i, 1], told)
    return used

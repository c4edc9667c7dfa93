"""The samples of very many series, side by side in arrays: one row of facts a series, one block of samples each.

A message is taken in by compiled code, a pass over its columns (`Samples.take`), whatever number of series it tells
of. Blocks of one size lie in slabs without gaps: where a series leaves its block, the last of that size moves into it,
and a slab that is empty serves blocks of any size. So series that grow up together leave nothing behind them; nothing
is moved but what grows and one block for each that does; and memory that is only reserved costs nothing before it is
written to.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from stream.columns import Float64, Int32, Int64

T = TypeVar("T", bound=np.generic)

#: No time at all: before everything, and after everything.
NEVER, ALWAYS = -(2**62), 2**62
#: What stands in the row of a series: where its block begins, how many samples it holds, its size; the time of the
#: first sample that ever came, and of the last that was dropped; how much time the last two messages covered; the
#: service that it belongs to; and of the message being read its number, its first and last time.
_START, _LENGTH, _SIZE, _BORN, _DROPPED, _SPAN, _SPAN_BEFORE, _OWNER, _MESSAGE, _FIRST, _LAST = range(11)
_FACTS = 11
#: Of a service: its clock, and the number of the last message that told of it.
_CLOCK, _TOLD = 0, 1
#: Of the store: where the unused samples begin, messages read, the first of the slabs that are empty again.
_END, _MESSAGES, _EMPTY = 0, 1, 2
#: Samples of a slab.
SLAB = 1 << 14
#: How many blocks of a size lie in a slab. What stays raw (`stream/learning.py`) fits well: 120 looks, 480 or 2,304,
#: with the 190 or so that are not learned yet.
_IN_SLAB = np.array([1820, 1024, 512, 256, 170, 128, 85, 64, 48, 32, 24, 16, 10, 6, 4, 2, 1])
#: Sizes of blocks; the larger ones are of several slabs, and stay what they are once a series has left them.
_SIZES = np.concatenate([SLAB // _IN_SLAB, SLAB << np.arange(1, 20)])
#: Samples for which there is room in a block: in its first place stands the row that it belongs to.
_ROOMS = _SIZES - 1
#: Of a size: the slab (or the free block) that is not full, and how many blocks it holds.
_TOP, _FILL = 0, 1
#: A store of fewer samples grows by and by.
_SMALL = 1 << 16
#: Bytes of addresses that a large store is given; memory is taken only as it is written to.
_ROOM = 1 << 36
#: Linux' MAP_NORESERVE, which Python names from 3.13 on.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class Blocks(NamedTuple):
    """The arrays of a store for compiled code: `slabs` holds for each slab the one before it of the same size."""

    facts: Int64
    times: Int64
    values: Float64
    state: Int64
    sizes: Int64
    slabs: Int64


class Samples:
    """The samples of the series of a partition. A row is a series; strictly increasing times (Unix ms) in each.

    A repeated time is dropped, the first value wins; a late sample is put where it belongs. What is no longer needed is
    dropped by `trim`, and dropped again should it come again.
    """

    def __init__(self) -> None:
        self.facts = np.empty((8, _FACTS), np.int64)
        self.clocks = np.full((8, 2), NEVER, np.int64)
        self.times: Int64 = np.empty(SLAB, np.int64)
        self.values: Float64 = np.empty(SLAB, np.float64)
        self._state = np.array([0, 0, -1])
        self._sizes = np.full((len(_SIZES), 2), (-1, 0), np.int64)
        self._slabs: Int64 = np.empty(1, np.int64)
        self._touched: Int64 = np.empty(len(self.clocks), np.int64)
        self._rows = self._owners = 0
        self._unused: list[int] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the samples, the room for those to come, and the facts of the series."""
        return 16 * int(self._state[_END]) + self.facts[: self._rows].nbytes

    def owner(self) -> int:
        """A number for another service."""
        self._owners += 1
        if self._owners > len(self.clocks):
            self.clocks = _grown(self.clocks, self._owners)
            self.clocks[self._owners - 1 :] = NEVER
        return self._owners - 1

    def add(self, owner: int = 0) -> int:
        """The row of another series of this service."""
        if self._unused:
            row = self._unused.pop()
        else:
            row, self._rows = self._rows, self._rows + 1
            if self._rows > len(self.facts):
                self.facts = _grown(self.facts, self._rows)
        facts = self.facts[row]
        facts[:] = 0
        facts[_SIZE], facts[_BORN], facts[_DROPPED], facts[_OWNER] = -1, ALWAYS, NEVER, owner
        return row

    def drop(self, row: int) -> None:
        """This series is no more; its row and its block may serve another."""
        if self.facts[row, _SIZE] >= 0:
            _release(self._blocks, row)
        self.facts[row, [_LENGTH, _SIZE]] = 0, -1
        self._unused.append(row)

    @property
    def _blocks(self) -> Blocks:
        return Blocks(self.facts, self.times, self.values, self._state, self._sizes, self._slabs)

    def take(self, rows: Int32, times: Int64, values: Float64, *, learn: bool = False) -> int:
        """Take in samples (int32[n], int64[n], float64[n]) in any order, those of negative rows left out.

        Returns how many were new. With `learn` it is noted how much time they covered, as those of one message.
        """
        if len(self._touched) < len(self.clocks):
            self._touched = np.empty(len(self.clocks), np.int64)
        told, in_order = _note(self.facts, self.clocks, self._state, rows, times, self._touched, learn)
        self.told = self._touched[:told]
        if not in_order:
            order = np.argsort(times, kind="stable")
            rows, times, values = rows[order], times[order], values[order]
        done = new = 0
        while True:
            count, done = _put(self._blocks, rows, times, values, done)
            new += count
            if done == len(rows):
                return int(new)
            self._more()

    #: The services that the last message told of, int64[n].
    told: Int64 = np.empty(0, np.int64)

    def _more(self) -> None:
        """Room for more samples: a little, or once more than that is needed, all that there may ever be."""
        length = len(self.times)
        if length < _SMALL:
            self.times, self.values = _grown(self.times, 2 * length), _grown(self.values, 2 * length)
        else:
            times, values = _room(np.int64), _room(np.float64)
            if len(times) <= length:
                raise MemoryError(f"no room for more than {length} samples")
            times[:length], values[:length] = self.times, self.values
            self.times, self.values = times, values
        self._slabs = _grown(self._slabs, len(self.times) // SLAB)

    def trim(self, rows: Int64, before: Int64) -> None:
        """Drop the samples of each row earlier than `before` (int64[n]), but for the last of them."""
        done = 0
        while (done := _trim(self._blocks, rows, before, done)) < len(rows):
            self._more()

    def lateness(self, rows: Int64, clock: int) -> int:
        """How long, in ms, samples of these series waited lately for the end of their message, of those still live."""
        return int(_lateness(self.facts, self.times, rows, clock))

    def lengths(self, rows: Int64) -> Int64:
        """How many samples there are of each of these series, int64[n]."""
        found: Int64 = self.facts[rows, _LENGTH]
        return found

    def born_of(self, rows: Int64) -> Int64:
        """When the first sample of each of these series was taken, int64[n]; far ahead where there is none."""
        found: Int64 = self.facts[rows, _BORN]
        return found

    def first_born(self, rows: Int64) -> int:
        """When the first sample of any of these series was taken; far ahead where there is none."""
        return int(self.facts[rows, _BORN].min()) if len(rows) else ALWAYS

    def came_for(self, rows: Int64, looks: int, moment: int) -> bool:
        """Whether any of these series had come for so many looks by `moment`, at its pace in what is kept of it."""
        facts = self.facts[rows]
        facts = facts[facts[:, _LENGTH] > 1]
        starts, lengths = facts[:, _START], facts[:, _LENGTH]
        covered = self.times[starts + lengths - 1] - self.times[starts]
        return bool(((moment - facts[:, _BORN]) * (lengths - 1) >= looks * covered).any())

    def owners(self, rows: Int64) -> Int64:
        """The numbers of the services that these series belong to, int64[n]."""
        found: Int64 = self.facts[rows, _OWNER]
        return found

    # -- saved and had back --------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The whole state as plain arrays, samples of all series one after another; copies."""
        facts = self.facts[: self._rows].copy()
        total = int(np.where(facts[:, _SIZE] >= 0, facts[:, _LENGTH], 0).sum())
        times, values = np.empty(total, np.int64), np.empty(total)
        _pack(facts, self.times, self.values, times, values)
        return {
            "facts": facts, "times": times, "values": values, "clocks": self.clocks[: self._owners].copy(),
            "messages": self._state[[_MESSAGES]], "unused": np.array(self._unused, np.int64),
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Samples:
        """The state that `arrays` gave. Raises ValueError where they do not fit together."""
        facts, clocks = (np.ascontiguousarray(arrays[name], np.int64) for name in ("facts", "clocks"))
        times, values = np.asarray(arrays["times"], np.int64), np.asarray(arrays["values"], np.float64)
        if facts.ndim != 2 or facts.shape[1] != _FACTS or clocks.shape[1:] != (2,):
            raise ValueError(f"facts {list(facts.shape)}, clocks {list(clocks.shape)}: expected other shapes")
        lengths = np.where(facts[:, _SIZE] >= 0, facts[:, _LENGTH], 0)
        if int(lengths.sum()) != len(times) or len(times) != len(values) or (len(lengths) and int(lengths.min()) < 0):
            raise ValueError(f"{len(times)} times and {len(values)} values of {int(lengths.sum())} samples")
        if len(facts) and not 0 <= int(facts[:, _OWNER].min()) <= int(facts[:, _OWNER].max()) < len(clocks):
            raise ValueError(f"a series of none of the {len(clocks)} services")
        store = cls()
        store._rows, store._owners = len(facts), len(clocks)
        store.facts, store.clocks = _grown(facts, len(facts)), _grown(clocks, len(clocks))
        store.clocks[len(clocks) :] = NEVER
        store.facts[: len(facts), _SIZE] = -1
        store._state[_MESSAGES] = int(arrays["messages"][0])
        store._unused = np.asarray(arrays["unused"], np.int64).tolist()
        row = taken = 0
        while (told := _unpack(store._blocks, lengths, times, values, row, taken))[0] < len(lengths):
            row, taken = told
            store._more()
        return store

    # -- one series ---------------------------------------------------------------------------------------------------

    def bounds(self, row: int) -> tuple[int, int]:
        """Where the samples of a series begin and end in `times` and `values`."""
        start, length = self.facts[row, :2].tolist()
        return start, start + length

    def born(self, row: int) -> int:
        return int(self.facts[row, _BORN])

    def set_born(self, row: int, time: int) -> None:
        self.facts[row, _BORN] = time

    def spans(self, row: int) -> tuple[int, int]:
        now, before = self.facts[row, _SPAN : _SPAN_BEFORE + 1].tolist()
        return now, before

    def message(self, row: int, span: int) -> None:
        """Note that one message brought samples of `span` ms."""
        self.facts[row, _SPAN_BEFORE] = self.facts[row, _SPAN]
        self.facts[row, _SPAN] = span


def _room(dtype: type[T]) -> npt.NDArray[T]:
    """As large an array as there are addresses for, of memory that is taken only as it is written to."""
    size = _ROOM
    while True:
        try:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
            return np.frombuffer(mmap.mmap(-1, size, flags), dtype)
        except (OSError, ValueError):
            size //= 2
            if size < 1 << 24:
                raise MemoryError("no addresses for samples") from None


def _grown(old: npt.NDArray[T], count: int) -> npt.NDArray[T]:
    new = np.empty((max(count, 2 * len(old)), *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new


@numba.njit(cache=True, nogil=True)
def _note(facts, clocks, state, rows, times, touched, learn):  # type: ignore[no-untyped-def]
    """Set the clocks on; returns how many services are `touched`, and whether each series is told in order of time."""
    state[_MESSAGES] += 1
    message = state[_MESSAGES]
    told, in_order = 0, True
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        fact, time = facts[row], times[i]
        fact[_BORN] = min(fact[_BORN], time)
        if fact[_MESSAGE] == message:
            in_order &= time >= fact[_LAST]
            fact[_FIRST] = min(fact[_FIRST], time)
            fact[_LAST] = max(fact[_LAST], time)
        else:
            fact[_MESSAGE], fact[_FIRST], fact[_LAST] = message, time, time
            if learn:
                fact[_SPAN_BEFORE], fact[_SPAN] = fact[_SPAN], 0
        if learn:
            fact[_SPAN] = fact[_LAST] - fact[_FIRST]
        owner = fact[_OWNER]
        clocks[owner, _CLOCK] = max(clocks[owner, _CLOCK], time)
        if clocks[owner, _TOLD] != message:
            clocks[owner, _TOLD] = message
            touched[told] = owner
            told += 1
    return told, in_order


@numba.njit(cache=True, nogil=True)
def _put(blocks, rows, new_times, new_values, done):  # type: ignore[no-untyped-def]
    """Put samples to their series, from number `done` on; returns how many were new, and how far there was room."""
    facts, times, values = blocks.facts, blocks.times, blocks.values
    new = 0
    for i in range(done, len(rows)):
        row, time = rows[i], new_times[i]
        if row < 0 or time <= facts[row, _DROPPED]:
            continue
        start, length = facts[row, _START], facts[row, _LENGTH]
        at = length
        if length and time <= times[start + length - 1]:
            at = np.searchsorted(times[start : start + length], time)
            if times[start + at] == time:
                continue
        size = facts[row, _SIZE]
        if size < 0 or length == _ROOMS[size]:
            if not _resize(blocks, row, size + 1):
                return new, i
            start = facts[row, _START]
        for j in range(start + length, start + at, -1):
            times[j], values[j] = times[j - 1], values[j - 1]
        times[start + at], values[start + at] = time, new_values[i]
        facts[row, _LENGTH] = length + 1
        new += 1
    return new, len(rows)


@numba.njit(cache=True, nogil=True)
def _block(blocks, size):  # type: ignore[no-untyped-def]
    """Where a block of this size begins that nobody has; -1 where there is no room for one."""
    top, state = blocks.sizes[size], blocks.state
    if size >= len(_IN_SLAB):
        begin = top[_TOP]
        if begin >= 0:
            top[_TOP] = blocks.times[begin]
        else:
            begin = state[_END]
            if begin + _SIZES[size] > len(blocks.times):
                return -1
            state[_END] = begin + _SIZES[size]
        return begin
    if top[_TOP] < 0 or top[_FILL] == _IN_SLAB[size]:
        slab = state[_EMPTY]
        if slab >= 0:
            state[_EMPTY] = blocks.slabs[slab]
        else:
            if state[_END] + SLAB > len(blocks.times):
                return -1
            slab = state[_END] // SLAB
            state[_END] += SLAB
        blocks.slabs[slab] = top[_TOP]
        top[_TOP], top[_FILL] = slab, 0
    top[_FILL] += 1
    return top[_TOP] * SLAB + (top[_FILL] - 1) * _SIZES[size]


@numba.njit(cache=True, nogil=True)
def _resize(blocks, row, size):  # type: ignore[no-untyped-def]
    """Give a series a block of another size; False where there is no room for one."""
    facts, times, values = blocks.facts, blocks.times, blocks.values
    begin = _block(blocks, size)
    if begin < 0:
        return False
    start, length = facts[row, _START], facts[row, _LENGTH]
    times[begin] = row
    for j in range(length):
        times[begin + 1 + j], values[begin + 1 + j] = times[start + j], values[start + j]
    if facts[row, _SIZE] >= 0:
        _release(blocks, row)
    facts[row, _START], facts[row, _SIZE] = begin + 1, size
    return True


@numba.njit(cache=True, nogil=True)
def _release(blocks, row):  # type: ignore[no-untyped-def]
    """Leave the block of a series: the last of that size takes its place. Large ones that are free are linked."""
    facts, times, values, state = blocks.facts, blocks.times, blocks.values, blocks.state
    size, mine = facts[row, _SIZE], facts[row, _START] - 1
    top = blocks.sizes[size]
    if size >= len(_IN_SLAB):
        times[mine] = top[_TOP]
        top[_TOP] = mine
        return
    slab = top[_TOP]
    last = slab * SLAB + (top[_FILL] - 1) * _SIZES[size]
    if last != mine:
        other = times[last]
        times[mine] = other
        for j in range(1, facts[other, _LENGTH] + 1):
            times[mine + j], values[mine + j] = times[last + j], values[last + j]
        facts[other, _START] = mine + 1
    top[_FILL] -= 1
    if top[_FILL] == 0:
        top[_TOP], top[_FILL] = blocks.slabs[slab], _IN_SLAB[size]
        blocks.slabs[slab] = state[_EMPTY]
        state[_EMPTY] = slab


@numba.njit(cache=True, nogil=True)
def _trim(blocks, rows, before, done):  # type: ignore[no-untyped-def]
    facts, times, values = blocks.facts, blocks.times, blocks.values
    for i in range(done, len(rows)):
        row = rows[i]
        start, length = facts[row, _START], facts[row, _LENGTH]
        gone = np.searchsorted(times[start : start + length], before[i]) - 1
        if gone <= 0:
            continue
        facts[row, _DROPPED] = times[start + gone - 1]
        length -= gone
        for j in range(start, start + length):
            times[j], values[j] = times[j + gone], values[j + gone]
        facts[row, _LENGTH] = length
        size = facts[row, _SIZE]
        wanted = np.searchsorted(_ROOMS, length + length // 4)
        if _SIZES[size] > 2 * _SIZES[wanted] and not _resize(blocks, row, wanted):
            return i
    return len(rows)


@numba.njit(cache=True, nogil=True)
def _lateness(facts, times, rows, clock):  # type: ignore[no-untyped-def]
    most = 0
    for i in range(len(rows)):
        fact = facts[rows[i]]
        late = max(fact[_SPAN], fact[_SPAN_BEFORE])
        if fact[_LENGTH] and times[fact[_START] + fact[_LENGTH] - 1] + 2 * late >= clock:
            most = max(most, late)
    return most


@numba.njit(cache=True, nogil=True)
def _pack(facts, times, values, into_times, into_values):  # type: ignore[no-untyped-def]
    done = 0
    for row in range(len(facts)):
        if facts[row, _SIZE] < 0:
            continue
        for at in range(facts[row, _START], facts[row, _START] + facts[row, _LENGTH]):
            into_times[done], into_values[done] = times[at], values[at]
            done += 1


@numba.njit(cache=True, nogil=True)
def _unpack(blocks, lengths, times, values, begin, taken):  # type: ignore[no-untyped-def]
    """Put series from number `begin` on in place, their samples from `taken` on; returns how far there was room."""
    facts = blocks.facts
    for row in range(begin, len(lengths)):
        length = lengths[row]
        facts[row, _LENGTH] = 0
        if length == 0:
            continue
        if not _resize(blocks, row, np.searchsorted(_ROOMS, length)):
            return row, taken
        start = facts[row, _START]
        for at in range(length):
            blocks.times[start + at], blocks.values[start + at] = times[taken + at], values[taken + at]
        facts[row, _LENGTH] = length
        taken += length
    return len(lengths), taken

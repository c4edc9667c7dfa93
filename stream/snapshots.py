"""A partition's state as bytes: chunks below Kafka's size of a message, and a head that names them and is written last.

State is a small irregular part and arrays by name. The arrays' bytes are put one after another, grouped by the size of
their items, cut into pieces, shuffled (first bytes of all items, then second ones: numbers of one kind differ in few of
them) and compressed. Each chunk and the head carry a checksum, and the head those of all chunks: what is cut short,
changed, of another snapshot or of a later version is refused, and never half of it taken.

    head   `hlss`, version (uint16), checksum of what follows (16 bytes), a MessagePack of `Head`
    chunk  `hlsc`, then zstd
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import cramjam
import msgspec
import numpy as np
import numpy.typing as npt

from stream.errors import StreamError

__all__ = [
    "PIECE",
    "VERSION",
    "Head",
    "Kept",
    "Packing",
    "SnapshotRefused",
    "State",
    "Unpacking",
    "part_of",
    "under",
]

#: What is irregular, as a mapping of MessagePack's own types, and numbers by name.
State: TypeAlias = tuple[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]]

VERSION = 1
#: Bytes of a chunk before it is compressed: what cannot be made smaller still fits into a message of 1 MiB.
PIECE = 960 * 1024
#: No state of one partition is larger; a head that says so is not begun.
MOST_BYTES = 64 << 30
_LEVEL = 1
_HEAD_MARK, _CHUNK_MARK = b"hlss", b"hlsc"
_HEAD = struct.Struct("<4sH16s")
_KINDS = frozenset("biuf")


class SnapshotRefused(StreamError):
    """A snapshot that is not whole, or not readable here; the state is to be built without it."""


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """One chunk: the size of the items in it, its bytes before and after compression, its checksum."""

    item: int
    size: int
    stored: int
    checksum: bytes


class Array(msgspec.Struct, frozen=True, array_like=True):
    """One array: its name, type (as numpy writes it, little-endian) and shape."""

    name: str
    kind: str
    shape: tuple[int, ...]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of, and all that it consists of.

    `positions` are the next offsets to read by topic: all before them are in the state. `first` is the offset in the
    snapshots' topic from which its chunks lie. `header` is how many bytes of the state's irregular part come before the
    arrays.
    """

    partition: int
    generation: str
    taken_ms: int
    positions: dict[str, int]
    first: int
    header: int
    arrays: tuple[Array, ...]
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """Bytes before compression."""
        return sum(chunk.size for chunk in self.chunks)

    @property
    def stored(self) -> int:
        return sum(chunk.stored for chunk in self.chunks)


class Packing:
    """The bytes of a state, chunk by chunk: `chunks()` to its end, then `head()`.

    The arrays must not change meanwhile.

    Raises:
        ValueError: an array has a type that no snapshot holds.
    """

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._header = msgspec.msgpack.encode(header)
        given = {name: _plain(name, array) for name, array in arrays.items()}
        # Of the largest items first, so that all begin at a multiple of their size.
        names = sorted(given, key=lambda name: (-given[name].itemsize, name))
        self._arrays = [given[name] for name in names]
        self._named = tuple(Array(name, given[name].dtype.str, given[name].shape) for name in names)
        self._chunks: list[Chunk] = []

    def chunks(self) -> Iterator[bytes]:
        """Each chunk, made when it is asked for; a few milliseconds of work without Python's lock."""
        texts = np.frombuffer(self._header, np.uint8)
        groups: dict[int, list[npt.NDArray[np.uint8]]] = {}
        for array in self._arrays:
            groups.setdefault(array.itemsize, []).append(array.reshape(-1).view(np.uint8))
        groups.setdefault(1, []).insert(0, texts)
        for item in sorted(groups, reverse=True):
            for piece in _pieces(groups[item]):
                stored = _CHUNK_MARK + bytes(cramjam.zstd.compress(_shuffled(piece, item), _LEVEL))
                self._chunks.append(Chunk(item, len(piece), len(stored), _checksum(stored)))
                yield stored

    def head(
        self, *, partition: int, generation: str, taken_ms: int, positions: Mapping[str, int], first: int
    ) -> bytes:
        """The record that makes the chunks a snapshot."""
        told = Head(
            partition=partition, generation=generation, taken_ms=taken_ms, positions=dict(positions), first=first,
            header=len(self._header), arrays=self._named, chunks=tuple(self._chunks),
        )  # fmt: skip
        body = msgspec.msgpack.encode(told)
        return _HEAD.pack(_HEAD_MARK, VERSION, _checksum(_HEAD_MARK + struct.pack("<H", VERSION) + body)) + body


def read_head(value: bytes) -> Head:
    """What a head says.

    Raises:
        SnapshotRefused: it is no head, not as it was written, or of a version that is not known here.
    """
    if len(value) < _HEAD.size or value[:4] != _HEAD_MARK:
        raise SnapshotRefused(f"its head of {len(value)} bytes does not begin with `hlss`")
    _, version, checksum = _HEAD.unpack_from(value)
    if version != VERSION:
        what = "newer" if version > VERSION else "older"
        raise SnapshotRefused(f"it is of version {version}, {what} than the {VERSION} that this worker reads")
    body = value[_HEAD.size :]
    if _checksum(_HEAD_MARK + struct.pack("<H", version) + body) != checksum:
        raise SnapshotRefused(f"its head of {len(value)} bytes is not as it was written (checksum)")
    try:
        return msgspec.msgpack.decode(body, type=Head)
    except msgspec.MsgspecError as error:
        raise SnapshotRefused(f"its head cannot be read: {error}") from None


class Unpacking:
    """A state out of its chunks: `add` each in order, then `state()`."""

    def __init__(self, head: Head) -> None:
        """Make room for what the head names.

        Raises:
            SnapshotRefused: the sizes that the head names do not go together.
        """
        self._head = head
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        kinds = [_kind(array) for array in head.arrays]
        told = head.header + sum(kind.itemsize * _count(array) for kind, array in zip(kinds, head.arrays, strict=True))
        sizes = [chunk.size for chunk in head.chunks]
        if told != head.size or not 0 <= head.header <= head.size <= MOST_BYTES or min(sizes, default=0) < 0:
            raise SnapshotRefused(f"its arrays have {told:,} bytes, its chunks {head.size:,}")
        self._header = np.empty(head.header, np.uint8)
        rooms: dict[int, list[npt.NDArray[np.uint8]]] = {}
        for kind, array in zip(kinds, head.arrays, strict=True):
            made = self._arrays[array.name] = np.empty(array.shape, kind)
            rooms.setdefault(kind.itemsize, []).append(made.reshape(-1).view(np.uint8))
        rooms.setdefault(1, []).insert(0, self._header)
        self._rooms = [(item, room) for item in sorted(rooms, reverse=True) for room in rooms[item] if len(room)]
        self._taken = self._room = self._filled = 0
        # Chunk after chunk goes through the same two buffers: new memory would cost more than what is done in it.
        self._buffers = np.empty((2, max(sizes, default=0)), np.uint8)

    def add(self, stored: bytes | None) -> None:
        """Take in the next chunk.

        Raises:
            SnapshotRefused: it is not the chunk that the head names.
        """
        place, self._taken = self._taken, self._taken + 1
        if place >= len(self._head.chunks):
            raise SnapshotRefused(f"it has more than the {len(self._head.chunks)} chunks that its head names")
        told = self._head.chunks[place]
        where = f"its chunk {place + 1} of {len(self._head.chunks)}"
        if stored is None or len(stored) != told.stored or stored[:4] != _CHUNK_MARK:
            raise SnapshotRefused(f"{where} has {len(stored or b''):,} bytes, {told.stored:,} were written")
        if _checksum(stored) != told.checksum:
            raise SnapshotRefused(f"{where} is not as it was written (checksum)")
        piece, plain = self._buffers[:, : told.size]
        try:
            size = cramjam.zstd.decompress_into(memoryview(stored)[4:], piece.data)
        except (cramjam.DecompressionError, ValueError, OSError) as error:
            raise SnapshotRefused(f"{where} cannot be decompressed: {str(error).splitlines()[0]}") from None
        if size != told.size or told.item <= 0 or told.size % told.item:
            raise SnapshotRefused(f"{where} holds {size:,} bytes, {told.size:,} are named")
        if told.item > 1:
            plain.reshape(-1, told.item)[:] = piece.reshape(told.item, -1).T
            piece = plain
        self._fill(piece, told.item, where)

    def _fill(self, piece: npt.NDArray[np.uint8], item: int, where: str) -> None:
        at = 0
        while at < len(piece):
            if self._room == len(self._rooms) or self._rooms[self._room][0] != item:
                raise SnapshotRefused(f"{where} has items of {item} bytes where others belong")
            room = self._rooms[self._room][1]
            count = min(len(piece) - at, len(room) - self._filled)
            room[self._filled : self._filled + count] = piece[at : at + count]
            at, self._filled = at + count, self._filled + count
            if self._filled == len(room):
                self._room, self._filled = self._room + 1, 0

    def state(self) -> State:
        """All that was saved; the arrays are the caller's.

        Raises:
            SnapshotRefused: chunks are missing, or the irregular part cannot be read.
        """
        if self._taken != len(self._head.chunks) or self._room != len(self._rooms):
            raise SnapshotRefused(f"{self._taken} of its {len(self._head.chunks)} chunks are there")
        try:
            header = msgspec.msgpack.decode(self._header.data, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise SnapshotRefused(f"its irregular part cannot be read: {error}") from None
        return header, self._arrays


def under(part: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The same arrays as those of a part of a state."""
    return {f"{part}.{name}": array for name, array in arrays.items()}


def part_of(arrays: Mapping[str, npt.NDArray[Any]], part: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one part of a state, as `under` was given them."""
    return {name.removeprefix(f"{part}."): array for name, array in arrays.items() if name.startswith(f"{part}.")}


def _plain(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"the array {name} is of {array.dtype}: bool, integers and floats can be saved")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _kind(array: Array) -> np.dtype[Any]:
    try:
        kind = np.dtype(array.kind)
    except TypeError:
        kind = np.dtype(object)
    if kind.kind not in _KINDS or min(array.shape, default=0) < 0:
        raise SnapshotRefused(f"its array {array.name[:100]!r} is of {array.kind[:20]} {array.shape}")
    return kind


def _count(array: Array) -> int:
    count = 1
    for length in array.shape:
        count *= length
    return count


def _pieces(parts: Sequence[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """The parts one after another, cut anew."""
    left = sum(map(len, parts))
    piece, filled = np.empty(min(PIECE, left), np.uint8), 0
    for part in parts:
        at = 0
        while at < len(part):
            count = min(len(part) - at, len(piece) - filled)
            piece[filled : filled + count] = part[at : at + count]
            at, filled = at + count, filled + count
            if filled == len(piece):
                yield piece
                left -= filled
                piece, filled = np.empty(min(PIECE, left), np.uint8), 0


def _shuffled(piece: npt.NDArray[np.uint8], item: int) -> bytes:
    return piece.reshape(-1, item).T.tobytes() if item > 1 else piece.tobytes()


def _checksum(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


@runtime_checkable
class Kept(Protocol):
    """What has state that can be saved and put in place again."""

    def snapshot(self) -> State | None:
        """A copy of the state, None where it cannot be saved at this moment."""

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put a state in place, in one that has seen nothing yet."""

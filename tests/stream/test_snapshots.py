"""A state comes back as it was, or is refused: there is no third."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from stream import snapshots
from stream.snapshots import Head, Packing, SnapshotRefused, State, Unpacking, read_head

KINDS = ["?", "i1", "u2", "<i4", "<i8", "u8", "f4", "<f8", ">i8", ">f4"]
numbers = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays_of.arrays(
        np.dtype(kind), arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
    )
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
states = st.tuples(
    st.dictionaries(st.text(), plain, max_size=4), st.dictionaries(st.text(max_size=9), numbers, max_size=6)
)
POSITIONS = {"haltline.telemetry": 70, "haltline.by-service": 0}


def pack(state: State) -> tuple[bytes, list[bytes]]:
    packing = Packing(*state)
    chunks = list(packing.chunks())
    return packing.head(partition=3, generation="g-1", taken_ms=5, positions=POSITIONS, first=17), chunks


def unpack(head: bytes, chunks: list[bytes]) -> tuple[Head, State]:
    told = read_head(head)
    unpacking = Unpacking(told)
    for chunk in chunks:
        unpacking.add(chunk)
    return told, unpacking.state()


def same(one: State, other: State) -> bool:
    if one[0] != other[0] or one[1].keys() != other[1].keys():
        return False
    pairs = [(one[1][name], other[1][name]) for name in one[1]]
    return all(a.dtype.newbyteorder("<") == b.dtype and a.shape == b.shape for a, b in pairs) and all(
        a.astype(a.dtype.newbyteorder("<")).tobytes() == b.tobytes() for a, b in pairs
    )


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PIECE", 16)


SMALL: State = (
    {"version": 1, "changes": [{"id": "a-1", "time": 7}]},
    {"rows": np.arange(40, dtype=np.float32).reshape(4, 10), "clock": np.array([5, 6, 7]), "on": np.ones(5, bool)},
)


@settings(deadline=None)
@given(states, st.sampled_from([16, 48, 4096]))
def test_it_comes_back_as_it_was(state: State, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "PIECE", piece)
        head, chunks = pack(state)
    told, found = unpack(head, chunks)
    assert same(state, found)
    assert all(array.flags.writeable and array.flags.c_contiguous for array in found[1].values())
    assert (told.partition, told.generation, told.taken_ms, told.positions, told.first) == (3, "g-1", 5, POSITIONS, 17)
    assert all(len(chunk) < piece + 64 for chunk in chunks)


def refused(head: bytes, chunks: list[bytes]) -> str:
    with pytest.raises(SnapshotRefused) as error:
        unpack(head, chunks)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.usefixtures("small_pieces")
def test_every_cut_and_every_flipped_bit_is_refused() -> None:
    head, chunks = pack(SMALL)
    assert len(chunks) > 5
    for length in range(len(head)):
        refused(head[:length], chunks)
    for number, chunk in enumerate(chunks):
        for length in range(len(chunk)):
            refused(head, [*chunks[:number], chunk[:length], *chunks[number + 1 :]])
    for bit in range(8 * len(head)):
        refused(flipped(head, bit), chunks)
    for number, chunk in enumerate(chunks):
        for bit in range(8 * len(chunk)):
            refused(head, [*chunks[:number], flipped(chunk, bit), *chunks[number + 1 :]])


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.usefixtures("small_pieces")
def test_chunks_that_are_missing_doubled_exchanged_or_of_another_snapshot_are_refused() -> None:
    head, chunks = pack(SMALL)
    other = pack((SMALL[0], {**SMALL[1], "clock": np.array([4, 6, 7])}))[1]
    assert other[0] != chunks[0]
    for number in range(len(chunks)):
        assert "chunk" in refused(head, chunks[:number])
        refused(head, chunks[:number] + chunks[number + 1 :])
        refused(head, [*chunks[: number + 1], *chunks[number:]])
    refused(head, chunks[::-1])
    refused(head, [other[0], *chunks[1:]])
    refused(head, [*chunks, chunks[-1]])


def test_a_version_that_this_worker_does_not_know_is_named() -> None:
    head, chunks = pack(SMALL)
    newer = head[:4] + struct.pack("<H", snapshots.VERSION + 1) + head[6:]
    assert refused(newer, chunks) == "it is of version 2, newer than the 1 that this worker reads"
    assert "older" in refused(head[:4] + struct.pack("<H", 0) + head[6:], chunks)


def test_a_head_that_lies_about_sizes_takes_no_memory() -> None:
    import msgspec

    told = read_head(pack(SMALL)[0])
    huge = snapshots.Array("rows", "<f8", (1 << 60,))
    for lie in (
        msgspec.structs.replace(told, arrays=(huge,)),
        msgspec.structs.replace(told, header=1 << 50),
        msgspec.structs.replace(told, header=-1),
        msgspec.structs.replace(told, arrays=(snapshots.Array("rows", "O", (2,)),)),
        msgspec.structs.replace(told, arrays=(snapshots.Array("rows", "no type", (2,)),)),
        msgspec.structs.replace(told, arrays=(snapshots.Array("rows", "<f8", (-1, -1)),)),
    ):
        with pytest.raises(SnapshotRefused):
            Unpacking(lie)


def test_what_no_snapshot_holds_is_said_when_it_is_packed() -> None:
    with pytest.raises(ValueError, match="the array names is of object"):
        Packing({}, {"names": np.array(["a", None], object)})


def test_numbers_that_are_alike_become_small_and_others_fit_all_the_same() -> None:
    times = np.arange(1_795_262_400_000, 1_795_262_400_000 + 10_000 * 200_000, 10_000)
    chunks = pack(({}, {"times": times}))[1]
    assert sum(map(len, chunks)) < times.nbytes / 5
    noise = np.random.default_rng(1).integers(0, 256, 3_000_000).astype(np.uint8)
    head, chunks = pack(({}, {"noise": noise}))
    assert max(map(len, chunks)) < 1_000_000
    assert same(({}, {"noise": noise}), unpack(head, chunks)[1])

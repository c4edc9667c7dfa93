"""The registry of series: one number a key, whatever ids it goes by, and never more ids than it may keep."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.hash128 import UInt64, combine, hash_bytes, new_seed, padded
from stream.series_ids import REFUSED, UNKNOWN, SeriesIds
from tests.factories import key


def words(*values: int) -> UInt64:
    return np.array(values, np.uint64)


def random_ids(count: int, seed: int = 1) -> tuple[UInt64, UInt64]:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False),
        rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False),
    )


def test_an_id_is_only_another_name_and_the_key_decides() -> None:
    ids = SeriesIds()
    first = ids.add(1, 2, key(metric="a"))
    assert ids.add(3, 4, key(metric="a")) == first == ids.of(key(metric="a"))
    assert ids.of(key(metric="b")) != first
    assert ids.lookup(words(1, 3, 5), words(2, 4, 6)).tolist() == [first, first, UNKNOWN]
    assert ids.keys[first] == key(metric="a")
    assert len(ids) == 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 30)), max_size=300))
def test_it_is_a_dictionary_of_ids(added: list[tuple[int, int, int]]) -> None:
    ids, known = SeriesIds(), {}
    for hi, lo, number in added:
        # Of the low word the upper half is compared; hashes differ in all of their bits.
        known[(hi, lo >> 32)] = ids.add(hi, lo, key(metric=f"m{number}"))
    told = ids.lookup(words(*(hi for hi, _, _ in added)), words(*(lo for _, lo, _ in added)))
    assert told.tolist() == [known[(hi, lo >> 32)] for hi, lo, _ in added]


def test_ids_that_share_a_slot_are_told_apart() -> None:
    ids = SeriesIds()
    hi, lo = words(*(n << 40 for n in range(500))), words(*(n << 32 for n in range(500)))
    for number, (a, b) in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
        ids.add(a, b, key(metric=f"m{number}"))
    assert ids.lookup(hi, lo).tolist() == list(range(500))
    assert ids.lookup(hi, lo + np.uint64(1 << 45)).tolist() == [UNKNOWN] * 500


def test_who_sends_ever_new_ids_makes_it_forget_only_what_nobody_uses() -> None:
    ids = SeriesIds(most_ids=8_192)
    hi, lo = random_ids(200)
    for number, (a, b) in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
        ids.add(a, b, key(metric=f"m{number}"))
    largest = 0
    for seed in range(2, 60):
        more = random_ids(1_000, seed)
        ids.lookup(*more)
        for a, b in zip(more[0].tolist(), more[1].tolist(), strict=True):
            ids.add(a, b, key(metric="m0"))
        assert ids.lookup(hi, lo).tolist() == list(range(200))
        largest = max(largest, ids.nbytes)
    assert largest <= 2 * 2 * 8_192 * 16
    assert ids.lookup(*random_ids(1_000, 2)).tolist() == [UNKNOWN] * 1_000
    assert len(ids) == 200


def test_a_dropped_series_is_new_when_it_comes_again_and_a_refused_one_is_left_out() -> None:
    ids = SeriesIds()
    hi, lo = random_ids(4)
    for number in range(4):
        ids.add(int(hi[number]), int(lo[number]), key(metric=f"m{number}"))
    ids.drop(np.array([1], np.int32))
    ids.refuse(np.array([2], np.int32))
    assert ids.lookup(hi, lo).tolist() == [0, UNKNOWN, REFUSED, 3]
    assert len(ids) == 2
    numbers = {ids.of(key(metric="m1")), ids.of(key(metric="other"))}
    assert numbers == {1, 2}, "numbers of series that are gone are given again"
    assert ids.keys[ids.of(key(metric="other"))].metric == "other"
    assert ids.lookup(hi, lo).tolist() == [0, UNKNOWN, REFUSED, 3], "their ids do not come back with them"


def test_no_number_changes_as_it_grows() -> None:
    ids = SeriesIds()
    hi, lo = random_ids(20_000)
    for number in range(20_000):
        assert ids.add(int(hi[number]), int(lo[number]), key(metric=f"m{number}")) == number
    assert (ids.lookup(hi, lo) == np.arange(20_000)).all()


@settings(deadline=None)
@given(st.binary(max_size=70), st.integers(0, 70), st.integers(0, 70), st.binary(max_size=20))
def test_a_hash_is_of_the_range_alone_and_of_all_of_it(text: bytes, start: int, end: int, after: bytes) -> None:
    seed = np.arange(4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    start, end = sorted((min(start, len(text)), min(end, len(text))))
    alone = hash_bytes(padded(text[start:end]), 0, end - start, seed)
    assert hash_bytes(padded(text + after), start, end, seed) == alone
    for place in range(end - start):
        other = bytearray(text[start:end])
        other[place] ^= 1
        assert hash_bytes(padded(bytes(other)), 0, end - start, seed) != alone
    assert hash_bytes(padded(text[start:end] + b"\0"), 0, end - start + 1, seed) != alone


def test_hashes_of_a_hundred_thousand_texts_differ_in_either_half_and_in_each_bit() -> None:
    seed = new_seed()
    texts = [b"service.name=%d,region=eu" % number for number in range(100_000)]
    found = np.array([hash_bytes(padded(text), 0, len(text), seed) for text in texts], np.uint64)
    for half in (0, 1):
        assert len(np.unique(found[:, half])) == len(texts)
        ones = [int((found[:, half] >> np.uint64(bit) & np.uint64(1)).sum()) for bit in range(64)]
        # Six standard deviations of a fair coin.
        assert all(abs(count - 50_000) < 950 for count in ones)
    assert combine(*found[0], *found[1], seed) != combine(*found[1], *found[0], seed)


def test_another_process_hashes_otherwise() -> None:
    assert (new_seed() != new_seed()).any()
    assert (SeriesIds().seed != SeriesIds().seed).any()


def test_it_works_without_a_compiler() -> None:
    script = (
        "from stream.series_ids import SeriesIds\n"
        "from stream.hash128 import hash_bytes, padded\n"
        "import numpy as np\n"
        "from tests.factories import key\n"
        "ids = SeriesIds(most_ids=4096)\n"
        "seen = [hash_bytes(padded(b'%d' % n), 0, len(b'%d' % n), ids.seed) for n in range(3000)]\n"
        "numbers = [ids.add(*one, key(metric='m%d' % n)) for n, one in enumerate(seen)]\n"
        "hi, lo = np.array(seen).T\n"
        "assert ids.lookup(hi.copy()[-100:], lo.copy()[-100:]).tolist() == numbers[-100:]\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}
    )

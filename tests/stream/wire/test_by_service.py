"""Columns that workers hand to each other: back as they went, and refused in one line where they are not whole."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.columns import Columns, MetricKind, SeriesKey
from stream.errors import Unreadable
from stream.repartition import Repartition, keyed_by_service, partition_of
from stream.series_ids import SeriesIds
from stream.wire.by_service import decode_columns, encode_columns, encode_key

texts = st.text(max_size=12)
keys = st.builds(
    SeriesKey,
    service=texts,
    environment=texts,
    metric=texts,
    attributes=st.lists(st.tuples(texts, texts), max_size=3).map(lambda pairs: tuple(sorted(pairs))),
    version=texts,
    instance=texts,
    kind=st.sampled_from(MetricKind),
    unit=texts,
)
samples = st.tuples(keys, st.integers(0, 2**50), st.floats(allow_nan=False, allow_infinity=False))


def columns_of(told: list[tuple[SeriesKey, int, float]], ids: SeriesIds) -> Columns:
    return Columns(
        ids.keys,
        np.array([ids.of(key) for key, _, _ in told], np.int32),
        np.array([time for _, time, _ in told], np.int64),
        np.array([value for _, _, value in told], np.float64),
    )


@settings(deadline=None)  # the first compiles
@given(st.lists(st.lists(samples, max_size=8), max_size=4), st.integers(1, 8))
def test_every_sample_goes_to_the_partition_of_its_service_and_arrives_as_it_was(
    messages: list[list[tuple[SeriesKey, int, float]]], partitions: int
) -> None:
    sender, receiver, waiting = SeriesIds(), SeriesIds(), Repartition()
    for number, told in enumerate(messages):
        waiting.add(columns_of(told, sender), 1_000 + number)
    found = defaultdict(list)
    for partition, value in waiting.take(partitions):
        read = decode_columns(value, receiver)
        assert read.arrived == 999 + len(messages)
        for number, time, told in zip(read.series.tolist(), read.times.tolist(), read.values.tolist(), strict=True):
            assert partition_of(read.keys[number].service, partitions) == partition
            found[read.keys[number]].append((time, told))
    assert len(waiting) == 0
    expected = defaultdict(list)
    for key, time, value in (one for message in messages for one in message):
        expected[key].append((time, value))
    assert found == expected


def _record() -> bytes:
    key = SeriesKey("cart", "production", "latency", (("route", "/"),), "v1", "cart-0")
    one = np.zeros(1, np.int64)
    return encode_columns([encode_key(key)], one, one + 7, np.ones(1), 5)


@pytest.mark.parametrize("length", range(len(_record())))
def test_a_record_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Unreadable):
        decode_columns(_record()[:length], SeriesIds())


@settings(deadline=None)  # the first compiles
@given(st.data())
def test_a_record_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    value = bytearray(_record())
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_columns(bytes(value), SeriesIds())
    except Unreadable:
        return
    assert len(read) <= 1


def test_a_version_of_tomorrow_is_refused_by_name() -> None:
    value = bytearray(_record())
    value[3] = 2
    with pytest.raises(Unreadable, match="version 2, this worker reads 1"):
        decode_columns(bytes(value), SeriesIds())


def test_a_record_is_keyed_by_service_only_if_all_of_it_is_about_that_one() -> None:
    cart, payment = (SeriesKey(name, "", "latency", (), "", "") for name in ("cart", "payment"))
    ids = SeriesIds()
    one, both = columns_of([(cart, 1, 1.0)], ids), columns_of([(cart, 1, 1.0), (payment, 1, 1.0)], ids)
    assert keyed_by_service(b"cart", one, ids.services)
    assert not keyed_by_service(None, one, ids.services)
    assert not keyed_by_service(bytes(16), one, ids.services)
    assert not keyed_by_service(b"cart", both, ids.services)

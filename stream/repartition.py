"""Telemetry whose key is not its service goes on, once, to where all samples of its service meet.

Collectors key a message by a hash of all that names its resource, or not at all, and hash keys otherwise than others.
What arrives so is written as whole columns to a topic of the workers' own, each service to the partition that
every Kafka client's default would give its name as a key (murmur2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from aiokafka.partitioner import murmur2

from stream.columns import Columns, Float64, Int32, Int64, SeriesKey
from stream.wire.by_service import encode_columns, encode_key

#: Samples of one record at most, and how far apart (ms) what it joins may have arrived: merging must not make time
#: stand still for those who wait for the rest of a message.
_MOST, _APART_MS = 20_000, 200


def partition_of(service: str, partitions: int) -> int:
    """Where a client in Java puts a record with this service as its key.

    >>> partition_of("checkout", 8)
    2
    """
    return int((murmur2(service.encode()) & 0x7FFFFFFF) % partitions)


def keyed_by_service(key: bytes | None, columns: Columns, services: Int32) -> bool:
    """Whether all of a record is about the one service that its key names.

    `services` are those of the registry's series, as numbers: `SeriesIds.services`.
    """
    if key is None or not len(columns):
        return key is not None
    if columns.keys[int(columns.series[0])].service != key.decode(errors="replace"):
        return False
    told = services[columns.series]
    return bool((told == told[0]).all())


class Repartition:
    """Collects columns, and gives them as records by partition."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Columns, int]] = []
        self._samples = 0
        self._described: dict[int, tuple[SeriesKey, bytes]] = {}

    def __len__(self) -> int:
        """Samples that wait."""
        return self._samples

    def fits(self, arrived: int) -> bool:
        """Whether what arrived then may go into one record with what waits."""
        return not self._waiting or (self._samples < _MOST and abs(arrived - self._waiting[0][1]) <= _APART_MS)

    def add(self, columns: Columns, arrived: int) -> None:
        """Take in the columns of a record that reached the broker then (Unix ms)."""
        self._waiting.append((columns, arrived))
        self._samples += len(columns)

    def take(self, partitions: int) -> list[tuple[int, bytes]]:
        """All that waits, as records with their partitions; nothing waits after."""
        waiting, self._waiting, self._samples = self._waiting, [], 0
        if not waiting:
            return []
        keys = waiting[0][0].keys
        series = np.concatenate([columns.series for columns, _ in waiting]).astype(np.int64)
        times = np.concatenate([columns.times for columns, _ in waiting])
        values = np.concatenate([columns.values for columns, _ in waiting])
        arrived = max(arrived for _, arrived in waiting)
        present, inverse = np.unique(series, return_inverse=True)
        places: dict[str, int] = {}
        where = np.empty(len(present), np.int64)
        for place, number in enumerate(present.tolist()):
            service = keys[number].service
            if service not in places:
                places[service] = partition_of(service, partitions)
            where[place] = places[service]
        of_sample = where[inverse]
        return [
            (partition, self._record(keys, series[chosen], times[chosen], values[chosen], arrived))
            for partition in np.unique(where).tolist()
            for chosen in [np.flatnonzero(of_sample == partition)]
        ]

    def _record(self, keys: Sequence[SeriesKey], series: Int64, times: Int64, values: Float64, arrived: int) -> bytes:
        present, inverse = np.unique(series, return_inverse=True)
        described = [self._describe(number, keys[number]) for number in present.tolist()]
        return encode_columns(described, inverse.astype(np.int64), times, values, arrived)

    def _describe(self, number: int, key: SeriesKey) -> bytes:
        known = self._described.get(number)
        if known is None or known[0] is not key:
            known = self._described[number] = (key, encode_key(key))
        return known[1]

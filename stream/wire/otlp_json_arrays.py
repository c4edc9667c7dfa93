"""A message of OTLP as JSON, as arrays."""

from __future__ import annotations

import msgspec
import numpy as np

from stream.columns import Float64, Int64
from stream.hash128 import Bytes, padded
from stream.wire import otlp_json_scan as at
from stream.wire.json_bytes import MOST_KEYS, can_compile, is_utf8


class Scanned(msgspec.Struct, frozen=True):
    """A message as arrays; their columns are named in `stream.wire.otlp_json_scan`, places are those of `text`."""

    text: Bytes
    resources: Int64
    metrics: Int64
    points: Int64
    values: Float64
    counts: Float64
    reals: Float64


#: Larger arrays are not kept.
_LARGEST_KEPT = 1 << 16


class _Room:
    """The arrays that a message is read into, kept for the next one."""

    def __init__(self, points: int) -> None:
        self.resources = np.empty((max(64, points // 8), 2), np.int64)
        self.metrics = np.empty((max(64, points // 2), at.METRIC), np.int64)
        self.points = np.empty((points, at.POINT), np.int64)
        self.values = np.empty((points, at.VALUES), np.float64)
        self.counts = np.empty(16 * points, np.float64)
        self.reals = np.empty(16 * points, np.float64)
        self.keys = np.empty((at.ROWS, MOST_KEYS + 1), np.uint64)
        self.used = np.zeros(5, np.int64)


class OtlpJsonReader:
    """Reads messages into arrays by compiled code."""

    def __init__(self) -> None:
        self._rooms: list[_Room] = []

    def scan(self, value: bytes) -> Scanned | None:
        """The message as compiled code reads it; None where it is for a plain reading."""
        if not can_compile() or not is_utf8(value):
            return None
        text = padded(value)
        # Two readers at once each have a room of their own.
        room = self._rooms.pop() if self._rooms else _Room(1_024)
        while True:
            told = at.scan(
                text, len(value), room.resources, room.metrics, room.points, room.values, room.counts, room.reals,
                room.keys, room.used,
            )  # fmt: skip
            if told != at.FULL:
                break
            room = _Room(4 * len(room.points))
        scanned = None
        if told == 0:
            resources, metrics, points, counts, reals = room.used.tolist()
            scanned = Scanned(
                text,
                room.resources[:resources].copy(),
                room.metrics[:metrics].copy(),
                room.points[:points].copy(),
                room.values[:points].copy(),
                room.counts[:counts].copy(),
                room.reals[:reals].copy(),
            )
        if len(room.points) <= _LARGEST_KEPT:
            self._rooms.append(room)
        return scanned

"""The names of series as bytes, kept as they come, so that saving a million of them is one copy."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import Int64, MetricKind, SeriesKey, compact

#: A key as it is written: its fields in their order.
_KEY = msgspec.msgpack.Decoder(
    tuple[str, str, str, tuple[tuple[str, str], ...], str, str, MetricKind, str, str], strict=True
)

#: Bytes that it is worth while to be rid of.
_WORTH = 65_536


class KeyTexts:
    """The keys of the rows of a store, each as bytes; another key for the same row takes the place of the first."""

    def __init__(self) -> None:
        self._text = bytearray()
        #: Where the text of each row begins and ends.
        self._places: Int64 = np.zeros((8, 2), np.int64)
        self._rows = 0
        #: Bytes that no row points at any more.
        self._dead = 0

    def __len__(self) -> int:
        """How many rows there are texts for."""
        return self._rows

    def put(self, row: int, key: SeriesKey) -> None:
        """The series of this row goes by this key."""
        if row >= len(self._places):
            more = np.zeros((max(2 * len(self._places), row + 1), 2), np.int64)
            more[: len(self._places)] = self._places
            self._places = more
        text = msgspec.msgpack.encode(msgspec.structs.astuple(key))
        start, end = self._places[row].tolist()
        self._dead += end - start
        self._places[row] = 0
        if self._dead > max(len(self._text) // 2, _WORTH):
            self._compact()
        self._places[row] = len(self._text), len(self._text) + len(text)
        self._text += text
        self._rows = max(self._rows, row + 1)

    def _compact(self) -> None:
        """Drop the text of rows that went to other series: services whose instances come and go would fill memory."""
        text = bytes(self._text)
        self._text = bytearray().join(text[start:end] for start, end in self._places[: self._rows].tolist())
        ends = np.cumsum(self._places[: self._rows, 1] - self._places[: self._rows, 0])
        self._places[: self._rows, 0], self._places[: self._rows, 1] = ends - np.diff(ends, prepend=0), ends
        self._dead = 0

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it as plain arrays; copies."""
        return {"text": np.frombuffer(bytes(self._text), np.uint8), "places": self._places[: self._rows].copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> KeyTexts:
        """The texts that `arrays` gave."""
        texts = cls()
        texts._text = bytearray(np.ascontiguousarray(arrays["text"], np.uint8).data)
        texts._places = np.asarray(arrays["places"], np.int64).reshape(-1, 2)
        texts._rows = len(texts._places)
        texts._dead = len(texts._text) - int(np.diff(texts._places).sum())
        return texts

    def keys(self, rows: Int64 | None = None) -> list[SeriesKey]:
        """The keys of these rows, int64[n], or of all. Raises a MsgspecError for what is none."""
        places = self._places[: self._rows] if rows is None else self._places[rows]
        with memoryview(self._text) as text:
            return [compact(SeriesKey(*_KEY.decode(text[start:end]))) for start, end in places.tolist()]

"""The own past of very many series, learned as samples come: a compiled pass over arrays, two kilobytes a series.

What `detectors.own_past` reads out of two weeks of raw samples at the start of a change is here kept up to date: the
running shadows, the largest excursions by bucket, the season, the levels. A change then starts with a look at fourteen
rows of numbers, and no raw history is needed. The layout of a row is `detectors.online_row`, what a sample does to it
`detectors.online_step`; the yardsticks and the looks are those of `detectors.own_past`.

While a change of its service is being watched a series is told so, ``watch``; the shadows of that time count only after
``accept``, when the watch ended calm, and never after ``forget``.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import bank, online_row, online_step, shadow
from detectors.online_transform import FORMS
from detectors.online_yardsticks import yardsticks
from detectors.own_past import (
    DIRECTIONS,
    LEAST,
    LEAST_BOUNDED,
    LEAST_YOUNG,
    NEEDED,
    Calibration,
    least_deviations,
)
from detectors.transform import KINDS, Transform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 2
FIRST = 4096
"""Rows of the first chunk; each further one holds as many as all before it, so that nothing is ever moved."""


class OnlinePast:
    """The pasts of up to ``capacity`` series (more rows are added as they are named), each one row of numbers.

    >>> rng = np.random.default_rng(3)
    >>> past = OnlinePast(capacity=10)
    >>> times = 1_700_000_000_000 + 60_000 * np.arange(3000)
    >>> past.update(np.zeros(3000, dtype=np.int64), times, rng.lognormal(3.0, 0.1, 3000))
    3000
    >>> looks = past.calibration(0, watch=60).start()
    >>> harm = looks.update(3.0 * rng.lognormal(3.0, 0.1, 10))
    >>> bool(harm.log_p[4] < np.log(0.004)), past.row_bytes
    (True, 2047)
    """

    __slots__ = ("_chunks", "_room", "_starts")

    def __init__(self, capacity: int = FIRST) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: expected at least one row")
        self._chunks: list[tuple[NDArray[np.int16], NDArray[np.uint8], Floats, Ints]] = []
        self._starts: list[int] = []
        self._room = online_step.room()
        self._add(capacity)

    def _add(self, rows: int) -> None:
        self._starts.append(self.capacity)
        self._chunks.append(
            (
                np.zeros((rows, online_row.WORDS), dtype=np.int16),
                np.zeros((rows, online_row.BYTES), dtype=np.uint8),
                np.zeros((rows, online_row.REALS)),
                np.zeros((rows, online_row.MARKS), dtype=np.int64),
            )
        )

    @property
    def capacity(self) -> int:
        """Rows there are."""
        return self._starts[-1] + len(self._chunks[-1][0]) if self._chunks else 0

    @property
    def row_bytes(self) -> int:
        """Bytes of state of one series."""
        return online_row.SIZE

    @property
    def nbytes(self) -> int:
        """Bytes of state of all rows."""
        return sum(part.nbytes for chunk in self._chunks for part in chunk)

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows; those that exist stay where they are."""
        while self.capacity < rows:
            self._add(max(self.capacity, FIRST))

    def set_kind(self, row: int, kind: str) -> None:
        """Say what a row's metric is, one of ``detectors.transform.KINDS``, before its first sample; resets the row.

        Raises ValueError for another kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
        self.reserve(row + 1)
        self._row(row)[1][online_row.KIND] = KINDS.index(kind)
        self.reset(row)

    def reset(self, row: int) -> None:
        """Forget a series, so that its row can serve another of the same kind."""
        online_step.clear(*self._row(row))

    def update(self, rows: NDArray[np.integer], times: NDArray[np.integer], values: Floats) -> int:
        """Take samples: rows int[n], times int[n] Unix ms, values float64[n]; returns how many were new.

        Of each row in the order of time: what is not later than its last sample is dropped, and so is what is not
        finite. However the samples are cut into updates, and whatever other rows do, the state is the same.
        """
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        times = np.ascontiguousarray(times, dtype=np.int64)
        values = np.ascontiguousarray(values, dtype=np.float64)
        if not len(rows):
            return 0
        if int(rows.min()) < 0:
            raise ValueError(f"row {int(rows.min())}: expected 0 or more")
        last = int(rows.max())
        self.reserve(last + 1)
        return sum(
            online_step.advance(*(part.reshape(-1) for part in chunk), start, rows, times, values, *self._room)
            for start, chunk in zip(self._starts, self._chunks, strict=True)
            if start <= last
        )

    def watch(self, rows: Sequence[int]) -> None:
        """From the next sample on a change of these series is being watched."""
        for row in rows:
            self._row(row)[1][online_row.STATE] |= online_row.WATCHED

    def accept(self, rows: Sequence[int]) -> None:
        """The watch of these series ended calm: what they did is their past."""
        self._settle(rows, calm=True)

    def forget(self, rows: Sequence[int]) -> None:
        """The watch of these series ended in harm, or open: that time, and ten samples after it, never count."""
        self._settle(rows, calm=False)

    def _settle(self, rows: Sequence[int], *, calm: bool) -> None:
        for row in rows:
            words, small, _, _ = self._row(row)
            if small[online_row.STATE] & online_row.WATCHED:
                online_step.settle(words, small, calm)

    def fork(self, rows: Sequence[int]) -> "OnlinePast":
        """A copy of some rows, as rows 0, 1 …: to go on to a moment that the others must not reach yet."""
        copy = OnlinePast(max(len(rows), 1))
        for place, row in enumerate(rows):
            parts: zip[tuple[NDArray[Any], NDArray[Any]]] = zip(copy._row(place), self._row(row), strict=True)
            for own, theirs in parts:
                own[:] = theirs
        return copy

    def seen(self, row: int) -> int:
        """Samples that a row has learned from since it began, or began anew; fewer than NEEDED are no past."""
        _, small, _, marks = self._row(row)
        return int(marks[online_row.SEEN]) if small[online_row.STATE] & online_row.FITTED else 0

    def last_time(self, row: int) -> int | None:
        """Unix ms of the newest sample of a row; None before the first."""
        _, small, _, marks = self._row(row)
        known = marks[online_row.SEEN] or small[online_row.STATE] & online_row.FITTED
        return int(marks[online_row.LAST]) if known else None

    def period(self, row: int) -> float:
        """Seconds between samples of a row; NaN while too few came."""
        period = float(self._row(row)[2][online_row.PERIOD])
        return period / 1000.0 if period else float("nan")

    def _row(self, row: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], Floats, Ints]:
        if not 0 <= row < self.capacity:
            raise IndexError(f"row {row}: expected 0 to {self.capacity - 1}")
        at = bisect_right(self._starts, row) - 1
        words, small, reals, marks = self._chunks[at]
        here = row - self._starts[at]
        return words[here], small[here], reals[here], marks[here]

    def arrays(self, rows: int | None = None) -> dict[str, NDArray[np.generic]]:
        """The state of the first ``rows`` rows, by default of all, as plain arrays with its version; a copy, so that it
        can be stored while samples come."""
        rows = self.capacity if rows is None else rows
        parts = [np.concatenate(part)[:rows] for part in zip(*self._chunks, strict=True)]
        names = ("words", "bytes", "reals", "marks")
        return {"version": np.array(VERSION), **dict(zip(names, parts, strict=True))}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "OnlinePast":
        """The state that ``arrays`` gave. Raises ValueError for another version or other shapes."""
        version = int(arrays["version"])
        if version != VERSION:
            raise ValueError(f"version {version} of the online past: expected {VERSION}")
        past = cls(max(len(arrays["words"]), 1))
        chunk: tuple[NDArray[Any], ...] = past._chunks[0]
        for own, name in zip(chunk, ("words", "bytes", "reals", "marks"), strict=True):
            given, room = arrays[name], own[: len(arrays["words"])]
            if given.shape != room.shape or given.dtype != room.dtype:
                raise ValueError(f"{name} {given.dtype}{list(given.shape)}: expected {room.dtype}{list(room.shape)}")
            room[:] = given
        return past

    def calibration(
        self,
        row: int,
        *,
        watch: int,
        harm: str = "both",
        least_effect: float | None = None,
        relative: bool = True,
    ) -> Calibration:
        """What a watch of this series, begun now, looks like when nothing was changed; as ``own_past.calibrate``.

        Raises ValueError for a watch under one look or an unknown ``harm``.
        """
        if watch < 1:
            raise ValueError(f"watch {watch}: expected at least one look")
        if harm not in DIRECTIONS:
            raise ValueError(f"harm {harm!r}: expected one of {', '.join(DIRECTIONS)}")
        words, small, reals, marks = self._row(row)
        samples = int(marks[online_row.SEEN])
        if not small[online_row.STATE] & online_row.FITTED or samples < NEEDED:
            return Calibration(False, f"{samples} of {NEEDED} samples of history", samples, float("nan"), float("nan"))
        transform = _transform(small, reals)
        centre = -float(reals[online_row.SCALE_OFFSET])
        season = _season(words, reals, marks, watch, centre)
        levels = _levels(words, small, centre)
        steps = words[online_row.STEPS : online_row.STEPS + online_row.BASELINES]
        sigmas = np.zeros(shadow.BASELINES)
        sigmas[: online_row.BASELINES] = 1.4826 / online_row.FINE * np.maximum(steps, 0)
        own = float(transform.inverse(np.array([levels[0] if np.isnan(levels[1]) else levels[1]]))[0])
        near = transform.inverse(np.array([levels[0], levels[0] + sigmas[0]]))
        scale = float(near[1] - near[0])
        floor, price = _floor(transform, small, marks, float(levels[0]))
        used = tuple(yardsticks(words, small, watch, levels, sigmas, floor, DIRECTIONS[harm], price))
        if not used:
            return Calibration(False, "no undisturbed window of history", samples, own, scale)
        main = int(used[-1].baseline[0 if harm != "down" else 4])
        ahead = levels[main] + season[main // 3]
        ahead = np.where(np.isnan(ahead), levels[main % 3], ahead)
        least = least_deviations(transform, float(levels[main % 3]), harm, least_effect, relative)
        return Calibration(
            True, "", samples, own, scale, watch, transform, season, used, least, transform.inverse(ahead),
            lasting=True,
        )  # fmt: skip


def _transform(small: NDArray[np.uint8], reals: Floats) -> Transform:
    form = FORMS[small[online_row.FORM]]
    return Transform(form, float(reals[online_row.SCALE_UNIT]), float(reals[online_row.SCALE_TOP]))


def _season(words: NDArray[np.int16], reals: Floats, marks: Ints, watch: int, centre: float) -> Floats:
    """float64[3, watch]: nothing, what the day's profile says of each look, and no week."""
    season = np.full((shadow.SEASONS, watch), np.nan)
    season[0] = 0.0
    moments = marks[online_row.LAST] + reals[online_row.PERIOD] * np.arange(1, watch + 1)
    slots = (moments // online_row.SLOT).astype(np.int64) % online_row.SLOTS
    profile = words[online_row.PROFILE + slots]
    season[1] = np.where(profile == online_row.UNSET, np.nan, centre + profile / online_row.UNIT)
    return season


def _levels(words: NDArray[np.int16], small: NDArray[np.uint8], centre: float) -> Floats:
    """Levels of the nine baselines now, NaN where unknown; the plain ones carry the centre, the seasonal do not."""
    levels, spare = np.full(shadow.BASELINES, np.nan), np.empty(12, dtype=np.int16)
    for s in range(2):
        for n in range(3):
            found = online_step.level(words, 0, small, 0, s, n, spare)
            if found != online_row.UNSET:
                levels[3 * s + n] = found / online_row.UNIT + (0.0 if s else centre)
    return levels


def _floor(transform: Transform, small: NDArray[np.uint8], marks: Ints, level: float) -> tuple[float, Floats]:
    """Least effect that counts, and the price of each statistic."""
    if transform.form == "bounded":
        return LEAST_BOUNDED, np.zeros(bank.COUNT)
    day = marks[online_row.LAST] // online_row.SLOT - marks[online_row.SLOT_FIRST] >= online_row.SLOTS
    floor = LEAST if day else LEAST_YOUNG
    if not small[online_row.FACTS] & online_row.FRACTION:
        own = float(transform.inverse(np.array([level]))[0])
        floor = max(floor, float(np.diff(transform.forward(np.array([own, own + 1.0])))[0]))
    return floor, shadow.PRICES

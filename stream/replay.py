"""Replay: recorded changes and telemetry through the pure pipeline, by event time alone; no broker and no clock."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np

from deploy.chain import Chain
from deploy.change import Change, Phase, change_to_object
from deploy.freeze import Freeze, freeze_to_object
from deploy.judge import Decision
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState, verdict_to_object
from stream.columns import Columns, SeriesKey
from stream.errors import StreamError, Unreadable
from stream.histograms import asked_of, of_recording
from stream.pipeline import Pipeline
from stream.series_ids import SeriesIds
from stream.wire import decode_telemetry, decode_told, encode

_CHANGES, _TELEMETRY = "haltline.changes", "haltline.telemetry"
_PHASES = {phase: index for index, phase in enumerate(Phase)}


class UnreadableInput(StreamError):
    """A file or a line of it that cannot be read; the text names both."""


class Summary(msgspec.Struct, frozen=True):
    """What a replay found; every number follows from the input, none from the machine that it ran on.

    `holds` counts the changes for which new starts waited some seconds, or would have.
    """

    changes: int
    verdicts: dict[str, int]
    freezes: dict[str, int]
    holds: int
    seconds_frozen: float
    points: int
    points_per_second: float
    starts_at: int | None
    ends_at: int | None


def replay(
    changes: Sequence[Path], telemetry: Sequence[Path], out: Path, policy: Policy, until: int | None = None
) -> Summary:
    """Run the pipeline over recorded files and write `verdicts.jsonl`, `freezes.jsonl` and `summary.json` into `out`.

    Files are JSON Lines, gzip-compressed where the name ends in `.gz`; a folder means every such file in it. The order
    of the files, and of records of equal time in them, changes nothing.

    Raises:
        UnreadableInput: naming file and line.
    """
    records = read_changes(changes)
    columns = read_telemetry(telemetry, policy)
    if until is not None:
        records = [change for change in records if change.time <= until]
        columns = [_until(one, until) for one in columns if one.arrived is None or one.arrived <= until]
    decisions = list(decide(records, columns, policy))
    out.mkdir(parents=True, exist_ok=True)
    said = [one for one in decisions if isinstance(one, Verdict)]
    # A line is written where a verdict changes state; that new starts wait some seconds is none.
    verdicts = [one for one in said if one.hold_until is None]
    held = {one.change for one in said if one.hold_until is not None}
    freezes = [one for one in decisions if isinstance(one, Freeze)]
    summary = _summary(records, columns, verdicts, freezes, len(held))
    _write(out / "verdicts.jsonl", (verdict_to_object(verdict) for verdict in verdicts))
    _write(out / "freezes.jsonl", (freeze_to_object(freeze) for freeze in freezes))
    _write(out / "summary.json", [msgspec.to_builtins(summary)])
    return summary


def decide(
    changes: Sequence[Change], columns: Sequence[Columns], policy: Policy, pipeline: Pipeline | None = None
) -> Iterator[Decision]:
    """Every decision in the order of time: each sample and each change at its own time, changes first."""
    pipeline = pipeline or Pipeline(policy)
    samples = _Samples(columns)
    ordered = sorted(changes, key=lambda one: (one.time, one.id, _PHASES[one.phase], encode(change_to_object(one))))
    for time, group in itertools.groupby(ordered, key=lambda one: one.time):
        for block in samples.before(time):
            yield from pipeline.telemetry(block)
        for change in group:
            yield from pipeline.change(change)
    for block in samples.before(None):
        yield from pipeline.telemetry(block)
    yield from pipeline.finish()


def _until(columns: Columns, until: int) -> Columns:
    """What of these samples had come by `until`."""
    if columns.arrived is not None or not (columns.times > until).any():
        return columns
    kept = columns.times <= until
    return msgspec.structs.replace(
        columns, series=columns.series[kept], times=columns.times[kept], values=columns.values[kept]
    )


class _Samples:
    """All samples by arrival, cut where something else happens."""

    def __init__(self, columns: Sequence[Columns]) -> None:
        # All may share the keys of one registry, of which each has samples of a few.
        used = [np.unique(one.series) for one in columns]
        keys = sorted({one.keys[place] for one, there in zip(columns, used, strict=True) for place in there.tolist()})
        places = {key: place for place, key in enumerate(keys)}
        self._keys: tuple[SeriesKey, ...] = tuple(keys)
        empty = np.empty(0, np.int64)
        series, times, values, arrived = [empty], [empty], [np.empty(0)], [empty]
        for one, there in zip(columns, used, strict=True):
            where = np.array([places[one.keys[place]] for place in there.tolist()], np.int64)
            series.append(where[np.searchsorted(there, one.series)] if len(there) else empty)
            times.append(one.times)
            values.append(one.values)
            arrived.append(one.times if one.arrived is None else np.full(len(one), one.arrived, np.int64))
        at = np.concatenate(arrived)
        event, which, value = np.concatenate(times), np.concatenate(series), np.concatenate(values)
        # By value last: of samples that say different things of the same moment, always the same one counts.
        order = np.lexsort((value, which, event, at))
        self._at, self._times, self._series, self._values = at[order], event[order], which[order], value[order]
        # Where something arrived later than it was measured, every arrival is a moment of its own.
        self._late = bool((self._at != self._times).any())
        self._cuts = np.unique(self._at) + 1 if self._late else np.empty(0, np.int64)
        self._position = 0

    def before(self, time: int | None) -> Iterator[Columns]:
        """The samples not yet given that arrived before `time`; all that are left for None."""
        end = len(self._at) if time is None else int(np.searchsorted(self._at, time, side="left"))
        cuts = np.searchsorted(self._at, self._cuts, side="left")
        inside = cuts[(cuts > self._position) & (cuts < end)]
        for cut in [*inside.tolist(), end]:
            if cut > self._position:
                part = slice(self._position, cut)
                self._position = cut
                yield Columns(
                    keys=self._keys,
                    series=self._series[part].astype(np.int32),
                    times=self._times[part],
                    values=self._values[part],
                    arrived=int(self._at[cut - 1]) if self._late else None,
                )


def read_changes(paths: Sequence[Path]) -> list[Change]:
    """Every change in these files, a record each phase, with what the others told of its way until then."""
    changes: list[Change] = []
    chain = Chain()
    for path, number, line in read_lines(paths):
        try:
            told = decode_told(_CHANGES, line, {})
        except Unreadable as error:
            _refuse(path, number, error)
        changes += told.changes
        for piece in told.pieces:
            chain.tell(piece)
    return [chain.enrich(change, until=change.time) for change in changes]


def read_telemetry(paths: Sequence[Path], policy: Policy | None = None) -> list[Columns]:
    """Every telemetry record in these files, as columns; of histograms what the policy asks for."""
    policy = policy or Policy()
    columns: list[Columns] = []
    ids = SeriesIds(buckets_of=asked_of([policy]))
    for path, number, line in read_lines(paths):
        try:
            columns.append(decode_telemetry(_TELEMETRY, line, {}, ids))
        except Unreadable as error:
            _refuse(path, number, error)
    return of_recording(columns, ids, policy)


def _refuse(path: Path, number: int, error: Exception) -> NoReturn:
    raise UnreadableInput(f"{path}:{number}: {error}") from None


def read_lines(paths: Sequence[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """Every line that is not blank, with its file and number; `UnreadableInput` names a file that cannot be read."""
    for path in _files(paths):
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if stripped := line.strip():
                        yield path, number, stripped
        except (OSError, EOFError) as error:
            raise UnreadableInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.name.endswith((".jsonl", ".jsonl.gz")))
            if not found:
                raise UnreadableInput(f"{path}: no .jsonl or .jsonl.gz file in this folder")
            yield from found
        else:
            yield path


def _write(path: Path, records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    # The records keep their own order of fields, which is fixed: what was promised comes first.
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def _summary(
    changes: Sequence[Change],
    columns: Sequence[Columns],
    verdicts: Sequence[Verdict],
    freezes: Sequence[Freeze],
    holds: int,
) -> Summary:
    last = {verdict.change: verdict for verdict in verdicts}
    states = dict.fromkeys((state.value for state in VerdictState), 0)
    for verdict in last.values():
        states[verdict.state.value] += 1
    levels: dict[str, int] = {}
    for freeze in freezes:
        levels[str(freeze.level)] = levels.get(str(freeze.level), 0) + 1
    filled = [one for one in columns if len(one)]
    points = sum(len(one) for one in filled)
    starts = min((int(one.times.min()) for one in filled), default=None)
    ends = max((int(one.times.max()) for one in filled), default=None)
    covered = (ends - starts) / 1_000 if starts is not None and ends is not None else 0.0
    return Summary(
        changes=len({change.id for change in changes}),
        verdicts=states,
        freezes=levels,
        holds=holds,
        seconds_frozen=_seconds_frozen(freezes),
        points=points,
        points_per_second=points / covered if covered else 0.0,
        starts_at=starts,
        ends_at=ends,
    )


def _seconds_frozen(freezes: Sequence[Freeze]) -> float:
    """Time frozen, scope by scope; where freezes of one scope overlap it counts once."""
    total = 0
    by_scope: dict[tuple[str, ...], list[Freeze]] = {}
    for freeze in freezes:
        by_scope.setdefault(freeze.matchers, []).append(freeze)
    for scope in by_scope.values():
        end = 0
        for freeze in sorted(scope, key=lambda one: one.starts_at):
            total += max(0, freeze.ends_at - max(freeze.starts_at, end))
            end = max(end, freeze.ends_at)
    return total / 1_000

"""`haltline score`: how odd each sample of one series is, from its past alone."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from haltline.errors import UnreadableInput


@click.command()
@click.option("--series", required=True, type=click.Path(path_type=Path), metavar="FILE.csv|-", help="The series.")
def score(series: Path) -> None:
    """Score each sample of one series. Reads `timestamp,value`, prints `timestamp,score`, one row for each row.

    \b
    Example:
      haltline score --series latency.csv > scores.csv

    A score comes from the samples before and at its own time only; larger is odder; it has no bound. An empty value
    is a missing sample. Times are as in the file: RFC 3339, Unix milliseconds, or any number or date that grows.
    """
    import numpy as np

    from detectors.score import score as score_of

    stamps, times, values = _read(series)
    scores = score_of(np.array(values, dtype=np.float64), np.array(times, dtype=np.float64))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("timestamp", "score"))
    for stamp, one in zip(stamps, scores.tolist(), strict=True):
        out.writerow((stamp, repr(one)))


def _read(path: Path) -> tuple[list[str], list[float], list[float]]:
    """The timestamps as they stand there and as seconds, and the values; NaN where one is missing."""
    stamps: list[str] = []
    times: list[float] = []
    values: list[float] = []
    for number, (stamp, value) in _rows(path):
        try:
            seconds = _seconds(stamp)
        except ValueError:
            raise UnreadableInput(f"{path}:{number}: timestamp {stamp[:40]!r} is no time") from None
        try:
            one = float(value) if value.strip() else math.nan
        except ValueError:
            if value.strip().lower() not in ("null", "none", "na"):
                raise UnreadableInput(f"{path}:{number}: value {value[:40]!r} is no number") from None
            one = math.nan
        stamps.append(stamp)
        times.append(seconds)
        values.append(one if math.isfinite(one) else math.nan)
    return stamps, times, values


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    try:
        with sys.stdin if str(path) == "-" else path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            if "timestamp" not in header or "value" not in header:
                raise UnreadableInput(f"{path}:1: the header must name the columns timestamp and value")
            at, of = header.index("timestamp"), header.index("value")
            for row in rows:
                if not row:
                    continue
                if len(row) <= max(at, of):
                    raise UnreadableInput(f"{path}:{rows.line_num}: has {len(row)} columns, must have {len(header)}")
                yield rows.line_num, (row[at], row[of])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableInput(f"{path}: cannot be read: {reason.lower()}") from None


def _seconds(stamp: str) -> float:
    """Seconds of a timestamp of whatever clock: any unit of Unix time, an index, a date without a zone.

    >>> _seconds("1.5"), _seconds("1763716443000"), _seconds("2014-02-14 14:30:00")
    (1.5, 1763716443.0, 1392388200.0)
    """
    try:
        number = float(stamp)
    except ValueError:
        moment = datetime.fromisoformat(stamp.strip())
        # Only differences matter, so that a missing zone may be any.
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError(stamp)
    # Seconds until the year 5138, then milliseconds, microseconds, nanoseconds.
    for unit in (1, 1e3, 1e6):
        if abs(number) < 1e11 * unit:
            return number / unit
    return number / 1e9

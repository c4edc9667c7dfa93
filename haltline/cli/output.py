"""Printing: columns for people, JSON and YAML for programs, names for shells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import click
import msgspec

T = TypeVar("T")


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """How one kind of thing is printed.

    `columns` are (title, cell, only in wide); `record` gives what JSON and YAML carry; `name` what `-o name` prints.
    """

    columns: tuple[tuple[str, Callable[[T], str], bool], ...]
    record: Callable[[T], dict[str, Any]]
    name: Callable[[T], str]


class Printer(Generic[T]):
    """Prints things of one kind in one format; several batches keep the columns of the first."""

    def __init__(self, kind: Kind[T], form: str | None, *, stream: bool = False) -> None:
        self._kind = kind
        self._form = form
        self._stream = stream
        self._columns = [column for column in kind.columns if form == "wide" or not column[2]]
        self._widths: list[int] = []

    def print(self, things: Iterable[T]) -> None:
        things = list(things)
        lines: Iterable[str]
        if self._form == "json":
            records = [self._kind.record(thing) for thing in things]
            lines = map(json_line, records) if self._stream else [json_text(records)]
        elif self._form == "yaml":
            records = [self._kind.record(thing) for thing in things]
            lines = ("---\n" + yaml_text(record) for record in records) if self._stream else [yaml_text(records)]
        elif self._form == "name":
            lines = map(self._kind.name, things)
        else:
            lines = self._table([[clean(cell(thing)) for _, cell, _ in self._columns] for thing in things])
        for line in lines:
            click.echo(line)

    def _table(self, rows: Sequence[Sequence[str]]) -> list[str]:
        if not rows:
            return []
        titles = [] if self._widths else [[title for title, _, _ in self._columns]]
        rows = [*titles, *rows]
        widths = [max(len(row[index]) for row in rows) for index in range(len(self._columns))]
        self._widths = [max(pair) for pair in zip(widths, self._widths or widths, strict=True)]
        return ["   ".join(map(str.ljust, row, self._widths)).rstrip() for row in rows]


def clean(text: str) -> str:
    """Text that can do nothing to a terminal: what comes from records may hold control characters."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else repr(c)[1:-1] for c in text) or "-"


def json_line(record: object) -> str:
    return msgspec.json.encode(record).decode()


def json_text(record: object) -> str:
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode()


def yaml_text(record: object) -> str:
    import yaml  # heavy: only where used

    plain = msgspec.json.decode(msgspec.json.encode(record))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=10_000)
    return text.rstrip("\n")

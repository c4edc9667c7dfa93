"""How provenance looks on a terminal: a line a commit and what they come to, or one commit with every sign."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import click

from deploy.change import Origin
from deploy.provenance.vote import Vote
from deploy.provenance.weigh import Attribution
from haltline.cli.output import clean
from haltline.history import History, Made
from haltline.tally import Tally

_COLOURS = {Origin.AI: "magenta", Origin.MIXED: "cyan", Origin.HUMAN: "green", Origin.UNKNOWN: "bright_black"}
_BAR = 24
_ABOUT = {
    Origin.AI: "by an AI",
    Origin.MIXED: "by a person with an AI",
    Origin.HUMAN: "by a person",
    Origin.UNKNOWN: "no sign: nobody can tell, which is not the same as by a person",
}
_HEAD = ("COMMIT", "DATE", "ORIGIN", "SURE", "LINES", "BY AI", "TOOL", "TITLE")
_WIDTHS = (9, 10, 7, 4, 13, 5, 16)


def history(of: History, walked: Iterator[Made], *, every: bool, limit: int | None) -> None:
    """Print a line for each commit that shows a sign, fold the others, and sum up."""
    width = min(shutil.get_terminal_size((120, 24)).columns, 160)
    tally, silent, lines = Tally(), 0, 0
    for made in walked:
        tally.add(made)
        if every or made.attribution.votes:
            if not lines:
                click.secho(_row(_HEAD, width), bold=True)
            silent, lines = _fold(silent), lines + 1
            _line(made, width)
        else:
            silent += 1
    if not tally.commits:
        click.echo("no commit in this range", err=True)
        return
    if lines:
        _fold(silent)
        click.echo()
    _sum_up(tally, of, limit, width)


def _row(cells: Iterable[str], width: int) -> str:
    *fixed, last = cells
    line = "  ".join(cell.ljust(size) for cell, size in zip(fixed, _WIDTHS, strict=True))
    room = max(20, width - len(line) - 2)
    return f"{line}  {last if len(last) <= room else last[: room - 1] + '…'}".rstrip()


def _line(made: Made, width: int) -> None:
    commit, found = made.commit, made.attribution
    lines = found.lines
    cells = (
        commit.revision[:9],
        _day(commit.authored_at),
        found.origin.value,
        "" if found.origin is Origin.UNKNOWN else f"{found.confidence:.2f}",
        _lines(commit.added, commit.removed),
        f"{lines.ai_share:.0%}" if lines is not None and lines.changed else "",
        _cut(", ".join(found.tools), _WIDTHS[6]),
        clean(("! " if found.conflict or _odd(found) else "") + commit.title),
    )
    click.echo(_paint(_row(cells, width), found.origin))


def _odd(found: Attribution) -> bool:
    """Whether a sign is not what it passes itself off as."""
    return any("look-alike" in vote.note or "only looks like" in vote.note for vote in found.votes)


def _paint(line: str, origin: Origin) -> str:
    start = sum(_WIDTHS[:2]) + 4
    word = line[start : start + _WIDTHS[2]]
    return line[:start] + click.style(word, fg=_COLOURS[origin]) + line[start + _WIDTHS[2] :]


def _fold(silent: int) -> int:
    if silent:
        click.secho(f"{'':9}  … {_count(silent, 'commit')} without a sign", fg="bright_black")
    return 0


def _sum_up(tally: Tally, of: History, limit: int | None, width: int) -> None:
    first, until = _day(tally.first), _day(tally.last)
    span = f", {first}{f' to {until}' if until != first else ''}" if first else ""
    last = "the last " if limit and tally.commits == limit else ""
    click.secho(f"{last}{_count(tally.commits, 'commit')}{span}, {_lines(tally.added, tally.removed)} lines", bold=True)
    for origin in (Origin.AI, Origin.MIXED, Origin.HUMAN, Origin.UNKNOWN):
        count, added = tally.by_origin[origin], tally.added_by[origin]
        if not count:
            continue
        part = count / tally.commits
        bar = "█" * round(part * _BAR) or ("▏" if count else "")
        lines = f"{added / tally.added:>5.0%} of lines" if tally.added else ""
        click.echo(
            f"  {click.style(f'{origin.value:8}', fg=_COLOURS[origin])}"
            f"{click.style(f'{bar:{_BAR}}', fg=_COLOURS[origin])} {count:>6,}  {part:>4.0%}  {lines}  "
            f"{click.style(_ABOUT[origin], fg='bright_black')}"
        )
    rows = [
        ("tools", ", ".join(f"{name} {count}" for name, count in tally.tools.most_common(8))),
        ("models", ", ".join(f"{name} {count}" for name, count in tally.models.most_common(8))),
        ("autonomy", ", ".join(f"{name} {count}" for name, count in tally.autonomy.most_common())),
        ("notes", _notes(tally, of)),
        ("look at", ", ".join(_oddities(tally))),
    ]
    click.echo()
    for name, value in rows:
        if value:
            click.echo(textwrap.fill(clean(value), width, initial_indent=f"{name:9} ", subsequent_indent=" " * 10))
    if of.repository.shallow:
        click.echo("shallow   the clone ends early: its oldest commits have no lines, and what lies before is not seen")


def _notes(tally: Tally, of: History) -> str:
    if not of.notes:
        return "none (refs/notes/ai; a plain clone leaves notes behind)"
    covered = f"{tally.noted_lines / tally.noted_of:.0%} of their lines" if tally.noted_of else "no line"
    said = f"git-ai on {_count(tally.noted, 'commit')}, speaking for {covered}"
    if tally.moved:
        said += f"; {tally.moved} of them written for another commit"
    if of.left_behind:
        said += f"; {_count(of.left_behind, 'note')} on commits that this history lost (rebased or squashed)"
    return said


def _oddities(tally: Tally) -> Iterator[str]:
    if tally.conflicts:
        yield f"{_count(tally.conflicts, 'commit')} with contradicting signs (!)"
    if tally.disguised:
        yield f"{tally.disguised} with look-alike letters (!)"
    if tally.claims:
        yield f"{tally.claims} naming a reviewer or approver in the text only, which proves nothing"


def commit(of: History, made: Made) -> None:
    """Print one commit: what it comes to, then every sign, then what does not count and why."""
    one, found = made.commit, made.attribution
    sure = "" if found.origin is Origin.UNKNOWN else f", confidence {found.confidence:.2f}"
    origin = click.style(found.origin.value, fg=_COLOURS[found.origin], bold=True)
    odds = ", ".join(f"{name} {value:.2f}" for name, value in found.odds.items() if value >= 0.005)
    rows = [
        ("commit", f"{one.revision[:12]} {clean(one.title)}"),
        ("author", f"{clean(one.author)}, {_day(one.authored_at)}"),
        ("operator", clean(found.operator) if found.operator else ""),
        ("origin", f"{origin}{sure}: {_about(found)}" + (f" ({odds})" if found.signed else "")),
        ("tools", clean(", ".join(found.tools)) if found.tools else ""),
        ("models", clean(", ".join(found.models)) if found.models else ""),
        ("autonomy", found.autonomy),
        ("lines", _told_lines(made)),
        ("conflict", f"{found.conflict:.2f}: signs contradict each other" if found.conflict else ""),
    ]
    rows += [
        (
            "approved",
            clean(
                f"{who.who}{f' ({who.role})' if who.role else ''}{f' on {who.revision[:10]}' if who.revision else ''}"
            ),
        )
        for who in found.approvers
    ]
    rows += [("story", clean(piece.text)) for piece in made.story]
    for name, value in rows:
        if value:
            click.echo(f"{name:9} {value}")
    _signs("why", [vote for vote in found.votes if vote.weight])
    _signs("shown, not counted", [vote for vote in found.votes if not vote.weight])
    if not found.votes:
        click.echo("\nno trailer, bot identity, note or trace says who made it")


def _about(found: Attribution) -> str:
    return "no sign that counts" if found.votes and found.origin is Origin.UNKNOWN else _ABOUT[found.origin]


def _told_lines(made: Made) -> str:
    one, lines = made.commit, made.attribution.lines
    if one.added is None:
        return "not known: the clone ends at this commit"
    shown = _lines(one.added, one.removed)
    if lines is None:
        return shown
    parts = ((lines.ai, "by an AI"), (lines.human, "by a person"), (lines.nobody, "nobody speaks for"))
    told = ", ".join(
        f"{count:,} {what} ({count / lines.changed:.0%})" for count, what in parts if count and lines.changed
    )
    return f"{shown}: {told}" if told else shown


def _signs(title: str, votes: list[Vote]) -> None:
    if not votes:
        return
    click.echo(f"\n{title}")
    for vote in votes:
        weight = f"{vote.weight:.2f} {vote.origin.value:6}" if vote.weight else ""
        note = click.style(f"  ({clean(vote.note)})", fg="bright_black") if vote.note else ""
        click.echo(f"  {weight}{'  ' if weight else ''}{vote.source.value:16} {clean(vote.text)}{note}")


def _lines(added: int | None, removed: int | None) -> str:
    return "" if added is None or removed is None else f"+{added:,} −{removed:,}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _day(milliseconds: int | None) -> str:
    if not milliseconds:
        return ""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1_000, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return "no date"  # git keeps any number


def _cut(text: str, width: int) -> str:
    text = clean(text) if text else ""
    return text if len(text) <= width else f"{text[: width - 1]}…"

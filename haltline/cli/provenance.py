"""`haltline provenance`: who or what made the commits of a git checkout, offline, from the signs they carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haltline.cli.options import output, text, warn
from haltline.errors import HaltlineError
from haltline.settings import load

if TYPE_CHECKING:
    from deploy.provenance.piece import Piece
    from haltline.history import History, Made

_RECENT = 1_000


@click.command()
@click.argument("revision", required=False, metavar="[REV|RANGE]", callback=text)
@click.option("--repo", default=".", type=click.Path(path_type=Path), metavar="DIR", help="The checkout.  [default: .]")
@click.option("-n", "--max-count", type=click.IntRange(min=0), metavar="N",
              help=f"At most so many commits, 0: all.  [default: {_RECENT:,}; of a range all]")  # fmt: skip
@click.option("--evidence", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="More to join: attestations, traces, CDEvents, webhook payloads; JSON or JSON lines.")  # fmt: skip
@click.option("--key", "keys", multiple=True, type=click.Path(path_type=Path), metavar="FILE.pem",
              help="Public key that must have signed attestations.  [default: HALTLINE_ATTESTATION_KEYS]")  # fmt: skip
@click.option("-a", "--all", "every", is_flag=True, help="List commits without any sign one by one, too.")
@output("table", "json")
def provenance(
    revision: str | None,
    repo: Path,
    max_count: int | None,
    evidence: tuple[Path, ...],
    keys: tuple[Path, ...],
    every: bool,
    form: str | None,
) -> None:
    """Show who or what made the commits of a git checkout: people, AI, both, or nobody can tell.

    It reads trailers, bot identities, git-ai notes and traces, and quotes each sign. No network, no Kafka. What shows
    no sign is `unknown`: that is not the same as written by a person.

    \b
    Examples:
      haltline provenance                            the last commits, and what they come to
      haltline provenance HEAD                       one commit, with every sign
      haltline provenance main..feature -o json      a branch, for a program
      haltline provenance v1.4.0 --evidence provenance.intoto.jsonl --key builder.pem
    """
    from haltline.git import Repository
    from haltline.history import History, read_file, read_key

    # Offline as it is, the keys may be configured once for all commands.
    known = [read_key(path) for path in keys or load().attestation_keys]
    told = [(path, read_file(path, known)) for path in evidence]
    for path, pieces in told:
        for line in _idle(pieces):
            warn(f"{path}: {line}")
    history = History(Repository(repo), [piece for _, pieces in told for piece in pieces])
    repository = history.repository
    if revision is None and repository.empty():
        raise HaltlineError(f"{repo}: this repository has no commit yet")
    one = repository.commit(revision) if revision is not None and max_count is None else None
    if one is not None:
        for made in history.walk(one, 1, one):
            _one(history, made, form)
            for path, pieces in told:
                if not [*_idle(pieces)] and not {piece.text for piece in pieces} & {piece.text for piece in made.story}:
                    warn(f"{path}: nothing in it is of {made.commit.revision[:12]}")
        return
    asked = revision or "HEAD"
    single = repository.commit(asked)
    limit = max_count if max_count is not None else _RECENT if single else None
    walked = history.walk(asked, limit or None, single or "HEAD")
    if form == "json":
        _print_json(history, walked)
    else:
        from haltline.cli import provenance_page

        provenance_page.history(history, walked, every=every, limit=limit)


def _idle(pieces: Sequence[Piece]) -> Iterator[str]:
    """What is said of evidence that will not be seen in any commit."""
    if not pieces:
        yield "it tells of no commit, artifact or approval"
    for piece in pieces:
        if not (piece.revisions or piece.artifacts or piece.request or piece.chain or piece.events):
            yield piece.text


def _one(history: History, made: Made, form: str | None) -> None:
    if form == "json":
        from haltline.cli.output import json_text

        click.echo(json_text(record(made)))
        return
    from haltline.cli import provenance_page

    provenance_page.commit(history, made)


def _print_json(history: History, walked: Iterator[Made]) -> None:
    """One JSON object, written as the commits come."""
    from haltline.cli.output import json_line
    from haltline.tally import Tally

    tally = Tally()
    comma = ""
    click.echo('{"commits":[', nl=False)
    for made in walked:
        tally.add(made)
        click.echo(f"{comma}\n{json_line(record(made))}", nl=False)
        comma = ","
    click.echo(f'\n],\n"summary":{json_line(tally.record(history))}}}')


def record(made: Made) -> dict[str, Any]:
    """What a program gets of one commit; `provenance` is the object that a change record carries."""
    import msgspec

    from deploy.provenance.weigh import provenance_of
    from deploy.times import format_time

    commit, found = made.commit, made.attribution
    shown: dict[str, Any] = {
        "revision": commit.revision,
        "title": commit.title,
        "authored_at": format_time(commit.authored_at) if commit.authored_at > 0 else None,
        "lines_added": commit.added,
        "lines_removed": commit.removed,
        "provenance": msgspec.to_builtins(provenance_of(found)),
        "odds": found.odds,
        "conflict": found.conflict,
        "signs": [msgspec.to_builtins(vote) for vote in found.votes],
    }
    if found.lines is not None:
        lines = found.lines
        shown["lines"] = {"ai": lines.ai, "human": lines.human, "unknown": lines.nobody, "changed": lines.changed}
    if made.story:
        shown["story"] = [piece.text for piece in made.story]
    return shown


__all__: Sequence[str] = ("provenance", "record")

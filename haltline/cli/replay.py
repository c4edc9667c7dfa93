"""`haltline replay`: recorded changes and telemetry through the same pipeline, without broker or clock."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.errors import DeployError
from deploy.times import parse_time
from haltline.cli.options import output, warn
from haltline.cli.output import json_text
from haltline.errors import UnreadableInput

_FILES = click.Path(path_type=Path)


@click.command()
@click.option("--changes", multiple=True, required=True, type=_FILES, metavar="FILE|DIR", help="Changes, JSON lines.")
@click.option(
    "--telemetry", multiple=True, required=True, type=_FILES, metavar="FILE|DIR", help="Telemetry, JSON lines."
)
@click.option("--out", required=True, type=_FILES, metavar="DIR", help="Where the results go.")
@click.option("--policy", type=_FILES, metavar="FILE", help="Policy to judge by.  [default: observe everything]")
@click.option("--until", metavar="TIME", help="Stop at this event time (RFC 3339 or Unix ms).")
@output("json")
def replay(
    changes: tuple[Path, ...],
    telemetry: tuple[Path, ...],
    out: Path,
    policy: Path | None,
    until: str | None,
    form: str | None,
) -> None:
    """Judge recorded changes by recorded telemetry, in event time. The same input gives the same bytes.

    \b
    Examples:
      haltline replay --changes changes.jsonl --telemetry telemetry.jsonl.gz --out result
      haltline replay --changes day1/changes --telemetry day1/telemetry --policy policy.yaml --out result

    Files may be .gz, each option may be repeated, a folder means every .jsonl[.gz] in it. Writes verdicts.jsonl,
    freezes.jsonl and summary.json. Exit code 0 whatever was found, 2 on input that cannot be read.
    """
    from deploy.policy import Policy, load_policy
    from stream.errors import StreamError
    from stream.replay import replay as run

    try:
        moment = None if until is None else parse_time(int(until) if until.isdecimal() else until)
        rules = Policy()
        if policy is not None:
            rules, warnings = load_policy(policy)
            for line in warnings:
                warn(line)
        summary = run(changes, telemetry, out, rules, moment)
    except (StreamError, DeployError) as error:
        raise UnreadableInput(str(error)) from None
    except OSError as error:
        raise UnreadableInput(f"{error.filename or out}: {(error.strerror or str(error)).lower()}") from None
    if form == "json":
        import msgspec

        click.echo(json_text(msgspec.to_builtins(summary)))
        return
    verdicts = ", ".join(f"{count} {state}" for state, count in summary.verdicts.items()) or "none judged"
    click.echo(f"{summary.changes} changes: {verdicts}; {sum(summary.freezes.values())} freezes")
    click.echo(f"{summary.points} samples; wrote {out}/verdicts.jsonl, freezes.jsonl and summary.json", err=True)

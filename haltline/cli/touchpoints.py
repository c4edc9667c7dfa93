"""`haltline touchpoints`: where AI reached production in a period, and what harm it did so far."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import click

from haltline.cli.options import connection, now_ms, output, settings_of, text, warn

if TYPE_CHECKING:
    from deploy.touchpoints import Touchpoint

_COLUMNS = ("by", "value", "changes", "ai", "unknown", "share", "harmful", "judged", "rest_harmful", "rest_judged")


@click.command()
@click.option(
    "--since", default="30d", metavar="DURATION", help="Changes that began this long ago or later.  [default: 30d]"
)
@click.option("--by", default="service,tool,model,autonomy,tier", metavar="LABEL,...", callback=text,
              help="Labels to count by.  [default: service,tool,model,autonomy,tier]")  # fmt: skip
@click.option("-e", "--environment", help="Where.  [default: production, or the context's]", callback=text)
@click.option("--policy", metavar="FILE", help="Policy, for the tiers of services.")
@output("table", "csv", "json")
@connection
@click.pass_context
def touchpoints(
    ctx: click.Context, since: str, by: str, environment: str | None, policy: str | None, form: str | None
) -> None:
    """Show where AI reached production: by service, tool, model, autonomy and tier, with shares and harm so far.

    A change counts as AI's where its origin is ai or mixed. What shows no sign is unknown, and counted apart.

    \b
    Examples:
      haltline touchpoints                              the last 30 days
      haltline touchpoints --since 7d --by service,team
      haltline touchpoints --since 12w -o csv > ai.csv
    """
    from deploy.times import parse_duration
    from deploy.touchpoints import touchpoints as count
    from haltline import view
    from haltline.rules import in_force, topics_of

    names = tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    if not names:
        raise click.UsageError("--by names no label", ctx)
    begin = now_ms() - parse_duration(since)
    settings = settings_of(ctx, environment=environment, policy=policy)
    state = view.read_state(settings, topics=(view.CHANGES, view.VERDICTS, *topics_of(settings)), warn=warn)
    chosen = [
        state.told(one.id)
        for one in state.first.values()
        if one.time >= begin and one.environment in ("", settings.environment)
    ]
    rows = count(chosen, state.verdicts, in_force(settings, state, warn), names)
    if form == "json":
        from haltline.cli.output import json_text

        click.echo(json_text([record(row) for row in rows]))
    elif form == "csv":
        out = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
        out.writeheader()
        out.writerows(record(row) for row in rows)
    else:
        _table(rows, since, settings.environment)


def record(row: Touchpoint) -> dict[str, Any]:
    """What a program gets of one row; the first row is of all changes and has no label."""
    return {
        "by": row.by,
        "value": row.value,
        "changes": row.changes,
        "ai": row.ai,
        "unknown": row.unknown,
        "share": round(row.share, 4),
        "harmful": row.harm.harmful,
        "judged": row.harm.judged,
        "rest_harmful": row.rest.harmful,
        "rest_judged": row.rest.judged,
    }


def _table(rows: list[Touchpoint], since: str, environment: str) -> None:
    from haltline.cli.output import Kind, Printer

    whole = rows[0]
    click.echo(
        f"{whole.changes} changes reached {environment} in {since}: {whole.ai} with AI ({whole.share:.0%}), "
        f"{whole.unknown} of unknown origin"
    )
    if whole.changes:
        click.echo(f"harmful so far: {whole.harm} judged with AI, {whole.rest} of the others")
    if not rows[1:]:
        return
    click.echo()
    Printer(
        Kind(
            columns=(
                ("BY", lambda row: row.by, False),
                ("VALUE", lambda row: row.value, False),
                ("AI", lambda row: str(row.ai), False),
                ("OF", lambda row: str(row.changes if row.by not in _of_ai() else whole.changes), False),
                ("SHARE", lambda row: f"{row.share:.0%}", False),
                ("UNKNOWN", lambda row: str(row.unknown) if row.by not in _of_ai() else "", False),
                ("HARMFUL", lambda row: str(row.harm), False),
                ("OTHERS", lambda row: str(row.rest) if row.by not in _of_ai() else "", False),
            ),
            record=record,
            name=lambda row: f"{row.by}={row.value}",
        ),
        None,
    ).print(rows[1:])


def _of_ai() -> frozenset[str]:
    from deploy.touchpoints import OF_AI

    return OF_AI

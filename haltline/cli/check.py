"""`haltline check`: the gate's question as a command, for any pipeline that can read an exit code."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from deploy.change import Change, Kind, Origin, change_from_object, labels_of
from deploy.errors import DeployError
from deploy.gate import Answer, Decision, answer_to_object, decide
from haltline import view
from haltline.cli.options import connection, labels, now_ms, output, settings_of, text, warn
from haltline.cli.output import clean, json_text, yaml_text
from haltline.errors import HaltlineError
from haltline.settings import Settings

HELD = 3


@click.command()
@click.argument("file", required=False, metavar="[CHANGE.json]")
@click.option("-s", "--service", help="Service that the change is to.", callback=text)
@click.option("-e", "--environment", help="Where it goes.  [default: production, or the context's]", callback=text)
@click.option("--version", "version", help="Version that it brings.", callback=text)
@click.option("--change", "identity", help="Id of the change.", callback=text)
@click.option(
    "--revert-of", help="Id of the change that this one takes back; a freeze lets its revert through.", callback=text
)
@click.option("--origin", type=click.Choice([origin.value for origin in Origin]), help="Who or what made it.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="What it changes.")
@click.option("--author", help="Who is its author.", callback=text)
@click.option("-l", "--label", "extra", multiple=True, metavar="NAME=VALUE", help="One more label.", callback=labels)
@click.option("--policy", metavar="FILE", help="Policy, for the tier of the service.")
@output("json", "yaml")
@connection
@click.pass_context
def check(
    ctx: click.Context,
    file: str | None,
    service: str | None,
    environment: str | None,
    version: str | None,
    identity: str | None,
    revert_of: str | None,
    origin: str | None,
    kind: str | None,
    author: str | None,
    extra: dict[str, str],
    policy: str | None,
    form: str | None,
) -> None:
    """May this change go now? Exit code 0: it may; 3: frozen or held; 1: could not find out.

    \b
    Examples:
      haltline check --service checkout && ./deploy.sh
      haltline check --service checkout --version v3 --origin ai
      haltline check --service checkout --revert-of checkout-481     the way back is open
      haltline check change.json -o json                             the record that `send change` takes

    One line says why. `watch:` is a change that looks ill: its service waits some seconds, so ask again. What to do
    when it could not find out is for the pipeline to decide beforehand.
    """
    settings = settings_of(ctx, environment=environment, policy=policy)
    given = _from_file(file) if file else {}
    flags = {
        "service": service,
        "version": version,
        "id": identity,
        "reverts": revert_of,
        "kind": kind,
        "environment": environment,
    }
    record: dict[str, object] = {"id": "-", "time": now_ms(), "environment": settings.environment}
    record |= {name: value for name, value in given.items() if value not in (None, "")}
    record |= {name: value for name, value in flags.items() if value is not None}
    if not record.get("service"):
        raise click.UsageError("which change? give --service, or a file with the change", ctx)
    if origin or author:
        named = {"origin": origin, "author": author}
        known = record.get("provenance")
        provenance = dict(known) if isinstance(known, dict) else {}
        record["provenance"] = provenance | {name: value for name, value in named.items() if value}
    change = change_from_object(record)
    state = view.read_gate(settings, now_ms(), warn)
    answer = decide(state.freezes, _labels(change, settings, extra), now_ms(), state.verdicts.values())
    if form == "json":
        click.echo(json_text(answer_to_object(answer)))
    elif form == "yaml":
        click.echo(yaml_text(answer_to_object(answer)))
    else:
        click.echo(line(answer, change))
    ctx.exit(0 if answer.decision is Decision.ALLOW else HELD)


def line(answer: Answer, change: Change) -> str:
    """The answer as one line: `hold checkout in production: frozen by …`."""
    where = f"{change.service} in {change.environment}" if change.environment else change.service
    return clean(f"{answer.decision.value} {where}: {'; '.join(answer.reasons)}")


def _labels(change: Change, settings: Settings, extra: dict[str, str]) -> dict[str, tuple[str, ...]]:
    tier = None
    if settings.policy is not None:
        from deploy.policy import load_policy

        tier = load_policy(settings.policy)[0].tier_of(change.service)
    found = labels_of(change, tier)
    for name, value in extra.items():
        found[name] = (*found.get(name, ()), value)
    return found


def _from_file(file: str) -> dict[str, object]:
    try:
        raw = click.get_binary_stream("stdin").read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise HaltlineError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    try:
        record = msgspec.json.decode(raw, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HaltlineError(f"{file}: not a JSON object of a change: {error}") from None
    try:
        # A pipeline asks before the change begins, so the record may lack what only the start will tell.
        change_from_object(
            {"id": "-", "service": "-", "time": now_ms()} | {k: v for k, v in record.items() if v is not None}
        )
    except DeployError as error:
        raise HaltlineError(f"{file}: {error}") from None
    return record

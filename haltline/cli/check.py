"""`haltline check`: the gate's question as a command, for any pipeline that can read an exit code."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from deploy.change import Kind, Origin, change_from_object
from deploy.errors import DeployError
from deploy.gate import Answer, Decision, Request, answer_to_object
from haltline import gate
from haltline.cli.kinds import brief
from haltline.cli.options import Command, connection, labels, now_ms, output, settings_of, text, warn
from haltline.cli.output import clean, json_text, yaml_text
from haltline.errors import UnreadableInput
from haltline.settings import Settings

if TYPE_CHECKING:
    from deploy.plans import Plan

HELD, DENIED = 3, 4
#: Added to the exit code where haltline could not be reached: 13 is held, 14 denied without it.
AWAY = 10


def about_change(command: Command) -> Command:
    """The options that tell of the change that asks."""
    options = (
        click.option("-s", "--service", help="Service that the change is to.", callback=text),
        click.option(
            "-e", "--environment", help="Where it goes.  [default: production, or the context's]", callback=text
        ),
        click.option("--version", "version", help="Version that it brings.", callback=text),
        click.option("--change", "identity", help="Id of the change.", callback=text),
        click.option(
            "--revert-of",
            help="Id of the change that this one takes back; a freeze lets its revert through.",
            callback=text,
        ),
        click.option("--origin", type=click.Choice([origin.value for origin in Origin]), help="Who or what made it."),
        click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="What it changes."),
        click.option("--author", help="Who is its author.", callback=text),
        click.option(
            "-l", "--label", "extra", multiple=True, metavar="NAME=VALUE", help="One more label.", callback=labels
        ),
        click.option("--revision", help="Commit that is deployed; approvals are of one.", callback=text),
        click.option("--share", type=float, help="Share of the instances that this step wants, 0 to 1."),
        click.option(
            "--plan",
            "plan",
            metavar="FILE",
            help="Plan of Terraform, Kubernetes or CloudFormation; `-` is standard input.",
        ),
        click.option("--policy", metavar="FILE", help="Policy to answer by.  [default: the one on Kafka]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("file", required=False, metavar="[CHANGE.json]")
@about_change
@click.option("--dry-run", is_flag=True, help="Ask nobody and leave no record of it.")
@click.option(
    "--unreachable-code",
    type=click.IntRange(0, 125),
    default=0,
    metavar="CODE",
    envvar="HALTLINE_UNREACHABLE_CODE",
    help="Exit code of an allow that the policy gives while Kafka is away.  [default: 0, as the policy lets it go]",
)
@output("wide", "json", "yaml")
@connection
@click.pass_context
def check(
    ctx: click.Context,
    /,
    file: str | None,
    plan: str | None,
    policy: str | None,
    extra: dict[str, str],
    dry_run: bool,
    unreachable_code: int,
    form: str | None,
    **flags: Any,
) -> None:
    """May this change go now? Exit code 0: it may; 3: frozen or held; 4: denied; 1: could not find out.

    \b
    Examples:
      haltline check --service checkout && ./deploy.sh
      haltline check --service checkout --version v3 --origin ai
      haltline check --service checkout --revert-of checkout-481     the way back is open
      haltline check change.json -o json                             the record that `send change` takes
      terraform show -json tfplan | haltline check -s shop --plan -  nothing is destroyed unasked

    One line says why; `-o wide` says it rule by rule, with what would turn it. While Kafka is away the policy's
    `when_unreachable` answers, and the exit code is 13 for held and 14 for denied.
    """
    settings = settings_of(ctx, environment=flags["environment"], policy=policy)
    request = request_of(ctx, settings, file, plan, extra, flags)
    now = now_ms()
    answer = gate.ask(settings, request, now, warn)
    show(answer, form)
    if answer.source == "kafka" and not dry_run:
        gate.record(settings, answer, warn)
    ctx.exit(code_of(answer, unreachable_code))


def request_of(
    ctx: click.Context,
    settings: Settings,
    file: str | None,
    plan: str | None,
    extra: dict[str, str],
    flags: Mapping[str, Any],
) -> Request:
    """The change that a command line tells of: its file, and over that its options."""
    given = _from_file(file) if file else {}
    record: dict[str, Any] = {"id": "-", "time": now_ms(), "environment": settings.environment}
    record |= {name: value for name, value in given.items() if value not in (None, "")}
    named = {name: flags.get(option) for name, option in _FIELDS.items()}
    record |= {name: value for name, value in named.items() if value is not None}
    if not record.get("service"):
        raise click.UsageError("which change? give --service, or a file with the change", ctx)
    for section, options in _SECTIONS.items():
        own = {name: flags.get(name) for name in options if flags.get(name) is not None}
        known = record.get(section)
        if own:
            record[section] = {**(known if isinstance(known, dict) else {}), **own}
    if said := next((name for name in extra if name in _SAID_BY), None):
        raise click.UsageError(f"-l {said}=…: that is the change's own, say it by --{_SAID_BY[said]}", ctx)
    try:
        change = change_from_object(record)
    except DeployError as error:  # the file was read already, so it is an option
        raise click.UsageError(str(error), ctx) from None
    return Request(
        change=change,
        plan=read_plan_file(plan) if plan is not None else None,
        labels={name: (value,) for name, value in extra.items()},
    )


#: Fields of a change and the options that give them.
_FIELDS = {
    "service": "service",
    "version": "version",
    "id": "identity",
    "reverts": "revert_of",
    "kind": "kind",
    "environment": "environment",
}
_SECTIONS = {"provenance": ("origin", "author"), "vcs": ("revision",), "rollout": ("share",)}
#: The options that say what these labels say.
_SAID_BY = {
    name: name for name in ("service", "version", "kind", "environment", "origin", "author", "revision", "change")
} | {"reverts": "revert-of"}


def read_plan_file(name: str) -> Plan:
    """Read a plan; a large file is mapped rather than loaded."""
    from deploy.plans import LARGEST, read_plan

    try:
        if name == "-":
            return read_plan(click.get_binary_stream("stdin").read(LARGEST + 1))
        with Path(name).open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise UnreadableInput(f"{name}: the plan is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                return read_plan(view)
    except OSError as error:
        raise UnreadableInput(f"{name}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def code_of(answer: Answer, unreachable_code: int = 0) -> int:
    away = answer.source != "kafka"
    if answer.decision is Decision.ALLOW:
        return unreachable_code if away else 0
    return (HELD if answer.decision is Decision.HOLD else DENIED) + AWAY * away


def show(answer: Answer, form: str | None) -> None:
    if form == "json":
        click.echo(json_text(answer_to_object(answer)))
    elif form == "yaml":
        click.echo(yaml_text(answer_to_object(answer)))
    elif form == "wide":
        for row in page(answer):
            click.echo(clean(row))
    else:
        click.echo(line(answer))


def line(answer: Answer) -> str:
    """The answer as one line: `hold checkout in production: frozen by …`."""
    return clean(f"{_head(answer)}: {'; '.join(answer.reasons)}{_asked(answer)}")


def page(answer: Answer) -> list[str]:
    """The answer rule by rule, with what would turn it and the question whole."""
    rows = [f"{_head(answer)}  ({answer.id} by policy {answer.policy}, until {brief(answer.expires_at)})"]
    for word in answer.words:
        mark = "would" if word.observed else word.decision.value
        rows.append(f"  {mark:<6} {word.reason}")
        if word.turn and word.decision is not Decision.ALLOW:
            rows.append(f"         turned by: {word.turn}")
    if answer.question is not None:
        question = answer.question
        rows.append(f"  asked  {question.to}, until {brief(question.deadline)} ({question.id}): {question.asks}")
        rows += [f"         {one}" for one in question.evidence]
        rows.append(f"         otherwise: {question.alternative}")
        rows.append(f"         answered by: haltline approve {question.id}")
    return rows


def _head(answer: Answer) -> str:
    where = f"{answer.service} in {answer.environment}" if answer.environment else answer.service
    share = f", up to {answer.max_share:.0%} of instances" if answer.max_share is not None else ""
    return f"{answer.decision.value} {where}{share}"


def _asked(answer: Answer) -> str:
    question = answer.question
    return "" if question is None else f"; asked {question.to} until {brief(question.deadline)} ({question.id})"


def _from_file(file: str) -> dict[str, Any]:
    try:
        raw = click.get_binary_stream("stdin").read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    try:
        record = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{file}: not a JSON object of a change: {error}") from None
    try:
        # A pipeline asks before the change begins, so the record may lack what only the start will tell.
        change_from_object(
            {"id": "-", "service": "-", "time": now_ms()} | {k: v for k, v in record.items() if v is not None}
        )
    except DeployError as error:
        raise UnreadableInput(f"{file}: {error}") from None
    return record

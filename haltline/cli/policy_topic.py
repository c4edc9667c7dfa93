"""`haltline policy apply`, `show` and `history`: the policy that all gates and workers take from Kafka."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.policy import PolicyRecord, policy_id
from deploy.times import format_time
from haltline import broker, view
from haltline.cli.face import say
from haltline.cli.kinds import brief
from haltline.cli.options import connection, now_ms, output, settings_of, text, warn
from haltline.cli.output import Kind, Printer, clean, json_text
from haltline.errors import HaltlineError, NotFound
from haltline.rules import NONE, InForce
from haltline.settings import Settings

LINT = 3
#: What one record can hold with its envelope.
_LONGEST = 4 * 1024 * 1024


def _record(one: InForce) -> dict[str, object]:
    assert one.record is not None
    told = {"name": one.record.name, "by": one.record.by, "reason": one.record.reason, "text": one.record.text}
    return {"id": one.id, "since": format_time(one.since or 0), **told}


_KIND: Kind[InForce] = Kind(
    columns=(
        ("ID", lambda one: one.id, False),
        ("SINCE", lambda one: brief(one.since or 0), False),
        ("BY", lambda one: one.record.by if one.record is not None else "", False),
        ("FILE", lambda one: one.record.name if one.record is not None else "", False),
        ("MODE", lambda one: one.policy.mode.value, True),
        ("WARNINGS", lambda one: str(len(one.warnings)), True),
        ("REASON", lambda one: one.record.reason if one.record is not None else "", False),
    ),
    record=_record,
    name=lambda one: f"policy/{one.id}",
)


@click.command()
@click.argument("file", metavar="POLICY.yaml", type=click.Path(path_type=Path))
@click.option("--reason", default="", help="Why; it stands in the history.", callback=text)
@click.option("--by", help="Who puts it in force.  [default: your user name]", callback=text)
@click.option("--strict", is_flag=True, help="Not with warnings either.")
@click.option("--dry-run", is_flag=True, help="Check it and do nothing.")
@connection
@click.pass_context
def apply(ctx: click.Context, file: Path, reason: str, by: str | None, strict: bool, dry_run: bool) -> None:
    """Put a policy in force for every gate and worker that was not given a file. Prints its id.

    \b
    Examples:
      haltline policy apply policy.yaml --reason "two seniors for payments"
      haltline policy apply policy.yaml --dry-run

    It is checked first, and the cases beside it are run: a policy that is wrong, or answers its own cases otherwise
    than it must, is not put in force. Gates answer by it at once; workers watch by it what begins five seconds later,
    and what they watch already keeps its own. Exit code 1: it is wrong; 3: a case, or with --strict a warning.
    """
    settings = settings_of(ctx)
    body, identity, warnings = _checked(file)
    for line in warnings:
        warn(line)
    if warnings and strict:
        say(f"{file}: not put in force, there are warnings")
        ctx.exit(LINT)
    if not _cases_hold(file):
        ctx.exit(LINT)
    if dry_run:
        click.echo(f"would put {identity} in force")
        return
    from stream.wire.outgoing import encode_policy

    record = PolicyRecord(text=body, name=file.name, by=by or settings.user, reason=reason.strip(), time=now_ms())
    with broker.producer(settings) as client:
        broker.send(client, view.POLICIES, [encode_policy(record, identity)])
    click.echo(identity)


@click.command()
@click.argument("identity", required=False, metavar="[ID]", callback=text)
@output("yaml", "json")
@connection
@click.pass_context
def show(ctx: click.Context, identity: str | None, form: str | None) -> None:
    """Print the policy that is in force by its topic, or an earlier one, as it was written.

    \b
    Examples:
      haltline policy show > policy.yaml
      haltline policy show 3f2a9c0d1e4b
      haltline policy show -o json          with who put it in force, when and why
    """
    known = _known(settings_of(ctx))
    if not known:
        raise NotFound("no policy is in force by its topic; `haltline policy apply FILE` puts one there")
    found = [one for one in known if identity is None or one.id.startswith(identity)]
    if not found:
        raise NotFound(f"no policy {identity}; `haltline policy history` lists them")
    if form == "json":
        click.echo(json_text(_record(found[-1])))
        return
    assert found[-1].record is not None
    click.echo(found[-1].record.text, nl=not found[-1].record.text.endswith("\n"))


@click.command()
@output("wide", "json", "yaml", "name")
@connection
@click.pass_context
def history(ctx: click.Context, form: str | None) -> None:
    """List the policies that were put in force by the topic, the one that is in force last.

    \b
    Examples:
      haltline policy history
      haltline policy history -o wide
    """
    known = _known(settings_of(ctx))
    if not known and form not in ("json", "yaml", "name"):
        click.echo("no policy is in force by its topic", err=True)
    Printer(_KIND, form).print(known)


def _known(settings: Settings) -> list[InForce]:
    state = view.read_state(settings, topics=(view.POLICIES,), warn=warn)
    known = state.policies.all()
    for line in state.policies.refused():
        warn(f"policy refused, {known[-1].id if known else NONE.id} stays: {line}")
    return known


def _checked(file: Path) -> tuple[str, str, list[str]]:
    """The text of a policy, its id, and what is odd about it."""
    from deploy.policy.lint import lint
    from deploy.policy.read import parse_marked
    from deploy.policy.yaml_text import read_text

    body = read_text(file)
    if len(body.encode()) > _LONGEST:
        raise HaltlineError(f"{file}: {len(body.encode())} bytes, a policy has at most {_LONGEST}")
    found, warnings, marks = parse_marked(body, str(file))
    return body, policy_id(found), warnings + lint(found, marks)


def _cases_hold(file: Path) -> bool:
    """Whether the cases beside it, if there are any, are answered as they must be."""
    from deploy.cases import cases_of, run_cases

    cases = cases_of(file)
    if not cases.exists():
        return True
    wrong = [result for result in run_cases(cases) if result.wrong]
    for result in wrong:
        say(clean(f"{result.where}: {result.name}: {result.wrong}"))
    if wrong:
        say(f"{file}: not put in force, {len(wrong)} of its cases are answered otherwise than they must be")
    return not wrong

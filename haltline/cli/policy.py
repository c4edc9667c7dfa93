"""`haltline policy`: lint a policy, run its cases, see what another would answer otherwise, print its schema.

The commands that speak with Kafka are in `haltline.cli.policy_topic`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from haltline.cli.face import CONTEXT, LazyGroup, say
from haltline.cli.options import output
from haltline.cli.output import clean, json_line, json_text
from haltline.errors import HaltlineError

if TYPE_CHECKING:
    from deploy.gate import Answer

_HERE = "haltline.cli.policy"
LINT = 3


@click.group(
    cls=LazyGroup,
    sections={
        "Commands": {
            "check": (f"{_HERE}:check", "Say what is wrong with a policy, and what is odd"),
            "test": (f"{_HERE}:test", "Run the cases beside a policy"),
            "diff": (f"{_HERE}:diff", "Show which recorded changes another policy answers otherwise"),
            "schema": (f"{_HERE}:print_schema", "Print the JSON Schema that editors complete a policy by"),
        },
        "On Kafka": {
            "apply": (f"{_HERE}_topic:apply", "Put a policy in force for gates and workers"),
            "show": (f"{_HERE}_topic:show", "Print the policy that is in force"),
            "history": (f"{_HERE}_topic:history", "List the policies that were put in force"),
        },
    },
    context_settings=CONTEXT,
)
def policy() -> None:
    """The policy file: what may go when, written once and reviewed.

    \b
    Examples:
      haltline policy check policy.yaml
      haltline policy test policy.yaml                         the cases in policy.cases.yaml
      haltline policy diff old.yaml new.yaml --against changes.jsonl
      haltline policy schema > policy.schema.json
      haltline policy apply policy.yaml                        in force for every gate and worker
    """


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="POLICY.yaml...", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit with 3 where there are warnings, too.")
def check(files: tuple[Path, ...], strict: bool) -> None:
    """Say what is wrong with a policy by file, line and column, and warn of what is odd.

    \b
    Examples:
      haltline policy check policy.yaml
      haltline policy check --strict policies/*.yaml

    Exit code 0: it can be used; 1: it cannot; 3, with --strict: there are warnings.
    """
    from deploy.errors import InvalidPolicy
    from deploy.policy.lint import lint
    from deploy.policy.read import parse_marked
    from deploy.policy.yaml_text import read_text

    wrong = warned = 0
    for path in files:
        try:
            found, warnings, marks = parse_marked(read_text(path), str(path))
        except InvalidPolicy as error:
            click.echo(clean(f"{error}"))
            wrong += 1
            continue
        warnings += lint(found, marks)
        for line in warnings:
            click.echo(clean(f"{line} (warning)"))
        warned += len(warnings)
        if not warnings:
            click.echo(f"{path}: good")
    click.get_current_context().exit(1 if wrong else LINT if warned and strict else 0)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Show every case with its answer.")
def test(files: tuple[Path, ...], verbose: bool) -> None:
    """Run example cases: FILE is a policy with its cases beside it, or the cases themselves.

    \b
    Examples:
      haltline policy test policy.yaml            runs policy.cases.yaml
      haltline policy test -v policy.cases.yaml   shows each answer

    Exit code 0: every answer is as it must be; 3: one is not; 1: they could not be run.
    """
    from deploy.cases import cases_of, run_cases

    good = bad = 0
    for path in files:
        cases = path if path.stem.endswith(".cases") else cases_of(path)
        if not cases.exists() and cases != path:
            raise HaltlineError(f"{path} has no cases beside it; write them into {cases}")
        for result in run_cases(cases):
            if result.wrong:
                bad += 1
                click.echo(clean(f"{result.where}: {result.name}: {result.wrong}"))
            else:
                good += 1
                if verbose:
                    said = "refused" if result.answer is None else "; ".join(result.answer.reasons)
                    decision = "" if result.answer is None else f"{result.answer.decision.value}: "
                    click.echo(clean(f"ok {result.name}\n     {decision}{said}"))
    click.echo(f"{good + bad} cases: {good} as they must be, {bad} not")
    click.get_current_context().exit(LINT if bad else 0)


@click.command()
@click.argument("old", metavar="OLD.yaml", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW.yaml", type=click.Path(path_type=Path))
@click.option(
    "--against", required=True, multiple=True, metavar="CHANGES.jsonl[.gz]", type=click.Path(path_type=Path),
    help="Recorded changes; several times, or a folder of them.",
)  # fmt: skip
@output("json")
def diff(old: Path, new: Path, against: tuple[Path, ...], form: str | None) -> None:
    """Show which recorded changes the new policy would have answered otherwise, as each asked to start.

    \b
    Examples:
      haltline policy diff policy.yaml policy.new.yaml --against changes.jsonl
      haltline policy diff main.yaml mine.yaml --against recordings/ -o json

    Freezes are not in it: both policies say the same of them. Exit code 0 whatever differs.
    """
    from deploy.differ import difference_to_object, differences
    from deploy.policy import load_policy
    from stream.replay import read_changes

    sides = []
    for path in (old, new):
        found, warnings = load_policy(path)
        for line in warnings:
            say(f"warning: {line}")
        sides.append(found)
    changes = read_changes(against)
    asked = 0
    turned: Counter[tuple[str, str]] = Counter()
    for one in differences(changes, *sides):
        asked += 1
        if not one.differs:
            continue
        turned[one.old.decision.value, one.new.decision.value] += 1
        if form == "json":
            click.echo(json_line(difference_to_object(one)))
            continue
        click.echo(clean(f"{one.change.id} of {one.change.service}: {_said(one.old)} → {_said(one.new)}"))
    if form != "json":
        some = ", ".join(f"{count} from {was} to {now}" for (was, now), count in sorted(turned.items()))
        click.echo(f"{asked} changes asked, {sum(turned.values())} answered otherwise{f': {some}' if some else ''}")


def _said(answer: Answer) -> str:
    share = f" up to {answer.max_share:.0%}" if answer.max_share is not None else ""
    return f"{answer.decision.value}{share} ({answer.reasons[0]})"


@click.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of a policy.

    \b
    Examples:
      haltline policy schema > policy.schema.json
      # and at the head of policy.yaml, for the YAML language server:
      # yaml-language-server: $schema=policy.schema.json
    """
    from deploy.policy.schema import schema

    click.echo(json_text(schema()))

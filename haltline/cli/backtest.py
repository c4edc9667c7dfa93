"""`haltline backtest`: what haltline would have done in a recorded history, before it is allowed to stop anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.errors import DeployError
from haltline.cli.options import connection, output, settings_of, warn
from haltline.cli.output import Kind, Printer, clean, json_text
from haltline.errors import HaltlineError, UnreadableInput

if TYPE_CHECKING:
    from deploy.policy import Policy
    from stream.backtest import Backtest
    from stream.backtest.result import AtRate, Case, Metric

_FILES = click.Path(path_type=Path)


@click.command()
@click.option("--telemetry", multiple=True, type=_FILES, metavar="FILE|DIR", help="Telemetry, JSON lines.")
@click.option("--changes", multiple=True, type=_FILES, metavar="FILE|DIR", help="Changes, JSON lines.")
@click.option("--from-kafka", is_flag=True, help="Read both from the topics instead, from their beginning.")
@click.option(
    "--incidents", multiple=True, type=_FILES, metavar="FILE|DIR",
    help='What is known to have done harm: {"change": ID} or {"service", "starts_at", "ends_at"}, JSON lines.',
)  # fmt: skip
@click.option("--policy", type=_FILES, metavar="FILE", help="Policy to judge by.  [default: judge everything]")
@click.option(
    "--placebo", type=click.IntRange(1, 100_000), default=1_000, show_default=True,
    help="Harmless changes to put at quiet moments, at most, evenly spread.",
)  # fmt: skip
@click.option(
    "--injections", type=click.IntRange(1, 1_000), default=16, show_default=True,
    help="Moments at which each metric is harmed, at most.",
)  # fmt: skip
@click.option(
    "--goal", type=click.FloatRange(0.1, 500), default=5.0, show_default=True, help="False freezes per 1,000 to allow."
)
@click.option("--out", type=_FILES, metavar="DIR", help="Write backtest.json and the page backtest.html there.")
@output("wide", "json")
@connection
@click.pass_context
def backtest(
    ctx: click.Context,
    telemetry: tuple[Path, ...],
    changes: tuple[Path, ...],
    from_kafka: bool,
    incidents: tuple[Path, ...],
    policy: Path | None,
    placebo: int,
    injections: int,
    goal: float,
    out: Path | None,
    form: str | None,
) -> None:
    """Learn from your own history what haltline would have done, and what to set.

    \b
    Examples:
      haltline backtest --telemetry telemetry/ --changes changes.jsonl --out result
      haltline backtest --telemetry telemetry/ --changes changes.jsonl --incidents incidents.jsonl -o json
      haltline backtest --from-kafka --policy policy.yaml --out result

    How often it would have frozen for nothing (changes that never were, at quiet moments), which past incidents it
    would have caught, which metrics deserve to be guardrails, and a policy to paste. Changes that were rolled back,
    failed or were reverted count as harmful. Files as for `haltline replay`. Reading from Kafka leaves no trace there.
    Exit code 0 whatever was found, 2 on input that cannot be read.
    """
    if from_kafka == bool(telemetry or changes):
        raise click.UsageError("give --telemetry (and --changes), or --from-kafka")
    if not from_kafka and not telemetry:
        raise click.UsageError("--changes alone say nothing: give --telemetry too")
    from stream.backtest import Options, read_labels
    from stream.backtest import backtest as run
    from stream.errors import StreamError
    from stream.replay import read_changes, read_telemetry

    try:
        rules = _policy(policy)
        labels = read_labels(incidents)
        if from_kafka:
            from haltline.backtest.recording import read_recording

            recorded, columns = read_recording(settings_of(ctx), _progress, rules)
        else:
            recorded, columns = read_changes(changes), read_telemetry(telemetry, rules)
        if not any(len(one) for one in columns):
            raise UnreadableInput("no sample in this telemetry")
        options = Options(placebo=placebo, injections=injections, goal_per_1000=goal)
        found = run(recorded, columns, rules, labels, options, _progress)
    except (StreamError, DeployError) as error:
        raise UnreadableInput(str(error)) from None
    if out is not None:
        _write(found, out)
    _show(found, form, out)


def _policy(path: Path | None) -> Policy:
    from deploy.policy import Policy, load_policy

    if path is None:
        return Policy()
    rules, warnings = load_policy(path)
    for line in warnings:
        warn(line)
    return rules


def _progress(line: str) -> None:
    click.echo(f"haltline: {line}", err=True)


def _write(found: Backtest, out: Path) -> None:
    import msgspec

    from haltline.backtest.page import page

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "backtest.json").write_text(json_text(msgspec.to_builtins(found, str_keys=True)) + "\n", "utf-8")
        (out / "backtest.html").write_text(page(found), "utf-8")
    except OSError as error:
        raise HaltlineError(f"{error.filename or out}: {(error.strerror or str(error)).lower()}") from None


def _show(found: Backtest, form: str | None, out: Path | None) -> None:
    if form == "json":
        import msgspec

        click.echo(json_text(msgspec.to_builtins(found, str_keys=True)))
        return
    from haltline.backtest import words

    for line in words.headline(found):
        click.echo(clean(line))
    click.echo("\nfrozen for nothing, by error rate")
    Printer(_rates(), form).print(found.placebo.rates)
    if found.incidents.cases:
        click.echo("\nincidents")
        Printer(_cases(), form).print(found.incidents.cases)
    for one in found.incidents.stopped:
        click.echo(clean(f"frozen without known harm: {one.change} ({one.service}) {one.reason}"))
    click.echo("\nmetrics")
    Printer(_metrics(found.metrics), form).print(found.metrics)
    click.echo("\nwhat to set")
    for line in (*found.suggested.reasons, *(f"note: {note}" for note in found.notes)):
        click.echo(f"  {clean(line)}")
    click.echo("")
    for line in found.suggested.policy.splitlines():
        click.echo(clean(line))
    if out is not None:
        click.echo(f"wrote {out}/backtest.json and {out}/backtest.html", err=True)


def _rates() -> Kind[AtRate]:
    from haltline.backtest import words

    return Kind(
        columns=(
            ("ERROR_RATE", lambda one: f"{one.error_rate:g}", False),
            ("FROZEN", lambda one: f"{one.rate.hits} of {one.rate.of}", False),
            ("PER 1,000 [95 %]", lambda one: words.per_1000(one.rate), False),
        ),
        record=lambda _one: {},
        name=lambda one: str(one.error_rate),
    )


def _cases() -> Kind[Case]:
    from haltline.backtest import words

    return Kind(
        columns=(
            ("INCIDENT", lambda one: one.name, False),
            ("SERVICE", lambda one: one.service, False),
            ("KNOWN BY", lambda one: one.why, False),
            ("CAUGHT", words.caught, False),
            ("TOLD BY", words.told_by, False),
            ("AGAINST PEOPLE", words.against_people, False),
            ("SUGGESTED POLICY", words.suggested, False),
            ("BECAUSE", lambda one: one.reason, True),
        ),
        record=lambda _one: {},
        name=lambda one: one.name,
    )


def _metrics(metrics: Sequence[Metric]) -> Kind[Metric]:
    from haltline.backtest import words

    told = any(metric.spoke for metric in metrics)
    return Kind(
        columns=(
            ("METRIC", lambda one: one.metric, False),
            ("GUARDRAIL", lambda one: "yes" if one.guardrail else "", False),
            ("FALSELY PER 1,000 [95 %]", lambda one: words.per_1000(one.false), False),
            ("TOLD OF", lambda one: str(one.spoke), not told),
            ("FIRST", lambda one: str(one.first), not told),
            ("SEES", words.shifts, False),
            ("BECAUSE", lambda one: one.why, True),
        ),
        record=lambda _one: {},
        name=lambda one: one.metric,
    )

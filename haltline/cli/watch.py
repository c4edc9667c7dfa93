"""`haltline watch`: freezes and verdicts as they happen, a line each."""

from __future__ import annotations

import click

from deploy.freeze import Freeze, Mode, State, freeze_to_object, state_of
from deploy.scope import Matcher, covers, parse_scope
from deploy.times import format_time
from deploy.verdict import Verdict, verdict_to_object
from haltline import view
from haltline.cli import kinds
from haltline.cli.options import connection, now_ms, output, settings_of, text, warn
from haltline.cli.output import clean, json_line


@click.command()
@click.argument("matchers", nargs=-1, metavar="[MATCHER]...", callback=text)
@output("json")
@connection
@click.pass_context
def watch(ctx: click.Context, matchers: tuple[str, ...], form: str | None) -> None:
    """Follow freezes and verdicts as they happen, until Ctrl-C. Begins with what is frozen now.

    \b
    Examples:
      haltline watch
      haltline watch service=checkout
      haltline watch -o json | jq .reason
    """
    scope = parse_scope(matchers)
    settings = settings_of(ctx)
    topics = (view.FREEZES, view.ORDERS, view.VERDICTS, view.CHANGES)
    with view.view(settings, topics=topics, warn=warn) as seen:
        book = seen.state.freezes
        told: dict[str, State] = {}
        click.echo(f"watching kafka at {settings.bootstrap_servers}; Ctrl-C ends it", err=True)
        for freeze in book:
            told[freeze.id] = state_of(freeze, now_ms())
            if told[freeze.id] is not State.EXPIRED and _wanted(scope, kinds.freeze_labels(freeze, now_ms())):
                _say(freeze_line(freeze, told[freeze.id]), freeze_to_object(freeze), told[freeze.id], form)
        while True:
            for thing in seen.follow(0.25):
                if isinstance(thing, Verdict) and _wanted(scope, kinds.verdict_labels(thing, seen.state)):
                    _say(verdict_line(thing), verdict_to_object(thing), thing.state, form)
            # The clock moves freezes too: they begin and run out without a record.
            for freeze in book:
                now = now_ms()
                state = state_of(freeze, now)
                if told.get(freeze.id) is not state:
                    known = freeze.id in told
                    told[freeze.id] = state
                    if (known or state is not State.EXPIRED) and _wanted(scope, kinds.freeze_labels(freeze, now)):
                        _say(freeze_line(freeze, state), freeze_to_object(freeze), state, form)


def freeze_line(freeze: Freeze, state: State) -> str:
    scope = ", ".join(freeze.matchers)
    if state is State.EXPIRED:
        how = f"by {freeze.ended_by}" if freeze.ended_by else "its time is over"
        return f"{_time(freeze.ends_at)} ended   {freeze.id} {scope}: {how}"
    verb = "pending" if state is State.PENDING else "frozen " if freeze.mode is Mode.ENFORCE else "observe"
    by = freeze.caused_by or freeze.created_by
    until = kinds.brief(freeze.ends_at)
    return f"{_time(freeze.starts_at)} {verb} {freeze.id} {scope} until {until} by {by}: {freeze.reason}"


def verdict_line(verdict: Verdict) -> str:
    said, wait = verdict.state.value, kinds.wait(verdict)
    if wait:
        said += f", new starts {wait}"
    return f"{_time(verdict.time)} verdict {verdict.change} ({verdict.service}) {said}: {verdict.reason}"


def _time(milliseconds: int) -> str:
    return format_time(milliseconds)[11:19] + "Z"


def _wanted(scope: tuple[Matcher, ...], labels: kinds.Labels) -> bool:
    return not scope or covers(scope, labels)


def _say(line: str, record: dict[str, object], state: str, form: str | None) -> None:
    click.echo(json_line(record | {"state": str(state)}) if form == "json" else clean(line))

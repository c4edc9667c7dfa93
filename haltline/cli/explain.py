"""`haltline explain`: why a change was judged as it was, with the numbers, and what would turn it."""

from __future__ import annotations

import click

from deploy.evidence import Finding
from deploy.freeze import Freeze, Mode, State, state_of
from deploy.scope import parse_matcher
from deploy.verdict import VerdictState
from haltline import state as states
from haltline import view
from haltline.cli import classes, kinds
from haltline.cli.describe import Rows, of_freeze, of_verdict, show
from haltline.cli.options import connection, now_ms, settings_of, text, warn
from haltline.errors import NotFound
from haltline.rules import in_force, topics_of
from haltline.settings import Settings


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="CHANGE|FREEZE|class NAME", callback=text)
@click.option("--policy", metavar="FILE", help="Policy that says which classes there are.")
@connection
@click.pass_context
def explain(ctx: click.Context, words: tuple[str, ...], policy: str | None) -> None:
    """Say why: the verdict, the evidence with its numbers, the freeze it led to, and what would turn it.

    Of a class of changes: its harm rate beside that of the rest, and the changes behind it.

    \b
    Examples:
      haltline explain checkout-481
      haltline explain fz-0123456789ab
      haltline explain class tool=some-agent
    """
    kind, identity = _named(words)
    settings = settings_of(ctx, policy=policy)
    topics = (view.FREEZES, view.ORDERS, view.CHANGES, view.VERDICTS, *topics_of(settings))
    state = view.read_state(settings, topics=topics, warn=warn)
    if kind == "classes":
        show(classes.of_class(identity, state, in_force(settings, state, warn), now_ms()))
        return
    freeze = state.freezes.get(identity.removeprefix("freeze/"))
    change = freeze.caused_by if freeze is not None else identity.removeprefix("change/")
    if freeze is None and change not in state.changes and change not in state.verdicts:
        raise NotFound(
            f"no change or freeze {identity}; `haltline get changes` and `haltline get freezes --all` list them"
        )
    now = now_ms()
    freezes = [freeze] if freeze is not None else [one for one in state.freezes if one.caused_by == change]
    rows: Rows = []
    if change:
        rows += [("Change", change), *of_verdict(change, state, now)]
        rows += _latest(settings, change, state)
    for one in freezes:
        rows += of_freeze(one, now)
    show([*rows, *(("What turns it", line) for line in turns(change, freezes, state, now))])


def _named(words: tuple[str, ...]) -> tuple[str | None, str]:
    """The kind, where one is named, and the name: `class NAME`, `class/NAME` or a name alone."""
    first, slash, rest = words[0].partition("/")
    kind = kinds.kind_of(first) if slash or len(words) > 1 else None
    if len(words) > 2 or (len(words) == 2 and (slash or kind is None)):
        raise click.UsageError(f"{' '.join(words)!r} is not one thing; write CHANGE, FREEZE or class NAME")
    if kind is None:
        return None, words[0]
    return kind, words[1] if len(words) == 2 else rest


def _latest(settings: Settings, change: str, state: states.State) -> Rows:
    """The newest evidence of a change that is still being judged: its verdict record is only the last turn."""
    verdict, known = state.verdicts.get(change), state.changes.get(change)
    if known is None or (verdict is not None and (verdict.ended or verdict.state is VerdictState.HARMFUL)):
        return []
    began = state.began.get(change, known.time)
    with view.view(settings, topics=(view.EVIDENCE,), since={view.EVIDENCE: began}, warn=warn) as seen:
        reports = seen.state.reports.get(change, {})
    rows: Rows = []
    for service, report in sorted(reports.items()):
        silent = f", {report.silent} cannot yet" if report.silent else ""
        rows.append(("Looked at", f"{service} at {kinds.brief(report.time)}: {report.tests} signals speak{silent}"))
        strongest = sorted(report.findings, key=lambda one: one.log_p)[:3]
        rows += [("Strongest", _finding(one)) for one in strongest]
    return rows


def _finding(one: Finding) -> str:
    return f"{one.metric} against {one.control}: {one.reason}"


def turns(change: str, freezes: list[Freeze], state: states.State, now: int) -> list[str]:
    """What would change the answer, as things to do or to wait for."""
    lines = []
    verdict = state.verdicts.get(change) if change else None
    live = [one for one in freezes if state_of(one, now) is not State.EXPIRED]
    if verdict is not None and verdict.held_at(now):
        lines.append(f"new starts {kinds.wait(verdict)}: that ends by itself, and reverts may go now")
    if verdict is not None and verdict.state is VerdictState.WARMING:
        lines.append(
            "more samples: it ends harmful when the evidence passes the policy's error rate, healthy when it does not"
        )
    elif verdict is not None and verdict.state is VerdictState.INCONCLUSIVE:
        lines.append(
            "a longer history, or instances of the old version beside the new one, would give it something to compare"
        )
    for one in live:
        if one.mode is Mode.OBSERVE:
            lines.append(f"{one.id} is observed only; `mode: enforce` in the policy makes such a freeze hold")
            continue
        lines += [f"may go now: {_way_back(one, scope)}" for scope in one.passes]
        lines.append(f"{one.id} ends by itself at {kinds.brief(one.ends_at)} ({kinds.left(one, now)} left)")
        lines.append(f"`haltline unfreeze {one.id} --reason ...` ends it now")
    return lines


def _way_back(freeze: Freeze, scope: tuple[str, ...]) -> str:
    matchers = {str(matcher): matcher for matcher in map(parse_matcher, scope)}
    [first, *more] = matchers.values()
    if more or first.name != "reverts":
        return "what matches " + ", ".join(matchers)
    named = {one.name: one.value for one in map(parse_matcher, freeze.matchers) if one.operator == "="}
    service = f"--service {named['service']} " if "service" in named else ""
    if first.operator == "=":
        return f"its revert, `haltline check {service}--revert-of {first.value}`"
    return f"any revert, `haltline check {service}--revert-of CHANGE`"

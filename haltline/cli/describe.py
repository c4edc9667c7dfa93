"""`haltline describe`: everything about one thing, for a person."""

from __future__ import annotations

from collections.abc import Iterable

import click

from deploy.freeze import Freeze, state_of
from deploy.times import SECOND_MS
from deploy.verdict import NOBODY, OTHERS, Verdict
from haltline import view
from haltline.cli import classes, kinds, story
from haltline.cli.get import Resource
from haltline.cli.options import connection, now_ms, output, settings_of, text, warn
from haltline.cli.output import clean, json_text
from haltline.errors import NotFound
from haltline.rules import in_force, topics_of
from haltline.state import State

Rows = list[tuple[str, str]]
#: A smaller share of the blame is left out.
_WORTH_TELLING = 0.01
_WHO = {NOBODY: "nobody", OTHERS: "other changes"}


@click.command()
@click.argument("resource", type=Resource(), metavar="freeze|change|service|class|lane")
@click.argument("identity", metavar="ID", callback=text)
@click.option("--policy", metavar="FILE", help="Policy that says which classes and lanes there are.")
@output("json")
@connection
@click.pass_context
def describe(ctx: click.Context, resource: str, identity: str, policy: str | None, form: str | None) -> None:
    """Show all that is known about one freeze, change, service, class of changes or lane.

    \b
    Examples:
      haltline describe freeze fz-0123456789ab
      haltline describe change checkout-481          from commit to production, on one screen
      haltline describe change checkout-481 -o json
      haltline describe service checkout
    """
    if form == "json" and resource != "changes":
        raise click.UsageError(
            "-o json describes changes; `haltline get … -o json` has the record of anything else", ctx
        )
    topics: tuple[str, ...] = (view.FREEZES, view.ORDERS, view.CHANGES, view.VERDICTS)
    settings = settings_of(ctx, policy=policy)
    if resource in ("classes", "lanes"):
        topics += topics_of(settings)
    state = view.read_state(settings, topics=topics, warn=warn)
    identity = identity.rpartition("/")[2] if resource == "freezes" else identity
    now = now_ms()
    if resource == "freezes":
        freeze = state.freezes.get(identity)
        if freeze is None:
            raise NotFound(f"no freeze {identity}; `haltline get freezes --all` lists them")
        rows = of_freeze(freeze, now)
    elif resource == "classes":
        rows = classes.of_class(identity, state, in_force(settings, state, warn), now)
    elif resource == "lanes":
        rows = classes.of_lane(identity, state, in_force(settings, state, warn))
    elif resource == "services":
        rows = _of_service(identity, state, now)
    else:
        if identity not in state.changes and identity not in state.verdicts:
            raise NotFound(f"no change {identity}; `haltline get changes` lists them")
        if form == "json":
            click.echo(json_text(story.record(identity, state, now)))
            return
        rows = story.of_change(identity, state, now) if identity in state.changes else []
        rows += of_verdict(identity, state, now)
        rows += [
            ("Freeze", f"{freeze.id} {state_of(freeze, now).value}")
            for freeze in state.freezes
            if freeze.caused_by == identity
        ]
    show(rows)


def show(rows: Iterable[tuple[str, str]]) -> None:
    """Print `name: value` rows under each other; rows without a value are left out."""
    rows = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in rows), default=0) + 1
    for name, value in rows:
        click.echo(f"{name + ':' if name else '':{width}}  {clean(value)}")


def of_freeze(freeze: Freeze, now: int) -> Rows:
    rows = [
        ("Freeze", freeze.id),
        ("State", f"{state_of(freeze, now).value} ({kinds.left(freeze, now)})"),
        ("Mode", freeze.mode.value + ("" if freeze.mode == "enforce" else ": holds nothing")),
        ("Scope", ", ".join(freeze.matchers)),
        ("Starts", kinds.brief(freeze.starts_at)),
        ("Ends", kinds.brief(freeze.ends_at)),
        ("Ended by", freeze.ended_by),
        ("Level", str(freeze.level) if freeze.caused_by else ""),
        ("Trip", str(freeze.trip) if freeze.caused_by else ""),
        ("Caused by", freeze.caused_by),
        ("Created by", freeze.created_by),
        ("Reason", freeze.reason),
    ]
    return rows + [("Passes", ", ".join(scope)) for scope in freeze.passes]


def of_verdict(identity: str, state: State, now: int) -> Rows:
    verdict = state.verdicts.get(identity)
    if verdict is None:
        return [("Verdict", "none yet")]
    since = f"{kinds.brief(verdict.reached)} ({kinds.age(verdict.reached, now)} ago)"
    rows = [
        ("Verdict", f"{verdict.state.value} since {since}"),
        ("New starts", kinds.wait(verdict)),
        ("Because", verdict.reason),
        ("Strength", f"log e {verdict.log_e:.1f}, blame {verdict.blame:.2f}"),
        ("Newest sample", _newest(verdict, now)),
        ("Harm since", kinds.brief(verdict.onset) if verdict.onset is not None else ""),
    ]
    return (
        rows
        + [("Evidence", f"{one.service} {one.metric} against {one.control}: {one.reason}") for one in verdict.evidence]
        + [
            (f"Blame {one.blame:.2f}", f"{_WHO.get(one.change, one.change)}: {one.reason}")
            for one in verdict.shares
            if one.blame >= _WORTH_TELLING or one.change in (identity, NOBODY)
        ]
    )


def _newest(verdict: Verdict, now: int) -> str:
    """When the newest sample that a verdict rests on was taken, how long that is ago, and how late it came."""
    if verdict.newest_sample is None:
        return ""
    ago = f"{kinds.age(verdict.newest_sample, now)} ago" if verdict.newest_sample <= now else "ahead of this clock"
    late = f", came {kinds.span(verdict.sample_age_ms)} late" if verdict.sample_age_ms >= SECOND_MS else ""
    return f"{kinds.brief(verdict.newest_sample)} ({ago}{late})"


def _of_service(name: str, state: State, now: int) -> Rows:
    views = [one for one in kinds.services_of(state, now) if one.service == name]
    if not views:
        raise NotFound(f"no service {name} in any change or freeze; `haltline get services` lists them")
    rows: Rows = [("Service", name)]
    for one in views:
        rows += [("Environment", one.environment or "not named"), ("State", one.state)]
        rows += [
            ("Frozen by", f"{freeze.id} ({kinds.left(freeze, now)} left): {freeze.reason}") for freeze in one.frozen_by
        ]
    changes = sorted(
        (one for one in state.changes.values() if one.service == name), key=lambda one: (-one.time, one.id)
    )
    for change in changes[:10]:
        verdict = state.verdicts.get(change.id)
        said = verdict.state.value if verdict is not None else "no verdict"
        version = f" {change.version}" if change.version else ""
        rows.append(("Change", f"{change.id}{version} {change.phase.value} {kinds.age(change.time, now)} ago, {said}"))
    return rows

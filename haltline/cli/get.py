"""`haltline get`: lists, as kubectl lists, filtered by matchers, as amtool filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from deploy.change import Origin
from deploy.freeze import Freeze, state_of
from deploy.freeze import State as FreezeState
from deploy.policy import Policy
from deploy.scope import Matcher, covers, parse_matcher
from deploy.times import parse_duration
from haltline import view
from haltline.cli import classes, kinds
from haltline.cli.options import FORMATS, connection, now_ms, output, settings_of, text, warn
from haltline.cli.output import Kind, Printer
from haltline.errors import NotFound
from haltline.rules import in_force, topics_of
from haltline.state import State

_READ = {
    "freezes": (view.FREEZES, view.ORDERS),
    "changes": (view.CHANGES, view.VERDICTS),
    "verdicts": (view.VERDICTS, view.CHANGES),
    "services": (view.FREEZES, view.ORDERS, view.CHANGES, view.VERDICTS),
    "classes": (view.CHANGES, view.VERDICTS),
    "lanes": (view.CHANGES, view.VERDICTS),
}


class Resource(click.ParamType):
    """`freezes`, `freeze`, `fz`, …"""

    name = "resource"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        kind = kinds.kind_of(str(value))
        if kind is None:
            self.fail(f"{value!r} is not one of {', '.join(kinds.NAMES)}", param, ctx)
        return kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(kind) for kind in kinds.NAMES if kind.startswith(incomplete)]


class Filter:
    """Which things of a kind are wanted, from the words and options of the command line."""

    def __init__(
        self,
        kind: str,
        selectors: Sequence[str],
        *,
        every: bool,
        expired: bool,
        within: int | None,
        since: int | None = None,
    ) -> None:
        self._kind = kind
        self.matchers: list[Matcher] = []
        self.ids: list[str] = []
        for selector in _parts(kind, selectors):
            if any(operator in selector for operator in ("=", "!~")):
                self.matchers.append(parse_matcher(selector))
            else:
                self.ids.append(selector.rpartition("/")[2] if "/" in selector else selector)
        self._every, self._expired, self._within, self._since = every, expired, within, since

    def wants(self, identity: str, labels: Mapping[str, tuple[str, ...]], time: int, now: int) -> bool:
        if self.ids and identity not in self.ids:
            return False
        if self.matchers and not covers(self.matchers, labels):
            return False
        if self._since is not None and now - time > self._since:
            return False
        return self._within is None or abs(now - time) <= self._within

    def since(self, now: int) -> int | None:
        """The time (Unix ms) from which on things count, where `--within` or `--since` says so."""
        spans = [span for span in (self._within, self._since) if span is not None]
        return now - min(spans) if spans else None

    def wants_freeze(self, freeze: Freeze, now: int) -> bool:
        expired = state_of(freeze, now) is FreezeState.EXPIRED
        shown = expired if self._expired else (self._every or bool(self.ids) or not expired)
        return shown and self.wants(freeze.id, kinds.freeze_labels(freeze, now), freeze.ends_at, now)


def _parts(kind: str, selectors: Sequence[str]) -> list[str]:
    """A class is named by what its changes have in common: `origin=ai,tier=1` are two matchers."""
    if kind != "classes":
        return list(selectors)
    return [part for selector in selectors for part in selector.removeprefix("class/").split(",")]


@click.command()
@click.argument("resource", type=Resource(), metavar="freezes|changes|verdicts|services|classes|lanes")
@click.argument("selectors", nargs=-1, metavar="[ID|MATCHER]...", callback=text)
@output(*FORMATS)
@click.option("-w", "--watch", is_flag=True, help="Then print each one that changes.")
@click.option("-A", "--all", "every", is_flag=True, help="Expired freezes too.")
@click.option("--expired", is_flag=True, help="Expired freezes only.")
@click.option("--within", metavar="DURATION", help="Only what ends or happened this long before or after now.")
@click.option("--since", metavar="DURATION", help="Only what happened this long ago or later.")
@click.option("--origin", metavar="ORIGIN,...", help="Only changes of these origins.", callback=text)
@click.option("--policy", metavar="FILE", help="Policy that says which classes and lanes there are.")
@connection
@click.pass_context
def get(
    ctx: click.Context,
    resource: str,
    selectors: tuple[str, ...],
    form: str | None,
    watch: bool,
    every: bool,
    expired: bool,
    within: str | None,
    since: str | None,
    origin: str | None,
    policy: str | None,
) -> None:
    """List freezes, changes, verdicts, services, classes of changes or lanes.

    \b
    Examples:
      haltline get freezes                               what is frozen now or will be
      haltline get freezes --expired --within 8h         what ended in the last eight hours
      haltline get changes 'origin=~ai|mixed' -o wide    changes that an AI had a hand in
      haltline get changes --origin ai --since 7d        an AI's changes of the last week
      haltline get verdicts state=harmful -o json        for a program
      haltline get services --watch                      each service as its state changes
      haltline get classes state=accused -o wide         whose changes do more harm than the rest

    A MATCHER is NAME=VALUE, NAME!=VALUE, NAME=~PATTERN or NAME!~PATTERN; several must all hold.
    """
    if origin is not None:
        selectors = (*selectors, _of_origin(ctx, resource, origin))
    wanted = Filter(
        resource,
        selectors,
        every=every,
        expired=expired,
        within=parse_duration(within) if within else None,
        since=parse_duration(since) if since else None,
    )
    settings = settings_of(ctx, policy=policy)
    topics = _READ[resource]
    if resource in ("classes", "lanes"):
        topics += topics_of(settings)
    with view.view(settings, topics=topics, warn=warn) as seen:
        rules = in_force(settings, seen.state, warn) if resource in ("classes", "lanes") else Policy()
        kind = _kind(resource, seen.state, rules)
        printer: Printer[Any] = Printer(kind, form, stream=watch)
        chosen = _chosen(resource, seen.state, rules, wanted)
        printer.print(chosen)
        missing = [one for one in wanted.ids if one not in {_identity(resource, thing) for thing in chosen}]
        if missing and not watch:
            raise NotFound(f"no {resource} named {', '.join(missing)}; `haltline get {resource} --all` lists them")
        if not chosen and form not in ("json", "yaml", "name"):
            click.echo(f"no {resource}{_hint(resource, every)}", err=True)
        shown = {_key(resource, thing): _looks(resource, thing, kind) for thing in chosen}
        while watch:
            for _ in seen.follow(0.5):
                pass
            new = []
            for thing in _chosen(resource, seen.state, rules, wanted, ended=True):
                key, looks = _key(resource, thing), _looks(resource, thing, kind)
                known = shown.get(key)
                # A freeze that runs out is news only to someone who has seen it.
                if looks != known and (known is not None or thing in _chosen(resource, seen.state, rules, wanted)):
                    shown[key] = looks
                    new.append(thing)
            printer.print(new)


def _of_origin(ctx: click.Context, resource: str, given: str) -> str:
    """The matcher that `--origin ai,mixed` means."""
    if resource not in ("changes", "verdicts"):
        raise click.UsageError("--origin chooses among changes and verdicts only", ctx)
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in set(Origin):
            raise click.UsageError(f"--origin {name!r} is not one of {', '.join(Origin)}", ctx)
    return f"origin=~{'|'.join(names)}"


def _hint(resource: str, every: bool) -> str:
    return " active or pending; --all shows expired ones too" if resource == "freezes" and not every else ""


def _kind(resource: str, state: State, policy: Policy) -> Kind[Any]:
    table: dict[str, Callable[[], Kind[Any]]] = {
        "freezes": lambda: kinds.freezes(now_ms),
        "changes": lambda: kinds.changes(state, now_ms),
        "verdicts": lambda: kinds.verdicts(now_ms),
        "services": lambda: kinds.services(now_ms),
        "classes": lambda: classes.classes(now_ms),
        "lanes": lambda: classes.lanes(policy.breaker.error_rate),
    }
    return table[resource]()


def _chosen(resource: str, state: State, policy: Policy, wanted: Filter, *, ended: bool = False) -> list[Any]:
    """The things that are wanted, oldest first; with `ended` also freezes that would be but for having run out."""
    now = now_ms()
    if resource == "freezes":
        return [
            one
            for one in state.freezes
            if wanted.wants_freeze(one, now)
            or (ended and wanted.wants(one.id, kinds.freeze_labels(one, now), one.ends_at, now))
        ]
    if resource == "changes":
        changes = sorted(map(state.told, state.changes), key=lambda one: (one.time, one.id))
        return [one for one in changes if wanted.wants(one.id, kinds.change_labels(one, state), one.time, now)]
    if resource == "verdicts":
        verdicts = sorted(state.verdicts.values(), key=lambda one: (one.time, one.change))
        return [one for one in verdicts if wanted.wants(one.change, kinds.verdict_labels(one, state), one.time, now)]
    if resource == "classes":
        found = classes.classes_in(state, policy, wanted.since(now)).views()
        return [one for one in found if wanted.wants(one.name, classes.class_labels(one), now, now)]
    if resource == "lanes":
        lanes = classes.lanes_in(state, policy)
        return [one for one in lanes if wanted.wants(one.name, classes.lane_labels(one), now, now)]
    return [
        one
        for one in kinds.services_of(state, now)
        if wanted.wants(one.service, kinds.service_labels(one), one.change.time if one.change else now, now)
    ]


def _identity(resource: str, thing: Any) -> str:
    if resource == "services":
        return str(thing.service)
    if resource in ("classes", "lanes"):
        return str(thing.name)
    return str(thing.change if resource == "verdicts" else thing.id)


def _key(resource: str, thing: Any) -> tuple[str, str]:
    """What tells things of a kind apart: a service may be in several environments."""
    return _identity(resource, thing), thing.environment if resource == "services" else ""


def _looks(resource: str, thing: Any, kind: Kind[Any]) -> Any:
    """What makes a thing worth printing again: its record, with the state that the clock gives it."""
    if resource == "services":
        return thing.state, thing.environment, thing.frozen_by, thing.change, thing.verdict
    return kind.record(thing)

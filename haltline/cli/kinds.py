"""The kinds of things that `get`, `describe` and `watch` know, their columns, records and labels.

Classes of changes and lanes are in `haltline.cli.classes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from deploy.change import Change, change_to_object, labels_of
from deploy.freeze import Freeze, Mode, freeze_to_object, state_of
from deploy.freeze import State as FreezeState
from deploy.holds import holds_on
from deploy.scope import parse_scope
from deploy.times import SECOND_MS, format_duration, format_time
from deploy.verdict import Verdict, verdict_to_object
from haltline.cli.output import Kind
from haltline.state import State

Labels = Mapping[str, tuple[str, ...]]
#: What may stand for each kind on a command line.
NAMES = {
    "freezes": ("freeze", "freezes", "fz"),
    "changes": ("change", "changes", "ch"),
    "verdicts": ("verdict", "verdicts"),
    "services": ("service", "services", "svc"),
    "classes": ("class", "classes", "cl"),
    "lanes": ("lane", "lanes"),
}


class ServiceView(msgspec.Struct, frozen=True):
    """What is known of one service in one environment."""

    service: str
    environment: str
    frozen_by: tuple[Freeze, ...]
    change: Change | None
    verdict: Verdict | None

    @property
    def state(self) -> str:
        return "frozen" if self.frozen_by else "open"


def kind_of(name: str) -> str | None:
    """The kind that this word names."""
    return next((kind for kind, names in NAMES.items() if name in names), None)


def freezes(clock: Callable[[], int]) -> Kind[Freeze]:
    return Kind(
        columns=(
            ("ID", lambda one: one.id, False),
            ("STATE", lambda one: state_of(one, clock()).value, False),
            ("MODE", lambda one: one.mode.value, False),
            ("SCOPE", lambda one: ", ".join(one.matchers), False),
            ("LEFT", lambda one: left(one, clock()), False),
            ("STARTS", lambda one: brief(one.starts_at), True),
            ("ENDS", lambda one: brief(one.ends_at), True),
            ("LEVEL", lambda one: str(one.level), True),
            ("CAUSE", lambda one: one.caused_by or one.created_by, False),
            ("PASSES", lambda one: " or ".join(", ".join(scope) for scope in one.passes), True),
            ("REASON", lambda one: f"{one.reason} (ended by {one.ended_by})" if one.ended_by else one.reason, False),
        ),
        record=lambda one: freeze_to_object(one) | {"state": state_of(one, clock()).value},
        name=lambda one: f"freeze/{one.id}",
    )


def changes(state: State, clock: Callable[[], int]) -> Kind[Change]:
    def verdict(one: Change) -> str:
        known = state.verdicts.get(one.id)
        return known.state.value if known is not None else "-"

    def shown(one: Change) -> str:
        known = state.verdicts.get(one.id)
        held = hold(known, clock()) if known is not None else ""
        return f"{verdict(one)}, holds {held}" if held else verdict(one)

    def record(one: Change) -> dict[str, Any]:
        known = state.verdicts.get(one.id)
        until = known.hold_until if known is not None else None
        said = {} if known is None else {"verdict": verdict(one)}
        return change_to_object(one) | said | ({} if until is None else {"hold_until": format_time(until)})

    return Kind(
        columns=(
            ("ID", lambda one: one.id, False),
            ("SERVICE", lambda one: one.service, False),
            ("ENVIRONMENT", lambda one: one.environment, False),
            ("PHASE", lambda one: one.phase.value, False),
            ("KIND", lambda one: one.kind.value, True),
            ("VERSION", lambda one: one.version, False),
            ("PREVIOUS", lambda one: one.previous_version, True),
            ("ORIGIN", lambda one: one.provenance.origin.value, False),
            ("TOOLS", lambda one: ", ".join(one.provenance.tools), True),
            ("AUTHOR", lambda one: one.provenance.author, True),
            ("APPROVED-BY", lambda one: ", ".join(dict.fromkeys(who.who for who in one.provenance.approvers)), True),
            ("REVISION", lambda one: one.vcs.revision, True),
            ("REVERTS", lambda one: one.reverts, True),
            ("VERDICT", shown, False),
            ("AGE", lambda one: age(state.began.get(one.id, one.time), clock()), False),
        ),
        record=record,
        name=lambda one: f"change/{one.id}",
    )


def verdicts(clock: Callable[[], int]) -> Kind[Verdict]:
    return Kind(
        columns=(
            ("CHANGE", lambda one: one.change, False),
            ("SERVICE", lambda one: one.service, False),
            ("ENVIRONMENT", lambda one: one.environment, True),
            ("STATE", lambda one: one.state.value, False),
            ("HOLDS", lambda one: hold(one, clock()), False),
            ("LOG-E", lambda one: f"{one.log_e:.1f}", False),
            ("BLAME", lambda one: f"{one.blame:.2f}", False),
            ("SIGNALS", lambda one: str(len(one.evidence)), True),
            ("ENDED", lambda one: "yes" if one.ended else "no", True),
            ("AGE", lambda one: age(one.time, clock()), False),
            ("REASON", lambda one: one.reason, False),
        ),
        record=verdict_to_object,
        name=lambda one: f"verdict/{one.change}",
    )


def services(clock: Callable[[], int]) -> Kind[ServiceView]:
    return Kind(
        columns=(
            ("SERVICE", lambda one: one.service, False),
            ("ENVIRONMENT", lambda one: one.environment, False),
            ("STATE", lambda one: one.state, False),
            ("FROZEN-BY", lambda one: ", ".join(freeze.id for freeze in one.frozen_by), False),
            ("LAST-CHANGE", lambda one: one.change.id if one.change else "", False),
            ("VERSION", lambda one: one.change.version if one.change else "", True),
            ("VERDICT", lambda one: one.verdict.state.value if one.verdict else "", False),
            ("AGE", lambda one: age(one.change.time, clock()) if one.change else "", False),
        ),
        record=service_record,
        name=lambda one: f"service/{one.service}",
    )


def service_record(one: ServiceView) -> dict[str, Any]:
    record: dict[str, Any] = {
        "service": one.service,
        "environment": one.environment,
        "state": one.state,
        "frozen_by": [freeze_to_object(freeze) for freeze in one.frozen_by],
    }
    if one.change is not None:
        record["change"] = change_to_object(one.change)
    if one.verdict is not None:
        record["verdict"] = verdict_to_object(one.verdict)
    return record


def services_of(state: State, now: int) -> list[ServiceView]:
    """Every service that a change or the scope of a freeze names, by name."""
    last: dict[tuple[str, str], Change | None] = {}
    for one in sorted(state.changes.values(), key=lambda one: (one.time, one.id)):
        last[one.service, one.environment] = one
    for freeze in state.freezes.active(now):
        named = {one.name: one.value for one in parse_scope(freeze.matchers) if one.operator == "="}
        if "service" in named and not any(service == named["service"] for service, _ in last):
            last[named["service"], named.get("environment", "")] = None
    views = []
    for (service, environment), change in sorted(last.items(), key=lambda item: item[0]):
        labels = {"service": (service,), "environment": (environment,)}
        held = holds_on(state.freezes, labels, now).held_by
        verdict = state.verdicts.get(change.id) if change is not None else None
        views.append(ServiceView(service, environment, held, change, verdict))
    return views


def freeze_labels(one: Freeze, now: int) -> Labels:
    """What selects freezes: what their own matchers equal, and what they are."""
    named = {matcher.name: (matcher.value,) for matcher in parse_scope(one.matchers) if matcher.operator == "="}
    return named | {
        "id": (one.id,),
        "state": (state_of(one, now).value,),
        "mode": (one.mode.value,),
        "level": (str(one.level),),
        "caused_by": (one.caused_by,) if one.caused_by else (),
        "created_by": (one.created_by,),
    }


def change_labels(one: Change, state: State) -> Labels:
    verdict = state.verdicts.get(one.id)
    return {
        **labels_of(one),
        "id": (one.id,),
        "phase": (one.phase.value,),
        "verdict": (verdict.state.value,) if verdict is not None else (),
    }


def verdict_labels(one: Verdict, state: State) -> Labels:
    labels = labels_of(state.told(one.change)) if one.change in state.changes else {}
    return {
        **labels,
        "change": (one.change,),
        "service": (one.service,),
        "environment": (one.environment,),
        "state": (one.state.value,),
    }


def service_labels(one: ServiceView) -> Labels:
    return {"service": (one.service,), "environment": (one.environment,), "state": (one.state,)}


def left(freeze: Freeze, now: int) -> str:
    """How long a freeze still holds, or how long ago that ended."""
    state = state_of(freeze, now)
    if state is FreezeState.PENDING:
        return f"in {span(freeze.starts_at - now)}"
    return span(freeze.ends_at - now) if state is FreezeState.ACTIVE else f"{span(now - freeze.ends_at)} ago"


def hold(verdict: Verdict, now: int) -> str:
    """How long new starts still wait because of this verdict, empty where they do not."""
    if verdict.hold_until is None or not verdict.held_at(now):
        return ""
    return span(verdict.hold_until - now + SECOND_MS - 1) + ("" if verdict.hold_mode is Mode.ENFORCE else " (observed)")


def wait(verdict: Verdict) -> str:
    """`wait until 2026-11-21T10:20:15Z`: what a verdict says of new starts, empty where it says nothing."""
    if verdict.hold_until is None:
        return ""
    until = brief(verdict.hold_until)
    return f"wait until {until}" if verdict.hold_mode is Mode.ENFORCE else f"would wait until {until} (observed only)"


def age(time: int, now: int) -> str:
    return span(now - time) if time <= now else f"in {span(time - now)}"


def span(milliseconds: int) -> str:
    return format_duration(milliseconds // SECOND_MS * SECOND_MS)


def brief(time: int) -> str:
    return format_time(time)[:19] + "Z"

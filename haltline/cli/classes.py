"""Classes of changes and lanes for `get`, `describe` and `explain`, told again from the changes and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp
from typing import TYPE_CHECKING, Any

from deploy.policy import Policy
from deploy.times import format_time
from haltline.cli.kinds import age, brief
from haltline.cli.output import Kind
from haltline.errors import NotFound
from haltline.state import State

if TYPE_CHECKING:
    from deploy.classes import Classes, ClassView
    from deploy.lanes import Lane

Rows = list[tuple[str, str]]


def classes_in(state: State, policy: Policy, since: int | None = None) -> Classes:
    """The fold of every change and verdict known here; with `since` (Unix ms) of younger changes only."""
    from deploy.classes import classes_of

    starts = [one for one in state.starts() if since is None or one.time >= since]
    return classes_of(policy, starts, state.verdicts)


def lanes_in(state: State, policy: Policy) -> list[Lane]:
    from deploy.lanes import lanes_of

    return lanes_of(policy, state.starts(), state.verdicts)


def class_labels(one: ClassView) -> Mapping[str, tuple[str, ...]]:
    labels = dict(part.partition("=")[::2] for part in one.name.split(",") if "=" in part)
    return {name: (value,) for name, value in labels.items()} | {"class": (one.name,), "state": (one.standing.value,)}


def lane_labels(one: Lane) -> Mapping[str, tuple[str, ...]]:
    return {"lane": (one.name,), "strict": (str(one.strict).lower(),)}


def classes(clock: Callable[[], int]) -> Kind[ClassView]:
    return Kind(
        columns=(
            ("CLASS", lambda one: one.name, False),
            ("STATE", lambda one: one.standing.value, False),
            ("HARMFUL", lambda one: f"{one.harmful}/{one.changes}", False),
            ("RATE", lambda one: _rate(one.rate), False),
            ("REST", lambda one: f"{one.rest_harmful}/{one.rest}", False),
            ("REST-RATE", lambda one: _rate(one.rest_rate), False),
            ("DIFFERENCE", lambda one: _difference(one.difference), True),
            ("LOG-E", lambda one: f"{one.log_e:.1f}", False),
            ("NEEDS", lambda one: "" if one.needs is None else f"{one.needs:.1f}", False),
            ("ACCUSED", lambda one: "" if one.accused_at is None else f"{age(one.accused_at, clock())} ago", True),
            ("HARMS", lambda one: ", ".join(one.harms[-3:]), True),
        ),
        record=class_record,
        name=lambda one: f"class/{one.name}",
    )


def class_record(one: ClassView) -> dict[str, Any]:
    record: dict[str, Any] = {
        "class": one.name,
        "state": one.standing.value,
        "changes": one.changes,
        "harmful": one.harmful,
        "rate": list(one.rate),
        "rest": {"changes": one.rest, "harmful": one.rest_harmful, "rate": list(one.rest_rate)},
        "difference": list(one.difference),
        "log_e": one.log_e,
        "needs": one.needs,
        "reason": one.reason,
        "harms": list(one.harms),
    }
    return record if one.accused_at is None else record | {"accused_at": format_time(one.accused_at)}


def lanes(error_rate: float) -> Kind[Lane]:
    return Kind(
        columns=(
            ("LANE", lambda one: one.name, False),
            ("CHANGES", lambda one: str(one.changes), False),
            ("HARMFUL", lambda one: str(one.harmful), False),
            ("DISCOVERIES", lambda one: str(one.discoveries), False),
            ("FALSE-AT-MOST", lambda one: f"{one.false_share(error_rate):.0%}" if one.harmful else "", False),
            ("BUDGET", lambda one: f"{one.budget:.3g}", False),
            ("FREEZES-BY", lambda one: "discovery" if one.strict else "error rate", False),
        ),
        record=lambda one: lane_record(one, error_rate),
        name=lambda one: f"lane/{one.name}",
    )


def lane_record(one: Lane, error_rate: float) -> dict[str, Any]:
    return {
        "lane": one.name,
        "changes": one.changes,
        "harmful": one.harmful,
        "discoveries": one.discoveries,
        "false_at_most": one.false_share(error_rate),
        "false_discovery": one.budget,
        "strict": one.strict,
    }


def of_class(name: str, state: State, policy: Policy, now: int) -> Rows:
    """Everything about one class, with the changes behind it, and what would turn it."""
    book = classes_in(state, policy)
    known = {one.name: one for one in book.views()}
    if name not in known:
        raise NotFound(f"no class {name}; `haltline get classes` lists them")
    one = known[name]
    rows: Rows = [
        ("Class", one.name),
        ("State", one.standing.value + (f" since {brief(one.accused_at)}" if one.accused_at is not None else "")),
        ("Because", one.reason),
        ("Harm rate", f"{one.harmful} of {one.changes}: {_share(one.harmful, one.changes)} ({_rate(one.rate)})"),
        (
            "The rest",
            f"{one.rest_harmful} of {one.rest}: {_share(one.rest_harmful, one.rest)} ({_rate(one.rest_rate)})",
        ),
        ("Difference", f"{_difference(one.difference)}, each interval at 95 % and at every look"),
    ]
    members = book.members(name)
    said = {identity: state.verdicts[identity] for identity in members if identity in state.verdicts}
    states: dict[str, int] = {}
    for verdict in said.values():
        states[verdict.state.value] = states.get(verdict.state.value, 0) + 1
    rows.append(("Changes", ", ".join(f"{count} {word}" for word, count in sorted(states.items()))))
    for identity in reversed(one.harms):
        found = state.verdicts.get(identity)
        if found is not None:
            rows.append(("Harm", f"{identity} on {found.service} {age(found.reached, now)} ago: {found.reason}"))
    rows += _footprints(members, state, policy)
    return [*rows, *(("What turns it", line) for line in _turns(one))]


def _footprints(members: list[str], state: State, policy: Policy) -> Rows:
    from deploy.footprint import footprints, metrics_of

    changes = [state.first[identity] for identity in members]
    verdicts = {identity: state.verdicts[identity] for identity in members if identity in state.verdicts}
    metrics = metrics_of(policy, list(verdicts.values()))
    rows = footprints(changes, verdicts, metrics)
    if not rows:
        return []
    import numpy as np

    from detectors.footprint import LEAST, judge

    found = judge(np.array(rows, dtype=np.float64))
    if found.log_p is None or found.drift_log_p is None:
        return [("Footprints", f"{found.samples}, more than {LEAST} are needed to say anything of them")]
    about = ", ".join(("size", "pace", *metrics))
    return [
        (
            "Footprints",
            f"{found.samples} of {about}: the latest as usual with p={exp(found.log_p):.2g}, "
            f"no drift with p={exp(found.drift_log_p):.2g}; they tell, and stop nothing",
        )
    ]


def _turns(one: ClassView) -> list[str]:
    from deploy.classes import LEAST, LEAST_REST, Standing

    if one.standing is Standing.TOO_FEW:
        return [
            f"{max(0, LEAST - one.changes)} more changes of it and {max(0, LEAST_REST - one.rest)} more of the rest "
            "must end before anything is said"
        ]
    if one.standing is Standing.ACCUSED:
        return ["changes of it that end healthy beside harmful ones of the rest: its evidence fades, and it is let go"]
    if one.needs is None:
        return ["a harmful change of it: from then on it is compared with the rest"]
    return [f"more harm than the rest does: it is accused when log e, now {one.log_e:.1f}, reaches {one.needs:.1f}"]


def of_lane(name: str, state: State, policy: Policy) -> Rows:
    known = {one.name: one for one in lanes_in(state, policy)}
    if name not in known:
        raise NotFound(f"no lane {name}; `haltline get lanes` lists them")
    one = known[name]
    rate = policy.breaker.error_rate
    return [
        ("Lane", one.name),
        ("Changes", f"{one.changes} watched, {one.harmful} harmful, {one.discoveries} of these discoveries"),
        ("Discoveries", f"at most {one.budget:.3g} of them are expected to be false (e-LOND)"),
        ("Harmful", f"at most {one.false_share(rate):.0%} of them chance may have made ({rate:.3g} of all changes)"),
        (
            "Freezes",
            "only by discovery" if one.strict else "at the error rate of each change; discoveries are labelled",
        ),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _rate(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _difference(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.1%} to {interval[1]:+.1%}"

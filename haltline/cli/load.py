"""`haltline load`: how much people are asked and how busy the lanes are."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from deploy.people import People
from deploy.policy import Policy
from deploy.times import HOUR_MS, format_time
from deploy.traffic import DAY_MS, Traffic
from haltline import gate
from haltline.cli.kinds import span
from haltline.cli.options import connection, now_ms, output, settings_of, warn
from haltline.cli.output import Kind, Printer, json_text, yaml_text
from haltline.rules import named


class PersonLoad(msgspec.Struct, frozen=True):
    """One person in the last 24 hours; `open_until` (Unix milliseconds) is the first deadline still to come."""

    who: str
    role: str
    questions: int
    most_questions: int
    open: int
    open_until: int | None
    approvals: int
    most_approvals: int


class LaneLoad(msgspec.Struct, frozen=True):
    """One lane now; a limit of None is none, `cools_until` is None where it does not cool off."""

    lane: str
    running: int
    at_once: int | None
    started: int
    per_hour: int | None
    cools_until: int | None


class RoleLoad(msgspec.Struct, frozen=True):
    """Who may still be asked what needs a role; with nobody `free` the lane waits until `slow_until`."""

    role: str
    people: int
    free: int
    slow_until: int | None


@click.command()
@click.option("--policy", metavar="FILE", help="Policy with the people and the lanes.")
@output("json", "yaml")
@connection
@click.pass_context
def load(ctx: click.Context, policy: str | None, form: str | None) -> None:
    """Show how many questions each person had in 24 hours, how many approvals they gave, and how busy the lanes are.

    \b
    Examples:
      haltline load --policy policy.yaml
      haltline load -o json

    Whoever is at their ceiling is not asked any more; where everybody is, the lane slows down.
    """
    settings = settings_of(ctx, policy=policy)
    found, now = named(settings, warn), now_ms()
    with gate.watching(settings, now, warn, policy=None if found is None else found.policy) as (memory, _):
        rules, traffic = memory.policy, memory.traffic
    people, roles = people_of(rules, traffic, now), roles_of(rules, traffic, now)
    lanes = lanes_of(rules, traffic, now)
    if form in ("json", "yaml"):
        record = {name: list(map(_record, rows)) for name, rows in _named(people, roles, lanes).items()}
        click.echo(json_text(record) if form == "json" else yaml_text(record))
        return
    Printer(_people(now), None).print(people)
    click.echo()
    Printer(_roles(now), None).print(roles)
    if lanes:
        click.echo()
    Printer(_lanes(now), None).print(lanes)


def _named(
    people: list[PersonLoad], roles: list[RoleLoad], lanes: list[LaneLoad]
) -> dict[str, list[PersonLoad] | list[RoleLoad] | list[LaneLoad]]:
    return {"people": people, "roles": roles, "lanes": lanes}


def people_of(policy: Policy, traffic: Traffic, now: int) -> list[PersonLoad]:
    """Everybody whom the policy names, and who was asked or approved something; the busiest first."""
    people = People(policy)
    asked = traffic.questions(now - DAY_MS)
    names = {*policy.people, *(question.to for question in asked)}
    rows = []
    for who in names:
        own = [question.deadline for question in asked if question.to == who and question.deadline > now]
        rows.append(
            PersonLoad(
                who,
                people.role(who),
                len(traffic.questions_to(who, now - DAY_MS)),
                policy.questions.per_person,
                len(own),
                min(own, default=None),
                len({change for _, change in traffic.approvals(who, now - DAY_MS, now)}),
                policy.approvals.per_day,
            )
        )
    return sorted(rows, key=lambda row: (-row.questions, -row.approvals, row.who))


def lanes_of(policy: Policy, traffic: Traffic, now: int) -> list[LaneLoad]:
    """Every lane as it is now."""
    running = traffic.running(now)
    rows = []
    for lane in policy.lanes:
        pace, harm = lane.pace, traffic.harm(lane.name)
        until = harm[0] + pace.cool_off if pace is not None and harm is not None else None
        rows.append(
            LaneLoad(
                lane.name,
                sum(one.lane == lane.name for one in running),
                pace.at_once if pace is not None else None,
                len(traffic.starts(lane.name, now - HOUR_MS, now)),
                pace.per_hour if pace is not None else None,
                until if until is not None and until > now else None,
            )
        )
    return rows


def roles_of(policy: Policy, traffic: Traffic, now: int) -> list[RoleLoad]:
    """Every role that the policy asks for anything, from junior to senior."""
    people, most = People(policy), policy.questions.per_person
    roles = {rule.role for rule in policy.approvals.rules} | {policy.destructive.role or people.most_senior}
    rows = []
    for role in sorted(roles, key=("", *policy.approvals.roles).index):
        able = people.with_role(role)
        asked = [traffic.questions_to(who, now - DAY_MS) for who in able]
        full = [times for times in asked if len(times) >= most]
        slow = min((times[-most] + DAY_MS for times in full), default=None) if len(full) == len(able) else None
        rows.append(RoleLoad(role or "anybody named", len(able), len(able) - len(full), slow))
    return rows


def _people(now: int) -> Kind[PersonLoad]:
    return Kind(
        columns=(
            ("PERSON", lambda row: row.who, False),
            ("ROLE", lambda row: row.role, False),
            ("QUESTIONS 24H", lambda row: f"{row.questions}/{row.most_questions}", False),
            ("OPEN", lambda row: str(row.open), False),
            ("ANSWER WITHIN", lambda row: span(row.open_until - now) if row.open_until is not None else "", False),
            ("APPROVALS 24H", lambda row: f"{row.approvals}/{row.most_approvals}", False),
        ),
        record=_record,
        name=lambda row: row.who,
    )


def _lanes(now: int) -> Kind[LaneLoad]:
    return Kind(
        columns=(
            ("LANE", lambda row: row.lane, False),
            ("RUNNING", lambda row: _of(row.running, row.at_once), False),
            ("STARTED 1H", lambda row: _of(row.started, row.per_hour), False),
            ("COOLS OFF", lambda row: span(row.cools_until - now) if row.cools_until is not None else "", False),
        ),
        record=_record,
        name=lambda row: row.lane,
    )


def _roles(now: int) -> Kind[RoleLoad]:
    return Kind(
        columns=(
            ("ASKED OF", lambda row: row.role, False),
            ("FREE", lambda row: f"{row.free}/{row.people}", False),
            ("SLOWS DOWN FOR", lambda row: span(row.slow_until - now) if row.slow_until is not None else "", False),
        ),
        record=_record,
        name=lambda row: row.role,
    )


def _of(count: int, most: int | None) -> str:
    return f"{count}/{most}" if most is not None else str(count)


def _record(row: PersonLoad | LaneLoad | RoleLoad) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(row)
    for name in ("open_until", "cools_until", "slow_until"):
        if record.get(name) is not None:
            record[name] = format_time(record[name])
    return record

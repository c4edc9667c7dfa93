"""Which recorded changes did harm: those that people labelled, took back, or saw fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from deploy.change import Change, Phase
from deploy.errors import InvalidTime
from deploy.policy import Policy
from deploy.times import format_time, parse_time
from stream.backtest.quiet import History, Stretch
from stream.change_watch import ENDED
from stream.replay import UnreadableInput, read_lines

_FIELDS = ("change", "service", "environment", "starts_at", "ends_at", "name")


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What people know of one incident: the change that did it, or a window of time, of one service or of all."""

    name: str
    change: str = ""
    service: str = ""
    environment: str = ""
    starts_at: int | None = None
    ends_at: int | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Harm with the changes that may have done it; times in Unix ms.

    `why` is `labelled`, `window`, `rolled_back`, `failed` or `reverted`; `harm_at` when the harm began and `noticed_at`
    when people took the change back, where that is known.
    """

    name: str
    why: str
    service: str
    changes: tuple[str, ...]
    began_at: int
    harm_at: int | None = None
    noticed_at: int | None = None


def read_labels(paths: Sequence[Path]) -> list[Label]:
    """Read labels, JSON lines: `{"change": ID}` or `{"service": NAME, "starts_at": TIME, "ends_at": TIME}`.

    `name`, `environment`, and for a window without service all services, are optional; unknown fields are ignored.

    Raises:
        UnreadableInput: naming file and line.
    """
    return [_label(line, f"{path}:{number}") for path, number, line in read_lines(paths)]


def _label(line: bytes, where: str) -> Label:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableInput(f"{where}: incident: {error}") from None
    if not isinstance(record, dict):
        raise UnreadableInput(f'{where}: incident: a JSON object such as {{"change": ID}}, not {type(record).__name__}')
    given = {field: record[field] for field in _FIELDS if record.get(field) is not None}
    for field in ("starts_at", "ends_at"):
        if field in given:
            try:
                given[field] = parse_time(given[field])
            except InvalidTime as error:
                raise UnreadableInput(f"{where}: incident field `{field}`: {error}") from None
    if "change" not in given and not {"starts_at", "ends_at"} <= set(given):
        raise UnreadableInput(f"{where}: incident: needs `change`, or `starts_at` and `ends_at` of a window")
    named = given.get("change") or f"{given.get('service', 'everywhere')} {format_time(given['starts_at'])}"
    try:
        label = msgspec.convert({"name": named} | given, Label)
    except msgspec.ValidationError as error:
        raise UnreadableInput(f"{where}: incident: {error}") from None
    if label.starts_at is not None and label.ends_at is not None and label.ends_at < label.starts_at:
        raise UnreadableInput(f"{where}: incident: `ends_at` is before `starts_at`")
    return label


class Recorded(msgspec.Struct, frozen=True):
    """One change as recorded: its first record that is not a plan, and everything that was told of it later."""

    change: Change
    later: tuple[Change, ...]

    @property
    def ended_by(self) -> Change | None:
        return next((record for record in (self.change, *self.later) if record.phase in ENDED), None)


def recorded(changes: Iterable[Change]) -> dict[str, Recorded]:
    """The changes that were made, by id, in the order of time."""
    records: dict[str, list[Change]] = {}
    for change in sorted(changes, key=lambda one: (one.time, one.id)):
        if change.phase is not Phase.PLANNED:
            records.setdefault(change.id, []).append(change)
    return {identity: Recorded(told[0], tuple(told[1:])) for identity, told in records.items()}


def end_of(one: Recorded, policy: Policy, period: int) -> int:
    """When the watch of a change ends by itself."""
    return one.change.watch_until or one.change.time + policy.watch.length(period)


def incidents_of(
    made: Mapping[str, Recorded], labels: Sequence[Label], policy: Policy, periods: Mapping[str, int]
) -> tuple[list[Incident], list[Label]]:
    """The incidents with a change that may have done them, by time, and the labels without one.

    A window belongs to every change of its service, or of one that it calls, that was being watched when it began or
    came before it was over.
    """
    found: list[Incident] = []
    alone: list[Label] = []
    reverts = {one.change.reverts: one.change for one in made.values() if one.change.reverts}

    def noticed(identities: Iterable[str]) -> int | None:
        told = [made[identity].ended_by or reverts.get(identity) for identity in identities]
        return min((change.time for change in told if change is not None), default=None)

    for label in labels:
        if label.change:
            ids = [label.change] if label.change in made else []
        else:
            ids = [identity for identity, one in made.items() if _in_window(one, label, policy, periods)]
        if not ids:
            alone.append(label)
            continue
        first = made[ids[0]].change
        why = "labelled" if label.change else "window"
        found.append(
            Incident(
                name=label.name, why=why, service=label.service or first.service, changes=tuple(ids),
                began_at=min(made[one].change.time for one in ids), harm_at=label.starts_at, noticed_at=noticed(ids),
            )
        )  # fmt: skip
    known = {identity for incident in found for identity in incident.changes}
    for identity, one in made.items():
        end = one.ended_by
        if identity in known or (end is None and identity not in reverts):
            continue
        why = end.phase.value if end is not None else "reverted"
        found.append(
            Incident(
                name=identity, why=why, service=one.change.service, changes=(identity,), began_at=one.change.time,
                noticed_at=noticed([identity]),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (one.began_at, one.name)), alone


def _in_window(one: Recorded, label: Label, policy: Policy, periods: Mapping[str, int]) -> bool:
    change = one.change
    if label.starts_at is None or label.ends_at is None:
        return False
    if label.environment and change.environment and label.environment != change.environment:
        return False
    if label.service and change.service not in {label.service, *reached_from(label.service, policy)}:
        return False
    end = end_of(one, policy, periods.get(change.service, 0))
    return change.time <= label.ends_at and end >= label.starts_at


def reached_from(service: str, policy: Policy) -> set[str]:
    """The services that this one depends on, directly or not."""
    seen: set[str] = set()
    waiting = [service]
    while waiting:
        for called in policy.calls(waiting.pop()):
            if called not in seen:
                seen.add(called)
                waiting.append(called)
    return seen


def blocked_of(
    history: History, made: Mapping[str, Recorded], labels: Sequence[Label], policy: Policy
) -> list[Stretch]:
    """The stretches of time (Unix ms) in which something was going on with this service, a watch wide at both sides."""
    margin = policy.watch.length(history.period)
    stretches: list[Stretch] = []
    for one in made.values():
        change = one.change
        if change.service == history.service and _same(change.environment, history.environment):
            end = max([end_of(one, policy, history.period), *(record.time for record in one.later)])
            stretches.append((change.time - margin, end + margin))
    for label in labels:
        mine = not label.service or label.service in {history.service, *reached_from(history.service, policy)}
        if mine and _same(label.environment, history.environment) and label.starts_at is not None:
            stretches.append((label.starts_at - margin, (label.ends_at or label.starts_at) + margin))
    return stretches


def _same(one: str, other: str) -> bool:
    return not one or not other or one == other

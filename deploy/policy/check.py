"""What the types of a policy cannot say: ranges, names that must be known, what is given twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from deploy.errors import DeployError, InvalidMatcher
from deploy.policy.model import Approvals, Classes, Lane, Policy, Watch
from deploy.policy.yaml_text import Marks, Place
from deploy.scope import parse_matcher
from deploy.signature import public_key
from deploy.times import HOUR_MS, format_duration
from deploy.verdict import LONGEST_HOLD

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]*")
#: Of fewer samples nobody can tell who moves together with whom.
PEERS_LEAST = 480
#: So far back a gate reads what did harm, milliseconds.
LONGEST_COOL_OFF = 7 * 24 * HOUR_MS
#: What an unknown origin may be treated as. Human is not among them: the absence of a sign is no sign of a person.
UNKNOWN_AS = ("ai", "mixed", "unknown")


def check(policy: Policy, marks: Marks) -> None:
    """Refuse a policy that is well formed and cannot be meant.

    Raises:
        InvalidPolicy: `FILE:LINE:COLUMN: what is wrong; what would be valid`.
    """
    if policy.version != 1:
        raise marks.refuse(("version",), f"is {policy.version}; this haltline reads version 1")
    _watch(policy.watch, ("watch",), marks)
    if policy.peers.history and policy.peers.history < PEERS_LEAST:
        given = policy.peers.history
        raise marks.refuse(("peers", "history"), f"is {given}; 0 for no peers, or at least {PEERS_LEAST} samples")
    if policy.series.per_service < 1:
        raise marks.refuse(("series", "per_service"), f"is {policy.series.per_service}; at least 1")
    if policy.series.silent < HOUR_MS:
        raise marks.refuse(("series", "silent"), f"is {format_duration(policy.series.silent)}; at least 1h")
    _breaker(policy, marks)
    _guardrails(policy, marks)
    _classes(policy.classes, marks)
    _lanes(policy, marks)
    _tiers(policy, marks)
    _people(policy, marks)
    _approvals(policy.approvals, marks)
    _limits(policy, marks)


def _watch(watch: Watch, place: Place, marks: Marks) -> None:
    if watch.samples < 1:
        raise marks.refuse((*place, "samples"), f"is {watch.samples}; at least 1")
    if watch.at_most < watch.at_least:
        raise marks.refuse(place, "has `at_most` below `at_least`")


def _breaker(policy: Policy, marks: Marks) -> None:
    breaker = policy.breaker
    _rate(breaker.error_rate, ("breaker", "error_rate"), marks)
    # Where the file does not name it, it follows an error rate above its default.
    place: Place = ("breaker", "watch_rate")
    if place in marks and not breaker.error_rate <= breaker.watch_rate <= 0.5:
        raise marks.refuse(place, f"is {breaker.watch_rate}; between the error_rate, {breaker.error_rate}, and 0.5")
    if breaker.watch_hold > LONGEST_HOLD:
        given, most = format_duration(breaker.watch_hold), format_duration(LONGEST_HOLD)
        raise marks.refuse(("breaker", "watch_hold"), f"is {given}; at most {most}, what waits longer is frozen")


def _rate(rate: float, place: Place, marks: Marks) -> None:
    if not 0 < rate <= 0.5:
        raise marks.refuse(place, f"is {rate}; between 0 and 0.5")


def _guardrails(policy: Policy, marks: Marks) -> None:
    names: set[str] = set()
    for index, guardrail in enumerate(policy.guardrails):
        place: Place = ("guardrails", index)
        if guardrail.harm not in ("up", "down", "both"):
            raise marks.refuse((*place, "harm"), f"is {guardrail.harm!r}; valid are up, down and both")
        if bool(guardrail.value) == bool(guardrail.errors or guardrail.over):
            raise marks.refuse(place, "needs either `value`, or `errors` and `over`")
        if not guardrail.value and not (guardrail.errors and guardrail.over):
            raise marks.refuse(place, "needs both `errors` and `over`")
        if guardrail.name in names:
            raise marks.refuse((*place, "name"), f"{guardrail.name!r} is given twice")
        names.add(guardrail.name)
    for index, detector in enumerate(policy.detectors):
        # River takes seconds to import: only where the policy names it.
        from detectors.river_detector import check_detector

        try:
            check_detector(detector.river, detector.parameters)
        except ValueError as error:
            raise marks.refuse(("detectors", index, "river"), str(error)) from None
        if detector.name in names:
            raise marks.refuse(("detectors", index, "name"), f"{detector.name!r} is given twice")
        names.add(detector.name)


def _classes(classes: Classes, marks: Marks) -> None:
    _rate(classes.error_rate, ("classes", "error_rate"), marks)
    seen: set[tuple[str, ...]] = set()
    places: list[tuple[Place, tuple[str, ...]]] = [
        *((("classes", "by", index), (label,)) for index, label in enumerate(classes.by)),
        *((("classes", "products", index), labels) for index, labels in enumerate(classes.products)),
    ]
    for place, labels in places:
        if place[1] == "products" and len(set(labels)) < 2:
            raise marks.refuse(place, "needs at least two labels, such as [origin, tier]")
        for label in labels:
            if not _LABEL.fullmatch(label):
                raise marks.refuse(place, f"{label!r} is not the name of a label")
        if tuple(sorted(labels)) in seen:
            raise marks.refuse(place, f"{' and '.join(labels)} is given twice")
        seen.add(tuple(sorted(labels)))


def _lanes(policy: Policy, marks: Marks) -> None:
    names: set[str] = set()
    rails = {one.name for one in policy.guardrails}
    for index, lane in enumerate(policy.lanes):
        place: Place = ("lanes", index)
        if not lane.name or lane.name in names:
            raise marks.refuse((*place, "name"), f"{lane.name!r} is given twice" if lane.name else "is empty")
        names.add(lane.name)
        if not lane.match:
            raise marks.refuse((*place, "match"), 'is empty; write matchers such as origin=~"ai|mixed"')
        _match(lane.match, place, marks)
        if lane.false_discovery is not None:
            _rate(lane.false_discovery, (*place, "false_discovery"), marks)
        if lane.watch is not None:
            _watch(lane.watch, (*place, "watch"), marks)
        if lane.error_rate is not None:
            _rate(lane.error_rate, (*place, "error_rate"), marks)
        if lane.watch_rate is not None:
            _rate(lane.watch_rate, (*place, "watch_rate"), marks)
        for spot, name in enumerate(lane.guardrails):
            if name not in rails:
                raise marks.refuse((*place, "guardrails", spot), f"{name!r} is no guardrail; {_known(rails)}")
        _pace(lane, place, marks)


def _pace(lane: Lane, place: Place, marks: Marks) -> None:
    if lane.pace is None:
        return
    for name in ("at_once", "per_hour"):
        limit = getattr(lane.pace, name)
        if limit is not None and limit < 1:
            raise marks.refuse((*place, "pace", name), f"is {limit}; at least 1, a freeze is what stops a lane")
    if lane.pace.cool_off > LONGEST_COOL_OFF:
        given, most = format_duration(lane.pace.cool_off), format_duration(LONGEST_COOL_OFF)
        raise marks.refuse((*place, "pace", "cool_off"), f"is {given}; at most {most}, a freeze is what stops a lane")


def _match(texts: Iterable[str], place: Place, marks: Marks) -> None:
    for spot, text in enumerate(texts):
        try:
            parse_matcher(text)
        except InvalidMatcher as error:
            raise marks.refuse((*place, "match", spot), str(error)) from None


def _tiers(policy: Policy, marks: Marks) -> None:
    for name, tier in policy.tiers.items():
        place: Place = ("tiers", name)
        if not name.isdecimal():
            raise marks.refuse(place, "is no tier; tiers are numbers, 1 is the most critical")
        if tier.watch is not None:
            _watch(tier.watch, (*place, "watch"), marks)


def _people(policy: Policy, marks: Marks) -> None:
    whose: dict[str, str] = {}
    for who, person in policy.people.items():
        if person.role and person.role not in policy.approvals.roles:
            raise marks.refuse(("people", who, "role"), f"{person.role!r} is no role; {_known(policy.approvals.roles)}")
        for spot, key in enumerate(person.keys):
            try:
                public_key(key)
            except DeployError as error:
                raise marks.refuse(("people", who, "keys", spot), str(error)) from None
        for name in (who, *person.aliases):
            known = whose.setdefault(name.casefold(), who)
            if known != who:
                raise marks.refuse(("people", who), f"goes by {name!r}, as {known} does")
    owners: Mapping[str, Mapping[str, object]] = {"services": policy.services, "tiers": policy.tiers}
    for section, entries in owners.items():
        for key, entry in entries.items():
            for spot, owner in enumerate(getattr(entry, "owners", ())):
                if owner.casefold() not in whose:
                    place: Place = (section, key, "owners", spot)
                    raise marks.refuse(place, f"{owner!r} is nobody of `people`; {_known(policy.people)}")


def _approvals(approvals: Approvals, marks: Marks) -> None:
    place: Place = ("approvals",)
    if not approvals.roles or len(set(approvals.roles)) != len(approvals.roles):
        raise marks.refuse((*place, "roles"), "must be different roles, from junior to senior")
    for index, rule in enumerate(approvals.rules):
        here: Place = (*place, "rules", index)
        _match(rule.match, here, marks)
        _role(rule.role, approvals.roles, (*here, "role"), marks)
        if rule.count < 1:
            raise marks.refuse((*here, "count"), f"is {rule.count}; at least 1")
    if approvals.unknown not in UNKNOWN_AS:
        why = "; the absence of a sign is no sign of a person" if approvals.unknown == "human" else ""
        raise marks.refuse((*place, "unknown"), f"is {approvals.unknown!r}; valid are {', '.join(UNKNOWN_AS)}{why}")
    if not 0 <= approvals.least_confidence <= 1:
        raise marks.refuse((*place, "least_confidence"), f"is {approvals.least_confidence}; between 0 and 1")
    if not 0 < approvals.lines_per_second <= 1e6:
        raise marks.refuse((*place, "lines_per_second"), f"is {approvals.lines_per_second}; above 0, such as 10")
    if approvals.per_day < 1:
        raise marks.refuse((*place, "per_day"), f"is {approvals.per_day}; at least 1")
    if approvals.expires <= 0:
        raise marks.refuse((*place, "expires"), "is no time at all; such as 24h")


def _role(role: str, roles: Iterable[str], place: Place, marks: Marks) -> None:
    if role and role not in roles:
        raise marks.refuse(place, f"{role!r} is no role; {_known(roles)}")


def _limits(policy: Policy, marks: Marks) -> None:
    for index, canary in enumerate(policy.canaries):
        place: Place = ("canaries", index)
        _match(canary.match, place, marks)
        steps = canary.steps
        if not steps or list(steps) != sorted(set(steps)) or steps[-1] != 1:
            raise marks.refuse((*place, "steps"), "must grow and end at 1, such as [10%, 50%, 100%]")
    for index, limit in enumerate(policy.blast_radius):
        place = ("blast_radius", index)
        _match(limit.match, place, marks)
        for name in ("regions", "tiers", "concurrent"):
            given = getattr(limit, name)
            if given is not None and given < 1:
                raise marks.refuse((*place, name), f"is {given}; at least 1, a freeze is what stops everything")
        if limit.dependants is not None and limit.dependants < 0:
            raise marks.refuse((*place, "dependants"), f"is {limit.dependants}; at least 0")
    _role(policy.destructive.role, policy.approvals.roles, ("destructive", "role"), marks)
    if policy.destructive.count < 1:
        raise marks.refuse(("destructive", "count"), f"is {policy.destructive.count}; at least 1")
    if policy.questions.per_person < 1:
        raise marks.refuse(("questions", "per_person"), f"is {policy.questions.per_person}; at least 1")
    if policy.questions.deadline <= 0:
        raise marks.refuse(("questions", "deadline"), "is no time at all; such as 4h")


def _known(names: Iterable[str]) -> str:
    known = sorted(names)
    return f"known are {', '.join(known[:12])}" if known else "none is named"

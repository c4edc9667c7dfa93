"""Warnings for a policy that is well formed: rules that never match, that another hides, that lock everybody out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deploy.change import Change, Kind, Origin, labels_of
from deploy.lookalike import skeleton, spelt
from deploy.people import People
from deploy.policy.model import Policy
from deploy.policy.yaml_text import Marks, Place
from deploy.scope import Matcher, parse_scope

Scope = tuple[Matcher, ...]
#: Labels that only take these values; a matcher on another can never hold.
_VALUES = {
    "origin": frozenset(origin.value for origin in Origin),
    "kind": frozenset(kind.value for kind in Kind),
    "autonomy": frozenset({"suggest", "edit", "agent", "autonomous", ""}),
}
_BUILT_IN = frozenset(labels_of(Change(id="-", service="-", time=0), tier=0)) | {"region", "team"}


def lint(policy: Policy, marks: Marks) -> list[str]:
    """Every warning, `FILE:LINE:COLUMN: what is odd; what would be better`, in the order of the file."""
    found = [
        *_never(policy, marks),
        *_hidden(policy, marks),
        *_locked_out(policy, marks),
        *_idle(policy, marks),
        *_alike(policy, marks),
    ]
    return sorted(found, key=_at)


def _at(line: str) -> tuple[int, int]:
    found = re.search(r":(\d+):(\d+): ", line)
    return (int(found[1]), int(found[2])) if found is not None else (0, 0)


def _scopes(policy: Policy) -> Iterator[tuple[Place, Scope]]:
    """Every rule that matches, and where it stands."""
    for index, lane in enumerate(policy.lanes):
        yield ("lanes", index), parse_scope(lane.match)
    for index, rule in enumerate(policy.approvals.rules):
        yield ("approvals", "rules", index), parse_scope(rule.match)
    for index, canary in enumerate(policy.canaries):
        yield ("canaries", index), parse_scope(canary.match)
    for index, limit in enumerate(policy.blast_radius):
        yield ("blast_radius", index), parse_scope(limit.match)


def _never(policy: Policy, marks: Marks) -> Iterator[str]:
    values = _values(policy)
    for place, scope in _scopes(policy):
        where = marks.where((*place, "match"))
        for matcher in scope:
            known = values.get(matcher.name)
            if known is not None and not any(matcher.matches({matcher.name: (one,)}) for one in known):
                some = ", ".join(sorted(one for one in known if one)[:8])
                yield f"{where}: {matcher} can never match; {matcher.name} is one of {some or 'none'}"
            elif matcher.name not in _BUILT_IN:
                yield f"{where}: {matcher}: `{matcher.name}` is no built-in label; it must be the change's own"
        for one, other in _contradictions(scope, values):
            yield f"{where}: {one} and {other} can never both match"


def _values(policy: Policy) -> dict[str, frozenset[str]]:
    """Labels of which every value is known."""
    tiers = {str(one.tier) for one in policy.services.values() if one.tier is not None}
    return dict(_VALUES) | {"tier": frozenset(tiers | {""})}


def _contradictions(scope: Scope, values: dict[str, frozenset[str]]) -> Iterator[tuple[Matcher, Matcher]]:
    """Pairs of matchers on one label that no value of it fulfils both; labels of many values are left alone."""
    for index, one in enumerate(scope):
        for other in scope[index + 1 :]:
            if one.name != other.name or one.name in ("tool", "model", "approver", "region"):
                continue
            known = values.get(one.name, frozenset()) | {m.value for m in (one, other) if m.operator in ("=", "!=")}
            exact = "=" in (one.operator, other.operator) or one.name in values
            both = any(one.matches({one.name: (v,)}) and other.matches({one.name: (v,)}) for v in known)
            if exact and not both and all(any(m.matches({m.name: (v,)}) for v in known) for m in (one, other)):
                yield one, other


def _hidden(policy: Policy, marks: Marks) -> Iterator[str]:
    scopes = [parse_scope(lane.match) for lane in policy.lanes]
    values = _values(policy)
    for index, lane in enumerate(policy.lanes):
        for earlier in range(index):
            if _implies(scopes[index], scopes[earlier], values):
                hides = policy.lanes[earlier].name
                where = marks.where(("lanes", index))
                yield f"{where}: lane {lane.name} is shadowed by {hides} before it; put the narrower first"
                break
    people = People(policy)
    rules = policy.approvals.rules
    for index, rule in enumerate(rules):
        for other_index, other in enumerate(rules):
            if other_index == index or rule.count > other.count or not _no_less(people, policy, other.role, rule.role):
                continue
            same = (rule.role, rule.count, rule.match) == (other.role, other.count, other.match)
            if same and other_index > index:
                continue
            if _implies(parse_scope(rule.match), parse_scope(other.match), values):
                where = marks.where(("approvals", "rules", index))
                yield f"{where}: asks no more than approval rule {other_index + 1}, which holds wherever it does"
                break


def _no_less(people: People, policy: Policy, role: str, than: str) -> bool:
    ranks = ("", *policy.approvals.roles)
    return ranks.index(role) >= ranks.index(than)


def _implies(narrow: Scope, wide: Scope, values: dict[str, frozenset[str]]) -> bool:
    """Whether everything that `narrow` matches `wide` matches too, as far as matchers of one label can tell."""
    return all(any(_covered(one, other, values) for one in narrow) for other in wide)


def _covered(one: Matcher, other: Matcher, values: dict[str, frozenset[str]]) -> bool:
    if one == other:
        return True
    if one.name != other.name:
        return False
    if one.operator == "=":
        return other.matches({one.name: (one.value,)})
    known = values.get(one.name)
    if known is None:
        return False
    return all(other.matches({one.name: (v,)}) for v in known if one.matches({one.name: (v,)}))


def _locked_out(policy: Policy, marks: Marks) -> Iterator[str]:
    people = People(policy)
    for index, rule in enumerate(policy.approvals.rules):
        able = people.with_role(rule.role)
        where = marks.where(("approvals", "rules", index))
        who = f"{rule.role} or above" if rule.role else "named in `people`"
        if len(able) < rule.count:
            yield f"{where}: needs {rule.count} of {who}, there are {len(able)}: locks everybody out, the fixers too"
        elif len(able) == rule.count:
            only = f"only {', '.join(able)} {'is' if rule.count == 1 else 'are'} {who}"
            yield f"{where}: {only}: nobody can approve what is theirs"
    role = policy.destructive.role or people.most_senior
    able = people.with_role(role)
    if len(able) < policy.destructive.count:
        where = marks.where(("destructive",))
        needs = f"what destroys needs {policy.destructive.count} of {role}, there are {len(able)} in `people`"
        yield f"{where}: {needs}: it can never go"


def _idle(policy: Policy, marks: Marks) -> Iterator[str]:
    """What is written and does nothing."""
    used = {str(one.tier) for one in policy.services.values()}
    for tier in policy.tiers:
        if tier not in used:
            yield f"{marks.where(('tiers', tier))}: no service is of tier {tier}"
    for service, one in policy.services.items():
        for index, called in enumerate(one.calls):
            if called not in policy.services:
                where = marks.where(("services", service, "calls", index))
                yield f"{where}: {called} is called and is not among `services`"


def _alike(policy: Policy, marks: Marks) -> Iterator[str]:
    """Names that can be taken for one another: whoever reviews the policy reads one as the other."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for kind, owner, name, place in _names(policy):
        other_owner, other = seen.setdefault((kind, skeleton(name)), (owner, name))
        if other_owner != owner:
            yield f"{marks.where(place)}: {spelt(name)} looks like {spelt(other)}, which is another; rename one of them"


def _names(policy: Policy) -> Iterator[tuple[str, str, str, Place]]:
    """The kind of each name, whose it is, itself, and where it stands."""
    for who, person in policy.people.items():
        for name in (who, *person.aliases):
            yield "people", who, name, ("people", who)
    for kind, named in (("services", policy.services), ("environments", policy.environments)):
        for name in named:
            yield kind, name, name, (kind, name)

"""Touchpoints: where AI reached production in a period, with shares and the harm so far.

A change is touched where its origin is `ai` or `mixed`. `unknown` is counted apart: nobody can tell, and it is not the
rest. Shares are of all changes of the same value where that says something of each of them (service, tier, environment,
team), and of all changes where only a touched one has it (tool, model, autonomy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deploy.change import Change, Origin, labels_of
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState

#: Of these a change without AI has none.
OF_AI = frozenset({"tool", "model", "autonomy"})
DIMENSIONS = ("service", "tool", "model", "autonomy", "tier")
_HAND = (Origin.AI, Origin.MIXED)


class Harm(msgspec.Struct, frozen=True):
    """How many of some changes turned out harmful, of those that were judged harmful or healthy."""

    harmful: int = 0
    judged: int = 0

    def __str__(self) -> str:
        return f"{self.harmful}/{self.judged}"


class Touchpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one label: `changes` in all, `ai` of them touched, `unknown` of them nobody's; `share` of AI."""

    by: str
    value: str
    changes: int
    ai: int
    unknown: int
    share: float
    harm: Harm
    rest: Harm


def touchpoints(
    changes: Iterable[Change], verdicts: Mapping[str, Verdict], policy: Policy, by: Sequence[str] = DIMENSIONS
) -> list[Touchpoint]:
    """A row for all changes together (`by` and `value` empty), then for each value of each label, the most AI first."""
    everything = list(changes)
    groups: dict[tuple[str, str], list[Change]] = {}
    for one in everything:
        labels = labels_of(one, policy.tier_of(one.service))
        for name in by:
            if name in OF_AI and one.provenance.origin not in _HAND:
                continue
            for value in labels.get(name, ()):
                groups.setdefault((name, value), []).append(one)
    rows = [_row("", "", everything, verdicts, len(everything))]
    found = [
        _row(name, value, members, verdicts, len(everything) if name in OF_AI else len(members))
        for (name, value), members in groups.items()
    ]
    found.sort(key=lambda one: (by.index(one.by), -one.ai, -one.changes, one.value))
    return rows + [one for one in found if one.ai]


def _row(by: str, value: str, members: Sequence[Change], verdicts: Mapping[str, Verdict], of: int) -> Touchpoint:
    ai = [one for one in members if one.provenance.origin in _HAND]
    unknown = [one for one in members if one.provenance.origin is Origin.UNKNOWN]
    rest = [one for one in members if one.provenance.origin not in _HAND]
    return Touchpoint(
        by=by,
        value=value,
        changes=len(members),
        ai=len(ai),
        unknown=len(unknown),
        share=len(ai) / of if of else 0.0,
        harm=_harm(ai, verdicts),
        rest=_harm(rest, verdicts),
    )


def _harm(changes: Iterable[Change], verdicts: Mapping[str, Verdict]) -> Harm:
    said = [verdicts[one.id].state for one in changes if one.id in verdicts]
    harmful = sum(state is VerdictState.HARMFUL for state in said)
    return Harm(harmful, harmful + sum(state is VerdictState.HEALTHY for state in said))

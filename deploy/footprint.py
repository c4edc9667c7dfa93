"""The footprint of a change: one vector of what it moved, how large it was, and how soon it followed the one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, log1p

from deploy.change import Change
from deploy.evidence import Finding
from deploy.policy import Policy
from deploy.verdict import Verdict

#: Metrics of a footprint at most.
_WIDEST = 8
_UNKNOWN = float("nan")


def metrics_of(policy: Policy, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The policy's guardrails; without any, the metrics that verdicts name most often."""
    if policy.guardrails:
        return tuple(one.name for one in policy.guardrails[:_WIDEST])
    named = Counter(metric for verdict in verdicts for metric in {one.metric for one in verdict.evidence})
    return tuple(sorted(sorted(named), key=lambda metric: -named[metric])[:_WIDEST])


def footprints(
    changes: Sequence[Change], verdicts: Mapping[str, Verdict], metrics: Sequence[str]
) -> list[tuple[float, ...]]:
    """One row for each of these changes, in order, whose verdict ended: its size, pace and effects.

    NaN is not known. An effect is relative to what was expected where that is known, and 0 where nothing was unusual.
    """
    rows = []
    before: int | None = None
    for change in changes:
        verdict = verdicts.get(change.id)
        pace = _UNKNOWN if before is None else log1p(max(0, change.time - before) / 1_000)
        before = change.time
        if verdict is not None and verdict.ended:
            rows.append((_size(change), pace, *(_effect(verdict.evidence, metric) for metric in metrics)))
    return rows


def _size(change: Change) -> float:
    lines = [count for count in (change.vcs.lines_added, change.vcs.lines_removed) if count is not None]
    return log1p(max(0, sum(lines))) if lines else _UNKNOWN


def _effect(evidence: Sequence[Finding], metric: str) -> float:
    """The strongest finding's effect, squashed: an effect ten times the level is not ten times as telling as once."""
    found = min((one for one in evidence if one.metric == metric), key=lambda one: one.log_p, default=None)
    if found is None:
        return 0.0
    size = abs(found.effect / found.expected) if found.expected else abs(found.effect)
    return log(1.0 + size) * (1.0 if found.effect >= 0 else -1.0)

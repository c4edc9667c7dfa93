"""Which metrics deserve to be guardrails: those that, named together, would have told of the most incidents.

Naming metrics gives them most of the error rate. A metric may be named if it does not speak falsely more than twice as
often as the goal, and told of an incident by itself or shows its injected shifts at half of the moments. Of these the
set is grown by the one that adds most, while it adds: most incidents caught at an error rate that keeps the goal for
the placebo changes, then the strongest evidence of them, as strong evidence is early. Without incidents those that see
the most are taken. At most five: each one more leaves the others less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log

import msgspec
import numpy as np

from deploy.policy import Effect, Guardrail
from detectors.combine import ALONE_PAST, service_log_p
from stream.backtest.result import Metric
from stream.signals import SignalId

ERROR_RATES = (0.0005, 0.001, 0.002, 0.004, 0.007)
"""Above the last a p-value of rank alone is enough, and false freezes rise steeply."""
MOST = 5
_SEEN = 0.5
#: Evidence beyond this is no stronger: one incident that nobody could miss must not decide for all.
_CERTAIN = -12.0
_CLEARLY = 1.03
_STEP = 5
_EFFECTS = (5, 25)

Heard = Sequence[tuple[str, float]]
"""The log p of each signal of a service in one watch, under the name of its metric."""


class Evidence(msgspec.Struct, frozen=True):
    """What each signal said by itself in each placebo change, and in the changes of each incident."""

    placebos: Sequence[Heard]
    incidents: Sequence[Sequence[Heard]]


def choose(metrics: Sequence[Metric], evidence: Evidence, goal_per_1000: float) -> list[Metric]:
    """The metrics with `guardrail` and `why` filled in, the chosen ones first, then those worth more."""
    ranked = sorted(metrics, key=_worth, reverse=True)
    refused = {metric.metric: _refused(metric, goal_per_1000) for metric in ranked}
    able = [metric.metric for metric in ranked if not refused[metric.metric]]
    chosen = _grown(able, evidence, goal_per_1000) if evidence.incidents else able[:MOST]
    judged = []
    for metric in ranked:
        named = metric.metric in chosen
        why = _earned(metric) if named else refused[metric.metric] or "adds nothing to those chosen"
        judged.append(msgspec.structs.replace(metric, guardrail=named, why=why))
    return sorted(judged, key=lambda one: chosen.index(one.metric) if one.guardrail else MOST)


def _grown(able: Sequence[str], evidence: Evidence, goal_per_1000: float) -> list[str]:
    chosen: list[str] = []
    best = _score(chosen, evidence, goal_per_1000)
    while len(chosen) < MOST:
        scores = {one: _score([*chosen, one], evidence, goal_per_1000) for one in able if one not in chosen}
        # Of equal ones the first, which is worth more by itself.
        name = max(scores, key=lambda one: scores[one], default=None)
        if name is None or not _adds(scores[name], best):
            break
        chosen, best = [*chosen, name], scores[name]
    return chosen


def _adds(new: tuple[int, float], old: tuple[int, float]) -> bool:
    """One more incident, or clearly stronger evidence of as many."""
    return new[0] > old[0] or (new[0] == old[0] and new[1] > _CLEARLY * old[1])


def _score(named: Sequence[str], evidence: Evidence, goal_per_1000: float) -> tuple[int, float]:
    """Incidents caught at the largest error rate that keeps the goal, and the mean strength of what they showed."""
    placebos = [_combined(heard, named) for heard in evidence.placebos]
    allowed = floor(goal_per_1000 * len(placebos) / 1_000)
    kept = [log(rate) for rate in ERROR_RATES if sum(log_p <= log(rate) for log_p in placebos) <= allowed]
    incidents = [min((_combined(heard, named) for heard in changes), default=0.0) for changes in evidence.incidents]
    strength = -sum(max(log_p, _CERTAIN) for log_p in incidents) / max(len(incidents), 1)
    return sum(log_p <= max(kept, default=_CERTAIN) for log_p in incidents), round(strength, 2)


def _combined(heard: Heard, named: Sequence[str]) -> float:
    if not heard:
        return 0.0
    return service_log_p(
        np.array([log_p for _, log_p in heard]),
        guardrail=np.array([metric in named for metric, _ in heard]),
        alone=ALONE_PAST,
    )


def _worth(metric: Metric) -> tuple[float, ...]:
    seen = [shift.share for shift in metric.shifts]
    return metric.spoke, metric.first, sum(seen) / len(seen) if seen else 0.0, -metric.false.hits


def _refused(metric: Metric, goal_per_1000: float) -> str:
    false = metric.false
    if not false.of:
        return "never had enough history to speak"
    if false.per_1000 is not None and false.per_1000 > 2 * goal_per_1000 and false.hits > 1:
        return f"speaks falsely: {false.hits} of {false.of}"
    if not metric.spoke and max((shift.share for shift in metric.shifts), default=0.0) < _SEEN:
        return "told of no incident, and sees no shift at half of the moments"
    return ""


def _earned(metric: Metric) -> str:
    told = f"told of {metric.spoke} incidents by itself, first in {metric.first}" if metric.spoke else ""
    sees = f"sees {metric.sees}" if metric.sees else ""
    return ", ".join(part for part in (told, sees) if part)


def as_policy(metrics: Sequence[Metric], signals: Mapping[str, SignalId]) -> tuple[Guardrail, ...]:
    """The chosen metrics as guardrails; what the policy said of one already stays."""
    found = []
    for metric in metrics:
        if metric.guardrail:
            signal = signals[metric.metric]
            harm = "down" if metric.bounded and signal.harm == "both" else signal.harm
            effect = signal.effect if signal.effect is not None else _effect(metric)
            rail = Guardrail(name=metric.metric, harm=harm, least_effect=effect)
            named = {"errors": signal.metric, "over": signal.over} if signal.over else {"value": signal.metric}
            found.append(msgspec.structs.replace(rail, **named))
    return tuple(found)


def _effect(metric: Metric) -> Effect | None:
    """Half of the least effect with which it told of an incident; None leaves the detector's own floor."""
    if metric.least is None or metric.bounded:
        return None
    if metric.ratio:
        return Effect(max(0.002, floor(500 * metric.least) / 1_000), False)
    low, high = _EFFECTS
    per_cent = min(_STEP * floor(50 * metric.least / _STEP), high)
    return Effect(per_cent / 100, True) if per_cent > low else None

"""Puts a simulated incident through the pure pipeline, and says who was ranked first, frozen when, blamed how much."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import yaml

from bench.shops import Incident
from deploy.freeze import Freeze, freeze_to_object
from deploy.policy import Policy, parse_policy
from deploy.verdict import Verdict, verdict_to_object
from stream.columns import Columns
from stream.replay import decide


@dataclass(frozen=True, eq=False)
class Judged:
    """The last verdict and the first freeze (Unix ms) of each change of an incident, and the seconds it took."""

    incident: Incident
    last: Mapping[str, Verdict]
    frozen: Mapping[str, int]
    said: bytes
    seconds: float

    def score(self, change: str) -> float:
        """What ranks changes by the records' promise: `max(log_e, 0) * blame`."""
        return max(self.last[change].log_e, 0.0) * self.last[change].blame

    def first(self, by: str = "score") -> bool | None:
        """Whether the guilty change alone is at the top, by `score` or by `blame`; None where nobody is guilty."""
        guilty = self.incident.guilty
        if guilty is None:
            return None
        rank = {one: self.score(one) if by == "score" else self.last[one].blame for one in self.last}
        return all(rank[guilty] > rank[other] for other in rank if other != guilty)

    @property
    def nobody(self) -> bool:
        """Whether it says that none of them did it: nothing frozen, and no change blamed more than nobody."""
        return not self.frozen and all(one.blame <= _nobody(one) for one in self.last.values())


def _nobody(verdict: Verdict) -> float:
    return next((share.blame for share in verdict.shares if not share.change), 1.0)


def policy(guardrails: Sequence[Mapping[str, Any]], calls: Mapping[str, Sequence[str]], minutes: int) -> Policy:
    """The one policy of a bench: enforce, watch so many minutes, the guardrails named, who calls whom."""
    document = {
        "version": 1,
        "mode": "enforce",
        "watch": {"at_least": f"{minutes}m", "samples": minutes},
        "guardrails": [dict(one) for one in guardrails],
        "services": {service: {"calls": list(called)} for service, called in calls.items() if called},
    }
    return parse_policy(yaml.safe_dump(document))[0]


def judge(incident: Incident, rules: Policy, shuffle: int | None = None) -> Judged:
    """Every decision on an incident; `shuffle` is the seed of another order of the same records."""
    changes, columns = list(incident.changes), [incident.columns]
    if shuffle is not None:
        rng = np.random.default_rng(shuffle)
        changes = [changes[i] for i in rng.permutation(len(changes))]
        columns = _cut(incident.columns, rng)
    began = time.perf_counter()
    decisions = list(decide(changes, columns, rules))
    seconds = time.perf_counter() - began
    last = {one.change: one for one in decisions if isinstance(one, Verdict)}
    frozen: dict[str, int] = {}
    for one in decisions:
        if isinstance(one, Freeze) and one.caused_by:
            frozen[one.caused_by] = min(one.starts_at, frozen.get(one.caused_by, one.starts_at))
    said = b"\n".join(
        msgspec.json.encode(verdict_to_object(one) if isinstance(one, Verdict) else freeze_to_object(one))
        for one in decisions
    )
    return Judged(incident, last, frozen, said, seconds)


def _cut(columns: Columns, rng: np.random.Generator) -> list[Columns]:
    """The same samples in another order, cut into blocks anywhere."""
    order = rng.permutation(len(columns))
    return [
        msgspec.structs.replace(
            columns, series=columns.series[part], times=columns.times[part], values=columns.values[part]
        )
        for part in np.array_split(order, 7)
    ]


def share(hits: int, n: int) -> str:
    """Hits of n with the 95 % interval of Wilson (JASA 1927).

    >>> share(95, 100)
    '.950 [.888, .978] of 100'
    """
    if not n:
        return "-"
    z = 1.96
    middle = (hits + z * z / 2) / (n + z * z)
    half = z * math.sqrt(hits * (n - hits) / n + z * z / 4) / (n + z * z)
    cells = [f"{value:.3f}".removeprefix("0") for value in (hits / n, max(0.0, middle - half), min(1.0, middle + half))]
    return f"{cells[0]} [{cells[1]}, {cells[2]}] of {n}"

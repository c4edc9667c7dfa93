"""Lanes: changes that share an error budget, and how many of the freezes in one may be for nothing.

A freeze needs p <= `breaker.error_rate` everywhere. By that alone at most error_rate · n of n harmless changes are
frozen, which says nothing of their share among the freezes. e-LOND (`detectors.combine.Elond`) does: the change that is
the t-th of its lane to start is a *discovery* where its e-value reaches 1 / (α γ_t (R + 1)), with R discoveries before;
of a lane's discoveries an expected share α at most is false, however the changes depend on each other (Xu & Ramdas,
*Online multiple testing with e-values*, AISTATS 2024). Here watches overlap and end in any order, and it still holds:
FDR <= E Σ 1{eᵢ >= 1/αᵢ} / (R + 1) <= α Σ γ_t(i) E eᵢ <= α, the sums over harmless changes, because t follows from the
order of the starts, before any evidence, and because the e-value, calibrated from a p-value that never rises, is
smaller at every look than at the end of the watch, where its mean is at most 1.

Only a lane whose policy sets `false_discovery` must make a discovery to freeze. In the others a harmful change is
labelled, at 5 %, and nothing is held back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from deploy.change import Change, labels_of
from deploy.policy import Policy
from deploy.scope import covers, parse_scope
from deploy.verdict import Verdict, VerdictState
from detectors.combine import Elond

#: What a lane without a budget of its own is labelled by.
DEFAULT = 0.05
#: Where changes go that no lane of the policy matches.
OTHER = "other"


class Lane(msgspec.Struct, frozen=True):
    """What has been seen of one lane; in a `strict` one a freeze must be a discovery."""

    name: str
    budget: float = DEFAULT
    strict: bool = False
    changes: int = 0
    harmful: int = 0
    discoveries: int = 0

    def false_share(self, error_rate: float) -> float:
        """The share of its harmful verdicts that chance alone may have made, given the error rate of each change.

        >>> Lane("ai", changes=500, harmful=10).false_share(0.004)
        0.2
        """
        return min(1.0, error_rate * self.changes / self.harmful) if self.harmful else 0.0


class LaneTest(msgspec.Struct, frozen=True):
    """One change as the test of its lane that it is; `needs` is the log e-value of a discovery."""

    lane: Lane
    number: int
    log_e: float
    needs: float
    discovery: bool

    @property
    def holds_back(self) -> bool:
        """Whether the lane's budget forbids the freeze."""
        return self.lane.strict and not self.discovery

    @property
    def reason(self) -> str:
        return (
            f"log_e {self.log_e:.1f} < {self.needs:.1f}, which lane {self.lane.name} needs (its change {self.number}, "
            f"{self.lane.discoveries} discoveries, false discovery {self.lane.budget:.3g})"
        )


class Lanes:
    """Every lane, from the changes that started and what came of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._scopes = [(lane, parse_scope(lane.match)) for lane in policy.lanes]
        self._lanes: dict[str, Lane] = {}
        self._numbers: dict[str, tuple[str, int]] = {}
        self._harmful: set[str] = set()
        self._discoveries: set[str] = set()

    def all(self) -> list[Lane]:
        return [self._lanes[name] for name in sorted(self._lanes)]

    def started(self, change: Change) -> None:
        """A change is watched from now on: the next test of its lane."""
        if change.id in self._numbers:
            return
        lane = self._lane_of(change)
        self._lanes[lane.name] = msgspec.structs.replace(lane, changes=lane.changes + 1)
        self._numbers[change.id] = (lane.name, lane.changes + 1)

    def test(self, change: str, log_e: float) -> LaneTest:
        """LaneTest a change that has become harmful with what is known of it now; a discovery stays one."""
        name, number = self._numbers[change]
        lane = self._lanes[name]
        needs = Elond(lane.budget, number - 1, lane.discoveries).log_threshold
        found = change in self._discoveries or log_e >= needs
        self._note(change, found)
        return LaneTest(lane, number, log_e, needs, found)

    def known(self, verdict: Verdict) -> None:
        """What a verdict said that was spoken elsewhere."""
        if verdict.state is VerdictState.HARMFUL and verdict.change in self._numbers:
            self._note(verdict.change, verdict.discovery)

    def _note(self, change: str, discovery: bool) -> None:
        name = self._numbers[change][0]
        lane = self._lanes[name]
        self._lanes[name] = msgspec.structs.replace(
            lane,
            harmful=lane.harmful + (change not in self._harmful),
            discoveries=lane.discoveries + (discovery and change not in self._discoveries),
        )
        self._harmful.add(change)
        if discovery:
            self._discoveries.add(change)

    def _lane_of(self, change: Change) -> Lane:
        labels = labels_of(change, self._policy.tier_of(change.service))
        if not self._scopes:
            origin = change.provenance.origin.value
            return self._lanes.get(origin, Lane(origin))
        for lane, scope in self._scopes:
            if covers(scope, labels):
                strict = lane.false_discovery is not None
                return self._lanes.get(lane.name, Lane(lane.name, lane.false_discovery or DEFAULT, strict))
        return self._lanes.get(OTHER, Lane(OTHER))


def lanes_of(policy: Policy, starts: Iterable[Change], verdicts: Mapping[str, Verdict]) -> list[Lane]:
    """Every lane, told again from the changes, as they first were, and the last verdict of each."""
    return counted_lanes(policy, starts, verdicts).all()


def counted_lanes(policy: Policy, starts: Iterable[Change], verdicts: Mapping[str, Verdict]) -> Lanes:
    """As `lanes_of`, to go on from."""
    lanes = Lanes(policy)
    for change in sorted(starts, key=lambda one: (one.time, one.id)):
        lanes.started(change)
    for identity in sorted(verdicts):
        lanes.known(verdicts[identity])
    return lanes

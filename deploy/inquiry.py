"""What every rule of the gate looks at: the change that asks, the policy made ready, and what is known now."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from deploy.calls import Calls
from deploy.change import Change, labels_of, same_revision
from deploy.freeze import Freeze
from deploy.lookalike import skeleton
from deploy.people import People
from deploy.plans import Plan
from deploy.policy import Policy, policy_id
from deploy.rule import Word
from deploy.scope import Matcher, covers, parse_scope
from deploy.traffic import Known, Labels, Traffic, labels_at_gate
from deploy.verdict import Verdict


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A change that asks to go; `plan` is what was read from its plan file, `labels` are more than its record has."""

    change: Change
    plan: Plan | None = None
    labels: dict[str, tuple[str, ...]] = {}


class GateState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when a change asks; `verdicts` only need those that may still hold something.

    `source` says where from: `kafka`, or `last_known` or `nothing` where that could not be reached; `word` is then what
    the policy says to that. `joined` adds to a change what others said of its way: its commit, reviews, artifact.
    """

    traffic: Traffic
    joined: Callable[[Change], Change] | None = None
    freezes: Iterable[Freeze] = ()
    verdicts: Iterable[Verdict] = ()
    source: str = "kafka"
    word: Word | None = None


class Rules:
    """A policy made ready to answer: matchers read, people by name, callers of each service; `id` is its content's."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.id = policy_id(policy)
        self.people = People(policy)
        self.approvals = [(rule, parse_scope(rule.match)) for rule in policy.approvals.rules]
        self.canaries = [(canary, parse_scope(canary.match)) for canary in policy.canaries]
        self.limits = [(limit, parse_scope(limit.match)) for limit in policy.blast_radius]
        self.kinds = frozenset(kind.casefold() for kind in policy.destructive.kinds)
        self.disposable = frozenset(kind.casefold() for kind in policy.destructive.disposable)
        self.looks = {skeleton(name): name for name in policy.services}
        self.looks_of_environments = {skeleton(name): name for name in ("production", *policy.environments)}
        guarded = (name for name, one in policy.environments.items() if one.guarded)
        self.guarded = frozenset(name.casefold() for name in (*guarded, "production", "prod"))
        self._calls = Calls(policy)
        self._callers: dict[str, tuple[str, ...]] = {}

    def callers(self, service: str) -> tuple[str, ...]:
        """Every service that calls this one, near or far, sorted."""
        found = self._callers.get(service)
        if found is None:
            names = self.policy.services if self._calls.known else ()
            found = tuple(sorted(one for one in names if one != service and self._calls.down(one, service)))
            if len(self._callers) < 100_000:
                self._callers[service] = found
        return found


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """One change in front of the rules; `labels` are what they match, `way_back` whether it is known to undo harm."""

    request: Request
    rules: Rules
    state: GateState
    now: int
    labels: Labels
    lane: str
    way_back: bool = False

    @property
    def change(self) -> Change:
        return self.request.change

    @property
    def policy(self) -> Policy:
        return self.rules.policy

    @property
    def traffic(self) -> Traffic:
        return self.state.traffic

    @property
    def under_way(self) -> Known | None:
        """What is known of the change where its rollout runs; None where another version or revision bears its id."""
        known = self.traffic.known(self.change.id)
        if known is None or not known.running(self.now):
            return None
        one, other = self.change, known.change
        versions = bool(one.version and other.version) and one.version != other.version
        revisions = bool(one.vcs.revision and other.vcs.revision) and not same_revision(
            one.vcs.revision, other.vcs.revision
        )
        return None if versions or revisions or one.service != other.service else known

    def matches(self, scope: tuple[Matcher, ...]) -> bool:
        """Whether it is in this scope; one without matchers is everything."""
        return not scope or covers(scope, self.labels)


#: What a record says of a change once: who asks cannot say it once more, otherwise, to slip out of a rule.
SAID_ONCE = frozenset(labels_of(Change(id="-", service="-", time=0), tier=0)) - {"tool", "model", "approver"}


def labels_for(request: Request, policy: Policy) -> Labels:
    """The labels that rules match, the request's own beside the change's; of one name the change's come first."""
    labels = labels_at_gate(request.change, policy)
    for name, values in request.labels.items():
        if not (name in SAID_ONCE and labels.get(name)):
            labels[name] = (*labels.get(name, ()), *values)
    return labels

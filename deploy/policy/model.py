"""What a policy may say: a struct for each mapping of the YAML file, with the defaults of what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from deploy.change import Change, labels_of
from deploy.freeze import Mode
from deploy.scope import covers, parse_scope
from deploy.times import HOUR_MS, MINUTE_MS, SECOND_MS

#: Milliseconds, written as `30m` or `1h30m`.
Duration = Annotated[int, msgspec.Meta(extra_json_schema={"x-haltline": "duration"})]
#: Between 0 and 1, written so or as `25%`.
Share = Annotated[float, msgspec.Meta(extra_json_schema={"x-haltline": "share"})]
#: Matchers that must all hold, such as `origin=~"ai|mixed"`; none at all is every change.
Match = Annotated[tuple[str, ...], msgspec.Meta(extra_json_schema={"x-haltline": "match"})]


class Unreachable(StrEnum):
    """What the gate answers when haltline cannot be reached: decided by people in advance."""

    ALLOW = "allow"
    DENY = "deny"
    LAST_KNOWN = "last_known"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is not named is guarded, in the policy's own mode. What is not guarded flows freely."""

    guarded: bool = True
    mode: Mode | None = None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How long production is judged against a change: the longer of time and samples, capped."""

    at_least: Duration = 30 * MINUTE_MS
    samples: int = 30
    at_most: Duration = 24 * HOUR_MS
    #: Nothing is called healthy on samples that were older than this when they arrived.
    fresh: Duration = HOUR_MS

    def length(self, period_ms: int) -> int:
        """Milliseconds to watch a service whose samples come every `period_ms`."""
        return min(max(self.at_least, self.samples * period_ms), self.at_most)


class PeerMetrics(StrEnum):
    """Which metrics are compared with those of peers: what guardrails name, or all."""

    NAMED = "named"
    ALL = "all"


class Peers(msgspec.Struct, frozen=True, kw_only=True):
    """Whether services that have nothing to do with a changed one serve as its control.

    They must be compared over a long time: so many samples of a series stay as they came, 16 bytes and a quarter each.
    That is paid for what guardrails name, or for every metric. 0 is no peers.
    """

    history: int = 2_304
    metrics: PeerMetrics = PeerMetrics.NAMED


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """How much telemetry a service may have: so many series, of which those that fell `silent` so long are dropped.

    Past that, new ones are not read, so that a service with an id in a label does not take the others down.
    """

    per_service: int = 20_000
    silent: Duration = 7 * 24 * HOUR_MS


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """How critical services are: 1 is the most. What it leaves out holds as for every service."""

    owners: tuple[str, ...] = ()
    watch: Watch | None = None
    when_unreachable: Unreachable | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`calls` names the services that this one depends on; `owners` the people who are asked about it."""

    tier: int | None = None
    calls: tuple[str, ...] = ()
    mode: Mode | None = None
    owners: tuple[str, ...] = ()


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person and the role that counts for approvals; `aliases` are the other names the same person goes by.

    Of somebody who has `keys` (public ones, as OpenSSH writes them) only approvals count that one of them signed.
    """

    role: str = ""
    aliases: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Effect(msgspec.Struct, frozen=True):
    """The least effect that matters: in the metric's own unit, or a share of the level before the change."""

    size: float
    relative: bool


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """A number that must not get worse: a metric's `value`, or the ratio of two counters `errors` over `over`."""

    name: str
    value: str = ""
    errors: str = ""
    over: str = ""
    harm: str = "both"
    least_effect: Effect | None = None
    services: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.value,) if self.value else (self.errors, self.over)

    def applies(self, service: str) -> bool:
        return not self.services or service in self.services


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """A detector of river, by its import path, for the vector of a service's metrics."""

    name: str
    river: str
    parameters: dict[str, Any] = {}
    services: tuple[str, ...] = ()

    def applies(self, service: str) -> bool:
        return not self.services or service in self.services


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """How much a breaker may do by itself.

    `error_rate` is the share of harmless changes that may be frozen; `open_for` is multiplied by the number of trips.
    `watch_rate` is the share of harmless changes for which new starts may wait, `watch_hold` after each report that
    says so; at 0 none ever waits.
    """

    error_rate: float = 0.004
    watch_rate: float = 0.05
    watch_hold: Duration = 15 * SECOND_MS
    open_for: Duration = 5 * MINUTE_MS
    open_at_most: Duration = 60 * MINUTE_MS
    trips_window: Duration = 60 * MINUTE_MS

    @property
    def watch_bar(self) -> float:
        """The p-value from which new starts wait; never stricter than what freezes."""
        return max(self.watch_rate, self.error_rate)


class Classes(msgspec.Struct, frozen=True, kw_only=True):
    """Which classes of changes are compared with the rest: one for each value of a label, and of labels together.

    `error_rate` bounds the false accusations a day, over all classes.
    """

    by: tuple[str, ...] = ("origin", "tool", "model", "autonomy", "team", "tier")
    products: tuple[tuple[str, ...], ...] = ()
    error_rate: float = 0.05

    @property
    def dimensions(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each kind of class; one label alone is a product of one."""
        return (*((label,) for label in self.by), *self.products)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a lane may go: changes that run at once, starts in an hour, and the wait after one did harm."""

    at_once: int | None = None
    per_hour: int | None = None
    cool_off: Duration = 0


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that share an error budget, and what holds for them instead of what holds for all.

    The first lane that matches is a change's own. With `false_discovery` a freeze in it needs the e-LOND threshold
    too. `watch` is how long its changes are judged, `error_rate` and `watch_rate` what trips them, `guardrails` by
    which numbers, `pace` how many may go.
    """

    name: str
    match: tuple[str, ...]
    false_discovery: float | None = None
    watch: Watch | None = None
    error_rate: float | None = None
    watch_rate: float | None = None
    guardrails: tuple[str, ...] = ()
    pace: Pace | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that match need `count` approvals by people of this role or a more senior one."""

    match: Match = ()
    role: str = ""
    count: int = 1


class Approvals(msgspec.Struct, frozen=True, kw_only=True):
    """Who must have approved what, and which approvals count.

    `roles` go from junior to senior. An approval counts for `expires` after it was given, if it was not given faster
    than `lines_per_second` can be read, by someone with no more than `per_day` approvals in 24 hours. A change of
    `unknown` origin, or one whose origin is less sure than `least_confidence`, is treated as `unknown` says: as `ai`
    or `mixed`, or as neither; never as human.
    """

    roles: tuple[str, ...] = ("member", "senior", "lead")
    rules: tuple[Approval, ...] = ()
    expires: Duration = 24 * HOUR_MS
    lines_per_second: float = 10.0
    per_day: int = 40
    unknown: str = "ai"
    least_confidence: float = 0.0


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that match go in small steps: shares of the instances no larger than these, `pause` between them."""

    match: Match = ()
    steps: Annotated[tuple[float, ...], msgspec.Meta(extra_json_schema={"x-haltline": "shares"})] = (0.1, 0.5, 1.0)
    pause: Duration = 10 * MINUTE_MS


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True):
    """How much a change that matches may touch at once; what a limit leaves out is not limited.

    `share` of a service's instances cuts a change to a smaller step, the others hold it: `regions` at once,
    `concurrent` changes that match, `dependants` (services that call it, near or far), `tiers` (how many of them the
    service and its callers are in).
    """

    match: Match = ()
    share: Share | None = None
    regions: int | None = None
    tiers: int | None = None
    concurrent: int | None = None
    dependants: int | None = None


class Destructive(msgspec.Struct, frozen=True, kw_only=True):
    """What destroys environments, data stores, networks, identities or namespaces is held for a person of this role.

    `kinds` adds words to what is guarded so, `disposable` names kinds of which a loss is none. `role` empty is the most
    senior. It is enforced wherever it is not set to observe by itself.
    """

    role: str = ""
    count: int = 1
    kinds: tuple[str, ...] = ()
    disposable: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """How much people are asked: so many questions a person in 24 hours, each with so long to answer."""

    per_person: int = 8
    deadline: Duration = 4 * HOUR_MS


class Fallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered when haltline cannot be reached; a tier's own word comes before it.

    The last known state counts for `last_known_for`; what comes after is denied.
    """

    when_unreachable: Unreachable | None = None
    last_known_for: Duration = HOUR_MS


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is guarded, by which numbers, what a breaker may do by itself, and what may go when."""

    version: int = 1
    mode: Mode = Mode.OBSERVE
    environments: dict[str, Environment] = {}
    tiers: dict[str, Tier] = {}
    services: dict[str, Service] = {}
    people: dict[str, Person] = {}
    watch: Watch = msgspec.field(default_factory=Watch)
    peers: Peers = msgspec.field(default_factory=Peers)
    series: Series = msgspec.field(default_factory=Series)
    guardrails: tuple[Guardrail, ...] = ()
    detectors: tuple[Detector, ...] = ()
    breaker: Breaker = msgspec.field(default_factory=Breaker)
    classes: Classes = msgspec.field(default_factory=Classes)
    lanes: tuple[Lane, ...] = ()
    approvals: Approvals = msgspec.field(default_factory=Approvals)
    canaries: tuple[Canary, ...] = ()
    blast_radius: tuple[BlastRadius, ...] = ()
    destructive: Destructive = msgspec.field(default_factory=Destructive)
    questions: Questions = msgspec.field(default_factory=Questions)
    fallbacks: Fallbacks = msgspec.field(default_factory=Fallbacks)

    def guarded(self, environment: str) -> bool:
        named = self.environments.get(environment)
        return named is None or named.guarded

    def mode_of(self, service: str, environment: str) -> Mode:
        """The mode of a scope: the service's own, else its environment's, else the policy's."""
        for named in (self.services.get(service), self.environments.get(environment)):
            if named is not None and named.mode is not None:
                return named.mode
        return self.mode

    def tier_of(self, service: str) -> int | None:
        named = self.services.get(service)
        return None if named is None else named.tier

    def calls(self, service: str) -> tuple[str, ...]:
        named = self.services.get(service)
        return () if named is None else named.calls

    def owners_of(self, service: str) -> tuple[str, ...]:
        """Who is asked about a service: its own owners, else its tier's."""
        named = self.services.get(service)
        if named is not None and named.owners:
            return named.owners
        tier = self.tiers.get(str(self.tier_of(service)))
        return () if tier is None else tier.owners

    def when_unreachable(self, service: str) -> Unreachable | None:
        """What is answered for this service without haltline; None where nobody decided it."""
        tier = self.tiers.get(str(self.tier_of(service)))
        if tier is not None and tier.when_unreachable is not None:
            return tier.when_unreachable
        return self.fallbacks.when_unreachable

    def lane_of(self, labels: Mapping[str, tuple[str, ...]]) -> Lane | None:
        """The first lane whose matchers all hold."""
        return next((lane for lane in self.lanes if covers(parse_scope(lane.match), labels)), None)

    def for_change(self, change: Change) -> Policy:
        """The policy as it is for one change: its lane's watch, rates and guardrails in the place of everybody's."""
        if not self.lanes and not self.tiers:
            return self
        tier_number = self.tier_of(change.service)
        lane = self.lane_of(labels_of(change, tier_number))
        tier = self.tiers.get(str(tier_number))
        watch = (lane.watch if lane is not None else None) or (tier.watch if tier is not None else None)
        changed: dict[str, Any] = {} if watch is None else {"watch": watch}
        if lane is not None:
            rates = {"error_rate": lane.error_rate, "watch_rate": lane.watch_rate}
            if given := {name: rate for name, rate in rates.items() if rate is not None}:
                changed["breaker"] = msgspec.structs.replace(self.breaker, **given)
            if lane.guardrails:
                changed["guardrails"] = tuple(one for one in self.guardrails if one.name in lane.guardrails)
        return msgspec.structs.replace(self, **changed) if changed else self

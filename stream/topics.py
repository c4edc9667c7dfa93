"""The topics haltline lives on: what each holds, how it is kept, and whether a cluster has them so.

Nothing here deletes or alters a topic. What is missing is created; where an existing topic is otherwise than it
should be, that is said setting by setting and left to its owner.
"""

from __future__ import annotations

import enum
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from stream.errors import BrokerUnavailable, StreamError

__all__ = [
    "BY_SERVICE",
    "CATALOGUE",
    "CHANGES",
    "DEADLETTER",
    "EVIDENCE",
    "FREEZES",
    "LEDGER",
    "ORDERS",
    "OTLP_METRICS",
    "POLICIES",
    "SNAPSHOTS",
    "TELEMETRY",
    "VERDICTS",
    "Described",
    "State",
    "Topic",
    "TopicRefused",
    "TopicState",
    "connect",
    "create",
    "describe",
    "diff",
    "show",
]

_DAY_MS = 24 * 3_600_000
_MIB = 1024 * 1024
_PATIENCE_S = 8.0


class TopicRefused(StreamError):
    """The cluster answered, and refused to show or to create a topic."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """How one topic should be.

    `ordered` topics have one partition, because their order is what they are for; the others may have any number from
    `partitions` up. `retention_ms` None keeps records until compaction replaces them. `max_message_bytes` None leaves
    the cluster's default (1 MiB). `from_outside` topics are stamped by the broker: the clock of a sender must not
    decide what is kept (a record from 1970 would expire at once, one from 2100 be refused). Compaction leaves records
    younger than `keep_every_ms` alone: the phases of a change share its key, and its first says when it began.
    Nothing is compacted before its file is full, at `segment_bytes`.
    """

    name: str
    key: str
    holds: str
    cleanup: str = "delete"
    retention_ms: int | None
    partitions: int = 1
    ordered: bool = True
    max_message_bytes: int | None = None
    from_outside: bool = False
    keep_every_ms: int | None = None
    segment_bytes: int | None = None

    def settings(self) -> dict[str, str]:
        """The topic's settings under Kafka's own names; what is not here is the cluster's to choose."""
        settings = {"cleanup.policy": self.cleanup}
        if self.retention_ms is not None:
            settings["retention.ms"] = str(self.retention_ms)
        if self.max_message_bytes is not None:
            settings["max.message.bytes"] = str(self.max_message_bytes)
        if self.from_outside:
            settings["message.timestamp.type"] = "LogAppendTime"
        if self.keep_every_ms is not None:
            settings["min.compaction.lag.ms"] = str(self.keep_every_ms)
        if self.segment_bytes is not None:
            settings["segment.bytes"] = str(self.segment_bytes)
        return settings


CHANGES = Topic(
    name="haltline.changes",
    key="change id",
    holds="changes, normalised from any source",
    cleanup="compact,delete",
    retention_ms=90 * _DAY_MS,
    from_outside=True,
    keep_every_ms=7 * _DAY_MS,
)
TELEMETRY = Topic(
    name="haltline.telemetry",
    key="service",
    holds="telemetry in the native JSON",
    retention_ms=3 * _DAY_MS,
    partitions=8,
    ordered=False,
    max_message_bytes=8 * _MIB,
    from_outside=True,
)
OTLP_METRICS = Topic(
    name="otlp_metrics",
    key="service, or none",
    holds="telemetry as the OpenTelemetry Collector's Kafka exporter sends it",
    retention_ms=3 * _DAY_MS,
    partitions=8,
    ordered=False,
    max_message_bytes=8 * _MIB,
    from_outside=True,
)
BY_SERVICE = Topic(
    name="haltline.by-service",
    key="none, the partition is the service's",
    holds="columns of telemetry that came without its service for a key, each service in one partition",
    retention_ms=3 * _DAY_MS,
    partitions=8,
    ordered=False,
    max_message_bytes=8 * _MIB,
)
SNAPSHOTS = Topic(
    name="haltline.snapshots",
    key="group and partition, of a chunk also its snapshot and number",
    holds="what workers know of each partition of telemetry, packed, and where to read on",
    cleanup="compact,delete",
    # An older one stands for records that telemetry keeps no more.
    retention_ms=3 * _DAY_MS,
    partitions=8,
    ordered=False,
    segment_bytes=256 * _MIB,
)
EVIDENCE = Topic(
    name="haltline.evidence",
    key="change id",
    holds="evidence of every series for every change",
    retention_ms=30 * _DAY_MS,
)
ORDERS = Topic(
    name="haltline.orders",
    key="scope",
    holds="operator orders: freeze, unfreeze, approve, refuse, withdraw",
    retention_ms=90 * _DAY_MS,
    from_outside=True,
)
POLICIES = Topic(
    name="haltline.policies",
    key="policy id",
    holds="policies; the last good one is in force",
    cleanup="compact",
    retention_ms=None,
    max_message_bytes=8 * _MIB,
    # From when on a policy is in force is the broker's word.
    from_outside=True,
    # As long as changes are kept: each was judged by the policy of its beginning.
    keep_every_ms=90 * _DAY_MS,
)
FREEZES = Topic(
    name="haltline.freezes",
    key="freeze id",
    holds="every freeze; expiry is a record, a tombstone comes only later",
    cleanup="compact",
    retention_ms=None,
)
VERDICTS = Topic(
    name="haltline.verdicts",
    key="change id",
    holds="the verdict of each change",
    cleanup="compact,delete",
    retention_ms=90 * _DAY_MS,
)
LEDGER = Topic(
    name="haltline.ledger",
    key="none",
    holds="every answer of the gate, with its question",
    retention_ms=7 * 365 * _DAY_MS,
)
DEADLETTER = Topic(
    name="haltline.deadletter",
    key="as it came",
    holds="what could not be read, bytes unchanged, with six error headers",
    retention_ms=14 * _DAY_MS,
    # More than any telemetry topic of haltline lets in: other people's topics may let in more than ours.
    max_message_bytes=64 * _MIB,
    from_outside=True,
)

CATALOGUE: tuple[Topic, ...] = (
    CHANGES,
    TELEMETRY,
    OTLP_METRICS,
    BY_SERVICE,
    SNAPSHOTS,
    EVIDENCE,
    ORDERS,
    POLICIES,
    FREEZES,
    VERDICTS,
    LEDGER,
    DEADLETTER,
)


class State(enum.StrEnum):
    """How a topic of the catalogue stands in a cluster."""

    OK = "ok"
    CREATED = "created"
    MISSING = "missing"
    DIFFERS = "differs"


class Described(msgspec.Struct, frozen=True):
    """One topic as a cluster has it; `settings` under Kafka's own names, defaults included."""

    partitions: int
    replication: int
    settings: dict[str, str]


class TopicState(msgspec.Struct, frozen=True):
    """One topic of the catalogue, how it stands, and each setting that differs as a whole sentence."""

    topic: Topic
    state: State
    partitions: int = 0
    replication: int = 0
    differences: tuple[str, ...] = ()


def diff(topic: Topic, found: Described, *, replication: int = 1) -> tuple[str, ...]:
    """What of an existing topic is not as it should be; empty when all is well. More replicas are always well.

    >>> diff(FREEZES, Described(1, 1, {"cleanup.policy": "delete"}))
    ('haltline.freezes: cleanup.policy is delete, should be compact',)
    """
    said = []
    if found.partitions < topic.partitions or (topic.ordered and found.partitions != topic.partitions):
        said.append(("partitions", str(found.partitions), str(topic.partitions)))
    if found.replication < replication:
        said.append(("replication", str(found.replication), str(replication)))
    for name, wanted in topic.settings().items():
        value = found.settings.get(name, "unknown")
        # cleanup.policy is a list without an order.
        if sorted(value.replace(" ", "").split(",")) != sorted(wanted.split(",")):
            said.append((name, value, wanted))
    return tuple(f"{topic.name}: {name} is {value}, should be {wanted}" for name, value, wanted in said)


@contextmanager
def connect(bootstrap: str, client_config: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """A `KafkaAdminClient`; `client_config` is passed to it as it is (`security_protocol`, `sasl_mechanism`, …).

    Raises `BrokerUnavailable` within ten seconds when nothing answers, `TopicRefused` when what answers refuses.
    """
    deadline = time.monotonic() + _PATIENCE_S
    config = dict(client_config or {})
    if not config.get("proxy_url"):
        # The client would try for its whole patience where a refused connection tells at once.
        _reach(bootstrap, deadline)
    from kafka import KafkaAdminClient  # heavy: only where used
    from kafka.errors import KafkaError

    client_log = logging.getLogger("kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL)  # the one line of the exception is enough
    try:
        left_ms = int(max(1.0, deadline - time.monotonic()) * 1000)
        timeouts = {"bootstrap_timeout_ms": left_ms, "request_timeout_ms": 15_000}
        admin = KafkaAdminClient(**{**timeouts, **config, "bootstrap_servers": bootstrap.split(",")})
    except KafkaError as error:
        raise BrokerUnavailable(
            f"{bootstrap} is reachable but does not answer as kafka ({type(error).__name__}); "
            "is the port right, and the security protocol?"
        ) from error
    finally:
        client_log.setLevel(level)
    try:
        with admin:
            yield admin
    except KafkaError as error:
        raise TopicRefused(f"kafka at {bootstrap} refused: {str(error).splitlines()[0][:300]}") from error


def describe(admin: Any, names: Sequence[str]) -> dict[str, Described]:
    """Those of the named topics that exist, as the cluster has them."""
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.errors import UnknownTopicOrPartitionError, for_code

    shapes: dict[str, list[dict[str, Any]]] = {}
    for topic in admin.describe_topics(list(names)):
        if topic["error_code"] == 0:
            shapes[topic["name"]] = topic["partitions"]
        elif topic["error_code"] != UnknownTopicOrPartitionError.errno:
            raise TopicRefused(f"cannot look at topic {topic['name']}: {for_code(topic['error_code']).__name__}")
    if not shapes:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in shapes]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: Described(
            partitions=len(partitions),
            replication=min(len(partition["replica_nodes"]) for partition in partitions),
            settings={key: str(config["value"]) for key, config in configs[name].items()},
        )
        for name, partitions in shapes.items()
    }


def show(
    bootstrap: str,
    topics: Sequence[Topic] = CATALOGUE,
    *,
    replication: int = 1,
    client_config: Mapping[str, Any] | None = None,
) -> list[TopicState]:
    """How each topic stands, without changing anything."""
    with connect(bootstrap, client_config) as admin:
        return _states(admin, topics, replication)


def create(
    bootstrap: str,
    topics: Sequence[Topic] = CATALOGUE,
    *,
    replication: int = 1,
    partitions: Mapping[str, int] | None = None,
    client_config: Mapping[str, Any] | None = None,
) -> list[TopicState]:
    """Create what is missing and say how each topic stands; safe to repeat and to run at the same time elsewhere.

    `partitions` gives other counts by topic name, for topics that are not `ordered`.
    """
    topics = [_with_partitions(topic, (partitions or {}).get(topic.name)) for topic in topics]
    with connect(bootstrap, client_config) as admin:
        missing = [state.topic for state in _states(admin, topics, replication) if state.state is State.MISSING]
        made = _create(admin, missing, replication) if missing else frozenset()
        return [
            msgspec.structs.replace(state, state=State.CREATED)
            if state.topic.name in made and state.state is State.OK
            else state
            for state in _states(admin, topics, replication)
        ]


def _states(admin: Any, topics: Sequence[Topic], replication: int) -> list[TopicState]:
    found = describe(admin, [topic.name for topic in topics])
    states = []
    for topic in topics:
        there = found.get(topic.name)
        if there is None:
            states.append(TopicState(topic, State.MISSING))
            continue
        differences = diff(topic, there, replication=replication)
        state = State.DIFFERS if differences else State.OK
        states.append(TopicState(topic, state, there.partitions, there.replication, differences))
    return states


def _create(admin: Any, topics: Sequence[Topic], replication: int) -> frozenset[str]:
    from kafka.errors import TopicAlreadyExistsError, for_code

    # With three copies, a write counts only when two have it: then the loss of one machine loses nothing.
    durable = {"min.insync.replicas": "2"} if replication >= 3 else {}
    wanted = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": replication,
            "configs": {**topic.settings(), **durable},
        }
        for topic in topics
    }
    made = set()
    for answer in admin.create_topics(wanted, raise_errors=False)["topics"]:
        if answer["error_code"] == 0:
            made.add(answer["name"])
        elif answer["error_code"] != TopicAlreadyExistsError.errno:  # somebody else was quicker
            why = answer.get("error_message") or for_code(answer["error_code"]).__name__
            raise TopicRefused(f"kafka refused to create topic {answer['name']}: {why}")
    admin.wait_for_topics(list(wanted))
    return frozenset(made)


def _with_partitions(topic: Topic, count: int | None) -> Topic:
    if count is None or count == topic.partitions:
        return topic
    if topic.ordered:
        raise ValueError(f"{topic.name} is ordered: it has one partition, not {count}")
    if count < 1:
        raise ValueError(f"{topic.name}: partitions is {count}, must be 1 or more")
    return msgspec.structs.replace(topic, partitions=count)


def _reach(bootstrap: str, deadline: float) -> None:
    """Raise `BrokerUnavailable` unless one of the servers takes a connection."""
    tried = []
    for server in bootstrap.split(","):
        host, port = _address(server.strip())
        left = deadline - time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=max(0.5, min(3.0, left))):
                return
        except TimeoutError:
            tried.append(f"{server} does not answer")
        except OSError as error:
            tried.append(f"{server} {(error.strerror or str(error)).lower()}")
    raise BrokerUnavailable(
        f"no kafka at {bootstrap} ({', '.join(tried)}); "
        "start one with `haltline up` or name yours with --bootstrap-servers"
    )


def _address(server: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port`, each also after `protocol://`.

    >>> _address("PLAINTEXT://[::1]:9093"), _address("kafka")
    (('::1', 9093), ('kafka', 9092))
    """
    server = server.rpartition("://")[2]
    host, colon, port = server.rpartition(":")
    if not colon or port.endswith("]"):
        return server.strip("[]"), 9092
    if not port.isdecimal():
        raise BrokerUnavailable(f"{server} is no address of a kafka: host:port is one")
    return host.strip("[]"), int(port)

"""The worker against a real Apache Kafka: what it decides, what it survives, and what it does not take."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.freeze import Freeze
from deploy.order import Order, Verb
from stream import topics
from stream.columns import Columns
from stream.dead_letter import PREFIX
from stream.local_kafka import LocalKafka
from stream.repartition import partition_of
from stream.series_ids import SeriesIds
from stream.wire.by_service import decode_columns
from stream.wire.outgoing import decode_freeze, decode_verdict, encode_order
from tests.conftest import require_tool
from tests.stream.incident import BEFORE_S, CALM_S, INSTANCES, POLICY, Incident, Json, encoded
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

T = TypeVar("T")

PARTITIONS = 4
CHANGES, TELEMETRY = topics.CHANGES.name, topics.TELEMETRY.name
#: The freeze of an incident is due within this many seconds from its start.
LAG = "haltline_lag_records"
DECIDED_S = BEFORE_S + CALM_S + 10


class Shop:
    """The broker seen from outside: what deploy tools, telemetry and operators write, and what readers read."""

    def __init__(self, kafka: LocalKafka) -> None:
        self.kafka = kafka
        self.bootstrap = kafka.bootstrap_servers
        self._producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", max_request_size=16 << 20, metrics_enabled=False
        )
        names = (topics.FREEZES.name, topics.VERDICTS.name, topics.DEADLETTER.name, topics.EVIDENCE.name)
        self._readers = {name: Reader(self.bootstrap, name) for name in names}

    def send(self, topic: str, *values: bytes | None, key: str | None = None, **where: Any) -> list[Any]:
        """Write and wait until it is durable; the records' places."""
        sent = [self._producer.send(topic, value, key=key.encode() if key else None, **where) for value in values]
        return [one.get(timeout=60) for one in sent]

    def change(self, *incidents: Incident) -> None:
        for incident in incidents:
            self.send(CHANGES, encoded(incident.change), key=incident.change["id"])

    def run(
        self, *incidents: Incident, first: int = 0, last: int | None = None, partitions: Sequence[int] = ()
    ) -> None:
        """The telemetry of these incidents of the seconds [first, last), in the order of time as it comes in life."""
        records = zip(*(incident.telemetry[first * INSTANCES :] for incident in incidents), strict=True)
        for number, together in enumerate(records, first * INSTANCES):
            if last is not None and number >= last * INSTANCES:
                break
            for which, record in enumerate(together):
                key = record["resource"]["service.name"].encode()
                partition = partitions[which] if partitions else None
                self._producer.send(TELEMETRY, encoded(record), key=key, partition=partition)
        self._producer.flush()

    def telemetry(self, records: Sequence[Json]) -> None:
        """Each record keyed by its service."""
        for record in records:
            key = record["resource"]["service.name"].encode()
            self._producer.send(TELEMETRY, encoded(record), key=key)
        self._producer.flush()

    def order(self, order: Order) -> None:
        wire = encode_order(order)
        self._producer.send(topics.ORDERS.name, wire.value, key=wire.key, headers=wire.headers).get(timeout=60)

    def look(self, topic: str) -> list[Any]:
        return self._readers[topic].look()

    def freezes(self, service: str) -> list[Freeze]:
        """Every freeze record of a service, in their order."""
        freezes = [decode_freeze(record.value, record.headers) for record in self.look(topics.FREEZES.name)]
        return [freeze for freeze in freezes if f'service="{service}"' in freeze.matchers]

    def verdicts(self, change: str) -> list[str]:
        verdicts = [decode_verdict(record.value, record.headers) for record in self.look(topics.VERDICTS.name)]
        return [one.state.value for one in verdicts if one.change == change and one.hold_until is None]

    def frozen(self, incident: Incident) -> Freeze:
        """Wait for the freeze, and hold it against what replay decides."""
        freeze = wait_for(f"the freeze of {incident.service}", lambda: self.freezes(incident.service))[0]
        assert same(freeze, incident.freeze)
        return freeze

    def dead(self, *values: bytes | None) -> list[Any]:
        return [record for record in self.look(topics.DEADLETTER.name) if record.value in values]

    def ends(self, topic: str) -> list[int]:
        """The end of each partition of a topic."""
        with closing(KafkaConsumer(bootstrap_servers=self.bootstrap, metrics_enabled=False)) as consumer:
            places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
            return list(consumer.end_offsets(places).values())

    def close(self) -> None:
        self._producer.close()
        for reader in self._readers.values():
            reader.close()


def several(what: str, count: int, look: Callable[[], list[T]]) -> list[T]:
    """Wait until there are at least so many."""
    return wait_for(what, lambda: found if len(found := look()) >= count else None)


def same(freeze: Freeze, other: Freeze) -> bool:
    """The same freeze but for its end, which counts from when it was made."""
    fields = [name for name in Freeze.__struct_fields__ if name != "ends_at"]
    return [getattr(freeze, name) for name in fields] == [getattr(other, name) for name in fields]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with LocalKafka(tmp_path_factory.mktemp("worker-kafka")) as kafka:
        topics.create(kafka.bootstrap_servers, partitions={TELEMETRY: PARTITIONS, topics.BY_SERVICE.name: PARTITIONS})
        shop = Shop(kafka)
        yield shop
        shop.close()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def only_worker(shop: Shop, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    directory = tmp_path_factory.mktemp("worker")
    with WorkerProcess(shop.bootstrap, directory, "--policy", str(policy)) as worker:
        yield worker


@pytest.fixture
def worker(only_worker: WorkerProcess) -> WorkerProcess:
    """The module's worker, running, whatever the test before did to it."""
    if not only_worker.running:
        only_worker.start()
    return only_worker


@pytest.fixture(scope="module")
def stretches() -> Iterator[int]:
    """Starts (Unix ms) of stretches of time that are over by now, each later than the one before."""
    return itertools.count((int(time.time()) - 3_000) * 1_000, 250_000)


@pytest.fixture
def start(stretches: Iterator[int]) -> int:
    """A stretch of time of the test's own: what is silent while others speak of later times is silent indeed."""
    return next(stretches)


def test_an_incident_becomes_the_one_freeze_that_replay_decides_on(
    shop: Shop, worker: WorkerProcess, start: int
) -> None:
    incident, peace = Incident("checkout", start), Incident("cart", start, harmful=False)
    shop.change(incident, peace)
    shop.run(incident, peace)
    freeze = shop.frozen(incident)
    assert freeze.caused_by == "checkout-2"
    assert "error_ratio" in freeze.reason
    assert several("the verdicts", 2, lambda: shop.verdicts("checkout-2")) == ["warming", "harmful"]
    wait_for("the counters", lambda: worker.metric("haltline_freezes_total", level="L1", mode="enforce") == 1)
    assert worker.metric("haltline_freezes_active", level="L1", mode="enforce", environment="production") == 1
    assert worker.metric("haltline_decision_seconds_count") == 1
    assert len(shop.freezes("checkout")) == 1
    assert shop.freezes("cart") == []


def test_the_order_of_arrival_and_the_cut_into_records_change_no_decision(
    shop: Shop, worker: WorkerProcess, start: int
) -> None:
    late_change, twice, whole = (Incident(name, start) for name in ("late-change", "twice", "whole-columns"))
    shop.change(whole, twice)
    shop.run(late_change, twice, twice)
    shop.telemetry(whole.one_record_an_instance())
    shop.frozen(twice)
    # A record that covers a minute and a half says that as much may still come for the same time.
    assert shop.freezes("whole-columns") == []
    shop.telemetry(Incident("whole-columns", start + 200_000).until(1))
    shop.frozen(whole)
    assert shop.freezes("late-change") == []
    shop.change(late_change)
    shop.frozen(late_change)


def test_every_client_is_read_alike(shop: Shop, worker: WorkerProcess, start: int, tmp_path: Path) -> None:
    incidents = {client: Incident(client, start) for client in ("kafka-python", "aiokafka", "kcat")}
    shop.change(incidents["kafka-python"])
    shop.telemetry(incidents["kafka-python"].telemetry)
    asyncio.run(_aiokafka(shop.bootstrap, incidents["aiokafka"]))
    shop.frozen(incidents["kafka-python"])
    shop.frozen(incidents["aiokafka"])
    require_tool("kcat")
    _kcat(shop.bootstrap, incidents["kcat"], tmp_path)
    shop.frozen(incidents["kcat"])


async def _aiokafka(bootstrap: str, incident: Incident) -> None:
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="gzip") as producer:
        await producer.send_and_wait(CHANGES, encoded(incident.change), key=incident.change["id"].encode())
        for record in incident.telemetry:
            await producer.send(TELEMETRY, encoded(record), key=incident.service.encode())


def _kcat(bootstrap: str, incident: Incident, directory: Path) -> None:
    for topic, key, records in (
        (CHANGES, incident.change["id"], [incident.change]),
        (TELEMETRY, incident.service, incident.telemetry),
    ):
        lines = directory / f"{topic}.txt"
        lines.write_bytes(b"".join(key.encode() + b"\t" + encoded(record) + b"\n" for record in records))
        subprocess.run(
            ["kcat", "-P", "-q", "-b", bootstrap, "-t", topic, "-K", "\t", "-l", str(lines)], check=True, timeout=60
        )


def test_orders_are_carried_out(shop: Shop, worker: WorkerProcess) -> None:
    at = int(time.time() * 1_000)
    matchers = ('service="search"',)
    freeze = Order(
        id="o-1", verb=Verb.FREEZE, time=at, by="sam", reason="sale", matchers=matchers, ends_at=at + 3_600_000
    )
    shop.order(freeze)
    [made] = wait_for("the freeze", lambda: shop.freezes("search"))
    assert (made.created_by, made.reason, made.ends_at, made.ended_by) == ("sam", "sale", at + 3_600_000, "")
    shop.order(Order(id="o-2", verb=Verb.UNFREEZE, time=at + 1, by="kim", reason="over", freeze=made.id))
    [_, ended] = several("the end", 2, lambda: shop.freezes("search"))
    assert (ended.id, ended.ends_at, ended.ended_by) == (made.id, at + 1, "kim: over")
    wait_for("the counters", lambda: worker.metric("haltline_orders_total", verb="unfreeze") == 1)


def _bad_telemetry(start: int) -> dict[str, bytes | None]:
    """Telemetry that cannot be read."""
    good = encoded(Incident("bad", start).telemetry[0])

    def with_time(time: object) -> bytes:
        return good.replace(b"%d" % start, encoded(time))

    return {
        "broken JSON": good[:-7],
        "wrong type": b'{"resource": 7, "metrics": "many"}',
        "not a number": good.replace(b'"values": [', b'"values": [NaN, '),
        "infinity": good.replace(b'"values": [', b'"values": [-Infinity, '),
        "too big a number": good.replace(b'"values": [', b'"values": [1e999, '),
        "no times": good.replace(b'"times"', b'"when"'),
        "time null": with_time(None),
        "1970": with_time(1_000),
        "2100": with_time("2100-01-01T00:00:00Z"),
        "tomorrow": with_time(int(time.time() * 1_000) + 86_400_000),
        "empty": b"",
        "tombstone": None,
        "blank": b" \n ",
        "UTF-16": good.decode().encode("utf-16"),
        "Latin-1": good.replace(b'"bad"', '"bäd"'.encode("latin-1")),
        "binary": bytes(range(256)),
        "deep": b"[" * 100_000,
        "seven megabytes": b"\xa5" * 7_000_000,
        "more columns than numbers": good.replace(b'"values": [', b'"values": [1, 2, '),
    }


def test_what_cannot_be_read_is_kept_whole_and_stops_nothing(shop: Shop, worker: WorkerProcess, start: int) -> None:
    incident = Incident("after-the-junk", start)
    bad = _bad_telemetry(start)
    garbage = {
        topic.name: b"garbage on " + topic.name.encode() for topic in (topics.CHANGES, topics.ORDERS, topics.EVIDENCE)
    }
    places = {}
    shop.telemetry(incident.until(BEFORE_S))
    for name, value in bad.items():
        [places[name]] = shop.send(TELEMETRY, value, key=name, headers=[("from", b"afar")])
    for topic, value in garbage.items():
        [places[topic]] = shop.send(topic, value, key=topic)
    # What repeats is no error: the same record again, and one id a thousand times.
    shop.telemetry(incident.until(BEFORE_S)[-4:])
    shop.send(CHANGES, *[encoded(incident.change)] * 1_000, key=incident.change["id"])
    shop.telemetry(incident.since(BEFORE_S))
    shop.frozen(incident)

    expected = bad | garbage
    letters = several("the dead letters", len(expected), lambda: shop.dead(*expected.values()))
    dead = {record.key.decode(): record for record in letters}
    assert dead.keys() == expected.keys()
    for name, record in dead.items():
        assert record.value == expected[name], name
        headers = dict(record.headers)
        place = places[name]
        said = {key.removeprefix(PREFIX): value.decode() for key, value in headers.items() if key.startswith(PREFIX)}
        assert list(said) == ["topic", "partition", "offset", "exception", "message", "stacktrace"], name
        assert (said["topic"], said["partition"], said["offset"]) == (
            place.topic,
            str(place.partition),
            str(place.offset),
        )
        assert said["exception"] == "stream.errors.Unreadable", (name, said)
        assert said["message"], name
        assert headers.get("from") == (b"afar" if name in bad else None)
    for topic, count in {TELEMETRY: len(bad), **dict.fromkeys(garbage, 1)}.items():
        assert worker.metric("haltline_dead_letters_total", topic=topic) == count
    assert worker.metric("haltline_dead_letters_total", reason="other") == 0
    # An id told a thousand times is one change.
    assert several("the verdicts", 2, lambda: shop.verdicts(incident.change["id"])) == ["warming", "harmful"]
    assert len(shop.freezes(incident.service)) == 1


def test_what_was_worked_through_is_committed(shop: Shop, worker: WorkerProcess, start: int) -> None:
    incident = Incident("committed", start)
    shop.change(incident)
    shop.run(incident)
    shop.send(CHANGES, b"no change", key="nobody")
    shop.frozen(incident)
    consumer = KafkaConsumer(bootstrap_servers=shop.bootstrap, group_id="haltline", enable_auto_commit=False)
    names = (TELEMETRY, CHANGES, topics.EVIDENCE.name)
    places = [TopicPartition(name, n) for name in names for n in sorted(consumer.partitions_for_topic(name))]
    ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
    assert {place.topic for place in ends} == set(names)
    wait_for("the positions", lambda: all((consumer.committed(place) or 0) >= end for place, end in ends.items()))
    consumer.close()


def test_a_worker_killed_in_mid_incident_decides_the_same_once_started_again(
    shop: Shop, worker: WorkerProcess, start: int
) -> None:
    incident = Incident("killed", start)
    dead_before = len(shop.look(topics.DEADLETTER.name))
    shop.change(incident)
    shop.run(incident, last=BEFORE_S + CALM_S + 1)
    wait_for("evidence", lambda: [one for one in shop.look(topics.EVIDENCE.name) if one.key == b"killed-2"])
    worker.kill()
    assert shop.freezes("killed") == []
    shop.run(incident, first=BEFORE_S + CALM_S + 1, last=DECIDED_S)
    worker.start()
    made = shop.frozen(incident)

    # Killed again, after the freeze and with a person's early end of it.
    at = int(time.time() * 1_000)
    shop.order(Order(id="o-3", verb=Verb.UNFREEZE, time=at, by="kim", reason="fixed", freeze=made.id))
    [_, ended] = several("the end", 2, lambda: shop.freezes("killed"))
    worker.kill()
    shop.run(incident, first=DECIDED_S)
    worker.start()
    worker.ready()
    marker = Incident("after-the-kill", start + 100_000)
    shop.change(marker)
    shop.run(marker)
    shop.frozen(marker)
    # Whatever else was said of it, its early end is the last word.
    assert {freeze.id for freeze in shop.freezes("killed")} == {made.id}
    assert shop.freezes("killed")[-1] == ended
    # What could not be read was buried once, though it was read again.
    assert len(shop.look(topics.DEADLETTER.name)) == dead_before
    assert worker.metric("haltline_dead_letters_total") == 0
    assert worker.metric("haltline_orders_total") <= 1  # the one that was not yet acknowledged


def test_a_broker_that_comes_back_is_used_again(shop: Shop, worker: WorkerProcess, start: int) -> None:
    incident = Incident("after-the-broker", start)
    shop.change(incident)
    shop.run(incident, last=BEFORE_S)
    worker.ready()
    pid = worker.pid
    shop.kafka.kill()
    time.sleep(3)
    shop.kafka.start()
    shop.run(incident, first=BEFORE_S)
    shop.frozen(incident)
    assert worker.running
    assert worker.pid == pid


def test_two_workers_share_the_partitions_and_one_takes_over(
    shop: Shop, worker: WorkerProcess, policy: Path, start: int, tmp_path: Path
) -> None:
    worker.ready()
    with WorkerProcess(shop.bootstrap, tmp_path, "--policy", str(policy)) as other:
        held = wait_for("both to have partitions", lambda: _shared(shop))
        first, second = held.values()
        assert not first & second
        assert {number for topic, number in first | second if topic == TELEMETRY} == set(range(PARTITIONS))
        benches = [partitions for partitions in held.values() if (topics.EVIDENCE.name, 0) in partitions]
        assert (topics.ORDERS.name, 0) in benches[0]
        worker.ready()
        other.ready()
        everywhere = range(PARTITIONS)
        incidents = [Incident(f"shared-{number}", start) for number in everywhere]
        shop.change(*incidents)
        shop.run(*incidents, partitions=everywhere)
        for incident in incidents:
            shop.frozen(incident)
        assert worker.metric("haltline_points_total") > 0
        assert other.metric("haltline_points_total") > 0

        # In the middle of the next incidents, wherever they are, one of the two dies.
        later = [Incident(f"later-{number}", start + 100_000) for number in everywhere]
        shop.change(*later)
        shop.run(*later, last=BEFORE_S + CALM_S + 1, partitions=everywhere)
        worker.kill()
        shop.run(*later, first=BEFORE_S + CALM_S + 1, partitions=everywhere)
        for incident in later:
            shop.frozen(incident)
        assert not any(len(shop.freezes(one.service)) > 1 for one in (*incidents, *later))
        assert several("the verdicts", 2, lambda: shop.verdicts("shared-0-2")) == ["warming", "harmful"]
        assert other.stop() == 0


def _shared(shop: Shop) -> dict[str, frozenset[tuple[str, int]]] | None:
    """The partitions of each member of the group, once there are two that have some."""
    from kafka import KafkaAdminClient

    with KafkaAdminClient(bootstrap_servers=shop.bootstrap) as admin:
        members = admin.describe_groups(["haltline"])["haltline"]["members"]
    held = {
        member["member_id"]: frozenset(
            (one["topic"], number)
            for one in (member["member_assignment"] or {}).get("assigned_partitions", ())
            for number in one["partitions"]
        )
        for member in members
    }
    return held if len(held) == 2 and all(held.values()) else None


def test_telemetry_without_a_key_is_brought_together_once(
    shop: Shop, worker: WorkerProcess, policy: Path, start: int, tmp_path: Path
) -> None:
    """The same freezes as of telemetry keyed by service, from two workers."""
    incidents = [Incident(f"unkeyed-{number}", start, seed=number) for number in range(2)]
    peace = Incident("unkeyed-peace", start, harmful=False)

    def columns(passed: Reader) -> list[Columns]:
        return [decode_columns(record.value, SeriesIds()) for record in passed.look()]

    with WorkerProcess(shop.bootstrap, tmp_path, "--policy", str(policy)) as second:
        wait_for("both to have partitions", lambda: worker.samples(LAG) and second.samples(LAG))
        shop.change(*incidents, peace)
        passed = Reader(shop.bootstrap, topics.BY_SERVICE.name)
        # As a collector does: every message to the next partition, whatever it tells of. In the pace of life: a second
        # has passed all workers before the next begins.
        partition, sent = itertools.cycle(range(PARTITIONS)), 0
        for second_of_life in range(len(peace.telemetry) // INSTANCES):
            for incident in (*incidents, peace):
                for record in incident.telemetry[second_of_life * INSTANCES :][:INSTANCES]:
                    shop.send(TELEMETRY, encoded(record), partition=next(partition))
                    sent += len(record["metrics"])
            wait_for("the second to pass", lambda: sum(map(len, columns(passed))) >= sent)  # noqa: B023
        for incident in incidents:
            shop.frozen(incident)
        assert shop.freezes(peace.service) == []
        assert second.stop() == 0
    places: dict[str, set[int]] = {}
    for record, told in zip(passed.records, columns(passed), strict=True):
        for key in told.keys:
            places.setdefault(key.service, set()).add(record.partition)
    passed.close()
    assert places.keys() == {incident.service for incident in (*incidents, peace)}
    for incident in incidents:
        assert places[incident.service] == {partition_of(incident.service, PARTITIONS)}


def test_a_metrics_address_that_is_taken_is_one_clear_line(shop: Shop, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with WorkerProcess(shop.bootstrap, tmp_path, "--metrics-address", address) as worker:
            wait_for("its end", lambda: not worker.running)
            assert worker.stop() == 1
            [line] = worker.said().strip().splitlines()
    assert f"cannot serve metrics at {address}: address already in use" in line


def test_faust_itself_starts_and_stops_it(shop: Shop, worker: WorkerProcess, start: int, tmp_path: Path) -> None:
    worker.ready()
    assert worker.stop() == 0
    command = [str(Path(sys.executable).parent / "faust"), "-A", "stream.app", "worker"]
    with WorkerProcess(
        shop.bootstrap,
        tmp_path,
        command=command,
        environment={"BROKER_URL": f"kafka://{shop.bootstrap}", "APP_DATADIR": str(tmp_path)},
    ) as faust:
        incident = Incident("by-faust", start)
        shop.change(incident)
        shop.telemetry(incident.telemetry)
        # Without a policy it observes.
        [freeze] = wait_for("the freeze", lambda: shop.freezes("by-faust") if faust.running else [])
        assert freeze.id == incident.freeze.id
        assert freeze.mode == "observe"
        assert faust.stop() == 0
        assert "Traceback" not in faust.said()

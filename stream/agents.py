"""Faust agents: each takes the records of its topics in order, has them worked on, and acknowledges what is durable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import faust
import msgspec
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from faust.types import TP, AppT, StreamT, TopicT
from prometheus_client import CollectorRegistry

from deploy.policy import Policy
from deploy.provenance.attestation import load_key
from stream import topics
from stream.broadcast import Broadcast
from stream.config import WorkerConfig
from stream.errors import Unreadable
from stream.metrics import Metrics, MetricsServer, freeze_times
from stream.snapshot_keeper import SnapshotKeeper, Taken
from stream.snapshot_topic import SnapshotTopic
from stream.watch import Watch
from stream.wire import decode_changes
from stream.wire.outgoing import Wire
from stream.wire.policies import decode_policy
from stream.worker import Message, Worker

log = logging.getLogger("haltline.agents")

_TICK_S = 0.5
_RETRY_S = 0.5
#: How long the ends of partitions may take to tell; until then silence is not judged.
_ENDS_S = 5.0
#: Events of telemetry that may wait, each of one fetch's records of a partition; more are left with the broker.
WAITING = 4
#: How long partitions are saved for when the worker is told to stop: orchestrators wait ten seconds and longer.
_LAST_S = 8.0
#: How long an agent works on its records before it lets the others have their turn.
_TURN_S = 0.002
#: Trying again does not make a record smaller.
_HOPELESS = (MessageSizeTooLargeError, RecordListTooLargeError)
Handler = Callable[[Message], Awaitable[None]]
Records: TypeAlias = Sequence[ConsumerRecord]


class Progress(msgspec.Struct):
    """How far this process has come in each partition, and what it holds.

    `topics` are those of the agents; `stateful` of them are those whose state lives in this process; `bulk` of those
    are telemetry.
    """

    topics: frozenset[str]
    stateful: frozenset[str]
    bulk: frozenset[str]
    #: The next record to work on; all before are done, and what they caused is durable.
    positions: dict[TP, int] = {}
    #: How far the group had come when the partition was assigned to this process.
    acknowledged: dict[TP, int] = {}
    #: The partitions of this process, and how often some of them were lost to another.
    held: frozenset[TP] = frozenset()
    losses: int = 0
    #: When the latest record worked on had reached the broker, Unix seconds.
    newest: dict[TP, float] = {}
    #: How many events of telemetry wait for their agent.
    waiting: Callable[[], int] = int
    #: The partitions of this process whose state is on its way; nothing is read of them until it is there.
    loading: frozenset[TP] = frozenset()
    #: How often each was sought after its state had come; those of `loading` of which records were thrown away.
    sought: dict[TP, int] = {}
    dropped: set[TP] = set()
    #: Has the state of these partitions brought, which are new here, and says which of them those are.
    load: Callable[[frozenset[TP]], frozenset[TP]] = lambda _fresh: frozenset()


class AsTheyCame(faust.Schema[Any, Any]):
    """Records as the broker gave them, several in one event; what they mean is the worker's."""

    def loads_key(self, app: AppT, message: Any, **_: Any) -> None:
        return None

    def loads_value(self, app: AppT, message: Any, **_: Any) -> Any:
        return message.value


def install(app: faust.App, config: WorkerConfig, policy: Policy, watch_type: type[Watch] = Watch) -> Progress:
    """Give the app its agents, timers and services."""
    bench = (topics.EVIDENCE.name, topics.ORDERS.name)
    telemetry = (*config.telemetry_topics, topics.BY_SERVICE.name)
    group = (*telemetry, *bench)
    # Those that only bury what cannot be read; what can is heard by every worker.
    intakes = (*config.change_topics, topics.POLICIES.name)
    progress = Progress(
        topics=frozenset((*group, *intakes)),
        stateful=frozenset(group),
        bulk=frozenset(telemetry),
    )
    metrics = Metrics(
        CollectorRegistry(),
        version=version("haltline"),
        topics=(*group, *intakes),
        freezes=lambda: map(freeze_times, worker.freezes()),
    )

    async def send(topic: str, wire: Wire, partition: int | None = None) -> None:
        """Send until it is durable: there is nothing better to do than to wait for the broker."""
        while True:
            try:
                await app.producer.send_and_wait(topic, wire.key, wire.value, partition, None, wire.headers)  # type: ignore[arg-type]  # Faust's own type leaves out headers without a value
                return
            except (KafkaError, faust.exc.ProducerSendError) as error:  # type: ignore[attr-defined]  # re-exported lazily
                if isinstance(error, _HOPELESS) or isinstance(error.__cause__, _HOPELESS):
                    raise
                log.warning("cannot write to %s: %s; trying again", topic, error)
                await asyncio.sleep(_RETRY_S)

    worker = Worker(
        policy,
        metrics,
        send,
        watch=watch_type,
        follow=config.policy is None,
        keys=[load_key(pem) for pem in config.attestation_keys],
    )
    pending: set[asyncio.Task[None]] = set()

    async def follow_up(topic: str, value: bytes | None, headers: object, timestamp: int) -> None:
        try:
            with worker.unfinished():
                for change, reports in worker.hear(topic, value, headers, timestamp):  # type: ignore[arg-type]  # aiokafka is untyped
                    await worker.announce(change)
                    await worker.report(reports, int(time.time() * 1_000))
        except Exception:  # a defect of ours must cost one record, not the worker's hearing
            log.exception("defect while hearing a record of %s", topic)

    heard: asyncio.Queue[tuple[str, bytes | None, object, int]] = asyncio.Queue()
    servers = (
        config.bootstrap_servers or f"{app.conf.broker_consumer[0].host}:{app.conf.broker_consumer[0].port or 9092}"
    )
    known = asyncio.Event()
    states = _States(app, config, servers, worker, progress, metrics, known)
    progress.load = states.load
    broadcast = Broadcast(
        servers,
        config.client,
        (*intakes, topics.ORDERS.name, topics.FREEZES.name, topics.VERDICTS.name),
        lambda topic, value, headers, timestamp: heard.put_nowait((topic, value, headers, timestamp)),
    )
    served: list[MetricsServer] = []

    @app.task  # type: ignore[untyped-decorator]  # faust leaves it so
    async def listen() -> None:
        """Hear what every worker must know, in order, as long as the worker runs."""
        if config.metrics_address:
            host, _, port = config.metrics_address.rpartition(":")
            try:
                served.append(metrics.serve(int(port), host))
                log.info("metrics at http://%s:%d/metrics", host, served[0].port)
            except OSError as error:
                # Prometheus tells people that it cannot scrape; a breaker without metrics still breaks.
                log.error("no metrics at %s: %s", config.metrics_address, error)
        task = asyncio.ensure_future(broadcast.run())
        pending.add(task)
        try:
            while True:
                if broadcast.caught_up.is_set() and heard.empty():
                    known.set()
                try:
                    record = await asyncio.wait_for(heard.get(), 0.1 if not known.is_set() else None)
                except TimeoutError:
                    continue
                await follow_up(*record)
        finally:
            task.cancel()
            await states.close()
            for server in served:
                server.close()

    async def drain(
        stream: StreamT[Records], handle: Handler, settle: Callable[[], Awaitable[None]] = _nothing
    ) -> None:
        """Work through a stream in order. What cannot be read is buried; nothing else stops the stream.

        What a record causes is durable when `handle` returns or, where more is gained together, `settle`.
        """
        await known.wait()
        async for event in stream.noack().events():  # type: ignore[attr-defined]  # missing in faust's interface class
            tp, losses, generation = event.message.tp, progress.losses, app.consumer_generation_id
            acknowledged = progress.acknowledged.get(tp, 0)
            metrics.message(tp.topic)
            since = time.perf_counter()
            for record in event.value:
                message = _message(record, acknowledged)
                try:
                    await handle(message)
                except Unreadable as error:
                    await worker.bury(message, error)
                except Exception as error:  # a defect of ours must cost one record, not the stream
                    log.exception("defect while working on %s/%d@%d", message.topic, message.partition, message.offset)
                    await worker.bury(message, error)
                # What was lost to another worker while this record was worked on has no state here any more.
                if losses != progress.losses:
                    break
                if settle is _nothing or worker.settled:
                    progress.positions[tp] = message.offset + 1
                    progress.newest[tp] = message.timestamp / 1_000
                if time.perf_counter() - since > _TURN_S:
                    await asyncio.sleep(0)
                    since = time.perf_counter()
                # In a rebalance the rest comes again, from the position, if the partition stays.
                if generation != app.consumer_generation_id or not app.flow_control.is_active():
                    break
            await settle()
            if losses == progress.losses:
                progress.positions[tp] = message.offset + 1
                progress.newest[tp] = message.timestamp / 1_000
            states.save()
            event.ack()

    def read(*names: str) -> TopicT:
        return app.topic(*names, schema=AsTheyCame())

    @app.agent(read(*telemetry))
    async def watch(stream: StreamT[Records]) -> None:
        """Telemetry to evidence."""
        progress.waiting = stream.channel.queue.qsize  # type: ignore[attr-defined]  # missing in faust's interface class
        worker.partitions = await _partitions(app, telemetry)
        await drain(stream, worker.telemetry, worker.settle)

    @app.agent(read(topics.EVIDENCE.name))
    async def judge(stream: StreamT[Records]) -> None:
        """Evidence to verdicts and freezes."""
        await drain(stream, worker.evidence)

    @app.agent(read(topics.ORDERS.name))
    async def obey(stream: StreamT[Records]) -> None:
        """Operator orders to freezes."""
        await drain(stream, worker.order)

    @app.agent(read(*intakes))
    async def intake(stream: StreamT[Records]) -> None:
        """Changes and policies that cannot be read to the dead letters."""

        async def look(message: Message) -> None:
            if message.topic == topics.POLICIES.name:
                decode_policy(message.value, message.headers)
                return
            decode_changes(message.topic, message.value, message.headers)

        await drain(stream, look)

    @app.on_partitions_assigned.connect  # type: ignore[arg-type]  # its signals are typed for methods
    async def forget(_app: object, assigned: set[TP], **_: object) -> None:
        # Not when they are revoked: every rebalance revokes all of them, and most come straight back.
        lost, progress.held = progress.held - assigned, frozenset(assigned)
        if not lost:
            return
        progress.losses += 1
        for tp in lost:
            progress.positions.pop(tp, None)
            progress.newest.pop(tp, None)
        progress.loading -= lost
        for partition in {tp.partition for tp in lost if tp.topic in telemetry}:
            states.keeper.forget(partition)
        worker.keep({tp.partition for tp in assigned if tp.topic in telemetry})
        if any(tp.topic == topics.EVIDENCE.name for tp in lost):
            worker.leave_the_bench()

    @app.on_before_shutdown.connect
    async def leave(*_: object, **__: object) -> None:
        # Nothing more is fetched, and what is written can still be.
        await states.last()

    @app.timer(_TICK_S)  # type: ignore[untyped-decorator]  # faust leaves it so
    async def tick() -> None:
        if not known.is_set():
            return
        states.save()
        clock = worker.clock
        await worker.tick(await _read_out(app, progress, telemetry), clock)
        if any(tp.topic == topics.EVIDENCE.name for tp in app.consumer.assignment()):
            await worker.judge()
            await worker.give_up()
        _measure_lag(app, progress, metrics)

    return progress


class _States:
    """The state of each partition of telemetry, saved now and then, and brought when the partition comes."""

    def __init__(
        self,
        app: faust.App,
        config: WorkerConfig,
        servers: str,
        worker: Worker,
        progress: Progress,
        metrics: Metrics,
        known: asyncio.Event,
    ) -> None:
        self._app, self._worker, self._progress, self._known = app, worker, progress, known
        self._bringing: asyncio.Task[None] | None = None
        topic = SnapshotTopic(servers, config.client, config.group, self._put)
        self.keeper = SnapshotKeeper(topic, metrics, self._take, worker.restore, self._place, config.snapshot_s)

    def save(self) -> None:
        """Save a partition if it is time; called between two records."""
        if self._worker.saves and self._app.flow_control.is_active():
            self.keeper.turn(self._mine())

    async def last(self) -> None:
        """Save all partitions once more, so that who comes next has little to read; not for long."""
        if not self._worker.saves:
            return
        try:
            await asyncio.wait_for(self.keeper.last(self._mine()), _LAST_S)
        except TimeoutError:
            log.warning("stopped before every partition was saved: who comes next reads more of the topics")

    def _mine(self) -> set[int]:
        """The partitions of telemetry whose state is here."""
        held = {tp.partition for tp in self._app.consumer.assignment() if tp.topic in self._progress.bulk}
        return held - {tp.partition for tp in self._progress.loading}

    def load(self, fresh: frozenset[TP]) -> frozenset[TP]:
        """Begin to bring the state of partitions that are new here; those of telemetry are not read until it is there.

        What this process has goes on being read meanwhile.
        """
        if self._bringing is not None:
            self._bringing.cancel()
        # Topics share the state of a partition: one that is read already has it.
        known = {tp.partition for tp in self._progress.positions if tp.topic in self._progress.bulk}
        coming = frozenset(tp for tp in fresh if tp.topic in self._progress.bulk and tp.partition not in known)
        if not self._worker.saves or not coming:
            return frozenset()
        self._bringing = asyncio.ensure_future(self._bring(coming))
        return coming

    async def close(self) -> None:
        if self._bringing is not None:
            self._bringing.cancel()
        await self.keeper.close()

    async def _bring(self, coming: frozenset[TP]) -> None:
        for number in sorted({tp.partition for tp in coming}):
            mine = {tp for tp in coming if tp.partition == number}
            while mine & self._progress.loading:
                try:
                    await self._bring_one(number, mine)
                except Exception as error:  # a partition that nobody reads would be worse than one read late
                    log.warning("cannot find out where to read on in partition %d: %r; trying again", number, error)
                    await asyncio.sleep(_RETRY_S)

    async def _bring_one(self, number: int, mine: set[TP]) -> None:
        consumer, progress = self._app.consumer, self._progress
        # A state is of the policies that all workers hear of.
        await self._known.wait()
        self._worker.drop(number)
        beginnings = await consumer.earliest_offsets(*mine)
        ends = await consumer.highwaters(*mine)
        starts = await self.keeper.restore(number, {tp.topic: ends.get(tp) or 0 for tp in mine})
        if not starts or not mine <= consumer.assignment():
            self._worker.drop(number)
        if mine <= consumer.assignment():
            # From here on they are this process's, also if it is interrupted before it has sought them.
            progress.positions |= {tp: max(starts.get(tp.topic, 0), beginnings.get(tp) or 0) for tp in mine}
            for tp in sorted(mine):
                progress.dropped.add(tp)
                # What was fetched from there and thrown away meanwhile is to be fetched again.
                while tp in progress.dropped:
                    progress.dropped.discard(tp)
                    await consumer.seek(tp, progress.positions[tp])
                progress.sought[tp] = progress.sought.get(tp, 0) + 1
                progress.loading -= {tp}
        progress.loading -= mine

    def _take(self, number: int) -> Taken | None:
        mine = [
            tp for tp in self._app.consumer.assignment() if tp.partition == number and tp.topic in self._progress.bulk
        ]
        if any(tp not in self._progress.positions for tp in mine):
            return None
        state = self._worker.snapshot(number)
        return state and Taken(state, {tp.topic: self._progress.positions[tp] for tp in mine})

    async def _put(self, key: bytes, value: bytes | None, place: int) -> int:
        sent = await self._app.producer.send_and_wait(topics.SNAPSHOTS.name, key, value, place, None, None)
        return int(sent.offset)

    async def _place(self, number: int) -> int:
        name = topics.SNAPSHOTS.name
        count = len(await self._app.producer._ensure_producer().partitions_for(name))  # type: ignore[attr-defined]
        return number % count


def _message(record: ConsumerRecord, acknowledged: int) -> Message:
    return Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp=record.timestamp or 0,
        again=record.offset < acknowledged,
    )


async def _nothing() -> None:
    return None


async def _partitions(app: faust.App, names: Sequence[str]) -> int:
    """How many partitions telemetry by service has. Faust gives the same worker what has the same number in all."""
    counts = {name: len(await app.producer._ensure_producer().partitions_for(name)) for name in names}  # type: ignore[attr-defined]
    if len({*counts.values()}) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        log.warning("telemetry topics differ in their partitions (%s): a service may be in two workers", told)
    return counts[topics.BY_SERVICE.name]


def _behind(app: faust.App, progress: Progress, tp: TP) -> int:
    """Records of this partition that are still to be worked on."""
    end = app.consumer.highwater(tp)
    position = progress.positions.get(tp)
    if tp in progress.loading:
        # How far its state goes is not known yet.
        return max(1, int(end or 0) - progress.acknowledged.get(tp, 0))
    return 0 if end is None or position is None else max(0, int(end) - int(position))


async def _read_out(app: faust.App, progress: Progress, names: tuple[str, ...]) -> list[int]:
    """The partitions that are read to their end in every telemetry topic, as the broker has it now.

    The ends known from the last fetch are too old to tell silence from a record that is on its way.
    """
    mine = [tp for tp in app.consumer.assignment() if tp.topic in names]
    if not mine:
        return []
    try:
        ends = await asyncio.wait_for(app.consumer.highwaters(*mine), _ENDS_S)
    except (KafkaError, TimeoutError):
        return []
    busy = {tp.partition for tp in mine if progress.positions.get(tp, 0) < ends.get(tp, 0)}
    return sorted({tp.partition for tp in mine} - busy)


def _measure_lag(app: faust.App, progress: Progress, metrics: Metrics) -> None:
    now = time.time()
    behind: dict[str, tuple[int, float]] = {}
    for tp in app.consumer.assignment():
        if tp.topic in progress.stateful:
            count = _behind(app, progress, tp)
            age = now - progress.newest.get(tp, now) if count else 0.0
            records, seconds = behind.get(tp.topic, (0, 0.0))
            behind[tp.topic] = records + count, max(seconds, age)
    for topic, (records, seconds) in behind.items():
        metrics.lag(topic, records=records, seconds=seconds)

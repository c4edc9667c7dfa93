"""The worker's state and what it does with each record; Faust brings the records and takes the results.

Kept apart from Faust so that what is decided can be read, and tested, without it. `send(topic, wire)` returns when the
record is durable; the record that caused it is acknowledged only after that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from deploy.chain import Chain
from deploy.change import Change
from deploy.evidence import Report
from deploy.freeze import Freeze, State, state_of
from deploy.judge import Decision, Judge
from deploy.policy import Policies, Policy, policy_id
from deploy.provenance.ordered import ordered_piece
from deploy.times import format_duration, format_time
from deploy.verdict import Verdict
from stream import topics
from stream.columns import Columns, SeriesKey
from stream.dead_letter import dead_letter
from stream.errors import Unreadable
from stream.histograms import Histograms, asked_of
from stream.metrics import Metrics
from stream.repartition import Repartition, keyed_by_service
from stream.series_ids import SeriesIds
from stream.service import ServiceSamples
from stream.snapshots import Kept, SnapshotRefused, part_of, under
from stream.snapshots import State as Saved
from stream.watch import Watch
from stream.wire import decode_telemetry, decode_told
from stream.wire.by_service import decode_columns
from stream.wire.outgoing import (
    Wire,
    decode_freeze,
    decode_order,
    decode_report,
    decode_verdict,
    encode_freeze,
    encode_report,
    encode_verdict,
)
from stream.wire.policies import decode_policy

if TYPE_CHECKING:
    from deploy.provenance.attestation import Key

log = logging.getLogger("haltline.worker")

Headers = Sequence[tuple[str, bytes]]
Send = Callable[[str, Wire, int | None], Awaitable[object]]

#: On an evidence record: when the sample that gave rise to it reached the broker, Unix milliseconds.
ARRIVED = "haltline-arrived"
#: A decision about data at most this old is about now: its freeze counts from when it was made, not from the sample.
_LIVE_MS = 60 * 60_000
#: A sender's clock may be wrong by the hour of a summer time; more than this is no clock.
_AHEAD_MS = 2 * 60 * 60_000
#: A policy is for changes that begin this much later than Kafka took it: by then every worker has heard of it, so that
#: it does not matter who heard what first.
SETTLING_MS = 5_000
#: How long after the end of its watch a change of which nothing was heard is given up.
_GRACE_MS = 60_000
#: That a service has too many series is said this often.
_QUIET_S = 60.0
#: Of what this file adds to the state of a watch.
_LAYOUT = 1


class Message(msgspec.Struct, frozen=True):
    """One Kafka record as it came; `timestamp` is Unix milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    #: Whether the group had acknowledged it before this process read it to know what it knows: what had to be written
    #: because of it has been written.
    again: bool = False


class Worker:
    """What one worker process knows."""

    def __init__(
        self,
        policy: Policy,
        metrics: Metrics,
        send: Send,
        partitions: int = 1,
        watch: type[Watch] = Watch,
        *,
        follow: bool = False,
        keys: Sequence[Key] = (),
    ) -> None:
        """`partitions` is how many the telemetry by service has; with one there is nothing to bring together.

        With `follow` the policies on their topic replace this one. With `keys` an attestation must be signed with one.
        """
        self._make = watch
        self.metrics, self._send, self._keys = metrics, send, keys
        self.follows, self._policies = follow, Policies(policy)
        metrics.policy(policy_id(policy))
        self._changes: list[Change] = []
        #: Who made and approved changes, as far as others than their own records told.
        self._chain = Chain()
        self._heard: dict[str, int] = {}
        self._freezes: dict[str, Freeze] = {}
        self._spoken: dict[str, Verdict] = {}
        asked = asked_of([policy])
        self._asked_for = 1
        self._series = SeriesIds(buckets_of=asked)
        self._series.newest_of = self._newest
        self._histograms = Histograms(self._series, asked)
        self._watches: dict[int, Watch] = {}
        self.partitions = partitions
        #: When it was last said that a service has too many series.
        self._warned: dict[str, float] = {}
        self._passing = Repartition()
        #: How much is under way whose effect is in the state and not yet durable.
        self._unfinished = 0
        #: When the latest record of each partition reached the broker, Unix milliseconds.
        self._arrived: dict[int, int] = {}
        self._judge: Judge | None = None

    # -- what every worker hears --------------------------------------------------------------------------------------

    def hear(
        self, topic: str, value: bytes | None, headers: Headers, timestamp: int = 0
    ) -> list[tuple[Change, list[Report]]]:
        """Take in a record that all workers see; returns the evidence that a change gave rise to, by change.

        `timestamp` is when Kafka took it, Unix milliseconds.
        """
        try:
            if topic == topics.POLICIES.name:
                self._hear_policy(value, headers, timestamp)
                return []
            if topic == topics.ORDERS.name:
                piece = ordered_piece(decode_order(value, headers))
                if piece is not None:
                    self._chain.tell(piece)
                return []
            if topic == topics.FREEZES.name:
                if value is not None:
                    freeze = decode_freeze(value, headers)
                    self._freezes[freeze.id] = freeze
                    if self._judge is not None:
                        self._judge.freezes.record(freeze)
                return []
            if topic == topics.VERDICTS.name:
                if value is not None:
                    verdict = decode_verdict(value, headers)
                    self._spoken[verdict.change] = verdict
                return []
            changes, pieces = decode_told(topic, value, headers, self._keys)
        except Unreadable:
            # The one worker that has this partition in its group answers for it, with a dead letter.
            return []
        for piece in pieces:
            self._chain.tell(piece)
        return [(change, self._hear_change(change)) for change in changes]

    def _hear_policy(self, value: bytes | None, headers: Headers, timestamp: int) -> None:
        if not self.follows:
            return
        try:
            record, policy, warnings = decode_policy(value, headers)
        except Unreadable as error:
            log.error("policy refused, %s stays: %s", policy_id(self._policies.latest), error)
            raise
        for warning in warnings:
            log.warning(warning)
        since, identity = timestamp + SETTLING_MS, policy_id(policy)
        self._policies.take(policy, since)
        self.metrics.policy(identity)
        log.info("policy %s by %s is for changes from %s", identity, record.by or "nobody named", format_time(since))

    def _hear_change(self, change: Change) -> list[Report]:
        self._changes.append(change)
        self._heard.setdefault(change.id, _now())
        return [
            report
            for number in sorted(self._watches)
            for report in _aged(self._watches[number].change(change), self._arrived.get(number, 0))
        ]

    def freezes(self) -> tuple[Freeze, ...]:
        """A snapshot of every freeze known here."""
        return tuple(self._freezes.values())

    # -- watch --------------------------------------------------------------------------------------------------------

    def _everyone(self) -> list[ServiceSamples]:
        """The services of every partition that this worker reads."""
        return [service for watch in self._watches.values() for service in watch.services()]

    def watch(self, partition: int) -> Watch:
        """The watch of one partition of telemetry; a new one knows all changes from the start."""
        watch = self._watches.get(partition)
        if watch is None:
            watch = self._watches[partition] = self._make(self._policies, self._everyone)
            for change in sorted(self._changes, key=lambda one: one.time):
                watch.change(change)
        return watch

    def _newest(self, key: SeriesKey) -> int:
        return max((watch.newest(key) for watch in self._watches.values()), default=0)

    def keep(self, partitions: Set[int]) -> None:
        """The other partitions went to other workers, which build their own state from the topic."""
        lost = self._watches.keys() - partitions
        self._histograms.lose(lost)
        for partition in lost:
            del self._watches[partition]
            self._arrived.pop(partition, None)

    async def telemetry(self, message: Message) -> None:
        """Take in one telemetry record; its evidence is durable when this returns."""
        await self._ask(message.timestamp)
        if message.topic == topics.BY_SERVICE.name:
            columns = decode_columns(message.value, self._series)
            arrived = message.timestamp if columns.arrived is None else columns.arrived
            await self._watched(message.partition, columns, arrived)
            return
        columns = decode_telemetry(message.topic, message.value, message.headers, self._series, message.timestamp)
        ahead = int(columns.times.max()) - message.timestamp if len(columns) else 0
        if ahead > _AHEAD_MS:
            # It would move the service's clock on, and end every watch before its time.
            raise Unreadable("time", f"telemetry: a sample is {format_duration(ahead)} ahead of when it arrived")
        if self.partitions > 1 and not keyed_by_service(message.key, columns, self._series.services):
            if message.again:
                # It went on before it was acknowledged, and stands there now.
                return
            if not self._passing.fits(message.timestamp):
                await self.settle()
            self._passing.add(columns, message.timestamp)
            return
        await self._watched(message.partition, columns, message.timestamp)

    async def _watched(self, partition: int, columns: Columns, arrived: int) -> None:
        columns = self._histograms.derive(columns, partition)
        self._arrived[partition] = max(arrived, self._arrived.get(partition, 0))
        watch = self.watch(partition)
        # By when it came, so that who reads it again learns by the same policy.
        watch.learn_by(self._policies.at(self._arrived[partition]))
        reports = _aged(watch.telemetry(columns), arrived)
        self.metrics.points(len(columns))
        await self.report(reports, arrived)

    async def _ask(self, arrived: int) -> None:
        """Ask of histograms what any policy asked by now: who was asked and falls silent would look ill."""
        policies = self._policies.until(arrived)
        if len(policies) > self._asked_for:
            # The series of what is under way must not be given other numbers.
            await self.settle()
            self._asked_for = len(policies)
            self._histograms.ask(asked_of(policies))

    @property
    def settled(self) -> bool:
        """Whether all that was taken in is durable, or part of this process's state."""
        return not len(self._passing)

    async def settle(self) -> None:
        """Send on what waits to go to the partitions of its services; it is durable when this returns."""
        records = self._passing.take(self.partitions)
        name = topics.BY_SERVICE.name
        with self.unfinished():
            await asyncio.gather(*(self._send(name, Wire(None, value, []), partition) for partition, value in records))

    async def report(self, reports: Sequence[Report], arrived: int) -> None:
        if not reports:
            return
        wires = [encode_report(report) for report in reports]
        stamp = ARRIVED, str(arrived).encode()
        stamped = [msgspec.structs.replace(wire, headers=[*wire.headers, stamp]) for wire in wires]
        with self.unfinished():
            # Handed over in their order, and waited for together: one that decides may stand behind many.
            await asyncio.gather(*(self._send(topics.EVIDENCE.name, wire, None) for wire in stamped))

    # -- what outlives this process -----------------------------------------------------------------------------------

    @contextmanager
    def unfinished(self) -> Iterator[None]:
        """Until the end of this, what a watch knows may have effects that are not durable yet."""
        self._unfinished += 1
        try:
            yield
        finally:
            self._unfinished -= 1

    @property
    def saves(self) -> bool:
        """Whether there is state here that can be saved."""
        return issubclass(self._make, Kept)

    def snapshot(self, partition: int) -> Saved | None:
        """A copy of what is known of a partition; None while something that follows from it is not durable."""
        watch = self._watches.get(partition)
        if self._unfinished or not self.settled or not isinstance(watch, Kept):
            return None
        kept = watch.snapshot()
        if kept is None:
            return None
        header, arrays = kept
        arrived = self._arrived.get(partition, 0)
        told = {"layout": _LAYOUT, "policy": self._fingerprint(arrived), "arrived": arrived}
        _, points = self._histograms.snapshot(partition)
        return {**told, "watch": header}, under("watch", arrays) | under("histograms", points)

    async def restore(self, partition: int, saved: Saved) -> None:
        """Put a state of a partition in place; what it says of changes is durable when this returns.

        Raises:
            SnapshotRefused: it was made by another policy, or in a way that is not known here.
        """
        header, arrays = saved
        if header.get("layout") != _LAYOUT:
            raise SnapshotRefused(f"its layout is {header.get('layout')!r}, this worker reads {_LAYOUT}")
        arrived = int(header["arrived"])
        if header.get("policy") != self._fingerprint(arrived):
            raise SnapshotRefused("it was made under another policy")
        watch = self._make(self._policies, self._everyone)
        watch.learn_by(self._policies.at(arrived))
        if not isinstance(watch, Kept):
            raise SnapshotRefused("this worker keeps no state")
        # Nobody else knows this one yet; what else this process reads goes on meanwhile.
        await asyncio.to_thread(watch.restore, header["watch"], part_of(arrays, "watch"))
        await self._ask(arrived)
        self._histograms.restore(partition, part_of(arrays, "histograms"))
        self._watches[partition] = watch
        self._arrived[partition] = arrived
        with self.unfinished():
            for change in sorted(self._changes, key=lambda one: one.time):
                await self.report(_aged(watch.change(change), arrived), _now())

    def drop(self, partition: int) -> None:
        """Nothing is known of this partition."""
        self._histograms.lose({partition})
        self._watches.pop(partition, None)
        self._arrived.pop(partition, None)

    def _fingerprint(self, arrived: int) -> str:
        """Of the policies in force by then, by which everything was learned."""
        first, *rest = self._policies.until(arrived)
        taken = zip(self._policies.since(arrived), rest, strict=True)
        said = [policy_id(first), *(f"{since} {policy_id(policy)}" for since, policy in taken)]
        return blake2b("\n".join(said).encode(), digest_size=8).hexdigest()

    @property
    def clock(self) -> int:
        """The latest time that telemetry here has told of, Unix milliseconds."""
        return max((watch.clock for watch in self._watches.values()), default=0)

    async def tick(self, idle: Sequence[int], clock: int) -> None:
        """Time passes for the partitions that had nothing left to read after it was `clock`: silence is silence."""
        # Not by the clock on the wall: a worker that reads old records again comes to the same.
        leading = max(self._watches, key=lambda number: self._watches[number].clock, default=None)
        arrived = self._arrived.get(leading, 0) if leading is not None else 0
        for partition in idle:
            if watch := self._watches.get(partition):
                await self.report(_aged(watch.advance(clock), arrived), _now())
        self._tidy()
        self.metrics.series(sum(watch.series for watch in self._watches.values()))
        self.metrics.watched(sum(watch.watched for watch in self._watches.values()))

    def _tidy(self) -> None:
        """Give back the numbers of series that are no more, and read no more of those that are too many."""
        if not self.settled:
            return
        refused = [key for watch in self._watches.values() for key in watch.refused]
        gone = [key for watch in self._watches.values() for key in watch.gone]
        for watch in self._watches.values():
            watch.refused, watch.gone = [], []
        for service, count in Counter(key.service for key in refused).items():
            self.metrics.refused_series(service, count)
            most, now = self._policies.latest.series.per_service, time.monotonic()
            if now - self._warned.get(service, -_QUIET_S) >= _QUIET_S:
                self._warned[service] = now
                log.warning("%s has more than %d series; new ones are not read (policy: series)", service, most)
        for keys, put_away in ((gone, self._series.drop), (refused, self._series.refuse)):
            numbers = self._series.numbers(keys)
            if len(numbers):
                self._histograms.forget(numbers)
                put_away(numbers)
                for watch in self._watches.values():
                    watch.forget(numbers)

    # -- judge --------------------------------------------------------------------------------------------------------

    async def judge(self) -> Judge:
        """The judge, as this worker is to judge: it starts from the freezes that stand and hears the evidence again."""
        if self._judge is None:
            self._judge = Judge(self._policies)
            for freeze in self._freezes.values():
                self._judge.freezes.record(freeze)
            for change in sorted(self._changes, key=lambda one: one.time):
                await self._decide(self._judge.change(self._chain.enrich(change, until=change.time)), _now())
        return self._judge

    def leave_the_bench(self) -> None:
        """Another worker judges now."""
        self._judge = None

    async def evidence(self, message: Message) -> None:
        """Judge one evidence record; its verdict and freeze are durable when this returns."""
        report = decode_report(message.value, message.headers)
        arrived = next((int(value) for name, value in message.headers if name == ARRIVED), message.timestamp)
        judge = await self.judge()
        await self._decide(judge.report(report), arrived)

    async def announce(self, change: Change) -> None:
        """A change became known while this worker judges."""
        if self._judge is not None:
            await self._decide(self._judge.change(self._chain.enrich(change, until=change.time)), _now())

    async def order(self, message: Message) -> None:
        """Carry out an operator's order."""
        order = decode_order(message.value, message.headers)
        judge = await self.judge()
        for freeze in judge.order(order):
            assert isinstance(freeze, Freeze)
            self._freezes[freeze.id] = freeze
            await self._send(topics.FREEZES.name, encode_freeze(freeze, order.time), None)
        if not message.again:
            self.metrics.order(order.verb.value)
            log.info("%s by %s: %s", order.verb.value, order.by, order.reason)

    async def give_up(self) -> None:
        """Close the watch of changes of which no telemetry ever came, by the clock on the wall alone."""
        if self._judge is None:
            return
        now = _now()
        for identity, length in self._judge.unheard():
            if now > self._heard.get(identity, now) + length + _GRACE_MS:
                await self._decide(self._judge.close_unheard(identity), now)

    async def _decide(self, decisions: Sequence[Decision], arrived: int) -> None:
        # The freeze first: seconds count for it, and the verdict that it follows from is said again if need be.
        for decision in decisions:
            if isinstance(decision, Freeze):
                await self._freeze(decision, arrived)
        for decision in decisions:
            if isinstance(decision, Verdict) and not self._already_said(decision):
                if decision.hold_until is not None:
                    await self._hold(decision, decision.hold_until)
                    continue
                self._spoken[decision.change] = decision
                await self._send(topics.VERDICTS.name, encode_verdict(decision), None)
                self.metrics.verdict(decision.state.value)
                log.info("%s %s: %s", decision.change, decision.state.value, decision.reason)

    async def _hold(self, verdict: Verdict, until: int) -> None:
        """Say a verdict that makes new starts wait, unless that is over: history makes nobody wait."""
        late = _now() - verdict.time
        if late < _LIVE_MS:
            # As with a freeze: the seconds count from when they are said.
            verdict = msgspec.structs.replace(verdict, hold_until=until + late)
        if not verdict.held_at(_now()):
            return
        before = self._spoken.get(verdict.change)
        self._spoken[verdict.change] = verdict
        await self._send(topics.VERDICTS.name, encode_verdict(verdict), None)
        if before is None or not before.held_at(_now()):
            self.metrics.held(verdict.hold_mode.value)
            log.info("%s new starts on %s wait: %s", verdict.hold_mode.value, verdict.service, verdict.reason)

    def _already_said(self, verdict: Verdict) -> bool:
        """Whether what was said before this process started goes as far as this verdict, or further."""
        said = self._spoken.get(verdict.change)
        return said is not None and _reach(said) >= _reach(verdict)

    async def _freeze(self, freeze: Freeze, arrived: int) -> None:
        decided = freeze.starts_at
        late = _now() - freeze.starts_at
        if late < _LIVE_MS and late != 0:
            # A worker that lags, or a sample that came late, must not use up the time that the freeze is to hold;
            # nor may a sender's clock that runs ahead put it off.
            freeze = msgspec.structs.replace(
                freeze, starts_at=freeze.starts_at + min(late, 0), ends_at=freeze.ends_at + late
            )
            (await self.judge()).freezes.record(freeze)
        self._freezes[freeze.id] = freeze
        await self._send(topics.FREEZES.name, encode_freeze(freeze, decided), None)
        now = _now()
        self.metrics.froze(
            freeze.level,
            freeze.mode.value,
            change=freeze.caused_by,
            decision_seconds=(now - arrived) / 1_000,
            sample_age_seconds=(now - decided) / 1_000 if now - decided < _LIVE_MS else None,
        )
        if state_of(freeze, now) is not State.EXPIRED:
            log.warning("%s %s: %s", freeze.mode.value, freeze.id, freeze.reason)

    # -- what cannot be read ------------------------------------------------------------------------------------------

    async def bury(self, message: Message, error: Exception) -> None:
        """Put a record that cannot be read into the dead-letter topic, whole and once; the stream goes on."""
        if message.again:
            return
        wire = dead_letter(
            message.topic, message.partition, message.offset, message.key, message.value, message.headers, error
        )
        try:
            await self._send(topics.DEADLETTER.name, wire, None)
        except Exception as refused:  # it must not stop the stream that it was taken out of
            log.error("lost %s/%d@%d: %s", message.topic, message.partition, message.offset, refused)
        kind = error.kind if isinstance(error, Unreadable) else "internal"
        self.metrics.dead_letter(message.topic, kind)
        log.warning("dead letter %s/%d@%d (%s): %s", message.topic, message.partition, message.offset, kind, error)


def _reach(verdict: Verdict) -> tuple[bool, int, bool]:
    """How far a verdict goes; of two of one moment the one that came to a state follows the one that only holds."""
    return verdict.ended, verdict.time, verdict.hold_until is None


def _aged(reports: Sequence[Report], arrived: int) -> list[Report]:
    """With how old their newest samples were when they arrived: a worker that lags says the same, only later."""
    return [msgspec.structs.replace(one, sample_age_ms=max(0, arrived - one.time)) for one in reports]


def _now() -> int:
    return int(time.time() * 1_000)

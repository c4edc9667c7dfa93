"""Watch: from samples and changes to evidence. Holds nearly all the work, and scales out by partition.

Everything is a function of the records and their own times. Evidence for a change is computed from the samples kept of
its service, so it does not matter whether the change or the samples of its time arrived first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import log
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.calls import Calls
from deploy.change import Change, Phase
from deploy.evidence import Report
from deploy.policy import PeerMetrics, Policies, Policy
from stream.change_watch import ENDED, ChangeWatch
from stream.columns import Columns, Int32, SeriesKey
from stream.key_texts import KeyTexts
from stream.learning import HISTORY, Learned, Learning, Store
from stream.samples import Samples
from stream.service import Books, ServiceSamples
from stream.slots import FACTS
from stream.snapshots import SnapshotRefused, State, part_of, under
from stream.vector_watch import HISTORY as VECTOR_HISTORY
from stream.witness import Witness, always_asked, asked_then, telling

#: After a watch, this many samples of its service are still settling.
_SETTLING = 10
#: With evidence from here on it is worth knowing whether services that have nothing to do with it are ill too.
_WHO_ELSE = log(0.05)


#: In the place of a row: of a series that has none yet, and of one too many.
_NEW, _REFUSED = -1, -2
#: How often silent series are looked for in the time after which they are dropped.
_SWEEPS = 8
#: What `snapshot` gives; another layout is refused.
_LAYOUT = 1
_NO_FACTS, _NO_LINKS = np.empty((0, FACTS), np.int64), np.empty((0, 7), np.int64)


class Watch:
    """The evidence side of haltline for one partition of telemetry; deterministic in its records."""

    def __init__(
        self,
        policy: Policy | Policies,
        everyone: Callable[[], Iterable[ServiceSamples]] | None = None,
        *,
        history: int = HISTORY,
    ) -> None:
        """Each change is watched by the policy that was in force when it began.

        `everyone` gives the services that a young one may borrow from; by default those of this partition. Of each
        series at least `history` looks stay raw.
        """
        self._policies = Policies.of(policy)
        #: The policy by which services learn.
        self.policy = self._policies.at(0)
        self._history = history
        self.samples, self._texts = Samples(), KeyTexts()
        #: Series that were too many for their services, and those that were dropped because nothing came of them any
        #: more: whoever has a registry takes note of them, and empties these.
        self.refused: list[SeriesKey] = []
        self.gone: list[SeriesKey] = []
        #: The row of each series of a registry, or `_NEW` or `_REFUSED`.
        self._registry: Sequence[SeriesKey] = ()
        self._row_of: Int32 = np.empty(0, np.int32)
        #: By their numbers in the store of samples.
        self._numbered: list[ServiceSamples] = []
        #: What was learned of the signals of this partition.
        self.store = Store()
        self._everyone = everyone or self.services
        self.clock = 0
        self.points = 0
        #: Nothing later than this (Unix ms) is learned, beside what the changes under watch hold up.
        self.hold = 2**62
        self._calls: list[tuple[Policy, Calls]] = []
        #: The changes that bystanders were asked about.
        self._asked: set[str] = set()
        #: By service, environment and change under watch: who may be asked about it.
        self._held: dict[tuple[str, str, str], Sequence[ServiceSamples]] = {}
        self._services: dict[tuple[str, str], ServiceSamples] = {}
        #: By service and id: the records of each change, the first of which began its watch.
        self._changes: dict[str, dict[str, list[Change]]] = {}
        #: By service and id: the records of changes that it is a neighbour of.
        self._near: dict[str, dict[str, list[Change]]] = {}

    def services(self) -> Iterable[ServiceSamples]:
        """What is known of each service of this partition."""
        return self._services.values()

    @property
    def series(self) -> int:
        return sum(len(service.rows) for service in self._services.values())

    @property
    def watched(self) -> int:
        return sum(len(service.watches) for service in self._services.values())

    def newest(self, key: SeriesKey) -> int:
        """When the newest sample of a series came, Unix ms; 0 where there is none."""
        service = self._services.get((key.service, key.environment))
        series = None if service is None else service.series.get(key)
        return 0 if series is None else max(series.newest, 0)

    def learn_by(self, policy: Policy) -> None:
        """From now on learn what this policy names."""
        if policy is self.policy:
            return
        self.policy = policy
        for service in self.services():
            if service.learning is not None:
                service.learning.learn_by(policy.guardrails, *self._raw(service.name))

    def change(self, change: Change) -> list[Report]:
        """Take in a change, or a later phase of one; what was sampled since its time is judged at once."""
        known = self._changes.setdefault(change.service, {})
        records = known.get(change.id)
        if records is None:
            if change.phase is Phase.PLANNED:
                return []
            records = known[change.id] = []
            for name in self._asked_always(change):
                self._near.setdefault(name, {})[change.id] = records
        if change in records:
            return []
        records.append(change)
        if len(records) == 1:
            for name in self._asked_always(records[0]):
                for service in self._named(name, change.environment):
                    self._ask(records, service)
        else:
            for service in self.services():
                if change.id in service.witnesses:
                    service.witnesses[change.id].later(change)
        reports: list[Report] = []
        for service in self._of(records[0]):
            if len(records) == 1:
                self._begin(records, service)
            elif change.id in service.watches:
                service.watches[change.id].later(change)
            reports += self._advance(service, service.clock - service.span)
        return _in_order(reports)

    def telemetry(self, columns: Columns, span: int | None = None) -> list[Report]:
        """Take in samples; returns what they show of the changes under watch.

        `span` bounds in ms how much later samples of the same time may still come in other messages; by default it is
        learnt from how much time one message covers.
        """
        self.points += self.samples.take(self._rows(columns), columns.times, columns.values, learn=span is None)
        touched = [self._numbered[number] for number in self.samples.told.tolist()]
        for service in touched:
            service.clock = int(self.samples.clocks[service.number, 0])
        if len(touched) > 1:
            touched.sort(key=lambda one: (one.name, one.environment))
        reports: list[Report] = []
        for service in touched:
            self.clock = max(self.clock, service.clock)
            if service.watches or service.witnesses:
                reports += self._advance(service, service.clock - (service.span if span is None else span))
        # Only now: a change of one of them may ask what another did before this message.
        for service in touched:
            service.learn(self.hold)
            self._drop_silent(service)
        return _in_order(reports)

    def _rows(self, columns: Columns) -> Int32:
        """The row of each sample's series, int32[n]; a series that is new gets one."""
        keys = columns.keys
        if keys is not self._registry:
            # Another registry: that of a worker is always the same, a recording has one for each of its parts.
            self._registry, self._row_of = keys, np.empty(0, np.int32)
        if len(self._row_of) < len(keys):
            more = np.full(max(len(keys), 2 * len(self._row_of)), _NEW, np.int32)
            more[: len(self._row_of)] = self._row_of
            self._row_of = more
        rows: Int32 = self._row_of[columns.series]
        new = rows == _NEW
        if new.any():
            for number in np.unique(columns.series[new]).tolist():
                self._row_of[number] = self._row(keys[number])
            rows = self._row_of[columns.series]
        return rows

    def _row(self, key: SeriesKey) -> int:
        service = self._service(key.service, key.environment)
        if key not in service.series:
            if len(service.series) >= self.policy.series.per_service:
                self.refused.append(key)
                return _REFUSED
            self._texts.put(service.add(key).row, key)
        return service.series[key].row

    def _drop_silent(self, service: ServiceSamples) -> None:
        """Now and then, drop the series of a service that are no more."""
        silent = self.policy.series.silent
        if service.clock < service.sweep:
            return
        service.sweep = service.clock + silent // _SWEEPS
        before = {key: series.row for key, series in service.series.items()}
        gone = service.drop_silent(service.clock - silent)
        if gone:
            self.gone += gone
            self._row_of[np.isin(self._row_of, [before[key] for key in gone])] = _NEW

    def forget(self, numbers: Int32) -> None:
        """The registry gives these numbers to other series from now on."""
        self._row_of[numbers[numbers < len(self._row_of)]] = _NEW

    def snapshot(self) -> State:
        """All that it knows, to go on from; copies. What is under watch is not in it: it is begun again.

        A watch is a function of its change and of samples, and nothing of them that it was begun with is dropped
        before it ends.
        """
        open_changes = {name for service in self.services() for name in (*service.watches, *service.witnesses)}
        slots = [one.learning.state for one in self._numbered if one.learning is not None]
        header = {
            "version": _LAYOUT,
            "clock": self.clock,
            "points": self.points,
            "changes": msgspec.msgpack.encode([[*by_id.values()] for by_id in self._changes.values()]),
            "open": sorted(open_changes),
            "asked": sorted(self._asked),
            "services": [
                [
                    one.name,
                    one.environment,
                    one.clock,
                    msgspec.msgpack.encode(one.books),
                    learned.known,
                    learned.due,
                    learned.signals,
                    one.sweep,
                    [[name, list(witness.telling)] for name, witness in one.witnesses.items()],
                ]
                for one, learned in zip(self._numbered, slots, strict=True)
            ],
        }
        arrays = under("samples", self.samples.arrays()) | under("keys", self._texts.arrays())
        arrays |= under("store", self.store.arrays())
        arrays["signals"] = np.concatenate([_NO_FACTS, *(learned.facts for learned in slots)])
        arrays["links"] = np.concatenate([_NO_LINKS, *(learned.links for learned in slots)])
        arrays["sizes"] = np.array([[len(one.facts), len(one.links)] for one in slots], np.int64).reshape(-1, 2)
        return header, arrays

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Know what another knew that `snapshot` was asked of; before anything else was heard.

        Raises SnapshotRefused for another layout, and some other error for what does not fit together.
        """
        if header["version"] != _LAYOUT:
            raise SnapshotRefused(f"layout {header['version']} of the state: expected {_LAYOUT}")
        self.samples = Samples.from_arrays(part_of(arrays, "samples"))
        self.store = Store.from_arrays(part_of(arrays, "store"))
        self._texts = KeyTexts.from_arrays(part_of(arrays, "keys"))
        self.clock, self.points = header["clock"], header["points"]
        for number, (name, environment, *_) in enumerate(header["services"]):
            self._numbered.append(ServiceSamples(name, environment, self.samples, number))
            self._services[name, environment] = self._numbered[-1]
        self._restore_services(header["services"], arrays)
        self._restore_changes(header)

    def _restore_services(
        self, services: Sequence[Sequence[Any]], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> None:  # fmt: skip
        """Nothing is made of a series here, nor of a signal: a million would be waited for by those that decide."""
        facts, links = np.split(arrays["signals"], np.cumsum(arrays["sizes"][:, 0])), np.split(
            arrays["links"], np.cumsum(arrays["sizes"][:, 1])
        )  # fmt: skip
        if len(arrays["samples.facts"]) != len(self._texts) or len(facts) != len(services) + 1 or len(facts[-1]):
            raise ValueError(f"{len(services)} services: the arrays are not of as many")
        used = np.ones(len(self._texts), np.bool_)
        used[arrays["samples.unused"]] = False
        rows = np.flatnonzero(used)
        owners = self.samples.owners(rows)
        order = np.argsort(owners, kind="stable")
        theirs = np.split(rows[order], np.searchsorted(owners[order], np.arange(1, len(services))))
        for number, (name, _, clock, books, known, due, signals, sweep, _) in enumerate(services):
            service = self._numbered[number]
            service.sweep = sweep
            service.clock, service.books = clock, msgspec.msgpack.decode(books, type=Books)
            service.learning = Learning(service, self.store, self.policy.guardrails, *self._raw(name))
            service.learning.rest(Learned(known, due, signals, facts[number].copy(), links[number].copy()))
            service.rest(theirs[number], self._texts.keys)

    def _restore_changes(self, header: Mapping[str, Any]) -> None:
        """Begin again what was under watch, as it was begun."""
        again = set(header["open"])
        told = msgspec.msgpack.decode(header["changes"], type=list[list[list[Change]]])
        for records in sorted((one for by_id in told for one in by_id), key=lambda one: one[0].time):
            first = records[0]
            self._changes.setdefault(first.service, {})[first.id] = records
            near = self._asked_always(first)
            for name in near:
                self._near.setdefault(name, {})[first.id] = records
            if first.id not in again:
                continue
            for service in self._of(first):
                if not service.knows(first.id):
                    self._begin(records, service)
            for name in near:
                for service in self._named(name, first.environment):
                    self._ask(records, service)
        under_watch = {name for service in self.services() for name in service.watches}
        # Who was asked by a watch that goes on is asked by it again; what one asked that has ended goes on by itself.
        self._asked = set(header["asked"]) - under_watch
        by_id = {name: records for known in self._changes.values() for name, records in known.items()}
        for service, said in zip(self._numbered, header["services"], strict=True):
            for name, metrics in said[-1]:
                if name not in under_watch and name not in service.witnesses:
                    self._ask(by_id[name], service, metrics)

    def advance(self, clock: int) -> list[Report]:
        """Other telemetry has moved time on to `clock`: what did not come by then will not."""
        self.clock = max(self.clock, clock)
        reports: list[Report] = []
        for _, service in sorted(self._services.items()):
            if service.watches or service.witnesses:
                reports += self._advance(service, clock - service.span)
        return _in_order(reports)

    def finish(self) -> list[Report]:
        """The input ends: the last word of every watch."""
        reports: list[Report] = []
        for _, service in sorted(self._services.items()):
            # A watch that was begun again may not have heard of its service since.
            reports += self._advance(service, service.clock - service.span)
            for identity in sorted(service.watches):
                reports += service.watches[identity].finish(self.clock)
        return _in_order(reports)

    def _of(self, change: Change) -> Iterable[ServiceSamples]:
        return self._named(change.service, change.environment)

    def _named(self, service: str, wanted: str) -> list[ServiceSamples]:
        return [
            one
            for (name, environment), one in sorted(self._services.items())
            if name == service and (not wanted or environment in ("", wanted))
        ]

    def _service(self, name: str, environment: str) -> ServiceSamples:
        service = self._services.get((name, environment))
        if service is None:
            service = self._services[(name, environment)] = ServiceSamples(
                name, environment, self.samples, self.samples.owner()
            )  # fmt: skip
            self._numbered.append(service)
            service.learning = Learning(service, self.store, self.policy.guardrails, *self._raw(name))
            for records in self._changes.get(name, {}).values():
                if not records[0].environment or environment in ("", records[0].environment):
                    self._begin(records, service)
            for records in self._near.get(name, {}).values():
                if not records[0].environment or environment in ("", records[0].environment):
                    self._ask(records, service)
        return service

    def _calls_of(self, change: Change) -> Calls:
        """Who calls whom, by the policy of a change."""
        policy = self._policies.at(change.time)
        found = next((calls for known, calls in self._calls if known is policy), None)
        if found is None:
            self._calls.append((policy, found := Calls(policy)))
        return found

    def _asked_always(self, change: Change) -> tuple[str, ...]:
        return always_asked(self._calls_of(change), self._policies.at(change.time), change.service)

    def _raw(self, service: str) -> tuple[int, int]:
        """How many looks of a service stay raw, and of what guardrails name."""
        history, peers = self._history, self.policy.peers
        if any(spec.applies(service) for spec in self.policy.detectors):
            history = max(history, VECTOR_HISTORY)
        if peers.metrics is PeerMetrics.ALL:
            history = max(history, peers.history)
        return history, peers.history

    def _begin(self, records: list[Change], service: ServiceSamples) -> None:
        policy = self._policies.at(records[0].time)
        watch = service.watches[records[0].id] = ChangeWatch(records[0], service, policy, self._everyone)
        for record in records if records[0].phase in ENDED else records[1:]:
            watch.later(record)

    def _advance(self, service: ServiceSamples, watermark: int) -> list[Report]:
        reports: list[Report] = []
        for identity in sorted(service.watches, key=lambda one: (service.watches[one].moment, one)):
            watch = service.watches[identity]
            found = watch.advance(watermark)
            if watch.started and not watch.ended:
                self._hold(watch)
            first = next((report for report in found if report.log_p <= _WHO_ELSE), None)
            if first is not None:
                reports += self._ask_around(watch, first.time, telling(service, first))
            reports += found
            if watch.ended:
                service.retire(watch, _SETTLING * watch.period)
                # One that was begun again, and ended at once, does not know whom it held up before.
                held = self._held.pop((service.name, service.environment, identity), None)
                for other in self._everyone() if held is None else held:
                    other.release(identity)
        return reports + _testify(service, watermark)

    def _ask(self, records: list[Change], service: ServiceSamples, metrics: Collection[str] = ()) -> None:
        """Have a service that was not changed say how it fares since a change of another."""
        if service.touched(records[0].time) or records[0].id in service.witnesses:
            return
        policy = self._policies.at(records[0].time)
        witness = service.witnesses[records[0].id] = Witness(records[0], service, policy, self._everyone, metrics)
        for record in records if records[0].phase in ENDED else records[1:]:
            witness.later(record)

    def _hold(self, watch: ChangeWatch) -> Sequence[ServiceSamples]:
        """Those who may be asked about a change while it is watched: they do not learn from that time yet."""
        place = (watch.service.name, watch.service.environment, watch.change.id)
        if place not in self._held:
            self._held[place] = asked_then(watch.service, watch.moment, self._everyone(), self._calls_of(watch.change))
            for other in self._held[place]:
                other.hold(watch.change.id, watch.moment, watch.end)
        return self._held[place]

    def _ask_around(self, watch: ChangeWatch, moment: int, metrics: Collection[str]) -> list[Report]:
        """Once there is evidence: what the services below, and some that it has nothing to do with, say of it."""
        records = self._changes[watch.service.name][watch.change.id]
        if records[0].id in self._asked:
            return []
        self._asked.add(records[0].id)
        reports: list[Report] = []
        for other in self._hold(watch):
            self._ask(records, other, metrics)
            if records[0].id in other.witnesses:
                reports.append(other.witnesses[records[0].id].calm())
                reports += _testify(other, other.clock - other.span)
        mine = (one.change == records[0].id and one.time < moment for one in reports)
        return [
            msgspec.structs.replace(one, asked=moment) if early else one
            for one, early in zip(reports, mine, strict=True)
        ]


def _testify(service: ServiceSamples, watermark: int) -> list[Report]:
    """What a service says of changes of others."""
    reports: list[Report] = []
    for identity in sorted(service.witnesses):
        reports += service.witnesses[identity].advance(watermark)
        if service.witnesses[identity].ended:
            del service.witnesses[identity]
    return reports


def _in_order(reports: list[Report]) -> list[Report]:
    return sorted(reports, key=lambda report: report.order)

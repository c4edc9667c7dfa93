"""What the topics say, folded: freezes and orders into a book, changes and verdicts by change, evidence by service.

Who made and approved a change is often told by others than its own record; `told` and `starts` join that in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.change import Change, Phase, Provenance
from deploy.errors import DeployError
from deploy.evidence import Report
from deploy.freeze import Freeze, FreezeBook, freeze_from_object
from deploy.order import Order, order_from_object
from deploy.question import Question, question_from_object
from deploy.verdict import Verdict, verdict_from_object
from haltline.rules import Book
from stream import topics
from stream.cloudevents import unwrap
from stream.errors import Unreadable

if TYPE_CHECKING:
    from deploy.chain import Chain
    from deploy.provenance.attestation import Key

#: Something that a record said, as it is known after it.
Seen = Freeze | Change | Verdict | Report | Question


#: What a later phase of a change need not repeat.
_KEPT = ("environment", "version", "previous_version", "instances", "reverts", "labels", "actions")


class Record(msgspec.Struct, frozen=True):
    """One record of Kafka; `value` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    #: When Kafka took it or the sender says that it was sent, Unix milliseconds.
    timestamp: int = 0


class _Answered(msgspec.Struct):
    """What is folded of an answer in the ledger, of which there are many a day, each with every rule that spoke."""

    question: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    """The envelope in which haltline, and only haltline, writes answers."""

    data: _Answered


class State:
    """The fold of every record taken so far."""

    def __init__(
        self,
        change_topics: Iterable[str] = (topics.CHANGES.name,),
        hear: Callable[[Change], None] | None = None,
        keys: Sequence[Key] = (),
    ) -> None:
        """`hear` is told of every record of a change, also of those that say nothing new.

        With `keys` an attestation must be signed with one of them.
        """
        self._keys = keys
        self._change_topics = frozenset(change_topics)
        self._hear = hear
        self.freezes = FreezeBook()
        self.changes: dict[str, Change] = {}
        #: The time of the first record of each change: when it began, whatever its phase is by now.
        self.began: dict[str, int] = {}
        #: What each change said of itself when it started; later phases often say less.
        self.first: dict[str, Change] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.reports: dict[str, dict[str, Report]] = {}
        #: What people were asked, by the question, the person and the time.
        self.questions: dict[tuple[str, str, int], Question] = {}
        self.policies = Book()

    def hear_by(self, hear: Callable[[Change], None]) -> None:
        """Have another be told of every record of a change from now on."""
        self._hear = hear

    @cached_property
    def chain(self) -> Chain:
        """What all records say of the way of changes: commits, artifacts, pull requests, approvals."""
        from deploy.chain import Chain  # the gate's question needs none

        return Chain()

    def take(self, record: Record) -> list[Seen]:
        """Fold one record in; gives what is now known otherwise than before.

        Raises:
            Unreadable: the record is not what its topic holds; nothing has changed.
        """
        if record.topic == topics.POLICIES.name:
            # Also one without a value: that is refused, and what was in force stays.
            self.policies.take(record)
            return []
        if record.value is None:
            self._forget(record)
            return []
        if record.topic in self._change_topics:
            return self._take_changes(record)
        if record.topic == topics.LEDGER.name:
            return self._take_answer(record.value)
        data = _object(record)
        try:
            if record.topic == topics.FREEZES.name:
                return list(self.freezes.record(freeze_from_object(data)))
            if record.topic == topics.ORDERS.name:
                return self._take_order(order_from_object(data))
            if record.topic == topics.VERDICTS.name:
                return self._take_verdict(verdict_from_object(data))
            if record.topic == topics.EVIDENCE.name:
                from stream.wire.outgoing import report_from_object  # numpy comes with it

                return self._take_report(report_from_object(data))
        except DeployError as error:
            raise Unreadable("value", str(error)) from None
        raise Unreadable("format", f"topic {record.topic} holds nothing that is known here")

    def _forget(self, record: Record) -> None:
        key = (record.key or b"").decode(errors="replace")
        if record.topic == topics.FREEZES.name:
            self.freezes.forget(key)
        elif record.topic == topics.VERDICTS.name:
            self.verdicts.pop(key, None)
        elif record.topic in self._change_topics:
            self.changes.pop(key, None)
            self.first.pop(key, None)

    def own(self, identity: str) -> Change:
        """A change as its own records tell it, with what a later phase left out."""
        change, first = self.changes[identity], self.first.get(identity)
        if first is not None and first is not change:
            left_out = {name: getattr(first, name) for name in _KEPT if not getattr(change, name)}
            if change.provenance == Provenance():
                left_out["provenance"] = first.provenance
            change = msgspec.structs.replace(change, **left_out)
        return change

    def told(self, identity: str) -> Change:
        """A change as all that is known tells it: its own records, and what others said of its way."""
        return self.chain.enrich(self.own(identity))

    def starts(self) -> list[Change]:
        """Each change that started, with what was told of its way until then: what the judge sorts it by."""
        return [self.chain.enrich(one, until=one.time) for one in self.first.values()]

    def _take_changes(self, record: Record) -> list[Seen]:
        from stream.wire import decode_told  # numpy comes with the decoders of telemetry

        seen: list[Seen] = []
        changes, pieces = decode_told(record.topic, record.value, record.headers, self._keys)
        for piece in pieces:
            self.chain.tell(piece)
        for change in changes:
            if self._hear is not None:
                self._hear(change)
            known, first = self.changes.get(change.id), self.first.get(change.id)
            if change.phase is not Phase.PLANNED and (first is None or change.time < first.time):
                self.first[change.id] = change
            self.began[change.id] = min(change.time, self.began.get(change.id, change.time))
            if known is None or (change != known and _tells_more(change, known)):
                self.changes[change.id] = change
                seen.append(change)
        return seen

    def _take_order(self, order: Order) -> list[Seen]:
        if order.change:
            from deploy.provenance.ordered import ordered_piece

            piece = ordered_piece(order)
            if piece is not None:
                self.chain.tell(piece)
        return list(self.freezes.order(order))

    def _take_verdict(self, verdict: Verdict) -> list[Seen]:
        if self.verdicts.get(verdict.change) == verdict:
            return []
        self.verdicts[verdict.change] = verdict
        return [verdict]

    def _take_answer(self, value: bytes) -> list[Seen]:
        try:
            asked = msgspec.json.decode(value, type=_Answer).data.question
            if asked is None:
                return []
            question = question_from_object(asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable("syntax", str(error)) from None
        except DeployError as error:
            raise Unreadable("value", str(error)) from None
        self.questions[question.id, question.to, question.asked_at] = question
        return [question]

    def _take_report(self, report: Report) -> list[Seen]:
        self.reports.setdefault(report.change, {})[report.service] = report
        return [report]


def _tells_more(change: Change, known: Change) -> bool:
    """Whether a record is the later one; an approval or merge that comes late makes no started change planned again."""
    planned, was_planned = change.phase is Phase.PLANNED, known.phase is Phase.PLANNED
    return change.time >= known.time if planned is was_planned else was_planned


def _object(record: Record) -> Any:
    data = unwrap(record.value, record.headers).data
    try:
        return msgspec.json.decode(data or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("syntax", str(error)) from None

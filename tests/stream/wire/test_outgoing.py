"""haltline's own records: the same bytes for the same record, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.change import Change, Kind, Origin, Provenance, Vcs
from deploy.evidence import Finding, Report
from deploy.freeze import Freeze, Mode, freeze_id
from deploy.order import Order, Verb
from deploy.verdict import Verdict, VerdictState
from stream.errors import Unreadable
from stream.wire import encode
from stream.wire.outgoing import (
    Wire,
    decode_change,
    decode_freeze,
    decode_order,
    decode_report,
    decode_verdict,
    encode_change,
    encode_freeze,
    encode_order,
    encode_report,
    encode_verdict,
)

T0 = 1_763_716_443_000
FINDING = Finding(
    service="checkout",
    metric="error_ratio",
    attributes={"region": "eu"},
    control="concurrent",
    log_p=-14.2,
    log_e=12.25,
    effect=0.036,
    expected=0.006,
    samples=4100,
    reason="error_ratio 0.042 > 0.006",
)
CHANGE = Change(
    id="checkout-481",
    service="checkout",
    time=T0 + 7,
    kind=Kind.CONFIG,
    provenance=Provenance(origin=Origin.AI),
    vcs=Vcs(revision="3484a3f"),
    labels={"team": "payments"},
    watch_until=T0 + 60_000,
    extra={"ticket": "OPS-1"},
)
FREEZE = Freeze(
    id=freeze_id("checkout-481"),
    matchers=('environment="production"', 'service="checkout"'),
    starts_at=T0,
    ends_at=T0 + 300_000,
    caused_by="checkout-481",
    mode=Mode.OBSERVE,
    reason="error_ratio 0.042 > 0.006",
    passes=(('reverts="checkout-481"',),),
)
ORDER = Order(
    id="o-1", verb=Verb.FREEZE, time=T0, by="ana", reason="böse", matchers=("service=checkout",), ends_at=T0 + 1
)
REPORT = Report(
    change="checkout-481",
    service="checkout",
    environment="production",
    time=T0,
    log_p=-9.5,
    families={"past": -3.25},
    tests=4,
    silent=1,
    findings=(FINDING,),
    onset=T0 - 5,
    ended=True,
)
VERDICT = Verdict(
    change="checkout-481",
    service="checkout",
    time=T0,
    state=VerdictState.HARMFUL,
    log_e=12.25,
    blame=0.75,
    evidence=(FINDING,),
    onset=T0 - 5,
    ended=True,
)

RECORDS: list[tuple[Any, Any, Any, str, bytes]] = [
    (CHANGE, encode_change, decode_change, "change.started", b"checkout-481"),
    (FREEZE, lambda freeze: encode_freeze(freeze, T0 + 9), decode_freeze, "freeze.created", FREEZE.id.encode()),
    (ORDER, encode_order, decode_order, "order.given", b'service="checkout"'),
    (REPORT, encode_report, decode_report, "evidence.reported", b"checkout-481"),
    (VERDICT, encode_verdict, decode_verdict, "verdict.reached", b"checkout-481"),
]
every_record = pytest.mark.parametrize(
    ("record", "write", "read", "type", "key"), RECORDS, ids=[type(row[0]).__name__ for row in RECORDS]
)


@every_record
def test_comes_back_as_it_was(record: Any, write: Any, read: Any, type: str, key: bytes) -> None:
    wire: Wire = write(record)
    assert read(wire.value, wire.headers) == record
    assert read(wire.value, dict(wire.headers)) == record
    assert wire.key == key


@every_record
def test_is_a_cloudevent_of_its_own_time_and_kind(record: Any, write: Any, read: Any, type: str, key: bytes) -> None:
    wire: Wire = write(record)
    event = json.loads(wire.value or b"")
    assert event["type"] == f"dev.cdeventsx.haltline-{type}.0.1.0"
    assert event["source"] == "haltline"
    assert event["time"].startswith("2025-11-21T09:14:03.00")
    assert dict(wire.headers)["content-type"].startswith(b"application/cloudevents+json")  # type: ignore[union-attr]  # set


@every_record
def test_is_the_same_bytes_every_time(record: Any, write: Any, read: Any, type: str, key: bytes) -> None:
    wire: Wire = write(record)
    assert write(read(wire.value, wire.headers)) == wire


@every_record
def test_another_kind_of_record_is_refused(record: Any, write: Any, read: Any, type: str, key: bytes) -> None:
    for other, encode_other, *_ in RECORDS:
        if other is not record:
            wire = encode_other(other)
            with pytest.raises(Unreadable) as refused:
                read(wire.value, wire.headers)
            assert refused.value.kind == "format"


@every_record
@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"{}", b"5", b'{"time":0,"starts_at":0}', b"[" * 100_000, b"\xff"]
)
def test_what_cannot_be_read_is_refused(
    record: Any, write: Any, read: Any, type: str, key: bytes, value: bytes | None
) -> None:
    with pytest.raises(Unreadable):
        read(value, {})


def test_a_change_of_content_is_another_event_of_the_same_record() -> None:
    ended = encode_freeze(
        Freeze(id=FREEZE.id, matchers=FREEZE.matchers, starts_at=T0, ends_at=T0 + 1, ended_by="ana: done"), T0
    )
    first = json.loads(encode_freeze(FREEZE, T0).value or b"")
    second = json.loads(ended.value or b"")
    assert first["subject"] == second["subject"] == FREEZE.id
    assert first["id"] != second["id"]
    assert second["type"].startswith("dev.cdeventsx.haltline-freeze.ended.")


def test_a_freeze_whose_matchers_no_one_can_ask_is_refused() -> None:
    record = {"id": "fz-1", "matchers": ['service=~"("'], "starts_at": T0, "ends_at": T0 + 1}
    with pytest.raises(Unreadable, match="RE2") as refused:
        decode_freeze(encode(record), {})
    assert refused.value.kind == "value"


def test_orders_for_one_scope_share_a_key_however_it_is_written() -> None:
    one = encode_order(Order(id="a", verb=Verb.UNFREEZE, time=T0, by="b", reason="c", matchers=("a=1", 'b="2"')))
    other = encode_order(Order(id="x", verb=Verb.UNFREEZE, time=T0, by="b", reason="c", matchers=("b = 2", 'a="1"')))
    assert one.key == other.key == b'a="1",b="2"'


def test_an_infinite_number_is_not_written_as_null() -> None:
    with pytest.raises(ValueError, match="inf"):
        encode_report(Report(change="c", service="s", time=T0, log_p=float("-inf")))

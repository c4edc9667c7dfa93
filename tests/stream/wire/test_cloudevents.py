"""The envelope: taken off by the binding's rules, put on so that the reference library reads it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from stream.cloudevents import STRUCTURED, content_type, unwrap, wrap
from stream.errors import Unreadable

TIME = 1_795_252_443_120
ATTRIBUTES = {
    "type": "dev.cdevents.service.deployed.0.3.0",
    "source": "/deploys",
    "id": "e-1",
    "subject": "checkout",
    "time": datetime(2026, 11, 21, 9, 14, 3, 120_000, tzinfo=UTC),
    "datacontenttype": "application/json",
}


def reference(data: Any) -> CloudEvent:
    return CloudEvent(attributes={"specversion": "1.0", **ATTRIBUTES}, data=data)


def envelope(**fields: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "type": "t", "source": "s", "id": "i", **fields}).encode()


@pytest.mark.parametrize("mode", [to_structured, to_binary])
def test_reads_what_the_reference_library_writes(mode: Any) -> None:
    message = mode(reference({"id": "checkout-481"}), JSONFormat())
    event = unwrap(message.value, message.headers)
    assert json.loads(event.data or b"") == {"id": "checkout-481"}
    assert (event.type, event.source, event.id, event.subject) == (ATTRIBUTES["type"], "/deploys", "e-1", "checkout")
    assert event.content_type == "application/json"
    assert event.time.startswith("2026-11-21T09:14:03.12")


def test_the_reference_library_reads_what_is_written() -> None:
    value, headers = wrap(
        "dev.cdeventsx.haltline-freeze.created.0.1.0", "haltline", "fz-1.ab", "fz-1", TIME, {"level": 1}
    )
    event = from_kafka(KafkaMessage(headers=headers, key=None, value=value), JSONFormat(), CloudEvent)
    assert event.get_type() == "dev.cdeventsx.haltline-freeze.created.0.1.0"
    assert (event.get_source(), event.get_id(), event.get_subject()) == ("haltline", "fz-1.ab", "fz-1")
    assert event.get_time() == ATTRIBUTES["time"]
    assert event.get_data() == {"level": 1}


def test_equal_events_are_equal_bytes_whatever_the_order_of_their_fields() -> None:
    one, _ = wrap("t", "haltline", "i", "s", TIME, {"a": 1, "b": {"c": 0.1, "d": [1, 2]}})
    other, _ = wrap("t", "haltline", "i", "s", TIME, {"b": {"d": [1, 2], "c": 0.1}, "a": 1})
    assert one == other


@pytest.mark.parametrize(
    "type_header", [b"application/cloudevents+json", b"APPLICATION/CloudEvents+JSON; charset=UTF-8"]
)
def test_content_type_makes_it_structured_even_beside_ce_headers(type_header: bytes) -> None:
    headers = {"content-type": type_header, "ce_type": b"other", "ce_specversion": b"1.0", "ce_id": b"other"}
    event = unwrap(envelope(data={"x": 1}), headers)
    assert (event.type, event.id, event.data) == ("t", "i", b'{"x": 1}')


def test_a_structured_event_without_its_content_type_is_recognised() -> None:
    assert unwrap(envelope(data={"x": 1}), None).type == "t"


def test_a_bare_record_that_only_mentions_specversion_stays_bare() -> None:
    value = b'{"context": {"specversion": "0.5.1"}, "subject": {}}'
    event = unwrap(value, {})
    assert (event.type, event.data) == ("", value)


def test_data_in_base64_and_data_as_text_are_the_same_bytes() -> None:
    text = "plain, ünïcode"
    coded = base64.b64encode(text.encode()).decode()
    one = unwrap(envelope(data_base64=coded, datacontenttype="text/plain"), {"content-type": STRUCTURED})
    other = unwrap(envelope(data=text, datacontenttype="text/plain"), {"content-type": STRUCTURED})
    assert one.data == other.data == text.encode()


@pytest.mark.parametrize(
    ("value", "headers", "kind"),
    [
        (None, {}, "empty"),
        (b"", {"content-type": STRUCTURED}, "empty"),
        (b"[]", {"content-type": b"application/cloudevents-batch+json"}, "format"),
        (b"\x00", {"content-type": b"application/cloudevents+protobuf"}, "format"),
        (envelope(data_base64="not base64!"), {"content-type": STRUCTURED}, "syntax"),
        (b'{"specversion":"1.0","type":5}', {"content-type": STRUCTURED}, "type"),
        (b'{"specversion":"2.0","type":"t"}', {"content-type": STRUCTURED}, "format"),
        (b'{"type":"a","type":"b"}', {"content-type": STRUCTURED}, "value"),
        (b"{}", {"ce_specversion": b"0.3", "ce_type": b"t"}, "format"),
        (b"{}", {"ce_type": b"\xff"}, "syntax"),
    ],
)
def test_refuses_an_envelope_that_cannot_be_read(value: bytes | None, headers: dict[str, bytes], kind: str) -> None:
    with pytest.raises(Unreadable) as refused:
        unwrap(value, headers)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, ""),
        ([("Content-Type", b"text/JSON; charset=utf-8")], "text/json"),
        ({"content-type": None}, ""),
        ({"content-type": b"\xff"}, "\ufffd"),
    ],
)
def test_content_type_is_read_from_any_headers(headers: Any, expected: str) -> None:
    assert content_type(headers) == expected

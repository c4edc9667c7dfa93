"""OTLP as JSON: compiled and plain reading against protobuf's own, and what a message means."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.errors import Unreadable
from stream.wire.otlp_json_arrays import OtlpJsonReader
from stream.wire.otlp_json_plain import read_plainly
from tests.stream.incident import Incident, replayed
from tests.stream.wire.conformance import GOLDEN
from tests.stream.wire.otlp_json_messages import T0, encoded, reference, same, told

relaxed = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
GOLDENS = sorted(GOLDEN.glob("otlp-collector-*.json"))


def message(kind: str = "gauge", data: dict[str, Any] | None = None, **point: Any) -> dict[str, Any]:
    one = {"timeUnixNano": str(T0), "attributes": [{"key": "k", "value": {"stringValue": "v"}}]} | point
    metric = {"name": "m", "unit": "s", kind: {"dataPoints": [one]} | (data or {})}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": {}, "metrics": [metric]}]}]}


def text(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def check(value: bytes) -> bool:
    """The compiled reading says what the plain one says, or leaves it to it; whether it was taken."""
    scanned = OtlpJsonReader().scan(value)
    if scanned is None:
        return False
    try:
        found = told(scanned)
    except (ValueError, RecursionError, json_format.ParseError):
        return True  # loose JSON in attributes, which are read strictly when the series is new
    assert same(found, told(read_plainly(value)))
    return True


@relaxed
@given(encoded())
def test_any_message_is_read_as_protobuf_reads_it_or_refused_by_both(value: bytes) -> None:
    check(value)
    try:
        expected = reference(value)
    except (json_format.ParseError, UnicodeEncodeError):
        with pytest.raises(Unreadable):
            read_plainly(value)
    else:
        assert same(told(read_plainly(value)), expected)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=encoded(), data=st.data())
def test_a_mutated_message_is_read_the_same_by_both_readings(value: bytes, data: st.DataObject) -> None:
    changed = bytearray(value)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed)))
        token = data.draw(st.sampled_from(TOKENS) | st.binary(max_size=2))
        changed[place : place + data.draw(st.integers(0, 2))] = token
    check_or_refuse(bytes(changed))


TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"1", b"-", b".5", b"e3", b"0", b"9" * 22]
TOKENS += [b'"NaN"', b'"timeUnixNano":1,', b'"asInt":"3",', b'"name":"x",', b"\\u00e9", b"\x00", b" ", b"\xc3", b"{}"]
TOKENS += [b'"a":{},', b'"flags":1,', b'"gauge":{},', b"[]"]


def check_or_refuse(value: bytes) -> bool:
    taken = check_quietly(value)
    if not taken:
        try:
            read_plainly(value)
        except Unreadable as error:
            assert len(str(error)) <= 300
    return taken


def check_quietly(value: bytes) -> bool:
    try:
        return check(value)
    except Unreadable as error:
        raise AssertionError(f"only compiled code takes {value!r}") from error


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_the_collectors_own_bytes_are_read_by_compiled_code_whatever_happens_to_them(path: Any) -> None:
    golden = path.read_bytes()
    assert check(golden)
    assert same(told(read_plainly(golden)), reference(golden))
    dice, taken = random.Random(5), 0
    for _ in range(2_000):
        value = bytearray(golden)
        for _ in range(dice.choice((1, 1, 2, 4))):
            place = dice.randrange(len(value) + 1)
            match dice.randrange(3):
                case 0:
                    value[place:place] = dice.choice(TOKENS)
                case 1:
                    del value[place : place + dice.choice((1, 2, 8))]
                case _:
                    value[place : place + 1] = bytes([dice.randrange(256)])
        taken += check_or_refuse(bytes(value))
    assert 100 < taken < 1_900


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponentialHistogram", "summary"])
def test_what_is_usual_is_read_by_compiled_code(kind: str) -> None:
    value = {"asDouble": 1.5} if kind in ("gauge", "sum") else {"count": "3", "sum": 4.5}
    record = message(
        kind, {"aggregationTemporality": 2}, **value, exemplars=[{"traceId": "ab", "asDouble": 1}], newer={"a": [1]}
    )
    assert check(text(record))
    assert check(json.dumps(record, indent=2).encode())


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ({"timeUnixNano": None, "asInt": 1}, "time"),
        ({"timeUnixNano": "0", "asInt": 1}, "time"),
        ({"timeUnixNano": -1}, "value"),
        ({"timeUnixNano": 2**64}, "value"),
        ({"timeUnixNano": "9" * 5_000}, "type"),
        ({"timeUnixNano": 1.5}, "type"),
        ({"timeUnixNano": "soon"}, "type"),
        ({"timeUnixNano": [1]}, "type"),
        ({"asInt": 2**63}, "value"),
        ({"asInt": "1.5"}, "type"),
        ({"asInt": True}, "type"),
        ({"asDouble": "nan"}, "type"),
        ({"asDouble": "1_0"}, "type"),
        ({"asDouble": {}}, "type"),
        ({"asDouble": "1e999"}, "value"),
        ({"asDouble": 1, "asInt": 1}, "value"),
        ({"flags": -1}, "value"),
        ({"flags": 2**32}, "value"),
    ],
)
def test_a_wrong_point_is_refused_by_its_fault(point: dict[str, Any], kind: str) -> None:
    value = text(message(**point))
    assert OtlpJsonReader().scan(value) is None
    with pytest.raises(Unreadable) as refused:
        read_plainly(value)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b'{"resourceMetrics":[],"resourceMetrics":[]}', "value"),
        (b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","name":"b"}]}]}]}', "value"),
        (b'{"resourceMetrics":[{"new":{"a":1,"a":2}}]}', "value"),
        (b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{},"sum":{}}]}]}]}', "value"),
        (b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"\xff"}]}]}]}', "syntax"),
        (b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"\\ud800"}]}]}]}', "syntax"),
        (b'\xef\xbb\xbf{"resourceMetrics":[]}', "syntax"),
        (b'{"resourceMetrics":[NaN]}', "syntax"),
        (b'{"resourceMetrics":[{"x":Infinity}]}', "syntax"),
        (b'{"resourceMetrics":{}}', "type"),
        (b'{"resourceMetrics":[null]}', "type"),
        (b'{"resourceMetrics":[]}x', "syntax"),
        (b'{"resourceMetrics":[]}\x00', "syntax"),
        (b'{"resourceMetrics":[' + b'{"x":' * 100_000, "syntax"),
        (b'{"resourceMetrics":[{"x":' + b"[" * 100_000, "syntax"),
        (b'{"resourceMetrics":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", "syntax"),
        (b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[' + b"{}," * 500_000, "size"),
    ],
    ids=lambda value: repr(value[-24:]) if isinstance(value, bytes) else value,
)
def test_a_wrong_or_hostile_message_is_refused_by_its_fault(value: bytes, kind: str) -> None:
    assert OtlpJsonReader().scan(value) is None
    with pytest.raises(Unreadable) as refused:
        read_plainly(value)
    assert refused.value.kind == kind


def test_a_message_larger_than_the_arrays_is_read_whole() -> None:
    record = message(asInt="1")
    points = record["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"]
    points *= 5_000
    reader = OtlpJsonReader()
    for _ in range(2):
        scanned = reader.scan(text(record))
        assert scanned is not None
        assert len(scanned.points) == 5_000


def as_otlp(record: dict[str, Any]) -> dict[str, Any]:
    """A native record whose metrics are all deltas, as the Collector would tell it."""
    metrics = []
    for metric in record["metrics"]:
        pairs = zip(metric["times"], metric["values"], strict=True)
        points = [{"timeUnixNano": f"{time}000000", "asInt": str(value)} for time, value in pairs]
        counted = {"dataPoints": points, "aggregationTemporality": 1, "isMonotonic": True}
        metrics.append({"name": metric["name"], "sum": counted})
    attributes = [{"key": name, "value": {"stringValue": value}} for name, value in record["resource"].items()]
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [{"metrics": metrics}]}]}


def test_an_incident_told_in_otlp_freezes_what_it_freezes_in_native_json() -> None:
    incident = Incident("checkout", 1_795_252_443_000)
    told = [as_otlp(record) for record in incident.telemetry]
    assert replayed([incident.change], told) == [incident.freeze]

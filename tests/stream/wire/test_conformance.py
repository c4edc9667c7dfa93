"""Every decoder through the conformance kit."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.cloudevents import unwrap
from stream.columns import Columns
from stream.json_text import MAX_BYTES
from stream.wire import CHANGE_DECODERS, TELEMETRY_DECODERS
from stream.wire.changes import ChangeDecoder
from tests.stream.wire.conformance import CASES, PROTOBUF, Case, check_decoded, comparable, reordered_text, survives

every_text = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.file.endswith(".bin")], ids=lambda case: case.name
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_decoder_has_a_golden_payload() -> None:
    used = set()
    for case in CASES:
        event = unwrap(case.value, case.headers)
        if case.topic == "haltline.changes":
            record = msgspec.json.decode(event.data or b"")
            used.add(next(decoder.name for decoder in CHANGE_DECODERS if decoder.accepts(event, record, case.topic)))
        else:
            used.add(next(decoder.name for decoder in TELEMETRY_DECODERS if decoder.accepts(event, case.topic)))
    decoders: tuple[ChangeDecoder | object, ...] = (*CHANGE_DECODERS, *TELEMETRY_DECODERS)
    assert used == {decoder.name for decoder in decoders}  # type: ignore[attr-defined]  # both protocols have a name


@every_case
def test_reads_its_golden_payload_the_same_each_time(case: Case) -> None:
    decoded = case.read(case.value)
    check_decoded(decoded)
    assert len(decoded) >= case.least
    assert comparable(case.read(case.value)) == comparable(decoded)


@every_case
def test_takes_headers_as_pairs_and_in_any_case(case: Case) -> None:
    pairs = [(name.title(), value) for name, value in case.headers.items()]
    assert comparable(case.door(case.topic, case.value, pairs)) == comparable(case.read(case.value))


@every_case
def test_reads_the_same_whatever_the_order_of_keys_and_metrics(case: Case) -> None:
    assert comparable(case.read(reordered_text(case.value))) == comparable(case.read(case.value))


@every_case
def test_refuses_the_payload_cut_at_any_byte(case: Case) -> None:
    value = case.value if case.file.endswith(".bin") else case.value.rstrip()
    if case.file.endswith(".lines"):
        # Any beginning of a number is a number, and a time may be missing.
        for cut in range(len(value)):
            survives(case, value[:cut])
        return
    line_ends = {place for place, byte in enumerate(value) if byte == ord("\n")}
    for cut in range(len(value)):
        error = survives(case, value[:cut])
        if case.file.endswith(".jsonl") and any(abs(cut - end) <= 1 for end in line_ends):
            continue  # whole lines are a whole record
        if case.file.endswith("2resources.bin") and cut == 2 + value[1]:
            continue  # so is a whole resource
        assert error is not None, cut
        assert error.kind == ("empty" if cut == 0 else "syntax"), (cut, str(error))


@every_case
def test_survives_flipped_bits(case: Case) -> None:
    dice = random.Random(7)
    for _ in range(1_500):
        value = bytearray(case.value)
        for _ in range(dice.choice((1, 1, 1, 2, 8))):
            value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
        survives(case, bytes(value))


@every_case
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" \n", "syntax"),
        (b"{", "syntax"),
        (b"\x00", "syntax"),
        (b"\xff\xfe", "syntax"),
        (b"[" * 100_000, "syntax"),
        (b'{"a":' * 100_000, "syntax"),
        (b"[" * 100_000 + b"]" * 100_000, "syntax"),
        (b"NaN", "syntax"),
        (b"{} {} x", "syntax"),
        (b"x" * (MAX_BYTES + 1), "size"),
        (b"null", "type"),
        (b"true", "type"),
        (b"17", "type"),
        (b'"text"', "type"),
        (b"[null]", "type"),
        (b"[[]]", "type"),
        (b"1" * 30, "type"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_refuses_what_is_no_record(case: Case, value: bytes | None, kind: str) -> None:
    error = survives(case, value)
    if case.headers == PROTOBUF and value == b" \n":
        return  # a message with one field, which nobody knows
    assert error is not None
    # A decoder of objects stops at the first bracket of anything else, whatever comes after it.
    assert error.kind == kind or {error.kind, kind} == {"type", "syntax"}, str(error)


@every_text
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_refuses_another_encoding_and_names_it(case: Case, encoding: str) -> None:
    error = survives(case, case.value.decode().encode(encoding))
    assert error is not None
    assert error.kind == "syntax"
    assert "UTF" in str(error)


@every_text
def test_refuses_latin_1(case: Case) -> None:
    error = survives(
        case,
        case.value.replace(b"checkout", "caf\u00e9".encode("latin-1"))
        .replace(b"mySubject", b"\xe9")
        .replace(b"prod", b"\xe9")
        .replace(b'": "', b'": "\xe9', 1),
    )
    assert error is not None
    assert error.kind == "syntax"


@every_case
def test_survives_any_value_at_any_place(case: Case) -> None:
    numbers = [0, -1, 0.5, 2**63, 10**300, 1e308]
    texts = ["", "x" * 2_000, "\u0000", "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]
    odd = [None, True, [], {}, [[]], {"id": 1}, *numbers, *texts]
    if not case.file.endswith((".json", ".jsonl")):
        return  # no JSON
    for line in case.value.splitlines() if case.file.endswith("jsonl") else [case.value]:
        record = msgspec.json.decode(line)
        for place in _places(record):
            for value in odd:
                survives(case, msgspec.json.encode(_put(msgspec.json.decode(line), place, value)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.binary(max_size=200))
def test_survives_arbitrary_bytes(value: bytes) -> None:
    for case in CASES:
        survives(case, value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["id", "service", "time", "resource", "metrics", "name", "times", "values", "service.name", "context",
             "subject", "content", "customData", "haltline", "type", "specversion", "data", "data_base64", "arrived",
             "resourceMetrics", "scopeMetrics", "gauge", "dataPoints", "fields", "tags", "labels", "timestamp", "value"]
        ) | st.text(max_size=4),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=json_values)
def test_survives_arbitrary_json(record: object) -> None:
    value = msgspec.json.encode(record)
    for case in CASES:
        survives(case, value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_survives_golden_payloads_with_parts_replaced(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([case for case in CASES if case.file.endswith(".json")]))
    record = msgspec.json.decode(case.value)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(_places(record))))
        record = _put(record, place, data.draw(json_values))
        if not isinstance(record, dict | list):
            break
    survives(case, msgspec.json.encode(record))


def test_the_kit_sees_a_decoder_that_lets_nan_through() -> None:
    columns = CASES[10].read(CASES[10].value)
    assert isinstance(columns, Columns)
    broken = msgspec.structs.replace(columns, values=columns.values * float("nan"))
    with pytest.raises(AssertionError):
        check_decoded(broken)


def _places(record: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    return [*([path] if path else []), *(place for key, value in inner for place in _places(value, (*path, key)))]


def _put(record: object, path: tuple[str | int, ...], value: object) -> object:
    inner = record
    for key in path[:-1]:
        inner = inner[key]  # type: ignore[index]  # a path of `_places`
    inner[path[-1]] = value  # type: ignore[index]  # a path of `_places`
    return record

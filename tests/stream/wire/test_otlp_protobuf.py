"""OTLP as protobuf: the compiled scanner reads what Google's parser reads, or refuses what that refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from stream.cloudevents import Event
from stream.errors import Unreadable
from stream.series_ids import SeriesIds
from stream.wire.otlp_protobuf import OtlpProtobuf
from tests.stream.wire import otlp_reference as reference
from tests.stream.wire.otlp_messages import NAMES, NOON_NS, requests

BUCKETS_OF = frozenset(NAMES[:2])
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
Sample = reference.Sample


def read(value: bytes, ids: SeriesIds | None = None) -> list[Sample]:
    columns = OtlpProtobuf().decode(Event(data=value), SeriesIds(buckets_of=BUCKETS_OF) if ids is None else ids)
    return [
        (columns.keys[series], int(time), float(value))
        for series, time, value in zip(columns.series, columns.times, columns.values, strict=True)
    ]


def both(value: bytes, ids: SeriesIds | None = None) -> tuple[list[Sample] | None, list[Sample] | None]:
    """What the reference and the scanner make of it, None where it is refused; without the zeros of restarts."""
    try:
        expected = sorted(reference.read(value, BUCKETS_OF))
    except Unreadable:
        expected = None
    try:
        found = sorted(read(value, ids))
    except Unreadable as error:
        assert error.kind in ("syntax", "time", "value", "size", "empty"), error.kind
        found = None
    return expected, found


def has_group(value: bytes, message: Any) -> bool:
    """Whether a group stands anywhere in these bytes of this kind of message, as far as they can be read.

    Google's newest parser takes a group where a message is meant, and any tag inside it; no other does.
    """
    at = 0
    try:
        while at < len(value):
            tag, at = _varint(value, at)
            wire, field = tag & 7, message.fields_by_number.get(tag >> 3)
            if wire in (3, 4):
                return True
            if wire == 2:
                size, at = _varint(value, at)
                if field is not None and field.message_type and has_group(value[at : at + size], field.message_type):
                    return True
                at += size
            elif wire == 0:
                _, at = _varint(value, at)
            else:
                at += 8 if wire == 1 else 4
    except IndexError:
        pass
    return False


def _varint(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (value[at] & 127) << shift
        if value[at] < 128:
            return number, at + 1
        at, shift = at + 1, shift + 7


@slow
@given(requests)
def test_it_reads_what_googles_parser_reads(request: ExportMetricsServiceRequest) -> None:
    value = request.SerializeToString()
    assume(value)
    expected, found = both(value)
    assert found == expected


@slow
@given(requests, st.integers(0, 2**32))
def test_it_refuses_broken_bytes_as_googles_parser_does(request: ExportMetricsServiceRequest, seed: int) -> None:
    dice, whole = random.Random(seed), request.SerializeToString()
    assume(whole)
    for _ in range(25):
        value = mutated(whole, dice)
        if value and not has_group(value, ExportMetricsServiceRequest.DESCRIPTOR):
            expected, found = both(value)
            assert found == expected, value


def part(number: int, inside: bytes) -> bytes:
    """A field by hand, so that what it holds may be broken."""
    return bytes([number << 3 | 2, len(inside)]) + inside


#: Packed numbers: varints of which the last is cut short, and fixed ones of which there is not even one.
CUT, ODD = b"\x01\xda", b"\x01\x02"


@pytest.mark.parametrize(
    ("member", "broken"),
    [
        pytest.param(9, part(6, ODD), id="bucket counts"),
        pytest.param(9, part(7, ODD), id="explicit bounds"),
        pytest.param(10, part(8, part(2, CUT)), id="positive buckets"),
        pytest.param(10, part(9, part(2, CUT)), id="negative buckets"),
        pytest.param(9, part(8, CUT), id="exemplar of a histogram"),
        pytest.param(10, part(11, CUT), id="exemplar of an exponential one"),
        pytest.param(11, part(6, CUT), id="quantile"),
    ],
)
def test_packed_numbers_cut_short_are_refused_as_googles_parser_does(member: int, broken: bytes) -> None:
    def message(rest: bytes) -> bytes:
        time = NOON_NS.to_bytes(8, "little")
        point = b"\x19" + time + (b"\x21" + (3).to_bytes(8, "little")) + rest
        return part(1, part(2, part(2, part(1, b"latency") + part(member, part(1, point) + b"\x10\x02"))))

    expected, found = both(message(b""))
    assert found == expected and found
    assert both(message(broken)) == (None, None)


def mutated(value: bytes, dice: random.Random) -> bytes:
    """The bytes with up to three things wrong with them."""
    found = bytearray(value)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(found) + 1)
        size = dice.randint(1, 6)
        match dice.randrange(5):
            case 0 if place < len(found):
                found[place] ^= 1 << dice.randrange(8)
            case 1 if place < len(found):
                found[place] = dice.randrange(256)
            case 2:
                del found[place : place + size]
            case 3:
                found[place:place] = dice.randbytes(size)
            case 4:
                found[place:place] = found[place : place + 6 * size]
    return bytes(found)

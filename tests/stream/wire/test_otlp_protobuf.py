"""OTLP as protobuf: the compiled scanner reads what Google's parser reads, or refuses what that refuses."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
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


# -- what it means ----------------------------------------------------------------------------------------------------


Fill = Callable[[Any], None]


def message(fill: Fill, **resource: str) -> bytes:
    """A request with one metric, `fill`ed in, of the resource with these attributes (`_` stands for a dot)."""
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    for name, text in ({"service_name": "checkout"} | resource).items():
        block.resource.attributes.add(key=name.replace("_", ".")).value.string_value = text
    fill(block.scope_metrics.add().metrics.add(name="m"))
    return request.SerializeToString()


def gauge(
    value: float = 1.0, *attributes: tuple[str, str], time: int = NOON_NS, flags: int = 0
) -> Callable[[Any], None]:
    def fill(metric: Any) -> None:
        point = metric.gauge.data_points.add(time_unix_nano=time, as_double=value, flags=flags)
        for name, text in attributes:
            point.attributes.add(key=name).value.string_value = text

    return fill


def counter(value: float, time: int, start: int) -> Fill:
    def fill(metric: Any) -> None:
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
        metric.sum.data_points.add(time_unix_nano=time, start_time_unix_nano=start, as_double=value)

    return fill


def test_attributes_in_another_order_are_the_same_series() -> None:
    ids = SeriesIds()
    for pairs in ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]):
        read(message(gauge(1.0, *pairs)), ids)
    assert [key.attributes for key in ids.keys] == [(("a", "1"), ("b", "2"))]


@pytest.mark.parametrize(
    ("resource", "instance"),
    [
        ({"service_instance_id": "i", "k8s_pod_name": "p", "host_name": "h"}, "i"),
        ({"k8s_pod_name": "p", "host_name": "h"}, "p"),
        ({"host_name": "h", "os_type": "linux"}, "h"),
        ({"cloud_region": "eu", "telemetry_sdk_name": "x"}, "cloud.region=eu"),
        ({}, ""),
    ],
)
def test_instances_are_told_apart_by_the_best_name_that_there_is(resource: dict[str, str], instance: str) -> None:
    assert read(message(gauge(), **resource))[0][0].instance == instance


def test_a_service_without_a_name_is_unknown() -> None:
    assert read(message(gauge(), service_name=" "))[0][0].service == "unknown_service"


def test_a_label_that_is_too_long_costs_nobody_else_anything_and_stays_itself() -> None:
    texts = ["x" * 5_000, "x" * 4_999 + "y"]
    keys = [read(message(gauge(1.0, ("sql", text))))[0][0] for text in texts]
    assert keys[0] != keys[1]
    assert all(len(key.attributes[0][1]) <= 1_024 for key in keys)


def test_what_was_not_recorded_is_no_sample() -> None:
    assert read(message(gauge(flags=1))) == []
    assert read(message(gauge(math.nan))) == read(message(gauge(math.inf))) == []
    assert len(read(message(gauge(flags=2)))) == 1


def test_a_counter_that_began_anew_was_zero_then_however_far_it_has_come() -> None:
    ids, second = SeriesIds(), 1_000_000_000
    first, again = NOON_NS - 100 * second, NOON_NS + 5 * second
    assert [told[1:] for told in read(message(counter(100.0, NOON_NS, first)), ids)] == [(NOON_NS // 10**6, 100.0)]
    told = read(message(counter(105.0, NOON_NS + 10 * second, again)), ids)
    assert sorted(one[1:] for one in told) == [(again // 10**6, 0.0), ((NOON_NS + 10 * second) // 10**6, 105.0)]
    assert len(read(message(counter(106.0, NOON_NS + 20 * second, again)), ids)) == 1
    assert len(read(message(counter(100.0, NOON_NS, first)), ids)) == 1, "late, from before"


def test_a_start_that_is_worked_out_anew_each_time_is_no_restart() -> None:
    ids = SeriesIds()
    for step in range(5):
        value = message(counter(100.0 + step, NOON_NS + step * 10**10, NOON_NS - 10**12 + step * 10**7))
        assert len(read(value, ids)) == 1


@pytest.mark.parametrize("time", [0, NOON_NS // 10**6, 2**63])
def test_a_time_that_no_clock_means_is_refused(time: int) -> None:
    with pytest.raises(Unreadable) as error:
        read(message(gauge(time=time)))
    assert error.value.kind == "time"


def nested(levels: int) -> bytes:
    """A resource attribute that is a list in a list, so many levels deep."""
    value = b""
    for _ in range(levels):
        value = field(5, field(1, value))
    return field(1, field(1, field(1, field(1, b"k") + field(2, value))))


def field(number: int, content: bytes) -> bytes:
    size, text = len(content), bytearray([number << 3 | 2])
    while size > 127:
        text.append(size & 127 | 128)
        size >>= 7
    return bytes(text) + bytes([size]) + content


@pytest.mark.parametrize(
    "value",
    [
        nested(40), nested(5_000), nested(200_000),
        b"\x0a\xff\xff\xff\xff\x07" + b"\x0a" * 50, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x00" * 50,
        b"\x0b" * 3_000_000, b"\x0a\x05\x12\x03\x12\x01\x4a", b"\xff" * 1_000,
        field(1, field(2, field(2, field(5, field(1, b"\x39\x00") * 100_000)))),
    ],
    ids=["deep", "deeper", "deepest", "long", "longer", "groups", "cut", "ones", "points"],
)  # fmt: skip
def test_lies_about_depth_and_length_are_refused(value: bytes) -> None:
    with pytest.raises(Unreadable) as error:
        read(value)
    assert error.value.kind == "syntax"


def test_a_million_of_nothing_is_nothing() -> None:
    for empty in (field(1, b""), field(1, field(2, b"")), field(1, field(2, field(2, b"")))):
        assert read(empty * (4_000_000 // len(empty))) == []


def test_more_attributes_than_anybody_reads_are_refused() -> None:
    with pytest.raises(Unreadable, match="129 attributes") as error:
        read(message(gauge(1.0, *((f"a{number}", "") for number in range(129)))))
    assert error.value.kind == "size"


PLAIN = """
import sys
from pathlib import Path
from stream.series_ids import SeriesIds
from stream.wire.telemetry import decode_telemetry
for path in sorted(Path("tests/stream/wire/golden").glob("*.bin")):
    ids = SeriesIds(buckets_of={"gen", "http_request_duration_seconds"})
    told = decode_telemetry("telemetry", path.read_bytes(), {}, ids)
    rows = zip(told.series.tolist(), told.times.tolist(), told.values.tolist())
    print(path.name, sorted((str(told.keys[series]), time, value) for series, time, value in rows))
"""


def test_without_a_compiler_it_reads_the_same() -> None:
    def told(**more: str) -> bytes:
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PLAIN]
        return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **more}).stdout

    compiled = told()
    assert len(compiled) > 2_000
    assert told(NUMBA_DISABLE_JIT="1") == compiled

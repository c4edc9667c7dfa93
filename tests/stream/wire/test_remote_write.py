"""Prometheus' remote write: the compiled scanner reads what protobuf's classes read, or refuses what they refuse."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cramjam
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from deploy.times import EARLIEST_MS, LATEST_MS
from stream.cloudevents import Event
from stream.columns import MetricKind, SeriesKey
from stream.errors import Unreadable
from stream.json_text import MAX_BYTES
from stream.series_ids import SeriesIds
from stream.wire.prometheus_names import COUNTER, HISTOGRAM, SUMMARY, UNSPECIFIED, prometheus_key
from stream.wire.remote_write import RemoteWrite, looks_like_remote_write
from tests.stream.wire.prometheus_protobuf import ONE, TWO
from tests.stream.wire.test_otlp_protobuf import has_group, mutated

NOON = 1_795_262_400_000
STALE = 0x7FF0000000000002
BUCKETS_OF = frozenset({"http_request_duration_seconds", "up"})
Sample = tuple[SeriesKey, int, float]
Told = tuple[SeriesKey, int, float, int]
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def snappy(message: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(message if isinstance(message, bytes) else message.SerializeToString()))


def read(value: bytes, ids: SeriesIds | None = None) -> list[Sample]:
    columns = RemoteWrite().decode(Event(data=value), SeriesIds(buckets_of=BUCKETS_OF) if ids is None else ids)
    return [
        (columns.keys[series], int(time), float(value))
        for series, time, value in zip(columns.series, columns.times, columns.values, strict=True)
    ]


def series(*samples: tuple[int, float], **labels: str) -> Any:
    named = [ONE["Label"](name=name, value=value) for name, value in sorted(labels.items())]
    return ONE["TimeSeries"](
        labels=named, samples=[ONE["Sample"](timestamp=time, value=value) for time, value in samples]
    )


def request(*given: Any) -> bytes:
    return snappy(ONE["WriteRequest"](timeseries=given))


# -- the slow and obvious reading -------------------------------------------------------------------------------------


def reference(value: bytes) -> list[Sample]:
    """Every sample of the message inside the block; `Unreadable` where the scanner must refuse it, too."""
    two = TWO["Request"]()
    one = ONE["WriteRequest"]()
    try:
        two.ParseFromString(value)
        second = bool(two.symbols or two.timeseries)
        if not second:
            one.ParseFromString(value)
    except DecodeError:
        raise Unreadable("syntax", "protobuf refuses it") from None
    told = list(_second(two) if second else _first(one))
    return [sample[:3] for sample in told] + _restarts(told)


def _first(message: Any) -> Iterator[Told]:
    for row in message.timeseries:
        labels = {label.name: label.value for label in row.labels}
        yield from _samples(row, labels, UNSPECIFIED, "", 0)


def _second(message: Any) -> Iterator[Told]:
    for row in message.timeseries:
        references = list(row.labels_refs)
        if any(place >= len(message.symbols) for place in references):
            raise Unreadable("value", "no such symbol")
        names = [message.symbols[place] for place in references]
        there = any(math.isfinite(one.value) for one in row.samples) or any(map(_shown, row.histograms))
        if not there:
            continue
        if len(names) % 2:
            raise Unreadable("value", "an odd number of references")
        unit = row.metadata.unit_ref
        if unit and unit >= len(message.symbols):
            raise Unreadable("value", "no such symbol")
        labels = dict(zip(names[::2], names[1::2], strict=False))
        yield from _samples(
            row, labels, row.metadata.type & 0xFFFFFFFF, message.symbols[unit] if message.symbols else "",
            row.created_timestamp,
        )  # fmt: skip


def _shown(histogram: Any) -> bool:
    count = getattr(histogram, histogram.WhichOneof("count") or "count_int")
    return math.isfinite(count) and not math.isnan(histogram.sum) and histogram.reset_hint & 0xFFFFFFFF != 3


def _samples(row: Any, labels: dict[str, str], kind: int, unit: str, created: int) -> Iterator[Told]:
    for sample in row.samples:
        if math.isfinite(sample.value):
            _check(sample.timestamp)
            start = (getattr(sample, "start_timestamp", 0) or created) if kind in (COUNTER, HISTOGRAM) else 0
            key = prometheus_key("test", labels, kind, unit)
            if not key.part.startswith("le ") or key.metric in BUCKETS_OF:
                yield key, sample.timestamp, sample.value, start
    for histogram in row.histograms:
        if _shown(histogram):
            _check(histogram.timestamp)
            start = getattr(histogram, "start_timestamp", 0) or created
            key = replace(prometheus_key("test", labels, HISTOGRAM, unit), kind=MetricKind.CUMULATIVE)
            count = getattr(histogram, histogram.WhichOneof("count") or "count_int")
            yield replace(key, part="count"), histogram.timestamp, float(count), start
            if math.isfinite(histogram.sum):
                yield replace(key, part="sum"), histogram.timestamp, histogram.sum, start
            if key.metric in BUCKETS_OF:
                for part, told in _native(histogram):
                    yield replace(key, part=part), histogram.timestamp, told, start


def _check(time: int) -> None:
    if not EARLIEST_MS <= time < LATEST_MS:
        raise Unreadable("time", "a time that cannot be")


def _native(histogram: Any) -> list[tuple[str, float]]:
    """How many values are at or below each bound, four bounds an octave at most."""
    counts = _counts(histogram.positive_deltas) or list(histogram.positive_counts)
    places, index = [], 0
    for span in histogram.positive_spans:
        index += span.offset
        for _ in range(min(span.length, len(counts) - len(places))):
            places.append(index)
            index += 1
    counts = counts[: len(places)]
    if histogram.schema == -53:
        return _custom(list(histogram.custom_values), places, counts)
    if not -4 <= histogram.schema <= 8:
        return []
    shift = max(0, histogram.schema - 2)
    width = 2.0 ** -(histogram.schema - shift)
    total = float(histogram.zero_count_int) if histogram.WhichOneof("zero") != "zero_count_float" else 0.0
    total += histogram.zero_count_float if histogram.WhichOneof("zero") == "zero_count_float" else 0.0
    total += sum(_counts(histogram.negative_deltas)) + sum(histogram.negative_counts)
    found: dict[int, float] = {}
    for place, count in zip(places, counts, strict=True):
        upper = -((-place) // (1 << shift))
        if upper - 1 not in found and upper not in found:
            found[upper - 1] = total
        total += count
        found[upper] = total
    return [(f"to {2.0 ** (place * width)!r}", told) for place, told in found.items()]


def _counts(deltas: Any) -> list[float]:
    counts, total = [], 0
    for delta in deltas:
        total += delta
        counts.append(float(total))
    return counts


def _custom(bounds: list[float], places: list[int], counts: list[float]) -> list[tuple[str, float]]:
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        return []
    if any(not 0 <= place <= len(bounds) for place in places):
        return []
    inside = [0.0] * (len(bounds) + 1)
    for place, count in zip(places, counts, strict=True):
        inside[place] += count
    return [(f"le {bound!r}", sum(inside[: number + 1])) for number, bound in enumerate(bounds)]


def _restarts(told: list[Told]) -> list[Sample]:
    begun: dict[SeriesKey, tuple[int, int]] = {}
    zeros = []
    for key, time, _, start in told:
        if EARLIEST_MS <= start <= time:
            since, last = begun.get(key, (0, 0))
            if start > since and start >= last:
                if since and start < time:
                    zeros.append((key, start, 0.0))
                since = start
            begun[key] = since, max(last, time)
    return zeros


# -- messages ---------------------------------------------------------------------------------------------------------

words = st.sampled_from(["job", "instance", "le", "quantile", "route", "env", "", "é", "x" * 130]) | st.text(max_size=4)
metrics = st.sampled_from(
    ["up", "http_requests_total", "http_request_duration_seconds_bucket", "http_request_duration_seconds_count",
     "http_request_duration_seconds_sum", "http_request_duration_seconds", "_sum", "ünï"]
)  # fmt: skip
texts = st.sampled_from(["checkout", "0.5", "+Inf", "1e-3", "NaN", ""]) | st.text(max_size=6)
label_sets = st.builds(lambda name, rest: {"__name__": name} | rest, metrics, st.dictionaries(words, texts, max_size=4))
times = st.integers(NOON, NOON + 3_600_000)
floats = st.floats(width=64)
small = st.integers(-40, 40)
layouts = st.sampled_from([-53, -5, -4, -1, 0, 1, 2, 3, 5, 8, 9])


def histograms(classes: dict[str, Any]) -> st.SearchStrategy[Any]:
    spans = st.lists(
        st.builds(classes["BucketSpan"], offset=st.integers(0, 9), length=st.integers(0, 4)), max_size=3
    ) | st.just([classes["BucketSpan"](offset=-5, length=3)])
    extra = {"start_timestamp": st.just(0) | times} if classes is TWO else {}
    common = dict(
        sum=floats, schema=layouts, reset_hint=st.integers(0, 3), timestamp=times, positive_spans=spans,
        negative_spans=spans, custom_values=st.lists(st.floats(-10, 10), max_size=4).map(sorted), **extra,
    )  # fmt: skip
    whole = st.builds(
        classes["Histogram"], **common, count_int=st.integers(0, 2**50), zero_count_int=st.integers(0, 99),
        positive_deltas=st.lists(small, max_size=8), negative_deltas=st.lists(small, max_size=4),
    )  # fmt: skip
    real = st.builds(
        classes["Histogram"], **common, count_float=floats, zero_count_float=st.floats(0, 9),
        positive_counts=st.lists(st.floats(0, 99), max_size=8), negative_counts=st.lists(st.floats(0, 9), max_size=3),
    )  # fmt: skip
    return whole | real


def first_series() -> st.SearchStrategy[Any]:
    samples = st.lists(st.builds(ONE["Sample"], value=floats, timestamp=times), max_size=3)
    labels = label_sets.map(lambda named: [ONE["Label"](name=name, value=value) for name, value in named.items()])
    exemplars = st.lists(st.builds(ONE["Exemplar"], labels=labels, value=floats, timestamp=times), max_size=1)
    return st.builds(
        ONE["TimeSeries"], labels=labels, samples=samples, exemplars=exemplars,
        histograms=st.lists(histograms(ONE), max_size=2),
    )  # fmt: skip


metadata = st.builds(ONE["MetricMetadata"], type=st.integers(0, 9), metric_family_name=texts, help=texts, unit=texts)
first = st.builds(
    ONE["WriteRequest"], timeseries=st.lists(first_series(), min_size=1, max_size=4),
    metadata=st.lists(metadata, max_size=1),
)  # fmt: skip


@st.composite
def second(draw: st.DrawFn) -> Any:
    symbols = {"": 0}
    given = []
    for _ in range(draw(st.integers(1, 4))):
        labels = draw(label_sets)
        references = [symbols.setdefault(text, len(symbols)) for pair in labels.items() for text in pair]
        told = st.builds(
            TWO["Metadata"], type=st.integers(0, 8), unit_ref=st.just(symbols.setdefault(draw(texts), len(symbols)))
        )
        samples = st.builds(TWO["Sample"], value=floats, timestamp=times, start_timestamp=st.just(0) | times)
        exemplars = st.builds(TWO["Exemplar"], labels_refs=st.just(references), value=floats, timestamp=times)
        given.append(
            TWO["TimeSeries"](
                labels_refs=references,
                samples=draw(st.lists(samples, max_size=3)),
                histograms=draw(st.lists(histograms(TWO), max_size=2)),
                exemplars=draw(st.lists(exemplars, max_size=1)),
                metadata=draw(st.none() | told),
                created_timestamp=draw(st.just(0) | times),
            )
        )
    return TWO["Request"](symbols=list(symbols), timeseries=given)


def both(value: bytes) -> tuple[list[Sample] | None, list[Sample] | None]:
    try:
        expected = sorted(reference(value))
    except Unreadable:
        expected = None
    try:
        found = sorted(read(snappy(value)))
    except Unreadable as error:
        assert error.kind in ("syntax", "time", "value", "size"), error.kind
        found = None
    return expected, found


@slow
@given(first | second())
def test_it_reads_what_protobufs_classes_read(message: Any) -> None:
    expected, found = both(message.SerializeToString())
    assert found == expected


@slow
@given(first | second(), st.integers(0, 2**32))
def test_it_refuses_broken_bytes_as_they_do(message: Any, seed: int) -> None:
    dice, whole = random.Random(seed), message.SerializeToString()
    assume(whole)
    for _ in range(25):
        value = mutated(whole, dice)
        if value and not any(has_group(value, one.DESCRIPTOR) for one in (ONE["WriteRequest"], TWO["Request"])):
            expected, found = both(value)
            assert found == expected, value


def part(number: int, inside: bytes) -> bytes:
    """A field by hand, so that what it holds may be broken."""
    return varint(number << 3 | 2) + varint(len(inside)) + inside


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


#: Packed numbers: varints of which the last is cut short, and doubles of which there is not even one.
CUT, ODD = b"\x01\xda", b"\x01\x02"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(part(1, CUT), id="labels"),
        pytest.param(part(4, part(1, CUT)), id="labels of an exemplar"),
        pytest.param(part(3, part(9, CUT)), id="negative deltas"),
        pytest.param(part(3, part(12, CUT)), id="positive deltas"),
        pytest.param(part(3, part(10, ODD)), id="negative counts"),
        pytest.param(part(3, part(13, ODD)), id="positive counts"),
        pytest.param(part(3, part(16, ODD)), id="bounds"),
    ],
)
def test_packed_numbers_cut_short_are_refused_as_they_do(broken: bytes) -> None:
    sample = TWO["Sample"](value=1.0, timestamp=NOON).SerializeToString()
    symbols = b"".join(part(4, symbol) for symbol in (b"", b"__name__", b"up"))
    whole = part(1, b"\x01\x02") + part(2, sample)
    expected, found = both(symbols + part(5, whole))
    assert found == expected and found
    assert both(symbols + part(5, whole + broken)) == (None, None)


@slow
@given(first | second())
def test_a_series_seen_before_is_read_as_it_was_when_it_was_new(message: Any) -> None:
    value, ids = snappy(message), SeriesIds(buckets_of=BUCKETS_OF)
    try:
        new = read(value, ids)
    except Unreadable:
        return
    assert sorted(one for one in read(value, ids) if one[2]) == sorted(one for one in new if one[2])


# -- what it means ----------------------------------------------------------------------------------------------------


def test_labels_of_prometheus_say_whose_number_it_is() -> None:
    labels = {"__name__": "http_requests_total", "job": "checkout", "instance": "a:80", "env": "prod", "code": "500"}
    [(key, time, value)] = read(request(series((NOON, 7.0), **labels)))
    told = (key.service, key.instance, key.environment, key.metric)
    assert told == ("checkout", "a:80", "prod", "http_requests_total")
    assert (key.kind, key.attributes, time, value) == (MetricKind.CUMULATIVE, (("code", "500"),), NOON, 7.0)


def test_a_marker_of_staleness_is_no_sample() -> None:
    import struct

    stale = struct.unpack("<d", STALE.to_bytes(8, "little"))[0]
    assert read(request(series((NOON, stale), (NOON + 1, 1.0), __name__="up", job="a")))[0][1:] == (NOON + 1, 1.0)


def test_a_classic_histogram_is_its_parts_and_buckets_nobody_asks_for_are_left_out() -> None:
    def parts(name: str) -> set[tuple[str, str]]:
        rows = [
            series((NOON, 4.0), __name__=f"{name}_bucket", job="a", le="0.5"),
            series((NOON, 5.0), __name__=f"{name}_bucket", job="a", le="+Inf"),
            series((NOON, 5.0), __name__=f"{name}_count", job="a"),
            series((NOON, 2.5), __name__=f"{name}_sum", job="a"),
        ]
        return {(key.metric, key.part) for key, _, _ in read(request(*rows))}

    name = "http_request_duration_seconds"
    assert parts(name) == {(name, "le 0.5"), (name, "le inf"), (name, "count"), (name, "sum")}
    assert parts("other_seconds") == {("other_seconds", "count"), ("other_seconds", "sum")}


def test_in_version_2_the_type_is_told() -> None:
    symbols = ["", "__name__", "restarts", "job", "a", "latency_count", "s"]

    def of(name: int, kind: int) -> SeriesKey:
        given = TWO["TimeSeries"](
            labels_refs=[1, name, 3, 4], samples=[TWO["Sample"](value=1.0, timestamp=NOON)],
            metadata=TWO["Metadata"](type=kind, unit_ref=6),
        )  # fmt: skip
        return read(snappy(TWO["Request"](symbols=symbols, timeseries=[given])))[0][0]

    assert of(2, COUNTER).kind is MetricKind.CUMULATIVE
    assert of(2, 2).kind is MetricKind.GAUGE
    assert (of(5, 2).metric, of(5, 2).part) == ("latency_count", "")
    assert (of(5, SUMMARY).metric, of(5, SUMMARY).part) == ("latency", "count")
    assert of(2, COUNTER).unit == "s"


def test_a_block_that_says_it_is_huge_is_not_begun() -> None:
    with pytest.raises(Unreadable, match="at most") as error:
        read(b"\xff\xff\xff\xff\x0f" + b"\x00" * 20)
    assert error.value.kind == "size"
    bomb = snappy(b"\x0a" * (MAX_BYTES + 1))
    assert len(bomb) < MAX_BYTES / 10
    with pytest.raises(Unreadable, match="at most"):
        read(bomb)


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x05abc", b"{}", b"\xff" * 30, snappy(b"")])
def test_what_is_no_block_is_refused(value: bytes) -> None:
    with pytest.raises(Unreadable):
        read(value)
    assert not looks_like_remote_write(value)


@given(first | second())
@slow
def test_its_own_blocks_are_known_without_a_header(message: Any) -> None:
    assert looks_like_remote_write(snappy(message))

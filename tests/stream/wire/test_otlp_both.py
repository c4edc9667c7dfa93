"""OTLP as JSON and as protobuf: the same metrics are the same columns."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from stream.cloudevents import Event
from stream.columns import Columns, SeriesKey
from stream.errors import Unreadable
from stream.series_ids import SeriesIds
from stream.wire.otlp_json import OtlpJson
from stream.wire.otlp_protobuf import OtlpProtobuf
from tests.stream.wire.conformance import GOLDEN
from tests.stream.wire.otlp_json_messages import encoded

BUCKETS = ("http.server.request.duration", "http.client.request.duration", "gen", "checkout", "a", "é")


def rows(columns: Columns) -> list[tuple[SeriesKey, int, str]]:
    return sorted(
        (columns.keys[series], int(time), repr(float(value)))
        for series, time, value in zip(columns.series, columns.times, columns.values, strict=True)
    )


def read(decoder: Any, value: bytes) -> list[tuple[SeriesKey, int, str]] | str:
    """The samples, known series read again as new ones were; or why not."""
    ids = SeriesIds(buckets_of=BUCKETS)
    try:
        first = rows(decoder.decode(Event(data=value), ids))
        again = rows(decoder.decode(Event(data=value), ids))
    except Unreadable as error:
        return error.kind
    assert again == first
    return first


def check(text: bytes) -> list[tuple[SeriesKey, int, str]] | str:
    message = json_format.Parse(text.decode(), MetricsData(), ignore_unknown_fields=True)
    told = read(OtlpJson(), text)
    assert told == read(OtlpProtobuf(), message.SerializeToString())
    return told


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("otlp-*.json")), ids=lambda path: path.stem)
def test_a_golden_message_is_the_same_in_both(path: Any) -> None:
    assert len(check(path.read_bytes())) >= 2


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(encoded())
def test_any_message_is_the_same_in_both(text: bytes) -> None:
    try:
        json_format.Parse(text.decode(), MetricsData(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeEncodeError):
        return
    check(text)


def test_nothing_recorded_is_nothing() -> None:
    text = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"flags":1}]}}]}]}]}'
    assert check(text) == []

"""Telemetry as haltline's own JSON: one object is one resource with columns; an array or lines hold several."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from deploy.change import LONGEST_NAME
from deploy.errors import InvalidTime
from deploy.times import EARLIEST_MS, LATEST_MS, parse_time
from stream.cloudevents import Event, is_json
from stream.columns import Columns, Float64, Int32, Int64, MetricKind, SeriesKey
from stream.json_text import check_size, encode, reading, refuse_repeated_keys, unreadable
from stream.series_ids import SeriesIds
from stream.wire.native_change import check_name


class _Resource(msgspec.Struct, gc=False):
    service: str = msgspec.field(name="service.name")
    version: str | UnsetType | None = msgspec.field(name="service.version", default=UNSET)
    instance: str | UnsetType | None = msgspec.field(name="service.instance.id", default=UNSET)
    environment: str | UnsetType | None = msgspec.field(name="deployment.environment.name", default=UNSET)


class _Metric(msgspec.Struct):
    name: str
    times: list[int | str]
    values: list[float | None]
    kind: MetricKind | UnsetType | None = UNSET
    unit: str | UnsetType | None = UNSET
    attributes: dict[str, str | bool | int | float | None] | UnsetType | None = UNSET


class _Telemetry(msgspec.Struct):
    resource: _Resource
    metrics: list[_Metric]
    arrived: int | str | UnsetType | None = UNSET


_one = msgspec.json.Decoder(_Telemetry)
_many = msgspec.json.Decoder(list[_Telemetry])
_WHAT = "telemetry"
#: Attributes of a metric that have a field of their own in the key; nearer to the number than the resource, they win.
_VERSION, _INSTANCE, _ENVIRONMENT = "service.version", "service.instance.id", "deployment.environment.name"


class NativeTelemetry:
    name = "native-telemetry"

    def accepts(self, event: Event, topic: str) -> bool:
        return is_json(event.content_type)

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        resources, texts = _read(value)
        # Every quote belongs to something that was decoded, or something stands twice or is not known here.
        if b"\\" in value or value.count(b'"') != _quotes(resources):
            for text in texts:
                refuse_repeated_keys(_WHAT, text)
        return _columns(resources, ids)


def _read(value: bytes) -> tuple[list[_Telemetry], list[bytes]]:
    """The objects in a record and the JSON texts that they stand in: an object, an array of them, or lines."""
    with reading(_WHAT, value):
        if value.lstrip()[:1] == b"[":
            return _many.decode(value), [value]
        try:
            return [_one.decode(value)], [value]
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            if "trailing characters" not in str(error):
                raise
        return _one.decode_lines(value), [line for line in value.split(b"\n") if line.strip()]


def _quotes(resources: list[_Telemetry]) -> int:
    """How many quotes the text of these objects has when it holds nothing else and no escapes."""
    strings = 0
    for telemetry in resources:
        resource = telemetry.resource
        strings += 4  # resource, metrics, service.name and its value
        for text in (resource.version, resource.instance, resource.environment, telemetry.arrived):
            strings += (text is not UNSET) + isinstance(text, str)
        for metric in telemetry.metrics:
            strings += 4  # name and its value, times, values
            strings += (metric.kind is not UNSET) + isinstance(metric.kind, str)
            strings += (metric.unit is not UNSET) + isinstance(metric.unit, str)
            if metric.attributes is not UNSET:
                strings += 1
                if metric.attributes:
                    values = metric.attributes.values()
                    strings += len(values) + sum(isinstance(value, str) for value in values)
            if metric.times and isinstance(metric.times[0], str):
                strings += sum(isinstance(time, str) for time in metric.times)
    return 2 * strings


def _columns(resources: list[_Telemetry], ids: SeriesIds) -> Columns:
    keys: list[SeriesKey] = []
    counts: list[int] = []
    times: list[int | str] = []
    values: list[float | None] = []
    for telemetry in resources:
        service = telemetry.resource.service
        if not service.strip():
            raise unreadable("value", f"{_WHAT}: `service.name` is empty")
        for metric in telemetry.metrics:
            count = len(metric.times)
            if count != len(metric.values):
                text = f"metric {metric.name[:80]!r} of {service} has {count} times and {len(metric.values)} values"
                raise unreadable("value", f"{_WHAT}: {text}")
            key = _key(telemetry.resource, metric)
            if count:
                keys.append(key)
                counts.append(count)
                times += metric.times
                values += metric.values
    index = np.repeat(np.arange(len(keys), dtype=np.int32), counts)
    return _present(
        keys, ids, index, _times(keys, index, times), np.array(values, dtype=np.float64), _arrived(resources)
    )


def _present(
    keys: list[SeriesKey], ids: SeriesIds, index: Int32, times: Int64, values: Float64, arrived: int | None
) -> Columns:
    """The samples that are there. JSON has no NaN and the decoder no infinity, so that a NaN here was a `null`."""
    missing = np.isnan(values)
    if missing.any():
        there = ~missing
        index, times, values = index[there], times[there], values[there]
    # Only a series of which something was seen gets a number.
    numbers = np.zeros(len(keys), np.int32)
    used = np.zeros(len(keys), np.bool_)
    used[index] = True
    for place in np.flatnonzero(used).tolist():
        numbers[place] = ids.of(keys[place])
    return Columns(keys=ids.keys, series=numbers[index], times=times, values=values, arrived=arrived)


def _key(resource: _Resource, metric: _Metric) -> SeriesKey:
    if not metric.name.strip():
        raise unreadable("value", f"{_WHAT}: a metric of {resource.service} has an empty `name`")
    version, instance, environment = resource.version, resource.instance, resource.environment
    attributes: tuple[tuple[str, str], ...] = ()
    if metric.attributes:
        texts = {
            name: value if isinstance(value, str) else encode(value).decode()
            for name, value in metric.attributes.items()
            if value is not None
        }
        version = texts.pop(_VERSION, version)
        instance = texts.pop(_INSTANCE, instance)
        environment = texts.pop(_ENVIRONMENT, environment)
        attributes = tuple(sorted(texts.items()))
    key = SeriesKey(
        service=resource.service,
        environment=environment or "",
        metric=metric.name,
        attributes=attributes,
        version=version or "",
        instance=instance or "",
        kind=metric.kind or MetricKind.GAUGE,
        unit=metric.unit or "",
    )
    _check_lengths(key)
    return key


def _check_lengths(key: SeriesKey) -> None:
    together = len(key.service) + len(key.environment) + len(key.metric) + len(key.version) + len(key.instance)
    if together + len(key.unit) + sum(len(name) + len(text) for name, text in key.attributes) <= LONGEST_NAME:
        return  # together no longer than each may be
    for field in ("service", "environment", "metric", "version", "instance", "unit"):
        check_name(_WHAT, field, getattr(key, field), empty=True)
    for name, text in key.attributes:
        check_name(_WHAT, "attributes", name, empty=True)
        check_name(_WHAT, f"attributes.{name}", text, empty=True)


def _times(keys: Sequence[SeriesKey], index: Int32, times: list[int | str]) -> Int64:
    try:
        milliseconds = np.frombuffer(array("q", cast("list[int]", times)), dtype=np.int64)  # strings raise
    except (TypeError, OverflowError):
        pass
    else:
        if not len(times) or (milliseconds.min() >= EARLIEST_MS and milliseconds.max() < LATEST_MS):
            return milliseconds
    read = np.empty(len(times), dtype=np.int64)
    for number, time in enumerate(times):
        try:
            read[number] = parse_time(time)
        except InvalidTime as error:
            key = keys[index[number]]
            raise unreadable("time", f"{_WHAT}: metric {key.metric[:80]!r} of {key.service}: {error}") from None
    return read


def _arrived(resources: list[_Telemetry]) -> int | None:
    """When the record came: not before the last of its parts."""
    try:
        given = [parse_time(telemetry.arrived) for telemetry in resources if telemetry.arrived not in (UNSET, None)]
    except InvalidTime as error:
        raise unreadable("time", f"{_WHAT}: `arrived`: {error}") from None
    return max(given, default=None)

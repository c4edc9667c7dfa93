"""haltline's own JSON: what a change and what telemetry may and may not say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from deploy.change import Origin, Phase
from stream.columns import Columns, MetricKind
from stream.errors import Unreadable
from stream.wire import decode_changes, decode_telemetry, encode
from tests.stream.wire.conformance import GOLDEN, samples

T0 = 1_763_716_443_000


def change(**fields: Any) -> dict[str, Any]:
    return {"id": "checkout-481", "service": "checkout", "time": T0} | fields


def telemetry(resource: dict[str, Any] | None = None, **metric: Any) -> dict[str, Any]:
    column: dict[str, Any] = {"name": "errors", "times": [T0, T0 + 1_000], "values": [1, 2.5]} | metric
    return {"resource": {"service.name": "checkout"} | (resource or {}), "metrics": [column]}


def read(record: Any, **headers: bytes) -> Columns:
    value = record if isinstance(record, bytes) else encode(record)
    return decode_telemetry("haltline.telemetry", value, headers)


def refusal(value: bytes | None, door: Any = decode_telemetry, headers: Any = None) -> Unreadable:
    with pytest.raises(Unreadable) as refused:
        door("topic", value, headers)
    return refused.value


def test_the_promised_change_is_read_whole() -> None:
    (read_back,) = decode_changes("haltline.changes", (GOLDEN / "native-change.json").read_bytes(), {})
    assert (read_back.id, read_back.phase, read_back.version, read_back.previous_version) == (
        "checkout-481",
        Phase.STARTED,
        "v2",
        "v1",
    )
    assert read_back.provenance.origin is Origin.AI
    assert read_back.provenance.approvers[0].role == "senior"
    assert read_back.rollout.share == 0.1
    assert read_back.time == 1_795_252_443_120


def test_an_array_holds_several_changes_and_names_the_one_that_is_wrong() -> None:
    changes = decode_changes("topic", encode([change(), change(id="b")]), {})
    assert [one.id for one in changes] == ["checkout-481", "b"]
    error = refusal(encode([change(), change(time=0)]), decode_changes)
    assert error.kind == "time"
    assert "[1]" in str(error)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (change(time="1970-01-01T00:00:00Z"), "time"),
        (change(time=4_102_444_800_000), "time"),
        (change(time="yesterday"), "time"),
        (change(time=True), "time"),
        (change(time=10**300), "time"),
        (change(time=None), "time"),
        (change(watch_until="2100-01-01T00:00:00Z"), "time"),
        (change(id=7), "type"),
        (change(id=""), "value"),
        (change(service="  "), "value"),
        (change(id="x" * 1_000_000), "size"),
        (change(version="x" * 1_000_000), "size"),
        (change(labels={"team": "x" * 2_000}), "size"),
        (change(instances=["x" * 2_000]), "size"),
        (change(labels={"team": 5}), "type"),
        (change(labels=[]), "type"),
        (change(phase="exploded"), "value"),
        (change(kind="magic"), "value"),
        (change(rollout={"share": 2}), "value"),
        (change(provenance="ai"), "type"),
        (change(actions=[{}]), "type"),
        ({"service": "checkout", "time": T0}, "type"),
        ([], None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_change_is_refused_by_its_fault(record: Any, kind: str | None) -> None:
    if kind is None:
        assert decode_changes("topic", encode(record), {}) == ()
    else:
        assert refusal(encode(record), decode_changes).kind == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b'{"id": "a", "id": "b", "service": "s", "time": 1763716443000}', "value"),
        (b'{"id": "a", "service": "s", "time": 1763716443000, "provenance": {"confidence": 1e999}}', "value"),
        (b'{"id": "a", "service": "s", "time": 1763716443000, "provenance": {"confidence": NaN}}', "syntax"),
        (b'{"id": "a", "service": "s", "time": 1763716443000, "x": "\\ud800"}', "syntax"),
        (b'{"id": "a", "service": "s", "time": 1763716443000, "x": ' + b"9" * 5_000 + b"}", "value"),
        (b'{"id": "a", "service": "s", "time": 1763716443000, "x": ' + b"[" * 100 + b"]" * 100 + b"}", "syntax"),
    ],
)
def test_a_change_in_loose_json_is_refused(value: bytes, kind: str) -> None:
    assert refusal(value, decode_changes).kind == kind


def test_other_records_of_haltline_and_other_formats_are_no_changes() -> None:
    headers = {"ce_type": b"dev.cdeventsx.haltline-freeze.created.0.1.0", "ce_specversion": b"1.0"}
    assert refusal(encode(change()), decode_changes, headers).kind == "format"
    assert refusal(b"\x0a", decode_changes, {"content-type": b"application/x-protobuf"}).kind == "format"
    assert refusal(b"\x0a", decode_telemetry, {"content-type": b"application/avro"}).kind == "format"


def test_the_promised_telemetry_is_read_whole_without_its_null() -> None:
    columns = read((GOLDEN / "native-telemetry.json").read_bytes())
    assert [(key.metric, key.kind, key.unit) for key in columns.keys] == [
        ("http.server.requests", MetricKind.DELTA, "{request}"),
        ("http.server.errors", MetricKind.DELTA, ""),
        ("http.server.duration.p99", MetricKind.GAUGE, "s"),
    ]
    key = columns.keys[0]
    assert (key.service, key.version, key.instance, key.environment) == (
        "checkout",
        "v2",
        "checkout-7f9c",
        "production",
    )
    assert columns.values.tolist() == [212, 198, 0, 3, 0.21]


def test_how_columns_are_cut_into_objects_does_not_matter() -> None:
    whole = read(telemetry())
    parts = [telemetry(times=[T0], values=[1]), telemetry(times=[T0 + 1_000], values=[2.5])]
    lines = b"\r\n".join(encode(part) for part in parts)
    assert samples(read(parts)) == samples(read(lines)) == samples(whole)
    assert len(read(parts).keys) == 1


def test_null_is_the_same_as_nothing() -> None:
    with_null = telemetry(times=[T0, T0 + 500, T0 + 1_000], values=[1, None, 2.5])
    assert samples(read(with_null)) == samples(read(telemetry()))
    nothing = read(telemetry(values=[None, None]))
    assert (len(nothing), list(nothing.keys)) == (0, [])
    assert len(read({"resource": {"service.name": "checkout"}, "metrics": []})) == 0


def test_times_may_be_either_each() -> None:
    columns = read(telemetry(times=["2025-11-21T09:14:03Z", T0 + 1_000]))
    assert columns.times.tolist() == [T0, T0 + 1_000]


def test_attributes_make_the_series_and_those_of_the_key_move_into_it() -> None:
    attributes = {"region": "eu", "canary": True, "shard": 3, "gone": None, "service.version": "v9"}
    (key,) = read(
        telemetry({"service.version": "v1", "host.name": "h1", "deep": {"x": [1]}}, attributes=attributes)
    ).keys
    assert key.attributes == (("canary", "true"), ("region", "eu"), ("shard", "3"))
    assert key.version == "v9"


def test_a_record_arrived_when_the_last_of_its_parts_did() -> None:
    parts = [telemetry() | {"arrived": T0}, telemetry() | {"arrived": "2025-11-21T09:15:00Z"}, telemetry()]
    assert read(parts).arrived == 1_763_716_500_000
    assert read(telemetry()).arrived is None


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (telemetry(times=[0, T0]), "time"),
        (telemetry(times=[T0, 4_102_444_800_000]), "time"),
        (telemetry(times=[T0, 10**30]), "time"),
        (telemetry(times=[T0, "2100-01-01T00:00:00Z"]), "time"),
        (telemetry(times=[T0, str(T0)]), "time"),
        (telemetry(times=[T0, True]), "type"),
        (telemetry(times=[T0, None]), "type"),
        (telemetry(times=T0), "type"),
        (telemetry() | {"arrived": 5}, "time"),
        (telemetry(values=[1]), "value"),
        (telemetry(values=[1, "2"]), "type"),
        (telemetry(values=[1, True]), "type"),
        (telemetry(values=[1, [2]]), "type"),
        (telemetry(values=[1, 10**400]), "value"),
        (telemetry(kind="histogram"), "value"),
        (telemetry(name=""), "value"),
        (telemetry(name="x" * 1_000_000), "size"),
        (telemetry(name=None), "type"),
        (telemetry(attributes={"a": [1]}), "type"),
        (telemetry(attributes={"a": "x" * 2_000}), "size"),
        (telemetry({"service.name": " "}), "value"),
        (telemetry({"service.name": 5}), "type"),
        (telemetry({"service.version": 2}), "type"),
        (telemetry({"service.instance.id": "x" * 1_000_000}), "size"),
        ({"resource": {}, "metrics": []}, "type"),
        ({"metrics": []}, "type"),
        ({"resource": {"service.name": "s"}, "metrics": [{"name": "m", "values": []}]}, "time"),
    ],
    ids=lambda value: str(value)[-90:],
)
def test_wrong_telemetry_is_refused_by_its_fault(record: Any, kind: str) -> None:
    import json

    error = refusal(json.dumps(record).encode())
    assert error.kind == kind, str(error)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (b"2.5", b"1e999", "value"),
        (b"2.5", b"-1e999", "value"),
        (b"2.5", b"NaN", "syntax"),
        (b"2.5", b"Infinity", "syntax"),
        (b'"values"', b'"times":[1763716443000,1763716444000],"values"', "value"),
        (b'"values"', b'"t\\u0069mes":[1763716443000,1763716444000],"values"', "value"),
        (b'"resource"', b'"x":1,"x":2,"resource"', "value"),
        (b'"service.name"', b'"service.name":"other","service.name"', "value"),
        (b'"name":"errors"', b'"name":"errors","attributes":{"a":1,"a":2}', "value"),
        (b'"resource"', b'"x":"\xe9","resource"', "syntax"),
        (b"checkout", b"\xe9", "syntax"),
        (b'"resource"', b'"x":' + b"[" * 100_000 + b',"resource"', "syntax"),
    ],
)
@pytest.mark.parametrize("form", [b"%s", b"[%s]", b'%s\n{"resource":{"service.name":"s"},"metrics":[]}'])
def test_telemetry_in_loose_json_is_refused(old: bytes, new: bytes, kind: str, form: bytes) -> None:
    value = msgspec.json.encode(telemetry())
    assert old in value
    assert refusal(form % value.replace(old, new, 1)).kind == kind


def test_unknown_fields_are_ignored_wherever_they_stand() -> None:
    record = telemetry(note="x") | {"schema": {"a": [1, "b"]}}
    record["resource"]["cloud.region"] = "eu"
    assert samples(read(record)) == samples(read(telemetry()))


def test_the_refusal_names_the_metric() -> None:
    assert "'errors' of checkout" in str(refusal(encode(telemetry(values=[1]))))
    assert "'errors' of checkout" in str(refusal(encode(telemetry(times=[0, 1]))))

"""Formats without a resource: Prometheus' and Telegraf's JSON and influx lines, against plain readings of the same."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import LONGEST_NAME
from stream.cloudevents import Event
from stream.columns import Columns, MetricKind, SeriesKey
from stream.errors import Unreadable
from stream.series_ids import SeriesIds
from stream.wire import (
    influx_lines,
    influx_scan,
    prometheus_json,
    prometheus_json_scan,
    telegraf_json,
    telegraf_json_scan,
)
from stream.wire.influx_lines import InfluxLines
from stream.wire.prometheus_json import PrometheusJson
from stream.wire.rows import RowReader, Rows
from stream.wire.telegraf_json import TelegrafJson

T0 = 1_795_252_443_120
ARRIVED = T0 + 777
Sample = tuple[str, dict[str, str], str, int, float]

relaxed = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def decode(decoder: Any, value: bytes, ids: SeriesIds | None = None) -> Columns:
    event = Event(data=value, arrived=ARRIVED)
    assert decoder.accepts(event, "topic")
    columns = decoder.decode(event, SeriesIds() if ids is None else ids)
    assert isinstance(columns, Columns)
    return columns


def samples(columns: Columns) -> list[tuple[SeriesKey, int, float]]:
    return [
        (columns.keys[series], int(time), float(value))
        for series, time, value in zip(columns.series, columns.times, columns.values, strict=True)
    ]


def refusal(decoder: Any, value: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as refused:
        decoder.decode(Event(data=value, arrived=ARRIVED), SeriesIds())
    return refused.value


# -- what the formats mean ---------------------------------------------------------------------------------------------


def test_the_adapters_own_sample_is_read_with_its_text_as_a_number() -> None:
    value = (
        b'{"timestamp":"2026-11-21T09:14:03Z","value":"9876543210","name":"up",'
        b'"labels":{"__name__":"up","job":"shop","instance":"a:80","label1":"value1"}}'
    )
    key = SeriesKey("shop", "", "up", (("label1", "value1"),), "", "a:80")
    assert samples(decode(PrometheusJson(), value)) == [(key, 1_795_252_443_000, 9_876_543_210.0)]


def test_what_prometheus_counts_since_a_start_is_cumulative() -> None:
    for name, kind in (
        ("x_total", MetricKind.CUMULATIVE),
        ("x_bucket", MetricKind.CUMULATIVE),
        ("x", MetricKind.GAUGE),
    ):
        value = json.dumps({"timestamp": "2026-11-21T09:14:03Z", "value": "1", "name": name, "labels": {"job": "a"}})
        assert samples(decode(PrometheusJson(), value.encode()))[0][0].kind is kind


def test_a_sample_that_says_no_service_and_a_very_long_label_cost_nothing_else() -> None:
    for labels, service in (({}, "unknown_service"), ({"job": "x" * 5_000}, "x")):
        value = json.dumps({"timestamp": "2026-11-21T09:14:03Z", "value": "1", "name": "up", "labels": labels})
        ((key, _, _),) = samples(decode(PrometheusJson(), value.encode()))
        assert key.service.startswith(service)
        assert len(key.service) <= LONGEST_NAME


def test_labels_of_opentelemetry_win_over_job() -> None:
    labels = {"job": "a", "service_name": "b", "service_version": "v2", "deployment_environment_name": "production"}
    value = json.dumps({"timestamp": "2026-11-21T09:14:03Z", "value": "1", "name": "up", "labels": labels})
    ((key, _, _),) = samples(decode(PrometheusJson(), value.encode()))
    assert (key.service, key.version, key.environment) == ("b", "v2", "production")
    assert key.attributes == (("job", "a"),)


def test_telegrafs_own_sample_is_a_series_a_field() -> None:
    value = (
        b'{"fields":{"field_1":30,"field_2":4,"field_N":59,"n_images":660},'
        b'"name":"docker","tags":{"host":"raynor"},"timestamp":1458229140}'
    )
    told = samples(decode(TelegrafJson(), value))
    assert [(key.service, key.metric, key.instance) for key, _, _ in told] == [
        ("docker", f"docker.{field}", "raynor") for field in ("field_1", "field_2", "field_N", "n_images")
    ]
    assert [(time, value) for _, time, value in told] == [(1_458_229_140_000, value) for value in (30, 4, 59, 660)]


@pytest.mark.parametrize("scale", [1_000, 1, 1 / 1_000, 1 / 1_000_000])
def test_the_unit_of_telegrafs_times_is_told_by_their_size(scale: float) -> None:
    metric = {"fields": {"value": 1}, "name": "load", "tags": {}, "timestamp": round(1_458_229_140_000 / scale)}
    for value in (metric, {"metrics": [metric]}):
        ((key, time, _),) = samples(decode(TelegrafJson(), json.dumps(value).encode()))
        assert (key.metric, time) == ("load", 1_458_229_140_000)


def test_telegrafs_text_is_no_number_and_true_is_one() -> None:
    fields = {"a": "text", "b": True, "c": False, "d": None, "e": {"f": 1}}
    value = json.dumps({"fields": fields, "name": "m", "tags": {}, "timestamp": 1_458_229_140}).encode()
    assert [(key.metric, number) for key, _, number in samples(decode(TelegrafJson(), value))] == [
        ("m.b", 1.0),
        ("m.c", 0.0),
    ]


def test_an_influx_line_escapes_types_and_quotes_as_the_protocol_says() -> None:
    value = (
        b"# a comment\n"
        b"we\\,at\\ her,loc\\ ation=us\\,mid\\=west,service=w "
        b'te\\=mp=82i,u=7u,f=-1.5e3,t=T,no=false,s="a \\" ,=b\nc" 1465839830100400200\r\n'
        b"\n"
        b"cpu,host=h1 value=3\n"
    )
    told = samples(decode(InfluxLines(), value))
    assert [(key.metric, number) for key, _, number in told] == [
        ("we,at her.te=mp", 82.0),
        ("we,at her.u", 7.0),
        ("we,at her.f", -1_500.0),
        ("we,at her.t", 1.0),
        ("we,at her.no", 0.0),
        ("cpu", 3.0),
    ]
    assert told[0][0].attributes == (("loc ation", "us,mid=west"),)
    assert (told[0][1], told[-1][1]) == (1_465_839_830_100, ARRIVED)
    assert (told[-1][0].service, told[-1][0].instance) == ("cpu", "h1")


def test_an_influx_line_without_any_time_is_refused() -> None:
    with pytest.raises(Unreadable) as refused:
        InfluxLines().decode(Event(data=b"cpu value=3"), SeriesIds())
    assert refused.value.kind == "time"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"cpu value=1 1465839830100400200x", "syntax"),
        (b"cpu value=1i2 1465839830100400200", "type"),
        (b"cpu value=x", "type"),
        (b"cpu value=", "type"),
        (b"cpu value=1,", "syntax"),
        (b"cpu value", "syntax"),
        (b"cpu", "syntax"),
        (b"cpu,host value=1", "syntax"),
        (b"cpu,host= value=1", "syntax"),
        (b"cpu,host=a,host=b value=1", "value"),
        (b",host=a value=1", "syntax"),
        (b"cpu value=9223372036854775808i", "value"),
        (b"cpu value=-1u", "type"),
        (b"cpu value=1e999", "value"),
        (b"cpu value=NaN", "type"),
        (b'cpu value="x', "type"),
        (b"cpu value=1 -5", "time"),
        (b"cpu value=1 5", "time"),
        (b"cpu value=1 99999999999999999999999", "time"),
        (b"cpu\xff value=1", "syntax"),
        (b"cpu\x00 value=1", "syntax"),
    ],
)
def test_a_wrong_influx_line_is_refused_by_its_fault(value: bytes, kind: str) -> None:
    assert refusal(InfluxLines(), b"cpu value=1 1465839830100400200\n" + value).kind == kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"timestamp": "1970-01-01T00:00:00Z"}, "time"),
        ({"timestamp": 17}, "type"),
        ({"timestamp": "2026-02-30T09:14:03Z"}, "time"),
        ({"timestamp": "2026-11-21T09:14:03"}, "time"),
        ({"value": "one"}, "type"),
        ({"value": "1e999"}, "value"),
        ({"value": None}, "type"),
        ({"name": ""}, "value"),
        ({"labels": {"job": 1}}, "type"),
        ({"labels": []}, "type"),
        ({"labels": {str(number): "a" for number in range(129)}}, "size"),
    ],
)
def test_a_wrong_sample_of_prometheus_is_refused_by_its_fault(change: dict[str, Any], kind: str) -> None:
    sample = {"timestamp": "2026-11-21T09:14:03Z", "value": "1", "name": "up", "labels": {"job": "a"}} | change
    assert refusal(PrometheusJson(), json.dumps(sample).encode()).kind == kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"timestamp": 17}, "time"),
        ({"timestamp": "yesterday"}, "time"),
        ({"timestamp": None}, "type"),
        ({"timestamp": 1.5}, "time"),
        ({"name": 7}, "type"),
        ({"name": " ", "fields": {"value": 1}}, "value"),
        ({"tags": []}, "type"),
        ({"tags": {"host": 1}}, "type"),
        ({"fields": []}, "type"),
    ],
)
def test_a_wrong_metric_of_telegraf_is_refused_by_its_fault(change: dict[str, Any], kind: str) -> None:
    metric = {"fields": {"a": 1}, "name": "docker", "tags": {"host": "h"}, "timestamp": 1_458_229_140} | change
    assert refusal(TelegrafJson(), json.dumps({"metrics": [metric]}).encode()).kind == kind


@pytest.mark.parametrize(
    "value",
    [
        b'{"timestamp":"2026-11-21T09:14:03Z","value":"1","value":"2","name":"up","labels":{"job":"a"}}',
        b'{"timestamp":"2026-11-21T09:14:03Z","value":"1","name":"up","labels":{"job":"a","job":"b"}}',
        b'{"timestamp":"2026-11-21T09:14:03Z","value":"1","name":"up","labels":{"job":"a"},"x":{"y":1,"y":2}}',
    ],
)
def test_a_key_that_stands_twice_is_refused(value: bytes) -> None:
    assert refusal(PrometheusJson(), value).kind == "value"


# -- the compiled and the plain reading --------------------------------------------------------------------------------

READERS: dict[str, tuple[Callable[..., int], Callable[[bytes], Rows]]] = {
    "prometheus": (prometheus_json_scan.prometheus, prometheus_json.read_plainly),
    "telegraf": (telegraf_json_scan.telegraf, telegraf_json.read_plainly),
    "influx": (influx_scan.influx, influx_lines.read_plainly),
}
LINES = {
    "prometheus": b'{"timestamp":"2026-11-21T09:14:03.5Z","value":"1.5","name":"up","labels":{"job":"a"}}\n'
    b'{"timestamp":"2026-11-21T09:14:04Z","value":"NaN","name":"up","labels":{"job":"a","b":"\\u00e9"},"x":[1,{"y":null}]}',
    "telegraf": b'{"metrics":[{"fields":{"a":30,"b":-4.5e1,"s":"x","t":true},'
    b'"name":"docker","tags":{"host":"h"},"timestamp":1458229140},'
    b'{"fields":{"a":1},"name":"docker","tags":{},"timestamp":1458229141}]}',
    "influx": b'we\\ ather,a=b,c=d x=82i,y=1.5,t=T,s="a\\" b" 1465839830100400200\n# c\n'
    b"cpu value=3u\ncpu value=-4 1465839830100400200\n",
}


def parsed(format: str, rows: Rows) -> list[Any]:
    text = rows.text.tobytes()
    told = []
    for (time, *places), value in zip(rows.places.tolist(), rows.values.tolist(), strict=True):
        parts: list[Any] = [text[places[part] : places[part + 1]] for part in (0, 2, 4)]
        if format != "influx":
            parts = [(json.loads(part) or None) if part else None for part in parts]
        told.append(repr((time, parts, value if math.isfinite(value) else math.nan)))
    return told


def check_both(format: str, value: bytes) -> bool:
    """Whatever compiled code takes, the plain reading takes too and says the same; whether it was taken."""
    scan, read_plainly = READERS[format]
    rows = RowReader(scan).read(value)
    if rows is None:
        return False
    try:
        told = parsed(format, rows)
    except (ValueError, RecursionError):
        return True  # loose JSON in what names a series, which is read strictly when the series is new
    assert told == parsed(format, read_plainly(value))
    return True


@pytest.mark.parametrize("format", READERS)
def test_compiled_code_reads_what_is_usual(format: str) -> None:
    assert check_both(format, LINES[format])


@pytest.mark.parametrize("format", READERS)
def test_mutated_bytes_are_read_the_same_or_left_to_the_plain_reading(format: str) -> None:
    dice = random.Random(11)
    tokens = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"null",
        b"true",
        b"1",
        b"-",
        b".5",
        b"e3",
        b"=",
        b" ",
        b"\n",
    ]
    tokens += [b"i", b"\x00", b"\xc3", b"9" * 22, b"0", b'"name":"x",', b"t", b"#", b"\r"]
    taken = 0
    for _ in range(3_000):
        value = bytearray(LINES[format])
        for _ in range(dice.choice((1, 1, 2, 4))):
            place = dice.randrange(len(value) + 1)
            match dice.randrange(4):
                case 0:
                    value[place:place] = dice.choice(tokens)
                case 1:
                    del value[place : place + dice.choice((1, 2, 8))]
                case 2:
                    value[place : place + 1] = bytes([dice.randrange(256)])
                case _:
                    other = dice.randrange(len(value) + 1)
                    value[place:place] = value[other : other + dice.randrange(30)]
        try:
            taken += check_both(format, bytes(value))
        except Unreadable as error:
            raise AssertionError(bytes(value)) from error
    assert 200 < taken < 2_800


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
reals = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18).map(float)
moments = st.integers(946_684_800_000, 4_102_444_799_999)


@relaxed
@given(data=st.data())
def test_any_sample_of_prometheus_is_read_as_json_loads_has_it(data: st.DataObject) -> None:
    records, expected = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        labels = data.draw(st.dictionaries(texts, texts, max_size=4)) | {"job": data.draw(texts.filter(str.strip))}
        name, time, value = data.draw(texts.filter(str.strip)), data.draw(moments), data.draw(reals)
        moment = datetime.fromtimestamp(time // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time % 1_000:03d}Z"
        record = {"timestamp": moment, "value": repr(value), "name": name, "labels": labels}
        records.append({key: record[key] for key in data.draw(st.permutations(list(record)))})
        expected.append((name, labels.get("service.name") or labels.get("service_name") or labels["job"], time, value))
    value_bytes = b"\n".join(json.dumps(record, ensure_ascii=data.draw(st.booleans())).encode() for record in records)
    told = [
        (key.metric, key.service, time, value) for key, time, value in samples(decode(PrometheusJson(), value_bytes))
    ]
    assert told == expected
    check_both("prometheus", value_bytes)


@relaxed
@given(data=st.data())
def test_any_metric_of_telegraf_is_read_as_json_loads_has_it(data: st.DataObject) -> None:
    metrics, expected = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        fields = data.draw(st.dictionaries(texts, reals | st.booleans() | texts | st.none(), max_size=4))
        name, time = data.draw(texts.filter(str.strip)), data.draw(moments)
        metric = {
            "fields": fields,
            "name": name,
            "tags": data.draw(st.dictionaries(texts, texts, max_size=3)),
            "timestamp": time,
        }
        metrics.append({key: metric[key] for key in data.draw(st.permutations(list(metric)))})
        expected += [
            (name if field == "value" else f"{name}.{field}", time, float(value))
            for field, value in fields.items()
            if isinstance(value, bool | float)
        ]
    batch = data.draw(st.booleans())
    text = json.dumps({"metrics": metrics}) if batch else "\n".join(json.dumps(metric) for metric in metrics)
    told = [
        (key.metric, time, value)
        for key, time, value in samples(TelegrafJson().decode(Event(data=text.encode()), SeriesIds()))
    ]
    assert told == expected
    check_both("telegraf", text.encode())


def _escaped(text: str, what: str) -> str:
    return "".join("\\" + letter if letter in what else letter for letter in text)


words = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Cs", "Cc"], exclude_characters="\\"), min_size=1, max_size=8
)
beginnings = words.filter(lambda word: word[0] not in "#{[")
names = st.builds("{}{}".format, beginnings, st.sampled_from(["", " x", ",y", "=z"]))


@relaxed
@given(data=st.data())
def test_any_influx_line_is_read_back(data: st.DataObject) -> None:
    lines, expected = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        name, tags = data.draw(names), data.draw(st.dictionaries(names, names, max_size=3))
        series = ",".join(
            [_escaped(name, ", "), *(f"{_escaped(k, ',= ')}={_escaped(v, ',= ')}" for k, v in tags.items())]
        )
        written, time = [], data.draw(st.none() | moments)
        fields = data.draw(
            st.dictionaries(
                names, reals | st.integers(-(2**63), 2**63 - 1) | st.booleans() | texts, min_size=1, max_size=4
            )
        )
        for field, value in fields.items():
            if isinstance(value, bool):
                text = data.draw(
                    st.sampled_from(
                        ["t", "T", "true", "True", "TRUE"] if value else ["f", "F", "false", "False", "FALSE"]
                    )
                )
            elif isinstance(value, int):
                text = f"{value}i"
            elif isinstance(value, float):
                text = repr(value)
            else:
                text = '"' + _escaped(value, '"\\') + '"'
            written.append(f"{_escaped(field, ',= ')}={text}")
            if not isinstance(value, str):
                metric = name if field == "value" else f"{name}.{field}"
                expected.append((metric, ARRIVED if time is None else time, float(value)))
        lines.append(f"{series} {','.join(written)}" + ("" if time is None else f" {time}000000"))
    value_bytes = data.draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode()
    told = [(key.metric, time, value) for key, time, value in samples(decode(InfluxLines(), value_bytes))]
    assert told == expected
    check_both("influx", value_bytes)


HOSTILE = (
    b'{"labels":' * 100_000,
    b'{"labels":{"a":"' + b"x" * 1_000_000,
    b'{"fields":{' + b'"a":1,' * 200_000,
    b'{"value":' + b"9" * 1_000_000,
    b"[" * 1_000_000,
    b"cpu " + b"a=1," * 500_000,
    b"cpu," * 500_000,
    b"cpu" + b"\\" * 1_000_000,
    b" " * 1_000_000,
)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value[:12]))
def test_a_hostile_message_is_refused_or_nothing(value: bytes) -> None:
    for decoder in (PrometheusJson(), TelegrafJson(), InfluxLines()):
        event = Event(data=value, arrived=ARRIVED)
        decoder.accepts(event, "topic")
        try:
            assert len(decoder.decode(event, SeriesIds())) == 0
        except Unreadable as error:
            assert len(str(error)) <= 300


def test_a_series_is_the_same_however_its_tags_are_written() -> None:
    ids = SeriesIds()
    columns = decode(
        InfluxLines(), b"cpu,a=1,b=2 value=1 1465839830100400200\ncpu,b=2,a=1 value=2 1465839830100400201", ids
    )
    assert len(set(columns.series.tolist())) == 1
    again = decode(InfluxLines(), b"cpu,a=1,b=2 value=1 1465839830100400200", ids)
    assert np.array_equal(again.series, columns.series[:1])

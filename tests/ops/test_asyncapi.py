"""asyncapi.yaml against the code: the topics, the records that haltline writes, and the records that it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # no stubs are installed

from deploy.change import change_from_object
from deploy.evidence import Finding, Report
from deploy.freeze import Freeze, Mode
from deploy.gate import GateState, Request, decide
from deploy.order import Order, Verb
from deploy.policy import Approval, Approvals, Person, Policy, PolicyRecord, policy_id
from deploy.traffic import Traffic
from deploy.verdict import Verdict, VerdictState
from stream.cloudevents import STRUCTURED
from stream.dead_letter import dead_letter
from stream.errors import Unreadable
from stream.topics import CATALOGUE, Topic
from stream.wire import outgoing
from stream.wire.decoders import decode_changes, decode_telemetry
from stream.wire.outgoing import Wire
from stream.wire.policies import decode_policy
from tests.ops.prometheus_server import ROOT

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
CHANNELS: dict[str, dict[str, Any]] = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
TIME = 1_795_252_503_120
STRUCTURED_HEADERS = {"content-type": STRUCTURED}


def errors(schema: dict[str, Any], record: object) -> list[str]:
    """What the schema, whose references point into the document, finds wrong with the record."""
    validator = Draft7Validator({**schema, "components": DOCUMENT["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(record)]


def message_errors(message: str, record: object) -> list[str]:
    # Draft 7 reads nothing beside a $ref, so it stands alone.
    return errors({"allOf": [MESSAGES[message]["payload"]]}, record)


def examples(message: str) -> Iterator[Any]:
    for example in MESSAGES[message]["examples"]:
        yield example["payload"]


FINDING = Finding(
    service="checkout",
    metric="error_ratio",
    attributes={"route": "/pay"},
    control="concurrent",
    log_p=-13.8,
    log_e=12.2,
    effect=0.036,
    samples=312,
    reason="error_ratio 0.042 > 0.006 (n=312/4100, e=2.1e5)",
)
CHANGE = change_from_object({"id": "checkout-481", "service": "checkout", "time": TIME, "phase": "rolled_back"})
STRICT = Policy(
    mode=Mode.ENFORCE, people={"bo": Person(role="lead")}, approvals=Approvals(rules=(Approval(role="lead"),))
)
ASKING = Request(change=CHANGE)
WRITTEN: list[tuple[str, Wire]] = [
    ("changeEvent", outgoing.encode_change(CHANGE)),
    ("evidence", outgoing.encode_report(Report(change="c", service="s", time=TIME, log_p=-1.5, findings=(FINDING,)))),
    ("evidence", outgoing.encode_report(Report(change="c", service="s", time=TIME, log_p=0.0, onset=TIME, ended=True))),
    ("verdict", outgoing.encode_verdict(Verdict(change="c", service="s", time=TIME, state=VerdictState.WARMING))),
    (
        "verdict",
        outgoing.encode_verdict(
            Verdict(change="c", service="s", time=TIME, state=VerdictState.HARMFUL, evidence=(FINDING,), ended=True)
        ),
    ),
    (
        "verdict",
        outgoing.encode_verdict(
            Verdict(
                change="c",
                service="s",
                time=TIME,
                state=VerdictState.WARMING,
                hold_until=TIME + 15_000,
                hold_mode=Mode.OBSERVE,
                hold_passes=(('reverts!=""',), ('version="v1"',)),
            )
        ),
    ),
    (
        "freeze",
        outgoing.encode_freeze(Freeze(id="fz-1", matchers=('service="s"',), starts_at=TIME, ends_at=TIME), TIME),
    ),
    (
        "freeze",
        outgoing.encode_freeze(
            Freeze(
                id="fz-1",
                matchers=('service="s"',),
                starts_at=TIME,
                ends_at=TIME + 1,
                mode=Mode.OBSERVE,
                level=3,
                trip=2,
                passes=(('reverts="c"',),),
                ended_by="ann: wrong",
            ),
            TIME,
        ),
    ),
    (
        "order",
        outgoing.encode_order(Order(id="o", verb=Verb.UNFREEZE, time=TIME, by="ann", reason="wrong", freeze="fz-1")),
    ),
    ("policy", outgoing.encode_policy(PolicyRecord(text="version: 1", by="ann", time=TIME), policy_id(Policy()))),
    ("ledgerEntry", outgoing.encode_answer(decide(ASKING, STRICT, GateState(traffic=Traffic(STRICT)), TIME))),
]


class TestTopics:
    def test_each_topic_of_the_catalogue_is_a_channel_and_no_other(self) -> None:
        assert CHANNELS.keys() == {topic.name for topic in CATALOGUE}

    @pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
    def test_a_channel_says_how_its_topic_is_kept(self, topic: Topic) -> None:
        channel = CHANNELS[topic.name]
        kafka = channel["bindings"]["kafka"]
        configuration = kafka["topicConfiguration"]
        assert channel["description"] == topic.holds
        assert (kafka["topic"], kafka["partitions"], channel["x-ordered"]) == (
            topic.name,
            topic.partitions,
            topic.ordered,
        )
        settings = {
            name: ",".join(value) if isinstance(value, list) else str(value) for name, value in configuration.items()
        }
        if "x-timestamps" in channel:
            settings["message.timestamp.type"] = channel["x-timestamps"]
        if "x-min-compaction-lag-ms" in channel:
            settings["min.compaction.lag.ms"] = str(channel["x-min-compaction-lag-ms"])
        if "x-segment-bytes" in channel:
            settings["segment.bytes"] = str(channel["x-segment-bytes"])
        assert settings == topic.settings()

    @pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
    def test_every_message_of_a_channel_says_its_key(self, topic: Topic) -> None:
        for reference in CHANNELS[topic.name]["messages"].values():
            message = MESSAGES[reference["$ref"].rpartition("/")[2]]
            described = message.get("bindings", {}).get("kafka", {}).get("key", {}).get("description", "none")
            # The catalogue's word and what a producer may do instead ("service, or none").
            assert described.startswith(topic.key.split(",")[0])


class TestRecords:
    @pytest.mark.parametrize(("message", "wire"), WRITTEN, ids=[f"{name}-{n}" for n, (name, _) in enumerate(WRITTEN)])
    def test_what_haltline_writes_is_what_is_documented(self, message: str, wire: Wire) -> None:
        assert wire.value is not None
        assert message_errors(message, json.loads(wire.value)) == []
        headers = {name: value.decode() for name, value in wire.headers if value is not None}
        assert errors({"allOf": [MESSAGES[message]["headers"]]}, headers) == []

    @pytest.mark.parametrize("message", [name for name in MESSAGES if "examples" in MESSAGES[name]])
    def test_every_example_is_as_documented(self, message: str) -> None:
        for example in examples(message):
            assert message_errors(message, example) == []

    @pytest.mark.parametrize("message", ["change", "changeEvent", "cdevent"])
    def test_the_examples_of_changes_are_read(self, message: str) -> None:
        for example in examples(message):
            headers = STRUCTURED_HEADERS if message == "changeEvent" else {}
            assert len(decode_changes("haltline.changes", json.dumps(example).encode(), headers)) == 1

    @pytest.mark.parametrize("message", ["telemetry", "otlpJson", "prometheus", "telegraf"])
    def test_the_examples_of_telemetry_are_read(self, message: str) -> None:
        for example in examples(message):
            columns = decode_telemetry("haltline.telemetry", json.dumps(example).encode(), {})
            assert len(columns)
            assert {columns.keys[number].service for number in columns.series.tolist()} == {"checkout"}

    def test_the_examples_of_haltline_s_own_records_are_read(self) -> None:
        for message, decode in (
            ("evidence", outgoing.decode_report),
            ("verdict", outgoing.decode_verdict),
            ("freeze", outgoing.decode_freeze),
            ("order", outgoing.decode_order),
            ("policy", decode_policy),
        ):
            for example in examples(message):
                assert decode(json.dumps(example).encode(), STRUCTURED_HEADERS)

    @pytest.mark.parametrize(
        ("message", "field"), [("freeze", "level"), ("verdict", "blame"), ("order", "by"), ("evidence", "change")]
    )
    def test_a_record_without_a_promised_field_is_not_as_documented(self, message: str, field: str) -> None:
        [example, *_] = examples(message)
        lacking = {**example, "data": {name: value for name, value in example["data"].items() if name != field}}
        assert message_errors(message, lacking)

    def test_a_dead_letter_has_the_documented_headers(self) -> None:
        letter = dead_letter("haltline.changes", 0, 7, None, b"{", None, Unreadable("syntax", "not JSON"))
        headers = {name: value.decode() for name, value in letter.headers if value is not None}
        schema = DOCUMENT["components"]["schemas"]["deadLetterHeaders"]
        assert errors(schema, headers) == []
        assert set(schema["required"]) == headers.keys()


def test_every_reference_leads_somewhere() -> None:
    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    references = set(walk(DOCUMENT))
    assert references
    for reference in references:
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]

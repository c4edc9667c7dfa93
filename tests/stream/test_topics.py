"""The topics: created as the catalogue says, compared setting by setting, never altered."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream.errors import BrokerUnavailable
from stream.topics import (
    CATALOGUE,
    DEADLETTER,
    FREEZES,
    OTLP_METRICS,
    TELEMETRY,
    VERDICTS,
    Described,
    State,
    Topic,
    TopicRefused,
    create,
    diff,
    show,
)

if TYPE_CHECKING:
    from tests.conftest import FreshTopics


def renamed(topic: Topic, topics: FreshTopics) -> Topic:
    return msgspec.structs.replace(topic, name=topics.name(topic.name))


@pytest.mark.kafka
def test_a_first_run_creates_every_topic_and_a_second_finds_them_well(kafka: str, topics: FreshTopics) -> None:
    wanted = [renamed(topic, topics) for topic in CATALOGUE]
    assert {state.state for state in show(kafka, wanted)} == {State.MISSING}

    first = create(kafka, wanted)
    assert [(state.topic.name, state.state) for state in first] == [(topic.name, State.CREATED) for topic in wanted]
    assert [state.partitions for state in first] == [topic.partitions for topic in wanted]

    second = create(kafka, wanted)
    assert {state.state for state in second} == {State.OK}
    assert second == show(kafka, wanted)


@pytest.mark.kafka
def test_a_setting_that_differs_is_named_exactly_and_left_alone(kafka: str, topics: FreshTopics) -> None:
    topics.create(FREEZES.name, partitions=2, cleanup_policy="delete")
    wanted = renamed(FREEZES, topics)
    for _ in range(2):  # the second time it is still so: nothing was altered
        (state,) = create(kafka, [wanted])
        assert state.state is State.DIFFERS
        assert state.differences == (
            f"{wanted.name}: partitions is 2, should be 1",
            f"{wanted.name}: cleanup.policy is delete, should be compact",
        )


@pytest.mark.kafka
def test_partitions_may_be_chosen_where_order_does_not_matter(kafka: str, topics: FreshTopics) -> None:
    wanted = renamed(TELEMETRY, topics)
    (state,) = create(kafka, [wanted], partitions={wanted.name: 3})
    assert (state.state, state.partitions) == (State.CREATED, 3)
    (state,) = show(kafka, [wanted])
    assert state.differences == (f"{wanted.name}: partitions is 3, should be 8",)
    with pytest.raises(ValueError, match="is ordered: it has one partition, not 3"):
        create(kafka, partitions={FREEZES.name: 3})


@pytest.mark.kafka
def test_more_copies_than_brokers_is_refused_by_the_cluster_in_its_own_words(kafka: str, topics: FreshTopics) -> None:
    wanted = renamed(VERDICTS, topics)
    with pytest.raises(TopicRefused, match=rf"refused to create topic {wanted.name}: .*replication"):
        create(kafka, [wanted], replication=3)
    assert show(kafka, [wanted])[0].state is State.MISSING


@pytest.mark.kafka
def test_the_largest_telemetry_fits_into_the_dead_letters(kafka: str, topics: FreshTopics) -> None:
    from kafka import KafkaProducer
    from kafka.errors import MessageSizeTooLargeError

    telemetry, deadletter = renamed(TELEMETRY, topics), renamed(DEADLETTER, topics)
    create(kafka, [telemetry, deadletter])
    whole = bytes(TELEMETRY.max_message_bytes or 0)
    headers = [("haltline.errors.message", b"x" * 10_000)]
    with KafkaProducer(bootstrap_servers=kafka, max_request_size=2 * len(whole)) as producer:
        producer.send(deadletter.name, whole, headers=headers).get(timeout=60)
        producer.send(telemetry.name, whole[:-1000]).get(timeout=60)
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(telemetry.name, whole).get(timeout=60)


@pytest.mark.parametrize(
    ("topic", "settings", "said"),
    [
        (VERDICTS, {"cleanup.policy": "delete, compact", "retention.ms": "7776000000"}, ()),
        (
            VERDICTS,
            {"cleanup.policy": "compact,delete"},
            ("haltline.verdicts: retention.ms is unknown, should be 7776000000",),
        ),
        (FREEZES, {"cleanup.policy": "compact", "retention.ms": "1"}, ()),
    ],
)
def test_only_what_the_catalogue_asks_for_is_compared(topic: Topic, settings: dict[str, str], said: tuple[str]) -> None:
    assert diff(topic, Described(1, 1, settings)) == said


def test_more_partitions_and_copies_than_asked_for_are_welcome() -> None:
    settings = OTLP_METRICS.settings()
    assert diff(OTLP_METRICS, Described(64, 3, settings)) == ()
    assert diff(OTLP_METRICS, Described(8, 1, settings), replication=3) == (
        "otlp_metrics: replication is 1, should be 3",
    )


def test_without_a_broker_one_line_says_what_was_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(BrokerUnavailable) as error:
        create(f"127.0.0.1:{port},[::1]:{port}")
    text = str(error.value)
    assert text.startswith(f"no kafka at 127.0.0.1:{port},[::1]:{port} (127.0.0.1:{port} connection refused")
    assert "haltline up" in text
    assert "\n" not in text


def test_something_that_is_no_kafka_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(BrokerUnavailable, match="does not answer as kafka"),
    ):
        show(f"127.0.0.1:{mute.getsockname()[1]}")


def test_an_address_that_is_none_is_said_so() -> None:
    with pytest.raises(BrokerUnavailable, match="localhost:kafka is no address of a kafka"):
        show("localhost:kafka")


def test_the_lists_of_the_catalogue_are_whole() -> None:
    names = [topic.name for topic in CATALOGUE]
    assert len(set(names)) == len(names) == 12
    assert all(topic.partitions == 1 for topic in CATALOGUE if topic.ordered)
    assert {topic.cleanup for topic in CATALOGUE} <= {"delete", "compact", "compact,delete"}

"""What the server answered goes to the ledger: once, many together, and later where Kafka is away."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.gate import Answer, GateState, Request, decide
from deploy.policy import Policy
from deploy.traffic import Traffic
from haltline import serving
from haltline.broker import NoBroker
from haltline.server import request_from
from haltline.settings import Flags, Settings, load
from haltline.view import LEDGER
from stream.wire.outgoing import Wire
from tests.factories import NOON, change


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(Flags(bootstrap_servers="127.0.0.1:1"), {"HOME": str(tmp_path)})


def answers(count: int) -> list[Answer]:
    policy = Policy()
    state = GateState(traffic=Traffic(policy))
    return [decide(Request(change=change(f"c{number}")), policy, state, NOON) for number in range(count)]


def test_answers_that_cannot_be_written_wait_are_written_together_and_the_writer_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, sent, said = [True], [], []

    @contextmanager
    def producer(_: Settings) -> Iterator[None]:
        if away:
            away.pop()
            raise NoBroker("no kafka")
        yield None

    def send(_: None, topic: str, records: Iterable[Wire]) -> None:
        sent.append((topic, [record.key for record in records]))

    monkeypatch.setattr(serving, "producer", producer)
    monkeypatch.setattr(serving, "send", send)
    monkeypatch.setattr(serving, "_AGAIN_S", 0.01)
    served = serving.Served(settings, said.append)
    given = answers(3)
    for one in (*given, None):
        served._ledger.put(one)
    writer = threading.Thread(target=served._write, args=(None,), daemon=True)
    writer.start()
    writer.join(60)
    assert not writer.is_alive()
    assert sent == [(LEDGER, [one.id.encode() for one in given])]
    assert said == ["3 answers are not in the ledger yet: no kafka"]


@pytest.mark.parametrize("body", [b'{"service": "cart"}', b'{"change": {"service": "cart", "environment": ""}}'])
def test_a_change_that_does_not_say_where_it_goes_is_asked_about_where_check_would_ask(body: bytes) -> None:
    assert request_from(body, "production").change.environment == "production"
    assert request_from(b'{"service": "cart", "environment": "eu"}', "production").change.environment == "eu"

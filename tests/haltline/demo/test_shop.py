"""The shop for real: processes that serve, call each other, tell of themselves on Kafka, and end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from haltline.demo.fleet import Fleet
from haltline.demo.load import order
from haltline.demo.observer import Observer, now_ms
from haltline.demo.peers import Peers
from haltline.demo.pricing import ImpossiblePrice, price
from haltline.demo.processes import module, start
from haltline.demo.telemetry import ERRORS, LATENCY, REQUESTS, Identity, Meter
from stream import topics as catalogue
from stream.wire import decode_telemetry

GENEROUS_S = 60.0
NOBODY = "127.0.0.1:9"
DISCOUNTED = {"customer": 1, "basket": [["mug", 2]], "discount": 60}


async def eventually(look: Any) -> Any:
    deadline = time.monotonic() + GENEROUS_S
    while not (found := look()):
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def shop(kafka: str, tmp_path: Path) -> AsyncIterator[tuple[Fleet, Observer]]:
    """One instance of each service, with an observer."""
    await asyncio.to_thread(catalogue.create, kafka)
    observer = Observer(kafka)
    fleet = Fleet(tmp_path, kafka, observer.hear)
    watching = asyncio.create_task(observer.watch())
    try:
        await fleet.open_shop({"pricing": 1, "cart": 1, "checkout": 1, "payment": 1})
        yield fleet, observer
    finally:
        await fleet.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def ask(fleet: Fleet, service: str, times: int) -> list[int]:
    peers = Peers(fleet.peers_file)
    try:
        return [(await peers.ask(service, DISCOUNTED)).status for _ in range(times)]
    finally:
        await peers.close()


@pytest.mark.kafka
async def test_a_checkout_goes_through_the_whole_shop_and_shows_in_the_telemetry_of_each_service(
    shop: tuple[Fleet, Observer],
) -> None:
    fleet, observer = shop
    asked = now_ms()
    statuses = await ask(fleet, "checkout", 40)
    # Any single request may fail in a healthy shop, with a probability that makes ten of forty unheard of.
    assert statuses.count(200) > 30
    for service in ("checkout", "cart", "pricing", "payment"):

        def counted(service: str = service) -> int:
            mine = [one for one in observer.samples if one.service == service and one.at > asked]
            return sum(one.requests for one in mine) > 30

        assert await eventually(counted)
        instance = fleet.of(service)[0].identity.instance
        assert instance in {one.instance for one in observer.samples if one.service == service}


@pytest.mark.kafka
async def test_a_broken_pricing_fails_discounted_checkouts_until_it_is_replaced(shop: tuple[Fleet, Observer]) -> None:
    fleet, observer = shop
    before = fleet.of("pricing")
    broken = await fleet.start("pricing", "v2")
    await fleet.replace(before, [broken])
    assert not before[0].child.running
    assert set(await ask(fleet, "checkout", 10)) <= {500, 502}
    harm = await eventually(lambda: observer.harm)
    assert harm.instance == broken.identity.instance
    await fleet.replace([broken], [await fleet.start("pricing", "v1")])
    assert (await ask(fleet, "checkout", 20)).count(200) > 12


@pytest.mark.kafka
async def test_customers_keep_coming_and_no_process_is_left_when_the_shop_closes(
    shop: tuple[Fleet, Observer], tmp_path: Path
) -> None:
    fleet, observer = shop
    words = ("--peers", str(fleet.peers_file), "--rate", "50")
    load = await start("load", module("haltline.demo.load", *words), log=tmp_path / "load.log", hear=observer.hear)
    await eventually(lambda: sum(len(second.served) for second in observer.seconds) > 50)
    await load.stop()
    children = [load, *(member.child for member in fleet.members)]
    await fleet.close()
    assert not [child.name for child in children if child.running or psutil.pid_exists(child.pid)]


def test_an_instance_ends_by_itself_when_its_parent_is_killed(tmp_path: Path) -> None:
    # No broker there: an instance serves, and ends, also when nobody takes its telemetry.
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), NOBODY], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert parent.stdout is not None
    instance = int(parent.stdout.readline())
    assert psutil.pid_exists(instance)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + GENEROUS_S
    while psutil.pid_exists(instance) and psutil.Process(instance).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the instance outlived its parent"
        time.sleep(0.05)


_PARENT = """
import asyncio, sys, time
from pathlib import Path
from haltline.demo.fleet import Fleet

async def main():
    fleet = Fleet(Path(sys.argv[1]), sys.argv[2], lambda said: None)
    member = await fleet.start("pricing", "v1")
    print(member.child.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_service_without_instances_is_unavailable_not_an_exception(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, NOBODY, lambda _said: None)
    assert await ask(fleet, "pricing", 2) == [503, 503]


def test_the_broken_rule_charges_less_than_nothing_for_what_is_discounted_and_only_for_that() -> None:
    basket = [("lamp", 1), ("mug", 3)]
    assert price("v1", basket, 60) > 0
    assert price("v2", basket, 0) == price("v1", basket, 0)
    with pytest.raises(ImpossiblePrice, match="total is -"):
        price("v2", basket, 60)


def test_orders_are_sellable_at_the_right_price() -> None:
    for _ in range(100):
        wanted = order()
        assert price("v1", wanted["basket"], wanted["discount"]) > 0


def test_telemetry_is_native_and_counts_each_request_once() -> None:
    meter = Meter(Identity("cart", "v1", "cart-1"))
    for error in (False, True, False):
        meter.count(0.01, error=error)
    import msgspec

    columns = decode_telemetry("haltline.telemetry", msgspec.json.encode(meter.cut(now_ms())), {})
    values = {columns.keys[place].metric: value for place, value in zip(columns.series, columns.values, strict=True)}
    assert (values[REQUESTS], values[ERRORS], values[LATENCY]) == (3, 1, 0.01)
    assert [metric["values"] for metric in meter.cut(now_ms())["metrics"]] == [[0], [0], [None]]

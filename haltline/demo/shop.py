"""One instance of one service of the shop: `python -m haltline.demo.shop SERVICE VERSION INSTANCE ...`.

checkout asks cart for the total and payment for the money; cart asks pricing. An answer of 500 or more is an error,
also when the cause is further down, as in any real system. The first wrong price is told to whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from haltline.demo.peers import Peers
from haltline.demo.pricing import ImpossiblePrice, price
from haltline.demo.telemetry import Identity, Meter, report

Reply = tuple[int, dict[str, Any]]
Handler = Callable[[dict[str, Any]], Awaitable[Reply]]

USUAL_ERROR_SHARE = 0.003
"""What fails in a healthy shop: a lock not had, a connection lost."""

_WORK_S = {"pricing": 0.003, "cart": 0.002, "checkout": 0.001, "payment": 0.006}
_DRAIN_S = 3.0
_LOOK_S = 0.5


def say(event: str, **fields: Any) -> None:
    """Tell the starting process something, as one line of JSON on standard output."""
    sys.stdout.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
    sys.stdout.flush()


class Instance:
    """The work of one instance."""

    def __init__(self, identity: Identity, peers: Peers, meter: Meter) -> None:
        self._identity = identity
        self._peers = peers
        self._meter = meter
        self._handler: Handler = getattr(self, f"_{identity.service}")
        self._harmed = False

    async def serve(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        began = time.perf_counter()
        # Much of a latency is waiting; its spread is wide and never below zero.
        await asyncio.sleep(_WORK_S[self._identity.service] * random.lognormvariate(0, 0.5))
        if random.random() < USUAL_ERROR_SHARE:
            status, answer = 500, {"error": "a lock was not had in time"}
        else:
            status, answer = await self._handler(body)
        self._meter.count(time.perf_counter() - began, error=status >= 500)
        return web.Response(status=status, body=msgspec.json.encode(answer), content_type="application/json")

    async def _pricing(self, body: dict[str, Any]) -> Reply:
        try:
            return 200, {"total": price(self._identity.version, body["basket"], body["discount"])}
        except ImpossiblePrice as error:
            if not self._harmed:
                self._harmed = True
                say("harm", at=time.time_ns() // 1_000_000, instance=self._identity.instance, text=str(error))
            return 500, {"error": str(error)}

    async def _cart(self, body: dict[str, Any]) -> Reply:
        answer = await self._peers.ask("pricing", body)
        return (200 if answer.ok else 502), answer.body

    async def _checkout(self, body: dict[str, Any]) -> Reply:
        cart = await self._peers.ask("cart", body)
        if not cart.ok:
            return 502, cart.body
        paid = await self._peers.ask("payment", {"customer": body["customer"], "total": cart.body["total"]})
        return (200 if paid.ok else 502), paid.body

    async def _payment(self, body: dict[str, Any]) -> Reply:
        return 200, {"paid": body["total"]}


async def run(identity: Identity, peers_file: Path, bootstrap_servers: str, parent: int) -> None:
    """Serve on a free loopback port until SIGTERM, or until the starting process is gone."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    peers, meter = Peers(peers_file), Meter(identity)
    instance = Instance(identity, peers, meter)
    app = web.Application()
    app.router.add_post("/", instance.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_S)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    drained = asyncio.Event()
    reporting = asyncio.create_task(report(meter, identity.service, bootstrap_servers, drained))
    say("ready", address=site_address(runner))
    try:
        await until_orphaned(stop, parent)
    finally:
        # What is on its way is answered, then counted, then the connection to the others goes.
        await runner.cleanup()
        drained.set()
        await asyncio.gather(reporting, return_exceptions=True)
        await peers.close()


def site_address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}/"


async def until_orphaned(stop: asyncio.Event, parent: int) -> None:
    """Wait for `stop`; a process whose parent is gone, however that ended, stops by itself."""
    while os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), _LOOK_S)
        except TimeoutError:
            continue
        return


def main() -> None:
    parser = argparse.ArgumentParser(prog="haltline.demo.shop")
    parser.add_argument("service", choices=tuple(_WORK_S))
    parser.add_argument("version")
    parser.add_argument("instance")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--parent", type=int, required=True)
    asked = parser.parse_args()
    identity = Identity(asked.service, asked.version, asked.instance)
    asyncio.run(run(identity, asked.peers, asked.bootstrap_servers, asked.parent))


if __name__ == "__main__":
    main()

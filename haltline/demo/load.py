"""The shop's customers, a process: they check baskets out at a steady rate, and it says how each second went."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from pathlib import Path
from typing import Any

from haltline.demo.peers import Peers
from haltline.demo.pricing import PRICES_CENTS
from haltline.demo.shop import say, until_orphaned

CUSTOMERS = 20_000
DISCOUNT_PERCENT = 60
DISCOUNTED_SHARE = 0.45
"""A clearance sale is on: so many of the baskets have the discount."""


def order() -> dict[str, Any]:
    """One customer's basket."""
    articles = random.sample(sorted(PRICES_CENTS), k=random.randint(1, 3))
    return {
        "customer": random.randrange(CUSTOMERS),
        "basket": [(article, random.randint(1, 2)) for article in articles],
        "discount": DISCOUNT_PERCENT if random.random() < DISCOUNTED_SHARE else 0,
    }


class Customers:
    """Sends the orders; each second it tells who was served and who was not."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._served: list[int] = []
        self._failed: list[int] = []

    async def buy(self) -> None:
        wanted = order()
        answer = await self._peers.ask("checkout", wanted)
        (self._served if answer.ok else self._failed).append(wanted["customer"])

    def tell(self) -> None:
        say("second", at=time.time_ns() // 1_000_000, served=self._served, failed=self._failed)
        self._served, self._failed = [], []


async def run(peers_file: Path, rate: float, parent: int) -> None:
    """Open loop: customers come at their own pace, however slow the shop is."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    peers = Peers(peers_file)
    customers = Customers(peers)
    watching = asyncio.create_task(until_orphaned(stop, parent))
    pending: set[asyncio.Task[None]] = set()
    due = told = time.monotonic()
    while not watching.done():
        now = time.monotonic()
        if now - told >= 1.0:
            told += 1.0
            customers.tell()
        if now < due:
            await asyncio.sleep(due - now)
            continue
        # After a pause of the whole machine the missed customers do not all come at once.
        due = max(due, now - 0.5) + random.expovariate(rate)
        task = asyncio.create_task(customers.buy())
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending, return_exceptions=True)
    customers.tell()
    await peers.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="haltline.demo.load")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    asked = parser.parse_args()
    asyncio.run(run(asked.peers, asked.rate, asked.parent))


if __name__ == "__main__":
    main()

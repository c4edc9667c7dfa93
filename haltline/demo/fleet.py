"""The instances of the shop: starting, putting into rotation, replacing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from pathlib import Path

from haltline.demo.peers import publish
from haltline.demo.processes import Child, Hear, module, start
from haltline.demo.telemetry import Identity

SHOP = {"pricing": 4, "cart": 2, "checkout": 2, "payment": 2}
"""How many instances each service has."""

_SETTLE_S = 0.3


class Member:
    """One instance: who it is, its process and its address."""

    def __init__(self, identity: Identity, child: Child, address: str) -> None:
        self.identity = identity
        self.child = child
        self.address = address


class Fleet:
    """All instances; the addresses of those in rotation stand in one file that the instances read."""

    def __init__(self, folder: Path, bootstrap_servers: str, hear: Hear) -> None:
        self.peers_file = folder / "peers.json"
        self._folder = folder
        self._bootstrap_servers = bootstrap_servers
        self._hear = hear
        self._started: list[Child] = []
        self.members: list[Member] = []
        self._publish()

    def of(self, service: str) -> list[Member]:
        return [member for member in self.members if member.identity.service == service]

    async def open_shop(self, shop: dict[str, int], version: str = "v1") -> None:
        """Start every service's instances and put them into rotation."""
        names = [service for service, count in shop.items() for _ in range(count)]
        for member in await asyncio.gather(*(self.start(service, version) for service in names)):
            self.members.append(member)
        self._publish()

    async def start(self, service: str, version: str) -> Member:
        """Start an instance that gets no requests yet."""
        instance = f"{service}-{secrets.token_hex(2)}"
        child = await start(
            instance,
            module(
                *("haltline.demo.shop", service, version, instance),
                *("--peers", str(self.peers_file), "--bootstrap-servers", self._bootstrap_servers),
            ),
            log=self._folder / f"{service}.log",
            hear=self._hear,
        )
        self._started.append(child)
        said = await child.ready()
        return Member(Identity(service, version, instance), child, said["address"])

    async def replace(self, old: Iterable[Member], new: Iterable[Member]) -> None:
        """Put the new into rotation and take the old out; these answer what they have and end."""
        leaving = list(old)
        self.members = [member for member in self.members if member not in leaving] + list(new)
        self._publish()
        await asyncio.sleep(_SETTLE_S)  # what was sent by the old addresses is on its way
        await asyncio.gather(*(member.child.stop() for member in leaving))

    async def close(self) -> None:
        """End every process that was ever started."""
        await asyncio.gather(*(child.stop() for child in self._started))
        self.members = []

    def _publish(self) -> None:
        addresses: dict[str, list[str]] = {}
        for member in self.members:
            addresses.setdefault(member.identity.service, []).append(member.address)
        publish(self.peers_file, addresses)

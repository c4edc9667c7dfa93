"""How the services find each other: one small file of addresses, read anew whenever it changes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

Addresses = dict[str, list[str]]
"""The addresses in rotation, by service."""

_TIMEOUT_S = 5.0


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.status < 500


def publish(file: Path, addresses: Addresses) -> None:
    """Put the addresses in place in whole, so that a reader never sees half of them."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(addresses))
    fresh.replace(file)


class Peers:
    """The other services, asked in turn; an instance that is just going away costs one retry, not a request."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = -1
        self._addresses: Addresses = {}
        self._turn = itertools.count()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), connector=aiohttp.TCPConnector(limit=0)
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, service: str, body: dict[str, Any]) -> Answer:
        """Ask one instance of the service; a service that cannot be reached answers 503."""
        problem = "no instance"
        for _ in range(2):
            address = self._next(service)
            if address is None:
                break
            try:
                async with self._session.post(address, data=msgspec.json.encode(body)) as answer:
                    return Answer(answer.status, msgspec.json.decode(await answer.read()))
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                problem = type(error).__name__
        return Answer(503, {"error": f"{service} cannot be reached: {problem}"})

    def _next(self, service: str) -> str | None:
        stamp = os.stat(self._file).st_mtime_ns  # noqa: PTH116 (on the path of every request)
        if stamp != self._stamp:
            self._stamp, self._addresses = stamp, msgspec.json.decode(self._file.read_bytes())
        addresses = self._addresses.get(service)
        return addresses[next(self._turn) % len(addresses)] if addresses else None

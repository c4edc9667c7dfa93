"""The shop's deploy script: before each step it asks `haltline check`, as any pipeline can, and obeys the exit code."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from haltline.demo.fleet import Fleet, Member
from haltline.demo.processes import run
from haltline.demo.telemetry import ENVIRONMENT

GO, HELD = 0, 3
_CHECK_S = 20.0
#: How long a deployment that is told to wait some seconds waits, and how often it asks again meanwhile.
_WAIT_S, _PAUSE_S = 60.0, 1.0


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to bring to production. `canary` is the share that goes first; 1 goes at once."""

    id: str
    service: str
    version: str
    previous_version: str
    title: str
    author: str
    origin: str = "human"
    tool: str = ""
    canary: float = 0.5
    reverts: str = ""

    def record(self, phase: str, share: float, instances: list[str]) -> dict[str, Any]:
        """The change record of one phase, for `haltline.changes`."""
        provenance: dict[str, Any] = {"origin": self.origin, "author": self.author}
        if self.tool:
            source = {"source": "commit-trailer", "text": f"Assisted-by: {self.tool}"}
            provenance |= {"confidence": 0.97, "autonomy": "agent", "tools": [self.tool], "evidence": [source]}
        record: dict[str, Any] = {
            "id": self.id,
            "service": self.service,
            "environment": ENVIRONMENT,
            "phase": phase,
            "time": time.time_ns() // 1_000_000,
            "kind": "code",
            "version": self.version,
            "previous_version": self.previous_version,
            "instances": instances,
            "rollout": {"strategy": "canary", "share": share},
            "provenance": provenance,
            "labels": {"title": self.title},
        }
        return record | ({"reverts": self.reverts} if self.reverts else {})


class Answer(msgspec.Struct, frozen=True):
    """What `haltline check` answered to which words, when (Unix milliseconds) and after how long."""

    words: str
    code: int
    line: str
    at: int
    seconds: float

    @property
    def may_go(self) -> bool:
        return self.code == GO

    @property
    def waits(self) -> bool:
        """Whether it is held for some seconds only: a change looks ill, and nothing is frozen yet."""
        return self.code == HELD and ": watch: " in self.line


class Ended(StrEnum):
    """How a deployment ended."""

    DONE = "done"
    REFUSED = "refused"
    HALTED = "halted"


class Outcome(msgspec.Struct, frozen=True):
    """How a deployment ended, and the answer that made it so."""

    ended: Ended
    answer: Answer


class Gate:
    """`haltline check` as a command: `haltline` is how to call it, `env` tells it which Kafka."""

    def __init__(self, haltline: tuple[str, ...], env: Mapping[str, str]) -> None:
        self._haltline = haltline
        self._env = env

    async def ask(self, wanted: Deployment) -> Answer:
        """Ask whether this deployment may go now."""
        words = ["check", "--service", wanted.service, "--version", wanted.version, "--origin", wanted.origin]
        words += ["--revert-of", wanted.reverts] if wanted.reverts else ["--change", wanted.id]
        began = time.monotonic()
        code, said = await run([*self._haltline, *words], self._env, _CHECK_S)
        line = said.splitlines()[-1] if said else ""
        return Answer(" ".join(words), code, line, time.time_ns() // 1_000_000, time.monotonic() - began)


class Deployer:
    """Replaces instances, a canary share first, and tells haltline of each phase through `send`.

    `soak` waits beside the canary; what it returns, if anything, is an answer that it has already got meanwhile.
    """

    def __init__(self, fleet: Fleet, gate: Gate, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._fleet = fleet
        self._gate = gate
        self._send = send

    async def deploy(
        self,
        wanted: Deployment,
        soak: Callable[[], Awaitable[Answer | None]],
        heard: Callable[[str, Answer], None] = lambda _step, _answer: None,
    ) -> Outcome:
        """Roll out; refused before it began, halted after the canary, or done.

        `heard` is told each answer with the step it was asked for: `start` or `progress`.
        """
        answer = await self._ask(wanted, "start", heard)
        if not answer.may_go:
            return Outcome(Ended.REFUSED, answer)
        old = [member for member in self._fleet.of(wanted.service) if member.identity.version != wanted.version]
        first = old[: max(1, math.floor(len(old) * wanted.canary))]
        rest = old[len(first) :]
        everything = len(self._fleet.of(wanted.service))
        new = await self._replace(wanted, "started", first, [], everything)
        if rest:
            answer = await self._ask(wanted, "progress", heard, await soak())
            if not answer.may_go:
                return Outcome(Ended.HALTED, answer)
            new += await self._replace(wanted, "progressed", rest, new, everything)
        await self._send(wanted.record("finished", 1.0, [member.identity.instance for member in new]))
        return Outcome(Ended.DONE, answer)

    async def _ask(
        self, wanted: Deployment, step: str, heard: Callable[[str, Answer], None], answer: Answer | None = None
    ) -> Answer:
        """The answer that a pipeline acts on: where it is to wait some seconds it does, and asks again."""
        answer = answer or await self._gate.ask(wanted)
        heard(step, answer)
        patience = time.monotonic() + _WAIT_S
        while answer.waits and time.monotonic() < patience:
            await asyncio.sleep(_PAUSE_S)
            answer = await self._gate.ask(wanted)
            if not answer.waits:
                heard(step, answer)
        return answer

    async def _replace(
        self, wanted: Deployment, phase: str, old: list[Member], before: list[Member], everything: int
    ) -> list[Member]:
        """Start as many new instances as `old` has, tell haltline, and only then give them requests."""
        # One after the other: on a small machine many starting processes at once would slow the shop itself.
        new = [await self._fleet.start(wanted.service, wanted.version) for _ in old]
        instances = [member.identity.instance for member in (*before, *new)]
        await self._send(wanted.record(phase, len(instances) / everything, instances))
        await self._fleet.replace(old, new)
        return new

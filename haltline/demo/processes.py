"""The demo's own child processes: started apart from the terminal, heard line by line, ended in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from haltline.demo.errors import DemoFailed

Hear = Callable[[dict[str, Any]], None]
"""Takes each line of JSON that a process says."""

READY_S = 30.0
GRACE_S = 5.0


class Child:
    """One running process; what it says beside JSON lines goes to its log."""

    def __init__(self, name: str, process: Process, hear: Hear, log: Path) -> None:
        self.name = name
        self._process = process
        self._hear = hear
        self._log = log
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def ready(self) -> dict[str, Any]:
        """What it says when it is ready.

        Raises:
            DemoFailed: it ended, or said nothing for long; the text names its log.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), READY_S)
        except TimeoutError:
            raise DemoFailed(f"{self.name} was not ready within {READY_S:.0f} s; see {self._log}") from None

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not go."""
        if self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), GRACE_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                await self._process.wait()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                said = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue
            if said.get("event") == "ready" and not self._ready.done():
                self._ready.set_result(said)
            self._hear(said)
        code = await self._process.wait()
        if not self._ready.done():
            self._ready.set_exception(DemoFailed(f"{self.name} ended with {code}; see {self._log}"))
            # Whoever waits gets it; where nobody does any more, it is no news.
            self._ready.exception()


async def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    hear: Hear = lambda _said: None,
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a process that says JSON lines on its standard output; the rest goes to its log."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=errors,
            env=env,
            # A session of its own: Ctrl-C reaches the demo alone, which then ends them in order.
            start_new_session=True,
            limit=4 * 1024 * 1024,
        )
    return Child(name, process, hear, log)


def module(name: str, *words: str) -> list[str]:
    """The command line of one of the shop's own modules; it ends by itself when this process is gone."""
    return [sys.executable, "-m", name, *words, "--parent", str(os.getpid())]


async def run(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """Run a short command to its end; its exit code and all it said.

    Raises:
        DemoFailed: it did not end in time.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(env), start_new_session=True
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        raise DemoFailed(f"`{' '.join(command)}` did not end within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace").strip()

"""A signal that ends the demo: taken once, by cancelling what runs, so that everything is stopped on the way out."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

__all__ = ["ENDINGS", "Ending", "Interrupted"]

T = TypeVar("T")

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a polite request, a closed terminal."""


class Interrupted(BaseException):
    """A signal asked this process to end."""


class Ending:
    """A context in which the first of `ENDINGS` unwinds what runs; later ones change nothing.

    `taken` is its number, None before. Once it is set, whatever else goes wrong is a part of the taking down.
    """

    def __init__(self) -> None:
        self.taken: int | None = None
        self._in_loop = False
        self._cancel: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Ending:
        # One that was ignored from the start, as by nohup, stays so.
        heard = [sign for sign in ENDINGS if signal.getsignal(sign) is not signal.SIG_IGN]
        self._before = {sign: signal.signal(sign, self._take) for sign in heard}
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in an event loop of its own; cancelled, with time to clean up, when a signal comes.

        Raises:
            Interrupted: a signal was taken, whatever became of `work`.
        """
        self._in_loop = True
        try:
            return asyncio.run(self._run(work))
        finally:
            self._in_loop = False
            if self.taken is not None:
                raise Interrupted from None

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        loop, running = asyncio.get_running_loop(), asyncio.create_task(work)
        self._cancel = lambda: loop.call_soon_threadsafe(running.cancel)
        if self.taken is not None:  # between the handler's look and this line
            running.cancel()
        try:
            return await running
        finally:
            self._cancel = None

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.taken is not None:
            return
        self.taken = number
        # Tasks that lose what they were waiting for are no news any more.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        if not self._in_loop:
            raise Interrupted
        # An exception raised here would end whichever task or callback is at work, which may keep it to itself.
        if self._cancel is not None:
            self._cancel()

"""Whatever runs when a signal comes, it ends the whole once, in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from haltline.demo.ending import ENDINGS, Ending, Interrupted
from haltline.demo.errors import DemoFailed


@pytest.fixture
def ending() -> Iterator[Ending]:
    level = logging.getLogger("asyncio").level
    with Ending() as ending:
        yield ending
    logging.getLogger("asyncio").setLevel(level)


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


class Dying:
    def __del__(self) -> None:
        terminate()


def in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(terminate)


def in_another_task() -> None:
    async def stubborn() -> None:
        with suppress(BaseException):
            terminate()

    tasks.append(asyncio.create_task(stubborn()))


def in_a_task_that_nobody_awaits() -> None:
    async def alone() -> None:
        terminate()

    tasks.append(asyncio.create_task(alone()))


def in_a_destructor() -> None:
    Dying()


tasks: list[asyncio.Task[None]] = []


@pytest.mark.parametrize(
    "come", [terminate, in_a_callback, in_another_task, in_a_task_that_nobody_awaits, in_a_destructor]
)
def test_it_ends_the_whole_wherever_the_signal_finds_it(
    ending: Ending, come: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    stopped = []

    async def story() -> None:
        try:
            come()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stopped.append(True)

    with pytest.raises(Interrupted):
        ending.run(story())
    assert ending.taken == signal.SIGTERM
    assert stopped
    assert capfd.readouterr() == ("", "")


def test_what_breaks_while_it_ends_is_no_news(ending: Ending) -> None:
    async def story() -> None:
        try:
            terminate()
            await asyncio.Event().wait()
        finally:
            raise DemoFailed("the worker ended")

    with pytest.raises(Interrupted):
        ending.run(story())


def test_a_story_that_was_over_in_that_moment_is_interrupted_all_the_same(ending: Ending) -> None:
    async def story() -> int:
        terminate()
        return 0

    with pytest.raises(Interrupted):
        ending.run(story())


def test_the_first_signal_counts_and_later_ones_disturb_nothing(ending: Ending) -> None:
    async def story() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            terminate()
            await asyncio.sleep(0)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0)

    with pytest.raises(Interrupted):
        ending.run(story())
    assert ending.taken == signal.SIGINT


def test_outside_of_a_loop_it_is_raised_at_once(ending: Ending) -> None:
    with pytest.raises(Interrupted):
        terminate()
    assert ending.taken == signal.SIGTERM


def test_without_a_signal_nothing_changes(ending: Ending) -> None:
    async def story() -> int:
        return 7

    async def failing() -> None:
        raise DemoFailed("no shop")

    assert ending.run(story()) == 7
    with pytest.raises(DemoFailed):
        ending.run(failing())
    assert ending.taken is None


def test_afterwards_signals_do_what_they_did_and_ignored_ones_are_left_alone() -> None:
    before = [signal.getsignal(sign) for sign in ENDINGS]
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Ending() as ending:
            signal.raise_signal(signal.SIGHUP)
            assert ending.taken is None
    finally:
        signal.signal(signal.SIGHUP, hung_up)
    assert [signal.getsignal(sign) for sign in ENDINGS] == before

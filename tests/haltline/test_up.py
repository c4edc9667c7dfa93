"""`haltline up`: all of haltline for one user on one machine, found by that user's other commands, leaving nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

PATIENCE_S = 120.0


class User:
    """Somebody with a home of their own and no settings at all."""

    def __init__(self, home: Path) -> None:
        self.state = home / "state" / "haltline"
        self._log = home / "up.log"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("HALTLINE_")}
        self._env |= {"XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state")}
        self.up: subprocess.Popen[bytes] | None = None

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "haltline", *args],
            capture_output=True,
            text=True,
            env=self._env,
            check=False,
            timeout=PATIENCE_S,
        )

    def start(self) -> str:
        """Start `up` and wait until it says what to do next; gives what it said."""
        with self._log.open("wb") as out:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "haltline", "up", "--metrics-address", "127.0.0.1:0"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self._env, "PYTHONUNBUFFERED": "1"},
            )
        wait_until(lambda: "Ctrl-C stops" in self.said() or not self.running())
        assert self.running(), self.said()
        return self.said()

    def said(self) -> str:
        return self._log.read_text()

    def running(self) -> bool:
        return self.up is not None and self.up.poll() is None

    def end(self, number: signal.Signals) -> int:
        assert self.up is not None
        self.up.send_signal(number)
        return self.up.wait(PATIENCE_S)

    def children(self) -> list[int]:
        """The processes that do the work: Kafka's and the worker's."""
        return [int((self.state / name).read_text()) for name in ("kafka/kafka.pid", "worker.pid")]


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    one = User(tmp_path)
    yield one
    if one.running():
        one.end(signal.SIGTERM)


def test_up_is_found_without_a_flag_and_neither_stop_nor_crash_leaves_a_process_or_loses_a_freeze(user: User) -> None:
    said = user.start()
    assert "haltline send change" in said
    assert "observe" in said
    frozen = user.run("freeze", "checkout", "--for", "30m", "--reason", "incident 7")
    assert frozen.returncode == 0, frozen.stderr
    assert user.run("check", "--service", "checkout").returncode == 3
    second = user.run("up")
    assert second.returncode == 1
    assert "runs already" in second.stderr
    assert user.running()

    children = user.children()
    assert all(map(alive, children))
    assert user.end(signal.SIGINT) == 130
    assert not any(map(alive, children))
    assert "Traceback" not in user.said()
    gone = user.run("check", "--service", "checkout")
    assert gone.returncode == 1
    assert "haltline up" in gone.stderr

    user.start()
    held = user.run("check", "--service", "checkout")
    assert held.returncode == 3
    assert frozen.stdout.strip() in held.stdout
    children = user.children()
    user.end(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, children)))
    assert user.run("check", "--service", "checkout").returncode == 1

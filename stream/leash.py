"""A child process that never outlives its parent, however the parent ends.

`leashed(command)` gives the command line of a small keeper that runs `command` and watches the process that started
it. When that parent is gone (also after SIGKILL, when nobody could clean up), or when the keeper gets SIGTERM, the
child gets SIGTERM, after ten seconds SIGKILL. The keeper ends with the child's exit code (128 + signal if a signal
ended it).

A keeper of its own rather than `PR_SET_PDEATHSIG` set by the parent: that signal is sent when the starting *thread*
ends, it needs code between fork and exec of a threaded program, and only Linux has it. The keeper has one thread, so
it uses it safely as a second line: should the keeper itself be killed, the child goes too.

Start it with `start_new_session=True`, so that Ctrl-C in a terminal reaches the parent alone, which stops in order.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

__all__ = ["GRACE_S", "leashed"]

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_LOOK_S = 0.25
_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str], pid_file: str) -> list[str]:
    """The command line that keeps `command` on a leash held by this very process; the child's id is put in `pid_file`.

    >>> leashed(["sleep", "60"], "/run/sleep.pid")[-2:]
    ['sleep', '60']
    """
    # -I: nothing of the caller's environment or folder can change what the keeper imports. -S: starts in 15 ms.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), pid_file, *command]


def _die_with_keeper() -> None:
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _keep(parent: int, pid_file: str, command: Sequence[str]) -> int:
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    asked_to_stop = False

    def on_term(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    # A Python handler (any) is what makes the wake-up pipe ring.
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(wake)

    # Descriptors that the parent passed on (a lock on the data folder) stay open in the keeper for as long as it keeps.
    on_fork = _die_with_keeper if sys.platform == "linux" else None
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=on_fork)  # noqa: PLW1509 (one thread only)
    with open(pid_file + ".new", "w", encoding="ascii") as f:  # noqa: PTH123 (pathlib would triple the start-up time)
        f.write(str(child.pid))
    os.replace(pid_file + ".new", pid_file)  # noqa: PTH105
    while child.poll() is None and not asked_to_stop and os.getppid() == parent:
        select.select([woken], [], [], _LOOK_S)
        try:
            os.read(woken, 512)
        except BlockingIOError:
            continue
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    code = child.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_keep(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))

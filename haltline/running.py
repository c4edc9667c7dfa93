"""The note that `haltline up` leaves while it runs, so that other commands of the same user find its Kafka.

The note is locked by the process that wrote it for as long as that lives. A lock ends with its process, however that
ends, so a note that nobody locks is stale, whatever its process id means by now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from haltline.errors import HaltlineError


class Running(msgspec.Struct, frozen=True):
    """Who runs, where its Kafka listens and where the worker's metrics are (`host:port`, or empty)."""

    pid: int
    bootstrap_servers: str = ""
    metrics_address: str = ""


def _note(state_dir: Path) -> Path:
    return state_dir / "up.json"


class Claim:
    """The right to be the one `up` of this state folder; `tell` writes what others may know."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, running: Running) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, msgspec.json.encode(running) + b"\n", 0)


@contextmanager
def claim(state_dir: Path) -> Iterator[Claim]:
    """Be the one `up`; raises `HaltlineError` where another one is, or where the folder cannot be written."""
    path = _note(state_dir)
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise HaltlineError(f"cannot write to the state folder {state_dir}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = find(state_dir)
            where = f" (process {other.pid}, kafka at {other.bootstrap_servers})" if other else ""
            raise HaltlineError(f"`haltline up` runs already{where}; stop it first, or set XDG_STATE_HOME") from None
        # What one that crashed said of itself must not seem to be said by this one.
        os.ftruncate(descriptor, 0)
        yield Claim(descriptor)
    finally:
        os.close(descriptor)


def find(state_dir: Path) -> Running | None:
    """What the running `up` says of itself; None where none runs or it has not started yet."""
    try:
        descriptor = os.open(_note(state_dir), os.O_RDONLY)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            running = msgspec.json.decode(os.pread(descriptor, 4096, 0) or b"null", type=Running | None)
            return running if running is not None and running.bootstrap_servers else None
        return None
    except msgspec.DecodeError:
        return None
    finally:
        os.close(descriptor)

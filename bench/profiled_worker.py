"""`haltline` with a sampler: `python -m bench.profiled_worker OUT ARGUMENTS…` samples from `START` to `STOP`.

At every few milliseconds of the process's processor time, what each thread has used since goes to the functions on its
stack: `own` to the innermost, `all` to each. Compiled code counts for the function that called it.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

import msgspec

_EVERY_S = 0.005
#: Signals that nobody else here hears.
START, STOP = signal.SIGRTMIN, signal.SIGRTMIN + 1


class Profile(msgspec.Struct):
    """Seconds of processor time: in all, of the garbage collector (wall), by thread, and by function."""

    total: float
    collecting: float
    threads: dict[str, float]
    own: dict[str, float]
    all: dict[str, float]


class Sampler:
    """Samples until stopped, from the main thread's signals."""

    def __init__(self) -> None:
        self.threads: defaultdict[str, float] = defaultdict(float)
        self.own: defaultdict[str, float] = defaultdict(float)
        self.all: defaultdict[str, float] = defaultdict(float)
        self.collecting = 0.0
        self._before: dict[int, float] = {}
        self._collect_began = 0.0

    def start(self) -> None:
        gc.callbacks.append(self._collect)
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def stop(self) -> Profile:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        total = sum(self.threads.values())
        return Profile(total, self.collecting, dict(self.threads), dict(self.own), dict(self.all))

    def _collect(self, phase: str, _info: object) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collect_began = now
        else:
            self.collecting += now - self._collect_began

    def _sample(self, _signal: int, _frame: FrameType | None) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            identity = thread.ident
            if identity is None:
                continue
            try:
                used = time.clock_gettime(time.pthread_getcpuclockid(identity))
            except OSError:
                continue
            spent = used - self._before.get(identity, used)
            self._before[identity] = used
            frame = frames.get(identity)
            if frame is not None and frame.f_code is Sampler._sample.__code__:
                frame = frame.f_back
            if spent <= 0.0 or frame is None:
                continue
            self.threads[thread.name] += spent
            self.own[_name(frame)] += spent
            on_stack = set()
            while frame is not None:
                on_stack.add(_name(frame))
                frame = frame.f_back
            for name in on_stack:
                self.all[name] += spent


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_code.co_name}"


def main(argv: list[str]) -> None:
    """Run the command; OUT is written at the signal to stop."""
    out, *arguments = argv
    sys.argv = ["haltline", *arguments]
    sampler = Sampler()
    signal.signal(START, lambda *_: sampler.start())
    signal.signal(STOP, lambda *_: _write(Path(out), sampler.stop()))
    from haltline.__main__ import main as haltline

    haltline()


def _write(out: Path, profile: Profile) -> None:
    whole = out.with_suffix(".part")
    whole.write_bytes(msgspec.json.encode(profile))
    whole.rename(out)


if __name__ == "__main__":
    main(sys.argv[1:])

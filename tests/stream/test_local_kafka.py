"""The local Kafka, for real: it starts, keeps what it was given, and never outlives its owner."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stream import kafka_jars
from stream.errors import StreamError
from stream.kafka_errors import (
    BrokerDied,
    DataDirUnusable,
    JarsUnavailable,
    JavaUnavailable,
    KafkaUnavailable,
    PortTaken,
)
from stream.kafka_runtime import find_classpath, find_java
from stream.kafka_settings import free_port
from stream.local_kafka import LocalKafka

GENEROUS_S = 60.0


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + GENEROUS_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def write(bootstrap: str, topic: str, *values: bytes) -> None:
    from kafka import KafkaProducer

    with KafkaProducer(bootstrap_servers=bootstrap) as producer:
        for value in values:
            producer.send(topic, value).get(timeout=GENEROUS_S)


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    from kafka import KafkaConsumer

    with KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=int(GENEROUS_S * 1000)
    ) as consumer:
        return [next(consumer).value for _ in range(count)]


@pytest.mark.kafka
def test_what_is_written_survives_a_crash_and_is_found_at_the_same_address(private_kafka: LocalKafka) -> None:
    from tests.conftest import FreshTopics

    address, first = private_kafka.bootstrap_servers, private_kafka.pid
    assert first is not None
    topic = FreshTopics(address).create()
    write(address, topic, b"before")

    private_kafka.kill()
    assert gone(first)
    assert not private_kafka.running
    private_kafka.start()

    assert private_kafka.bootstrap_servers == address
    assert private_kafka.pid not in (None, first)
    write(address, topic, b"after")
    assert read(address, topic, 2) == [b"before", b"after"]


@pytest.mark.kafka
def test_a_stop_is_clean_and_leaves_no_process(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as broker:
        pid = broker.pid
        assert pid is not None
        broker.check()
        listening = {c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN}
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        broker.stop()
        assert gone(pid)
        assert (tmp_path / "data" / ".kafka_cleanshutdown").exists()
        broker.stop()  # once more is no harm


@pytest.mark.kafka
def test_another_broker_on_the_same_folder_or_port_is_refused(private_kafka: LocalKafka, tmp_path: Path) -> None:
    with pytest.raises(DataDirUnusable, match="in use by another kafka"):
        LocalKafka(tmp_path / "private-kafka").start()
    port = int(private_kafka.bootstrap_servers.rpartition(":")[2])
    with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
        LocalKafka(tmp_path / "other", port=port).start()
    private_kafka.check()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a broker in the foreground."""
    command = [sys.executable, "-m", "stream.local_kafka", "--data", str(tmp_path / "owned")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.kafka
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_broker_goes_with_its_owner_however_that_ends(
    owner: subprocess.Popen[str], how: signal.Signals, tmp_path: Path
) -> None:
    address = owner.stdout.readline().strip()
    assert address.startswith("127.0.0.1:")
    broker = int((tmp_path / "owned" / "kafka.pid").read_text())
    keeper = psutil.Process(broker).ppid()
    assert not gone(broker)

    os.killpg(owner.pid, how)  # as Ctrl-C does: the whole group at once

    assert owner.wait(GENEROUS_S) == (0 if how != signal.SIGKILL else -signal.SIGKILL)
    assert eventually(lambda: gone(broker) and gone(keeper))


@pytest.mark.kafka
def test_the_broker_goes_with_its_keeper(private_kafka: LocalKafka) -> None:
    broker = private_kafka.pid
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has died")
    os.kill(psutil.Process(broker).ppid(), signal.SIGKILL)
    assert eventually(lambda: gone(broker))
    assert not private_kafka.running


@pytest.mark.kafka
def test_a_broker_that_dies_while_starting_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=somebody-elses\n")
    with pytest.raises(BrokerDied, match=r"ended with code 1 while starting: .*Stored node id 7 doesn't match"):
        LocalKafka(tmp_path).start()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken by another program"):
            LocalKafka(tmp_path, port=port).start()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirUnusable, match=f"cannot write to the data folder {tmp_path}/file/kafka"):
        LocalKafka(tmp_path / "file" / "kafka").start()


def test_java_home_wins_and_is_named_when_it_is_of_no_use(tmp_path: Path) -> None:
    env = {"JAVA_HOME": str(tmp_path)}
    with pytest.raises(JavaUnavailable, match="has no bin/java; unset it to use the packaged java"):
        find_java(env)
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(mode=0o755)
    (tmp_path / "release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="11.0.2"\n')
    with pytest.raises(JavaUnavailable, match="java 11; kafka needs java 17 or newer"):
        find_java(env)
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.2"\n')
    assert find_java(env) == java
    assert find_java({}).is_file()


def test_kafka_home_wins_and_is_named_when_it_is_of_no_use(tmp_path: Path) -> None:
    env = {"KAFKA_HOME": str(tmp_path)}
    with pytest.raises(JarsUnavailable, match=r"has no libs/kafka_2.13-\*.jar"):
        find_classpath(env, print)
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.3.0.jar").touch()
    assert find_classpath(env, print) == str(tmp_path / "libs" / "*")


def test_each_failure_is_an_error_of_the_stream() -> None:
    assert issubclass(KafkaUnavailable, StreamError)
    for error in (BrokerDied, DataDirUnusable, JarsUnavailable, JavaUnavailable, PortTaken):
        assert issubclass(error, KafkaUnavailable)


SMALL = tuple(jar for jar in kafka_jars.read_lock() if jar.artifact == "jspecify")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds one small jar of the lock."""
    (small,) = SMALL
    kafka_jars.fetch(kafka_jars.cache_dir(os.environ), SMALL, print)
    place = tmp_path / small.path
    place.parent.mkdir(parents=True)
    shutil.copy(kafka_jars.cache_dir(os.environ) / small.path, place)
    return tmp_path


def test_a_complete_cache_needs_no_network_and_no_word(cache: Path) -> None:
    said: list[str] = []
    assert kafka_jars.fetch(cache, SMALL, said.append) == 0
    assert said == []


def test_a_corrupted_jar_is_fetched_again(cache: Path) -> None:
    jar = cache / SMALL[0].path
    good = jar.read_bytes()
    jar.write_bytes(good[:-1] + b"?")
    said: list[str] = []
    assert kafka_jars.fetch(cache, SMALL, said.append) == 1
    assert jar.read_bytes() == good
    assert "1 of 1 jars" in said[0]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".fetch")] == []


def test_a_jar_that_is_not_the_locked_one_is_refused_by_name(cache: Path) -> None:
    import msgspec

    other = (msgspec.structs.replace(SMALL[0], sha256="0" * 64),)
    with pytest.raises(JarsUnavailable, match=rf"refused {SMALL[0].coordinates}: sha256 is {SMALL[0].sha256}"):
        kafka_jars.fetch(cache, other, print)


def test_without_network_the_first_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that refuses is, to the client, a machine without network.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(JarsUnavailable, match="the first start needs the network once, or set KAFKA_HOME"):
        kafka_jars.fetch(tmp_path, SMALL, print)


def test_the_lock_names_each_jar_once_with_its_hash_and_no_place() -> None:
    jars = kafka_jars.read_lock()
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars)
    assert any(jar.artifact == "kafka_2.13" and jar.version == kafka_jars.KAFKA_VERSION for jar in jars)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
    assert "://" not in kafka_jars.LOCK.read_text()

"""What the tests share: one real Kafka for the session, fresh topics on it, a broker of one's own, and real tools."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from stream.local_kafka import LocalKafka
from stream.stale_code import discard_stale_code


def pytest_sessionstart() -> None:
    """Test the code that is here, not what was compiled of it before."""
    import stream.warm_up  # noqa: F401  # brings in all that is compiled

    discard_stale_code()


# What is started in the background has Ctrl-C ignored, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asserts how long something took; the first call of compiled code loads it. `make test` tries the same examples
# whenever the code is the same; `make test-full` looks for new ones each time, and what it finds becomes an example.
settings.register_profile("haltline", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "haltline"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of the session's one broker, started by the first test that asks. Share it: use `topics`."""
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def private_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A started broker of the test's own, to kill and to start again."""
    with LocalKafka(tmp_path / "private-kafka") as broker:
        yield broker


class FreshTopics:
    """Topics on the session's broker whose names no other test has."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:10]}."

    def name(self, name: str) -> str:
        """A unique name; nothing is created."""
        return self.prefix + name

    def create(self, name: str = "topic", partitions: int = 1, **settings: str) -> str:
        """Create a topic and give its unique name; settings with `_` for `.`: `cleanup_policy="compact"`."""
        from kafka import KafkaAdminClient

        configs = {key.replace("_", "."): value for key, value in settings.items()}
        topic = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            admin.create_topics({self.name(name): topic}, wait_for_metadata=True)
        return self.name(name)


@pytest.fixture
def topics(kafka: str) -> FreshTopics:
    """Fresh topics on the session's broker."""
    return FreshTopics(kafka)


DEBIAN_PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "kcat": "kcat",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}


def require_tool(*tools: str) -> None:
    """Skip the test without all of these programs, naming their Debian packages; fail it where they are required."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = sorted({DEBIAN_PACKAGES.get(tool, tool) for tool in missing})
        text = f"needs {', '.join(missing)}: apt-get install {' '.join(packages)}"
        if os.environ.get("HALTLINE_REQUIRE_TOOLS") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)

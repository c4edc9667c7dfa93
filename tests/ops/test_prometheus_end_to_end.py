"""From the metrics of a process through a real Prometheus and a real Alertmanager to the receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.ops.prometheus_server import (
    ROOT,
    AlertmanagerHandle,
    Inbox,
    PrometheusHandle,
    running_alertmanager,
    running_prometheus,
    wait_for,
)

HOUR_MS = 3_600_000


class Target:
    """The process that is scraped; started again, it has the same address."""

    def __init__(self) -> None:
        self._start(port=0)

    def _start(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ops.metrics_process", str(port)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def hold(self, *freezes: tuple[int, str, str]) -> None:
        """Have exactly these freezes (level, mode, environment) in force from now on."""
        now_ms = int(time.time() * 1000)
        line = json.dumps([[*freeze, now_ms, now_ms + HOUR_MS] for freeze in freezes])
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)

    def start_again(self) -> None:
        self._start(self.port)

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.close()


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus")


@pytest.fixture(scope="module")
def alertmanager(directory: Path, inbox: Inbox) -> Iterator[AlertmanagerHandle]:
    require_tool("prometheus", "prometheus-alertmanager")
    with running_alertmanager(directory, inbox) as handle:
        yield handle


@pytest.fixture(scope="module")
def prometheus(directory: Path, target: Target, alertmanager: AlertmanagerHandle) -> Iterator[PrometheusHandle]:
    with running_prometheus(f"127.0.0.1:{target.port}", directory, alertmanager) as handle:
        wait_for("the first scrape", lambda: handle.value('up{job="haltline"}') == 1)
        # Until then no worker was up indeed.
        wait_for("no alert", lambda: not handle.alerts("HaltlineWorkerDown"))
        yield handle


def test_a_freeze_alerts_reaches_its_receiver_and_resolves(
    target: Target, prometheus: PrometheusHandle, alertmanager: AlertmanagerHandle, inbox: Inbox
) -> None:
    target.hold()
    wait_for("no freeze", lambda: not prometheus.alerts("HaltlineFreezeActive"))

    target.hold((1, "enforce", "production"), (1, "observe", "production"))
    [alert] = wait_for("the alert", lambda: prometheus.alerts("HaltlineFreezeActive"))
    assert alert["labels"] == {
        "alertname": "HaltlineFreezeActive",
        "severity": "warning",
        "level": "L1",
        "mode": "enforce",
        "environment": "production",
    }
    wait_for("the observed freeze", lambda: prometheus.alerts("HaltlineWouldHaveFrozen"))
    [routed] = wait_for("Alertmanager to have it", lambda: alertmanager.alerts("HaltlineFreezeActive"))
    assert [receiver["name"] for receiver in routed["receivers"]] == ["ticket"]
    [note] = wait_for("the ticket", lambda: inbox.notifications("ticket", "firing", "HaltlineFreezeActive"))
    assert note["commonAnnotations"]["description"].startswith("1 enforced freeze(s) of level L1 in environment prod")

    target.hold((3, "enforce", "production"))
    wait_for("the page of level 3", lambda: inbox.notifications("page", "firing", "HaltlineFreezeActive"))
    wait_for("the end of level 1", lambda: inbox.notifications("ticket", "resolved", "HaltlineFreezeActive"))

    target.hold()
    wait_for("the alert to resolve", lambda: not prometheus.alerts("HaltlineFreezeActive"))
    wait_for("the page to end", lambda: inbox.notifications("page", "resolved", "HaltlineFreezeActive"))


def test_prometheus_keeps_the_change_as_the_exemplar_of_its_decision(
    target: Target, prometheus: PrometheusHandle
) -> None:
    target.hold((1, "enforce", "production"))

    def exemplars() -> list[dict[str, object]]:
        now = time.time()
        found: list[dict[str, object]] = prometheus.get(
            "/api/v1/query_exemplars",
            query="haltline_decision_seconds_bucket",
            start=str(now - 600),
            end=str(now + 600),
        )["data"]
        return found

    series = wait_for("an exemplar", exemplars)[0]
    assert series["exemplars"][0]["labels"] == {"change_id": "checkout-481"}  # type: ignore[index]  # plain JSON


def test_a_worker_that_is_killed_is_a_page_until_it_is_back(
    target: Target, prometheus: PrometheusHandle, inbox: Inbox
) -> None:
    target.kill()
    wait_for("the alert", lambda: prometheus.alerts("HaltlineWorkerDown"))
    wait_for("the page", lambda: inbox.notifications("page", "firing", "HaltlineWorkerDown"))
    target.start_again()
    wait_for("the page to end", lambda: inbox.notifications("page", "resolved", "HaltlineWorkerDown"))

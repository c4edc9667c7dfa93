"""A real Prometheus and a real Alertmanager on loopback, with this repository's own rules and routes, made quick."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import yaml

from stream.leash import leashed

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ops/prometheus/rules.yml"
ALERTMANAGER = ROOT / "ops/alertmanager/alertmanager.yml"
PATIENCE_S = 90.0
"""A busy machine may take this long; nothing here measures speed."""

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Look until there is something; AssertionError naming `what` when there never is."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience_s:g} s for {what}")


class Server:
    """A running server process of this host, asked over its HTTP API."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer of one GET."""
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=10) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


class PrometheusHandle(Server):
    def alerts(self, name: str, state: str = "firing") -> list[dict[str, Any]]:
        """The alerts of this name in this state: labels, annotations, value."""
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return [alert for alert in alerts if alert["labels"]["alertname"] == name and alert["state"] == state]

    def value(self, expression: str) -> float | None:
        """The first value of an instant query, None without one."""
        result = self.get("/api/v1/query", query=expression)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


class AlertmanagerHandle(Server):
    def alerts(self, name: str) -> list[dict[str, Any]]:
        """The active alerts of this name, each with the receivers it is routed to."""
        answer: list[dict[str, Any]] = self.get("/api/v2/alerts", active="true", filter=f'alertname="{name}"')
        return answer


class Inbox:
    """The far end of the receivers: keeps each notification by the receiver it came through."""

    def __init__(self) -> None:
        self._received: list[dict[str, Any]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox._received.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def notifications(self, receiver: str, status: str, alertname: str) -> list[dict[str, Any]]:
        return [
            note
            for note in tuple(self._received)
            if (note["receiver"], note["status"]) == (receiver, status)
            and note["groupLabels"].get("alertname") == alertname
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def quick_rules(directory: Path) -> Path:
    """Our rules evaluated every second; what waits before it fires waits a second, what does not stays as it is."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if rule.get("for", "0s") != "0s":
                rule["for"] = "1s"
    return _write(directory / "rules.yml", rules)


def quick_routes(directory: Path, inbox: str) -> Path:
    """Our routes with short waits, and with receivers that deliver to `inbox`."""
    config = yaml.safe_load(ALERTMANAGER.read_text())

    def hurry(route: dict[str, Any]) -> None:
        route |= dict.fromkeys(("group_wait", "group_interval"), "1s")
        for child in route.get("routes", ()):
            hurry(child)

    hurry(config["route"])
    for receiver in config["receivers"]:
        if receiver["name"] != "none":
            receiver["webhook_configs"] = [{"url": inbox, "send_resolved": True}]
    return _write(directory / "alertmanager.yml", config)


@contextmanager
def running_prometheus(
    target: str, directory: Path, alertmanager: AlertmanagerHandle | None = None
) -> Iterator[PrometheusHandle]:
    """Prometheus that scrapes `target` (host:port) as the job haltline every second and evaluates our rules."""
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(quick_rules(directory))],
        "scrape_configs": [{"job_name": "haltline", "static_configs": [{"targets": [target]}]}],
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]}
    config_file = _write(directory / "prometheus.yml", config)
    handle = PrometheusHandle(_free_port())
    options = [
        f"--config.file={config_file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--enable-feature=exemplar-storage",
    ]
    with _running("prometheus", handle, options, directory):
        yield handle


@contextmanager
def running_alertmanager(directory: Path, inbox: Inbox) -> Iterator[AlertmanagerHandle]:
    """Alertmanager with our routes, alone (no cluster), delivering to `inbox`."""
    handle = AlertmanagerHandle(_free_port())
    options = [
        f"--config.file={quick_routes(directory, inbox.url)}",
        f"--storage.path={directory / 'alertmanager'}",
        "--cluster.listen-address=",
    ]
    with _running("prometheus-alertmanager", handle, options, directory):
        yield handle


@contextmanager
def _running(program: str, handle: Server, options: Sequence[str], directory: Path) -> Iterator[None]:
    log = directory / f"{program}.log"
    command = [program, f"--web.listen-address={handle.address}", "--log.level=warn", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            leashed(command, str(directory / f"{program}.pid")), stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(f"{program} to be ready", lambda: process.poll() is not None or handle.is_ready())
        assert process.poll() is None, f"{program} ended: {log.read_text()[-2000:]}"
        yield
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path

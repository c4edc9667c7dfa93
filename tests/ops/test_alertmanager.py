"""The Alertmanager configuration, by the real amtool."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.conftest import require_tool
from tests.ops.prometheus_server import ALERTMANAGER, RULES

ROUTES = [
    ("HaltlineFreezeActive", "critical", "page"),
    ("HaltlineFreezeActive", "warning", "ticket"),
    ("HaltlineFreezeActive", "info", "none"),
    ("HaltlineManyFreezes", "critical", "page"),
    ("HaltlineWouldHaveFrozen", "info", "none"),
    ("HaltlineWorkerDown", "critical", "page"),
    ("HaltlineWorkerDown", "warning", "ticket"),
    ("HaltlineLagging", "critical", "page"),
    ("HaltlineLagging", "warning", "ticket"),
    ("HaltlineNoTelemetry", "critical", "page"),
    ("HaltlineNoTelemetry", "warning", "ticket"),
    ("HaltlineDeadLetters", "warning", "ticket"),
    ("HaltlineSlowDecisions", "warning", "ticket"),
]


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    require_tool("amtool")
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_configuration_is_valid() -> None:
    result = amtool("check-config", str(ALERTMANAGER))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("alertname", "severity", "receiver"), ROUTES)
def test_an_alert_goes_to_whom_it_concerns(alertname: str, severity: str, receiver: str) -> None:
    labels = (f"alertname={alertname}", f"severity={severity}")
    result = amtool(
        "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}", *labels
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_of_the_rules_has_its_route_tested() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {
        (rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"] if "alert" in rule
    }
    assert alerts == {(alertname, severity) for alertname, severity, _ in ROUTES}


def test_news_of_a_freeze_waits_a_second_at_most() -> None:
    routes = yaml.safe_load(ALERTMANAGER.read_text())["route"]["routes"]
    assert [route["group_wait"] for route in routes if "HaltlineFreezeActive" in route["matchers"][0]] == ["1s"]


def test_a_worker_that_is_down_explains_the_silence() -> None:
    [rule] = [
        rule
        for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
        if 'alertname="HaltlineWorkerDown"' in rule["source_matchers"]
    ]
    assert any("HaltlineNoTelemetry" in matcher for matcher in rule["target_matchers"])
    assert "equal" not in rule

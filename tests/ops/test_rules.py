"""The alerting rules: their unit tests under the real promtool, and what can be said of them without it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream.metrics import Metrics
from tests.conftest import require_tool
from tests.ops.prometheus_server import ROOT, RULES

RULES_TEST = RULES.with_name("rules_test.yml")
DASHBOARD = ROOT / "ops/grafana/haltline.json"
README = ROOT / "ops/README.md"
METRIC = re.compile(r"(?<![:\w])haltline_\w+")
RECORDED = re.compile(r"\w+:haltline_\w+:\w+")
SEVERITIES = {"critical", "warning", "info"}


def load_rules() -> dict[str, Any]:
    rules: dict[str, Any] = yaml.safe_load(RULES.read_text())
    return rules


def all_rules() -> list[dict[str, Any]]:
    return [rule for group in load_rules()["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in all_rules() if "alert" in rule]


def exported_names() -> set[str]:
    """Every sample name that the worker can expose."""
    metrics = Metrics(CollectorRegistry(), topics=("haltline.changes",))
    metrics.message("haltline.changes")
    metrics.lag("haltline.changes", records=0, seconds=0)
    suffixes = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}
    families = metrics.registry.collect()
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


def dashboard_expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())

    def targets(panels: list[dict[str, Any]]) -> Iterator[str]:
        for panel in panels:
            yield from (target["expr"] for target in panel.get("targets", ()))
            yield from targets(panel.get("panels", []))

    annotations = [entry["expr"] for entry in dashboard["annotations"]["list"]]
    return [*targets(dashboard["panels"]), *annotations]


def run_promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)


class TestWithPromtool:
    @pytest.fixture(autouse=True)
    def promtool(self) -> None:
        require_tool("promtool")

    def test_the_rules_are_valid(self) -> None:
        result = run_promtool("check", "rules", str(RULES))
        assert result.returncode == 0, result.stdout + result.stderr

    def test_the_configuration_is_valid(self) -> None:
        result = run_promtool("check", "config", str(RULES.with_name("prometheus.yml")))
        assert result.returncode == 0, result.stdout + result.stderr

    def test_the_unit_tests_of_the_rules_pass(self) -> None:
        result = run_promtool("test", "rules", str(RULES_TEST))
        assert result.returncode == 0, result.stdout + result.stderr

    @pytest.mark.slow
    @pytest.mark.parametrize("number", range(len(alerts())), ids=lambda n: f"{alerts()[n]['alert']}-{n}")
    @pytest.mark.parametrize("fault", ["never fires", "never resolves"])
    def test_the_unit_tests_notice_each_alert_that_is_broken(self, number: int, fault: str, tmp_path: Path) -> None:
        broken = copy.deepcopy(load_rules())
        rule = [rule for group in broken["groups"] for rule in group["rules"] if "alert" in rule][number]
        rule["expr"] = f"({rule['expr']}) and vector(0) == 1" if fault == "never fires" else "vector(1)"
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(broken))
        (tmp_path / "rules_test.yml").write_text(RULES_TEST.read_text())
        result = run_promtool("test", "rules", str(tmp_path / "rules_test.yml"))
        assert result.returncode == 1, result.stdout + result.stderr
        assert rule["alert"] in result.stdout + result.stderr


class TestWithoutPromtool:
    def test_every_metric_in_a_rule_exists(self) -> None:
        used = {name for rule in all_rules() for name in METRIC.findall(rule["expr"])}
        assert used
        assert used <= exported_names()

    def test_every_recorded_series_in_an_alert_is_recorded(self) -> None:
        recorded = {rule["record"] for rule in all_rules() if "record" in rule}
        used = {name for rule in alerts() for name in RECORDED.findall(rule["expr"])}
        assert used
        assert used <= recorded

    @pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
    def test_an_alert_says_what_happened_with_numbers_and_where_to_read_on(self, rule: dict[str, Any]) -> None:
        assert rule["labels"]["severity"] in SEVERITIES
        annotations = rule["annotations"]
        assert re.fullmatch(r"[A-Z][^.]+\.", annotations["summary"])
        assert re.search(r"\d|\{\{ \$value", annotations["description"])
        page, anchor = annotations["runbook_url"].split("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}

    def test_a_freeze_is_told_without_waiting(self) -> None:
        assert {rule["for"] for rule in alerts() if rule["alert"] == "HaltlineFreezeActive"} == {"0s"}


class TestDashboard:
    def test_every_metric_in_a_panel_exists(self) -> None:
        used = {name for expression in dashboard_expressions() for name in METRIC.findall(expression)}
        assert len(used) >= 10
        assert used <= exported_names()

    def test_every_recorded_series_in_a_panel_is_recorded(self) -> None:
        recorded = {rule["record"] for rule in all_rules() if "record" in rule}
        assert {name for text in dashboard_expressions() for name in RECORDED.findall(text)} <= recorded

    def test_panels_have_their_own_ids_places_and_units(self) -> None:
        panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        assert all(panel["fieldConfig"]["defaults"]["unit"] and panel["description"] for panel in panels)

    def test_the_queries_are_valid_promql(self, tmp_path: Path) -> None:
        require_tool("promtool")
        rules = [
            {
                "record": f"panel:query:{number}",
                "expr": re.sub(r"\$__\w+", "5m", expression).replace("$job", "haltline"),
            }
            for number, expression in enumerate(dashboard_expressions())
        ]
        path = tmp_path / "panels.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        result = run_promtool("check", "rules", str(path))
        assert result.returncode == 0, result.stdout + result.stderr

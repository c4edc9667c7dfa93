"""The compose file and the Dockerfile: valid by their own specifications, and closed where they should be."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # no stubs are installed
from jsonschema.validators import validator_for  # type: ignore[import-untyped]  # no stubs are installed

from haltline.settings import load
from tests.ops.prometheus_server import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Why each is not read-only stands beside it in the compose file.
WRITABLE_ROOT = {"kafka"}

each_service = pytest.mark.parametrize("name", SERVICES)


def compose_schema() -> dict[str, Any]:
    """The compose specification's own schema, as the package check-jsonschema carries it."""
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None
    assert found.submodule_search_locations is not None
    [path] = Path(found.submodule_search_locations[0]).rglob("compose-spec.json")
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def advertised(service: dict[str, Any]) -> dict[str, str]:
    listeners = service["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    return dict(listener.split("://") for listener in listeners)


class TestCompose:
    def test_it_follows_the_compose_specification(self) -> None:
        schema = compose_schema()
        validator = validator_for(schema, default=Draft202012Validator)(schema)
        assert [error.message for error in validator.iter_errors(COMPOSE)] == []

    def test_a_misspelt_key_would_be_noticed(self) -> None:
        schema = compose_schema()
        validator = validator_for(schema, default=Draft202012Validator)(schema)
        misspelt = {"services": {"kafka": {"image": "apache/kafka:4.3.0", "helthcheck": {}}}}
        assert list(validator.iter_errors(misspelt))

    @each_service
    def test_nothing_is_published_beyond_loopback(self, name: str) -> None:
        for port in SERVICES[name].get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
        assert SERVICES[name].get("network_mode") is None

    @each_service
    def test_it_runs_without_root_and_without_privileges(self, name: str) -> None:
        service = SERVICES[name]
        assert int(service["user"].split(":")[0]) > 0
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc"}
        assert service.get("read_only", False) is (name not in WRITABLE_ROOT)

    @each_service
    def test_its_memory_is_limited_and_its_health_is_known(self, name: str) -> None:
        service = SERVICES[name]
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
        one_shot = service["restart"] == "no"
        assert service["healthcheck"].get("disable", False) is one_shot
        assert one_shot or service["healthcheck"]["test"]

    @each_service
    def test_its_image_has_a_version(self, name: str) -> None:
        tag = SERVICES[name]["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+|local", tag)

    @each_service
    def test_it_waits_for_what_it_needs_to_be_ready(self, name: str) -> None:
        for needed, how in SERVICES[name].get("depends_on", {}).items():
            one_shot = SERVICES[needed]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")

    def test_what_must_survive_is_in_a_named_volume(self) -> None:
        mounted = {
            volume.split(":")[0]
            for service in SERVICES.values()
            for volume in service.get("volumes", ())
            if isinstance(volume, str) and not volume.startswith(".")
        }
        assert mounted == set(COMPOSE["volumes"])

    def test_every_file_that_is_mounted_is_in_the_repository(self) -> None:
        files = [
            volume.split(":")[0]
            for service in SERVICES.values()
            for volume in service.get("volumes", ())
            if isinstance(volume, str) and volume.startswith(".")
        ]
        assert files
        assert all((ROOT / file).is_file() for file in files)

    @pytest.mark.parametrize("name", ["topics", "worker"])
    def test_kafka_is_asked_where_it_says_it_is(self, name: str) -> None:
        """A client is sent on to the advertised address: it must be the one that works from where the client is."""
        asked = SERVICES[name]["environment"]["HALTLINE_BOOTSTRAP_SERVERS"]
        assert asked == advertised(SERVICES["kafka"])["CONTAINERS"]
        assert asked.split(":")[0] == "kafka"

    def test_the_host_reaches_kafka_where_it_says_it_is(self) -> None:
        assert [f"{advertised(SERVICES['kafka'])['HOST']}:9092"] == SERVICES["kafka"]["ports"]

    def test_every_listener_of_kafka_has_a_protocol(self) -> None:
        environment = SERVICES["kafka"]["environment"]
        listeners = {listener.split("://")[0] for listener in environment["KAFKA_LISTENERS"].split(",")}
        protocols = dict(pair.split(":") for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
        assert listeners == protocols.keys()
        assert environment["KAFKA_INTER_BROKER_LISTENER_NAME"] in listeners

    def test_the_worker_understands_its_environment(self) -> None:
        environment = {**SERVICES["worker"]["environment"], "HALTLINE_POLICY": "/etc/haltline/policy.yaml"}
        settings = load(environ=environment)
        assert settings.bootstrap_servers == "kafka:19092"
        assert settings.metrics_address == "0.0.0.0:9464"
        assert settings.policy == Path("/etc/haltline/policy.yaml")
        assert settings.state_dir.is_relative_to("/var/lib/haltline")

    def test_prometheus_scrapes_the_services_that_are_there(self) -> None:
        config = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
        managers = config["alerting"]["alertmanagers"][0]["static_configs"]
        configs = [*managers, *(static for job in config["scrape_configs"] for static in job["static_configs"])]
        hosts = {target.split(":")[0] for static in configs for target in static["targets"]}
        assert hosts <= SERVICES.keys() | {"127.0.0.1"}


class TestDockerfile:
    def test_hadolint_finds_nothing(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        result = subprocess.run(
            [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def test_packages_are_checked_against_their_hashes_and_nothing_else_is_fetched(self) -> None:
        installs = [
            step for step in re.split(r"\n(?=[A-Z]+ )", DOCKERFILE) if re.search(r"\bpip\b.*(install|wheel)", step)
        ]
        assert installs
        assert all("--require-hashes" in step or "--no-index" in step for step in installs)

    def test_it_ends_without_root_with_a_health_check(self) -> None:
        final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
        assert "\nHEALTHCHECK " in final
        assert '\nENTRYPOINT ["haltline"]' in final

    def test_every_folder_of_the_package_is_copied_and_let_in(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        ignored = (ROOT / ".dockerignore").read_text()
        for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
            assert f"\nCOPY {package} {package}\n" in DOCKERFILE
            assert f"\n!{package}\n" in ignored

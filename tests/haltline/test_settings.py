"""Settings: what wins over what, where secrets may stand, and that what is wrong is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from haltline import running
from haltline.errors import HaltlineError, InvalidSettings, NotFound
from haltline.settings import Flags, Settings, client_environment, config_file, load


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": "/nowhere"}


def write(environ: dict[str, str], text: str) -> Path:
    path = config_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


CONTEXTS = """\
current-context: shop
contexts:
  shop:
    bootstrap-servers: shop.example.org:9092
    environment: staging
  bank:
    bootstrap-servers: bank.example.org:9093
    kafka: {security.protocol: sasl_ssl, sasl.mechanisms: PLAIN, sasl.username: ada}
"""


def test_without_anything_the_defaults_hold(environ: dict[str, str]) -> None:
    settings = load(Flags(), environ)
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.bootstrap_from == ""
    assert settings.environment == "production"
    assert settings.metrics_address == "127.0.0.1:9464"
    assert settings.telemetry_topics == ("haltline.telemetry", "otlp_metrics")
    assert settings.state_dir == Path(environ["XDG_STATE_HOME"]) / "haltline"


def test_a_flag_wins_over_the_environment_over_the_context_over_the_default(environ: dict[str, str]) -> None:
    write(environ, CONTEXTS)
    variable = {"HALTLINE_BOOTSTRAP_SERVERS": "env:1", "HALTLINE_ENVIRONMENT": "canary"}
    flags = Flags(bootstrap_servers="flag:1", environment="dev")
    servers = [
        load(flags, environ | variable).bootstrap_servers,
        load(Flags(), environ | variable).bootstrap_servers,
        load(Flags(), environ).bootstrap_servers,
    ]
    assert servers == ["flag:1", "env:1", "shop.example.org:9092"]
    environments = [load(flags, environ | variable), load(Flags(), environ | variable), load(Flags(), environ)]
    assert [one.environment for one in environments] == ["dev", "canary", "staging"]


def test_a_context_is_chosen_by_flag_or_variable_and_an_unknown_one_is_refused_with_those_there_are(
    environ: dict[str, str],
) -> None:
    write(environ, CONTEXTS)
    assert load(Flags(context="bank"), environ).bootstrap_servers == "bank.example.org:9093"
    chosen = load(Flags(), environ | {"HALTLINE_CONTEXT": "bank"})
    assert chosen.client == {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "ada"}
    with pytest.raises(NotFound, match="there is bank, shop"):
        load(Flags(context="nowhere"), environ)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("contexts:\n  shop: [", r"config\.yaml:2"),
        ("contexts: 7", "contexts"),
        ("contexts: {shop: {bootstrap: x}}", "bootstrap"),
        ("contexts: {shop: {kafka: {sasl.user: x}}}", "sasl.user"),
        ("contexts: {shop: {kafka: {security.protocol: TLS}}}", "SASL_SSL"),
        ("- a list", "config.yaml"),
    ],
)
def test_a_broken_context_file_is_named_with_what_is_wrong(environ: dict[str, str], text: str, named: str) -> None:
    write(environ, text)
    with pytest.raises(InvalidSettings, match=named) as refused:
        load(Flags(), environ)
    assert "\n" not in str(refused.value)


def test_a_context_file_that_is_no_text_or_no_file_is_refused(environ: dict[str, str]) -> None:
    path = write(environ, "")
    assert load(Flags(), environ).context == ""
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="not UTF-8"):
        load(Flags(), environ)
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load(Flags(), environ)


def test_connection_options_come_under_librdkafkas_names_from_every_place(
    environ: dict[str, str], tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    settings = load(
        Flags(options=("sasl.mechanism=scram-sha-512",)),
        environ
        | {
            "HALTLINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "HALTLINE_KAFKA_SASL_USERNAME": "ada",
            "HALTLINE_KAFKA_SASL_PASSWORD_FILE": str(secret),
        },
    )
    assert settings.client == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ada",
        "sasl.password": "open sesame",
    }
    # What `up` hands to its worker is read back as the same.
    assert load(Flags(), environ | client_environment(settings.client)).client == settings.client


def test_a_secret_on_the_command_line_is_refused_and_never_shown(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="HALTLINE_KAFKA_SASL_PASSWORD_FILE"):
        load(Flags(options=("sasl.password=hunter2",)), environ)
    settings = load(Flags(), environ | {"HALTLINE_KAFKA_SASL_PASSWORD": "hunter2"})
    assert settings.client["sasl.password"] == "hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"HALTLINE_KAFKA_SASL_USER": "x"}, "HALTLINE_KAFKA_SASL_USER is not"),
        ({"HALTLINE_KAFKA_SECURITY_PROTOCOL": "TLS"}, "HALTLINE_KAFKA_SECURITY_PROTOCOL"),
        ({"HALTLINE_KAFKA_SASL_PASSWORD_FILE": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"HALTLINE_METRICS_ADDRESS": "nine"}, "HALTLINE_METRICS_ADDRESS"),
        ({"HALTLINE_METRICS_ADDRESS": "127.0.0.1:99999"}, "HOST:PORT"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], variables: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        load(Flags(), environ | variables)


def test_metrics_can_be_switched_off_and_moved(environ: dict[str, str]) -> None:
    assert load(Flags(), environ | {"HALTLINE_METRICS_ADDRESS": ""}).metrics_address == ""
    assert load(Flags(metrics_address="[::1]:0"), environ).metrics_address == "[::1]:0"


def running_note(settings: Settings) -> Path:
    return settings.state_dir / "up.json"


def test_a_running_up_is_found_and_a_stale_note_is_not_believed(environ: dict[str, str]) -> None:
    state = load(Flags(), environ).state_dir
    with running.claim(state) as claim:
        assert load(Flags(), environ).bootstrap_servers == "127.0.0.1:9092"  # it has not said yet
        claim.tell(running.Running(os.getpid(), "127.0.0.1:23456"))
        settings = load(Flags(), environ)
        assert (settings.bootstrap_servers, settings.bootstrap_from) == ("127.0.0.1:23456", "haltline up")
        assert load(Flags(bootstrap_servers="flag:1"), environ).bootstrap_servers == "flag:1"
    assert load(Flags(), environ).bootstrap_servers == "127.0.0.1:9092"
    # What a killed one leaves: the note is there, and its process id may well be somebody's.
    running_note(settings).write_text(json.dumps({"pid": os.getpid(), "bootstrap_servers": "127.0.0.1:23456"}))
    assert load(Flags(), environ).bootstrap_servers == "127.0.0.1:9092"


def test_only_one_up_a_state_folder_and_the_second_is_told_of_the_first(environ: dict[str, str]) -> None:
    state = load(Flags(), environ).state_dir
    with running.claim(state) as claim:
        claim.tell(running.Running(4711, "127.0.0.1:23456"))
        with pytest.raises(HaltlineError, match=r"4711.*127\.0\.0\.1:23456"), running.claim(state):
            pass
    with running.claim(state):
        # The note of the first is still there, and must not pass for that of the second.
        assert running.find(state) is None

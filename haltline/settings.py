"""Settings of every command: a flag wins over the environment, that over the context file, that over the default.

This is the only place that reads the environment. Connection options are `HALTLINE_KAFKA_` and librdkafka's name in
capitals, `HALTLINE_KAFKA_SASL_USERNAME` for `sasl.username`; with `_FILE` behind it the value is what that file holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from haltline import client, contexts, running
from haltline.errors import InvalidSettings
from stream import topics

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
DEFAULT_METRICS = "127.0.0.1:9464"
DEFAULT_TELEMETRY = (topics.TELEMETRY.name, topics.OTLP_METRICS.name)
DEFAULT_CHANGES = (topics.CHANGES.name,)

_KAFKA = "HALTLINE_KAFKA_"


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What stood on the command line; None where nothing did."""

    context: str | None = None
    bootstrap_servers: str | None = None
    options: tuple[str, ...] = ()
    environment: str | None = None
    policy: str | None = None
    group: str | None = None
    metrics_address: str | None = None
    telemetry_topics: tuple[str, ...] = ()
    change_topics: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for this command.

    `client` has librdkafka's names and may hold secrets, so it is not shown. `bootstrap_from` says in words who named
    the servers; it is empty where nobody did and the default stands.
    """

    bootstrap_servers: str
    bootstrap_from: str
    client: dict[str, str]
    context: str
    environment: str
    policy: Path | None
    group: str
    metrics_address: str
    telemetry_topics: tuple[str, ...]
    change_topics: tuple[str, ...]
    state_dir: Path
    user: str
    gate_key: Path
    signing_key: Path | None
    attestation_keys: tuple[Path, ...]
    token_file: Path | None

    def __repr__(self) -> str:
        return f"Settings({self.bootstrap_servers!r}, from {self.bootstrap_from or 'the default'!r})"


def load(flags: Flags | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings for this command line and environment.

    Raises:
        InvalidSettings: naming the flag, variable or file that is wrong, and what would be valid.
        NotFound: no context of that name.
    """
    flags = flags if flags is not None else Flags()
    path = config_file(environ)
    file = contexts.read(path)
    name = flags.context or _get(environ, "HALTLINE_CONTEXT") or file.current_context or ""
    context = file.named(name, path) if name else contexts.Context()
    state = state_dir(environ)

    bootstrap, source = _first(
        (flags.bootstrap_servers, "--bootstrap-servers"),
        (_get(environ, "HALTLINE_BOOTSTRAP_SERVERS"), "HALTLINE_BOOTSTRAP_SERVERS"),
        (context.bootstrap_servers, f"context {name}"),
    )
    if not bootstrap and (up := running.find(state)) is not None:
        bootstrap, source = up.bootstrap_servers, "haltline up"
    policy = flags.policy or _get(environ, "HALTLINE_POLICY") or context.policy
    signing = _get(environ, "HALTLINE_SIGNING_KEY_FILE") or context.signing_key
    return Settings(
        bootstrap_servers=bootstrap or DEFAULT_BOOTSTRAP,
        bootstrap_from=source,
        client=_client(flags, environ, context, path),
        context=name,
        environment=_environment(flags, environ, context),
        policy=Path(policy).expanduser() if policy else None,
        group=flags.group or _get(environ, "HALTLINE_GROUP") or context.group or "haltline",
        metrics_address=_address(
            _first(
                (flags.metrics_address, "--metrics-address"),
                (environ.get("HALTLINE_METRICS_ADDRESS"), "HALTLINE_METRICS_ADDRESS"),
                (context.metrics_address, f"context {name}"),
                absent=DEFAULT_METRICS,
            )
        ),
        telemetry_topics=flags.telemetry_topics
        or _list(environ, "HALTLINE_TELEMETRY_TOPICS")
        or context.telemetry_topics
        or DEFAULT_TELEMETRY,
        change_topics=flags.change_topics
        or _list(environ, "HALTLINE_CHANGE_TOPICS")
        or context.change_topics
        or DEFAULT_CHANGES,
        state_dir=state,
        user=_user(environ),
        gate_key=_path(environ, "HALTLINE_GATE_KEY_FILE") or state / "gate.key",
        token_file=_path(environ, "HALTLINE_TOKEN_FILE"),
        signing_key=Path(signing).expanduser() if signing else None,
        attestation_keys=tuple(
            Path(one).expanduser()
            for one in _list(environ, "HALTLINE_ATTESTATION_KEYS") or context.attestation_keys or ()
        ),
    )


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    return _home(environ, "XDG_CONFIG_HOME", ".config") / "haltline" / "config.yaml"


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    return _home(environ, "XDG_STATE_HOME", ".local/state") / "haltline"


def debugging(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether an error that nobody foresaw is to be shown with its traceback."""
    return bool(environ.get("HALTLINE_DEBUG"))


def environment_of_child(extra: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a process that is started, with more of it."""
    return {**environ, **extra}


def client_environment(options: Mapping[str, str]) -> dict[str, str]:
    """Connection options as the variables that `load` reads; how `up` hands secrets to its worker."""
    return {_KAFKA + name.replace(".", "_").upper(): value for name, value in options.items()}


def _client(flags: Flags, environ: Mapping[str, str], context: contexts.Context, path: Path) -> dict[str, str]:
    options = client.checked(context.kafka, str(path))
    for name, file in (
        ("sasl.password", context.sasl_password_file),
        ("ssl.key.password", context.ssl_key_password_file),
    ):
        if file is not None:
            options[name] = _secret(file, str(path))
    variables = {name.replace(".", "_").upper(): name for name in client.OPTIONS}
    for variable, value in environ.items():
        if not variable.startswith(_KAFKA) or not value:
            continue
        stem = variable.removeprefix(_KAFKA)
        if stem.endswith("_FILE") and stem.removesuffix("_FILE") in variables:
            stem, value = stem.removesuffix("_FILE"), _secret(value, variable)
        if stem not in variables:
            valid = ", ".join(_KAFKA + known for known in variables)
            raise InvalidSettings(f"{variable} is not an option of the connection; valid: {valid}")
        options |= client.checked({variables[stem]: value}, variable)
    for option in flags.options:
        name, equals, value = option.partition("=")
        if not equals:
            raise InvalidSettings(f"-X {option!r} is not NAME=VALUE, such as security.protocol=SASL_SSL")
        if name in client.SECRETS:
            variable = _KAFKA + name.replace(".", "_").upper()
            raise InvalidSettings(
                f"-X {name}: a secret on a command line is readable by every process; "
                f"set {variable}, or {variable}_FILE to a file that holds it"
            )
        options |= client.checked({name: value}, "-X")
    return options


def _environment(flags: Flags, environ: Mapping[str, str], context: contexts.Context) -> str:
    for value in (flags.environment, environ.get("HALTLINE_ENVIRONMENT"), context.environment):
        if value is not None:
            return value
    return "production"


def _first(*choices: tuple[str | None, str], absent: str = "") -> tuple[str, str]:
    """The first value that is there, and where it comes from; an empty one counts where `absent` is a default."""
    for value, source in choices:
        if value or (value is not None and absent):
            return value, source
    return absent, ""


def _address(choice: tuple[str, str]) -> str:
    """`host:port` as it is; empty serves no metrics."""
    value, source = choice
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and int(port) < 65_536):
        raise InvalidSettings(f"{source}: {value!r} is not HOST:PORT, such as {DEFAULT_METRICS}")
    return value


def _secret(file: str, source: str) -> str:
    try:
        return Path(file).expanduser().read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidSettings(f"{source}: cannot read {file}: {reason}") from None


def _get(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name) or None


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    value = _get(environ, name)
    return Path(value).expanduser() if value else None


def _list(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())


def _home(environ: Mapping[str, str], variable: str, default: str) -> Path:
    # The XDG specification: a path that is not absolute is as if it were not there.
    value = environ.get(variable, "")
    if value.startswith("/"):
        return Path(value)
    home = environ.get("HOME", "")
    return (Path(home) if home.startswith("/") else Path.home()) / default


def _user(environ: Mapping[str, str]) -> str:
    if name := environ.get("HALTLINE_USER"):
        return name
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"

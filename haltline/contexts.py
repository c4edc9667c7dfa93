"""The context file: named sets of settings, one of them current, as kubectl's users know them.

current-context: production
contexts:
  production:
    bootstrap-servers: kafka-1.example.org:9093,kafka-2.example.org:9093
    kafka: {security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, sasl.username: ada}
    sasl-password-file: /run/secrets/kafka
    environment: production
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from haltline.client import checked
from haltline.errors import InvalidSettings, NotFound


class Context(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    """What one context sets; what it leaves out has its default. Secrets stand in files that it names."""

    bootstrap_servers: str | None = None
    kafka: dict[str, str] = {}
    sasl_password_file: str | None = None
    ssl_key_password_file: str | None = None
    environment: str | None = None
    policy: str | None = None
    group: str | None = None
    metrics_address: str | None = None
    telemetry_topics: tuple[str, ...] | None = None
    change_topics: tuple[str, ...] | None = None
    signing_key: str | None = None
    attestation_keys: tuple[str, ...] | None = None


class ContextFile(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True
):
    current_context: str | None = None
    contexts: dict[str, Context] = {}

    def named(self, name: str, path: Path) -> Context:
        """The context of that name; `NotFound` tells which there are."""
        if name not in self.contexts:
            known = ", ".join(sorted(self.contexts)) or "none yet: `haltline config set-context NAME` makes one"
            raise NotFound(f"no context {name!r} in {path}; there is {known}")
        return self.contexts[name]


def read(path: Path) -> ContextFile:
    """The context file, empty where there is none.

    Raises:
        InvalidSettings: the file cannot be read as one; names the file, the line where known, and the field.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return ContextFile()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidSettings(f"{path}: cannot be read: {reason}") from None
    import yaml  # heavy: only where there is a file

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise InvalidSettings(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    try:
        contexts = msgspec.convert(content or {}, ContextFile)
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"{path}: {str(error).replace(' - at `$.', ' - at `')}") from None
    for name, context in contexts.contexts.items():
        checked(context.kafka, f"{path}, context {name}")
    return contexts


def write(path: Path, contexts: ContextFile) -> None:
    """Put the file there whole or not at all, readable by its owner alone."""
    import yaml

    content: dict[str, Any] = msgspec.to_builtins(contexts)
    text = yaml.safe_dump(_lists(content), sort_keys=False, allow_unicode=True)
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be written: {error.strerror}") from None


def _lists(value: Any) -> Any:
    """Tuples as lists, which is how YAML knows them."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value

"""`haltline config`: contexts, as kubectl has them."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from haltline import contexts
from haltline.cli.face import CONTEXT
from haltline.cli.options import output
from haltline.cli.output import Kind, Printer
from haltline.client import SECRETS, checked
from haltline.errors import InvalidSettings
from haltline.settings import config_file


@click.group(context_settings=CONTEXT)
def config() -> None:
    """Show and change the contexts in the configuration file.

    \b
    Examples:
      haltline config set-context prod --bootstrap-servers kafka.example.org:9093 -X security.protocol=SASL_SSL
      haltline config use-context prod
      haltline config get-contexts
    """


@config.command("get-contexts", context_settings=CONTEXT)
@output("json", "yaml", "name")
def get_contexts(form: str | None) -> None:
    """List the contexts; the current one has a star."""
    path = config_file()
    file = contexts.read(path)
    kind: Kind[tuple[str, contexts.Context]] = Kind(
        columns=(
            ("CURRENT", lambda one: "*" if one[0] == file.current_context else " ", False),
            ("NAME", lambda one: one[0], False),
            ("BOOTSTRAP-SERVERS", lambda one: one[1].bootstrap_servers or "", False),
            ("ENVIRONMENT", lambda one: one[1].environment or "", False),
        ),
        record=lambda one: {"name": one[0], "current": one[0] == file.current_context} | msgspec.to_builtins(one[1]),
        name=lambda one: one[0],
    )
    Printer(kind, form).print(sorted(file.contexts.items()))
    if not file.contexts and form is None:
        click.echo(f"no contexts in {path}; `haltline config set-context NAME` makes one", err=True)


@config.command("current-context", context_settings=CONTEXT)
def current_context() -> None:
    """Print the name of the current context."""
    name = contexts.read(config_file()).current_context
    if name is None:
        raise InvalidSettings("no context is current; `haltline config use-context NAME` makes one so")
    click.echo(name)


@config.command("use-context", context_settings=CONTEXT)
@click.argument("name")
def use_context(name: str) -> None:
    """Make a context the current one."""
    path = config_file()
    file = contexts.read(path)
    file.named(name, path)
    contexts.write(path, msgspec.structs.replace(file, current_context=name))
    click.echo(f"context {name} is current")


@config.command("set-context", context_settings=CONTEXT)
@click.argument("name")
@click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", help="Kafka to use.")
@click.option("-X", "options", multiple=True, metavar="NAME=VALUE", help="Connection option; never a secret.")
@click.option("--sasl-password-file", metavar="FILE", help="File that holds the password.")
@click.option("--ssl-key-password-file", metavar="FILE", help="File that holds the key's password.")
@click.option("-e", "--environment", help="Environment that `check` and `send` mean by default.")
@click.option("--policy", metavar="FILE", help="Policy file.")
@click.option("--group", help="Group id of the workers.")
@click.option("--metrics-address", metavar="HOST:PORT", help="Where the worker's metrics are.")
def set_context(name: str, options: tuple[str, ...], **given: str | None) -> None:
    """Make a context, or change what is given of one."""
    path = config_file()
    file = contexts.read(path)
    pairs: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise InvalidSettings(f"-X {option!r} is not NAME=VALUE, such as security.protocol=SASL_SSL")
        if key in SECRETS:
            raise InvalidSettings(f"-X {key}: a secret is not for a command line; name a file that holds it")
        pairs[key] = value
    old = file.contexts.get(name, contexts.Context())
    changed: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    context = msgspec.structs.replace(old, kafka={**old.kafka, **checked(pairs, "-X")}, **changed)
    made = "changed" if name in file.contexts else "created"
    current = file.current_context or name
    contexts.write(
        path, msgspec.structs.replace(file, contexts={**file.contexts, name: context}, current_context=current)
    )
    click.echo(f"context {name} {made}{' and current' if current == name else ''}")

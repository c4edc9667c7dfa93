"""Options that many commands share, and the settings that come of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from haltline.cli.face import say
from haltline.settings import Flags, Settings, load

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("wide", "json", "yaml", "name")


def connection(command: Command) -> Command:
    """`--context`, `--bootstrap-servers` and `-X`, which may also stand before the command's name."""
    for option in (
        click.option("-X", "options", multiple=True, metavar="NAME=VALUE", expose_value=False, callback=_keep,
                     help="Connection option as librdkafka names it; never a secret."),
        click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", expose_value=False, callback=_keep,
                     help="Kafka to use."),
        click.option("--context", metavar="NAME", expose_value=False, callback=_keep,
                     help="Context of the configuration file."),
    ):  # fmt: skip
        command = option(command)
    return command


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Lay what stands behind the command over what stood before it."""
    given = ctx.ensure_object(dict)
    if parameter.name == "options":
        given["options"] = (*given.get("options", ()), *value)
    elif value is not None:
        given[parameter.name] = value


def settings_of(ctx: click.Context, **flags: Any) -> Settings:
    """The settings of this command; `flags` are its own options among `Flags`."""
    given = {name: value for name, value in ctx.ensure_object(dict).items() if value is not None}
    return load(Flags(**given, **flags))


def output(*formats: str) -> Callable[[Command], Command]:
    """`-o`, with these formats."""
    return click.option(
        "-o", "--output", "form", type=click.Choice(formats), metavar="|".join(formats), help="Output format."
    )


def warn(line: str) -> None:
    say(f"warning: {line}")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def labels(_ctx: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Read `-l name=value`, several of them or with commas between."""
    found = {}
    for pair in (part for text in pairs for part in text.split(",") if part):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        found[name.strip()] = value
    return found


def text(_ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse what is no text in this terminal's encoding, which could not be written into a record."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str):
            try:
                part.encode()
            except UnicodeEncodeError:
                raise click.BadParameter("holds bytes that are not UTF-8") from None
    return value

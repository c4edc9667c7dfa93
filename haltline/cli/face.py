"""Click groups as haltline needs them: commands loaded when called, help in sections, every failure one clear line."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from haltline.errors import HaltlineError

INTERRUPTED = 130
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class LazyGroup(click.Group):
    """A group of commands that are imported when one is called or its own help is wanted.

    `sections` maps a title to commands: name to (`module:attribute`, one line of help). `aliases` maps further names.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, tuple[str, str]]],
        aliases: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(*args, **rest)
        self._sections = sections
        self._aliases = aliases or {}
        self._table = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(self._aliases.get(cmd_name, cmd_name))
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        command.context_settings = {**CONTEXT, **command.context_settings}
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and self._aliases.get(name, name) not in self._table:
            close = difflib.get_close_matches(name, self._table, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        # The names are in the table: completing one must not import them all.
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=entry[1]) for name, entry in self._table.items() if name.startswith(incomplete)
        ]
        return names or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self._table))
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry[1]) for name, entry in commands.items()])


class Face(LazyGroup):
    """The root: whatever goes wrong below ends as one line on standard error and an exit code, never a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        try:
            code = super().main(args, prog_name or "haltline", complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BaseException as error:
            code = explain(error)
        sys.exit(code if isinstance(code, int) else 0)


def explain(error: BaseException) -> int:
    """Tell the user in one line what went wrong; gives the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has had enough. Python would complain at exit that it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "haltline"
        say(f"{_sentence(error.format_message())}; see `{path} --help`")
        return 2
    if isinstance(error, click.ClickException):
        say(_sentence(error.format_message()))
        return error.exit_code
    if isinstance(error, HaltlineError):
        say(str(error))
        return error.exit_code
    if _foreseen(error):
        say(str(error))
        return 1
    from haltline.settings import debugging

    if debugging():
        import traceback

        traceback.print_exception(error)
    else:
        name = type(error).__name__
        say(f"unexpected {name}: {error}; HALTLINE_DEBUG=1 shows where, please report it")
    return 1


def _foreseen(error: BaseException) -> bool:
    """Whether the text of this error is written for a person; imports nothing that is not already loaded."""
    for module, name in (
        ("deploy.errors", "DeployError"),
        ("stream.errors", "StreamError"),
        ("stream.kafka_errors", "KafkaUnavailable"),
    ):
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(error, known):
            return True
    return False


def say(line: str) -> None:
    """One line for the user, on standard error."""
    click.echo(f"haltline: {' '.join(line.split())}", err=True)


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].lower() + text[1:]

"""`haltline completion`: the script that teaches a shell haltline's words."""

from __future__ import annotations

import click

_VARIABLE = "_HALTLINE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      source <(haltline completion bash)                              for this session
      haltline completion zsh > "${fpath[1]}/_haltline"               for every later one
      haltline completion fish > ~/.config/fish/completions/haltline.fish
    """
    from click.shell_completion import get_completion_class

    from haltline.cli.root import haltline

    kind = get_completion_class(shell)
    assert kind is not None  # the three that click brings
    script = kind(haltline, {}, "haltline", _VARIABLE)
    # Not `source()`: for bash that starts the machine's bash to ask its version, and this may run where there is none.
    click.echo(script.source_template % script.source_vars())

"""`haltline version`."""

from __future__ import annotations

import click

from haltline.cli.options import output
from haltline.cli.output import json_text, yaml_text


@click.command()
@output("json", "yaml")
def version(form: str | None) -> None:
    """Print the version."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    def of(package: str) -> str:
        try:
            return version_of(package)
        except PackageNotFoundError:  # run from a folder that was never installed
            return "unknown"

    if form is None:
        click.echo(f"haltline {of('haltline')}")
        return
    packages = ("haltline", "faust-streaming", "kafka-python", "river", "numpy")
    record = {package: of(package) for package in packages} | {"python": platform.python_version()}
    click.echo(json_text(record) if form == "json" else yaml_text(record))

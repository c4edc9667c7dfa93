"""`haltline demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--plain", is_flag=True, help="Plain lines, also in a terminal.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Keep Kafka's data here.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    metavar="DIR",
    help="Where the plot goes.",
)
@click.pass_context
def demo(ctx: click.Context, plain: bool, keep: Path | None, out: Path) -> None:
    """Watch haltline stop a harmful change in a small living shop on this machine.

    Real processes, a real Apache Kafka, nothing recorded; about a minute and a half. Leaves nothing running.
    """
    from haltline.demo import main

    ctx.exit(main(plain=plain, keep=keep, out=out))

"""`haltline topics`: how haltline's topics stand in a cluster, and the missing ones made."""

from __future__ import annotations

from typing import Any

import click

from haltline import broker
from haltline.cli.options import connection, output, settings_of
from haltline.cli.output import Kind, Printer
from haltline.client import kafka_python
from stream.topics import CATALOGUE, State, Topic, TopicState, show
from stream.topics import create as create_topics

_DAY_MS = 24 * 3_600_000


@click.command()
@click.option("--create", is_flag=True, help="Create what is missing; nothing is ever altered or deleted.")
@click.option("--replication", type=click.IntRange(1, 32), default=1, show_default=True, help="Copies of each topic.")
@click.option(
    "--partitions", type=click.IntRange(1, 10_000), help="Partitions of each telemetry topic.  [default: as listed]"
)
@output("wide", "json", "yaml", "name")
@connection
@click.pass_context
def topics(ctx: click.Context, create: bool, replication: int, partitions: int | None, form: str | None) -> None:
    """Show how haltline's topics stand in the cluster, setting by setting, and create what is missing.

    \b
    Examples:
      haltline topics
      haltline topics --create --replication 3 --partitions 32
      haltline topics -o json

    Exit code 0 when all are as they should be, 1 when one is missing or differs.
    """
    import time

    settings = settings_of(ctx)
    client = kafka_python(settings.client)
    if not client.get("proxy_url"):
        broker.reach(settings, time.monotonic() + broker.PATIENCE_S)
    if create:
        counts = {topic.name: partitions for topic in CATALOGUE if partitions is not None and not topic.ordered}
        states = create_topics(
            settings.bootstrap_servers, replication=replication, partitions=counts, client_config=client
        )
    else:
        states = show(settings.bootstrap_servers, replication=replication, client_config=client)
    Printer(_KIND, form).print(states)
    wrong = [state for state in states if state.state not in (State.OK, State.CREATED)]
    if form in (None, "wide"):
        for state in wrong:
            for line in state.differences or (f"{state.topic.name} is missing; `haltline topics --create` makes it",):
                click.echo(line, err=True)
    ctx.exit(1 if wrong else 0)


def _record(one: TopicState) -> dict[str, Any]:
    return {
        "name": one.topic.name,
        "state": one.state.value,
        "partitions": one.partitions,
        "replication": one.replication,
        "settings": one.topic.settings(),
        "holds": one.topic.holds,
        "key": one.topic.key,
        "differences": list(one.differences),
    }


def _retention(topic: Topic) -> str:
    return "for ever" if topic.retention_ms is None else f"{topic.retention_ms // _DAY_MS}d"


_KIND: Kind[TopicState] = Kind(
    columns=(
        ("TOPIC", lambda one: one.topic.name, False),
        ("STATE", lambda one: one.state.value, False),
        ("PARTITIONS", lambda one: str(one.partitions), False),
        ("REPLICATION", lambda one: str(one.replication), True),
        ("CLEANUP", lambda one: one.topic.cleanup, False),
        ("RETENTION", lambda one: _retention(one.topic), False),
        ("KEY", lambda one: one.topic.key, True),
        ("HOLDS", lambda one: one.topic.holds, False),
    ),
    record=_record,
    name=lambda one: f"topic/{one.topic.name}",
)

"""`haltline worker`: one Faust worker in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from haltline import broker, view
from haltline.cli.options import connection, settings_of
from haltline.errors import HaltlineError
from haltline.settings import Settings
from stream import topics as catalogue

_NEEDED = (
    catalogue.BY_SERVICE,
    catalogue.SNAPSHOTS,
    catalogue.EVIDENCE,
    catalogue.ORDERS,
    catalogue.POLICIES,
    catalogue.FREEZES,
    catalogue.VERDICTS,
    catalogue.DEADLETTER,
)


@click.command()
@click.option("--policy", metavar="FILE", help="Policy to judge by.  [default: those on Kafka; until then observe]")
@click.option("--group", metavar="ID", help="Group of the workers that share the work.  [default: haltline]")
@click.option(
    "--telemetry-topic", "telemetry", multiple=True, metavar="TOPIC", help="Telemetry to read; may be repeated."
)
@click.option("--change-topic", "changes", multiple=True, metavar="TOPIC", help="Changes to read; may be repeated.")
@click.option("--metrics-address", metavar="HOST:PORT", help="Where to serve /metrics.  [default: 127.0.0.1:9464]")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where Faust keeps its state."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@connection
@click.pass_context
def worker(
    ctx: click.Context,
    policy: str | None,
    group: str | None,
    telemetry: tuple[str, ...],
    changes: tuple[str, ...],
    metrics_address: str | None,
    data: Path | None,
    log_level: str,
) -> None:
    """Run one worker until Ctrl-C: it reads changes and telemetry, judges, and freezes.

    \b
    Examples:
      haltline worker --policy policy.yaml
      haltline worker -b kafka.example.org:9092 --telemetry-topic metrics --metrics-address 127.0.0.1:9465

    Any number of workers with the same group share the partitions; one of them judges.
    """
    settings = settings_of(
        ctx,
        policy=policy,
        group=group,
        telemetry_topics=telemetry,
        change_topics=changes,
        metrics_address=metrics_address,
    )
    if settings.policy is not None:
        from deploy.policy import load_policy

        load_policy(settings.policy)  # refused here, before anything is started
    view.keys_of(settings)
    keys = tuple(path.read_bytes() for path in settings.attestation_keys)
    _look(settings)
    from stream.app import run
    from stream.config import WorkerConfig

    ctx.exit(
        run(
            WorkerConfig(
                bootstrap_servers=settings.bootstrap_servers,
                client=settings.client,
                group=settings.group,
                telemetry_topics=settings.telemetry_topics,
                change_topics=settings.change_topics,
                policy=settings.policy,
                attestation_keys=keys,
                metrics_address=settings.metrics_address,
                data_dir=data or settings.state_dir / "worker",
                log_level=log_level,
            )
        )
    )


def _look(settings: Settings) -> None:
    """Faust waits in silence for a broker or a topic that is not there: say so instead."""
    needed = [*(topic.name for topic in _NEEDED), *settings.telemetry_topics, *settings.change_topics]
    with broker.consumer(settings) as client:
        there = client.topics()
    missing = [name for name in dict.fromkeys(needed) if name not in there]
    if missing:
        raise HaltlineError(
            f"kafka at {settings.bootstrap_servers} has no topic {', '.join(missing)}; "
            "`haltline topics --create` makes haltline's own"
        )

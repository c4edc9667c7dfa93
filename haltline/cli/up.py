"""`haltline up`: all of haltline on this machine, for as long as this command runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import click
import msgspec

from haltline import broker, running
from haltline.cli.options import connection, settings_of
from haltline.cli.output import clean
from haltline.client import kafka_python
from haltline.errors import HaltlineError
from haltline.settings import DEFAULT_METRICS, Settings, client_environment, environment_of_child

#: Compiling what an update has changed takes a minute or two, more on a busy machine.
_READY_S = 300.0


@click.command()
@click.option("--policy", metavar="FILE", help="Policy to judge by.  [default: those on Kafka; until then observe]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where Kafka's data and the logs are.  [default: the state folder]",
)
@click.option("--group", metavar="ID", help="Group of the workers.  [default: haltline]")
@click.option("--metrics-address", metavar="HOST:PORT", help=f"Where to serve /metrics.  [default: {DEFAULT_METRICS}]")
@connection
@click.pass_context
def up(
    ctx: click.Context, policy: str | None, data: Path | None, group: str | None, metrics_address: str | None
) -> None:
    """Run all of haltline on this machine until Ctrl-C: Apache Kafka, the topics, a worker.

    \b
    Examples:
      haltline up
      haltline up --policy policy.yaml
      haltline up --bootstrap-servers kafka.example.org:9092       with a Kafka that exists

    Every other command of the same user finds this Kafka without being told. Nothing is reachable from other machines.
    """
    settings = settings_of(ctx, policy=policy, group=group, metrics_address=metrics_address)
    if settings.policy is not None:
        from deploy.policy import load_policy

        load_policy(settings.policy)
    with _signals_stop(), running.claim(settings.state_dir) as claim, ExitStack() as stack:
        # Only now: what another `up` said of itself a moment ago is no longer so.
        settings = settings_of(ctx, policy=policy, group=group, metrics_address=metrics_address)
        home = data or settings.state_dir
        settings, alive = _kafka(settings, home, stack)
        _topics(settings)
        settings = msgspec.structs.replace(settings, metrics_address=_free(settings.metrics_address))
        log = home / "worker.log"
        worker = _worker(settings, home, log, stack)
        _await_ready(settings, worker, log)
        claim.tell(running.Running(os.getpid(), settings.bootstrap_servers, settings.metrics_address))
        _say_next(settings, log)
        while True:
            time.sleep(0.2)
            if not alive():
                raise HaltlineError(f"kafka ended by itself; its log is in {home / 'kafka'}")
            if worker.poll() is not None:
                raise HaltlineError(f"the worker ended with code {worker.returncode}: {_last_line(log)} (all in {log})")


def _kafka(settings: Settings, home: Path, stack: ExitStack) -> tuple[Settings, Callable[[], bool]]:
    """A Kafka: the one that was named, or one of our own, which ends with the stack."""
    if settings.bootstrap_from:
        broker.reach(settings, time.monotonic() + broker.PATIENCE_S)
        click.echo(f"kafka    {settings.bootstrap_servers}, from {settings.bootstrap_from}")
        return settings, lambda: True
    from stream.local_kafka import LocalKafka

    click.echo("kafka    starting ...", err=True)
    kafka = stack.enter_context(LocalKafka(home / "kafka", log=lambda line: click.echo(f"kafka    {line}", err=True)))
    click.echo(f"kafka    {kafka.bootstrap_servers}, data in {home / 'kafka'}")
    # Our own Kafka listens on loopback in the clear: options meant for another do not apply.
    ours = msgspec.structs.replace(settings, bootstrap_servers=kafka.bootstrap_servers, client={})
    return ours, lambda: kafka.running


def _topics(settings: Settings) -> None:
    from stream.topics import State, create

    states = create(settings.bootstrap_servers, client_config=kafka_python(settings.client))
    made = sum(state.state is State.CREATED for state in states)
    click.echo(f"topics   {made} created, {len(states) - made} there already")
    for state in states:
        for line in state.differences:
            click.echo(f"haltline: warning: {line}", err=True)


def _worker(settings: Settings, home: Path, log: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    from stream.leash import leashed

    command = [sys.executable, "-m", "haltline", "worker", "--data", str(home / "worker")]
    environment = environment_of_child(
        {
            "HALTLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "HALTLINE_GROUP": settings.group,
            "HALTLINE_METRICS_ADDRESS": settings.metrics_address,
            "HALTLINE_TELEMETRY_TOPICS": ",".join(settings.telemetry_topics),
            "HALTLINE_CHANGE_TOPICS": ",".join(settings.change_topics),
            "HALTLINE_POLICY": str(settings.policy.absolute()) if settings.policy is not None else "",
            "HALTLINE_CONTEXT": settings.context,
            **client_environment(settings.client),
        }
    )
    try:
        home.mkdir(parents=True, exist_ok=True)
        out = stack.enter_context(log.open("ab"))
    except OSError as error:
        raise HaltlineError(f"cannot write to {log}: {error.strerror}") from None
    worker = subprocess.Popen(
        leashed(command, str(home / "worker.pid")),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        env=environment,
        start_new_session=True,
    )
    stack.callback(_stop, worker)
    return worker


def _stop(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        worker.terminate()  # the keeper passes it on, and after its patience kills
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def _await_ready(settings: Settings, worker: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the worker answers /healthz; where it serves no metrics, until it has lived a while."""
    deadline = time.monotonic() + (_READY_S if settings.metrics_address else 3.0)
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise HaltlineError(f"the worker ended with code {worker.returncode}: {_last_line(log)} (all in {log})")
        if settings.metrics_address and _healthy(settings.metrics_address):
            return
        time.sleep(0.1)
    if settings.metrics_address:
        raise HaltlineError(f"the worker was not ready within {_READY_S:.0f} s: {_last_line(log)} (all in {log})")


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free(address: str) -> str:
    """The address, or where nobody chose it and it is taken, one with a port that is free."""
    host, _, port = address.rpartition(":")
    if not address:
        return address
    for wanted in (int(port), 0) if address == DEFAULT_METRICS else (int(port),):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, wanted))
            except OSError:
                continue
            return f"{host}:{probe.getsockname()[1]}"
    raise HaltlineError(f"the metrics address {address} is taken; name another with --metrics-address")


def _say_next(settings: Settings, log: Path) -> None:
    metrics = f", metrics at http://{settings.metrics_address}/metrics" if settings.metrics_address else ""
    click.echo(f"worker   running{metrics}, log in {log}")
    mode = (
        f"as {settings.policy} says"
        if settings.policy
        else "as `haltline policy apply FILE` said; till then it observes"
    )
    click.echo(f"judging  {mode}")
    click.echo(
        "\n"
        "Next, in another terminal:\n"
        "  haltline send change --service checkout --version v2 --id checkout-1\n"
        "  haltline send telemetry telemetry.jsonl\n"
        "  haltline watch\n"
        "  haltline freeze checkout --for 5m --reason try; haltline check --service checkout\n"
        "\n"
        "Ctrl-C stops all of it."
    )


def _last_line(log: Path) -> str:
    try:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return clean(lines[-1].strip()) if lines else "it said nothing"


@contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGTERM and a closed terminal stop everything in order, as Ctrl-C does; also where a shell had that ignored."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

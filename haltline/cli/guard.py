"""`haltline guard`: any deploy command as a gated one: asked before it, ended when a freeze arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from deploy.errors import DeployError
from deploy.freeze import Freeze
from deploy.gate import Decision, Request, decide
from deploy.holds import end_of
from deploy.times import parse_duration
from haltline import gate
from haltline.cli.check import HELD, about_change, code_of, line, request_of
from haltline.cli.face import say
from haltline.cli.options import connection, now_ms, settings_of, warn
from haltline.errors import HaltlineError
from haltline.rules import named
from haltline.settings import Settings, environment_of_child

#: How often it looks whether the command has ended, seconds.
_LOOK_S = 0.2


@click.command()
@click.option("--file", metavar="CHANGE.json", help="The change, as `haltline check` takes it.")
@about_change
@click.option("--grace", default="30s", show_default=True, metavar="DURATION", help="From SIGTERM to SIGKILL.")
@click.option("--every", default="10s", show_default=True, metavar="DURATION", help="How soon to reach Kafka again.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@connection
@click.pass_context
def guard(
    ctx: click.Context,
    /,
    command: tuple[str, ...],
    grace: str,
    every: str,
    file: str | None,
    plan: str | None,
    policy: str | None,
    extra: dict[str, str],
    **flags: Any,
) -> None:
    """Ask as `haltline check` does, run COMMAND only if it may go, and end it when a freeze arrives.

    \b
    Examples:
      haltline guard --service checkout -- ./deploy.sh
      haltline guard --file change.json --grace 2m -- helm upgrade checkout ./chart
      haltline guard -s shop --plan tfplan.json -- terraform apply tfplan

    COMMAND gets SIGTERM when a freeze comes over it, and SIGKILL after the grace time; so do those that it started.
    It finds HALTLINE_ANSWER (the answer's id) and HALTLINE_MAX_SHARE (where a share was given) in its environment. Exit
    code: the command's own; 3 held, before or while it ran; 4 denied; 1 could not find out.
    """
    settings = settings_of(ctx, environment=flags["environment"], policy=policy)
    patience, pause = parse_duration(grace) / 1000, parse_duration(every) / 1000
    request = request_of(ctx, settings, file, plan, extra, flags)
    answer = gate.ask(settings, request, now_ms(), warn)
    click.echo(line(answer), err=True)
    if answer.source == "kafka":
        gate.record(settings, answer, warn)
    if answer.decision is not Decision.ALLOW:
        ctx.exit(code_of(answer))
    told = {"HALTLINE_ANSWER": answer.id}
    if answer.max_share is not None:
        told["HALTLINE_MAX_SHARE"] = f"{answer.max_share:g}"
    try:
        # A group of its own, so that what the command starts is ended with it.
        child = subprocess.Popen(command, start_new_session=True, env=environment_of_child(told))
    except OSError as error:
        say(f"{command[0]}: cannot be run: {(error.strerror or str(error)).lower()}")
        ctx.exit(127)
    with _forwarding(child):
        frozen = _watch(child, settings, request, pause)
        if frozen is None:
            ctx.exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)
        until = end_of(frozen.ends_at, now_ms())
        say(f"frozen by {frozen.id} until {until}: {frozen.reason or 'no reason given'}; ending the command")
        _end(child, patience)
    ctx.exit(HELD)


def _watch(child: subprocess.Popen[bytes], settings: Settings, request: Request, pause: float) -> Freeze | None:
    """Wait for the child's end; the freeze that comes over it before, or None.

    While Kafka is away the command goes on: it was let go, and half a deploy is worse than a whole one.
    """
    away = False
    while child.poll() is None:
        try:
            for frozen in _freezes(child, settings, request):
                return frozen
        except (HaltlineError, DeployError) as error:  # Kafka away, or the policy's file no more what it was
            if not away:
                warn(f"{error}; the command goes on, and no freeze can reach it until then")
            away = True
            deadline = time.monotonic() + pause
            while child.poll() is None and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
    return None


def _freezes(child: subprocess.Popen[bytes], settings: Settings, request: Request) -> Iterator[Freeze]:
    found = named(settings)
    policy = None if found is None else found.policy
    with gate.watching(settings, now_ms(), policy=policy, whole=bool(request.change.reverts)) as (memory, seen):
        while child.poll() is None:
            now = now_ms()
            yield from decide(request, memory.policy, memory.state(seen, now), now).held_by[:1]
            for _ in seen.follow(_LOOK_S):
                pass


@contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """What is meant to end this process ends the command."""

    def forward(number: int, _frame: FrameType | None) -> None:
        _signal(child, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    _signal(child, signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        say(f"it did not end within {grace:g}s of SIGTERM; killed")
    # Those that the command started and that outlived it go too.
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)

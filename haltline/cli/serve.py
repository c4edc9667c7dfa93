"""`haltline serve`: the gate over HTTP, answered from memory."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from haltline.cli.face import say
from haltline.cli.options import connection, settings_of
from haltline.errors import HaltlineError
from haltline.settings import Settings

DEFAULT_LISTEN = "127.0.0.1:9465"
_GIVE_WAY_S = 0.0005


@click.command()
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path),
    help="Tokens, one a line.  [default: HALTLINE_TOKEN_FILE]",
)  # fmt: skip
@click.option(
    "--policy", metavar="FILE", help="Policy to answer by; read again when it changes.  [default: the one on Kafka]"
)
@connection
@click.pass_context
def serve(ctx: click.Context, listen: str, token_file: Path | None, policy: str | None) -> None:
    """Answer `POST /v1/check` from memory fed by Kafka, until SIGTERM.

    \b
    Examples:
      haltline serve --policy policy.yaml --token-file tokens
      curl -sH "Authorization: Bearer $TOKEN" -d @change.json http://127.0.0.1:9465/v1/check

    The body is a change as `haltline send change` takes it; the answer says allow, hold or deny, with every rule that
    spoke. `/readyz` is 503 while Kafka is away: checks are then answered as the policy's `when_unreachable` says.
    """
    settings = settings_of(ctx, policy=policy)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise click.BadParameter(f"{listen!r} is not HOST:PORT", ctx, param_hint="--listen")
    asyncio.run(_serve(settings, host.strip("[]"), int(port), token_file or settings.token_file))


async def _serve(settings: Settings, host: str, port: int, token_file: Path | None) -> None:
    from aiohttp import web

    from haltline.server import Tokens, application
    from haltline.serving import Served

    tokens = Tokens.read(token_file)
    served = Served(settings, say)
    runner = web.AppRunner(application(served, tokens), access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        raise HaltlineError(f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}") from None
    addresses = ", ".join(f"http://{address[0]}:{address[1]}/v1/check" for address in runner.addresses)
    say(f"answering at {addresses} by policy {served.rules.id}")
    # A thread that reads or writes Kafka gives way this soon, seconds: a request must not wait the usual 5 ms for it.
    sys.setswitchinterval(_GIVE_WAY_S)
    served.start()
    tasks = [asyncio.ensure_future(served.tidy())]
    if settings.policy is not None:
        tasks.append(asyncio.ensure_future(served.follow_policy(settings.policy)))
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    await done.wait()
    for task in tasks:
        task.cancel()
    await runner.cleanup()
    await asyncio.to_thread(served.stop)

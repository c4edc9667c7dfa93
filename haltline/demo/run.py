"""Setting the demo up and, however it ends, taking everything down again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.text import Text

from deploy.policy import load_policy
from haltline.demo.before import ask_before
from haltline.demo.deployer import Gate
from haltline.demo.display import Display
from haltline.demo.ending import Ending, Interrupted
from haltline.demo.errors import DemoFailed
from haltline.demo.fleet import SHOP, Fleet
from haltline.demo.observer import Observer
from haltline.demo.plot import Incident, draw
from haltline.demo.processes import Child, module, start
from haltline.demo.processes import run as run_command
from haltline.demo.story import HARMFUL, Story, Told
from haltline.demo.summary import summary
from stream import topics
from stream.errors import StreamError
from stream.kafka_jars import KAFKA_VERSION
from stream.kafka_settings import free_port
from stream.leash import leashed
from stream.local_kafka import LocalKafka

CHECKOUTS_PER_SECOND = 80.0
#: It compiles first what an update has changed.
_WORKER_S = 300.0
_COMMAND_S = 20.0


def run(*, plain: bool, keep: Path | None, out: Path) -> int:
    """The demo from nothing to nothing; see `haltline.demo.main`."""
    console = Console(highlight=False, no_color=True if plain else None)
    # Clients tell of reconnects and leaders while a broker starts; the one line of an exception is enough.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    ending = Ending()
    code = 0
    try:
        with ending, _folder(keep) as folder, Display(console, plain=plain or not _in_colour()) as display:
            display.line("kafka", f"starting Apache Kafka {KAFKA_VERSION} in {folder}")
            with LocalKafka(folder / "kafka", log=lambda line: display.line("kafka", line)) as kafka:
                code = ending.run(_play(kafka.bootstrap_servers, folder, out, display))
    except Interrupted:
        pass
    except (DemoFailed, StreamError) as error:
        if ending.taken is None:
            print(f"haltline demo: {error}", file=sys.stderr)
            return 1
    except Exception:
        if ending.taken is None:
            raise
    if ending.taken is None:
        return code
    if ending.taken == signal.SIGINT:
        print("haltline demo: interrupted; everything is stopped", file=sys.stderr)
    return 128 + ending.taken


async def _play(bootstrap_servers: str, folder: Path, out: Path, display: Display) -> int:
    display.line("kafka", f"ready at {bootstrap_servers}")
    await asyncio.to_thread(topics.create, bootstrap_servers)
    observer = Observer(bootstrap_servers)
    with _policy() as policy:
        env = _environment(bootstrap_servers, policy, folder)
        async with AsyncExitStack() as stack:
            worker = await stack.enter_async_context(_stopping(await _start_worker(env, folder)))
            fleet = Fleet(folder, bootstrap_servers, observer.hear)
            stack.push_async_callback(fleet.close)
            display.line(
                "shop", ", ".join(f"{service} ×{count}" for service, count in SHOP.items()) + ": one process each"
            )
            await fleet.open_shop(SHOP)
            await _until_healthy(env, worker, folder)
            display.line("haltline", "worker ready")
            watching = asyncio.create_task(observer.watch())
            stack.push_async_callback(_cancel, watching)
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
            stack.push_async_callback(producer.stop)
            await producer.start()
            load = module("haltline.demo.load", "--peers", str(fleet.peers_file), "--rate", str(CHECKOUTS_PER_SECOND))
            await stack.enter_async_context(
                _stopping(await start("the load", load, log=folder / "load.log", hear=observer.hear))
            )
            display.follow(fleet, observer)
            await ask_before(display, _HALTLINE, env, folder)

            async def send(record: dict[str, Any]) -> None:
                await producer.send_and_wait(
                    topics.CHANGES.name, msgspec.json.encode(record), key=str(record["id"]).encode()
                )

            async def unfreeze(freeze: str, reason: str) -> None:
                code, said = await run_command([*_HALTLINE, "unfreeze", freeze, "--reason", reason], env, _COMMAND_S)
                display.line("unfreeze", said)
                if code:
                    raise DemoFailed(f"`haltline unfreeze {freeze}` ended with {code}: {said}")

            story = Story(fleet, Gate(_HALTLINE, env), observer, display, send, unfreeze)
            news = asyncio.create_task(story.report_news())
            stack.push_async_callback(_cancel, news)
            telling = asyncio.create_task(story.tell())
            stack.push_async_callback(_cancel, telling)
            told = await _unless_it_dies(telling, worker, folder)
            display.calm()
        display.show(*summary(told, observer.seconds))
        picture = await asyncio.to_thread(_draw, told, observer, policy, out)
        display.show(Text(f"\n{picture}"))
    return 0


async def _unless_it_dies(telling: asyncio.Task[Told], worker: Child, folder: Path) -> Told:
    """The story's end, or at once the news that the worker is gone."""
    while not telling.done():
        await asyncio.wait({telling}, timeout=0.5)
        if not worker.running and not telling.done():
            raise DemoFailed(f"the worker ended: {_last_line(folder / 'worker.log')}")
    return telling.result()


def _draw(told: Told, observer: Observer, policy: Path, out: Path) -> str:
    incident = Incident(
        service=HARMFUL.service,
        change=HARMFUL.id,
        old=HARMFUL.previous_version,
        new=HARMFUL.version,
        samples=list(observer.samples),
        weights=list(observer.weights),
        harm=told.harm,
        frozen=told.freeze.at,
        healthy=told.healthy,
        unfrozen=told.unfrozen,
        reason=told.freeze.what.reason,
        error_rate=load_policy(policy)[0].breaker.error_rate,
    )
    try:
        png, svg = draw(incident, out)
    except ImportError:
        return "no picture: matplotlib is not installed (pip install matplotlib)"
    except OSError as error:
        raise DemoFailed(f"the picture cannot be written to {out}: {error.strerror}") from None
    return f"The picture: {png} (and {svg})"


_HALTLINE = (sys.executable, "-m", "haltline")


async def _start_worker(env: Mapping[str, str], folder: Path) -> Child:
    command = leashed([*_HALTLINE, "worker"], str(folder / "worker.pid"))
    return await start("the worker", command, log=folder / "worker.log", env=env)


async def _until_healthy(env: Mapping[str, str], worker: Child, folder: Path) -> None:
    """Wait until the worker answers at its own address."""
    import aiohttp

    address = f"http://{env['HALTLINE_METRICS_ADDRESS']}/healthz"
    deadline = time.monotonic() + _WORKER_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            if not worker.running:
                raise DemoFailed(f"the worker ended: {_last_line(folder / 'worker.log')}")
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(address, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise DemoFailed(f"the worker was not ready within {_WORKER_S:.0f} s: {_last_line(folder / 'worker.log')}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else f"nothing in {log}"


def _environment(bootstrap_servers: str, policy: Path, folder: Path) -> dict[str, str]:
    """What the worker and the `haltline` commands see: this Kafka, and nothing of the user's own settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HALTLINE_")}
    return env | {
        "HALTLINE_BOOTSTRAP_SERVERS": bootstrap_servers,
        "HALTLINE_POLICY": str(policy),
        "HALTLINE_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
        "HALTLINE_USER": "ada@shop.example",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _policy() -> Iterator[Path]:
    with as_file(files("haltline.demo") / "policy.yaml") as path:
        yield path


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """A folder for this run alone: below `keep` for good, else a temporary one."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="haltline-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    folder_kept = keep.absolute() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        folder_kept.mkdir(parents=True)
    except OSError as error:
        raise DemoFailed(f"cannot write to {keep}: {error.strerror}") from None
    yield folder_kept


@asynccontextmanager
async def _stopping(child: Child) -> AsyncIterator[Child]:
    try:
        yield child
    finally:
        await child.stop()


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _in_colour() -> bool:
    return not os.environ.get("NO_COLOR")

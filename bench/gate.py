"""How long the gate takes to answer: the rules alone, the server at a steady rate, and a cold `haltline check`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from bench import OUT, ROOT, BenchError
from bench.tables import table
from deploy.change import change_from_object, change_to_object
from deploy.freeze import Freeze
from deploy.gate import GateState, Request, decide
from deploy.policy import Policy, load_policy
from deploy.traffic import Traffic
from stream import topics
from stream.leash import leashed
from stream.local_kafka import LocalKafka
from stream.wire.outgoing import encode_change, encode_freeze

POLICY = ROOT / "examples" / "shop.yaml"
GOAL_P99_MS, GOAL_COLD_MS = 5.0, 500.0
TOKEN = "a-token-of-the-bench-only"  # noqa: S105  # it opens nothing but this bench's own server
PATIENCE_S = 60.0


class Row(msgspec.Struct):
    """One way of asking: milliseconds, and the CPU milliseconds of one answer."""

    way: str
    count: int
    p50: float
    p99: float
    most: float
    cpu: float
    goal: str


def main(argv: list[str]) -> int:
    """Ask in four ways and print a table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench gate", description=__doc__)
    parser.add_argument("--rate", type=int, default=500, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="how long they are asked (default: %(default)s)")
    parser.add_argument("--running", type=int, default=200, help="changes that run already (default: %(default)s)")
    parser.add_argument("--freezes", type=int, default=50, help="freezes in force (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where gate.json goes (default: %(default)s)")
    options = parser.parse_args(argv)
    policy, _ = load_policy(POLICY)
    asked, running, freezes = _questions(2_000), _running(options.running), _freezes(options.freezes)
    rows = [_rules(policy, asked, running, freezes)]
    with tempfile.TemporaryDirectory(prefix="haltline-gate-") as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        topics.create(kafka.bootstrap_servers)
        _send(kafka.bootstrap_servers, running, freezes)
        rows.append(_server(kafka.bootstrap_servers, Path(folder), asked, options.rate, options.seconds))
        rows.append(_bare(Path(folder), asked, options.rate, options.seconds))
        rows.append(_cold(kafka.bootstrap_servers, Path(folder)))
    cells = [
        [one.way, str(one.count), *(f"{value:.2f}" for value in (one.p50, one.p99, one.most, one.cpu)), one.goal]
        for one in rows
    ]
    print(table("gate", ["way", "answers", "p50 ms", "p99 ms", "max ms", "CPU ms an answer", "goal"], cells))
    load = os.getloadavg()[0]
    over = rows[1].p99 / rows[2].p99
    print(f"99 % of answers came within {over:.1f} times what a constant takes from the same server at the same rate")
    print(f"{options.running} changes running, {options.freezes} freezes; load of the machine {load:.1f}")
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"rows": msgspec.to_builtins(rows), "load": load, "rate": options.rate}
    (options.out / "gate.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    missed = rows[1].p99 > GOAL_P99_MS or rows[3].p99 > GOAL_COLD_MS
    return 1 if missed else 0


def _questions(count: int) -> list[dict[str, Any]]:
    """Changes of all kinds, as pipelines ask about them."""
    rng = random.Random(7)
    asked = []
    for number in range(count):
        origin = rng.choice(["ai", "human", "mixed", "unknown"])
        revision = f"{rng.getrandbits(48):012x}"
        approver = {
            "who": rng.choice(["bo", "cem", "mallory"]),
            "at": _ago(1800),
            "since": _ago(5400),
            "revision": revision,
        }
        asked.append(
            {
                "id": f"asked-{number}",
                "service": rng.choice(["checkout", "payment", "pricing", "cart", "search", "frontend"]),
                "environment": "production",
                "time": _ago(0),
                "version": "v2",
                "vcs": {"revision": revision, "lines_added": rng.randrange(900), "lines_removed": 3},
                "rollout": rng.choice([{"strategy": "canary", "share": 0.1}, {}]),
                "provenance": {
                    "origin": origin,
                    "author": "some-agent[bot]",
                    "operator": "dee",
                    "approvers": [approver],
                },
            }
        )
    return asked


def _running(count: int) -> list[dict[str, Any]]:
    return [one | {"id": f"running-{number}", "time": _ago(600)} for number, one in enumerate(_questions(count))]


def _freezes(count: int) -> list[Freeze]:
    now = time.time_ns() // 1_000_000
    return [
        Freeze(
            id=f"fz-bench-{number}",
            matchers=(f'service=~"other-{number}|else-{number}"', 'environment="production"'),
            starts_at=now - 60_000,
            ends_at=now + 3_600_000,
            reason="bench",
        )
        for number in range(count)
    ]


def _ago(seconds: int) -> int:
    return time.time_ns() // 1_000_000 - seconds * 1000


def _rules(policy: Policy, asked: list[dict[str, Any]], running: list[dict[str, Any]], freezes: list[Freeze]) -> Row:
    """The pure function alone, in the time of this thread: a busy machine does not count."""
    state = GateState(traffic=Traffic(policy, map(change_from_object, running)), freezes=freezes)
    requests = [Request(change=change_from_object(one)) for one in asked]
    now = _ago(0)
    times = []
    for request in requests:
        began = time.thread_time_ns()
        decide(request, policy, state, now)
        times.append((time.thread_time_ns() - began) / 1e6)
    return _row("rules alone (thread time)", times, float(np.mean(times)), "")


def _send(servers: str, running: list[dict[str, Any]], freezes: list[Freeze]) -> None:
    from kafka import KafkaProducer

    with KafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for wire in map(encode_change, map(change_from_object, running)):
            producer.send(topics.CHANGES.name, key=wire.key, value=wire.value, headers=wire.headers)
        for freeze in freezes:
            wire = encode_freeze(freeze, freeze.starts_at)
            producer.send(topics.FREEZES.name, key=wire.key, value=wire.value, headers=wire.headers)
        producer.flush()


def _environment(servers: str, folder: Path) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("HALTLINE_")}
    # An installed program finds its bytecode; a checkout may have been told not to write any.
    known.pop("PYTHONDONTWRITEBYTECODE", None)
    state = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return known | state | {"HALTLINE_BOOTSTRAP_SERVERS": servers, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def _server(servers: str, folder: Path, asked: list[dict[str, Any]], rate: int, seconds: int) -> Row:
    """The server on one core, asked at a steady rate whether or not it keeps up."""
    tokens = folder / "tokens"
    tokens.write_text(TOKEN + "\n", encoding="utf-8")
    words = ["serve", "--listen", "127.0.0.1:0", "--policy", str(POLICY), "--token-file", str(tokens)]
    command = [sys.executable, "-m", "haltline", *words]
    way = f"haltline serve, {rate}/s"
    return _asked(
        way,
        command,
        _environment(servers, folder),
        folder,
        "answering from kafka",
        asked,
        rate,
        seconds,
        f"p99 <= {GOAL_P99_MS:g} ms",
    )


def _bare(folder: Path, asked: list[dict[str, Any]], rate: int, seconds: int) -> Row:
    """The same server with a constant for an answer, of the usual size: what HTTP and this machine take."""
    command = [sys.executable, "-m", "bench.bare_gate", "1500"]
    way = f"a constant, {rate}/s"
    return _asked(way, command, {**os.environ, "PYTHONPATH": str(ROOT)}, folder, "answering at", asked, rate, seconds)


def _asked(
    way: str,
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    ready: str,
    asked: list[dict[str, Any]],
    rate: int,
    seconds: int,
    goal: str = "",
) -> Row:
    log, pid_file = folder / f"{way.split()[0]}.log", folder / f"{way.split()[0]}.pid"
    with log.open("wb") as file:
        keeper = subprocess.Popen(leashed(command, str(pid_file)), env=environment, stderr=file, start_new_session=True)
    try:
        url = _wait_for(log, "answering at ").split()[0].rstrip(",")
        _wait_for(log, ready)
        pid = int(pid_file.read_text())
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {max(os.sched_getaffinity(0))})
        waited = _waited_ms(pid)
        times, cpu = asyncio.run(_ask(url, pid, asked, rate, seconds))
        waited = _waited_ms(pid) - waited
        # On a busy machine the latency is mostly the wait for a core, which is nothing of the server's.
        print(f"{way}: worked {cpu:.0f} ms and waited {waited:.0f} ms for a core, in {seconds} s")
    finally:
        keeper.terminate()
        keeper.wait(PATIENCE_S)
    return _row(way, times, cpu / len(times), goal)


def _wait_for(log: Path, text: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in log.read_text(encoding="utf-8").splitlines():
            if text in line:
                return line.partition(text)[2]
        time.sleep(0.05)
    raise BenchError(f"the server did not say {text!r} in {PATIENCE_S:g} s: {log.read_text(encoding='utf-8')[-500:]}")


async def _ask(url: str, pid: int, asked: list[dict[str, Any]], rate: int, seconds: int) -> tuple[list[float], float]:
    """Latencies in ms from the moment each request was due, and CPU ms of the server over all of them."""
    bodies = [msgspec.json.encode(change_to_object(change_from_object(one))) for one in asked]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    times: list[float] = []

    async def one(session: aiohttp.ClientSession, body: bytes, due: float) -> None:
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            if response.status != 200:
                raise BenchError(f"the server answered {response.status}")
        times.append((time.perf_counter() - due) * 1000)

    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:
        for body in bodies[:200]:
            await one(session, body, time.perf_counter())
        times.clear()
        before, began = _cpu_ms(pid), time.perf_counter()
        tasks = []
        for number in range(rate * seconds):
            due = began + number / rate
            delay = due - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.ensure_future(one(session, bodies[number % len(bodies)], due)))
        await asyncio.gather(*tasks)
        return times, _cpu_ms(pid) - before


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _waited_ms(pid: int) -> float:
    """How long the process was ready to run and had no core, all its threads together."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text(encoding="utf-8").split()[1]) for one in threads) / 1e6


def _cold(servers: str, folder: Path, runs: int = 8) -> Row:
    """A process of its own for each answer; the first only leaves bytecode behind."""
    wall, cpu = [], []
    for _ in range(runs + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        words = ["check", "-s", "search", "--origin", "human", "--policy", str(POLICY)]
        done = subprocess.run(
            [sys.executable, "-m", "haltline", *words],
            env=_environment(servers, folder), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 3):
            raise BenchError(f"check ended with {done.returncode}: {done.stderr.strip()}")
        wall.append((time.perf_counter() - began) * 1000)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return _row("haltline check, cold", wall[1:], float(np.median(cpu[1:])), f"p99 <= {GOAL_COLD_MS:g} ms")


def _row(way: str, times: list[float], cpu: float, goal: str) -> Row:
    p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
    return Row(way, len(times), p50, p99, max(times), cpu, goal)

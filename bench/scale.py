"""What a point, and a series, costs a worker that knows a thousand series, and one that knows a million.

For each size a real broker and a real worker. Its CPU time and memory are read while telemetry flows, 500 points a
message and a service: first each series once (the worker has to get to know it), then some looks of it, before anything
is learned of it. Small fleets go on until all rings of samples are full and the learning is paid for, too. Last an
incident must end in its freeze.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from bench import OUT, BenchError
from bench.fleet_feed import POINTS, STEP_MS, sweep
from bench.promises import Promise, all_kept, promise_table
from bench.tables import short, table
from bench.throughput import machine
from stream import topics
from stream.learning import LAG
from stream.local_kafka import LocalKafka
from stream.wire.outgoing import decode_freeze
from tests.stream.incident import BEFORE_S, POLICY, Incident, encoded
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TOPIC = "bench.telemetry"
PARTITIONS = 2
#: Looks by which nothing is learned yet, and those by which a ring is full and chunk after chunk is learned.
UNLEARNED, FULL = LAG - 10, 800
RATIO, MOST_BYTES = 1.5, 2 << 30
PATIENCE_S = 600.0


class Use(msgspec.Struct, frozen=True):
    """What a worker had used at one moment: points read, CPU seconds, bytes of memory, and the clock on the wall."""

    points: float
    cpu: float
    memory: float
    at: float


class Line(msgspec.Struct):
    """One size: microseconds of CPU a point, and bytes."""

    series: int
    looks: int
    first_us: float
    unlearned_us: float
    learned_us: float
    #: Resident bytes of a worker that knows nothing, before anything was learned, and with full rings.
    empty_memory: float
    memory: float
    full_memory: float
    freeze_s: float


def main(argv: list[str]) -> int:
    """Measure each size with a broker and a worker of its own; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="series (default: %(default)s)")
    parser.add_argument("--points", type=int, default=8_000_000, help="at most before learning (default: %(default)s)")
    parser.add_argument(
        "--learned", type=int, default=8_000_000, help="fleets that need no more points than this to fill their rings"
        f" with {FULL} looks go on until then (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a quarter of the points: shorter, and less exact")
    parser.add_argument("--out", type=Path, default=OUT, help="where scale.json and .png go (default: %(default)s)")
    options = parser.parse_args(argv)
    sizes = [int(size) for size in options.sizes.split(",")]
    if wrong := [size for size in sizes if size < POINTS or size % POINTS]:
        raise BenchError(f"{wrong[0]} series: a multiple of {POINTS} is needed")
    share = 4 if options.quick else 1
    lines = []
    for size in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="haltline-scale-") as folder,
            LocalKafka(Path(folder) / "kafka") as kafka,
        ):
            run = _Run(kafka.bootstrap_servers, Path(folder), size)
            lines.append(asyncio.run(run.measure(options.points // share, options.learned // share)))
    promises = _say(lines)
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, object] = {"machine": machine(), "command": " ".join(["python -m bench scale", *argv])}
    figures |= {"lines": lines, "goals": promises}
    (options.out / "scale.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    _plot(options.out / "scale.png", lines)
    return 0 if all_kept(promises) else 1


class _Run:
    """One broker, one worker, one number of series."""

    def __init__(self, bootstrap: str, folder: Path, size: int) -> None:
        self._bootstrap, self._size, self._folder = bootstrap, size, folder
        self._services = size // POINTS
        made = msgspec.structs.replace(topics.TELEMETRY, name=TOPIC, partitions=PARTITIONS)
        topics.create(bootstrap, [*topics.CATALOGUE, made], partitions={topics.BY_SERVICE.name: PARTITIONS})
        self._start = (int(time.time()) // 10) * 10_000 - (FULL + 60) * STEP_MS
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        options = ["--policy", str(policy), "--telemetry-topic", TOPIC]
        self._worker = WorkerProcess(bootstrap, folder / "worker", *options)
        self._sent = 0

    async def measure(self, points: int, learned: int) -> Line:
        looks = min(UNLEARNED, max(4, points // self._size))
        with self._worker:
            begun = await self._used()
            await asyncio.sleep(1.0)
            idle = await self._used()
            resting = (idle.cpu - begun.cpu) / (idle.at - begun.at)
            async with AIOKafkaProducer(
                bootstrap_servers=self._bootstrap, linger_ms=5, max_batch_size=1 << 20, max_request_size=8 << 20
            ) as producer:
                known = await self._flow(producer, range(1))
                looked = await self._flow(producer, range(1, looks))
                last, full_memory, learned_us = looks, float("nan"), float("nan")
                if self._size * FULL <= learned or self._size == SIZES[0]:
                    filled = await self._flow(producer, range(looks, FULL))
                    last, full_memory, learned_us = FULL, filled.memory, _cost(looked, filled, resting)
                freeze_s = await self._incident(producer, last)
        return Line(
            self._size, looks, _cost(idle, known, resting), _cost(known, looked, resting), learned_us,
            begun.memory, looked.memory,            full_memory, freeze_s,
        )  # fmt: skip

    async def _flow(self, producer: AIOKafkaProducer, steps: range) -> Use:
        """Send these steps of every series; what the worker had used when all of it was read."""
        for step in steps:
            for number, (key, value) in enumerate(sweep(self._services, step, self._start)):
                await producer.send(TOPIC, value, key, number % PARTITIONS)
                self._sent += POINTS
        await producer.flush()
        deadline = time.monotonic() + PATIENCE_S
        while (use := await self._used()).points < self._sent:
            if time.monotonic() > deadline:
                raise BenchError(f"{use.points:,.0f} of {self._sent:,} points were read in {PATIENCE_S:.0f} s")
            await asyncio.sleep(0.1)
        return use

    async def _incident(self, producer: AIOKafkaProducer, step: int) -> float:
        """Seconds until the freeze of an incident that comes all at once."""
        incident = Incident("checkout", self._start + step * STEP_MS)
        key = incident.service.encode()
        await producer.send_and_wait(topics.CHANGES.name, encoded(incident.change), key)
        for record in incident.until(BEFORE_S):
            await producer.send(TOPIC, encoded(record), key, 0)
        await producer.flush()
        await asyncio.to_thread(self._worker.ready)
        began = time.perf_counter()
        for record in incident.since(BEFORE_S):
            await producer.send(TOPIC, encoded(record), key, 0)
        await producer.flush()
        return await asyncio.to_thread(self._until_frozen, incident.change["id"], began)

    def _until_frozen(self, change: str, began: float) -> float:
        freezes = Reader(self._bootstrap, topics.FREEZES.name)
        try:
            wait_for(
                "the freeze of the incident",
                lambda: any(decode_freeze(one.value, one.headers).caused_by == change for one in freezes.look()),
            )
        except AssertionError as error:
            raise BenchError(str(error)) from None
        finally:
            freezes.close()
        return time.perf_counter() - began

    async def _used(self) -> Use:
        return await asyncio.to_thread(wait_for, "the worker's metrics", self._look)

    def _look(self) -> Use | None:
        found = {
            name: self._worker.samples(name)
            for name in ("haltline_points_total", "process_cpu_seconds_total", "haltline_lag_records")
        }
        if not found["process_cpu_seconds_total"] or not found["haltline_lag_records"]:
            return None
        points = sum(value for _, value in found["haltline_points_total"])
        status = Path(f"/proc/{self._worker.pid}/status").read_text()
        resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert resident is not None
        cpu = found["process_cpu_seconds_total"][0][1]
        return Use(points, cpu, int(resident[1]) * 1024.0, time.perf_counter())


def _cost(before: Use, after: Use, resting: float) -> float:
    """Microseconds a point, without what the worker uses while nothing comes."""
    cpu = after.cpu - before.cpu - resting * (after.at - before.at)
    return 1e6 * cpu / (after.points - before.points)


_HEADER = ("series", "looks", "new", "known", "learned", "RSS MiB", "bytes each", "RSS, full", "bytes each", "freeze s")


def _row(line: Line, before: Line | None = None) -> list[str]:
    return [
        f"{line.series:,}", str(line.looks), *map(short, (line.first_us, line.unlearned_us, line.learned_us)),
        short(line.memory / 2**20), short((line.memory - line.empty_memory) / line.series),
        short(line.full_memory / 2**20), short(_full_bytes(before, line)) if before is not None else "-",
        short(line.freeze_s),
    ]  # fmt: skip


def _full_bytes(less: Line, more: Line) -> float:
    """Bytes that a series more costs with full rings, between two sizes."""
    return (more.full_memory - less.full_memory) / (more.series - less.series)


def _say(lines: Sequence[Line]) -> list[Promise]:
    rows = [_row(line, before) for before, line in zip([None, *lines], lines, strict=False)]
    title = "us of CPU a point, of series new, known, and with learning paid for; memory after so many looks, and full"
    print(table(title, _HEADER, rows), end="\n\n")
    least, most = lines[0], lines[-1]
    size = f"{most.series:,} series"
    promises = [
        Promise(f"a known point at {size} over {least.series:,}", "<=", RATIO, most.unlearned_us / least.unlearned_us),
        Promise(f"RSS at {size} after {most.looks} looks, GiB", "<=", MOST_BYTES / 2**30, most.memory / 2**30),
    ]
    full = [line for line in lines if line.full_memory == line.full_memory]
    if len(full) > 1:
        a_series = _full_bytes(full[0], full[-1])
        size, ratio = f"{full[-1].series:,} series", full[-1].learned_us / full[0].learned_us
        whole = (full[0].full_memory + a_series * SIZES[-1]) / 2**30
        promises += [
            Promise(f"learning paid for, at {size} over {full[0].series:,}", "<=", RATIO, ratio),
            Promise(f"{SIZES[-1]:,} series with full rings, GiB, of those", "<=", MOST_BYTES / 2**30, whole),
        ]
    print(promise_table(promises), end="\n\n")
    return promises


def _plot(path: Path, lines: Sequence[Line]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes = [line.series for line in lines]
    figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for label, values in (
        ("a series seen for the first time", [line.first_us for line in lines]),
        ("known series", [line.unlearned_us for line in lines]),
        ("learning paid for", [line.learned_us for line in lines]),
    ):
        cost.plot(sizes, values, marker="o", label=label)
    cost.axhline(RATIO * lines[0].unlearned_us, color="black", lw=0.8, ls="--", label="goal for known series")
    cost.set(xscale="log", yscale="log", xlabel="series", ylabel="us of CPU a point", title="A point")
    memory.plot(sizes, [line.memory / 2**20 for line in lines], marker="o", label="some looks")
    memory.plot(sizes, [line.full_memory / 2**20 for line in lines], marker="s", color="tab:red", label="rings full")
    memory.axhline(MOST_BYTES / 2**20, color="black", lw=0.8, ls="--")
    memory.set(
        xscale="log",
        yscale="log",
        xlabel="series",
        ylabel="RSS, MiB",
        title="The whole worker (dashed: the goal at 1 M)",
    )
    for axes in (cost, memory):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

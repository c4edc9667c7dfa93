"""Points a CPU second from Kafka to evidence, beside counting bytes and beside what one would build of the same parts.

For each size of message a real broker and a topic with the same telemetry: a fleet of 32 services with 16,000 series,
three of the services with a young change, and one incident that must end in its freeze. Each reader is a process of its
own, one at a time; what counts is the processor time of that process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from bench import OUT, ROOT, BenchError
from bench.fleet_feed import POINTS, SERVICES, STEP_MS, as_otlp, feed, name, series
from bench.plain_builds import Cost
from bench.profiled_worker import START, STOP, Profile
from bench.promises import Promise, all_kept, promise_table
from bench.tables import short, table
from stream import topics
from stream.errors import Unreadable
from stream.leash import leashed
from stream.local_kafka import LocalKafka
from stream.wire import decode_telemetry
from stream.wire.outgoing import decode_freeze
from tests.stream.incident import POLICY, Incident, encoded
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

SIZES = (50, 500, 8000)
JUDGED = 500
CHANGED = (3, 11, 19)
PARTITIONS = 2
#: OTLP protobuf is told by its content, whatever the topic is called.
TOPIC = "bench.telemetry"
NO_CHANGES = "bench.no-changes"
ROLES = {
    "bytes": "(a) aiokafka, counting bytes",
    "road": "haltline's road, nothing done",
    "haltline": "(b) haltline",
    "calm": "(b) with no change to watch",
    "faust-adwin": "(c) Faust, protobuf, river ADWIN",
    "faust-trees": "(c) the same with HalfSpaceTrees",
    "quix-adwin": "(d) quixstreams, protobuf, ADWIN",
}
OURS = ("haltline", "calm", "road", "bytes")
PACKAGES = ("faust-streaming", "aiokafka", "quixstreams", "protobuf", "opentelemetry-proto", "river", "numpy", "numba")
#: A plain build is given this long: it would take minutes to read everything.
PLAIN_S = 10.0
PATIENCE_S = 90.0


class Line(msgspec.Struct):
    """What one reader did with one size of message; without a cost, `note` says why."""

    role: str
    size: int
    cost: Cost | None = None
    note: str = ""

    @property
    def rate(self) -> float:
        """Points a CPU second."""
        return self.cost.points / self.cost.cpu_s if self.cost and self.cost.cpu_s else float("nan")


def main(argv: list[str]) -> int:
    """Fill a topic for each size, run every reader, print the tables; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench throughput", description=__doc__)
    parser.add_argument("--points", type=int, default=6_400_000, help="of each size (default: %(default)s)")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="points a message (default: %(default)s)")
    parser.add_argument("--roles", default=",".join(ROLES), help="readers (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help=f"run (b) once more at {JUDGED}, sampled")
    parser.add_argument(
        "--out", type=Path, default=OUT, help="where throughput.json and .png go (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    sizes, roles = [int(size) for size in options.sizes.split(",")], options.roles.split(",")
    if unknown := set(roles) - ROLES.keys():
        raise BenchError(f"no reader {', '.join(sorted(unknown))}; there are: {', '.join(ROLES)}")
    native = not reads_otlp()
    lines: list[Line] = []
    profiles: dict[str, Profile] = {}
    for size in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="haltline-throughput-") as folder,
            LocalKafka(Path(folder) / "kafka") as kafka,
        ):
            field = _Field(kafka.bootstrap_servers, Path(folder), size, options.points, native)
            lines += [field.run(role) for role in roles]
            if options.profile and size == JUDGED:
                profiles = {role: field.profile(role) for role in ("haltline", "calm") if role in roles}
        _say([line for line in lines if line.size == size])
    if native:
        print("haltline does not read OTLP protobuf yet: (b) read the same points as native JSON.\n")
    promises = _goals(lines)
    for role, profile in profiles.items():
        _say_profile(ROLES[role], profile)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine(), "native": native, "lines": lines, "profiles": profiles, "goals": promises}
    (options.out / "throughput.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    _plot(options.out / "throughput.png", lines, sizes)
    return 0 if all_kept(promises) else 1


def reads_otlp() -> bool:
    """Whether haltline's decoders take OTLP protobuf."""
    record = next(feed(JUDGED, JUDGED, 1_700_000_000_000))
    try:
        return len(decode_telemetry(TOPIC, record.value, ())) == JUDGED
    except Unreadable:
        return False


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    found = {"cores": str(os.cpu_count()), "machine": platform.machine(), "python": platform.python_version()}
    cpu = Path("/proc/cpuinfo")
    if cpu.exists() and (model := re.search(r"model name\s*: (.*)", cpu.read_text())):
        found["processor"] = model[1]
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class _Field:
    """One broker with the telemetry of one size of message, as OTLP and, where need be, as native JSON."""

    def __init__(self, bootstrap: str, folder: Path, size: int, points: int, native: bool) -> None:
        self.bootstrap, self.folder, self.size = bootstrap, folder, size
        steps = -(-points // series())
        self._start = (int(time.time()) // 10 - 2 * steps) * 10_000
        self.incident = Incident("checkout", self._start + 2 * steps // 3 * STEP_MS)
        self.names = {"otlp": TOPIC, "ours": f"{TOPIC}.native" if native else TOPIC}
        made = [
            msgspec.structs.replace(topics.TELEMETRY, name=one, partitions=PARTITIONS) for one in {*self.names.values()}
        ]
        topics.create(
            bootstrap,
            [*topics.CATALOGUE, *made, msgspec.structs.replace(topics.CHANGES, name=NO_CHANGES)],
            partitions={topics.BY_SERVICE.name: PARTITIONS},
        )
        self.messages, self.points = asyncio.run(self._fill(points, native))
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY)

    async def _fill(self, points: int, native: bool) -> tuple[int, int]:
        """The number of messages and points that haltline has to read."""
        forms = {TOPIC: False} | ({self.names["ours"]: True} if native else {})
        half = self._start + points // series() // 2 * STEP_MS
        async with AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, linger_ms=20, max_batch_size=1 << 20, max_request_size=8 << 20
        ) as producer:
            changes = [
                {"id": f"{name(one)}-2", "service": name(one), "environment": "production", "time": half}
                for one in CHANGED
            ]
            for change in [*changes, self.incident.change]:
                await producer.send(topics.CHANGES.name, encoded(change), key=str(change["id"]).encode())
            messages = told = 0
            for topic, is_native in forms.items():
                waiting = [(record["metrics"][0]["times"][0], record) for record in self.incident.telemetry]
                messages = told = 0
                for record in feed(self.size, points, self._start, native=is_native):
                    while waiting and waiting[0][0] <= record.time:
                        told_of = waiting.pop(0)[1]
                        await producer.send(topic, encoded(told_of) if is_native else as_otlp(told_of), b"checkout", 0)
                        messages, told = messages + 1, told + 2
                    place = record.first * PARTITIONS // SERVICES
                    # A message of several services has no key that is one: haltline passes those on by service first.
                    key = name(record.first).encode() if self.size <= POINTS else None
                    await producer.send(topic, record.value, key, place)
                    messages, told = messages + 1, told + self.size
            await producer.flush()
        return messages, told

    def run(self, role: str) -> Line:
        if role == "haltline":
            return self._haltline()
        if role == "calm":
            options = [*self._options("calm"), "--change-topic", NO_CHANGES]
            with WorkerProcess(self.bootstrap, self.folder / "calm", *options) as worker:
                return Line(role, self.size, self._watch(worker))
        topic = self.names["otlp"] if role != "road" else self.names["ours"]
        seconds = PATIENCE_S if role in ("bytes", "road") else PLAIN_S
        command = [sys.executable, "-m", "bench.plain_builds", role, self.bootstrap, topic]
        command += [str(self.messages if role == "road" else self.points // self.size), str(seconds)]
        with tempfile.TemporaryFile() as said:
            ended = subprocess.run(
                leashed(command, str(self.folder / "reader.pid")),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=said,
                check=False,
            )
            said.seek(0)
            error = said.read().decode(errors="replace").strip()
        found = re.search(rb"^\{.*\}$", ended.stdout, re.MULTILINE)
        if found is None:
            return Line(role, self.size, note=error.rpartition("\n")[2] or f"exit code {ended.returncode}")
        cost = msgspec.json.decode(found[0], type=Cost)
        if not cost.points:
            cost.points = cost.messages * self.size
        return Line(role, self.size, cost)

    def _haltline(self) -> Line:
        with WorkerProcess(self.bootstrap, self.folder / "worker", *self._options("haltline")) as worker:
            cost = self._watch(worker)
            if cost.points + self.points // 10 < self.points:
                return Line("haltline", self.size, cost, f"read {cost.points:,} points in {cost.wall_s:.0f} s")
            freezes = Reader(self.bootstrap, topics.FREEZES.name)
            try:
                wait_for("the freeze of the incident", lambda: _frozen(freezes, self.incident.freeze.id), PATIENCE_S)
            except AssertionError as error:
                return Line("haltline", self.size, note=str(error))
            finally:
                freezes.close()
        return Line("haltline", self.size, cost)

    def profile(self, role: str) -> Profile:
        """Where the time of haltline goes, with changes to watch or without."""
        out = self.folder / f"{role}.json"
        options = ["worker", "-b", self.bootstrap, "--data", str(self.folder / "profiled")]
        options += ["--metrics-address", "127.0.0.1:0", *self._options(f"profiled-{role}")]
        if role == "calm":
            options += ["--change-topic", NO_CHANGES]
        command = [sys.executable, "-m", "bench.profiled_worker", str(out), *options]
        with WorkerProcess(self.bootstrap, self.folder / "profiled", command=command) as worker:
            self._watch(worker, sampled=True)
            wait_for("the profile", out.exists)
        return msgspec.json.decode(out.read_bytes(), type=Profile)

    def _options(self, group: str) -> list[str]:
        return ["--policy", str(self.policy), "--telemetry-topic", self.names["ours"], "--group", group]

    def _watch(self, worker: WorkerProcess, *, sampled: bool = False) -> Cost:
        """From the first points read to the last, as the worker's own metrics tell."""
        points, cpu = wait_for("the first points", lambda: _scrape(worker), PATIENCE_S)
        if sampled:
            os.kill(worker.pid, START)
        begun, first = time.perf_counter(), (points, cpu)
        while points < self.points and time.perf_counter() - begun < PATIENCE_S:
            time.sleep(0.2)
            points, cpu = _scrape(worker) or (points, cpu)
        wall = time.perf_counter() - begun
        if sampled:
            os.kill(worker.pid, STOP)
        read = int(points - first[0])
        return Cost(read // self.size, read, 0, cpu - first[1], wall)


def _frozen(freezes: Reader, identity: str) -> bool:
    return any(decode_freeze(one.value, one.headers).id == identity for one in freezes.look())


def _scrape(worker: WorkerProcess) -> tuple[float, float] | None:
    """Points read and CPU seconds used until now, once there are points."""
    port = worker.port()
    if port is None:
        return None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    points, cpu = (
        float(found[1]) if (found := re.search(rf"^{metric} (\S+)$", text, re.MULTILINE)) else 0.0
        for metric in ("haltline_points_total", "process_cpu_seconds_total")
    )
    return (points, cpu) if points else None


def _say(lines: Sequence[Line]) -> None:
    """The table of one size."""
    bytes_rate = next((line.rate for line in lines if line.role == "bytes"), float("nan"))
    ours = next((line.rate for line in lines if line.role == "haltline"), float("nan"))
    rows = []
    for line in lines:
        if line.cost is None:
            rows.append([ROLES[line.role], line.note])
            continue
        cost = line.cost
        per_message = 1e6 * cost.cpu_s / max(cost.messages, 1)
        rows.append(
            [
                ROLES[line.role], f"{cost.points:,}", short(cost.cpu_s), f"{line.rate:,.0f}", short(per_message),
                f"{line.rate / bytes_rate:.3f}", "" if line.role in OURS else short(ours / line.rate), line.note,
            ]
        )  # fmt: skip
    header = ["reader", "points", "CPU s", "points/CPU s", "us a message", "of (a)", "haltline is times", ""]
    width = max(map(len, rows), default=0)
    print(
        table(f"{lines[0].size} points a message", header[:width], [row + [""] * (width - len(row)) for row in rows]),
        end="\n\n",
        flush=True,
    )


def _goals(lines: Sequence[Line]) -> list[Promise]:
    """The goals beside what was measured."""
    rate = {line.role: line.rate for line in lines if line.size == JUDGED}
    ours = rate.get("haltline", float("nan"))
    promises = [
        Promise("points a CPU second", ">=", 1e6, ours),
        Promise("share of (a)", ">=", 0.3, ours / rate.get("bytes", float("nan"))),
        Promise("times (c)", ">=", 20.0, ours / rate.get("faust-adwin", float("nan"))),
        Promise("times (d)", ">=", 20.0, ours / rate.get("quix-adwin", float("nan"))),
    ]
    print(promise_table(promises, f"Goals, at {JUDGED} points a message"), end="\n\n")
    return promises


def _say_profile(name: str, profile: Profile) -> None:
    total = profile.total or float("nan")
    busy = {name: spent for name, spent in profile.threads.items() if spent > total / 200}
    rows = [[f"thread {name}", "", f"{spent / total:.1%}"] for name, spent in sorted(busy.items())]
    rows.append(["garbage collector (wall)", "", f"{profile.collecting / total:.1%}"])
    shown = sorted(profile.all, key=lambda one: -profile.all[one])[:60]
    rows += [[one, f"{profile.own.get(one, 0.0) / total:.1%}", f"{profile.all[one] / total:.1%}"] for one in shown]
    print(table(f"Where the {total:.1f} CPU seconds of {name} go", ["function", "own", "with what it calls"], rows))


def _plot(path: Path, lines: Sequence[Line], sizes: Sequence[int]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for role, text in ROLES.items():
        found = [(line.size, line.rate) for line in lines if line.role == role and line.cost]
        if found:
            style = {"lw": 2.5, "color": "tab:red"} if role == "haltline" else {"lw": 1.0}
            axes.plot(*zip(*found, strict=True), marker="o", label=text, **style)
    axes.axhline(1e6, color="black", lw=0.8, ls="--")
    axes.set(xscale="log", yscale="log", xlabel="points a message", ylabel="points a CPU second")
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_title("From Kafka to evidence (dashed: the goal at 500 points a message)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

"""A real OpenTelemetry Collector with its Kafka exporter, built once from Go modules into the user's cache.

`python -m tests.stream.collector FOLDER` runs it beside a Kafka of its own and writes what its exporter sent to FOLDER,
one file a message: so were the golden `otlp-collector-*` made. A first build takes minutes and gigabytes of Go caches.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream import topics
from stream.kafka_settings import HOST, free_port
from stream.leash import leashed
from stream.local_kafka import LocalKafka
from tests.stream.reader import Reader
from tests.stream.worker_process import wait_for

#: The newest Kafka exporter whose modules are all to be had.
VERSION = "0.155.0"
TELEMETRYGEN = "v0.161.0"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
_BUILDER = f"""\
dist: {{name: otelcol, output_path: dist, version: {VERSION}}}
exporters: [{{gomod: {_CONTRIB}/exporter/kafkaexporter v{VERSION}}}]
receivers: [{{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{VERSION}}}]
processors: [{{gomod: go.opentelemetry.io/collector/processor/batchprocessor v{VERSION}}}]
"""
_CONFIG = """\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{host}:{port}"}}}}}}}}
processors: {{batch: {{timeout: 100ms}}}}
exporters:
  kafka:
    brokers: ["{bootstrap}"]
    metrics: {{topic: otlp_metrics, encoding: {encoding}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], processors: [batch], exporters: [kafka]}}}}
"""
KINDS = ("Gauge", "Sum", "Histogram", "ExponentialHistogram")


class Built(msgspec.Struct, frozen=True):
    """The programs of a build."""

    collector: Path
    telemetrygen: Path


def build() -> Built:
    """Build what is not in the cache yet; raises CalledProcessError with Go's own words where it cannot."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haltline" / f"otelcol-{VERSION}"
    built = Built(home / "otelcol", home / "bin" / "telemetrygen")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built.collector.exists() and built.telemetrygen.exists():
            return built
        go = {**os.environ, "GOBIN": str(home / "bin"), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}

        def run(*command: str, at: Path = home, check: bool = True) -> None:
            subprocess.run(command, cwd=at, env=go, check=check, stdout=sys.stderr)

        run("go", "install", "-ldflags", "-s -w", f"go.opentelemetry.io/collector/cmd/builder@v{VERSION}")
        run("go", "install", "-ldflags", "-s -w", f"{_CONTRIB}/cmd/telemetrygen@{TELEMETRYGEN}")
        (home / "builder.yaml").write_text(_BUILDER)
        # It writes go.mod, and may then give up: modules that only tests need cannot be had. `-e` goes on without them.
        run(str(home / "bin" / "builder"), "--config", "builder.yaml", "--skip-compilation", check=False)
        dist = home / "dist"
        run("go", "mod", "tidy", "-e", "-compat=1.25", at=dist)
        run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "otelcol.new", ".", at=dist)
        (dist / "otelcol.new").rename(built.collector)
        shutil.rmtree(dist)
    return built


@contextmanager
def collector(built: Built, bootstrap: str, folder: Path, encoding: str = "otlp_proto") -> Iterator[str]:
    """Run the Collector; yields the address of its OTLP receiver."""
    port = free_port()
    config = folder / "collector.yaml"
    config.write_text(_CONFIG.format(host=HOST, port=port, bootstrap=bootstrap, encoding=encoding))
    with (folder / "collector.log").open("ab") as log:
        command = leashed([str(built.collector), "--config", str(config)], str(folder / "collector.pid"))
        keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            ready = b"Everything is ready"
            wait_for("the collector", lambda: keeper.poll() is not None or ready in _said(folder))
            assert keeper.poll() is None, _said(folder)[-2000:].decode(errors="replace")
            yield f"{HOST}:{port}"
        finally:
            keeper.terminate()
            keeper.wait(30)


def generate(built: Built, address: str, kind: str, service: str, count: int = 3) -> None:
    """Have telemetrygen send metrics of a kind about a service."""
    command = [str(built.telemetrygen), "metrics", "--otlp-endpoint", address, "--otlp-insecure", "--rate", "0"]
    command += ["--metrics", str(count), "--metric-type", kind, "--service", service]
    command += ["--otlp-attributes", 'service.instance.id="a"', "--telemetry-attributes", 'http.route="/cart"']
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _said(folder: Path) -> bytes:
    return (folder / "collector.log").read_bytes()


def main(out: Path) -> None:
    """Write what the exporter sends, in both encodings and of each kind, to files."""
    built = build()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, LocalKafka(Path(scratch) / "kafka") as kafka:
        topics.create(kafka.bootstrap_servers)
        reader = Reader(kafka.bootstrap_servers, topics.OTLP_METRICS.name)
        for encoding, suffix in (("otlp_proto", "bin"), ("otlp_json", "json")):
            folder = Path(scratch) / encoding
            folder.mkdir()
            with collector(built, kafka.bootstrap_servers, folder, encoding) as address:
                for kind in KINDS:
                    known = len(reader.look())
                    generate(built, address, kind, "checkout", 1)
                    records = wait_for(f"{kind} as {encoding}", lambda: reader.look()[known:])  # noqa: B023
                    (out / f"otlp-collector-{kind.lower()}.{suffix}").write_bytes(records[0].value)
                    time.sleep(0.2)
        reader.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

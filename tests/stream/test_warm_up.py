"""What is compiled is compiled before the stream begins."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
from pathlib import Path
from numba.core import event
from stream.errors import Unreadable
from stream.histograms import Histograms, asked_of
from stream.series_ids import SeriesIds
from stream.warm_up import warm_up
from stream.wire.telemetry import decode_telemetry
from deploy.policy import Guardrail, Policy

warm_up()
compiled = []

class Listener(event.Listener):
    def on_start(self, told):
        compiled.append(told.data["dispatcher"].py_func.__qualname__)

    def on_end(self, told):
        pass

event.register("numba:compile", Listener())
asked = asked_of([Policy(guardrails=(Guardrail(name="p99", value="gen.p99"),))])
ids = SeriesIds(buckets_of=asked)
histograms = Histograms(ids, asked)
points = 0
for path in sorted(Path("tests/stream/wire/golden").iterdir()):
    try:
        points += len(histograms.derive(decode_telemetry("telemetry", path.read_bytes(), {}, ids)))
    except Unreadable:
        pass
assert points > 50, points
assert not compiled, compiled
"""


def test_after_the_warm_up_no_message_waits_for_a_compiler() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)

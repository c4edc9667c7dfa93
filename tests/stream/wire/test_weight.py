"""What a command that only reads or writes haltline's own records must not wait for."""

from __future__ import annotations

import subprocess
import sys


def test_changes_and_haltlines_own_records_come_without_numpy() -> None:
    code = "import sys, stream.wire.outgoing; from stream.wire import decode_changes; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"

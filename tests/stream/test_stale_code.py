"""Compiled code of other sources is not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import numpy as np
from stream.hash128 import hash_bytes, padded
from stream.stale_code import discard_stale_code
removed = discard_stale_code()
hash_bytes(padded(b"a"), 0, 1, np.ones(4, np.uint64))
print(removed, sum(hash_bytes.stats.cache_hits.values()))
"""


def run(cache: Path) -> tuple[int, int]:
    told = subprocess.run(
        [sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )  # fmt: skip
    removed, hits = map(int, told.stdout.split())
    return removed, hits


def test_it_is_kept_while_the_sources_are_the_same_and_thrown_away_when_they_are_not(tmp_path: Path) -> None:
    assert run(tmp_path) == (0, 0)
    assert run(tmp_path) == (0, 1)
    for stamp in tmp_path.rglob("haltline-sources.txt"):
        stamp.write_text("another")
    removed, hits = run(tmp_path)
    assert removed > 0
    assert hits == 0
    assert run(tmp_path) == (0, 1)

"""Measures haltline on public data: how often it freezes for nothing, what it catches, how soon, at what cost.

`python -m bench` lists the benches, `python -m bench NAME --help` explains one. None of it is shipped.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"


class BenchError(Exception):
    """A bench cannot measure; the text says why and what would help."""


class DataMissingError(BenchError):
    """A public data set is not on this machine."""

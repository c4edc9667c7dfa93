"""Compiled code that is kept on disk is thrown away when what it was compiled from has changed.

Numba looks at the file of a function alone. What that function calls in other files, and the constants it takes from
them, are compiled into it; it would go on running the old ones after an update.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from numba.core.dispatcher import Dispatcher

log = logging.getLogger("haltline.stale_code")

PACKAGES = ("detectors", "stream")
STAMP = "haltline-sources.txt"


def discard_stale_code() -> int:
    """Remove what modules that are imported have on disk from other sources; returns how many functions.

    To be called before any of it runs. A folder that cannot be written is left as it is.
    """
    digest, removed = _digest(), 0
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in PACKAGES]
    for folder in {path for module in modules for path in _folders(module)}:
        stamp = folder / STAMP
        try:
            if not folder.is_dir() or (stamp.is_file() and stamp.read_text("ascii") == digest):
                continue
            for index in folder.glob("*.nbi"):
                index.unlink(missing_ok=True)
                removed += 1
            stamp.write_text(digest, "ascii")
        except OSError as error:
            log.warning("compiled code in %s may be of another version: %s", folder, error)
    return removed


def _folders(module: ModuleType) -> Iterable[Path]:
    """Where the compiled functions of a module are kept."""
    for value in list(vars(module).values()):
        if isinstance(value, Dispatcher) and (path := value.stats.cache_path):
            yield Path(path)


def _digest() -> str:
    """Of every source that speaks of compiled code: what others change costs nobody a compilation."""
    root = Path(__file__).parent.parent
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        text = path.read_bytes()
        if b"numba" in text or b"compiled" in text:
            digest.update(f"{path.relative_to(root)}\0".encode() + text + b"\0")
    return digest.hexdigest()

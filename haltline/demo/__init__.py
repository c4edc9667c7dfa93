"""`haltline demo`: a small living shop on a real Apache Kafka, and a change that does harm to it.

Nothing here is recorded. The shop is a process an instance (`shop`), the customers are a process (`load`), telemetry
goes through Kafka, haltline's own worker judges it, and the deploy script (`deployer`) asks the real `haltline check`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["main"]


def main(*, plain: bool = False, keep: Path | None = None, out: Path = Path("demo-out")) -> int:
    """Run the demo; gives the exit code: 0, or 1 with one line on standard error when something did not come about.

    `plain` prints lines only, also on a terminal; `keep` names a folder for Kafka's data and the logs, which are
    otherwise in a temporary one; the picture goes to `out`.
    """
    # Here, not above: every instance of the shop imports this package, and needs none of it.
    from haltline.demo.run import run

    return run(plain=plain, keep=keep, out=out)

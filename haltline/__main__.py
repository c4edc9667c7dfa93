"""`haltline`, also as `python -m haltline`."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from haltline.cli.root import haltline

        haltline.main(prog_name="haltline")
    except KeyboardInterrupt:  # before click was there to hear it, or after it had ended
        sys.exit(130)


if __name__ == "__main__":
    main()

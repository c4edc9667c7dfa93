"""`python -m bench NAME …` runs one bench; without a name it lists what exists."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from bench import BenchError, DataMissingError


def benches() -> dict[str, str]:
    """Name and first docstring line of every module beside this one that defines `main`."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        has_main = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
        if has_main and not path.stem.startswith("_"):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: list[str]) -> int:
    """Run the bench named first in `argv`; 0 also when its data is absent, 2 for an unknown name, else its own code."""
    known = benches()
    if not argv or argv[0] in {"-h", "--help"}:
        print("usage: python -m bench NAME [options]\n")
        width = max((len(name) for name in known), default=0)
        for name, line in known.items():
            print(f"  {name:<{width}}  {line}")
        return 0
    name, *rest = argv
    if name not in known:
        print(f"no bench named {name!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(f"bench.{name}").main(rest))
    except DataMissingError as error:
        print(f"{name}: nothing measured: {error}")
        return 0
    except BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Before anything runs: what the gate asks of an AI-assisted change, and what it says to a plan that destroys."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec

from deploy.times import format_time
from haltline.demo.display import Display
from haltline.demo.errors import DemoFailed
from haltline.demo.observer import now_ms
from haltline.demo.processes import run

_CHECK_S = 60.0
_MINUTE_MS = 60_000
REVISION = "3484a3fb9d0c"


async def ask_before(display: Display, haltline: tuple[str, ...], env: Mapping[str, str], folder: Path) -> None:
    """Ask four times, each for real.

    Raises:
        DemoFailed: an answer was otherwise than it must be.
    """
    display.act("0. Before anything runs: an AI agent's change of 900 lines to checkout, which is of tier 1")
    now = now_ms()
    fast = {"at": format_time(now - 2 * _MINUTE_MS), "since": format_time(now - 2 * _MINUTE_MS - 9_000)}
    read = {"at": format_time(now - 2 * _MINUTE_MS), "since": format_time(now - 90 * _MINUTE_MS)}
    with as_file(files("haltline.demo")) as room:
        policy, plan = str(room / "gate.yaml"), str(room / "plan.json")
        for title, change, words, code, says in (
            ("no sign-off", _change(), [], 3, "asked grace@shop.example"),
            ("approved in 9 seconds", _change(fast), [], 3, "to read them takes"),
            ("read, then approved", _change(read), [], 0, "up to 10% of instances"),
            ("a small fix, says the agent", _fix(), ["--plan", plan], 3, "would recreate environment"),
        ):
            file = folder / "asking.json"
            file.write_bytes(msgspec.json.encode(change))
            got, said = await run([*haltline, "check", str(file), "--policy", policy, *words], env, _CHECK_S)
            line = said.splitlines()[-1] if said else ""
            if got != code or says not in line:
                raise DemoFailed(f"`haltline check` for {title!r} ended with {got}, must be {code}: {line}")
            display.line("check", f"{title}: {line}", "good" if code == 0 else "bad")


def _change(approval: Mapping[str, str] | None = None) -> dict[str, Any]:
    approvers = [{"who": "grace@shop.example", "revision": REVISION, **approval}] if approval is not None else []
    return {
        "id": "checkout-900",
        "service": "checkout",
        "version": "v2",
        "vcs": {"repository": "shop/checkout", "revision": REVISION, "lines_added": 900},
        "rollout": {"strategy": "canary", "share": 0.1},
        "provenance": {
            "origin": "ai",
            "author": "some-agent[bot]",
            "operator": "linus@shop.example",
            "approvers": approvers,
        },
    }


def _fix() -> dict[str, Any]:
    return {
        "id": "costs-12",
        "service": "costs",
        "kind": "infrastructure",
        "vcs": {"repository": "shop/costs", "revision": REVISION, "lines_added": 2},
        "provenance": {"origin": "ai", "author": "some-agent[bot]", "operator": "linus@shop.example"},
    }

"""The deploy script obeys the exit code of `haltline check`, whatever that says beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from haltline.demo.deployer import Deployer, Deployment, Ended, Gate
from haltline.demo.fleet import Fleet
from stream.wire import decode_changes, encode

NOBODY = "127.0.0.1:9"
WANTED = Deployment(
    id="cart-1", service="cart", version="v2", previous_version="v1", title="t", author="ada@shop.example"
)


def command(folder: Path, *codes: int, held_by: str = "frozen by fz-1") -> tuple[str, ...]:
    """A program in the place of `haltline` that answers with these exit codes, one a call; 3 says by what it holds."""
    script = folder / "check.py"
    script.write_text(
        "import pathlib, sys\n"
        f"codes, calls = {list(codes)}, pathlib.Path({str(folder / 'calls')!r})\n"
        "call = len(calls.read_text().splitlines()) if calls.exists() else 0\n"
        "calls.open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"print('answer', call, *['hold cart in production: {held_by}'] * (codes[call] == 3))\n"
        "sys.exit(codes[call])\n"
    )
    return sys.executable, str(script)


class Shop:
    def __init__(self, folder: Path, *codes: int, held_by: str = "frozen by fz-1") -> None:
        self.folder = folder
        self.fleet = Fleet(folder, NOBODY, lambda _said: None)
        self.sent: list[dict[str, Any]] = []
        self.deployer = Deployer(self.fleet, Gate(command(folder, *codes, held_by=held_by), {}), self.send)

    async def send(self, record: dict[str, Any]) -> None:
        self.sent.append(record)

    async def soak(self) -> None:
        assert sorted(self.versions()) == ["v1", "v2"], "the canary is half of two instances"

    def versions(self) -> list[str]:
        return [member.identity.version for member in self.fleet.of("cart")]

    def phases(self) -> list[str]:
        return [record["phase"] for record in self.sent]


@pytest.mark.parametrize("code", [3, 1])
async def test_it_does_nothing_when_the_gate_holds_or_cannot_tell(tmp_path: Path, code: int) -> None:
    shop = Shop(tmp_path, code)
    try:
        await shop.fleet.open_shop({"cart": 2})
        outcome = await shop.deployer.deploy(WANTED, shop.soak)
        assert outcome.ended is Ended.REFUSED
        assert outcome.answer.code == code
        assert outcome.answer.line.startswith("answer 0")
        assert shop.sent == []
        assert shop.versions() == ["v1", "v1"]
    finally:
        await shop.fleet.close()


async def test_it_waits_and_asks_again_while_a_change_only_looks_ill(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 3, 0, 0, held_by="watch: cart-0 on cart looks ill")
    told: list[tuple[str, int]] = []
    try:
        await shop.fleet.open_shop({"cart": 2})
        outcome = await shop.deployer.deploy(WANTED, shop.soak, lambda step, answer: told.append((step, answer.code)))
        assert outcome.ended is Ended.DONE
        assert told == [("start", 3), ("start", 0), ("progress", 0)]
        assert shop.versions() == ["v2", "v2"]
    finally:
        await shop.fleet.close()


async def test_it_halts_at_the_canary_when_the_gate_closes_meanwhile(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 0, 3)
    try:
        await shop.fleet.open_shop({"cart": 2})
        outcome = await shop.deployer.deploy(WANTED, shop.soak)
        assert outcome.ended is Ended.HALTED
        assert shop.phases() == ["started"]
        assert sorted(shop.versions()) == ["v1", "v2"]
    finally:
        await shop.fleet.close()


async def test_it_rolls_out_while_the_gate_is_open_and_tells_haltline_of_each_phase(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 0, 0)
    try:
        await shop.fleet.open_shop({"cart": 2})
        outcome = await shop.deployer.deploy(WANTED, shop.soak)
        assert outcome.ended is Ended.DONE
        assert shop.phases() == ["started", "progressed", "finished"]
        assert shop.versions() == ["v2", "v2"]
        assert [record["rollout"]["share"] for record in shop.sent] == [0.5, 1.0, 1.0]
        running = [member.identity.instance for member in shop.fleet.of("cart")]
        assert shop.sent[-1]["instances"] == running
        for record in shop.sent:
            (change,) = decode_changes("haltline.changes", encode(record), {})
            assert (change.id, change.service, change.version) == ("cart-1", "cart", "v2")
    finally:
        await shop.fleet.close()


async def test_a_revert_asks_as_a_revert_and_says_so_in_its_record(tmp_path: Path) -> None:
    gate = Gate(command(tmp_path, 0), {})
    revert = Deployment(
        id="cart-2",
        service="cart",
        version="v1",
        previous_version="v2",
        title="t",
        author="ada@shop.example",
        reverts="cart-1",
    )
    answer = await gate.ask(revert)
    assert "--revert-of cart-1" in answer.words
    assert (tmp_path / "calls").read_text().strip() == answer.words
    assert revert.record("started", 1.0, [])["reverts"] == "cart-1"

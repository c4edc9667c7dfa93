"""What happens in the shop, in order: two harmless changes, a harmful one, the freeze, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from deploy.freeze import Freeze
from deploy.verdict import Verdict, VerdictState
from haltline.demo.deployer import HELD, Answer, Deployer, Deployment, Ended, Gate
from haltline.demo.display import Display
from haltline.demo.errors import DemoFailed
from haltline.demo.fleet import Fleet
from haltline.demo.observer import Observer, Seen, now_ms, until

HARMLESS = (
    Deployment(
        id="cart-481",
        service="cart",
        version="v2",
        previous_version="v1",
        title="round the subtotal once",
        author="ada@shop.example",
    ),
    Deployment(
        id="payment-112",
        service="payment",
        version="v2",
        previous_version="v1",
        title="reuse the connection to the bank",
        author="grace@shop.example",
        origin="ai",
        tool="some-agent",
    ),
)
HARMFUL = Deployment(
    id="pricing-733",
    service="pricing",
    version="v2",
    previous_version="v1",
    title="price each article with its discount",
    author="linus@shop.example",
    origin="ai",
    tool="some-agent",
    canary=0.25,
)
REVERT = Deployment(
    id="pricing-734",
    service="pricing",
    version="v1",
    previous_version="v2",
    title="revert pricing-733",
    author="ada@shop.example",
    canary=1.0,
    reverts=HARMFUL.id,
)
NEXT = Deployment(
    id="pricing-735",
    service="pricing",
    version="v3",
    previous_version="v1",
    title="show prices with tax",
    author="grace@shop.example",
)
ELSEWHERE = Deployment(
    id="cart-482",
    service="cart",
    version="v3",
    previous_version="v2",
    title="keep the basket for a week",
    author="ada@shop.example",
)

WARM_UP_S = 5.0
SOAK_S = 3.0
VERDICT_S = 30.0
FREEZE_S = 30.0
HEALTHY_S = 20.0
HEALTHY_RATIO = 0.03
_PAUSE_S = 0.2
_GIST = 150


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The moments of the incident, in Unix milliseconds, and the records that made them."""

    opened: int
    harm: int
    verdict: Seen[Verdict]
    freeze: Seen[Freeze]
    refused: Answer
    healthy: int
    unfrozen: int


class Story:
    """Tells it once; every step is done for real and checked, so that the end is reached only if all of it happened."""

    def __init__(
        self,
        fleet: Fleet,
        gate: Gate,
        observer: Observer,
        display: Display,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        unfreeze: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._gate = gate
        self._observer = observer
        self._display = display
        self._send = send
        self._unfreeze = unfreeze
        self._deployer = Deployer(fleet, gate, send)

    async def tell(self) -> Told:
        """The whole story.

        Raises:
            DemoFailed: something that should have happened did not, or the other way round.
        """
        opened = now_ms()
        self._display.act("Customers come")
        await asyncio.sleep(WARM_UP_S)
        ratio = self._observer.error_ratio("checkout", opened)
        if ratio is None:
            raise DemoFailed("no telemetry of checkout came through kafka")
        self._display.line("shop", f"{ratio:.1%} of checkouts fail, as in any shop")
        for number, harmless in enumerate(HARMLESS, start=1):
            who = "a person" if harmless.origin == "human" else "a person with an AI agent"
            self._display.act(f"{number}. {_title(harmless.service)} {harmless.version}, by {who}: harmless")
            await self._roll_out(harmless)
        await self._let_watches_end()
        self._display.act("3. Pricing v2, by a person with an AI agent: on one instance in four the prices go wrong")
        refused = await self._roll_out_harm()
        harm = self._observer.harm
        assert harm is not None  # `_roll_out_harm` waits for it
        verdict = await until(lambda: self._observer.harmful(HARMFUL.id), 5.0, "no verdict on haltline.verdicts")
        freeze = await until(lambda: self._observer.freeze_of(HARMFUL.id), 5.0, "no freeze on haltline.freezes")
        self._display.act("4. Pricing is frozen; the way back and everybody else are not")
        healthy = await self._revert()
        await self._ask_around()
        await self._until_healthy(healthy)
        self._display.act("5. A person ends the freeze")
        await self._unfreeze(freeze.what.id, f"{HARMFUL.id} is reverted, prices are right again")
        unfrozen = now_ms()
        await self._until_free()
        return Told(
            opened=opened,
            harm=harm.at,
            verdict=verdict,
            freeze=freeze,
            refused=refused,
            healthy=healthy,
            unfrozen=unfrozen,
        )

    async def report_news(self) -> None:
        """Say each verdict and freeze when it comes, until cancelled."""
        while True:
            record = (await self._observer.news.get()).what
            if isinstance(record, Freeze):
                if record.ended_by:
                    self._display.line("unfrozen", f"{record.id} by {record.ended_by}", "good")
                else:
                    self._display.line(
                        "FREEZE", f"{record.id} {{{', '.join(record.matchers)}}} {record.reason}", "frozen"
                    )
            elif record.state is VerdictState.HARMFUL and record.ended:
                continue  # the end of a watch that has already spoken
            elif record.state is VerdictState.HARMFUL:
                self._display.line("VERDICT", f"{record.change} is harmful: {record.reason}", "bad")
            elif record.state is not VerdictState.WARMING:
                self._display.line("verdict", f"{record.change} is {record.state}: {_gist(record.reason)}", "good")

    async def _roll_out(self, wanted: Deployment, soak_s: float = SOAK_S) -> None:
        async def soak() -> None:
            self._say_canary(wanted)
            await asyncio.sleep(soak_s)

        outcome = await self._deployer.deploy(wanted, soak, self._say)
        if outcome.ended is not Ended.DONE:
            raise DemoFailed(f"{wanted.id} is harmless and was not let through: {outcome.answer.line}")
        self._display.line("deploy", f"{wanted.service} runs {wanted.version}")

    async def _let_watches_end(self) -> None:
        """Wait for the verdicts on the harmless changes."""
        for harmless in HARMLESS:

            def judged(change: str = harmless.id) -> Verdict | None:
                verdict = self._observer.verdict(change)
                return verdict if verdict is not None and verdict.state is not VerdictState.WARMING else None

            verdict = await until(judged, VERDICT_S, f"no verdict on {harmless.id}")
            if verdict.state is VerdictState.HARMFUL:
                raise DemoFailed(f"{harmless.id} is harmless and was judged harmful: {verdict.reason}")

    async def _roll_out_harm(self) -> Answer:
        """Deploy the bad change; gives the answer that stopped it."""

        async def soak() -> Answer | None:
            self._say_canary(HARMFUL)
            harm = await until(lambda: self._observer.harm, FREEZE_S, "the broken version answered nothing wrong")
            self._display.line("HARM", f"{harm.instance} gave its first wrong price: {harm.text}", "bad")
            # The script asks again and again, as a pipeline does that waits beside its canary.
            waits = False
            while now_ms() < harm.at + FREEZE_S * 1_000:
                answer = await self._gate.ask(HARMFUL)
                if answer.waits and not waits:
                    waits = True
                    self._display.line(f"  exit {answer.code}", answer.line, "frozen")
                if not (answer.may_go or answer.waits):
                    return answer
                await asyncio.sleep(_PAUSE_S)
            raise DemoFailed(f"`haltline check` still let {HARMFUL.id} go {FREEZE_S:.0f} s after its harm began")

        outcome = await self._deployer.deploy(HARMFUL, soak, self._say)
        if outcome.ended is not Ended.HALTED or outcome.answer.code != HELD:
            raise DemoFailed(f"{HARMFUL.id} was not halted as frozen: {outcome.ended}, {_exit(outcome.answer)}")
        return outcome.answer

    async def _revert(self) -> int:
        """Bring the last good version back through the freeze; gives when the last broken instance was gone."""

        async def soak() -> None:
            return None

        outcome = await self._deployer.deploy(REVERT, soak, self._say)
        if outcome.ended is not Ended.DONE:
            raise DemoFailed(f"the revert was not let through: {_exit(outcome.answer)}")
        healthy = now_ms()
        await self._send(HARMFUL.record("rolled_back", 0.0, []))
        self._display.line("deploy", "pricing runs v1 again, on all instances", "good")
        return healthy

    async def _ask_around(self) -> None:
        """What else people want while the freeze holds: the same service may not, another one may."""
        outcome = await self._deployer.deploy(NEXT, _at_once, self._say)
        if outcome.ended is not Ended.REFUSED or outcome.answer.code != HELD:
            raise DemoFailed(f"{NEXT.id} was not refused while pricing is frozen: {_exit(outcome.answer)}")
        await self._roll_out(ELSEWHERE, soak_s=1.0)

    async def _until_healthy(self, since: int) -> None:
        def healthy() -> float | None:
            moments = {sample.at // 1_000 for sample in self._observer.samples if sample.at > since}
            ratio = self._observer.error_ratio("checkout", since)
            return 1.0 + ratio if len(moments) > 2 and ratio is not None and ratio < HEALTHY_RATIO else None

        ratio = await until(healthy, HEALTHY_S, "checkouts did not get well again") - 1.0
        self._display.line("shop", f"prices are right again: {ratio:.1%} of checkouts fail", "good")

    async def _until_free(self) -> None:
        answer = await self._gate.ask(NEXT)
        for _ in range(20):
            while answer.waits:
                # The revert may look odd too, for the seconds that it takes.
                await asyncio.sleep(_PAUSE_S)
                answer = await self._gate.ask(NEXT)
            if answer.may_go:
                break
            await asyncio.sleep(_PAUSE_S)
            answer = await self._gate.ask(NEXT)
        self._say("start", answer)
        if not answer.may_go:
            raise DemoFailed(f"{NEXT.id} is still held after `haltline unfreeze`: {_exit(answer)}")

    def _say(self, step: str, answer: Answer) -> None:
        going_on = "   (before the other instances)" if step == "progress" else ""
        self._display.line("check", f"haltline {answer.words}{going_on}")
        self._display.line(f"  exit {answer.code}", answer.line, "good" if answer.may_go else "frozen")

    def _say_canary(self, wanted: Deployment) -> None:
        members = self._fleet.of(wanted.service)
        new = [member.identity.instance for member in members if member.identity.version == wanted.version]
        self._display.line("deploy", f"{wanted.id} “{wanted.title}”: {', '.join(new)}, {len(new)} of {len(members)}")


async def _at_once() -> None:
    return None


def _exit(answer: Answer) -> str:
    return f"exit {answer.code}, {answer.line}"


def _title(service: str) -> str:
    return service[0].upper() + service[1:]


def _gist(reason: str) -> str:
    return reason if len(reason) <= _GIST else reason[: _GIST - 1] + "…"

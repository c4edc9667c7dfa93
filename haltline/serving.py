"""What the server answers from: one memory that a thread feeds from Kafka and only the event loop touches."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from deploy.errors import InvalidPolicy
from deploy.freeze import Freeze, state_of
from deploy.freeze import State as FreezeState
from deploy.gate import Answer, GateState, Request, Rules, decide_by
from deploy.policy import Policy
from deploy.question import Question
from deploy.verdict import Verdict
from haltline import gate, rules
from haltline.broker import producer, reach, send
from haltline.cli.options import now_ms
from haltline.errors import HaltlineError
from haltline.gate import AWAY, BACK_MS, Memory
from haltline.last_known import keep
from haltline.settings import Settings
from haltline.state import Record
from haltline.view import LEDGER, POLICIES, View

Say = Callable[[str], None]

#: Kafka that has not been heard of for so long is away, seconds.
STALE_S = 5.0
_LOOK_S = 0.2
#: What is forgotten, and what is kept beside the server, is looked after this often, seconds.
_TIDY_S = 30.0
_AGAIN_S = 2.0
#: What comes within so long is taken in, or written, together, seconds.
_GATHER_S = 0.05
#: Answers written together.
_MOST_AT_ONCE = 500
#: Answers that are known to the ledger already; more than a day's.
_MOST_ANSWERS = 100_000


class Served:
    """Answers checks. All of it runs in the event loop but `_feed` and `_write`, which are threads of their own."""

    def __init__(self, settings: Settings, say: Say) -> None:
        """By the policy file of the settings, else by the policy on its topic, until then by the one last kept.

        Raises:
            InvalidPolicy: the policy file is none.
        """
        self.settings, self._say = settings, say
        named = rules.named(settings, say)
        #: Whether policies come by their topic; how many of them were looked at.
        self._by_topic, self._looked = named is None, 0
        self.rules = Rules(named.policy if named is not None else gate.kept_policy(settings))
        self._memory: Memory | None = None
        self._view: View | None = None
        self._live: list[Freeze] = []
        self._held: list[Verdict] = []
        self._heard_at = float("-inf")
        self._away = "not reached yet"
        self._known: set[str] = set()
        self._ledger: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    # -- asked in the loop ----------------------------------------------------------------------------------------

    @property
    def fresh(self) -> bool:
        return self._memory is not None and time.monotonic() - self._heard_at < STALE_S

    @property
    def why_not(self) -> str:
        return "" if self.fresh else self._away or "kafka has not been heard of for seconds"

    def answer(self, request: Request) -> Answer:
        """What the gate says now.

        Raises:
            HaltlineError: Kafka is away, and the policy does not say what then.
        """
        now = now_ms()
        memory = self._memory
        if memory is None or not self.fresh:
            away = gate.without(self.settings, self.rules.policy, request.change.service, self.why_not, now)
            return decide_by(self.rules, request, away, now)
        joined = None if self._view is None else self._view.state.chain.enrich
        state = GateState(traffic=memory.traffic, freezes=self._live, verdicts=self._held, joined=joined)
        answer = decide_by(self.rules, request, state, now)
        if answer.question is not None:
            # Known at once: the next who asks must not ask somebody else.
            memory.traffic.question(answer.question)
        if answer.id not in self._known:
            if len(self._known) >= _MOST_ANSWERS:
                self._known.clear()
            self._known.add(answer.id)
            self._ledger.put(answer)
        return answer

    # -- fed by the thread ----------------------------------------------------------------------------------------

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for target in (self._feed, self._write):
            thread = threading.Thread(target=target, args=(loop,), daemon=True, name=target.__name__)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End both threads; what was answered is written first."""
        self._stop.set()
        self._ledger.put(None)
        for thread in self._threads:
            thread.join(timeout=10)

    def _feed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read Kafka for ever; whatever ends that is told, and tried again."""
        while not self._stop.is_set():
            try:
                self._read(loop)
            except AWAY as error:
                self._tell(loop, self._lost, str(error))
            except HaltlineError as error:
                self._tell(loop, self._lost, str(error))
            except Exception as error:  # a defect must not leave the gate answering from a memory that nothing feeds
                self._tell(loop, self._lost, f"reading failed: {type(error).__name__}: {error}")
            self._stop.wait(_AGAIN_S)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        policy = None if self._by_topic else self.rules.policy
        with gate.watching(self.settings, now_ms(), self._say, policy=policy, whole=True) as (memory, seen):
            self._tell(loop, self._found, memory, seen)
            reached = 0.0
            while not self._stop.is_set():
                records = seen.records(_LOOK_S)
                now = time.monotonic()
                if records:
                    self._tell(loop, self._fold, seen, records)
                    # Each time that this thread wakes a request may wait for it: so few times, with more each.
                    self._stop.wait(_GATHER_S)
                if now - reached >= 1.0:
                    # The client hides that its broker is gone, and waits; so it is asked for by itself.
                    reach(self.settings, now + STALE_S)
                    reached = time.monotonic()
                    self._tell(loop, self._heard)

    def _tell(self, loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(what, *arguments)

    def _write(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Write answers to the ledger as they come, many at once over one connection, until told to end.

        What cannot be written waits, and is told; at the end it is dropped.
        """
        from stream.wire.outgoing import encode_answer

        answers: list[Answer] = []
        while self._more(answers):
            try:
                with producer(self.settings) as client:
                    while True:
                        send(client, LEDGER, map(encode_answer, answers))
                        answers.clear()
                        if not self._more(answers):
                            return
            except HaltlineError as error:
                self._say(f"{len(answers)} answers are not in the ledger yet: {error}")
                if self._stop.wait(_AGAIN_S):
                    return
            except Exception as error:  # a defect must cost these answers, not all that come
                self._say(f"{len(answers)} answers lost to the ledger: {type(error).__name__}: {error}")
                answers.clear()

    def _more(self, answers: list[Answer]) -> bool:
        """Wait for answers to write, unless some are left; False once there will be none."""
        if not answers:
            answer = self._ledger.get()
            if answer is None:
                return False
            answers.append(answer)
            self._stop.wait(_GATHER_S)
        with suppress(queue.Empty):
            while len(answers) < _MOST_AT_ONCE:
                answer = self._ledger.get_nowait()
                if answer is None:
                    # Once more for the loop, when these are written.
                    self._ledger.put(None)
                    break
                answers.append(answer)
        return True

    # -- in the loop again ----------------------------------------------------------------------------------------

    def _found(self, memory: Memory, seen: View) -> None:
        if self._by_topic:
            self.rules, self._looked = Rules(memory.policy), len(seen.state.policies)
        elif memory.policy is not self.rules.policy:
            memory = memory.under(self.rules.policy, seen)
        self._memory, self._view = memory, seen
        self._away = ""
        self._heard()
        self._sift()
        # What is there now stays: the collector need not go through it again and again while somebody waits.
        gc.collect()
        gc.freeze()
        self._say(f"answering from kafka at {self.settings.bootstrap_servers}: {len(self._live)} freezes")
        if self._by_topic:
            self._say(f"policy {self.rules.id} from {POLICIES}")

    def _heard(self) -> None:
        self._heard_at = time.monotonic()

    def _lost(self, why: str) -> None:
        if why != self._away:
            self._say(f"{why}; answering as the policy says for that")
        self._away = why
        self._heard_at = float("-inf")

    def _fold(self, seen: View, records: Iterable[Record]) -> None:
        memory = self._memory
        if memory is None or seen is not self._view:
            return
        for one in seen.fold(records):
            if isinstance(one, Verdict):
                memory.traffic.verdict(one)
            elif isinstance(one, Question):
                memory.traffic.question(one)
        memory.note_approvals(seen)
        seen.say_skipped()
        if self._by_topic and len(seen.state.policies) > self._looked:
            self._looked = len(seen.state.policies)
            told = rules.told(seen.state, self._say)
            if told.id != self.rules.id:
                self._take(told.policy)
                by = told.record.by if told.record is not None else ""
                self._say(f"policy {self.rules.id} from {POLICIES}{f', by {by}' if by else ''}")
        self._sift()

    def _sift(self) -> None:
        """Keep at hand what may still hold something: a request must not go through all that ever did."""
        if self._view is None:
            return
        now, state = now_ms(), self._view.state
        self._live = [one for one in state.freezes if state_of(one, now) is not FreezeState.EXPIRED]
        self._held = [one for one in state.verdicts.values() if one.held_at(now)]

    async def tidy(self) -> None:
        """Forget what is over and keep the last known state, every now and then, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_S)
            if self._memory is None or not self.fresh:
                continue
            self._sift()
            now = now_ms()
            self._memory.traffic.forget(now)
            told = self._view.state.policies.latest() if self._by_topic and self._view is not None else None
            chain = None if self._view is None else self._view.state.chain
            known = self._memory.known(self._live, self._held, now, told, asked_since=now - BACK_MS, chain=chain)
            try:
                await asyncio.to_thread(keep, self.settings, known)
            except HaltlineError as error:
                self._say(str(error))

    async def follow_policy(self, path: Path, every: float = 1.0) -> None:
        """Take the policy file again when it changes; a bad one never replaces a good one."""
        taken = before = _stamp(path)
        while True:
            await asyncio.sleep(every)
            now = _stamp(path)
            # One that is still being written is left alone until it is as it was a moment ago.
            if now is not None and now != taken and now == before:
                taken = now
                self.take_policy(path)
            before = now

    def take_policy(self, path: Path) -> None:
        from deploy.policy import load_policy

        try:
            policy, warnings = load_policy(path)
        except InvalidPolicy as error:
            self._say(f"{error}; policy {self.rules.id} stays")
            return
        for line in warnings:
            self._say(line)
        self._take(policy)
        self._say(f"policy {self.rules.id} from {path}")

    def _take(self, policy: Policy) -> None:
        self.rules = Rules(policy)
        if self._memory is not None and self._view is not None:
            self._memory = self._memory.under(policy, self._view)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

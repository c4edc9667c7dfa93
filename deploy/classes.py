"""Classes of changes by their provenance: is the harm rate of one above that of the rest?

A change belongs to one class for each label that it carries (`origin=ai`, `tool=some-agent`, `team=payments` …) and for
each product of labels that the policy names (`origin=ai,tier=1`). When its own verdict ends, harmful or healthy, it
counts, once, for its classes and as one of the rest for all others; what ended inconclusive counts for nobody. Nothing
but outcomes moves a class: a label alone is never evidence.

The test is `detectors.two_by_two`. A class is accused when its wealth reaches 1, and the stakes of all classes
together are at most `classes.error_rate` a day, so that bounds the false accusations a day over all classes, however
many there are: a Bonferroni whose shares are paid out over time. Each kind of class gets an equal part; the time
between two starts pays three quarters to the classes of the change that starts, and one quarter into a reserve, which
is full at first and of which a class that is new takes half. After each harmful change a class stakes half of what it
has. That depends on when changes start and on its own outcomes alone, as the test demands.

Deterministic: a fold over changes as they start and verdicts as they end, which any reader of the topics can repeat
(`classes_of`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import product
from math import inf, log

import msgspec

from deploy.change import Change, labels_of
from deploy.policy import Policy
from deploy.times import HOUR_MS
from deploy.verdict import Verdict, VerdictState
from detectors.two_by_two import (
    Rate,
    TwoByTwo,
    Unused,
    answered,
    difference_interval,
    next_block,
    oldest,
    rate_interval,
    staked,
)

#: Outcomes that a class, and the rest, must have before anything is said of the class.
LEAST, LEAST_REST = 5, 30
#: The e-value, as a log, from which on a class is suspect.
_SUSPECT = log(20.0)
_DAY_MS = 24 * HOUR_MS
#: What new classes get of the time between two starts.
_RESERVED = 0.25
#: Harmful changes that a class remembers by name.
_REMEMBERED = 20
Interval = tuple[float, float]


class Standing(StrEnum):
    """`suspect` while there is evidence of more harm than the rest does, `accused` from the bar until it fades."""

    TOO_FEW = "too_few"
    CALM = "calm"
    SUSPECT = "suspect"
    ACCUSED = "accused"


class State(msgspec.Struct, frozen=True):
    """What a class brings along: counts, what it may stake, the test, and which outcomes it compared itself with."""

    changes: int = 0
    harmful: int = 0
    purse: float = 0.0
    test: TwoByTwo = TwoByTwo()
    unused: Unused = Unused()
    accused_at: int | None = None
    harms: tuple[str, ...] = ()


class ClassView(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one class. Rates with 95 % intervals that hold at every look; times are Unix milliseconds.

    `log_e` is the evidence since something was first asked of it, `needs` what accuses it; `harms` its latest harmful
    changes, oldest first.
    """

    name: str
    standing: Standing
    changes: int
    harmful: int
    rest: int
    rest_harmful: int
    rate: Interval
    rest_rate: Interval
    difference: Interval
    log_e: float
    needs: float | None
    accused_at: int | None
    harms: tuple[str, ...]

    @property
    def reason(self) -> str:
        counts = f"{self.harmful} of {self.changes} harmful against {self.rest_harmful} of {self.rest}"
        if self.standing is Standing.TOO_FEW:
            return f"too little data: {counts}, needs {LEAST} and {LEAST_REST}"
        if self.needs is None:
            return f"{counts}, nothing to ask"
        sign = ">=" if self.standing is Standing.ACCUSED else "of"
        return f"{counts}, log_e {self.log_e:.1f} {sign} {self.needs:.1f}"


def keys_of(change: Change, policy: Policy) -> tuple[tuple[str, ...], ...]:
    """The classes of a change, by dimension of the policy; several where a label has several values.

    >>> from deploy.change import Provenance, Origin
    >>> change = Change(id="c", service="cart", time=0, provenance=Provenance(origin=Origin.AI, tools=("a", "b")))
    >>> keys_of(change, Policy())[:3]
    (('origin=ai',), ('tool=a', 'tool=b'), ())
    """
    labels = labels_of(change, policy.tier_of(change.service))
    return tuple(
        tuple(
            ",".join(f"{label}={value}" for label, value in zip(names, values, strict=True))
            for values in product(*(sorted(set(labels.get(name, ()))) for name in names))
        )
        for names in policy.classes.dimensions
    )


class _Budget(msgspec.Struct):
    """What one dimension has not paid out yet, and when it paid last (Unix ms)."""

    reserve: float
    paid_at: int | None = None


class _Outcome(msgspec.Struct, frozen=True):
    keys: frozenset[str]
    harmful: bool


class Classes:
    """Every class that a change has named so far."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._share = policy.classes.error_rate / max(1, len(policy.classes.dimensions))
        self._budgets = [_Budget(self._share) for _ in policy.classes.dimensions]
        self._states: dict[str, State] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._counted: set[str] = set()
        self._stock: deque[_Outcome] = deque()
        self._known = 0
        self._harmful = 0
        self._rate = Rate()

    def started(self, change: Change) -> None:
        """A change is watched from now on; one in an environment that is not guarded takes no part."""
        if change.id in self._keys or not self.policy.guarded(change.environment):
            return
        by_dimension = keys_of(change, self.policy)
        self._keys[change.id] = tuple(key for keys in by_dimension for key in keys)
        for budget, keys in zip(self._budgets, by_dimension, strict=True):
            if keys:
                self._pay(budget, keys, change.time)

    def _pay(self, budget: _Budget, keys: tuple[str, ...], now: int) -> None:
        """Pay a dimension's time since its last change to the classes of this one; no purse holds more than a day."""
        waited = min(max(0, now - budget.paid_at), _DAY_MS) / _DAY_MS if budget.paid_at is not None else 0.0
        budget.paid_at = now if budget.paid_at is None else max(now, budget.paid_at)
        budget.reserve = min(self._share, budget.reserve + _RESERVED * waited * self._share)
        each = (1.0 - _RESERVED) * waited * self._share / len(keys)
        for key in keys:
            state = self._states.get(key)
            if state is None:
                state = State(purse=budget.reserve / 2.0)
                budget.reserve /= 2.0
            self._states[key] = msgspec.structs.replace(state, purse=min(self._share, state.purse + each))

    def ended(self, change: str, time: int, *, harmful: bool) -> tuple[str, ...]:
        """The verdict of a change is known: returns the classes that this accuses. Told again it changes nothing."""
        keys = self._keys.get(change)
        if keys is None or change in self._counted:
            return ()
        self._counted.add(change)
        accused = tuple(key for key in keys if self._count(key, change, time, harmful))
        self._stock.append(_Outcome(frozenset(keys), harmful))
        self._known += 1
        self._harmful += harmful
        while len(self._stock) > self._known - oldest(self._known):
            self._rate = self._rate.after(self._stock.popleft().harmful)
        return accused

    def _count(self, key: str, change: str, time: int, harmful: bool) -> bool:
        """Count an outcome for one class; whether that accuses it."""
        state = self._states[key]
        test, unused, purse = state.test, state.unused, state.purse
        if test.asked:
            first = self._known - len(self._stock)
            block, unused = next_block(
                unused,
                self._known,
                lambda number: key not in self._stock[number - first].keys,
                lambda number: self._stock[number - first].harmful,
            )
            test = answered(test, harmful, block, self._rate.value)
        if harmful:
            test, purse = staked(test, purse / 2.0), purse / 2.0
        after = State(
            changes=state.changes + 1,
            harmful=state.harmful + harmful,
            purse=purse,
            test=test,
            unused=unused,
            accused_at=state.accused_at if test.asked else None,
            harms=(*state.harms, change)[-_REMEMBERED:] if harmful else state.harms,
        )
        due = test.crossed and after.accused_at is None and not self._too_few(after)
        self._states[key] = msgspec.structs.replace(after, accused_at=time) if due else after
        return due

    def _too_few(self, state: State) -> bool:
        return state.changes < LEAST or self._known - state.changes < LEAST_REST

    def views(self) -> list[ClassView]:
        """What is said of each class, by name."""
        return [self.view(name) for name in sorted(self._states)]

    def view(self, name: str) -> ClassView:
        state = self._states[name]
        rest, rest_harmful = self._known - state.changes, self._harmful - state.harmful
        if state.accused_at is not None:
            standing = Standing.ACCUSED
        elif self._too_few(state):
            standing = Standing.TOO_FEW
        else:
            standing = Standing.SUSPECT if state.test.log_e >= _SUSPECT else Standing.CALM
        bar = state.test.log_bar
        return ClassView(
            name=name,
            standing=standing,
            changes=state.changes,
            harmful=state.harmful,
            rest=rest,
            rest_harmful=rest_harmful,
            rate=rate_interval(state.harmful, state.changes),
            rest_rate=rate_interval(rest_harmful, rest),
            difference=difference_interval(state.harmful, state.changes, rest_harmful, rest),
            log_e=state.test.log_e,
            needs=None if bar == inf else bar,
            accused_at=state.accused_at,
            harms=state.harms,
        )

    def members(self, name: str) -> list[str]:
        """The changes that were watched and are of this class, in the order in which they started."""
        return [change for change, keys in self._keys.items() if name in keys]


def counts(state: VerdictState, ended: bool) -> bool:
    """Whether a verdict is an outcome: harm at once, health when the watch ends, anything else never."""
    return state is VerdictState.HARMFUL or (ended and state is VerdictState.HEALTHY)


def classes_of(policy: Policy, starts: Iterable[Change], verdicts: Mapping[str, Verdict]) -> Classes:
    """Every class, told again from the changes, as they first were, and the last verdict of each."""
    classes = Classes(policy)
    events: list[tuple[int, int, str, Change | Verdict]] = [(one.time, 0, one.id, one) for one in starts]
    events += [(one.reached, 1, one.change, one) for one in verdicts.values() if counts(one.state, one.ended)]
    for time, _, identity, what in sorted(events, key=lambda event: event[:3]):
        if isinstance(what, Change):
            classes.started(what)
        else:
            classes.ended(identity, time, harmful=what.state is VerdictState.HARMFUL)
    return classes

"""What a backtest found: plain records, the same for the terminal, the JSON and the page. Times are Unix ms."""

from __future__ import annotations

import msgspec

from stream.backtest.curve import Curve
from stream.backtest.proportion import Rate


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded, and by which policy it was judged."""

    starts_at: int | None
    ends_at: int | None
    services: int
    series: int
    samples: int
    changes: int
    error_rate: float
    guardrails: tuple[str, ...]


class AtRate(msgspec.Struct, frozen=True):
    """The share of placebo changes that are frozen at one error rate."""

    error_rate: float
    rate: Rate


class FalseFreeze(msgspec.Struct, frozen=True):
    """A placebo change that would have been frozen."""

    service: str
    time: int
    metric: str
    reason: str


class Placebo(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that never were: `moments` is how many quiet ones there are, `changes` how many were judged.

    `unjudged` had nothing that could speak; `without` says of each service without a quiet moment why.
    """

    moments: int
    changes: int
    unjudged: int
    canaries: int
    rates: tuple[AtRate, ...]
    frozen: tuple[FalseFreeze, ...]
    without: dict[str, str]

    def at(self, error_rate: float) -> Rate:
        return next(one.rate for one in self.rates if one.error_rate == error_rate)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One incident and what haltline made of it.

    `caught_at` is when a change of it was found harmful. `alone` are the metrics that would have passed the error rate
    by themselves, and when, the first of them first; `lengths` says for watches of so many ms when it was caught.
    """

    name: str
    why: str
    service: str
    changes: tuple[str, ...]
    change: str
    began_at: int
    harm_at: int | None
    noticed_at: int | None
    caught_at: int | None
    metric: str
    control: str
    reason: str
    alone: dict[str, int]
    lengths: dict[int, int | None]
    suggested_at: int | None = None
    curve: Curve | None = None


class Stopped(msgspec.Struct, frozen=True):
    """A recorded change of which no harm is known, and that would have been frozen."""

    change: str
    service: str
    time: int
    reason: str


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """The incidents: `cases` had a change before them, `alone` had none; `others` are the remaining changes."""

    cases: tuple[Case, ...]
    caught: Rate
    alone: tuple[str, ...]
    others: Rate
    stopped: tuple[Stopped, ...]


class Visible(msgspec.Struct, frozen=True):
    """One injected shift: at `seen` of `of` moments it was enough by itself, as the service's only guardrail."""

    shift: str
    seen: int
    of: int

    @property
    def share(self) -> float:
        return self.seen / self.of if self.of else 0.0


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: how often it speaks for nothing, what it told of incidents, what it can see.

    `spoke` counts the incidents in which it passed the error rate by itself, `first` those in which it was the first;
    `sees` is the smallest shift that at least half of the moments showed, empty where none did. `unrest` is how far, as
    a share of its level (a ratio: in shares), it moves within a harmless watch half of the time.
    """

    metric: str
    services: int
    ratio: bool
    bounded: bool
    false: Rate
    spoke: int
    first: int
    shifts: tuple[Visible, ...]
    sees: str
    least: float | None
    guardrail: bool = False
    why: str = ""


class Suggested(msgspec.Struct, frozen=True, kw_only=True):
    """What to set, as a policy that is ready to paste, with what it would have done on this same history."""

    policy: str
    error_rate: float
    watch_ms: int
    guardrails: tuple[str, ...]
    reasons: tuple[str, ...]
    false: Rate
    caught: Rate


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result; `notes` say what it cannot say."""

    history: Told
    goal_per_1000: float
    placebo: Placebo
    incidents: Recall
    metrics: tuple[Metric, ...]
    suggested: Suggested
    notes: tuple[str, ...]

"""What to set: guardrails, error rate and length of the watch, each for a reason with numbers, as a policy to paste.

The rules are fixed here and look at nothing but the result:

* guardrails by `guardrails`;
* the error rate is the largest that freezes no more placebo changes than the goal, with an upper end of the interval at
  most twice the goal; where the history is too short to show that for any, the default;
* the watch is the shortest that catches nine tenths of what the longest does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log, log1p

import msgspec

from deploy.policy import Guardrail, Policy
from deploy.times import format_duration
from stream.backtest.guardrails import ERROR_RATES
from stream.backtest.proportion import Rate
from stream.backtest.result import AtRate, Case
from stream.backtest.sightings import Sightings

_ENOUGH = 0.9
_TAIL = 0.025


def choose_error_rate(rates: Sequence[AtRate], goal_per_1000: float, own: float) -> tuple[float, str]:
    """The error rate to set, and why; `own` is the one so far."""
    measured = [one for one in rates if one.error_rate in ERROR_RATES and one.rate.per_1000 is not None]
    count, needed = max((one.rate.of for one in measured), default=0), enough_for(goal_per_1000)
    if count < needed:
        return (
            own,
            f"error_rate {own:g}: as it is; {count} placebo changes are too few to choose by, {needed} are needed",
        )
    kept = [one for one in measured if one.rate.per_1000 is not None and one.rate.per_1000 <= goal_per_1000]
    shown = [one for one in kept if one.rate.high <= 2 * goal_per_1000]
    if shown:
        best = max(shown, key=lambda one: one.error_rate)
        return best.error_rate, (
            f"error_rate {best.error_rate:g}: {_said(best)}, the largest that stays at {goal_per_1000:g} per 1,000 "
            f"with an upper end of at most {2 * goal_per_1000:g}"
        )
    best = min(kept or measured, key=lambda one: one.error_rate)
    only = "the least that can be set" if kept else "more than the goal even so: stay in observe"
    return best.error_rate, f"error_rate {best.error_rate:g}: {_said(best)}, {only}"


def enough_for(goal_per_1000: float) -> int:
    """Placebo changes that show a rate at most so large when none of them is frozen.

    >>> enough_for(5.0)
    736
    """
    return ceil(log(_TAIL) / log1p(-goal_per_1000 / 1_000))


def _said(one: AtRate) -> str:
    rate = one.rate
    return (
        f"{rate.hits} of {rate.of} placebo changes frozen = {rate.per_1000:g} per 1,000 [{rate.low:g}, {rate.high:g}]"
    )


def choose_watch(cases: Sequence[Case], policy: Policy, length: int) -> tuple[int, str]:
    """How long to watch at least, ms, and why; `length` is how long it was."""
    lengths = sorted({more for case in cases for more in case.lengths})
    caught = {one: sum(case.lengths.get(one) is not None for case in cases) for one in lengths}
    if not caught or not max(caught.values()):
        return policy.watch.at_least, "watch: as it is, as no incident tells how long it must be"
    told = ", ".join(f"{count} in {format_duration(one)}" for one, count in caught.items())
    best = next(one for one in lengths if caught[one] >= _ENOUGH * max(caught.values()))
    if best <= length:
        return policy.watch.at_least, f"watch: as it is; of {len(cases)} incidents it catches {told}"
    return best, f"watch {format_duration(best)}: of {len(cases)} incidents it catches {told}"


class Measured(msgspec.Struct, frozen=True):
    """What one policy made of the history, at the error rate that fits it: for nothing, and of the incidents.

    `delays` are the ms from change to freeze of the incidents caught, in order.
    """

    error_rate: float
    why: str
    false: Rate
    delays: tuple[int, ...]
    incidents: int

    @property
    def text(self) -> str:
        per_1000 = "no" if self.false.per_1000 is None else f"{self.false.per_1000:g}"
        half = f" (half within {format_duration(self.median)})" if self.delays else ""
        return f"{len(self.delays)} of {self.incidents} incidents{half} at {per_1000} false per 1,000"

    @property
    def median(self) -> int:
        """Half of the caught are frozen within so many ms."""
        return self.delays[(len(self.delays) - 1) // 2] if self.delays else 0

    def better_than(self, other: Measured, goal_per_1000: float, *, named: bool) -> bool:
        """Whether it keeps the goal as well as the other and catches more, or as many sooner.

        Where nothing was `named` so far, as much is enough: harm in few metrics is seen only in those that are named.
        """
        mine, others = self.false.per_1000 or 0.0, other.false.per_1000 or 0.0
        if mine > max(goal_per_1000, others):
            return False
        new, old = (len(self.delays), -self.median), (len(other.delays), -other.median)
        return new > old if named else new >= old


def measured(seen: Sightings, cases: Sequence[Case], goal_per_1000: float) -> Measured:
    """Choose the error rate for what was seen under one policy, and count what it catches then."""
    rates = [seen.at(rate) for rate in sorted({*ERROR_RATES, seen.error_rate})]
    error_rate, why = choose_error_rate(rates, goal_per_1000, seen.error_rate)
    false = next(one.rate for one in rates if one.error_rate == error_rate)
    delays = [seen.caught(case.changes, error_rate) for case in cases]
    return Measured(error_rate, why, false, tuple(sorted(one for one in delays if one is not None)), len(cases))


def suggested(policy: Policy, error_rate: float, watch_ms: int, guardrails: tuple[Guardrail, ...]) -> Policy:
    """The policy with these set."""
    replace = msgspec.structs.replace
    watch = replace(policy.watch, at_least=watch_ms, at_most=max(watch_ms, policy.watch.at_most))
    return replace(policy, guardrails=guardrails, watch=watch, breaker=replace(policy.breaker, error_rate=error_rate))


def fragment(policy: Policy, whys: Mapping[str, str]) -> str:
    """The part of a policy that was chosen, as YAML; `whys` says of each guardrail why."""
    watch = policy.watch
    told = {"at_least": _exact(watch.at_least), "samples": watch.samples, "at_most": _exact(watch.at_most)}
    lines = [
        "version: 1",
        "mode: observe  # enforce once you have seen it be right",
        f"watch: {_flow(told)}",
        f"breaker: {_flow({'error_rate': policy.breaker.error_rate})}",
    ]
    lines += (
        ["guardrails:"] if policy.guardrails else ["guardrails: []  # no set of metrics did better than all of them"]
    )
    for rail in policy.guardrails:
        named = {"value": rail.value} if rail.value else {"errors": rail.errors, "over": rail.over}
        entry: dict[str, object] = {"name": rail.name, **named, "harm": rail.harm}
        if rail.least_effect is not None:
            size = rail.least_effect.size
            entry["least_effect"] = f"{100 * size:g}%" if rail.least_effect.relative else size
        if rail.services:
            entry["services"] = list(rail.services)
        why = " ".join(whys.get(rail.name, "").split())
        lines.append(f"  - {_flow(entry)}" + (f"  # {why}" if why else ""))
    return "\n".join(lines) + "\n"


def _exact(milliseconds: int) -> str:
    """A duration in the largest unit that leaves no rest."""
    units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
    return next(f"{milliseconds // size}{unit}" for unit, size in units if milliseconds % size == 0)


def _flow(record: Mapping[str, object]) -> str:
    import yaml  # heavy: only where used

    text: str = yaml.safe_dump(
        dict(record), default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return text.strip()

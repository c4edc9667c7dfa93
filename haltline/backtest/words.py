"""The same words for the terminal and the page."""

from __future__ import annotations

from deploy.times import format_duration, format_time
from stream.backtest.proportion import Rate
from stream.backtest.result import Backtest, Case, Metric


def per_1000(rate: Rate) -> str:
    """A rate with its interval; `-` of nothing."""
    return "-" if rate.per_1000 is None else f"{rate.per_1000:g} [{rate.low:g}, {rate.high:g}]"


def share(rate: Rate) -> str:
    """A share with its interval in per cent."""
    if not rate.of:
        return "none"
    return f"{rate.hits} of {rate.of} ({100 * rate.hits / rate.of:.0f} % [{rate.low / 10:.0f}, {rate.high / 10:.0f}])"


def when(time: int | None) -> str:
    """A time to the second, in UTC."""
    return "" if time is None else format_time(time)[:19].replace("T", " ")


def caught(case: Case) -> str:
    return "missed" if case.caught_at is None else f"after {format_duration(case.caught_at - case.began_at)}"


def against_people(case: Case) -> str:
    """How much sooner than people it was."""
    if case.noticed_at is None or case.caught_at is None:
        return ""
    ahead = case.noticed_at - case.caught_at
    return f"{format_duration(abs(ahead))} {'before' if ahead >= 0 else 'after'} people"


def told_by(case: Case) -> str:
    """Which metric told of it, or would have by itself."""
    if case.caught_at is not None:
        return f"{case.metric} ({case.control})" if case.control else case.metric
    first = next(iter(case.alone), "")
    return f"{first} alone after {format_duration(case.alone[first] - case.began_at)}" if first else ""


def suggested(case: Case) -> str:
    """What the suggested policy makes of it."""
    return "missed" if case.suggested_at is None else f"after {format_duration(case.suggested_at - case.began_at)}"


def shifts(metric: Metric) -> str:
    return ", ".join(f"{one.shift} {one.seen}/{one.of}" for one in metric.shifts)


def headline(found: Backtest) -> list[str]:
    """The answer in a few sentences."""
    own, placebo = found.history.error_rate, found.placebo
    now = placebo.at(own)
    lines = []
    if now.per_1000 is None:
        lines.append("Frozen for nothing: not known, no quiet moment with enough history.")
    else:
        lines.append(
            f"Frozen for nothing: {now.hits} of {now.of} changes that never were = {per_1000(now)} per 1,000 "
            f"at error_rate {own:g}; the goal is {found.goal_per_1000:g}."
        )
    cases = found.incidents.cases
    if cases:
        lines.append(f"Incidents caught: {share(found.incidents.caught)}{_delay(cases)}.")
    others = found.incidents.others
    if others.of:
        lines.append(f"Other recorded changes that would have been frozen: {share(others)}.")
    if found.suggested.guardrails or found.suggested.error_rate != own:
        false = found.suggested.false
        lines.append(
            f"With the policy suggested: {false.hits} of {false.of} for nothing = {per_1000(false)} per 1,000"
            + (f", {share(found.suggested.caught)} incidents caught." if cases else ".")
        )
    return lines


def _delay(cases: tuple[Case, ...]) -> str:
    delays = sorted(case.caught_at - case.began_at for case in cases if case.caught_at is not None)
    return f", half of them within {format_duration(delays[(len(delays) - 1) // 2])} of the change" if delays else ""

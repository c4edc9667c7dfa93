"""The cast of a backtest: which ghosts are put where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deploy.change import Change
from deploy.policy import Policy
from detectors.own_past import NEEDED
from stream.backtest.ghost import Ghost, Role
from stream.backtest.incidents import Label, Recorded, blocked_of, end_of
from stream.backtest.quiet import History, quiet_moments, thin
from stream.backtest.shifts import shifts_of
from stream.columns import SeriesKey
from stream.signals import SignalId, signals_of


class Signal(msgspec.Struct, frozen=True):
    """One signal of one service, with its series; `metric` is how a policy would name it."""

    history: History
    id: SignalId
    keys: tuple[SeriesKey, ...]
    metric: str

    @property
    def bounded(self) -> bool:
        """Whether it is a success rate: 1 or 100 is perfect."""
        return not self.id.over and all(self.history.series[key].bounded for key in self.keys)


class Quiet(msgspec.Struct, frozen=True):
    """Every quiet moment (Unix ms) by service and time, and why a service has none."""

    moments: list[tuple[History, int]]
    without: dict[str, str]


class Cast:
    """Puts ghosts beside one recorded history."""

    def __init__(self, histories: Sequence[History], made: Mapping[str, Recorded], labels: Sequence[Label]) -> None:
        self.histories, self.made, self.labels = histories, made, labels

    def signals(self, policy: Policy) -> list[Signal]:
        """What is judged, service by service."""
        found = []
        for history in self.histories:
            grouped = signals_of(history.series, history.service, policy.guardrails)
            found += [Signal(history, one, tuple(keys), _metric_of(one)) for one, keys in sorted(grouped.items())]
        return found

    def quiet(self, policy: Policy) -> Quiet:
        moments: list[tuple[History, int]] = []
        without = {}
        for turn, history in enumerate(self.histories):
            place = f"{history.service} in {history.environment}" if history.environment else history.service
            if not policy.guarded(history.environment):
                without[place] = "its environment is not guarded"
                continue
            found = quiet_moments(history, policy, blocked_of(history, self.made, self.labels, policy), turn)
            moments += [(history, moment) for moment in found]
            if not found:
                short = f"{len(history.times)} samples; {NEEDED} and a watch are needed before one counts"
                free = quiet_moments(history, policy, (), turn)
                without[place] = "every moment is near a change or an incident" if free else short
        return Quiet(moments, without)

    def placebos(self, quiet: Quiet, policy: Policy, most: int) -> list[Ghost]:
        """At most so many harmless changes, evenly spread."""
        return [
            Ghost(role=Role.PLACEBO, change=_harmless(f"placebo/{turn}", turn, *place, policy), policy=policy,
                  due=place[1])
            for turn, place in enumerate(thin(quiet.moments, most))
        ]  # fmt: skip

    def trials(self, quiet: Quiet, signals: Sequence[Signal], policy: Policy, most: int) -> Iterator[Ghost]:
        """Each metric by itself at some quiet moments, at most so many: untouched, and harmed in each way."""
        by_history: dict[int, list[int]] = {}
        for history, moment in quiet.moments:
            by_history.setdefault(id(history), []).append(moment)
        for metric in sorted({one.metric for one in signals}):
            places = [
                (one, moment)
                for one in signals
                if one.metric == metric
                for moment in by_history.get(id(one.history), ())
                if any(_alive(one.history, key, moment) for key in one.keys)
            ]
            for turn, (one, moment) in enumerate(thin(places, most)):
                change = _harmless(f"{metric}/{turn}", turn, one.history, moment, policy)
                due = moment + policy.watch.length(one.history.period) + one.history.period
                for shift in (None, *shifts_of(one.id, one.bounded)):
                    yield Ghost(
                        role=Role.TRIAL, change=change, policy=policy, due=due, only=(one.id, one.keys), shift=shift
                    )

    def alone(self, one: Recorded, signals: Sequence[Signal], policy: Policy) -> Iterator[Ghost]:
        """Each metric by itself in one recorded change."""
        for signal in signals:
            history = signal.history
            if _watched_at(one.change, history):
                change = msgspec.structs.replace(one.change, environment=history.environment)
                due = end_of(one, policy, history.period) + history.period
                yield Ghost(
                    role=Role.ALONE,
                    change=change,
                    policy=policy,
                    due=due,
                    later=one.later,
                    only=(signal.id, signal.keys),
                )

    def again(self, one: Recorded, policy: Policy, times: Sequence[int] = (1,)) -> Iterator[Ghost]:
        """One recorded change by itself, watched so many times as long; one that says until when, only as long."""
        for history in self.histories:
            if _watched_at(one.change, history):
                length = end_of(one, policy, history.period) - one.change.time
                for often in times if one.change.watch_until is None else (1,):
                    change = msgspec.structs.replace(
                        one.change, environment=history.environment, watch_until=one.change.time + often * length
                    )
                    yield Ghost(
                        role=Role.AGAIN, change=change, policy=policy, due=one.change.time, later=one.later, times=often
                    )


def _metric_of(signal: SignalId) -> str:
    """What a policy would name this signal: its guardrail's name, or its metric with all attributes."""
    if signal.guardrail:
        return signal.title
    return f"{signal.metric} / {signal.over}" if signal.over else signal.metric


def _harmless(identity: str, turn: int, history: History, moment: int, policy: Policy) -> Change:
    """A change of nothing; where several instances run, of one of them in turn, as a rollout's first would be."""
    end = moment + policy.watch.length(history.period)
    beside = history.beside(moment - NEEDED * history.period, end)
    return Change(
        id=identity,
        service=history.service,
        environment=history.environment,
        time=moment,
        instances=(beside[turn % len(beside)],) if len(beside) > 1 else (),
    )


def _watched_at(change: Change, history: History) -> bool:
    return change.service == history.service and (
        not change.environment or history.environment in ("", change.environment)
    )


def _alive(history: History, key: SeriesKey, moment: int) -> bool:
    life = history.series[key]
    return life.first <= moment - NEEDED * history.period and life.last >= moment + history.period

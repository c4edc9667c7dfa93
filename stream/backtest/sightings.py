"""What the ghosts of one walk told, sorted by what they were for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log

import msgspec
import numpy as np

from deploy.evidence import Finding
from detectors.combine import ALONE_PAST, service_log_p
from stream.backtest.cast import Signal
from stream.backtest.curve import Curve, curve_of
from stream.backtest.ghost import Role, Seen
from stream.backtest.guardrails import Heard
from stream.backtest.proportion import Rate, rate
from stream.backtest.result import AtRate, FalseFreeze, Visible
from stream.backtest.shifts import LARGEST
from stream.change_watch import ChangeWatch
from stream.service import ServiceSamples
from stream.signals import SignalId

Hits = dict[str, tuple[int, int]]


class Sightings:
    """Takes each ghost as it is told; `error_rate` is the bar, `signals` what there is to judge."""

    def __init__(self, error_rate: float, signals: Sequence[Signal]) -> None:
        self.error_rate = error_rate
        self.placebos: list[Seen] = []
        #: By metric and service: how often it passed the bar by itself, of how many placebo changes it could judge.
        self.spoke: dict[str, Hits] = {}
        #: By change, and for each placebo change: what each of its signals said by itself.
        self.heard: dict[str, Heard] = {}
        self.heard_placebos: list[Heard] = []
        #: By change: the metrics that passed the bar by themselves, and when.
        self.alone: dict[str, dict[str, int]] = {}
        self.longer: dict[str, dict[int, int | None]] = {}
        self.curves: dict[str, dict[str, Curve]] = {}
        self._again: dict[str, list[Seen]] = {}
        self._effects: dict[str, list[float]] = {}
        self._trials: dict[str, dict[str, dict[str, Seen]]] = {}
        self._named = {(one.history.service, one.history.environment, one.id): one for one in signals}
        self._beside: dict[tuple[str, str], int] = {}
        for one in signals:
            place = one.history.service, one.history.environment
            self._beside[place] = self._beside.get(place, 0) + 1

    def take(self, seen: Seen, service: ServiceSamples, watch: ChangeWatch) -> None:
        ghost = seen.ghost
        change = ghost.change
        if ghost.role is Role.PLACEBO:
            self._take_placebo(seen, service)
        elif ghost.role is Role.AGAIN:
            told = self.longer.setdefault(change.id, {})
            length = (change.watch_until or change.time) - change.time
            told[length] = _earliest(told.get(length), seen.frozen(self.error_rate))
            if ghost.times == 1:
                self._again.setdefault(change.id, []).append(msgspec.structs.replace(seen, heard={}))
                self.heard[change.id] = (*self.heard.get(change.id, ()), *self._by_metric(seen, service))
        elif ghost.only is not None:
            one = self._named[(service.name, service.environment, ghost.only[0])]
            if ghost.role is Role.TRIAL:
                shift = "" if ghost.shift is None else ghost.shift.name
                self._trials.setdefault(one.metric, {}).setdefault(change.id, {})[shift] = seen
            else:
                self._take_alone(seen, service, watch, one)

    def _take_placebo(self, seen: Seen, service: ServiceSamples) -> None:
        self.placebos.append(msgspec.structs.replace(seen, heard={}))
        if not seen.judged:
            return
        heard = self._by_metric(seen, service)
        self.heard_placebos.append(heard)
        for metric in sorted({metric for metric, _ in heard}):
            loud = any(log_p <= log(self.error_rate) for name, log_p in heard if name == metric)
            count(self.spoke.setdefault(metric, {}), service.name, loud)

    def _by_metric(self, seen: Seen, service: ServiceSamples) -> Heard:
        named = (
            (self._named.get((service.name, service.environment, one)), log_p) for one, log_p in seen.heard.items()
        )
        return tuple((one.metric, log_p) for one, log_p in named if one is not None)

    def _take_alone(self, seen: Seen, service: ServiceSamples, watch: ChangeWatch, one: Signal) -> None:
        identity = seen.ghost.change.id
        passed = seen.passed(self.error_rate)
        if passed is not None:
            told = self.alone.setdefault(identity, {})
            told[one.metric] = min(passed, told.get(one.metric, passed))
            effects = (_size(finding, one.id) for finding in seen.findings[:1])
            self._effects.setdefault(one.metric, []).extend(effect for effect in effects if effect is not None)
        curve = curve_of(service, watch, one.id, one.keys)
        if curve is not None:
            curves = self.curves.setdefault(identity, {})
            for name in (told_as(one.id.title, dict(one.id.attributes)), one.metric):
                curves.setdefault(name, curve)

    # -- in numbers ---------------------------------------------------------------------------------------------------

    @property
    def judged(self) -> list[Seen]:
        """The placebo changes of which something could speak."""
        return [seen for seen in self.placebos if seen.judged]

    def at(self, error_rate: float) -> AtRate:
        """How many placebo changes are frozen at this error rate."""
        hits: Hits = {}
        for seen in self.judged:
            count(hits, seen.ghost.change.service, seen.frozen(error_rate) is not None)
        return AtRate(error_rate, rate(hits))

    def caught(self, changes: Sequence[str], error_rate: float) -> int | None:
        """How long (ms) until one of these changes, judged by itself, is frozen at this error rate; None if never."""
        told = ((seen.frozen(error_rate), seen) for change in changes for seen in self._again.get(change, ()))
        return min((frozen - seen.ghost.change.time for frozen, seen in told if frozen is not None), default=None)

    def false_freezes(self) -> Iterator[FalseFreeze]:
        for seen in self.judged:
            frozen = seen.frozen(self.error_rate)
            if frozen is not None:
                finding = seen.findings[0] if seen.findings else None
                metric, reason = ("", "") if finding is None else (finding.metric, finding.reason)
                yield FalseFreeze(seen.ghost.change.service, frozen, metric, reason)

    def false(self, metric: str) -> Rate:
        """How often a metric passed the bar by itself in a placebo change."""
        return rate(self.spoke.get(metric, {}))

    def least(self, metric: str) -> float | None:
        """The least effect with which the metric told of a harmful change by itself, a share; None if it never did."""
        effects = self._effects.get(metric)
        return float(f"{min(effects):.4g}") if effects else None

    def visible(self, metric: str, shifts: Sequence[str]) -> tuple[Visible, ...]:
        """How often each shift was enough, at the moments where the untouched samples were not."""
        counts: Hits = {}
        for told in self._trials.get(metric, {}).values():
            calm = told[""]
            change = calm.ghost.change
            signals = self._beside[(change.service, change.environment)]
            if calm.judged and not self._enough(calm.log_p, signals):
                for name in shifts:
                    if name in told:
                        count(counts, name, self._enough(told[name].log_p, signals))
        return tuple(Visible(name, *counts[name]) for name in shifts if name in counts)

    def shown(self, metrics: Sequence[str], named: int) -> tuple[int, int]:
        """How often the largest harm of one of these metrics alone is seen with so many of them named, and of how many.

        Only the largest shift upwards, of a success rate or where only a drop is harm downwards.
        """
        hits = of = 0
        for metric in metrics:
            for told in self._trials.get(metric, {}).values():
                calm, harmed = told[""], list(told.values())
                place = calm.ghost.change.service, calm.ghost.change.environment
                largest = next((one for one in harmed if one.ghost.shift in LARGEST), None)
                if largest is not None and calm.judged:
                    of += 1
                    hits += self._enough(largest.log_p, self._beside[place], named)
        return hits, of

    def _enough(self, log_p: float, signals: int, named: int = 1) -> bool:
        """Whether one signal would do, the first of so many `named` ones, among so many signals that are calm."""
        told = np.zeros(signals)
        told[0] = log_p
        told_log_p = service_log_p(told, guardrail=np.arange(signals) < named, alone=ALONE_PAST)
        return bool(told_log_p <= log(self.error_rate))


def count(hits: Hits, name: str, hit: bool) -> None:
    """Count one more case of this name."""
    some, of = hits.get(name, (0, 0))
    hits[name] = (some + int(hit), of + 1)


def told_as(title: str, attributes: Mapping[str, str]) -> str:
    """A signal as a finding names it."""
    return title + "".join(f" {name}={value}" for name, value in sorted(attributes.items()))


def told_by(finding: Finding) -> str:
    """The signal of a finding."""
    return told_as(finding.metric, finding.attributes)


def _size(finding: Finding, signal: SignalId) -> float | None:
    """The effect of a finding as a share: of what was expected, of a ratio itself."""
    if signal.over:
        return abs(finding.effect)
    return abs(finding.effect / finding.expected) if finding.expected else None


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)

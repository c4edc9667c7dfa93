"""One change on one service: its signals, what each control says of them, and the evidence they add up to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from math import log, log1p

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.calls import Calls
from deploy.change import Change, Phase
from deploy.evidence import Finding, Report
from deploy.policy import PeerMetrics, Policy
from detectors.combine import ALONE, ALONE_PAST, families_log_p, product_log_p, service_log_p, together_log_p
from detectors.together import FEWEST_METRICS
from stream.columns import Float64, Int64, SeriesKey
from stream.learning import HISTORY, LAG, Past
from stream.neighbours import MOST as LENDERS
from stream.neighbours import Neighbours
from stream.peers import MOST, PeersWatch
from stream.rounds import Rounds
from stream.series import Series
from stream.service import ServiceSamples
from stream.signal_watch import START_UP, Look, SignalWatch
from stream.signals import SignalId, period_of, periods_of, signals_of, told_at
from stream.together_watch import TogetherWatch
from stream.vector_watch import VectorWatch

#: Evidence that is worth a look, not yet a freeze.
_WATCH_BAR = log(0.05)
#: Evidence no stronger than this is none at all.
_SILENT = log(0.3)
#: What is out of range for no more looks than these, and comes back, was no lasting harm.
_SPIKE = 14
#: A report is worth sending when the evidence passed a bar, or grew by this many nats and by this share.
_NEWS = 0.5
_NEWS_SHARE = 0.2
#: Most looks of one watch: a day of samples a second, whatever a change asks for.
_LOOKS = 86_400
#: Findings that a report names, strongest first.
_NAMED = 3
_QUANTILE = re.compile(
    r"([.:_ -]?[pq]\d{1,3}(\.\d+)?|[.:_ -](avg|average|mean|median|max))"
    r"(?=(\(\w+\)|[._](ms|s|us|milliseconds|seconds))?$)",
    re.IGNORECASE,
)
_SUCCESS = "success"
#: What looks are said by.
_CONTROLS = ("concurrent", "past", "replaced", "silence", "missing")
#: Start-ups that must be known to go by them alone, and how many of the slowest are kept.
_START_UPS, _START_UPS_KEPT = 3, 200
#: With what power of p two metrics count together where a service has no past of its own: what is borrowed from others
#: cannot know that its bursts show in all of its metrics at once.
_BOTH_YOUNG = 1.5
#: Share of the past's error rate that all metrics of a young service carry together: one alone proves hardly anything.
_TOGETHER = 0.75
#: What ends a change, and with it the watch: what comes after is not its doing.
ENDED = frozenset({Phase.ROLLED_BACK, Phase.FAILED})


class _Able(msgspec.Struct, frozen=True):
    """What can be said of the signals of a watch as long as no series joins them; places are int64[n]."""

    signals: list[SignalId]
    places: dict[SignalId, int]
    #: bool[signals]: which are guardrails.
    named: npt.NDArray[np.bool_]
    #: What is one metric.
    metrics: Int64
    #: Those with a past, the groups among them, and with what power of p two of them count together; those that come
    #: regularly.
    past: Int64
    groups: Int64
    both: float
    regular: Int64
    #: Those of which some members are new.
    with_new: list[tuple[int, SignalWatch]]

    @classmethod
    def of(cls, known: Collection[tuple[SignalId, SignalWatch]]) -> _Able:
        signals, watches = [signal for signal, _ in known], [watch for _, watch in known]
        past = [place for place, watch in enumerate(watches) if watch.past_ready]
        return cls(
            signals,
            {signal: place for place, signal in enumerate(signals)},
            np.array([signal.guardrail for signal in signals], np.bool_),
            _groups(signals),
            np.array(past, np.int64),
            _groups([signals[place] for place in past]),
            _BOTH_YOUNG if any(watch.borrows for watch in watches) else 2.0,
            np.array([place for place, watch in enumerate(watches) if watch.silence_ready], np.int64),
            [(place, watch) for place, watch in enumerate(watches) if watch.has_new],
        )


class ChangeWatch:
    """One change on one service: its signals, and the evidence they add up to."""

    def __init__(
        self, change: Change, service: ServiceSamples, policy: Policy, others: Callable[[], Iterable[ServiceSamples]],
        *, beside: bool = True, past: Past | None = None,
    ) -> None:  # fmt: skip
        """Without `beside` nothing of the service is new: its own past is the only control.

        A change that is watched long after its time is given the `past` as it was known then; of a signal that is not
        in it all raw samples are read.
        """
        policy = policy.for_change(change)
        self.change, self.service, self.policy = change, service, policy
        self._others, self._beside, self._given = others, beside, past is not None
        self.moment = change.time
        self.end = self.moment + policy.watch.length(0)
        if change.watch_until is not None:
            self.end = max(self.moment, change.watch_until)
        self.ended = False
        self.cut_off: int | None = None
        self.period = 0
        #: The signals, in the order of their places in the rounds.
        self._watches: dict[SignalId, SignalWatch] = {}
        self._rounds = Rounds(self.moment)
        self._peers: dict[SignalId, PeersWatch] = {}
        self._vectors: list[VectorWatch] = []
        self._together: TogetherWatch | None = None
        self._series_seen = -1
        self._attached: set[SeriesKey] = set()
        self._unborn = 2**62
        #: Signals of which it is not known yet how often they come.
        self._untold: dict[SignalId, list[Series]] = {}
        self._namings: list[tuple[int, tuple[str, ...]]] = []
        self.started = False
        self._past = past
        self._latest: dict[tuple[SignalId, str], float] = {}
        #: The same of the signals by their places, of each control float64[signals]; what of them stays as it is.
        self._lowest = {control: np.empty(0) for control in _CONTROLS}
        self._able = _Able.of(())
        self._words: dict[tuple[SignalId, str], Look] = {}
        self._log_p = 0.0
        self._reported = 0.0
        self._onset: int | None = None
        self._new_born: int | None = None
        self._bars = (_WATCH_BAR, log(policy.breaker.watch_bar), log(policy.breaker.error_rate))

    @property
    def log_p(self) -> float:
        return self._log_p

    def heard(self) -> dict[SignalId, float]:
        """What each signal that could speak has said by itself so far: its smallest log p, 0 where it was calm."""
        return {
            signal: min(self._said(signal, control) for control in ("past", "concurrent"))
            for signal, watch in self._watches.items()
            if watch.past_ready or watch.control_ready(self.end)
        }

    @property
    def calm(self) -> bool:
        """Whether the time of this watch may serve as a past: it was judged healthy, or was a spike that passed.

        What comes and goes by itself belongs to the series. Left out of its past, every spike of a series that has them
        would be taken for the doing of whatever was changed last.
        """
        if self._log_p > self._bars[-1]:
            return True
        telling = {key for key, log_p in self._latest.items() if log_p <= _WATCH_BAR}
        return all(control in ("past", "replaced") and self._lasted(signal) <= _SPIKE for signal, control in telling)

    @property
    def silent(self) -> bool:
        """Whether there was nothing that could have been harm, not even a little of it."""
        return self._log_p > _SILENT

    def _lasted(self, signal: SignalId) -> int:
        """For how many looks it was out of range; 0 for a vector, which is judged by the signals that it is made of."""
        watch = self._watches.get(signal)
        return 0 if watch is None else watch.lasted()

    def later(self, change: Change) -> None:
        """A later record of the same change: it may name more instances, new from then on, or end the watch."""
        if change.phase in ENDED:
            self._stop(change.time)
        if not set(change.instances) <= set(self.change.instances):
            self._namings.append((max(change.time, self.moment), change.instances))

    def _name(self, instances: tuple[str, ...]) -> None:
        together = tuple(dict.fromkeys(self.change.instances + instances))
        self.change = msgspec.structs.replace(self.change, instances=together)
        for watch in self._watches.values():
            watch.name(self.change)
        self._able = _Able.of(self._watches.items())

    def _stop(self, moment: int) -> None:
        """The change was rolled back or failed: what comes after `moment` is not its doing."""
        self.cut_off = min(max(moment, self.moment), self.end, self.end if self.cut_off is None else self.cut_off)

    def advance(self, watermark: int) -> list[Report]:
        """Take what is complete by `watermark`; returns the reports that are news, in the order of time."""
        if self.ended or watermark <= self.moment:
            return []
        reports: list[Report] = []
        if not self.started:
            self._start()
            reports.append(self._report(self.moment, ()))
        end = self.end if self.cut_off is None else self.cut_off
        # Series that began since the last time, and instances named since: what was judged before does not know them.
        now = min(watermark, end)
        named = {time for time, _ in self._namings if time <= now}
        # One at a time: what is taken in may itself tell of a moment to come.
        while moments := named.union(self._births(now)):
            time = min(moments)
            reports += self._judge(time - 1, time - 1)
            self._attach(time, {})
            for moment, instances in self._namings:
                if moment == time:
                    self._name(instances)
            named.discard(time)
        self._namings = [(time, instances) for time, instances in self._namings if time > now]
        reports += self._judge(now, min([self._unborn, *(time for time, _ in self._namings)]) - 1)
        if watermark >= end + self.period:
            self.ended = True
            reports.append(self._report(end, self._findings(), ended=True))
        return reports

    def _judge(self, watermark: int, horizon: int) -> list[Report]:
        looks = self._collect(watermark, horizon)
        end = self.end if self.cut_off is None else self.cut_off
        weighed = (self._weigh(time, looks[time]) for time in sorted(looks) if time <= end)
        return [report for report in weighed if report is not None]

    def _births(self, watermark: int) -> list[int]:
        """The moments up to `watermark` at which series began that are not attached yet, or told their period."""
        told = {time for series in self._untold.values() if (time := told_at(series)) < 2**62}
        if self._series_seen == len(self.service.series) and not told:
            return []
        fresh = {series.born for key, series in self.service.series.items() if key not in self._attached}
        born = sorted(fresh | told)
        due = [time for time in born if time <= watermark]
        self._unborn = born[len(due)] if len(due) < len(born) else 2**62
        return due

    def finish(self, moment: int) -> list[Report]:
        """The input ends: the last word of this watch, at `moment`."""
        if self.ended:
            return []
        self.ended = True
        report = self._report(max(self.moment, min(moment, self.end)), self._findings(), ended=True)
        return [msgspec.structs.replace(report, cut_short=moment < self.end)]

    def _start(self) -> None:
        self.started = True
        before = self.service.begun_by(self.moment)
        signals = self._signals(before)
        periods = periods_of([series for _, series in signals], self.moment)
        known = sorted(period for period in periods if period)
        self.period = known[(len(known) - 1) // 2] if known else 0
        if self.change.watch_until is None:
            self.end = self.moment + self.policy.watch.length(self.period)
        unchanged = [other for other in self._others() if other.unchanged(self.service, self.moment)]
        unchanged.sort(key=lambda other: other.name)
        self._neighbours = Neighbours(
            self.change, [other.as_of(self.moment, self.policy.guardrails) for other in unchanged[:LENDERS]]
        )
        if not self._given:
            self._past = self.service.past(self.moment, self.change.id, before)
        self._start_ups = _known_start_ups(self._others(), self.service.environment, self.moment)
        self._attach(self.moment, dict(zip((signal for signal, _ in signals), periods, strict=True)))
        if self._beside and self.policy.peers.history:
            self._find_peers()
        alike = [watch for _, watch in sorted(self._watches.items()) if watch.period == self.period]
        # Named guardrails first: a vector has room for so many.
        alike.sort(key=lambda watch: not watch.signal.guardrail)
        young = [watch for watch in alike if watch.young]
        # What runs beside the new knows what comes over all at once; a past of some samples does not.
        if young and not any(watch.several and watch.asks for watch in alike):
            # What people named is what they would notice; where that is too little, everything.
            named = [watch for watch in young if watch.signal.guardrail]
            together = TogetherWatch(
                self.service.name, named if len(named) >= FEWEST_METRICS else young, self._neighbours
            )
            self._together = together if together.ready else None
        self._vectors = [
            VectorWatch(spec, self.service.name, alike, lambda times: self.service.undisturbed(times, self))
            for spec in self.policy.detectors
            if alike and spec.applies(self.service.name)
        ]

    def _find_peers(self) -> None:
        """Which signals move with those of services that this one has nothing to do with."""
        related = Calls(self.policy).related
        for signal, watch in self._watches.items():
            wanted = signal.guardrail or self.policy.peers.metrics is PeerMetrics.ALL
            if wanted and watch.past_ready and not watch.borrows:
                peers = self._neighbours.peers(watch, related, MOST)
                found = PeersWatch.of(
                    watch, peers, self.policy.peers.history, lambda times: self.service.undisturbed(times, self)
                )
                if found is not None:
                    self._peers[signal] = found

    def _signals(self, keys: Iterable[SeriesKey]) -> list[tuple[SignalId, list[Series]]]:
        """The signals that these series of the service make, in their order."""
        found = sorted(signals_of(keys, self.service.name, self.policy.guardrails).items())
        return [(signal, [self.service.series[key] for key in keys]) for signal, keys in found]

    def _attach(self, born: int, periods: Mapping[SignalId, int]) -> None:
        """Take in the series that had begun by `born`; the `periods` of some signals by the moment are known."""
        service = self.service
        self._attached.update(service.begun_by(born))
        self._series_seen = len(self._attached)
        for signal, series in self._signals(self._attached):
            watch = self._watches.get(signal)
            if watch is None:
                period = periods[signal] if signal in periods else period_of(series, self.moment)
                if not period and told_at(series) <= born:
                    # It has no past, but the old may run beside the new.
                    period = period_of(series, born)
                if not period:
                    self._untold[signal] = series
                    continue
                self._untold.pop(signal, None)
                looks = min((self.end - self.moment) // period, _LOOKS)
                watch = SignalWatch(service.name, signal, self.change, period, looks, born)
                watch.start_ups = self._start_ups
                watch.attach(series)
                # When something shows itself very late, nobody knows any more what others did before the change.
                known = born <= self.moment + LAG * period
                others = self._neighbours if known else Neighbours(self.change, ())
                past = None if self._given and signal not in (self._past or ()) else self._past
                watch.calibrate(
                    lambda times: service.undisturbed(times, self), others, past, beside=self._beside,
                    raw=max(self.policy.peers.history, HISTORY) if signal.guardrail else HISTORY,
                )  # fmt: skip
                watch.join(self._rounds)
                self._watches[signal] = watch
            else:
                watch.attach(series)
        more = len(self._watches) - len(self._lowest["past"])
        self._lowest = {control: np.append(lowest, np.zeros(more)) for control, lowest in self._lowest.items()}
        self._able = _Able.of(self._watches.items())
        self._note_new(born)

    def _note_new(self, now: int) -> None:
        """Tell every signal when what is new was first heard of anywhere in the service."""
        if self._new_born is None:
            heard = [watch.new_born for watch in self._watches.values()]
            self._new_born = min((time for time in heard if time is not None), default=None)
            if self._new_born is not None:
                self.service.start_ups[self.change.id] = now, (self._new_born - self.moment) / 1_000
        for watch in self._watches.values():
            watch.elsewhere = self._new_born

    def _collect(self, watermark: int, horizon: int) -> dict[int, list[tuple[SignalId, Look]]]:
        looks: dict[int, list[tuple[SignalId, Look]]] = {}
        signals = list(self._watches)
        for place, look in self._rounds.take(watermark, horizon):
            # With peers, what the past says alone is not heard.
            if signals[place] not in self._peers or look.control != "past":
                looks.setdefault(look.time, []).append((signals[place], look))
        for signal, peers in self._peers.items():
            for look in peers.update(watermark):
                looks.setdefault(look.time, []).append((signal, look))
        for vector in (*self._vectors, *([self._together] if self._together is not None else ())):
            for look in vector.update():
                looks.setdefault(look.time, []).append((vector.signal, look))
        return looks

    def _weigh(self, time: int, looks: list[tuple[SignalId, Look]]) -> Report | None:
        for signal, look in looks:
            if look.log_p < self._latest.get((signal, look.control), 0.0):
                self._latest[(signal, look.control)] = look.log_p
                place = self._able.places.get(signal)
                if place is not None:
                    self._lowest[look.control][place] = look.log_p
                self._words[(signal, look.control)] = look
        log_p = min(self._log_p, self._combined(time))
        crossed = any(log_p <= bar < self._reported for bar in self._bars)
        if log_p < self._bars[0] and self._onset is None:
            self._onset = time
        self._log_p = log_p
        if crossed or log_p <= self._reported - max(_NEWS, _NEWS_SHARE * -self._reported):
            return self._report(time, self._findings())
        return None

    def _combined(self, time: int) -> float:
        """The log p of everything that could speak by `time`."""
        families = self._families(time)
        beside, past = families.get("concurrent", 0.0), families.get("past", 0.0)
        # Where one of the two sees nothing, they see nothing together.
        return families_log_p(families, together=self._seen_by_both(time, past) if max(beside, past) < 0.0 else None)

    def _seen_by_both(self, time: int, past: float) -> float:
        """What new against old and the own past see together, metric by metric."""
        known = self._able
        beside, before = np.full((2, len(known.signals)), np.nan)
        speaking = self._speaking(time)
        beside[speaking] = self._lowest["concurrent"][speaking]
        before[known.past] = self._with_replaced()[known.past]
        together = together_log_p(beside, before, known.named, known.metrics, known.both)
        missing = float(self._lowest["missing"][known.regular].min(initial=0.0))
        # What does not report is worse in no metric of its own.
        return together if missing >= 0.0 else min(0.0, min(together, product_log_p(missing, past)) + log(2.0))

    def _speaking(self, time: int) -> list[int]:
        """Places of the signals whose new members can be compared with the old by `time`."""
        return [place for place, watch in self._able.with_new if watch.control_ready(time)]

    def _families(self, time: int) -> dict[str, float]:
        """The combined log p of each control that could speak by `time`."""
        families: dict[str, float] = {}
        known = self._able
        beside = self._speaking(time)
        if beside:
            families["concurrent"] = service_log_p(
                self._lowest["concurrent"][beside], guardrail=known.named[beside],
                groups=_groups([known.signals[place] for place in beside]), alone=ALONE,
            )  # fmt: skip
        vectors = [vector.signal for vector in self._vectors if vector.ready]
        if len(known.past) or vectors:
            log_p = self._with_replaced()[known.past]
            named, groups = known.named[known.past], known.groups
            if vectors:
                log_p = np.append(log_p, [self._said(signal, "past") for signal in vectors])
                named = np.append(named, [signal.guardrail for signal in vectors])
                groups = _groups([*(known.signals[place] for place in known.past.tolist()), *vectors])
            families["past"] = service_log_p(log_p, guardrail=named, groups=groups, both=known.both, alone=ALONE_PAST)
        if self._together is not None:
            apart, whole = families.get("past"), self._latest.get((self._together.signal, "past"), 0.0)
            whole -= 0.0 if apart is None else log(_TOGETHER)
            families["past"] = min(0.0, whole if apart is None else min(whole, apart - log1p(-_TOGETHER)))
        if len(known.regular):
            families["silence"] = self._silence(known.regular)
            missing = float(self._lowest["missing"][known.regular].min())
            if missing < 0.0:
                # What is new and does not even report is compared with the old beside it as well as it can be.
                apart = families.get("concurrent")
                families["concurrent"] = missing if apart is None else min(0.0, min(apart, missing) + log(2.0))
        return families

    def _said(self, signal: SignalId, control: str) -> float:
        """The log p of one control; to the past belongs what the old instances had been, once none is left."""
        log_p = self._latest.get((signal, control), 0.0)
        replaced = self._latest.get((signal, "replaced"), 0.0)
        return log_p if control != "past" or not replaced else min(0.0, min(log_p, replaced) + log(2.0))

    def _with_replaced(self) -> Float64:
        """float64[signals]: the log p of the past with that of the old instances, once none is left."""
        past, replaced = self._lowest["past"], self._lowest["replaced"]
        both = np.minimum(0.0, np.minimum(past, replaced) + log(2.0))
        return np.where(replaced == 0.0, past, both)

    def _silence(self, regular: Int64) -> float:
        """The combined log p of what falls silent: the whole service, or one of its guardrails."""
        silent = self._lowest["silence"][regular]
        # A metric that nobody named may well stop; that all of them stop at once is one event.
        together = float(silent.max())
        alone = silent[self._able.named[regular]]
        if not len(alone):
            return together
        return min(0.0, min(together, float(alone.min()) + log(len(alone))) + log(2.0))

    def _findings(self) -> tuple[Finding, ...]:
        ranked = sorted(self._words.items(), key=lambda item: (item[1].log_p, item[0]))
        return tuple(look.describe() for _, look in ranked[:_NAMED])

    def _report(self, time: int, findings: tuple[Finding, ...], ended: bool = False) -> Report:
        self._reported = self._log_p
        able = sum(1 for watch in self._watches.values() if watch.past_ready or watch.control_ready(time))
        return Report(
            change=self.change.id,
            service=self.service.name,
            environment=self.service.environment,
            time=time,
            log_p=self._log_p,
            families=self._families(time),
            tests=able,
            silent=len(self._watches) - able,
            findings=findings,
            onset=self._onset,
            ended=ended,
            looks=max((watch.looks_by(time) for watch in self._watches.values()), default=0),
            warming=next((watch.warming for watch in self._watches.values() if watch.warming), ""),
        )


def _known_start_ups(services: Iterable[ServiceSamples], environment: str, moment: int) -> Float64:
    """How long (s) what was new took to report in earlier changes of these services."""
    known = [
        seconds
        for service in services
        if service.environment == environment
        for time, seconds in service.start_ups.values()
        if time <= moment
    ]
    return np.array(sorted(known)[-_START_UPS_KEPT:] if len(known) >= _START_UPS else [*known, START_UP])


def _groups(signals: list[SignalId]) -> Int64:
    """What tells of one thing is one metric and shares a number: quantiles of a latency; success, whoever sees it."""
    names: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
    for index, signal in enumerate(signals):
        told = tuple((name, value) for name, value in signal.attributes if name not in ("quantile", "statistic"))
        one = (_SUCCESS, ()) if signal.over or signal.bounded else (_QUANTILE.sub("", signal.metric), told)
        names.setdefault(one, []).append(index)
    groups = np.full(len(signals), -1, np.int64)
    for number, indices in enumerate(names.values()):
        if len(indices) > 1:
            groups[indices] = number
    return groups

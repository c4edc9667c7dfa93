"""One signal of a service, watched for one change: which looks are complete, and what each detector says at each.

A look is complete when every member that is still reporting has come to it, or when time has moved past it. So the
numbers do not depend on how the stream was cut into messages, and the last sample to come decides at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from math import isfinite
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.change import Change
from deploy.evidence import Finding
from detectors.beside_rows import AWAY_EFFECT, AWAY_LOG_P, BINS, EFFECT, ENDED, LOG_P, OUT, VALUES
from detectors.combine import log_e_to_log_p, log_p_to_log_e
from detectors.concurrent import ConcurrentCalibration, ConcurrentTest, calibrate_concurrent
from detectors.counts import CountsTest, calibrate_counts
from detectors.own_past import NEEDED, SPAN, Calibration, Looks, calibrate
from detectors.peers import PeersCalibration, calibrate_peers
from detectors.pool import FEWEST, Pool
from detectors.replaced import ReplacedTest
from detectors.silence import gap_log_p, never_reported_log_p, traffic_shun
from stream.collect import Collected, Collector
from stream.columns import Float64, Int64
from stream.learning import BESIDE, HISTORY, Past
from stream.members import Arm, Members
from stream.rounds import SILENT, Rounds
from stream.series import Series
from stream.signals import SignalId, kind_of
from stream.whole import total, whole
from stream.words import against, p_value, power

#: Looks of raw history that are read at most where nothing was learned: two weeks at one a minute.
WHOLE = 20_160
#: With fewer looks of instances beside each other what is known of other services' is borrowed.
_YOUNG = 480


class Neighbours(Protocol):
    """What other services lend to a young one."""

    def past(self, like: SignalWatch, kind: str) -> Pool | None: ...

    def has_siblings(self, like: SignalWatch) -> bool: ...

    def siblings(self, like: SignalWatch, kind: str) -> Sequence[ConcurrentCalibration]: ...


class Look(msgspec.Struct, frozen=True):
    """What one control said at one look: the calibrated log p so far, and the numbers behind it."""

    time: int
    control: str
    log_p: float
    describe: Callable[[], Finding]


class SignalWatch:
    """The detectors of one signal for one change, from the moment of the change on."""

    def __init__(self, service: str, signal: SignalId, change: Change, period: int, looks: int, since: int = 0) -> None:
        self.service, self.signal, self.change = service, signal, change
        self.moment, self.period, self.looks = change.time, period, max(looks, 1)
        #: When it became known (Unix ms); none of its looks is complete before.
        self.since = since
        self._members = Members(signal, change, period, since)
        self._rounds: Rounds | None = None
        self._place = 0
        self._past: Looks | None = None
        self._past_of: Calibration | None = None
        self._past_log_p = 0.0
        self._control_log_p = 0.0
        self._counts: CountsTest | None = None
        #: Where new and old values are compared: what kind they are, and what others lent to calibrate that; and how,
        #: which is known once something new was heard of.
        self._lent: tuple[str, Sequence[ConcurrentCalibration]] | None = None
        self._compares: ConcurrentTest | None = None
        self._replaced: ReplacedTest | None = None
        self._replaced_log_p = 0.0
        self._gaps: Float64 = np.empty(0)
        self._history_samples = 0
        self._new_since: int | None = None
        self._new_look = 2**62
        self._compared = 0
        #: The old that what is new is compared with, as they were at the change.
        self._olds: Sequence[Arm] = ()
        self._silence = 0.0
        self._missing = 0.0
        self._shun: CountsTest | None = None
        self._elsewhere: int | None = None
        #: How long (s) what was new took to its first sample in earlier changes.
        self.start_ups: Float64 = np.array([START_UP])

    # -- members ------------------------------------------------------------------------------------------------------

    def attach(self, series: Sequence[Series]) -> None:
        """Take in the series that make up the signal now; members not known before are sorted into new and old."""
        self._members.attach(series)
        self._renew()

    def name(self, change: Change) -> None:
        """The change names more instances than before: those among the old ones are new from the next look on."""
        if self.keeps and self._rounds is not None:
            self.know_old(self._rounds.kept(self._place))
        self._renew()
        self.change = change
        self._members.name(change)

    @property
    def elsewhere(self) -> int | None:
        """When what is new was first heard of in another signal of the service (ms), if it was."""
        return self._elsewhere

    @elsewhere.setter
    def elsewhere(self, time: int | None) -> None:
        if time != self._elsewhere:
            self._elsewhere = time
            self._renew()

    @property
    def new_born(self) -> int | None:
        """When what is new was first heard of in this signal (ms); None if it was not, or was there before."""
        return self._members.new_born

    # -- looks --------------------------------------------------------------------------------------------------------

    def calibrate(
        self, usable: Callable[[Int64], np.ndarray], neighbours: Neighbours, past: Past | None = None, *,
        beside: bool = True, raw: int = HISTORY,
    ) -> None:  # fmt: skip
        """Know the time up to the change: what was learned of it, `past`, or without that what all raw samples say.

        `usable` says which of these times (int64[n]) were undisturbed. Where that is too little, `neighbours` stand in.
        Without `beside` nothing is new, and the own past alone counts. So many looks are still `raw`: a past that is
        all among them is read whole, as a row learns a season only once it has seen some days of it.
        """
        own = None if past is None else past.get(self.signal)
        learned: Calibration | None = None
        if own is not None and (own.late or own.samples >= NEEDED):
            least, relative = self._least()
            learned = own.calibration(watch=self.looks, harm=self.signal.harm, least_effect=least, relative=relative)
        if own is None or not own.late:
            # Too young for a row, come at another pace than before, or all of it still raw.
            enough = NEEDED if raw <= HISTORY else raw
            alike = own is not None and abs(own.period - self.period) * 5 <= self.period and own.samples >= enough
            if learned is None or not learned.ready or not alike:
                self._read(WHOLE if past is None else raw, usable, neighbours, borrow=learned is None)
        if own is not None and learned is not None and not self._read_enough:
            # Also where what is raw does not suffice, as of a series that comes at no pace at all.
            self._past_of, self._past = learned, learned.start()
            self._gaps = own.gaps * (own.period / 1_000)
            self._history_samples = own.samples
        if beside:
            self._compare(neighbours)

    @property
    def _read_enough(self) -> bool:
        """Whether raw samples were read and tell of a past of its own."""
        return self._past_of is not None and self._past_of.ready and not self.young

    def _read(
        self, length: int, usable: Callable[[Int64], np.ndarray], neighbours: Neighbours, *, borrow: bool
    ) -> None:
        """The own past out of the raw samples of the last `length` looks up to 0."""
        least, relative = self._least()
        history = self.whole_history(length)
        filled = np.flatnonzero(np.isfinite(history))
        history = history[filled[0] :] if len(filled) else history[:0]
        times = self.moment + (np.arange(len(history)) - (len(history) - 1)) * self.period
        seconds = self.period / 1_000
        self._history_samples = len(filled)
        self._past_of = calibrate(
            history, period=seconds, end=self.moment / 1_000, watch=self.looks, usable=usable(times),
            harm=self.signal.harm, least_effect=least, relative=relative, kind=self.kind(),
            pooled=neighbours.past(self, self.kind()) if borrow and FEWEST <= len(filled) < NEEDED else None,
        )  # fmt: skip
        self._past = self._past_of.start()
        self._gaps = np.diff(filled).astype(np.float64) * seconds

    def _compare(self, neighbours: Neighbours) -> None:
        """How the old instances differ among themselves, which new against old is judged by."""
        ids, kind = self.signal, self.kind()
        olds = self._olds = self._members.compared
        if not olds:
            return
        if ids.over:
            least, relative = self._least()
            rows = [arm.history(BESIDE) for arm in olds]
            known = np.flatnonzero(np.column_stack([np.isfinite(row[0]) for row in rows]).any(axis=1))
            begun = int(known[0]) if len(known) else BESIDE
            events, exposure = (np.column_stack([row[i][begun:] for row in rows]) for i in (0, 1))
            absolute = 0.0 if least is None or relative else least
            self._counts = CountsTest(calibrate_counts(events, exposure), harm=ids.harm, least_effect=absolute)
            if self.change.rollout.share is not None and 0.0 < self.change.rollout.share < 1.0:
                self._shun = traffic_shun(exposure)
        elif not self._counted():
            # What others lend is lent now; one's own raw samples stay for as long as the change is watched.
            young = neighbours.has_siblings(self) and np.count_nonzero(self._reported().any(axis=1)) < _YOUNG
            self._lent = kind, neighbours.siblings(self, kind) if young else ()

    def _reported(self) -> npt.NDArray[np.bool_]:
        """bool[480, members]: which of the old that new is compared with came in each of the last looks up to 0."""
        return np.column_stack([np.isfinite(arm.history(BESIDE)[0]) for arm in self._olds])

    @cached_property
    def _old_presence(self) -> float:
        """Share of the looks since they began at which the old came."""
        if not self._olds:
            return 0.0
        reported = self._reported()
        known = np.flatnonzero(reported.any(axis=1))
        return float(reported[int(known[0]) :].mean()) if len(known) else 0.0

    @property
    def _values(self) -> ConcurrentTest | None:
        """How new and old values are compared, None where they are not.

        Dear to calibrate, and for nothing where nothing new is ever heard of: most changes rename no instance.
        """
        if self._lent is not None and self._compares is None:
            kind, siblings = self._lent
            calibration = self.calibrate_siblings(kind, BESIDE, siblings)
            assert calibration is not None  # there are old ones, and it is no ratio
            self._compares, replaced = ConcurrentTest(calibration), ReplacedTest(calibration)
            self._replaced = replaced if replaced.ready else None
        return self._compares

    def whole_history(self, length: int) -> Float64:
        """float64[length]: the looks up to 0 of the signal over all its members."""
        return self._whole([arm.history(length) for arm in self._members if arm.existed], length)

    def calibrate_peers(
        self, usable: Callable[[Int64], np.ndarray], peers: Sequence[SignalWatch], most: int
    ) -> PeersCalibration | None:
        """Its own past without what these did in at most so many looks; None where they are no control."""
        if self._past_of is None or not self._past_of.ready or self.borrows or not peers:
            return None
        length = min(most, SPAN + self.looks)
        history = self.whole_history(length)
        begun = int(np.argmax(np.isfinite(history)))
        times = self.moment + (np.arange(begun, length) - (length - 1)) * self.period
        least, relative = self._least()
        return calibrate_peers(
            history[begun:], np.column_stack([one.whole_history(length)[begun:] for one in peers]), self._past_of,
            period=self.period / 1_000, end=self.moment / 1_000, watch=self.looks, usable=usable(times),
            harm=self.signal.harm, least_effect=least, relative=relative, kind=self.kind(),
        )  # fmt: skip

    @property
    def several(self) -> bool:
        """Whether there are old members that can be compared with each other."""
        return len(self._members.compared) > 1

    def calibrate_siblings(
        self, kind: str, length: int, pooled: Sequence[ConcurrentCalibration] = ()
    ) -> ConcurrentCalibration | None:
        """What the members that existed showed of each other in the last `length` looks up to 0."""
        rows = [arm.history(length)[0] for arm in self._members.compared]
        if not rows or self.signal.over:
            return None
        history = np.column_stack(rows)
        known = np.flatnonzero(np.isfinite(history).any(axis=1))
        least, relative = self._least()
        return calibrate_concurrent(
            history[known[0] :] if len(known) else history[:0], period=self.period / 1_000, kind=kind,
            harm=self.signal.harm, least_effect=least, relative=relative, watch=self.looks, pooled=list(pooled) or None,
        )  # fmt: skip

    def _least(self) -> tuple[float | None, bool]:
        """The least effect that counts, and whether it is a share of the level."""
        effect = self.signal.effect
        return (None, True) if effect is None else (effect.size, effect.relative)

    def kind(self) -> str:
        """What its numbers are, for `detectors.transform`."""
        return kind_of(self.signal, (line.series.key for arm in self._members for line in arm.lines))

    def _counted(self) -> bool:
        return any(line.counted for arm in self._members for line in arm.lines)

    def _whole(self, rows: list[tuple[Float64, Float64]], length: int) -> Float64:
        return whole(rows, length, ratio=bool(self.signal.over), counted=self._counted())

    # -- as one of the signals that take their looks together --------------------------------------------------------

    def join(self, rounds: Rounds) -> None:
        """Take its looks together with others, from the first on."""
        self._rounds, self._place = rounds, rounds.add(self)

    def _renew(self) -> None:
        if self._rounds is not None:
            self._rounds.renew()

    @property
    def collector(self) -> Collector:
        """Its series."""
        return self._members.collector

    @property
    def own_past(self) -> Looks | None:
        """Its own past, where it can be judged by one."""
        return self._past if self.past_ready else None

    @property
    def keeps(self) -> bool:
        """Whether what the old ones say is kept, to be taken once something new is heard of."""
        return self._lent is not None and not self._members.new

    @property
    def asks(self) -> bool:
        """Whether it has to hear every look: new and old are compared, or something new is waited for."""
        if self._new_since is None and (self._members.new or self._waits_for_new()):
            return True
        if self._counts is not None or not self._members.new:
            return self._counts is not None
        return self._values is not None and not self._values.calibration.ready

    @property
    def comparison(self) -> tuple[ConcurrentTest, ReplacedTest | None, int] | None:
        """How new and old are compared, with how many are new; None where they are not, or only by their order."""
        news = len(self._members.new)
        values = self._values if news else None
        return None if values is None or not values.calibration.ready else (values, self._replaced, news)

    @property
    def has_new(self) -> bool:
        """Whether any of its members is new."""
        return bool(self._members.new)

    @property
    def sides(self) -> tuple[list[int], list[int]]:
        """The numbers of the members that are new, and of those that are old."""
        return [arm.number for arm in self._members.new], [arm.number for arm in self._members.old]

    def hear(
        self, first: int, found: Collected, past: Float64 | None, beside: Float64 | None, empty: int
    ) -> Iterator[Look]:
        """What its controls say of looks that are complete, the first of which is number `first`.

        `past` (float64[n]) is the running log p by its own past, `beside` (float64[7, n]) what the comparison of new
        with old says (`detectors.beside_rows`), without which it is made here; before these looks so many had been
        `empty`.
        """
        self._note_new(found, first)
        if past is not None:
            yield from self._look_at_past(first, found, past)
        if self._counts is not None:
            yield from self._look_at_counts(found, self._counts)
        elif self._members.new and self._values is not None:
            # Before anything new reports, the old ones are still worth knowing, but not yet: they are kept.
            yield from self._look_at_values(found, self._compared_with(found) if beside is None else beside)
        yield from self._look_at_silence(first, found, empty)

    @property
    def closed(self) -> int:
        """The last look that is complete."""
        return 0 if self._rounds is None else self._rounds.closed(self._place)

    def update(self, watermark: int, horizon: int = 2**62) -> Iterator[Look]:
        """Take every look that is complete now, of this signal alone; yields what is news, in the order of looks.

        Time has come to `watermark`; what was sampled after `horizon` is not known yet.
        """
        if self._rounds is None:
            self.join(Rounds(self.moment))
            assert self._rounds is not None
        for _, look in self._rounds.take(watermark, horizon):
            yield look

    def taken(self, first: int, last: int) -> tuple[Float64, Int64]:
        """The signal over all its members at the looks first..last, which are complete, and when each was."""
        whole, closings = self._taken
        return whole[first - 1 : last], closings[first - 1 : last]

    @property
    def _taken(self) -> tuple[Float64, Int64]:
        if self._rounds is None:
            return np.empty(0), np.empty(0, np.int64)
        return self._rounds.taken(self._place)

    def looks_by(self, time: int) -> int:
        """How many looks had been taken by `time`."""
        return int(np.searchsorted(self._taken[1], time, side="right"))

    # -- what each control says ---------------------------------------------------------------------------------------

    @property
    def borrows(self) -> bool:
        """Whether it is judged by the pasts of other services, being too young for its own."""
        return self.past_ready and self.young

    @property
    def young(self) -> bool:
        """Whether its own past is too short to judge it by."""
        return self._history_samples < NEEDED

    @property
    def past_ready(self) -> bool:
        return self._past_of is not None and self._past_of.ready

    def control_ready(self, time: int) -> bool:
        """Whether by `time` new and old ran beside each other, so that they can be compared."""
        compared = self._counts is not None or self._lent is not None
        return compared and self._new_since is not None and self._new_since <= time

    @property
    def silence_ready(self) -> bool:
        return len(self._gaps) >= SILENT

    @property
    def warming(self) -> str:
        """Why the own past cannot speak yet; empty where it can."""
        return "" if self._past_of is None else self._past_of.reason

    def lasted(self) -> int:
        """For how many looks the signal was further from what was expected than half of the furthest."""
        whole = self._taken[0]
        if not self.past_ready or not len(whole):
            return 0
        away = np.abs(np.nan_to_num(whole - self._expected(0, len(whole))))
        return int(np.count_nonzero(away > away.max() / 2))

    def _expected(self, first: int, count: int) -> Float64:
        """What its own past lets expect at so many looks from `first` (from 0) on, float64[count]."""
        assert self._past_of is not None
        return self._past_of.expected[np.minimum(np.arange(first, first + count), self._past_of.watch - 1)]

    def _look_at_past(self, first: int, found: Collected, past: Float64) -> Iterator[Look]:
        times, whole = found.closings, found.whole
        for i in _news(past, self._past_log_p):
            log_p = self._past_log_p = float(past[i])
            value, expected = float(whole[i]), float(self._expected(first - 1 + i, 1)[0])

            def describe(
                samples: int = first + i, log_p: float = log_p, value: float = value, expected: float = expected
            ) -> Finding:
                text = f"{against(self.title, value, expected)} before (n={samples}, {p_value(log_p)})"
                return self._finding("past", log_p, value - expected, expected, samples, text)

            yield Look(int(times[i]), "past", log_p, describe)

    def _look_at_counts(self, found: Collected, counts: CountsTest) -> Iterator[Look]:
        times, count = found.closings, len(found.closings)
        news, olds = self.sides
        requests_new, requests_old = (total(list(found.exposure[side]), count) for side in (news, olds))
        counted = counts.update(
            total(list(found.values[news]), count), requests_new,
            total(list(found.values[olds]), count), requests_old,
        )  # fmt: skip
        yield from self._look_at_traffic(times, requests_new, requests_old)
        for i in range(count):
            log_e = float(counted.log_e_max[i])
            if not -log_e < self._control_log_p:
                continue
            self._control_log_p = -log_e

            def describe(i: int = i, log_e: float = log_e) -> Finding:
                new, old = float(counted.new_ratio[i]), float(counted.old_ratio[i])
                n = f"{counted.new_events[i]:.0f}/{counted.new_exposure[i]:.0f}"
                m = f"{counted.old_events[i]:.0f}/{counted.old_exposure[i]:.0f}"
                text = f"{against(self.title, new, old)} (n={n} against {m}, e={power(log_e)})"
                effect = new - old if np.isfinite(new - old) else 0.0
                samples = int(counted.new_exposure[i])
                return self._finding("concurrent", log_e_to_log_p(log_e), effect, old, samples, text, log_e)

            yield Look(int(times[i]), "concurrent", log_e_to_log_p(log_e), describe)

    def _compared_with(self, found: Collected) -> Float64:
        """What the comparison of new with old says of these looks, float64[7, looks], for this signal alone."""
        assert self._values is not None
        nothing = np.full((len(found.closings), 1), np.nan)
        new, old = (np.ascontiguousarray(found.values[side].T) if side else nothing for side in self.sides)
        out = np.zeros((OUT, len(new)))
        values = self._values.update(new, old)
        shown = self._compared + np.cumsum(np.isfinite(new).sum(axis=1))
        self._compared = int(shown[-1])
        out[LOG_P], out[EFFECT], out[VALUES] = values.log_p, values.effect, shown
        if self._replaced is not None:
            gone = self._replaced.update(new, old)
            out[AWAY_LOG_P], out[AWAY_EFFECT], out[ENDED], out[BINS] = (
                gone.log_p, gone.effect, gone.expected, gone.samples
            )  # fmt: skip
        return out

    def _look_at_values(self, found: Collected, said: Float64) -> Iterator[Look]:
        times = found.closings
        news, olds = (found.values[side] for side in self.sides)
        for i in _news(said[LOG_P], self._control_log_p):
            log_p = self._control_log_p = float(said[LOG_P, i])

            def describe(
                value: float = _mean(news[:, i]), control: float = _mean(olds[:, i]), log_p: float = log_p,
                samples: int = int(said[VALUES, i]), effect: float = float(said[EFFECT, i]),
            ) -> Finding:  # fmt: skip
                text = f"{against(self.title, value, control)} beside it (n={samples}, {p_value(log_p)})"
                return self._finding("concurrent", log_p, effect, control, samples, text)

            yield Look(int(times[i]), "concurrent", log_p, describe)
        for i in _news(said[AWAY_LOG_P], self._replaced_log_p):
            # No old one is left: what is new against what they had been.
            log_p = self._replaced_log_p = float(said[AWAY_LOG_P, i])

            def describe_replaced(
                value: float = _mean(news[:, i]), level: float = float(said[ENDED, i]), log_p: float = log_p,
                samples: int = int(said[BINS, i]), effect: float = float(said[AWAY_EFFECT, i]),
            ) -> Finding:  # fmt: skip
                text = f"{against(self.title, value, level)} of the old, which are gone (n={samples}, {p_value(log_p)})"
                return self._finding("past", log_p, effect, level, samples, text)

            yield Look(int(times[i]), "replaced", log_p, describe_replaced)

    def know_old(self, kept: Sequence[Float64]) -> None:
        """Take what was kept of looks in which nothing new had been heard of, float64[members, looks] each."""
        values = self._values
        if values is None:
            return
        olds = [arm.number for arm in self._members.old]
        alone = [np.ascontiguousarray(said[[one for one in olds if one < len(said)]].T) for said in kept]
        for _, looks in groupby(alone, key=lambda old: old.shape[1]):
            old = np.concatenate(list(looks))
            new = np.full((len(old), 1), np.nan)
            values.update(new, old)
            if self._replaced is not None:
                self._replaced.update(new, old)

    def _look_at_traffic(self, times: Int64, new: Float64, old: Float64) -> Iterator[Look]:
        """What is new runs, but does not get the share of the requests that its change says."""
        share = self.change.rollout.share
        if self._shun is None or share is None:
            return
        runs = np.isfinite(new)
        found = self._shun.update(
            new, np.where(runs, share, np.nan), np.where(runs, old, np.nan), np.full(len(new), 1.0 - share)
        )
        for i in range(len(times)):
            log_p = log_e_to_log_p(float(found.log_e_max[i]))
            if log_p < self._missing:
                self._missing = log_p
                text = (
                    f"{self.signal.over}: {found.new_events[i]:.0f} requests to the new against "
                    f"{found.old_events[i]:.0f} to the old at a share of {share:g} ({p_value(log_p)})"
                )
                yield Look(int(times[i]), "missing", log_p, self._silent("missing", log_p, text, 0.0))

    def _note_new(self, found: Collected, first: int) -> None:
        if self._new_since is None and self._members.new:
            news = found.values[[arm.number for arm in self._members.new]]
            seen = np.flatnonzero(np.isfinite(news).any(axis=0))
            if len(seen):
                self._new_since, self._new_look = int(found.closings[seen[0]]), first + int(seen[0])

    def _look_at_silence(self, first: int, collected: Collected, empty: int) -> Iterator[Look]:
        seconds, times, whole = self.period / 1_000, collected.closings, collected.whole
        for i, value in enumerate(whole.tolist()):
            empty = 0 if isfinite(value) else empty + 1
            if empty < SILENT or not self.silence_ready:
                continue
            gap = empty * seconds
            found = gap_log_p(self._gaps, gap, seconds, watch=float(self.looks))
            self._silence = min(self._silence, found.log_p)
            text = f"{self.title} silent for {gap:g} s ({found.reason}, {p_value(found.log_p)})"
            yield Look(int(times[i]), "silence", self._silence, self._silent("silence", self._silence, text, gap))
        if self._new_look > first and self._waits_for_new():
            # What runs already and reports other things has no start-up any more.
            since, start_ups = self.moment, self.start_ups
            if self._elsewhere is not None:
                since, start_ups = self._elsewhere, np.empty(0)
            for i in range(min(len(whole), self._new_look - first)):
                waited = (self.moment + (first + i) * self.period - since) / 1_000
                if waited <= 0.0:
                    continue
                found = never_reported_log_p(
                    waited, seconds, start_ups, old_presence=self._old_presence,
                    instances=max(len(self.change.instances), 1), runs=self._elsewhere is not None,
                )  # fmt: skip
                if found.log_p < self._missing:
                    self._missing = found.log_p
                    named = ", ".join(self.change.instances) or f"version {self.change.version}"
                    runs = "" if self._elsewhere is None else " (though it runs)"
                    text = f"{self.title}: {named} {found.reason}{runs}, {p_value(found.log_p)}"
                    yield Look(
                        int(times[i]), "missing", found.log_p, self._silent("missing", found.log_p, text, waited)
                    )

    def _waits_for_new(self) -> bool:
        """Whether something should report by name. Only where the old ones carry such a name."""
        return self._members.told_by_instance if self._elsewhere is not None else self._members.await_new()

    def _silent(self, control: str, log_p: float, text: str, gap: float) -> Callable[[], Finding]:
        return lambda: self._finding(control, log_p, gap, None, self._history_samples, text)

    def _finding(
        self, control: str, log_p: float, effect: float, expected: float | None, samples: int, reason: str,
        log_e: float | None = None,
    ) -> Finding:  # fmt: skip
        return Finding(
            service=self.service,
            metric=self.signal.title,
            attributes=dict(self.signal.attributes),
            control=control,
            log_p=log_p,
            log_e=log_p_to_log_e(log_p) if log_e is None else log_e,
            effect=effect if np.isfinite(effect) else 0.0,
            expected=expected if expected is not None and np.isfinite(expected) else None,
            samples=samples,
            reason=reason,
        )

    @property
    def title(self) -> str:
        told = ",".join(f"{name}={value}" for name, value in self.signal.attributes)
        return f"{self.signal.title}{{{told}}}" if told else self.signal.title


#: Seconds that an instance may take from its change to its first sample, where nothing is known of its service.
START_UP = 120.0


def _news(log_p: Float64, before: float) -> list[int]:
    """Where a log p fell below all before it."""
    lowest = np.minimum.accumulate(np.concatenate([[before], log_p[:-1]]))
    found: list[int] = np.flatnonzero(log_p < lowest).tolist()
    return found


def _mean(values: Float64) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")

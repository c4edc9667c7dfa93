"""The online past: what it promises whatever the series, and that a row of numbers holds what the plain lists say."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import online_row as at
from detectors import online_transform
from detectors.online_past import FIRST, OnlinePast
from detectors.transform import KINDS, Transform, fit
from tests.detectors import reference_online_past as reference

START = 1_700_000_000_000
MINUTE = 60_000


def noise(n, seed=0, level=20.0, width=0.1):
    return level * np.random.default_rng(seed).lognormal(0.0, width, n)


def clock(n, period=MINUTE, start=START):
    return start + period * np.arange(n)


def feed(past, row, values, times=None):
    values = np.asarray(values, dtype=float)
    return past.update(np.full(len(values), row), clock(len(values)) if times is None else times, values)


def learned(values, times=None, kind=None):
    past = OnlinePast(1)
    if kind is not None:
        past.set_kind(0, kind)
    feed(past, 0, values, times)
    return past


def final(calibration, values):
    return calibration.start().update(np.asarray(values, dtype=float)).log_p[-1]


def same(one, other):
    a, b = one.arrays(), other.arrays()
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


class TestWhatItSays:
    def test_a_doubling_is_found_at_its_first_samples(self):
        evidence = learned(noise(3000)).calibration(0, watch=60).start().update(noise(60, 1) * 2.0)
        assert evidence.log_p[3] < np.log(0.004)
        assert evidence.statistic.endswith("up")
        assert 15.0 < evidence.effect[3] < 26.0

    def test_calm_after_the_change_is_no_evidence(self):
        finals = [final(learned(noise(1500, 2 * s)).calibration(0, watch=60), noise(60, 2 * s + 1)) for s in range(20)]
        assert sum(p < np.log(0.004) for p in finals) == 0
        assert np.median(finals) > np.log(0.1)

    def test_what_the_past_holds_is_not_because_of_the_change(self):
        history = noise(3000)
        for start in range(103, 3000, 300):
            history[start : start + 20] *= 3.0
        harm = noise(60, 1) * 3.0
        assert final(learned(history).calibration(0, watch=60), harm) > np.log(0.004)
        assert final(learned(noise(3000)).calibration(0, watch=60), harm) < np.log(0.004)

    def test_what_it_did_not_do_while_it_was_off_says_nothing_of_what_it_does_when_it_is_on(self):
        swings = 40.0 + 20.0 * np.sin(np.arange(360) / 20.0)
        begun = np.concatenate([np.zeros(5000), swings[:240]])
        assert final(learned(begun).calibration(0, watch=60), swings[240:300]) > np.log(0.02)
        assert final(learned(np.zeros(5000)).calibration(0, watch=60), swings[:60]) < np.log(0.004)

    def test_a_daily_swing_is_expected(self):
        n = 9 * 288
        times = clock(n + 60, 300_000, start=0)
        whole = noise(n + 60, width=0.02) * np.exp(1.5 * np.sin(2.0 * np.pi * np.arange(n + 60) / 288.0))
        found = learned(whole[:n], times[:n]).calibration(0, watch=60)
        np.testing.assert_allclose(found.expected, whole[n:], rtol=0.15)
        assert final(found, whole[n:]) > np.log(0.05)
        assert final(found, whole[n:] * 1.3) < np.log(0.004)
        assert final(found, whole[n - 144 : n - 84]) < np.log(0.004)

    def test_harm_in_the_other_direction_says_nothing(self):
        past = learned(noise(3000))
        assert final(past.calibration(0, watch=60, harm="down"), noise(60, 1) * 5.0) > np.log(0.05)
        assert final(past.calibration(0, watch=60, harm="up", least_effect=2.0), noise(60, 1) * 2.0) == 0.0

    @pytest.mark.parametrize("watch", [1, 4, 9, 30, 60, 240, 1800])
    def test_any_length_of_watch_has_its_yardsticks(self, watch):
        found = learned(noise(8000)).calibration(0, watch=watch)
        assert found.ready
        assert found.yardsticks[-1].window == watch
        assert found.start().update(noise(watch, 1)).log_p[-1] > np.log(0.02)

    @pytest.mark.parametrize("n", [0, 1, 59, 60, 99])
    def test_a_short_history_is_not_ready_and_says_why(self, n):
        found = learned(noise(n)).calibration(0, watch=60)
        assert not found.ready
        assert found.reason == f"{n} of 100 samples of history"
        assert found.start().update(np.array([1e9, np.nan])).log_p.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize(
        "history",
        [np.zeros(500), np.full(500, 1.0), np.full(500, 1e300), np.full(500, -3.0), np.full(500, 1e-300),
         np.tile([0.0, 0.0, 0.0, 1.0], 125), np.tile([np.nan, 5.0], 300)],
    )  # fmt: skip
    def test_the_same_again_is_no_evidence(self, history):
        found = learned(history).calibration(0, watch=60)
        assert found.ready
        log_p = found.start().update(history[-60:]).log_p
        assert np.all(np.isfinite(log_p))
        assert log_p[-1] > np.log(0.1)


class TestWatchedTime:
    def stream(self, end):
        past, history = OnlinePast(1), noise(3000)
        times = clock(3000)
        done = 0
        for start in range(500, 3000, 300):
            history[start : start + 60] *= 3.0
            feed(past, 0, history[done:start], times[done:start])
            past.watch([0])
            done = start + 60
            feed(past, 0, history[start:done], times[start:done])
            end(past, [0])
        feed(past, 0, history[done:], times[done:])
        return past.calibration(0, watch=60)

    def test_forgotten_time_never_counts(self):
        harm = noise(60, 1) * 3.0
        assert final(self.stream(OnlinePast.forget), harm) < np.log(0.004)
        assert final(self.stream(OnlinePast.accept), harm) > np.log(0.004)

    def test_accepted_time_counts_as_if_nobody_had_looked(self):
        watched, plain, values, times = OnlinePast(1), OnlinePast(1), noise(900), clock(900)
        feed(plain, 0, values, times)
        feed(watched, 0, values[:700], times[:700])
        watched.watch([0])
        feed(watched, 0, values[700:800], times[700:800])
        watched.accept([0])
        feed(watched, 0, values[800:], times[800:])
        one, other = (p.calibration(0, watch=60) for p in (plain, watched))
        for a, b in zip(one.yardsticks, other.yardsticks, strict=True):
            # They are put into another bucket, and so rounded at another time; of two baselines that are as good the
            # other may have been taken.
            same = a.baseline == b.baseline
            assert np.count_nonzero(same) >= 3
            np.testing.assert_allclose(a.excursion[same], b.excursion[same], rtol=0.026)
            # Shadows with an odd beginning are not kept of watched time.
            assert np.all((0.95 * a.disjoint <= b.disjoint) & (b.disjoint <= a.disjoint))

    def test_an_end_without_a_watch_changes_nothing(self):
        past, plain = learned(noise(700)), learned(noise(700))
        past.forget([0])
        past.accept([0])
        assert same(past, plain)


class TestTheStore:
    def test_a_row_is_at_most_two_kilobytes(self):
        assert OnlinePast(20_000).nbytes / 20_000 == OnlinePast(1).row_bytes <= 2048

    def test_growing_moves_nothing_and_changes_nothing(self):
        small, large = OnlinePast(2), OnlinePast(FIRST * 4)
        values = noise(400)
        for past in (small, large):
            for row in (0, 1, 2, FIRST + 5, 2 * FIRST + 7):
                feed(past, row, values * (row + 1))
        chunks = [chunk[0] for chunk in small._chunks]
        small.reserve(FIRST * 10)
        assert all(chunk[0] is old for chunk, old in zip(small._chunks, chunks, strict=False))
        for row in (0, 2, FIRST + 5, 2 * FIRST + 7):
            one, other = (p.calibration(row, watch=30) for p in (small, large))
            assert one.yardsticks[0].excursion.tolist() == other.yardsticks[0].excursion.tolist()
            assert small.last_time(row) == large.last_time(row) == START + 399 * MINUTE

    def test_what_was_stored_goes_on_as_before(self):
        past = learned(noise(2000))
        again = OnlinePast.from_arrays(past.arrays())
        for store in (past, again):
            feed(store, 0, noise(500, 7), clock(500, start=START + 2000 * MINUTE))
        assert same(past, again)

    def test_another_version_or_shape_is_refused(self):
        arrays = learned(noise(10)).arrays()
        with pytest.raises(ValueError, match="version 0 of the online past: expected 2"):
            OnlinePast.from_arrays({**arrays, "version": np.array(0)})
        with pytest.raises(ValueError, match="expected int16"):
            OnlinePast.from_arrays({**arrays, "words": arrays["words"][:, 1:]})

    def test_a_reset_row_is_a_new_one_of_its_kind(self):
        past, fresh = OnlinePast(1), OnlinePast(1)
        for store in (past, fresh):
            store.set_kind(0, "count")
        feed(past, 0, noise(900))
        past.reset(0)
        for store in (past, fresh):
            feed(store, 0, np.round(noise(900, 4)))
        assert same(past, fresh)
        assert past.period(0) == 60.0

    def test_wrong_arguments_are_refused(self):
        past = learned(noise(200))
        for call in (
            lambda: past.set_kind(0, "colour"), lambda: past.calibration(0, watch=0), lambda: OnlinePast(0),
            lambda: past.calibration(0, watch=5, harm="sideways"), lambda: feed(past, -1, [1.0]),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="expected"):
                call()
        with pytest.raises(IndexError, match="row 9: expected 0 to 0"):
            past.calibration(9, watch=5)

    def test_nothing_known_has_no_time(self):
        assert OnlinePast(1).last_time(0) is None
        assert np.isnan(OnlinePast(1).period(0))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 900), max_size=6), missing=st.floats(0.0, 0.5))
def test_any_cut_of_the_stream_gives_the_same_bits(seed, cuts, missing):
    rng = np.random.default_rng(seed)
    rows, values = rng.integers(0, 3, 900), noise(900, seed)
    values[rng.random(900) < missing] = np.nan
    times = clock(900, 20_000)
    whole, parts = OnlinePast(3), OnlinePast(3)
    taken = whole.update(rows, times, values)
    edges = [0, *sorted(cuts), 900]
    for a, b in pairwise(edges):
        taken -= parts.update(rows[a:b], times[a:b], values[a:b])
    assert taken == 0
    assert same(whole, parts)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_other_rows_repeats_and_late_samples_change_nothing(seed):
    rng = np.random.default_rng(seed)
    values, times = noise(700, seed), clock(700)
    alone = learned(values, times)
    crowd = OnlinePast(5)
    for at_once in np.array_split(np.arange(700), 40):
        late = at_once[0] - rng.integers(0, 5)
        order = np.concatenate([at_once, at_once, [max(late, 0)]])
        rows = np.concatenate([np.full(len(order), 3), rng.integers(0, 3, 20)])
        crowd.update(
            rows, np.concatenate([times[order], times[at_once[0]] + np.arange(20)]),
            np.concatenate([values[order], rng.normal(size=20)]),
        )  # fmt: skip
    for name in ("words", "bytes", "reals", "marks"):
        assert alone.arrays()[name][0].tobytes() == crowd.arrays()[name][3].tobytes()


wild = st.one_of(
    st.floats(-1e12, 1e12), st.floats(0.0, 1.0), st.integers(0, 5).map(float), st.sampled_from([1e300, 100.0])
)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(wild, min_size=60, max_size=60), kind=st.sampled_from(KINDS))
def test_the_transform_is_the_same_as_anywhere(values, kind):
    past = learned(values, kind=kind)
    expected = fit(np.array(values), kind)
    form = online_transform.FORMS[past.arrays()["bytes"][0, at.FORM]]
    unit, top = past.arrays()["reals"][0, :2]
    assert form == expected.form
    np.testing.assert_allclose([unit, top], [expected.unit, expected.top], rtol=1e-12)
    number = online_transform.FORMS.index(form)
    there = [online_transform.forward(number, unit, top, v) for v in values]
    np.testing.assert_allclose(there, Transform(form, unit, top).forward(np.array(values)), rtol=1e-9, atol=1e-9)


def check(past, slow):
    """That the row holds exactly what the lists say."""
    words, small, reals, _ = past._row(0)
    buckets = len(slow.buckets)
    assert [None if v == at.UNSET else v for v in words[: at.SLOTS].tolist()] == slow.profile
    assert [None if v == at.UNSET else v for v in words[at.LEVELS : at.SHADOWS].tolist()] == slow.levels
    for offset, expected in ((at.NOW, slow.now), (at.PENDING, slow.pending), (at.ODD, slow.odd)):
        assert words[offset : offset + at.KEPT].tolist() == expected
    assert words[at.QUANTILES : at.STEPS].tolist() == [q for row in slow.quantiles for q in row]
    assert words[at.STEPS : at.USUAL].tolist() == [*slow.steps, slow.away, slow.surprise]
    for n, (codes, counts) in enumerate(slow.buckets[-14:], max(buckets - 14, 0)):
        place = n % 14
        assert small[place * at.KEPT : (place + 1) * at.KEPT].tolist() == codes
        assert small[at.COUNTS + 3 * place : at.COUNTS + 3 * place + 3].tolist() == counts
    assert small[at.ODD_CODES : at.CHOSEN].tolist() == [
        *slow.odd_codes, *slow.odd_old, *slow.odd_counts, *slow.counts, *slow.pending_counts
    ]  # fmt: skip
    assert small[at.CHOSEN : at.TAINTS].tolist() == slow.chosen
    assert small[at.SINCE : at.STILL].tolist() == [*slow.since, slow.quiet, slow.still_blocks]
    recent = {n % 14: part for n, part in enumerate(slow.still)}
    np.testing.assert_allclose(at.still(small) * 15.0, [recent.get(place, 0) for place in range(14)])
    np.testing.assert_allclose(reals[at.SCALE_OFFSET], slow.offset, rtol=1e-9, atol=1e-9)
    assert past.period(0) == pytest.approx(slow.period / 1000.0, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(60, 1200),
    period=st.sampled_from([60_000, 300_000, 1_800_000]),
    missing=st.sampled_from([0.0, 0.02, 0.3, 0.6]),
    gap=st.sampled_from([0, 40, 100]),
    spiky=st.sampled_from([0.0, 0.02]),
    shape=st.sampled_from(["daily", "count", "negative", "bounded", "ratio", "drift", "off and on"]),
    watches=st.lists(st.tuples(st.integers(0, 1200), st.integers(1, 80), st.booleans()), max_size=3),
)
def test_the_row_holds_what_the_lists_say(seed, n, period, missing, gap, spiky, shape, watches):
    rng = np.random.default_rng(seed)
    times = clock(n, period) + rng.integers(0, period // 10, n)
    times[n // 2 :] += gap * period
    turn = 2.0 * np.pi * times / 86_400_000.0
    values = rng.lognormal(3.0, 0.1, n)
    kind = "value"
    if shape == "daily":
        values *= 2.0 + np.sin(turn)
    elif shape == "count":
        values, kind = rng.poisson(3.0, n).astype(float), "count"
    elif shape == "negative":
        values = rng.normal(0.0, 1.0, n) + np.sin(turn)
    elif shape == "bounded":
        values, kind = np.minimum(100.0, 100.5 - rng.exponential(0.4, n)), "bounded"
    elif shape == "ratio":
        values, kind = rng.beta(1.0, 300.0, n), "ratio"
    elif shape == "off and on":
        values[(np.arange(n) // 170) % 2 == 0] = 0.0
    else:
        values *= np.exp(np.linspace(0.0, 4.0, n))
    values[rng.random(n) < spiky] *= 8.0
    values[rng.random(n) < missing] = np.nan
    past, slow = OnlinePast(1), reference.Past(kind)
    past.set_kind(0, kind)
    ends = {start + length: calm for start, length, calm in watches}
    begins = {start for start, _, _ in watches}
    for i in range(n):
        if i in ends and slow.watched:
            (past.accept if ends[i] else past.forget)([0])
            slow.accept() if ends[i] else slow.forget()
        if i in begins and slow.fitted:
            past.watch([0])
            slow.watched = True
        past.update(np.array([0]), times[i : i + 1], values[i : i + 1])
        slow.take(int(times[i]), float(values[i]))
    if slow.fitted:
        check(past, slow)

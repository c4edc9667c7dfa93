"""The own past: what it promises whatever the series, and that the fast path is the textbook."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.own_past import Calibration, calibrate
from detectors.pool import Pool
from detectors.shadow import windows_of
from tests.detectors import reference_own_past as reference

MINUTE = 60.0
END = 1_700_000_000.0


def noise(n, seed=0, level=20.0, width=0.1):
    return level * np.random.default_rng(seed).lognormal(0.0, width, n)


def past(history=None, watch=60, **given):
    return calibrate(noise(1500) if history is None else history, period=MINUTE, end=END, watch=watch, **given)


def final(calibration: Calibration, values):
    return calibration.start().update(np.asarray(values, dtype=float)).log_p[-1]


class TestWhatItSays:
    def test_a_doubling_is_found_at_its_first_samples(self):
        evidence = past().start().update(noise(60, 1) * 2.0)
        assert evidence.log_p[2] < np.log(0.002)
        assert evidence.statistic.endswith("up")
        assert 17.0 < evidence.effect[2] < 24.0

    def test_calm_after_the_change_is_no_evidence(self):
        finals = [final(past(noise(1500, 2 * s)), noise(60, 2 * s + 1)) for s in range(20)]
        assert sum(p < np.log(0.004) for p in finals) == 0
        assert np.median(finals) > np.log(0.1)

    def test_one_outlier_does_less_than_a_step(self):
        spike = noise(60, 1)
        spike[20] *= 3.0
        step = noise(60, 1)
        step[20:] *= 3.0
        assert final(past(), step) < final(past(), spike)

    def test_one_sample_far_below_a_constant_success_rate_speaks_at_once(self):
        history = np.full(4000, 100.0)
        evidence = past(history, kind="bounded", harm="down").start().update(np.array([100.0, 60.0]))
        assert evidence.log_p[0] == 0.0
        assert evidence.log_p[1] < np.log(0.002)

    def test_a_tenth_of_a_point_below_a_constant_success_rate_is_nothing(self):
        assert final(past(np.full(4000, 100.0), kind="bounded"), [99.9] * 10) > np.log(0.02)

    def test_what_the_past_holds_is_not_because_of_the_change(self):
        history = noise(3000)
        for start in range(100, 3000, 300):
            history[start : start + 20] *= 3.0
        harm = noise(60, 1) * 3.0
        assert final(past(history), harm) > np.log(0.004) > final(past(), harm)

    def test_a_daily_job_is_expected(self):
        history = noise(9 * 288, width=0.02)
        job = np.arange(len(history)) % 288 < 12
        history[job] *= 4.0
        after = noise(12, 3, width=0.02) * 4.0
        at_its_hour = calibrate(history, period=300.0, end=300.0 * (len(history) - 1), watch=60)
        at_noon = calibrate(history[:-144], period=300.0, end=300.0 * (len(history) - 145), watch=60)
        assert final(at_its_hour, after) > np.log(0.004)
        assert final(at_noon, after) < final(at_its_hour, after)


class TestDirectionAndLeastEffect:
    def test_harm_down_says_nothing_of_a_rise(self):
        assert final(past(harm="down"), noise(60, 1) * 5.0) > np.log(0.05)
        assert final(past(harm="down"), noise(60, 1) / 5.0) < np.log(0.002)

    def test_a_rise_below_the_least_effect_does_not_count(self):
        harm = noise(60, 1) * 2.0
        assert final(past(harm="up"), harm) < np.log(0.002)
        assert final(past(harm="up", least_effect=2.0), harm) == 0.0
        assert final(past(harm="up", least_effect=50.0, relative=False), harm) == 0.0


class TestUnusableTime:
    def test_shadows_in_watched_time_never_count(self):
        history, usable = noise(3000), np.ones(3000, dtype=bool)
        for start in range(100, 3000, 300):
            history[start : start + 60] *= 3.0
            usable[start - 10 : start + 70] = False
        harm = noise(60, 1) * 3.0
        assert final(past(history, usable=usable), harm) < np.log(0.002) < final(past(history), harm)

    def test_nothing_usable_is_not_ready(self):
        found = past(usable=np.zeros(1500, dtype=bool))
        assert not found.ready
        assert "undisturbed" in found.reason


class TestTooLittle:
    @pytest.mark.parametrize("n", [0, 1, 12, 99])
    def test_a_short_history_is_not_ready_and_says_why(self, n):
        found = past(noise(n))
        assert not found.ready
        assert found.reason == f"{n} of 100 samples of history"
        assert list(found.start().update(np.array([1e9, np.nan])).log_p) == [0.0, 0.0]

    def test_a_hundred_samples_are_ready(self):
        assert past(noise(100)).ready

    @pytest.mark.parametrize("wrong", [{"watch": 0}, {"harm": "sideways"}, {"kind": "colour"}])
    def test_a_wrong_argument_is_refused(self, wrong):
        with pytest.raises(ValueError, match="expected"):
            past(**wrong)


class TestPooled:
    def pool(self, members=30):
        return Pool.of([noise(60, 100 + i, level=10.0 * (i + 1)) for i in range(members)], watch=30)

    def test_a_young_series_is_judged_by_its_kind(self):
        young = past(noise(40, 1, level=500.0), watch=30, pooled=self.pool())
        assert young.ready
        assert final(young, noise(30, 2, level=500.0)) > np.log(0.004)
        assert final(young, noise(30, 2, level=1500.0)) < np.log(0.004)

    def test_an_old_series_keeps_its_own_past(self):
        harm = noise(30, 2) * 1.4
        assert final(past(watch=30, pooled=self.pool()), harm) == final(past(watch=30), harm)

    def test_a_pool_that_knows_nothing_helps_nobody(self):
        assert not past(noise(40), watch=30, pooled=Pool.of([], watch=30)).ready
        assert not past(noise(11), watch=30, pooled=self.pool()).ready

    def test_the_strangest_member_does_not_set_the_yardstick(self):
        wild = [noise(60, 100 + i) for i in range(30)]
        wild[7][30:34] *= 1e6
        young = noise(40, 1)
        calm = past(young, watch=30, pooled=Pool.of(wild, watch=30))
        assert final(calm, noise(30, 2) * 5.0) < np.log(0.01)


class TestDegenerate:
    @pytest.mark.parametrize(
        "history",
        [np.zeros(500), np.full(500, 1.0), np.full(500, 1e300), np.full(500, -3.0), np.full(500, 1e-300),
         np.tile([0.0, 0.0, 0.0, 1.0], 125), np.tile([np.nan, 5.0], 300)],
    )  # fmt: skip
    def test_the_same_again_is_no_evidence(self, history):
        found = past(history)
        assert found.ready
        log_p = found.start().update(history[-60:]).log_p
        assert np.all(np.isfinite(log_p))
        assert log_p[-1] > np.log(0.1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-9, 1e-3, 3.7, 1e6]), negative=st.booleans())
def test_the_unit_does_not_matter(seed, scale, negative):
    history, after = noise(600, seed), noise(60, seed + 1) * 1.7
    if negative:
        history, after = history - 20.0, after - 20.0
    np.testing.assert_allclose(
        past(history).start().update(after).log_p,
        past(history * scale).start().update(after * scale).log_p,
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


def test_old_samples_beyond_reach_and_the_future_change_nothing():
    values = noise(12_000, 5)
    longer = calibrate(values, period=MINUTE, end=END, watch=30)
    assert longer.ready
    looks, again = longer.start(), longer.start()
    first = looks.update(noise(10, 6)).log_p
    second = again.update(np.concatenate([noise(10, 6), np.full(20, 1e6)])).log_p
    assert first.tobytes() == second[:10].tobytes()


@pytest.mark.parametrize(
    ("watch", "windows"), [(1, (1,)), (9, (9,)), (30, (5, 15, 30)), (60, (5, 15, 60)), (1800, (5, 15, 60, 240, 1800))]
)
def test_nested_windows_grow_up_to_the_watch(watch, windows):
    assert windows_of(watch) == windows
    assert past(watch=watch).ready or watch == 1800


@pytest.mark.parametrize("case", ["noise", "gaps", "counts", "negative", "seasonal", "short", "watched"])
def test_the_fast_path_is_the_textbook(case):
    rng = np.random.default_rng(11)
    period, usable = 1800.0, None
    history, future = noise(400, 1), noise(30, 2) * np.linspace(1.0, 1.8, 30)
    if case == "gaps":
        history[rng.random(400) < 0.3] = np.nan
        history[200:230] = np.nan
        future[rng.random(30) < 0.3] = np.nan
    elif case == "counts":
        history, future = rng.poisson(0.4, 400).astype(float), rng.poisson(3.0, 30).astype(float)
    elif case == "negative":
        history, future = rng.normal(0.0, 1.0, 400), rng.normal(2.0, 1.0, 30)
    elif case == "seasonal":
        day = 1.0 + 0.8 * np.sin(2.0 * np.pi * np.arange(430) / 48.0)
        history, future = history * day[:400], future * day[400:]
    elif case == "short":
        history = history[:130]
    elif case == "watched":
        usable = np.ones(400, dtype=bool)
        usable[150:200] = False
    found = calibrate(history, period=period, end=END, watch=30, usable=usable)
    assert found.ready
    slow = reference.log_p(history, future, period=period, end=END, usable=usable)
    np.testing.assert_allclose(found.start().update(future).log_p, slow, rtol=1e-9, atol=1e-9)

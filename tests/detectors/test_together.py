"""All metrics of a young service together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.together import FEWEST_METRICS, PASTS, Together

METRICS = "abcdef"


def shop(seed, services=20, n=40, spread=0.1):
    rng = np.random.default_rng(seed)
    return [{m: rng.lognormal(3.0, spread, n) for m in METRICS} for _ in range(services)]


def future(seed, n=15, factor=1.0, spread=0.1):
    return np.random.default_rng(seed).lognormal(3.0, spread, (n, len(METRICS))) * factor


def log_p(services, looks, watch=15, **options):
    return Together.of(services[0], services[1:], watch=watch, **options).start().update(looks)


def test_what_nothing_was_done_to_stays_within_its_error_rate():
    found = np.array([log_p(shop(seed), future(1000 + seed))[-1] for seed in range(150)])
    for level in (0.02, 0.05):
        assert np.count_nonzero(found <= np.log(level)) <= 150 * level + 3 * np.sqrt(150 * level)


@pytest.mark.parametrize("factor", [2.0, 0.0, 0.4])
def test_what_moves_in_all_metrics_is_seen_after_two_samples(factor):
    p = log_p(shop(1), future(2, factor=factor))
    assert p[0] == 0.0
    assert p[1] < np.log(0.003)


def test_a_single_odd_sample_is_nothing():
    looks = future(2)
    looks[3] *= 5.0
    assert log_p(shop(1), looks)[-1] > np.log(0.05)


def test_one_metric_among_many_is_little():
    looks = future(2)
    looks[:, 0] *= 1.5
    assert log_p(shop(1), looks)[-1] > np.log(0.003)


def test_what_is_no_harm_does_not_count():
    services, half = shop(1), future(2, factor=0.5)
    up, down = (dict.fromkeys(METRICS, harm) for harm in ("up", "down"))
    assert log_p(services, half, harms=up)[-1] == 0.0
    assert log_p(services, half, harms=down)[-1] < np.log(0.003)


def test_what_the_service_did_itself_before_is_no_news():
    services = shop(1)
    for m in METRICS:
        services[0][m][10:20] *= 2.0
    assert log_p(services, future(2, factor=2.0))[-1] > log_p(shop(1), future(2, factor=2.0))[-1] + 1.0


def test_a_watch_longer_than_pasts_can_show_is_not_judged():
    services = shop(1)
    assert [one.length for one in Together.of(services[0], services[1:], watch=60).windows] == [5, 15]
    late = np.vstack([future(2, n=15), future(3, n=20, factor=3.0)])
    assert log_p(services, late, watch=60)[-1] > np.log(0.05)
    assert all(PASTS * size <= 40 for size in (5, 15))


@given(st.integers(0, 1000), st.lists(st.integers(1, 14), max_size=4))
@settings(max_examples=25, deadline=None)
def test_the_cut_into_looks_changes_nothing(seed, cuts):
    together = Together.of((services := shop(seed))[0], services[1:], watch=15)
    looks = future(seed + 1, factor=1.3)
    looks[np.random.default_rng(seed).random(looks.shape) < 0.1] = np.nan
    whole, parts = together.start(), together.start()
    cut = np.concatenate([parts.update(part) for part in np.split(looks, sorted(set(cuts)))])
    np.testing.assert_array_equal(whole.update(looks), cut)


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ({m: np.ones(40) for m in METRICS[: FEWEST_METRICS - 1]}, shop(1)),
        (shop(1)[0], shop(2, services=2)),
        ({m: np.full(40, np.nan) for m in METRICS}, shop(1)),
        ({m: np.ones(3) for m in METRICS}, shop(1)),
        ({}, []),
    ],
)
def test_too_little_to_compare_with_says_nothing(own, others):
    together = Together.of(own, others, watch=15)
    assert not together.ready
    np.testing.assert_array_equal(together.start().update(np.empty((4, len(together.metrics)))), np.zeros(4))


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, -5.0])
def test_values_of_any_size_stay_finite(value):
    services = shop(1)
    services[0] = {m: np.full(40, value) for m in METRICS}
    looks = np.full((15, len(METRICS)), value)
    assert np.isfinite(log_p(services, looks)).all()
    assert log_p(services, looks)[-1] == 0.0
    assert np.isfinite(log_p(services, future(1))).all()

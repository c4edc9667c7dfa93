"""Peers: what all do together is nobody's harm, what one does alone is seen sooner, and strangers change nothing."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.own_past import Calibration, calibrate
from detectors.peers import FEWEST, Common, PeersCalibration, calibrate_peers

PAST, WATCH = 2_000, 60
WHEN = {"period": 60.0, "end": 0.0, "watch": WATCH}
ALPHA = 0.004


def shop(seed: int, *, wander: float = 0.05, noise: float = 0.03, services: int = 8) -> np.ndarray:
    """Services under one load that wanders: float64[PAST + WATCH, services]."""
    rng = np.random.default_rng(seed)
    load = np.zeros(PAST + WATCH)
    for i in range(1, len(load)):
        load[i] = 0.99 * load[i - 1] + rng.normal(0.0, wander)
    level = rng.lognormal(3.0, 1.0, services)
    return level * np.exp(load)[:, None] * rng.lognormal(0.0, noise, (len(load), services))


def learned(values: np.ndarray, **options) -> tuple[Calibration, PeersCalibration | None]:
    plain = calibrate(values[:PAST, 0], **WHEN, **options)
    return plain, calibrate_peers(values[:PAST, 0], values[:PAST, 1:], plain, **WHEN, **options)


def last(control: PeersCalibration | None, values: np.ndarray) -> float:
    assert control is not None
    return float(control.start().update(values[PAST:, 0], values[PAST:, 1:]).log_p[-1])


def test_harm_hidden_in_the_swings_of_the_load_is_seen_beside_the_peers() -> None:
    alone = beside = 0
    for seed in range(20):
        values = shop(seed)
        values[PAST + 4 :, 0] *= 1.5
        plain, control = learned(values)
        alone += plain.start().update(values[PAST:, 0]).log_p[-1] <= log(ALPHA)
        beside += last(control, values) <= log(ALPHA)
    assert alone <= 2
    assert beside >= 18


def test_a_wave_that_hits_all_of_them_is_nobodys_harm() -> None:
    for seed in range(10):
        values = shop(seed)
        values[PAST + 4 :] *= 1.6
        _, control = learned(values)
        assert last(control, values) > log(ALPHA)


def test_it_freezes_harmless_changes_no_more_often_than_it_says() -> None:
    # 100 changes at 2 %: 2 expected at most, 8 has a chance of less than one in 900.
    false = sum(last(learned(values)[1], values) <= log(0.02) for values in map(shop, range(100, 200)))
    assert false < 8


def test_peers_that_never_moved_together_with_it_are_no_control() -> None:
    for seed in range(10):
        assert learned(shop(seed, wander=0.0, noise=0.2))[1] is None
    apart = shop(1)
    apart[:, 0] = shop(2)[:, 0]
    assert learned(apart)[1] is None


def test_what_peers_do_as_never_before_accuses_nobody() -> None:
    accused = 0
    for seed, factor in ((seed, factor) for seed in range(10) for factor in (0.001, 1_000.0)):
        values = shop(seed)
        values[PAST + 4 :, 1:] *= factor
        _, control = learned(values)
        accused += last(control, values) <= log(ALPHA)
    # Its own load wanders too, now and then out of its past.
    assert accused <= 1


@pytest.mark.parametrize("services", [1, 2, FEWEST])
def test_with_too_few_peers_there_is_none(services: int) -> None:
    assert learned(shop(4, services=services))[1] is None
    assert learned(shop(4, services=FEWEST + 1))[1] is not None


def test_peers_that_say_nothing_are_held_to_what_they_last_did() -> None:
    values = shop(5)
    _, control = learned(values)
    assert control is not None
    silent = values[PAST:, 1:].copy()
    silent[20:] = np.nan
    silent[3, ::2] = np.nan
    found = control.start().update(values[PAST:, 0], silent)
    assert np.isfinite(found.log_p).all()
    assert (
        found.log_p[:3] == control.start().update(values[PAST : PAST + 3, 0], values[PAST : PAST + 3, 1:]).log_p
    ).all()


def test_young_peers_are_left_out() -> None:
    values = shop(6)
    values[: PAST - 50, 3] = np.nan
    _, control = learned(values)
    assert control is not None
    assert control.chosen == (0, 1, 3, 4, 5, 6)


def test_small_whole_numbers_stay_whole() -> None:
    values = np.floor(shop(7) / np.median(shop(7), axis=0) * 5)
    assert learned(values)[1] is None


@pytest.mark.parametrize("kind", ["value", "ratio", "count"])
def test_every_kind_of_metric_gives_finite_numbers(kind: str) -> None:
    values = shop(8)
    if kind == "ratio":
        values = np.minimum(values / values.max(axis=0), 1.0)
    if kind == "count":
        values = np.floor(values * 1_000)
    _, control = learned(values, kind=kind)
    assert control is not None
    found = control.start().update(values[PAST:, 0], values[PAST:, 1:])
    assert np.isfinite(found.log_p).all()
    assert np.isfinite(found.expected).all()


def test_expected_is_what_the_load_made_of_it() -> None:
    values = shop(9)
    _, control = learned(values)
    assert control is not None
    found = control.start().update(values[PAST:, 0], values[PAST:, 1:])
    assert float(np.median(np.abs(found.expected / values[PAST:, 0] - 1.0))) < 0.05
    assert found.effect == pytest.approx(values[PAST:, 0] - found.expected)


def test_the_order_of_the_peers_changes_nothing() -> None:
    values = shop(10)
    turned = np.column_stack([values[:, :1], values[:, :0:-1]])
    assert last(learned(values)[1], values) == last(learned(turned)[1], turned)
    common = Common.of(values[:PAST, 1:])
    assert (common.at(values[PAST:, 1:]) == Common.of(turned[:PAST, 1:]).at(turned[PAST:, 1:])).all()


@given(seed=st.integers(0, 20), cut=st.integers(1, WATCH - 1))
@settings(deadline=None, max_examples=10)
def test_a_cut_changes_nothing(seed: int, cut: int) -> None:
    values = shop(seed)
    values[PAST + 10, 1:] = np.nan
    _, control = learned(values)
    assert control is not None
    whole, parts = control.start().update(values[PAST:, 0], values[PAST:, 1:]), control.start()
    both = [parts.update(values[a:b, 0], values[a:b, 1:]) for a, b in ((PAST, PAST + cut), (PAST + cut, PAST + WATCH))]
    for name in ("log_p", "effect", "expected"):
        np.testing.assert_array_equal(np.concatenate([getattr(one, name) for one in both]), getattr(whole, name))

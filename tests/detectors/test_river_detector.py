"""Detectors of river: named by path, causal, repeatable, and worth only what their own past says."""

import numpy as np
import pytest

from detectors.own_past import calibrate
from detectors.river_detector import RiverDetector, check_detector, detector_class

ANOMALY = [
    ("river.anomaly.HalfSpaceTrees", {"n_trees": 8, "height": 6, "window_size": 100}),
    ("river.anomaly.LocalOutlierFactor", {"n_neighbors": 5}),
    ("river.anomaly.OneClassSVM", {"nu": 0.1}),
]
DRIFT = [("river.drift.ADWIN", {}), ("river.drift.PageHinkley", {})]


def calm(rows: int = 400, metrics: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0.0, 0.1, (rows, metrics))


@pytest.mark.parametrize(("path", "parameters"), [*ANOMALY, *DRIFT], ids=lambda value: str(value)[:40])
def test_the_same_input_scores_the_same_in_any_cut(path: str, parameters: dict[str, object]) -> None:
    after = calm(30, seed=2)
    whole = RiverDetector(path, parameters, calm()).update(after)
    cut = RiverDetector(path, parameters, calm())
    np.testing.assert_array_equal(whole, np.concatenate([cut.update(after[:7]), cut.update(after[7:])]))


def test_a_score_knows_nothing_of_what_comes_later() -> None:
    history = calm()
    shorter = RiverDetector(*ANOMALY[0], history[:300])
    longer = RiverDetector(*ANOMALY[0], history[:300])
    later = history[300:].copy()
    later[50:] = 9.0
    np.testing.assert_array_equal(shorter.update(history[300:350]), longer.update(later)[:50])


def test_missing_numbers_are_no_anomaly_and_missing_rows_no_score() -> None:
    forest = RiverDetector(*ANOMALY[0], calm())
    rows = calm(3, seed=3)
    rows[0, 1] = np.nan
    rows[1] = np.nan
    scores = forest.update(rows)
    assert np.isfinite(scores[[0, 2]]).all()
    assert np.isnan(scores[1])


@pytest.mark.parametrize("odd", [0.0, 1e300, -1e300, 5.0])
def test_constant_huge_and_tiny_numbers_are_scored_by_finite_numbers(odd: float) -> None:
    forest = RiverDetector(*ANOMALY[0], np.full((200, 2), odd))
    assert np.isfinite(forest.update(np.array([[odd, odd], [1e-300, 1e300]]))).all()


def test_no_history_and_no_metric_score_nothing() -> None:
    assert RiverDetector(*ANOMALY[0], np.empty((0, 2))).scores.shape == (0,)
    assert np.isnan(RiverDetector(*ANOMALY[0], np.empty((5, 0))).scores).all()


def test_a_drift_detector_counts_the_metrics_that_drift() -> None:
    drift = RiverDetector("river.drift.ADWIN", {}, calm())
    moved = calm(200, seed=4)
    moved[:, :2] *= 3.0
    assert drift.update(moved).max() >= 1.0
    assert drift.scores.sum() <= 3


def test_a_calibrated_forest_speaks_of_harm_and_keeps_quiet_without() -> None:
    def strongest(after: np.ndarray) -> float:
        forest = RiverDetector(*ANOMALY[0], calm(1_440))
        past = calibrate(forest.scores[360:], period=60.0, end=0.0, watch=30, harm="up")
        return float(past.start().update(forest.update(after)).log_p[-1])

    assert strongest(calm(30, seed=5) * 4.0) < np.log(0.05)
    quiet = [strongest(calm(30, seed=seed)) for seed in range(6, 16)]
    assert sum(log_p < np.log(0.004) for log_p in quiet) == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("river.anomaly.NoSuchForest", "cannot be imported"),
        ("no_such_package.Forest", "cannot be imported"),
        ("Forest", "cannot be imported"),
        ("", "cannot be imported"),
        ("river.stats.Mean", "no river.base.AnomalyDetector"),
        ("os.path.join", "no river.base.AnomalyDetector"),
    ],
)
def test_what_is_no_detector_is_refused_by_name(path: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        detector_class(path)


def test_wrong_parameters_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="HalfSpaceTrees cannot be made"):
        RiverDetector("river.anomaly.HalfSpaceTrees", {"trees": 3}, calm(10))


def test_parameters_that_only_fail_later_are_refused_before_anything_depends_on_them() -> None:
    with pytest.raises(ValueError, match="HalfSpaceTrees"):
        check_detector("river.anomaly.HalfSpaceTrees", {"n_trees": "many"})
    with pytest.raises(ValueError, match="cannot be made"):
        check_detector("river.anomaly.LocalOutlierFactor", {"neighbours": 1})
    check_detector(*ANOMALY[0])

"""Any detector of river on the vector of a service's metrics, judged by its own past.

A score of river means nothing by itself: half-space trees give 0.9 on one service in every quiet hour and never on
another. So a detector only turns a vector into one more series, scored before it is learnt from, and that series goes
through the own-past calibration like every other; a score that is not calibrated can stop nothing.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from river import base

from detectors.transform import Transform, fit

Floats = NDArray[np.float64]

CENTRE = 0.5
"""Where a missing number is put on the unit scale: where it says nothing."""
STEEPNESS = 3.0
"""Deviations, in robust sigmas, that carry a number from the centre of the unit scale to 0.73 of it."""


class RiverDetector:
    """A river `AnomalyDetector` or `DriftDetector`, named by its import path, as an online score of vectors.

    ``history`` float64[n, m] (own units, NaN = missing) sets the unit scale of each of the m metrics and is learnt
    from; `scores` then holds what each of its rows scored before it was learnt, float64[n].

    >>> rng = np.random.default_rng(4)
    >>> calm = rng.lognormal(0.0, 0.1, (600, 3))
    >>> forest = RiverDetector("river.anomaly.HalfSpaceTrees", {"n_trees": 10, "window_size": 100}, calm)
    >>> odd = forest.update(np.full((3, 3), 3.0))
    >>> bool(odd.min() > np.quantile(forest.scores, 0.99))
    True
    """

    def __init__(self, path: str, parameters: Mapping[str, object], history: Floats) -> None:
        self._kind = detector_class(path)
        self._parameters = dict(parameters)
        if "seed" in inspect.signature(self._kind).parameters:
            # Without one river draws its own, and no two runs would decide alike.
            self._parameters.setdefault("seed", 1)
        self._scales = [_Scale(history[:, column]) for column in range(history.shape[1])]
        self._models = [self._make() for _ in self._scales] if self._drifts else [self._make()]
        self.scores = self.update(history)

    @property
    def _drifts(self) -> bool:
        return issubclass(self._kind, base.DriftDetector)

    def _make(self) -> base.AnomalyDetector | base.DriftDetector:
        try:
            return self._kind(**self._parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self._kind.__name__} cannot be made from {self._parameters}: {error}") from None

    def update(self, rows: Floats, *, learn: bool = True) -> Floats:
        """Score each row, float64[k, m], then ``learn`` from it; NaN where the whole row is missing.

        A drift detector scores the number of metrics in which it sees a drift at that row.
        """
        out = np.full(len(rows), np.nan)
        if not len(rows) or not self._scales:
            return out
        unit = np.column_stack([scale.unit(rows[:, column]) for column, scale in enumerate(self._scales)])
        for index in np.flatnonzero(np.isfinite(rows).any(axis=1)).tolist():
            out[index] = self._score(unit[index], learn)
        return out

    def _score(self, unit: Floats, learn: bool) -> float:
        if self._drifts:
            drifts = 0
            for model, x in zip(self._models, unit.tolist(), strict=True):
                assert isinstance(model, base.DriftDetector)
                model.update(x)
                drifts += int(model.drift_detected)
            return float(drifts)
        (model,) = self._models
        assert isinstance(model, base.AnomalyDetector)
        x = dict(enumerate(unit.tolist()))
        score = float(model.score_one(x))
        if learn:
            model.learn_one(x)
        return score if np.isfinite(score) else 0.0


class _Scale:
    """One metric on the unit interval: its transform, then a squashed robust deviation from its median."""

    def __init__(self, history: Floats) -> None:
        self._transform: Transform = fit(history, "value")
        y = self._transform.forward(history)
        known = y[np.isfinite(y)]
        self._middle = float(np.median(known)) if len(known) else 0.0
        spread = 1.4826 * float(np.median(np.abs(known - self._middle))) if len(known) else 0.0
        self._spread = max(spread, 0.01)

    def unit(self, x: Floats) -> Floats:
        z = (self._transform.forward(x) - self._middle) / self._spread
        squashed = 1.0 / (1.0 + np.exp(-np.clip(z / STEEPNESS, -30.0, 30.0)))
        return np.where(np.isfinite(squashed), squashed, CENTRE)


def detector_class(path: str) -> type[base.AnomalyDetector] | type[base.DriftDetector]:
    """The class that ``path`` names.

    Raises ValueError where it is none of river's anomaly or drift detectors.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f"{path!r} cannot be imported; a detector is named like river.anomaly.HalfSpaceTrees"
        ) from None
    if not (inspect.isclass(found) and issubclass(found, base.AnomalyDetector | base.DriftDetector)):
        raise ValueError(f"{path!r} is no river.base.AnomalyDetector or DriftDetector")
    return found


def check_detector(path: str, parameters: Mapping[str, object]) -> None:
    """Try a detector on a few numbers, so that what is wrong with it is known before anything depends on it.

    Raises ValueError naming the path or the parameters.
    """
    try:
        RiverDetector(path, parameters, np.linspace(1.0, 2.0, 64).reshape(32, 2))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path} with {dict(parameters)} fails on plain numbers: {error}") from error

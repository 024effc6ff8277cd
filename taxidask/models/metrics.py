"""How good a forecast was: errors of the mean, coverage and width of the band."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAPE_FROM = 10.0  # trips: the literature leaves out slots with less, where a percentage says little

__all__ = ["MAPE_FROM", "coverage", "mae", "mape", "rmse", "width"]


def _pair(actual: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, p = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    if a.shape != p.shape:
        raise ValueError(f"actual has the shape {a.shape} and predicted {p.shape}")
    return a, p


def mae(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, in trips a slot; NaN of nothing.

    >>> mae([1, 2], [2, 4])
    1.5
    """
    a, p = _pair(actual, predicted)
    return float(np.abs(a - p).mean()) if a.size else float("nan")


def rmse(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error, in trips a slot; NaN of nothing.

    >>> rmse([1, 2], [1, 4])
    1.4142135623730951
    """
    a, p = _pair(actual, predicted)
    return float(np.sqrt(np.square(a - p).mean())) if a.size else float("nan")


def mape(actual: ArrayLike, predicted: ArrayLike, *, at_least: float = MAPE_FROM) -> float:
    """Mean absolute error in percent of the actual, over actual values of `at_least` and more; NaN if there is none.

    >>> mape([10, 20, 3], [11, 18, 300])
    10.0
    """
    a, p = _pair(actual, predicted)
    counts = a >= max(at_least, np.finfo(float).tiny)
    return float((np.abs(a - p)[counts] / a[counts]).mean() * 100) if counts.any() else float("nan")


def coverage(actual: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of actual values inside the band, borders included; NaN of nothing.

    >>> coverage([1, 5], [0, 0], [2, 2])
    0.5
    """
    a, lower = _pair(actual, low)
    _, upper = _pair(actual, high)
    return float(((a >= lower) & (a <= upper)).mean()) if a.size else float("nan")


def width(low: ArrayLike, high: ArrayLike) -> float:
    """Mean width of the band, in trips a slot; NaN of nothing.

    >>> width([0, 1], [2, 5])
    3.0
    """
    lower, upper = _pair(low, high)
    return float((upper - lower).mean()) if lower.size else float("nan")

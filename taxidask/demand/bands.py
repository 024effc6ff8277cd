"""Bands around a forecast's mean that hold the stated share of held-out counts.

Errors of a time-ordered held-out tail are measured in units of what a count of that size scatters by, and their
quantiles kept: by lead (later is less certain) and by the size of the mean (a quiet cell scatters otherwise than a busy
one). Nothing is assumed of their distribution. A count cannot fall below a band that starts at 0, so such a band is
closed earlier at the top: it holds the stated share too, and not more, wherever counts are not nearly all 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EDGES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.7, 3, 5, 8, 13, 20, 32, 50, 80, 130, 200, 320, 500, 1000])
_LEAST = 400  # held-out counts that make quantiles of their own


def _unit(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """About what a count with this mean scatters by: chance, and a tenth of it for what nobody knows."""
    return np.sqrt(mean + np.float32(0.1)) + np.float32(0.1) * mean


def _low(mean: NDArray[Any], limit: Any, unit: NDArray[Any]) -> NDArray[Any]:
    """The band's lower end; what rounds to no trip is none."""
    low = mean + limit * unit
    return np.where(low < 0.5, np.float32(0), np.minimum(low, mean))


def _limits(
    actual: NDArray[Any], mean: NDArray[Any], unit: NDArray[Any], share: float, weight: NDArray[Any]
) -> tuple[float, float]:
    """Limits of the error in `unit`s between which `share` of the counts lie: a tail below, the rest above."""
    error = (actual - mean) / unit
    order = np.argsort(error, kind="stable")
    ordered, weights = error[order], weight[order]
    # A little more in each tail than was seen: what comes next may lie outside of all that came.
    part = np.cumsum(weights) / (weights.sum() * (1 + 1 / len(error)))
    low = min(float(ordered[min(np.searchsorted(part, (1 - share) / 2), len(error) - 1)]), 0.0)
    below = float(weight[actual < _low(mean, low, unit)].sum() / weight.sum())
    high = float(ordered[min(np.searchsorted(part, min(below + share, 1.0)), len(error) - 1)])
    return low, max(high, 0.0)


@dataclass
class Bands:
    """Calibrated limits for one group of leads.

    Attributes
    ----------
    mean : list of float
        Sizes of the mean (ascending) for which limits were found; between them they are interpolated.
    low, high : list of float
        Limits of the error at those sizes, in units of its scatter.
    total_low, total_high : list of float
        For all cells together, by direction: limits of the error as a share of the mean.
    """

    mean: list[float]
    low: list[float]
    high: list[float]
    total_low: list[float]
    total_high: list[float]

    @classmethod
    def calibrate(
        cls,
        actual: NDArray[np.float32],
        mean: NDArray[np.float32],
        *,
        share: float,
        weight: NDArray[np.float32] | None = None,
        total_weight: NDArray[np.float32] | None = None,
        widen: float = 1.0,
    ) -> Bands:
        """Find the limits that hold `share` of `actual` (slots, series), of which the even series are pickups.

        Slots count by `weight` for single cells and by `total_weight` for all together. Limits are `widen` times as
        far from the mean as was found.
        """
        weight = np.ones(len(actual), np.float32) if weight is None else weight
        total_weight = weight if total_weight is None else total_weight
        y, m = actual.ravel(), mean.ravel()
        w = np.repeat(weight, actual.shape[1])
        unit = _unit(m)
        bins = np.searchsorted(_EDGES, m)
        centers: list[float] = []
        low: list[float] = []
        high: list[float] = []
        held: list[NDArray[np.int64]] = []
        for number in range(len(_EDGES) + 1):
            held.append(np.flatnonzero(bins == number))
            chosen = np.concatenate(held)
            if len(chosen) < _LEAST and number < len(_EDGES):
                continue  # too few: together with the next
            if len(chosen) < _LEAST and centers:
                break
            held = []
            limits = _limits(y[chosen], m[chosen], unit[chosen], share, w[chosen])
            centers.append(float(np.exp(np.log(np.maximum(m[chosen], 1e-4)).mean())))
            low.append(widen * limits[0])
            high.append(widen * limits[1])
        totals = []
        for direction in (0, 1):
            a, p = actual[:, direction::2].sum(1), mean[:, direction::2].sum(1)
            totals.append(_limits(a, p, p + 1, share, total_weight))
        return cls(centers, low, high, [widen * t[0] for t in totals], [widen * t[1] for t in totals])

    def around(self, mean: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Low and high for means of any shape."""
        size = np.log(np.maximum(mean, np.float32(1e-4)))
        at, unit = np.log(self.mean), _unit(mean)
        low = _low(mean, np.interp(size, at, self.low).astype(np.float32), unit)
        high = mean + np.interp(size, at, self.high).astype(np.float32) * unit
        return low.astype(np.float32), np.maximum(high, mean).astype(np.float32)

    def around_total(self, mean: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Low and high of totals (..., 2)."""
        low = np.maximum(mean + np.asarray(self.total_low, np.float32) * (mean + 1), 0)
        high = mean + np.asarray(self.total_high, np.float32) * (mean + 1)
        return np.minimum(low, mean), np.maximum(high, mean)

    def to_dict(self) -> dict[str, list[float]]:
        """What `Bands(**…)` takes, as plain lists."""
        return {name: [float(v) for v in value] for name, value in vars(self).items()}

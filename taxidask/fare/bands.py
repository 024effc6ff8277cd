"""The band of a price: its learned edges moved so that it holds its share of cheap and dear trips alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REACH = 10.0  # units, added so that the shortest trip has a band too
_SHARES = (*np.arange(1, 10) / 10, 0.95, 0.98)  # of prices below each edge between bins: dear trips are few
_LEAST = 300  # prices in a bin


def reach(middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """In what the edges of a band are told: the dearer a trip, the farther its price may be from the expected one."""
    return middle + _REACH


@dataclass(frozen=True)
class Band:
    """How far the band's edges move outward, in shares of its width, by the size of the price; and the band of any
    price, in units, for rides of whose places too little is known."""

    edges: list[float]
    widen: list[float]
    any: list[float]

    def apply(
        self,
        middle: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        doubtful: NDArray[np.bool_] | bool = False,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Calibrated edges; the middle always lies between them."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        move = np.asarray(self.widen)[np.searchsorted(self.edges, middle, side="right")] * (high - low + 1.0)
        low, high = np.minimum(low - move, middle), np.maximum(high + move, middle)
        return (
            np.where(doubtful, np.minimum(low, self.any[0]), low),
            np.where(doubtful, np.maximum(high, self.any[1]), high),
        )

    @classmethod
    def calibrate(
        cls,
        price: NDArray[np.float64],
        middle: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        interval: float,
    ) -> Band:
        """The smallest widening that would have held `interval` of these prices (split conformal prediction)."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        score = np.maximum(low - price, price - high) / (high - low + 1.0)
        edges = _edges(middle)
        group = np.searchsorted(edges, middle, side="right")
        widen = []
        for number in range(len(edges) + 1):
            scores = np.sort(score[group == number])
            rank = min(int(np.ceil((len(scores) + 1) * interval)), len(scores))
            widen.append(float(scores[rank - 1]) if len(scores) else 0.0)
        alpha = (1 - interval) / 2
        return cls(edges.tolist(), widen, np.quantile(price, [alpha, 1 - alpha]).tolist() if len(price) else [0.0, 0.0])


def _edges(middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between bins of enough prices each."""
    least, shares = _LEAST / max(len(middle), 1), [0.0]
    for share in _SHARES:
        if share - shares[-1] >= least and 1 - share >= least:
            shares.append(share)
    return np.quantile(middle, shares[1:]) if len(shares) > 1 else np.empty(0)

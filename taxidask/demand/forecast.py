"""A forecast: what is expected of every slot, cell and direction, and the band around it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DIRECTIONS = ("pickup", "dropoff")


def _directions(times: int) -> Any:
    return pd.Categorical.from_codes(np.tile(np.array([0, 1], np.int8), times), pd.Index(DIRECTIONS))


@dataclass(frozen=True, repr=False)
class Forecast:
    """Expected trip ends with their band.

    Attributes
    ----------
    times : DatetimeIndex
        Start of every slot, New York wall-clock time.
    mean, low, high : float32 array (slots, cells, 2)
        In trips a slot; 0 pickup, 1 dropoff in the last axis. 0 ≤ low ≤ mean ≤ high.
    space : Space
    slot : Timedelta
    total_low, total_high : float32 array (slots, 2)
        Band of all cells together. It is its own: cells do not err all the same way, so it is far narrower than the
        sum of theirs.
    interval : float
        Share of counts the bands are made to hold.
    """

    times: pd.DatetimeIndex
    mean: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    space: Any
    slot: pd.Timedelta
    total_low: NDArray[np.float32] | None = None
    total_high: NDArray[np.float32] | None = None
    interval: float = 0.8

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> pd.Timestamp:
        """When the last slot ends."""
        return self.times[-1] + self.slot

    def to_pandas(self) -> pd.DataFrame:
        """One row per slot, cell and direction: time, cell, direction, mean, low, high."""
        slots, cells, _ = self.mean.shape
        return pd.DataFrame(
            {
                "time": np.repeat(self.times.to_numpy(), cells * 2),
                "cell": np.tile(np.repeat(np.arange(cells, dtype=np.int32), 2), slots),
                "direction": _directions(slots * cells),
                "mean": self.mean.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )

    def total(self) -> pd.DataFrame:
        """All cells together, one row per slot and direction: time, direction, mean, low, high."""
        mean = self.mean.sum(1, dtype=np.float64)
        none = np.full(mean.shape, np.nan)
        return pd.DataFrame(
            {
                "time": np.repeat(self.times.to_numpy(), 2),
                "direction": _directions(len(self.times)),
                "mean": mean.ravel(),
                "low": (none if self.total_low is None else self.total_low).ravel(),
                "high": (none if self.total_high is None else self.total_high).ravel(),
            }
        )

    def _facts(self) -> dict[str, str]:
        mean = self.mean.sum((0, 1), dtype=np.float64)
        return {
            "slots": f"{len(self):,} of {self.slot.total_seconds() / 60:g} min",
            "from": f"{self.times[0]:%Y-%m-%d %H:%M}",
            "to": f"{self.end:%Y-%m-%d %H:%M}",
            "cells": f"{self.mean.shape[1]:,}",
            "pickups expected": f"{mean[0]:,.0f}",
            "dropoffs expected": f"{mean[1]:,.0f}",
            "band": f"{self.interval:.0%}",
        }

    def __repr__(self) -> str:
        f = self._facts()
        return (
            f"Forecast: {f['slots']} from {f['from']} to {f['to']}, {f['cells']} cells, {f['pickups expected']} "
            f"pickups and {f['dropoffs expected']} dropoffs expected, with a band of {f['band']}"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        head = self.total().head(8).to_html(index=False, float_format="{:,.1f}".format, border=0)
        return f"<table><caption>Demand forecast</caption><tbody>{rows}</tbody></table><p>All cells together:</p>{head}"

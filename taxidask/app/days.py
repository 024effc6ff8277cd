"""What the Demand page shows, read from the store: a day is two Queries for all its cells, and serves every visitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from taxidask.results import Store

DIRECTIONS = ("pickup", "dropoff")


@dataclass(frozen=True, repr=False)
class Day:
    """All slots of a day in all cells; NaN where nothing is known.

    Attributes
    ----------
    day : str
    trips, mean, low, high : float32 array (slots, cells, 2)
        As counted, as expected, and the 80 % band; 0 pickup, 1 dropoff.
    backtest : bool or None
        Whether the forecast is a backtest's; None where there is none.
    """

    day: str
    trips: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    backtest: bool | None = None

    def shown(self, what: str, direction: str) -> np.ndarray:
        """What is drawn, (slots, cells): ``"actual"``, ``"forecast"``, or ``"error"``, forecast less count."""
        one = DIRECTIONS.index(direction)
        if what == "error":
            return (self.mean - self.trips)[:, :, one]
        return (self.trips if what == "actual" else self.mean)[:, :, one]

    def curve(self, name: str, direction: str, cell: int | None) -> np.ndarray:
        """A cell's slots; those of all cells together for None, which have a band of their own, so none of these."""
        numbers = getattr(self, name)[:, :, DIRECTIONS.index(direction)]
        if cell is not None:
            return np.asarray(numbers[:, cell])
        if name in ("low", "high"):
            return np.full(len(numbers), np.nan)
        return np.asarray(numbers.sum(axis=1, dtype=np.float64))


def read_day(store: Store, space_key: str, day: str, cells: int, *, slot: Any) -> Day:
    """Read a day's counts and its forecast: two Queries."""
    length = pd.Timedelta(slot)
    slots = round(pd.Timedelta(days=1) / length)
    whole = {name: np.full((slots, cells, 2), np.nan, np.float32) for name in ("trips", "mean", "low", "high")}
    backtest = None
    for kind in ("actual", "forecast"):
        found = store.get_map(space_key, day, kind, slot=slot)
        if found is None or next(iter(found.numbers.values())).shape[1] != cells:
            continue
        at = ((found.times - found.times[0].normalize()) // length).to_numpy()
        for name, numbers in found.numbers.items():
            whole[name][at] = numbers
        backtest = found.backtest if kind == "forecast" else backtest
    return Day(day, **whole, backtest=backtest)


def clock(slot: Any) -> list[str]:
    """The slots of a day, by when they start.

    Examples
    --------
    >>> clock("8h")
    ['00:00', '08:00', '16:00']
    """
    return [f"{time:%H:%M}" for time in pd.date_range("2000-01-01", "2000-01-02", freq=slot, inclusive="left")]


def told(day: str, *, year: bool = True) -> str:
    """A day for a person, with what analysts ask for first.

    Examples
    --------
    >>> told("2016-02-05"), told("2016-02-05", year=False)
    ('Fri 5 Feb 2016', 'Fri 5 Feb')
    """
    return f"{pd.Timestamp(day):%a %-d %b %Y}" if year else f"{pd.Timestamp(day):%a %-d %b}"

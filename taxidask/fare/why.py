"""What a price is made of: the shares that the model's features have in one ride's price."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from taxidask.fare.features import PLACE, ZONES, features
from taxidask.fare.naive import meter_prices
from taxidask.fare.rides import Rides

FLAG, AVERAGE, TOLLS, FLOOR = "flag fall", "average ride", "tolls", "no less than the flag fall"
GROUPS = {
    "distance and direction": ["straight", "grid", "along", "across", "bearing"],
    "pick-up place": [name for name in (*PLACE, *ZONES) if name.endswith("0")],
    "drop-off place": [name for name in (*PLACE, *ZONES) if name.endswith("1")],
    "flat fare of Kennedy Airport": ["flat"],
    "time of day and weekday": ["hour", "weekday", "hour_of_week"],
    "date": ["day_of_year", "day"],
    "passengers": ["passengers"],
}
"""The features by what they tell; each in one group."""
_OF = {name: group for group, names in GROUPS.items() for name in names}


def parts_of(boosters: Sequence[Any], names: list[str], ride: Rides, fare: float, tolls: float) -> dict[str, float]:
    """What the price of one ride is made of, in USD, in the order in which it is told; the sum is fare + tolls.

    Parameters
    ----------
    boosters : list of lightgbm.Booster
        Whose sum is the fare, which is told in units of the meter.
    names : list of str
        Its features.
    ride : Rides
        One.
    fare, tolls : float
        What the model says of it, USD.

    Notes
    -----
    LightGBM's ``pred_contrib`` tells the Shapley values of each feature: how far it moves this fare, in units, from
    that of an average ride among those learned from, over all orders in which the features could become known. A unit
    costs what the day's tariff says. Tolls are one part.
    """
    of = meter_prices(ride)
    flag, unit = float(of.flag[0]), float(of.unit[0])
    x = features(ride, names)
    told = sum(booster.predict(x, pred_contrib=True, num_threads=1)[0] for booster in boosters) * unit
    parts = {FLAG: flag, AVERAGE: float(told[-1]), **dict.fromkeys(GROUPS, 0.0)}
    for name, usd in zip(names, told[:-1].tolist(), strict=True):
        parts[_OF[name]] += usd
    short = fare - sum(parts.values())
    if abs(short) >= 0.005:  # the trees went below zero, which no meter does
        parts[FLOOR] = short
    if tolls:
        parts[TOLLS] = tolls
    return parts


def in_cents(parts: dict[str, float]) -> list[float]:
    """The parts rounded so that what is shown adds up to the rounded sum; each is within a cent of its own.

    Examples
    --------
    >>> in_cents({"a": 1.004, "b": 1.004, "c": 1.004})
    [1.0, 1.01, 1.0]
    """
    ends = [0.0, *(round(end, 2) for end in accumulate(parts.values()))]
    return [round(b - a, 2) for a, b in pairwise(ends)]

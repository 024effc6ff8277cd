"""What a rider owes beside fare, tolls and tip: the surcharges and fees of a ride, by rule."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from taxidask.fare.landmarks import AIRPORTS, in_manhattan, taxi_zones
from taxidask.fare.naive import flat_fare
from taxidask.fare.rides import Rides
from taxidask.tariff import prices

_NORTH_OF_96TH = {41, 42, 74, 75, 116, 120, 127, 128, 151, 152, 153, 166, 194, 243, 244}
_NORTH_OF_60TH = _NORTH_OF_96TH | {24, 43, 140, 141, 142, 143, 202, 236, 237, 238, 239, 262, 263}
_ISLANDS = {103, 104, 105}  # of the harbour, which no taxi reaches


def surcharges_of(ride: Rides) -> dict[str, float]:
    """The surcharges, taxes and fees of one ride, in USD, those that it owes; the tariff by date has the amounts.

    A ride in Manhattan that only passes through a zone of surcharge, and ends and begins outside it, is not known to.
    """
    moment = pd.Timestamp(ride.time[0])
    of = prices(ride.time[0].astype("datetime64[D]"))
    begin, end = (int(zone[0]) for zone in (taxi_zones(ride.lon0, ride.lat0), taxi_zones(ride.lon1, ride.lat1)))
    flat = bool(flat_fare(ride)[0])
    rush = moment.weekday() < 5 and 16 <= moment.hour < 20 and moment.normalize() not in _holidays(moment.year)
    night = (moment.hour >= 20 or moment.hour < 6) and not flat
    laguardia, jfk = AIRPORTS["laguardia"].zone, AIRPORTS["jfk"].zone
    cents = {
        "night": of.night * night,
        "rush hour": (of.jfk_rush if flat else of.rush) * rush,
        "MTA tax": of.mta * (end != AIRPORTS["newark"].zone),
        "improvement": of.improvement,
        "congestion": of.congestion * (_south(begin, _NORTH_OF_96TH) or _south(end, _NORTH_OF_96TH)),
        "congestion zone": of.zone * (_south(begin, _NORTH_OF_60TH) or _south(end, _NORTH_OF_60TH)),
        "LaGuardia": of.laguardia * (laguardia in (begin, end)),
        "airport access": of.access * (begin in (laguardia, jfk)),
    }
    return {name: amount / 100 for name, amount in cents.items() if amount}


def _south(zone: int, north: set[int]) -> bool:
    return bool(in_manhattan(np.array([zone]))[0]) and zone not in north | _ISLANDS


@cache
def _holidays(year: int) -> frozenset[pd.Timestamp]:
    """Days without rush hour: the federal holidays, as they are observed, and Election Day."""
    import holidays

    november = pd.Timestamp(year, 11, 1)
    election = november + pd.Timedelta(days=(7 - november.weekday()) % 7 + 1)  # the day after the first Monday
    return frozenset([pd.Timestamp(day) for day in holidays.country_holidays("US", years=year)] + [election])

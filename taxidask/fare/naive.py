"""The city's published tariff on straight-line distance: what anyone can work out without a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taxidask.fare.landmarks import AIRPORTS, MILES_EAST, MILES_NORTH, in_manhattan, taxi_zones
from taxidask.fare.rides import Centers, Rides, as_frame, read_rides, where_given, zones_of
from taxidask.tariff import prices

if TYPE_CHECKING:
    from taxidask.space import Zones

UNIT_MILES = 0.2
_FLAT_UNITS = 99.0  # that the flat fare of Kennedy Airport stood for from 2012-09-04 to 2022-12-18


@dataclass(frozen=True)
class DayPrices:
    """The tariff of each ride's day in USD: flag, unit, jfk, newark, crossing and hudson; see `trips.prices`."""

    flag: NDArray[np.float64]
    unit: NDArray[np.float64]
    jfk: NDArray[np.float64]
    newark: NDArray[np.float64]
    crossing: NDArray[np.float64]
    hudson: NDArray[np.float64]


def day_prices(time: NDArray[np.datetime64]) -> DayPrices:
    """The published prices of each time's day.

    Examples
    --------
    >>> import numpy as np
    >>> of = day_prices(np.array(["2012-09-03T23:59", "2012-09-04"], dtype="datetime64[s]"))
    >>> of.unit.tolist(), of.jfk.tolist()
    ([0.4, 0.5], [45.0, 52.0])
    """
    days, which = np.unique(time.astype("datetime64[D]"), return_inverse=True)
    of_day = [prices(day) for day in days]
    names = ("flag", "unit", "jfk", "newark", "crossing", "hudson")
    return DayPrices(*(np.array([getattr(p, name) for p in of_day], np.float64)[which] / 100 for name in names))


def straight_miles(rides: Rides) -> NDArray[np.float64]:
    """Straight-line distance in miles; within the city a flat map is exact to 0.3 %."""
    return np.hypot((rides.lon1 - rides.lon0) * MILES_EAST, (rides.lat1 - rides.lat0) * MILES_NORTH)


def flat_fare(rides: Rides) -> NDArray[np.bool_]:
    """Whether the flat fare between Manhattan and Kennedy Airport holds."""
    begin, end = taxi_zones(rides.lon0, rides.lat0), taxi_zones(rides.lon1, rides.lat1)
    jfk = AIRPORTS["jfk"].zone
    return (in_manhattan(begin) & (end == jfk)) | ((begin == jfk) & in_manhattan(end))


def meter_prices(rides: Rides) -> DayPrices:
    """`day_prices` of the meter; where the flat fare holds, of one whose units make that of the day, whatever the year.

    So what was learned of flat fares under one tariff tells those of every other.
    """
    of = day_prices(rides.time)
    return replace(of, unit=np.where(flat_fare(rides), (of.jfk - of.flag) / _FLAT_UNITS, of.unit))


def naive_fare(rides: Rides) -> NDArray[np.float64]:
    """The tariff of the day on straight-line distance, USD; see `tariff_fare`."""
    price = day_prices(rides.time)
    fare = price.flag + price.unit * np.floor(straight_miles(rides) / UNIT_MILES)
    fare = np.where(taxi_zones(rides.lon1, rides.lat1) == AIRPORTS["newark"].zone, fare + price.newark, fare)
    return np.where(flat_fare(rides), price.jfk, fare)


def tariff_fare(trips: Any, *, space: Zones | None = None) -> pd.Series:
    """The published tariff on straight-line distance, the naive baseline of every fare metric.

    The initial charge, one unit for each full fifth of a mile of the straight line, the surcharge to Newark, the flat
    fare between Manhattan and Kennedy Airport; no waiting time, for the tariff does not tell how long a trip takes.
    Prices by date are those of `taxidask.tariff` (TLC taximeter rates of fare, 35 RCNY §58-26).

    Parameters
    ----------
    trips : DataFrame
        With pickup_datetime, both points (degrees) or zone ids, passenger_count.
    space : Zones, optional
        The zones of trips with zone ids, between whose centres the distances are; by default the TLC's.

    Returns
    -------
    Series
        USD, one value per row with the same index; NaN for an unusable row.

    Examples
    --------
    >>> import pandas as pd
    >>> trips = pd.DataFrame({"pickup_datetime": ["2015-03-02 08:00"], "passenger_count": [1],
    ...     "pickup_longitude": [-73.985], "pickup_latitude": [40.748],
    ...     "dropoff_longitude": [-73.968], "dropoff_latitude": [40.785]})
    >>> tariff_fare(trips).tolist()
    [9.0]
    """
    frame = as_frame(trips)
    places = where_given(frame)
    zones = zones_of(space) if places == "zones" else None
    centers = Centers.from_zones(zones) if zones is not None else None
    rides = read_rides(frame, places, space=zones, centers=centers, target=False)
    fare = np.full(len(rides), np.nan)
    good = np.flatnonzero(rides.usable)
    fare[good] = naive_fare(rides.take(good))
    return pd.Series(fare, index=frame.index, name="tariff")

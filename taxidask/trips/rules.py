"""Which rows are kept: the rules every row must pass, in their order, and the same rules over whole columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from taxidask.errors import SettingsError, SourceError
from taxidask.words import quantity

from .schema import REASONS

KEPT = -1
"""The code of a kept row; a rejected row's code is its reason's position in `REASONS`."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Thresholds of the row rules. All bounds are inclusive; the fare must be over 0.

    Parameters
    ----------
    max_duration_hours : float
        Longest trip kept, in hours.
    max_distance_miles : float
        Longest distance kept, in miles.
    max_fare : float
        Highest fare kept, in USD.
    min_passengers, max_passengers : int
        Passengers of a kept trip; a missing count is kept too.
    west, east, south, north : float
        The city's box, in degrees; both ends of a kept trip lie inside.
    zones : int
        Highest taxi zone that is part of the city, in the zone-id era.

    Examples
    --------
    >>> Rules(max_fare=300.0).max_fare
    300.0
    """

    max_duration_hours: float = 24.0
    max_distance_miles: float = 100.0
    max_fare: float = 500.0
    min_passengers: int = 1
    max_passengers: int = 9
    west: float = -74.3
    east: float = -73.7
    south: float = 40.5
    north: float = 41.0
    zones: int = 263

    def __post_init__(self) -> None:
        for name in ("max_duration_hours", "max_distance_miles", "max_fare"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise SettingsError(f"{name} is {value!r}", "give a number over 0")
        for low, high in (("min_passengers", "max_passengers"), ("west", "east"), ("south", "north")):
            least, most = getattr(self, low), getattr(self, high)
            if not least <= most:  # neither are NaNs
                raise SettingsError(f"{low} {least!r} is above {high} {most!r}: no row would be kept", "swap them")

    def limits(self) -> np.ndarray:
        """The thresholds as the compiled parser takes them (the duration in microseconds)."""
        return np.array(
            [
                self.max_duration_hours * 3_600_000_000.0,
                self.max_distance_miles,
                self.max_fare,
                self.min_passengers,
                self.max_passengers,
                self.west,
                self.east,
                self.south,
                self.north,
                self.zones,
            ],
            dtype=np.float64,
        )


def check_rules(rules: Any) -> None:
    """Raise for what are no rules."""
    if not isinstance(rules, Rules):
        raise SettingsError(f"rules is {rules!r:.100}, which are no Rules", "like taxidask.trips.Rules(max_fare=300)")


def month_bounds(month: str | None) -> tuple[int, int]:
    """First microsecond of a month and of the next one, since 1970; the widest range for None.

    Examples
    --------
    >>> lo, hi = month_bounds("2015-02")
    >>> (hi - lo) // 86_400_000_000
    28
    """
    if month is None:
        return -(2**62), 2**62
    start = np.datetime64(month, "M")
    return int(start.astype("datetime64[us]").astype(np.int64)), int(
        (start + 1).astype("datetime64[us]").astype(np.int64)
    )


def judge_columns(columns: dict[str, Any], *, zones: bool, month: str | None, rules: Rules) -> np.ndarray:
    """Judge whole columns by the rules of the parser: a code per row, `KEPT` or a position in `REASONS`.

    Parameters
    ----------
    columns : dict of arrays
        `pickup_datetime` and `dropoff_datetime` as int64 microseconds with `pickup_missing` and `dropoff_missing`;
        `passenger_count`, `trip_distance`, `fare_amount`, and both points or both zone ids as float64 with NaN where
        missing or unreadable.
    zones : bool
        Whether places are zone ids.
    month : str or None
        The source's month; None leaves `outside_month` unchecked.
    rules : Rules
        The thresholds.

    Examples
    --------
    >>> nan = float("nan")
    >>> row = {"pickup_datetime": [0], "dropoff_datetime": [60_000_000], "passenger_count": [nan],
    ...        "trip_distance": [1.0], "fare_amount": [5.0], "pickup_location_id": [1.0],
    ...        "dropoff_location_id": [264.0], "pickup_missing": [False], "dropoff_missing": [False]}
    >>> row = {name: np.array(values) for name, values in row.items()}
    >>> [REASONS[code] for code in judge_columns(row, zones=True, month=None, rules=Rules())]
    ['outside_city']
    """
    conditions = faults(columns, zones=zones, month=month, rules=rules)
    codes = np.full(len(columns["pickup_datetime"]), KEPT, dtype=np.int8)
    for code in range(len(REASONS) - 1, -1, -1):
        codes[conditions[REASONS[code]]] = code
    return codes


def faults(columns: dict[str, Any], *, zones: bool, month: str | None, rules: Rules) -> dict[str, np.ndarray]:
    """Which rows each reason applies to, of columns as `judge_columns` takes them."""
    pickup, dropoff = columns["pickup_datetime"], columns["dropoff_datetime"]
    passengers, distance, fare = columns["passenger_count"], columns["trip_distance"], columns["fare_amount"]
    places = (
        [columns["pickup_location_id"], columns["dropoff_location_id"]]
        if zones
        else [columns[f"{end}_{axis}"] for end in ("pickup", "dropoff") for axis in ("longitude", "latitude")]
    )
    fractional = np.floor(passengers) != passengers
    malformed = np.isnan(distance) | np.isnan(fare) | (fractional & ~np.isnan(passengers))
    for place in places:
        malformed |= np.isnan(place)
        if zones:
            malformed |= np.floor(place) != place
    if zones:
        outside = np.zeros(len(pickup), dtype=bool)
        for place in places:
            outside |= ~((place >= 1) & (place <= rules.zones))
    else:
        lon1, lat1, lon2, lat2 = places
        outside = ~(
            (lon1 >= rules.west) & (lon1 <= rules.east) & (lon2 >= rules.west) & (lon2 <= rules.east)
            & (lat1 >= rules.south) & (lat1 <= rules.north) & (lat2 >= rules.south) & (lat2 <= rules.north)
        )  # fmt: skip
    low, high = month_bounds(month)
    duration = dropoff - pickup
    return {
        "malformed": malformed,
        "bad_datetime": columns["pickup_missing"] | columns["dropoff_missing"],
        "outside_month": (pickup < low) | (pickup >= high),
        "negative_duration": duration < 0,
        "duration_over_24h": duration > rules.max_duration_hours * 3_600_000_000.0,
        "non_positive_distance": ~(distance > 0),
        "distance_over_100mi": distance > rules.max_distance_miles,
        "fare_out_of_range": ~((fare > 0) & (fare <= rules.max_fare)),
        "passenger_count": ~np.isnan(passengers)
        & ~((passengers >= rules.min_passengers) & (passengers <= rules.max_passengers)),
        "outside_city": outside,
    }


def check_order(url: str, month: str | None, zoned: dict[str, int]) -> None:
    """Refuse a source whose dates are written day/month/year, as far as they tell, where no month says otherwise."""
    either, month_first, day_first = (zoned.get(name, 0) for name in ("either_order", "month_first", "day_first"))
    if month is None and either and day_first and day_first >= month_first:
        raise SourceError(
            f"{url} has dates with the day before the month: {quantity(day_first, 'time')} like 13/1/2018, "
            f"{month_first:,} like 1/13/2018, and {either:,} that may be either; those would be read as month/day/year",
            "write its dates with the year first, 2018-01-13, and read it again",
        )

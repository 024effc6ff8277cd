"""Trips as the fare model takes them: a table of any origin checked, cleaned and brought to plain arrays."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taxidask.clock import wall_clocks
from taxidask.errors import ModelError
from taxidask.fare.landmarks import zones_at
from taxidask.trips.rules import Rules

if TYPE_CHECKING:
    from taxidask.space import Space, Zones

POINTS = ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")
IDS = ("pickup_location_id", "dropoff_location_id")
LAST_ZONE = Rules().zones
MAX_TOLLS = 100.0  # USD; more is a slip of the keyboard

# Why a row cannot be used, in the order in which they are asked; the names are those of rejected rows.
UNUSABLE = ("bad_datetime", "outside_city", "passenger_count", "fare_out_of_range")
_RULES = Rules()
MOST_PASSENGERS = _RULES.max_passengers


@dataclass(frozen=True)
class Rides:
    """Plain arrays of rides, one entry per row; entries of rows that are not `usable` mean nothing.

    Attributes
    ----------
    time : datetime64[s] array
        Pick-up, New York wall-clock time.
    lon0, lat0, lon1, lat1 : float arrays
        Pick-up and drop-off in degrees; NaN in zone rides without the zones' centres.
    zone0, zone1 : int arrays
        TLC zones of zone rides; 0 where there is none.
    passengers : float array
        1 where unknown.
    usable : bool array
    reasons : dict
        Unusable rows by the first reason that applies.
    fare, tolls : float arrays
        USD; NaN where unknown.
    """

    time: NDArray[np.datetime64]
    lon0: NDArray[np.float64]
    lat0: NDArray[np.float64]
    lon1: NDArray[np.float64]
    lat1: NDArray[np.float64]
    zone0: NDArray[np.int64]
    zone1: NDArray[np.int64]
    passengers: NDArray[np.float64]
    fare: NDArray[np.float64]
    tolls: NDArray[np.float64]
    usable: NDArray[np.bool_]
    reasons: dict[str, int]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, which: NDArray[Any] | slice) -> Rides:
        """The rides of an index, mask or slice."""
        parts: dict[str, Any] = {
            part.name: getattr(self, part.name)[which] for part in fields(self) if part.name != "reasons"
        }
        return Rides(**parts, reasons={})


def as_frame(trips: Any) -> pd.DataFrame:
    """A DataFrame of a DataFrame or an Arrow table."""
    if not isinstance(trips, pd.DataFrame):
        if not hasattr(trips, "to_pandas"):
            raise ModelError(
                f"trips is a {type(trips).__name__}", "give a DataFrame, as lake.trips() or td.read_trips() return"
            )
        trips = trips.to_pandas()
    if not trips.columns.is_unique:
        twice = trips.columns[trips.columns.duplicated()][0]
        raise ModelError(f"trips has more than one column {twice}", "rename or drop all but one")
    return trips


def need_columns(trips: pd.DataFrame, names: Iterable[str]) -> None:
    """ModelError that names the columns that are missing and what they may be called instead."""
    missing = [name for name in names if name not in trips.columns]
    if not missing:
        return
    lowered = {str(column).strip().lower(): str(column) for column in trips.columns}
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, lowered, n=1, cutoff=0.6)
        hints.append(f"{name} (there is {lowered[near[0]]!r})" if near else name)
    raise ModelError(
        f"trips has no column {', '.join(hints)}", "rename or add what is missing; td.read_trips gives these names"
    )


def given(trips: pd.DataFrame, names: tuple[str, ...]) -> bool:
    """Whether a table has all of these columns, and any value in them."""
    return set(names) <= set(trips.columns) and any(trips[name].notna().any() for name in names)


def where_given(trips: pd.DataFrame) -> str:
    """Whether the trips' places are "points" or "zones".

    Of a table with both, as a lake of several eras is, zones as soon as a row has one: points have their zones too.
    """
    points = [name for name in POINTS if name in trips.columns]
    ids = [name for name in IDS if name in trips.columns]
    if len(ids) == len(IDS) and len(points) == len(POINTS):
        return "zones" if given(trips, IDS) else "points"
    if len(ids) == len(IDS) or (len(ids) > len(points)):
        return "zones"
    return "points"


def zones_of(space: Space | None) -> Zones:
    """The zones that ids and names mean: those given, else the TLC's; a Grid's trips have points."""
    from taxidask.space import Zones

    return space if isinstance(space, Zones) else Zones()


def read_rides(
    trips: pd.DataFrame, places: str, *, space: Zones | None, centers: Centers | None, target: bool
) -> Rides:
    """Check and convert a table.

    Parameters
    ----------
    trips : DataFrame
    places : {"points", "zones"}
    space : Zones, optional
        Gives points without zone ids their zone.
    centers : Centers, optional
        Of the zones: the points of zone rides, and of rides without points where those are asked for.
    target : bool
        Whether the rides are to be learned from: then fares are needed, and passengers out of range are unusable.
    """
    known, other = (POINTS, IDS) if places == "points" else (IDS, POINTS)
    placed = (centers if places == "points" else space) is not None and set(other) <= set(trips.columns)
    need_columns(trips, ["pickup_datetime", *(() if placed else known)])
    if target:
        need_columns(trips, ["fare_amount"])
    n = len(trips)
    time, timely = _times(trips["pickup_datetime"])
    passengers = _numbers(trips, "passenger_count")
    odd = np.isfinite(passengers) & ((passengers < _RULES.min_passengers) | (passengers > _RULES.max_passengers))
    points = [_numbers(trips, name) for name in POINTS]
    known_zones = space if space is not None else centers
    ids = None if known_zones is None else np.asarray(known_zones.ids, np.int64)
    zone0 = zone1 = np.zeros(n, np.int64)
    if places == "zones":
        zone0, zone1 = (_zones(trips, name, ids) for name in IDS)
        if space is not None:
            zone0 = np.where(zone0 == 0, zones_at(space, points[0], points[1]), zone0)
            zone1 = np.where(zone1 == 0, zones_at(space, points[2], points[3]), zone1)
        inside = (zone0 > 0) & (zone1 > 0)
        points = [np.full(n, np.nan)] * 4
        if centers is not None:
            (lon0, lat0), (lon1, lat1) = centers.of(zone0), centers.of(zone1)
            points = [lon0, lat0, lon1, lat1]
    else:
        if centers is not None:
            for end, name in enumerate(IDS):
                lon, lat = points[2 * end : 2 * end + 2]
                without = np.isnan(lon) & np.isnan(lat)
                middle = centers.of(_zones(trips, name, ids))
                points[2 * end : 2 * end + 2] = [
                    np.where(without, center, own) for center, own in zip(middle, (lon, lat), strict=True)
                ]
        inside = _in_city(points[0], points[1]) & _in_city(points[2], points[3])
    fare = tolls = np.full(n, np.nan)
    priced = np.ones(n, bool)
    if target:
        fare = _numbers(trips, "fare_amount")
        priced = (fare > 0) & (fare <= _RULES.max_fare)
        tolls = _numbers(trips, "tolls_amount")
        tolls = np.where((tolls >= 0) & (tolls <= MAX_TOLLS), tolls, np.nan)
    checks = dict(zip(UNUSABLE, (timely, inside, ~odd if target else np.ones(n, bool), priced), strict=True))
    usable = np.ones(n, bool)
    reasons = {}
    for name, good in checks.items():
        count = int((usable & ~good).sum())
        if count:
            reasons[name] = count
        usable &= good
    passengers = np.where(odd | np.isnan(passengers), 1.0, passengers)
    lon0, lat0, lon1, lat1 = points
    return Rides(time, lon0, lat0, lon1, lat1, zone0, zone1, passengers, fare, tolls, usable, reasons)


@dataclass(frozen=True)
class Centers:
    """Centres of zones in degrees, in order of their ids: what a zone model keeps of its Zones."""

    ids: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]

    @classmethod
    def from_zones(cls, zones: Zones) -> Centers:
        middle = np.round([zones.center(cell) for cell in range(zones.cells)], 5)
        return cls(np.asarray(zones.ids, np.int64), middle[:, 0], middle[:, 1])

    @classmethod
    def from_dict(cls, described: dict[str, list[float]]) -> Centers:
        ids = np.array([int(key) for key in described], np.int64)
        middle = np.array(list(described.values()), np.float64).reshape(-1, 2)
        order = np.argsort(ids)
        return cls(ids[order], middle[order, 0], middle[order, 1])

    def to_dict(self) -> dict[str, list[float]]:
        rows = zip(self.ids.tolist(), self.lon.tolist(), self.lat.tolist(), strict=True)
        return {str(zone): [lon, lat] for zone, lon, lat in rows}

    def of(self, zones: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude of each zone's centre, NaN where there is no such zone."""
        place = np.minimum(np.searchsorted(self.ids, zones), len(self.ids) - 1)
        known = self.ids[place] == zones
        return np.where(known, self.lon[place], np.nan), np.where(known, self.lat[place], np.nan)


def _times(column: pd.Series[Any]) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    column = wall_clocks(column)
    good = column.dt.year.between(2000, 2100).to_numpy()  # False for what is no time
    return column.to_numpy().astype("datetime64[s]"), good


def _numbers(trips: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in trips.columns:
        return np.full(len(trips), np.nan)
    column = trips[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        column = pd.to_numeric(column.astype(object).map(_plain_number), errors="coerce")
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _plain_number(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _zones(trips: pd.DataFrame, name: str, ids: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Zone ids; 0 for what is none (264 and 265 are "unknown" and "outside")."""
    numbers = _numbers(trips, name)
    good = (numbers >= 1) & (numbers <= LAST_ZONE) if ids is None else np.isin(numbers, ids)
    return np.where(good & (numbers == np.floor(numbers)), numbers, 0).astype(np.int64)


def _in_city(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (lon >= _RULES.west) & (lon <= _RULES.east) & (lat >= _RULES.south) & (lat <= _RULES.north)

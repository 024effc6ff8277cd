"""What the fare model looks at: where from, where to, when; never distance or duration, which nobody knows before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taxidask.fare.landmarks import AIRPORTS, MILES_EAST, MILES_NORTH
from taxidask.fare.naive import flat_fare
from taxidask.fare.rides import Rides

# Avenues run 29 degrees east of north: turned by that, a trip's two legs are those of Manhattan's grid.
_COS, _SIN = np.cos(np.radians(29.0)), np.sin(np.radians(29.0))
_MIDDLE = (-73.98, 40.75)
_EPOCH = np.datetime64("2009-01-01", "s")

TIME = ["hour", "weekday", "hour_of_week", "day_of_year", "day", "passengers"]
PLACE = [
    *("straight", "grid", "along", "across", "bearing"),
    *("along0", "across0", "along1", "across1"),
    *("east0", "north0", "east1", "north1"),
    *(f"{name}{end}" for name in AIRPORTS for end in (0, 1)),
    "flat",
]
ZONES = ["zone0", "zone1"]


def feature_names(places: str) -> list[str]:
    """Names of the columns of `features`, in order.

    Examples
    --------
    >>> [name for name in feature_names("zones") if name not in feature_names("points")]
    ['zone0', 'zone1']
    """
    return [*TIME, *PLACE, *(ZONES if places == "zones" else [])]


def categorical(names: list[str]) -> list[int]:
    """Positions of the features that are names, not numbers."""
    return [position for position, name in enumerate(names) if name in ZONES]


def features(rides: Rides, names: list[str]) -> NDArray[np.float32]:
    """A row of features per ride: miles, hours, days since 2009; NaN where unknown."""
    columns = _time(rides) | _place(rides)
    if "zone0" in names:
        columns |= {"zone0": rides.zone0, "zone1": rides.zone1}
    out = np.empty((len(rides), len(names)), np.float32)
    for position, name in enumerate(names):
        out[:, position] = columns[name]
    return out


def _time(rides: Rides) -> dict[str, NDArray]:
    day = rides.time.astype("datetime64[D]")
    hour = (rides.time - day).astype(np.int64) / 3600
    weekday = (day.astype(np.int64) + 3) % 7
    return {
        "hour": hour,
        "weekday": weekday,
        "hour_of_week": weekday * 24 + hour,
        "day_of_year": (day - day.astype("datetime64[Y]")).astype(np.int64),
        "day": (day - _EPOCH).astype("timedelta64[D]").astype(np.int64),
        "passengers": rides.passengers,
    }


def _place(rides: Rides) -> dict[str, NDArray]:
    x0, y0 = (rides.lon0 - _MIDDLE[0]) * MILES_EAST, (rides.lat0 - _MIDDLE[1]) * MILES_NORTH
    x1, y1 = (rides.lon1 - _MIDDLE[0]) * MILES_EAST, (rides.lat1 - _MIDDLE[1]) * MILES_NORTH
    along0, across0 = x0 * _SIN + y0 * _COS, x0 * _COS - y0 * _SIN
    along1, across1 = x1 * _SIN + y1 * _COS, x1 * _COS - y1 * _SIN
    along, across = along1 - along0, across1 - across0
    columns = {
        "straight": np.hypot(along, across),
        "grid": np.abs(along) + np.abs(across),
        "along": along,
        "across": across,
        "bearing": np.degrees(np.arctan2(across, along)),
        "flat": flat_fare(rides),
    }
    columns |= {"along0": along0, "across0": across0, "along1": along1, "across1": across1}
    columns |= {"east0": x0, "north0": y0, "east1": x1, "north1": y1}
    for name, airport in AIRPORTS.items():
        x, y = (airport.lon - _MIDDLE[0]) * MILES_EAST, (airport.lat - _MIDDLE[1]) * MILES_NORTH
        columns[f"{name}0"] = np.hypot(x0 - x, y0 - y)
        columns[f"{name}1"] = np.hypot(x1 - x, y1 - y)
    return columns

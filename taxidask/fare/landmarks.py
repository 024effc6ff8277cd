"""Places that a fare depends on: the airports and Manhattan, as the city's taxi zones draw them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from taxidask.space import Zones

MILES_EAST, MILES_NORTH = 52.4, 69.0  # a degree of longitude and of latitude at New York's latitude


class Airport(NamedTuple):
    """The taxi zone an airport is, and where in it the terminals are, degrees."""

    zone: int
    lon: float
    lat: float


AIRPORTS = {
    "jfk": Airport(132, -73.785, 40.645),
    "laguardia": Airport(138, -73.874, 40.776),
    "newark": Airport(1, -74.1715, 40.690),
}


def taxi_zones(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """The LocationID of the TLC zone that each point lies in, 0 for none. A zone's own centre lies in it, so a ride
    that is known by its zones goes by their ids.

    Examples
    --------
    >>> taxi_zones([-73.785, -73.985, 0.0], [40.645, 40.758, 0.0]).tolist()
    [132, 230, 0]
    """
    from taxidask.space import Zones

    return zones_at(Zones(), lon, lat)


def zones_at(space: Zones, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """The same for any zones."""
    cells = space.locate(lon, lat)
    return np.where(cells >= 0, np.asarray(space.ids, np.int64)[cells], 0)


def in_manhattan(zone: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether zones are Manhattan's.

    Examples
    --------
    >>> import numpy as np
    >>> in_manhattan(np.array([230, 132, 0])).tolist()
    [True, False, False]
    """
    return np.isin(zone, _manhattan())


@cache
def _manhattan() -> NDArray[np.int64]:
    from taxidask.space import Zones

    zones = Zones()
    return np.array([zone for zone, name in zip(zones.ids, zones.boroughs, strict=True) if name == "Manhattan"])

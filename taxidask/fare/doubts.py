"""Rides of which too little is known for a price of their own: these get the band of any ride, and a note."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taxidask.fare.landmarks import taxi_zones
from taxidask.fare.rides import Rides


def doubts(rides: Rides) -> dict[str, NDArray[np.bool_]]:
    """What is odd about places, and of which rides it is.

    Points of the sea, or of the land around the city, lie in no taxi zone. Rides from a point to the very same are
    round trips or lost signals; of rides told by zones, those within one are as good as others.
    """
    said = {}
    for end, lon, lat in (("pick-up", rides.lon0, rides.lat0), ("drop-off", rides.lon1, rides.lat1)):
        said[f"the {end} lies in no taxi zone"] = (taxi_zones(lon, lat) == 0) & ~np.isnan(lon)
    same = (rides.lon0 == rides.lon1) & (rides.lat0 == rides.lat1) & (rides.zone0 == 0)
    said["it ends at the very point where it begins"] = same
    return said

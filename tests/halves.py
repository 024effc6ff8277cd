"""The city as two zones, for runs of which little shall be published."""

from __future__ import annotations

from typing import Any


def halves() -> dict[str, Any]:
    def zone(number: int, west: float, east: float) -> dict[str, Any]:
        ring = [[west, 40.5], [east, 40.5], [east, 41.0], [west, 41.0], [west, 40.5]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "properties": {"LocationID": number}, "geometry": shape}

    return {"type": "FeatureCollection", "features": [zone(1, -74.3, -73.98), zone(2, -73.98, -73.7)]}

"""Taxi zones out of GeoJSON, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taxidask.errors import SpaceError

Points = NDArray[np.float64]

NO_ZONES = (264, 265)  # the TLC's ids for "unknown" and "outside the city"
MAX_ID = 32767  # trips hold ids as int16
REMEDY = (
    "give the TLC's taxi zones as GeoJSON in degrees, "
    "e.g. made with: ogr2ogr -t_srs EPSG:4326 taxi_zones.geojson taxi_zones.shp"
)


@dataclass
class Zone:
    """One LocationID: its polygons, each a list of closed rings (outline, then holes) of points (n, 2)."""

    id: int
    name: str | None = None
    borough: str | None = None
    polygons: list[list[Points]] = field(default_factory=list)


def parse_zones(data: bytes, where: str) -> list[Zone]:
    """Return the zones of a GeoJSON FeatureCollection in ascending order of LocationID.

    Features of one LocationID are one zone. Features 264 and 265 are left out.

    Parameters
    ----------
    data : bytes
        The file's content.
    where : str
        What to call the file in messages.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        start = data[:40].decode("latin-1")
        raise SpaceError(f"{where} is no GeoJSON: it begins with {start!r} ({error})", REMEDY) from error
    kind = document.get("type") if isinstance(document, dict) else type(document).__name__
    if kind != "FeatureCollection" or not isinstance(document.get("features"), list):
        raise SpaceError(f"{where} is no collection of zones: its type is {kind!r}, not 'FeatureCollection'", REMEDY)
    _check_crs(document.get("crs"), where)
    zones: dict[int, Zone] = {}
    for number, feature in enumerate(document["features"]):
        place = f"{where}, feature {number}"
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(properties, dict):
            raise SpaceError(f"{place} has no properties", REMEDY)
        zone_id = _location_id(properties, place)
        if zone_id in NO_ZONES:
            continue
        zone = zones.setdefault(zone_id, Zone(zone_id))
        zone.name = zone.name or _text(properties, "zone")
        zone.borough = zone.borough or _text(properties, "borough")
        zone.polygons += _polygons(feature.get("geometry"), f"{place} (LocationID {zone_id})")
    if not zones:
        raise SpaceError(f"{where} holds no zones", REMEDY)
    _check_degrees(zones.values(), where)
    return [zones[zone_id] for zone_id in sorted(zones)]


def _property(properties: dict[str, Any], name: str) -> Any:
    """A property by name; files differ in case and underscores (LocationID, location_id, locationid)."""
    for key, value in properties.items():
        if key.lower().replace("_", "") == name:
            return value
    return None


def _text(properties: dict[str, Any], name: str) -> str | None:
    value = _property(properties, name)
    return None if value is None else str(value)


def _location_id(properties: dict[str, Any], place: str) -> int:
    value = _property(properties, "locationid")
    if value is None:
        raise SpaceError(
            f"{place} has no LocationID, only {', '.join(map(repr, properties)) or 'no properties at all'}", REMEDY
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if isinstance(value, bool) or number != np.floor(number) or not 1 <= number <= MAX_ID:
        raise SpaceError(f"{place} has LocationID {value!r}", f"a LocationID is a whole number from 1 to {MAX_ID}")
    return int(number)


def _polygons(geometry: Any, place: str) -> list[list[Points]]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise SpaceError(f"{place} is no polygon but {(kind or geometry)!r:.60}", REMEDY)
    nested = geometry.get("coordinates")
    polygons = [nested] if kind == "Polygon" else nested
    if not isinstance(polygons, list) or not all(isinstance(rings, list) and rings for rings in polygons):
        raise SpaceError(f"{place} has a polygon without rings", REMEDY)
    return [[_ring(ring, place) for ring in rings] for rings in polygons]


def _ring(ring: Any, place: str) -> Points:
    """A ring's points, closed, without repeats and without elevations."""
    try:
        points = np.array([(x, y) for x, y, *_ in ring], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SpaceError(f"{place} has a ring that is no list of positions", REMEDY) from error
    if not np.isfinite(points).all():
        raise SpaceError(f"{place} has a position that is not finite", REMEDY)
    if len(points) and (points[0] != points[-1]).any():
        points = np.concatenate([points, points[:1]])
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]] if len(points) else points
    if len(points) < 4:
        raise SpaceError(f"{place} has a ring of fewer than 3 different positions", REMEDY)
    return points + 0.0  # -0.0 becomes 0.0


def _check_crs(crs: Any, where: str) -> None:
    name = str(crs.get("properties", {}).get("name", "")) if isinstance(crs, dict) else ""
    if name and not name.upper().endswith(("CRS84", ":4326", ":4269")):
        raise SpaceError(f"{where} is in the coordinate system {name}, not in degrees", REMEDY)


def _check_degrees(zones: Any, where: str) -> None:
    for zone in zones:
        points = np.concatenate([ring for rings in zone.polygons for ring in rings])
        if (abs(points) > (180.0, 90.0)).any():
            x, y = points[(abs(points) > (180.0, 90.0)).any(axis=1)][0].tolist()
            raise SpaceError(f"{where}, LocationID {zone.id}: ({x}, {y}) is no longitude and latitude", REMEDY)
        if (points[:, 1] < -60).all():
            x, y = points[0].tolist()
            raise SpaceError(
                f"{where}, LocationID {zone.id}: ({x}, {y}) lies in Antarctica",
                "GeoJSON positions are (longitude, latitude): these look swapped",
            )

"""Cells: a regular `Grid` or TLC `Zones`; which cell a point or a named place lies in, shapes and neighbours.

Only for itself: base, choosing, geojson, grid, kernel, places, raster, zones. Tests: tests/space.
"""

from __future__ import annotations

from typing import Any

from taxidask.errors import SpaceError
from taxidask.space.base import Space
from taxidask.space.choosing import AUTO, NAMED, Choice, SpaceLike, choose_space, not_placed, space_of
from taxidask.space.grid import Grid
from taxidask.space.kernel import Kernel, locate_ids, locate_points
from taxidask.space.places import as_point, find_zone, point_name, zone_at, zone_name
from taxidask.space.zones import Zones, zones_from_dict

__all__ = [
    "AUTO",
    "NAMED",
    "Choice",
    "Grid",
    "Kernel",
    "Space",
    "SpaceLike",
    "Zones",
    "as_point",
    "choose_space",
    "find_zone",
    "locate_ids",
    "locate_points",
    "not_placed",
    "point_name",
    "space_from_dict",
    "space_of",
    "zone_at",
    "zone_name",
]


def space_from_dict(described: dict[str, Any], *, geojson: bytes | None = None) -> Grid | Zones:
    """Return the space that `Grid.to_dict` or `Zones.to_dict` described.

    Parameters
    ----------
    described : dict
        What `to_dict` returned, perhaps by way of JSON.
    geojson : bytes, optional
        The zones' GeoJSON, where `to_dict(embed=False)` left it out; otherwise it is read from their URL.

    Examples
    --------
    >>> space_from_dict(Grid.new_york().to_dict()) == Grid.new_york()
    True
    """
    kind = described.get("kind") if isinstance(described, dict) else None
    if kind == "zones":
        return zones_from_dict(described, geojson)
    names = ("rows", "cols", "west", "south", "east", "north")
    if kind != "grid" or any(name not in described for name in names):
        raise SpaceError(f"this describes no space: {described!r:.200}", "give what to_dict() of a Grid or Zones made")
    rows, cols, west, south, east, north = (described[name] for name in names)
    return Grid(rows, cols, west=west, south=south, east=east, north=north)

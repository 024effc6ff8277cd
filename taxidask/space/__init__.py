"""Cells: a regular `Grid` or TLC `Zones`; which cell a point lies in, shapes and neighbours.

Only for itself: base, geojson, grid, kernel, raster, zones. Tests: tests/space.
"""

from __future__ import annotations

from typing import Any

from taxidask.errors import SpaceError
from taxidask.space.base import Space
from taxidask.space.grid import Grid
from taxidask.space.kernel import Kernel, locate_ids, locate_points
from taxidask.space.zones import Zones, zones_from_dict

__all__ = [
    "Grid",
    "Kernel",
    "Space",
    "Zones",
    "locate_ids",
    "locate_points",
    "space_from_dict",
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
    kind = described.get("kind")
    if kind == "zones":
        return zones_from_dict(described, geojson)
    names = ("rows", "cols", "west", "south", "east", "north")
    if kind != "grid" or any(name not in described for name in names):
        raise SpaceError(f"this describes no space: {described!r:.200}", "give what to_dict() of a Grid or Zones made")
    rows, cols, west, south, east, north = (described[name] for name in names)
    return Grid(rows, cols, west=west, south=south, east=east, north=north)

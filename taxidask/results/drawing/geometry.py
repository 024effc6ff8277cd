"""What a page draws of a space: every cell's outline, in as many points as a screen shows, its name and its centre."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taxidask.errors import SpaceError
from taxidask.results.drawing.packing import Item, damaged, packed, unpacked
from taxidask.space import Grid, Space, Zones
from taxidask.space.outlines import simplified

TOLERANCE = 20.0  # metres: half a pixel of a map of the whole city
_STEPS = 100_000  # to a degree: 1.1 m
_MOST = 16 * 1024**2


@dataclass(frozen=True, repr=False)
class Geometry:
    """The cells of a space, for drawing.

    Attributes
    ----------
    space : str
        The space's key.
    shapes : list
        For each cell its polygons, each a list of closed rings (points, 2) of longitude and latitude: the outline, then
        its holes. Of zones, points are left out that move no outline by more than 20 m.
    centres : array (cells, 2)
        Longitude and latitude of a point inside each cell.
    names, boroughs : list of str or None
        What zones are called and where they lie; None for cells of a grid.
    ids : list of int or None
        The TLC's LocationIDs, None for a grid.
    grid : Grid or None
        The grid, where the cells are one.
    """

    space: str
    shapes: list[list[list[np.ndarray]]]
    centres: np.ndarray
    names: list[str | None]
    boroughs: list[str | None]
    ids: list[int] | None = None
    grid: Grid | None = None

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.shapes)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north of all cells."""
        points = np.concatenate([ring for polygons in self.shapes for rings in polygons for ring in rings])
        (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return west, south, east, north

    def label(self, cell: int) -> str:
        """How a cell is called to people: ``JFK Airport (132)``, ``Cell 351``."""
        if self.ids is None:
            return f"Cell {cell}"
        name = self.names[cell]
        return f"{name} ({self.ids[cell]})" if name else f"Zone {self.ids[cell]}"

    def __repr__(self) -> str:
        return f"Geometry({self.space!r}, {self.cells} cells)"


def bodies_of(space: Space) -> list[Item]:
    """A space as the bodies of items."""
    described = _of_zones(space) if isinstance(space, Zones) else space.to_dict()
    return packed(json.dumps(described, separators=(",", ":")).encode())


def geometry_of(bodies: Sequence[Item], space_key: str) -> Geometry:
    """The geometry back; StoreError when it is not what `bodies_of` made."""
    what = f"the geometry of {space_key}"
    raw = unpacked(bodies, what, most=_MOST)
    try:
        described = json.loads(raw)
        kind = described.pop("kind")
        made = _grid(space_key, described) if kind == "grid" else _zones(space_key, described)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, SpaceError) as error:
        raise damaged(what, f"{type(error).__name__}: {error}") from error
    if not (made.cells and len(made.centres) == len(made.names) == len(made.boroughs) == made.cells):
        raise damaged(what, "its lists are not of one length")
    return made


def _grid(space_key: str, described: dict[str, Any]) -> Geometry:
    if not described["rows"] * described["cols"] * 64 <= _MOST:
        raise ValueError(f"{described['rows']} x {described['cols']} cells")
    grid = Grid(**described)
    shapes = [[[np.array(ring) for ring in rings]] for rings in grid.polygons()]
    none: list[str | None] = [None] * grid.cells
    return Geometry(space_key, shapes, grid.centers(), none, none, grid=grid)


def _of_zones(zones: Zones) -> dict[str, Any]:
    rings = [[np.array(ring) for ring in polygons] for polygons in zones.polygons()]
    thin = iter(simplified([ring for cell in rings for ring in cell], TOLERANCE))
    return {
        "kind": "zones",
        "ids": zones.ids.tolist(),
        "names": zones.names,
        "boroughs": zones.boroughs,
        "centres": np.rint(zones.centers() * _STEPS).astype(int).tolist(),
        # holes run the other way round than outlines, however little is left of either
        "rings": [[[int(_area(ring) < 0), *_steps(next(thin))] for ring in cell] for cell in rings],
    }


def _steps(ring: np.ndarray) -> list[int]:
    whole: list[int] = np.diff(np.rint(ring * _STEPS).astype(np.int64), axis=0, prepend=0).reshape(-1).tolist()
    return whole


def _zones(space_key: str, described: dict[str, Any]) -> Geometry:
    shapes: list[list[list[np.ndarray]]] = []
    for rings in described["rings"]:
        polygons: list[list[np.ndarray]] = []
        for hole, *steps in rings:
            points = np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0) / _STEPS
            if len(points) < 4 or not (abs(points) <= (180, 90)).all():
                raise ValueError("a ring is no ring of degrees")
            if hole:
                polygons[-1].append(points)
            else:
                polygons.append([points])
        shapes.append(polygons)
    centres = np.array(described["centres"], dtype=np.float64).reshape(-1, 2) / _STEPS
    names, boroughs = ([None if text is None else str(text) for text in described[n]] for n in ("names", "boroughs"))
    ids = [int(number) for number in described["ids"]]
    if len(ids) != len(shapes):
        raise ValueError(f"{len(ids)} ids of {len(shapes)} zones")
    return Geometry(space_key, shapes, centres, names, boroughs, ids)


def _area(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))

"""A regular grid of cells between two meridians and two parallels."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property, lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taxidask.errors import SpaceError
from taxidask.space.base import Ring, Space
from taxidask.space.kernel import GRID, Kernel

MAX_CELLS = 10_000_000
MIN_WIDTH = 1e-9  # degrees, a tenth of a millimetre: far above rounding errors, as `_grid_cell` needs


class Grid(Space):
    """Cells of equal size in degrees; cell = row * cols + col, row 0 in the south, col 0 in the west.

    Each cell is half-open: its west and south edges belong to it, its east and north edges to the next one or to none.
    Edge k of `cols + 1` is the float64 nearest to west + (east - west) * k / cols, worked out exactly from the bounds
    as they are written: with west=-74.05, a point published as -73.99 lies on the edge of column 5 and so in it, which
    the same sum in floats would miss.

    Parameters
    ----------
    rows, cols : int
        Number of rows (south to north) and columns (west to east).
    west, south, east, north : float
        Bounds in degrees.

    Attributes
    ----------
    cells : int
        rows * cols.
    x_edges, y_edges : float64 arrays
        The cols + 1 meridians and rows + 1 parallels between cells.

    Examples
    --------
    >>> grid = Grid(2, 3, west=0, south=0, east=3, north=2)
    >>> grid
    Grid(2, 3, west=0.0, south=0.0, east=3.0, north=2.0)
    >>> grid.locate([0.0, 1.0, 2.9, 3.0], [0.0, 1.0, 1.9, 0.0])
    array([ 0,  4,  5, -1], dtype=int32)
    >>> grid.center(4)
    (1.5, 1.5)
    """

    def __init__(self, rows: int, cols: int, *, west: float, south: float, east: float, north: float) -> None:
        self.rows = _count("rows", rows)
        self.cols = _count("cols", cols)
        self.west = _degrees("west", west, 180)
        self.south = _degrees("south", south, 90)
        self.east = _degrees("east", east, 180)
        self.north = _degrees("north", north, 90)
        self.cells = self.rows * self.cols
        if self.cells > MAX_CELLS:
            raise SpaceError(
                f"a grid of {self.rows} rows and {self.cols} columns has {self.cells:,} cells",
                f"use at most {MAX_CELLS:,}",
            )
        if not self.west < self.east:
            raise SpaceError(
                f"the grid's west {self.west} is not west of its east {self.east}", "give west < east, in degrees"
            )
        if not self.south < self.north:
            raise SpaceError(
                f"the grid's south {self.south} is not south of its north {self.north}",
                "give south < north, in degrees",
            )
        self.bounds = (self.west, self.south, self.east, self.north)
        self.x_edges = _edges(self.west, self.east, self.cols)
        self.y_edges = _edges(self.south, self.north, self.rows)
        self.label = f"Grid {self.rows} × {self.cols}"
        self.key = f"grid-{self.rows}x{self.cols}" + "".join(f"_{value!r}" for value in self.bounds)

    @classmethod
    @lru_cache(maxsize=1)
    def new_york(cls) -> Grid:
        """Return the grid of this package: 24 × 25 cells of about 1 km over Manhattan and around.

        Examples
        --------
        >>> Grid.new_york()
        Grid(24, 25, west=-74.05, south=40.63, east=-73.75, north=40.85)
        """
        return cls(24, 25, west=-74.05, south=40.63, east=-73.75, north=40.85)

    def _make_kernel(self) -> Kernel:
        none = np.empty(0, np.int32)
        return Kernel(
            kind=GRID,
            rows=self.rows,
            cols=self.cols,
            west=self.west,
            south=self.south,
            east=self.east,
            north=self.north,
            x_scale=self.cols / (self.east - self.west),
            y_scale=self.rows / (self.north - self.south),
            x_edges=self.x_edges.copy(),  # compiled code wants writable arrays, readers must not have them
            y_edges=self.y_edges.copy(),
            raster=none,
            list_start=none,
            list_cell=none,
            edge_start=none,
            edge_stop=none,
            edges=np.empty((0, 4)),
            id_cell=none,
        )

    def locate_ids(self, ids: ArrayLike) -> NDArray[np.int32]:  # noqa: ARG002
        """Refuse: a zone's id says nothing about grid cells."""
        raise SpaceError(
            f"trips with zone ids cannot be placed in {self!r}",
            "count them in the taxi zones: td.Zones()",
        )

    def center(self, cell: int) -> tuple[float, float]:
        """Return the middle of a cell as (longitude, latitude)."""
        lon, lat = self.centers()[self._check_cell(cell)]
        return float(lon), float(lat)

    @cached_property
    def _centers(self) -> NDArray[np.float64]:
        x = (self.x_edges[:-1] + self.x_edges[1:]) / 2
        y = (self.y_edges[:-1] + self.y_edges[1:]) / 2
        return np.stack([np.tile(x, self.rows), np.repeat(y, self.cols)], axis=1)

    def centers(self) -> NDArray[np.float64]:
        """Return every cell's middle: an array (cells, 2) of longitude and latitude."""
        return self._centers.copy()

    def polygons(self) -> list[list[Ring]]:
        """Return each cell's rectangle as one closed ring of (longitude, latitude), counter-clockwise."""
        x, y = self.x_edges.tolist(), self.y_edges.tolist()
        return [
            [[(x[c], y[r]), (x[c + 1], y[r]), (x[c + 1], y[r + 1]), (x[c], y[r + 1]), (x[c], y[r])]]
            for r in range(self.rows)
            for c in range(self.cols)
        ]

    def neighbours(self, cell: int) -> NDArray[np.int32]:
        """Return the up to eight cells around a cell, in ascending order.

        Examples
        --------
        >>> Grid(3, 3, west=0, south=0, east=3, north=3).neighbours(0)
        array([1, 3, 4], dtype=int32)
        """
        row, col = divmod(self._check_cell(cell), self.cols)
        around = [
            r * self.cols + c
            for r in range(max(row - 1, 0), min(row + 2, self.rows))
            for c in range(max(col - 1, 0), min(col + 2, self.cols))
            if (r, c) != (row, col)
        ]
        return np.array(around, np.int32)

    def to_dict(self) -> dict[str, Any]:
        """Return the grid as JSON-able values.

        Examples
        --------
        >>> Grid(1, 2, west=0, south=0, east=2, north=1).to_dict()
        {'kind': 'grid', 'rows': 1, 'cols': 2, 'west': 0.0, 'south': 0.0, 'east': 2.0, 'north': 1.0}
        """
        bounds = dict(zip(("west", "south", "east", "north"), self.bounds, strict=True))
        return {"kind": "grid", "rows": self.rows, "cols": self.cols, **bounds}

    def __reduce__(self) -> tuple[Any, ...]:
        return _grid, (self.rows, self.cols, *self.bounds)

    def __repr__(self) -> str:
        w, s, e, n = self.bounds
        return f"Grid({self.rows}, {self.cols}, west={w}, south={s}, east={e}, north={n})"


def _grid(rows: int, cols: int, west: float, south: float, east: float, north: float) -> Grid:
    return Grid(rows, cols, west=west, south=south, east=east, north=north)


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SpaceError(f"a grid cannot have {name}={value!r}", f"give {name} as a whole number of at least 1")
    return int(value)


def _degrees(name: str, value: float, limit: int) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not -limit <= value <= limit:
        raise SpaceError(f"a grid cannot have {name}={value!r}", f"give degrees from -{limit} to {limit}")
    return float(value) + 0.0  # -0.0 becomes 0.0, so that equal grids have equal keys


def _edges(low: float, high: float, n: int) -> NDArray[np.float64]:
    """Edges between n equal cells, each the float64 nearest to the exact one (see `Grid`)."""
    first, last = Fraction(repr(low)), Fraction(repr(high))
    edges = np.array([float(first + (last - first) * k / n) for k in range(n + 1)])
    if np.diff(edges).min() < MIN_WIDTH:
        raise SpaceError(
            f"{n} cells between {low} and {high} degrees are narrower than {MIN_WIDTH} degrees", "use fewer"
        )
    edges.flags.writeable = False
    return edges

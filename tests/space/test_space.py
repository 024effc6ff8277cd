from __future__ import annotations

import json
import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from dask.tokenize import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.errors import SpaceError
from taxidask.space import Grid, locate_points, space_from_dict

settings.register_profile("steady", deadline=None)  # compiling and a busy machine make single examples slow
settings.load_profile("steady")

NEW_YORK = Grid.new_york()
degrees = st.floats(-90, 90).map(lambda x: round(x, 6))


@st.composite
def grids(draw) -> Grid:
    west, south = draw(degrees), draw(degrees)
    width, height = draw(st.sampled_from([0.001, 0.22, 0.3, 1.0, 7.77])), draw(st.sampled_from([0.01, 0.1, 0.33]))
    east, north = round(west + width, 6), min(round(south + height, 6), 90.0)
    if north <= south:
        south, north = 0.0, 0.1
    rows, cols = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    return Grid(rows, cols, west=west, south=south, east=east, north=north)


def slow_index(value: float, low: float, high: float, n: int) -> int | None:
    """Column or row by trying each, in decimal arithmetic as on paper; edges as the floats nearest to the true ones."""
    first, last = Fraction(repr(low)), Fraction(repr(high))
    edges = [float(first + (last - first) * Fraction(k, n)) for k in range(n + 1)]
    return next((k for k in range(n) if edges[k] <= value < edges[k + 1]), None)


def slow_cell(grid: Grid, lon: float, lat: float) -> int:
    col = slow_index(lon, grid.west, grid.east, grid.cols)
    row = slow_index(lat, grid.south, grid.north, grid.rows)
    return -1 if row is None or col is None else row * grid.cols + col


@given(grids(), st.data())
def test_locate_equals_trying_every_cell(grid, data):
    def axis(edges):
        edge = st.sampled_from(edges.tolist())
        near = st.tuples(edge, st.sampled_from([-np.inf, np.inf])).map(lambda p: float(np.nextafter(*p)))
        return st.one_of(edge, near, st.floats(edges[0], edges[-1]), st.floats())

    points = data.draw(st.lists(st.tuples(axis(grid.x_edges), axis(grid.y_edges)), min_size=1, max_size=20))
    cells = grid.locate([x for x, _ in points], [y for _, y in points])
    assert cells.tolist() == [slow_cell(grid, x, y) for x, y in points]


@given(st.integers(0, 299_999), st.integers(0, 219_999))
def test_published_decimals_fall_where_paper_puts_them(x, y):
    """Six decimals, as TLC published: exact integer arithmetic in millionths of a degree knows the cell."""
    cell = NEW_YORK.locate([float(f"{(-74_050_000 + x) / 1e6:.6f}")], [float(f"{(40_630_000 + y) / 1e6:.6f}")])
    assert cell.tolist() == [(y * 24 // 220_000) * 25 + x * 25 // 300_000]


def test_every_edge_of_new_york_that_is_a_short_decimal_opens_its_cell():
    for col in range(25):
        lon = float(f"{(-74_050 + 12 * col) / 1000:.3f}")
        assert NEW_YORK.locate([lon], [40.7]) % 25 == col


def test_new_york_is_the_grid_of_the_design():
    assert repr(NEW_YORK) == "Grid(24, 25, west=-74.05, south=40.63, east=-73.75, north=40.85)"
    assert NEW_YORK.cells == 600
    assert NEW_YORK.key == "grid-24x25_-74.05_40.63_-73.75_40.85"
    assert NEW_YORK.locate([-74.05, -73.75 - 1e-9], [40.63, 40.85 - 1e-9]).tolist() == [0, 599]
    assert NEW_YORK.locate([-73.75, -74.0, -74.06], [40.7, 40.85, 40.7]).tolist() == [-1, -1, -1]


def test_points_that_are_not_numbers_lie_nowhere():
    assert NEW_YORK.locate([np.nan, -74.0, np.inf, -np.inf], [40.7, np.nan, 40.7, 40.7]).tolist() == [-1] * 4


@pytest.mark.parametrize("make", [list, np.array, pd.Series, lambda x: np.array(x, np.float32), pd.array])
def test_locate_takes_any_array(make):
    assert NEW_YORK.locate(make([-74.0, -73.8]), make([40.7, 40.8])).tolist() == [179, 470]


def test_locate_keeps_the_shape():
    assert NEW_YORK.locate(-74.0, 40.7).shape == ()
    assert NEW_YORK.locate(np.full((2, 3), -74.0), np.full((2, 3), 40.7)).shape == (2, 3)
    assert NEW_YORK.locate([], []).shape == (0,)
    with pytest.raises(SpaceError, match=r"shape \(2,\) and latitudes \(3,\)"):
        NEW_YORK.locate([1.0, 2.0], [1.0, 2.0, 3.0])


def test_locate_reads_arrays_that_are_read_only_or_strided():
    lon = np.linspace(-74.05, -73.75, 50)
    lat = np.linspace(40.63, 40.85, 50)
    lon.flags.writeable = False
    expected = [slow_cell(NEW_YORK, x, y) for x, y in zip(lon, lat, strict=True)]
    assert NEW_YORK.locate(lon, lat).tolist() == expected
    assert NEW_YORK.locate(lon[::-2], lat[::-2]).tolist() == expected[::-2]


def test_kernel_serves_compiled_code():
    out = np.empty(2, np.int32)
    locate_points(NEW_YORK.kernel(), np.array([-74.0, 0.0]), np.array([40.7, 0.0]), out)
    assert out.tolist() == [179, -1]


@given(grids())
def test_centers_and_polygons_lie_in_their_cells(grid):
    centers = grid.centers()
    assert grid.locate(centers[:, 0], centers[:, 1]).tolist() == list(range(grid.cells))
    cell = grid.cells // 2
    assert grid.center(cell) == tuple(centers[cell])
    rings = grid.polygons()
    assert len(rings) == grid.cells
    (ring,) = rings[cell]
    assert ring[0] == ring[-1]
    assert slow_cell(grid, *ring[0]) == cell  # the south-west corner belongs to the cell


@given(grids())
def test_neighbours_are_the_cells_within_one_step(grid):
    cell = grid.cells - 1
    row, col = divmod(cell, grid.cols)
    slow = [
        other
        for other in range(grid.cells)
        if other != cell and max(abs(other // grid.cols - row), abs(other % grid.cols - col)) == 1
    ]
    assert grid.neighbours(cell).tolist() == slow


@pytest.mark.parametrize("cell", [-1, 600])
def test_a_cell_that_does_not_exist(cell):
    with pytest.raises(SpaceError, match=f"no cell {cell} in Grid.*cells are 0 to 599"):
        NEW_YORK.center(cell)
    with pytest.raises(SpaceError):
        NEW_YORK.neighbours(cell)


@given(grids())
def test_a_grid_is_a_value(grid):
    for copy in (pickle.loads(pickle.dumps(grid)), space_from_dict(json.loads(json.dumps(grid.to_dict())))):
        assert copy == grid
        assert hash(copy) == hash(grid)
        assert copy.key == grid.key
        assert np.array_equal(copy.x_edges, grid.x_edges)
        assert tokenize(copy) == tokenize(grid)
    w, s, e, n = grid.bounds
    assert Grid(grid.rows + 1, grid.cols, west=w, south=s, east=e, north=n) != grid
    assert grid != "grid"


def test_bounds_of_other_types_make_the_same_grid():
    assert Grid(np.int64(1), 1, west=0, south=-0.0, east=np.float64(1), north=1) == Grid(
        1, 1, west=0.0, south=0, east=1, north=1.0
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "cannot have rows=0; give rows as a whole number of at least 1"),
        ({"rows": 2.5}, "cannot have rows=2.5"),
        ({"cols": True}, "cannot have cols=True"),
        ({"cols": -3}, "cannot have cols=-3"),
        ({"rows": 10**6, "cols": 10**6}, "1,000,000,000,000 cells"),
        ({"west": 2.0}, "west 2.0 is not west of its east 1.0"),
        ({"west": 1.0}, "is not west of"),
        ({"south": 5.0}, "south 5.0 is not south of its north 1.0"),
        ({"west": float("nan")}, "cannot have west=nan"),
        ({"east": float("inf")}, "cannot have east=inf; give degrees from -180 to 180"),
        ({"north": 91}, "cannot have north=91; give degrees from -90 to 90"),
        ({"north": "40"}, "cannot have north='40'"),
        ({"cols": 1000, "east": 1e-7}, "narrower than"),
    ],
)
def test_nonsense_is_refused(change, says):
    good = {"rows": 2, "cols": 2, "west": 0.0, "south": 0.0, "east": 1.0, "north": 1.0}
    arguments = good | change
    with pytest.raises(SpaceError, match=says):
        Grid(arguments.pop("rows"), arguments.pop("cols"), **arguments)


def test_zone_ids_need_zones():
    with pytest.raises(SpaceError, match=r"cannot be placed in Grid.*count them in the taxi zones: td\.Zones\(\)"):
        NEW_YORK.locate_ids([1, 2])


@pytest.mark.parametrize("described", [{}, {"kind": "hexagons"}, {"kind": "grid", "rows": 3}])
def test_what_describes_no_space(described):
    with pytest.raises(SpaceError, match="describes no space"):
        space_from_dict(described)


def test_public_names():
    assert td.Grid is Grid
    assert td.Zones.__name__ == "Zones"

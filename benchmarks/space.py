"""Points located per CPU second (all is single-threaded), beside the usual ways to do it, measured in the same run.

    python benchmarks/space.py [yellow_tripdata_2015-01.csv]

Peers get the points that they manage in a few seconds. Answers must agree: `np.searchsorted` in every point, a compiled
ray-cast over all zones in every point, matplotlib's paths (which round) in all but a few.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pyarrow.csv
from matplotlib.path import Path
from numba import njit

import taxidask as td
from taxidask.space.kernel import covers
from taxidask.space.raster import make_polygons

POINTS = 5_000_000
ROUNDS = 3


def points(bounds: tuple[float, float, float, float], csv: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Pickups of a file, repeated within a metre or so; without a file, uniform within the bounds."""
    rng = np.random.default_rng(0)
    west, south, east, north = bounds
    if csv is None:
        return rng.uniform(west, east, POINTS), rng.uniform(south, north, POINTS)
    table = pyarrow.csv.read_csv(csv)
    at = rng.integers(0, table.num_rows, POINTS)
    return tuple(
        table[name].to_numpy()[at] + rng.normal(0, 1e-5, POINTS) for name in ("pickup_longitude", "pickup_latitude")
    )


def measure(
    locate: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[float, np.ndarray]:
    """Points per second, best of three, and the answer."""
    cells = locate(x[:100], y[:100])
    best = np.inf
    for _ in range(ROUNDS):
        start = time.process_time()
        cells = locate(x, y)
        best = min(best, time.process_time() - start)
    return len(x) / best, cells


@njit
def _cast(edges, start, cell, box, x, y, out):
    for i in range(len(out)):
        out[i] = -1
        for p in range(len(cell)):
            near = box[p, 0] <= x[i] <= box[p, 2] and box[p, 1] <= y[i] <= box[p, 3]
            if near and covers(edges, start[p], start[p + 1], x[i], y[i]):
                out[i] = cell[p]
                break


def ray_cast(zones: td.Zones) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Every zone whose bounding box holds the point, all its edges; compiled."""
    polygons = make_polygons([(cell, rings) for cell, parts in enumerate(zones._rings) for rings in parts])
    parts = np.split(polygons.edges.reshape(-1, 2), 2 * polygons.start[1:-1])
    box = np.array([[*part.min(axis=0), *part.max(axis=0)] for part in parts])

    def locate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.empty(len(x), np.int32)
        _cast(polygons.edges, polygons.start, polygons.cell, box, x, y, out)
        return out

    return locate


def paths(zones: td.Zones) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """matplotlib's compiled paths, zone by zone."""
    shapes = [
        Path.make_compound_path(*(Path(np.array(ring), closed=True) for ring in rings)) for rings in zones.polygons()
    ]

    def locate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        xy, out = np.stack([x, y], axis=1), np.full(len(x), -1, np.int32)
        for cell, shape in enumerate(shapes):
            out[(out < 0) & shape.contains_points(xy)] = cell
        return out

    return locate


def search(grid: td.Grid) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """NumPy's binary search in the edges."""

    def locate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        col = np.searchsorted(grid.x_edges, x, side="right") - 1
        row = np.searchsorted(grid.y_edges, y, side="right") - 1
        inside = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
        return np.where(inside, row * grid.cols + col, -1).astype(np.int32)

    return locate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="?", help="a month with coordinates; its pickups are the points")
    arguments = parser.parse_args()

    start = time.process_time()
    zones = td.Zones()
    zones.kernel()
    print(f"set-up of {zones.cells} zones: {time.process_time() - start:.2f} s of CPU time")
    zones_bounds, grid = zones.bounds, td.Grid.new_york()

    x, y = points(zones_bounds, arguments.csv)
    contests = {
        "zones": (
            zones.locate,
            {"ray-cast, compiled": (ray_cast(zones), 100_000), "matplotlib": (paths(zones), 20_000)},
        ),
        "grid": (grid.locate, {"np.searchsorted": (search(grid), POINTS)}),
    }
    print(f"{'':32}{'points/s':>14}{'ratio':>9}{'same answer':>14}")
    for name, (locate, peers) in contests.items():
        ours, cells = measure(locate, x, y)
        print(f"{name + ', taxidask':32}{ours:14,.0f}{1:9.1f}{'':>14}")
        for peer, (theirs, n) in peers.items():
            speed, answer = measure(theirs, x[:n], y[:n])
            same = (answer == cells[:n]).mean()
            print(f"{name + ', ' + peer:32}{speed:14,.0f}{ours / speed:9.1f}{same:14.4%}")
            if same < (0.999 if peer == "matplotlib" else 1):
                raise SystemExit(f"{peer} gives other answers")


if __name__ == "__main__":
    main()

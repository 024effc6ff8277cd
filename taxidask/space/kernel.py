"""The compiled side of a space: which cell a point or a zone id lies in.

`Kernel` carries a grid's or zones' tables as plain arrays of the same types for both kinds, so that one compiled
function serves both and other kernels (the CSV parser's) can call `locate_points` on their own arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from taxidask.compiled import kernel

GRID, ZONES = 0, 1

# Codes of the raster of `Zones`: a cell, or NOWHERE, or -2 - i for the i-th list of polygons to test.
NOWHERE = -1
FIRST_LIST = -2


class Kernel(NamedTuple):
    """Tables of a space in the shape compiled code takes; made by `Grid.kernel()` and `Zones.kernel()`.

    Attributes
    ----------
    kind : int
        0 for a grid, 1 for zones.
    rows, cols : int
        Rows and columns of the grid, or of the raster laid over the zones.
    west, south, east, north : float
        Bounds in degrees.
    x_scale, y_scale : float
        Columns and rows per degree.
    x_edges, y_edges : float64 arrays
        Grid: the cells' edges, ascending. Empty for zones.
    raster : int32 array (rows * cols)
        Zones: what each pixel holds: a cell, -1 for none, or -2 - i for the i-th list of polygons.
    list_start : int32 array
        Zones: entries `list_start[i]` to `list_start[i + 1]` are tested, in this order, in pixels of list i.
    list_cell, edge_start, edge_stop : int32 arrays
        Zones: each entry's cell, which has the point if `edges[edge_start:edge_stop]` cover it.
    edges : float64 array (n, 4)
        Zones: x1, y1, x2, y2 of an edge, with y1 <= y2.
    id_cell : int32 array
        Zones: the cell of each LocationID, -1 for none. Empty for a grid.
    """

    kind: int
    rows: int
    cols: int
    west: float
    south: float
    east: float
    north: float
    x_scale: float
    y_scale: float
    x_edges: np.ndarray
    y_edges: np.ndarray
    raster: np.ndarray
    list_start: np.ndarray
    list_cell: np.ndarray
    edge_start: np.ndarray
    edge_stop: np.ndarray
    edges: np.ndarray
    id_cell: np.ndarray


@kernel
def _two_product(a, b):
    """a * b as the sum of a float and its rounding error, exactly (Dekker, with Veltkamp's splitting)."""
    high = a * b
    c = 134217729.0 * a
    a1 = c - (c - a)
    a2 = a - a1
    c = 134217729.0 * b
    b1 = c - (c - b)
    b2 = b - b1
    return high, a2 * b2 - (((high - a1 * b1) - a2 * b1) - a1 * b2)


@kernel
def _two_difference(a, b):
    """a - b as the sum of a float and its rounding error, exactly (Knuth)."""
    high = a - b
    t = a - high
    return high, (a - (high + t)) + (t - b)


@kernel
def _exact_side(x1, y1, x2, y2, x, y):
    """The sign of `side` in exact arithmetic: sixteen products summed without rounding (Shewchuk's expansions)."""
    terms = np.empty(16)
    n = 0
    for sign in (1.0, -1.0):
        if sign > 0:
            a, a_low = _two_difference(x2, x1)
            b, b_low = _two_difference(y, y1)
        else:
            a, a_low = _two_difference(y2, y1)
            b, b_low = _two_difference(x, x1)
        for p in (a, a_low):
            for q in (b, b_low):
                high, low = _two_product(p, q)
                terms[n] = sign * high
                terms[n + 1] = sign * low
                n += 2
    total = np.zeros(16)  # an expansion: components that do not overlap, in ascending order of magnitude
    for i in range(16):
        carry = terms[i]
        for j in range(i):
            s = carry + total[j]
            t = s - carry
            total[j] = (carry - (s - t)) + (total[j] - t)
            carry = s
        total[i] = carry
    for i in range(15, -1, -1):
        if total[i] > 0.0:
            return 1
        if total[i] < 0.0:
            return -1
    return 0


@kernel
def side(x1, y1, x2, y2, x, y):
    """On which side of the line from (x1, y1) to (x2, y2) a point lies: 1 left, -1 right, 0 on it; exact.

    A float64 result that is larger than its rounding error decides; the few others are worked out without rounding.
    (Exact unless products of differences underflow: below 1e-150 degrees.)
    """
    left = (x2 - x1) * (y - y1)
    right = (y2 - y1) * (x - x1)
    determinant = left - right
    doubt = 4e-16 * (abs(left) + abs(right))
    if determinant > doubt:
        return 1
    if determinant < -doubt:
        return -1
    return _exact_side(x1, y1, x2, y2, x, y)


@kernel
def covers(edges, start, stop, x, y):
    """Whether the polygon with these edges holds the point, its border included.

    Edges that lie above, below or west of the point may lack: a ray from it to the east does not meet them.
    """
    inside = False
    for e in range(start, stop):
        y1 = edges[e, 1]
        y2 = edges[e, 3]
        if y < y1 or y > y2:
            continue
        x1 = edges[e, 0]
        x2 = edges[e, 2]
        if y == y2:  # the upper end, or a level edge: no crossing, but maybe on the border
            if x == x2 or (y1 == y2 and min(x1, x2) <= x <= max(x1, x2)):
                return True
            continue
        if x < x1 and x < x2:
            inside = not inside
        elif x <= x1 or x <= x2:
            if x == x1 and y == y1:
                return True
            where = side(x1, y1, x2, y2, x, y)
            if where == 0:
                return True
            if where > 0:
                inside = not inside
    return inside


@kernel
def _grid_cell(west, south, east, north, x_scale, y_scale, rows, cols, x_edges, y_edges, x, y):
    if not (west <= x < east and south <= y < north):
        return NOWHERE
    # The guess is off by one at most, as cells are far wider than rounding errors; the edges decide.
    col = min(int((x - west) * x_scale), cols - 1)
    row = min(int((y - south) * y_scale), rows - 1)
    col -= x < x_edges[col]
    col += x >= x_edges[col + 1]
    row -= y < y_edges[row]
    row += y >= y_edges[row + 1]
    return row * cols + col


@kernel
def _locate_in_grid(kernel, lon, lat, out):
    # Fields are taken out of the tuple once: doing so for every point counts references and costs more than the work.
    west, south, east, north = kernel.west, kernel.south, kernel.east, kernel.north
    x_scale, y_scale, rows, cols = kernel.x_scale, kernel.y_scale, kernel.rows, kernel.cols
    x_edges, y_edges = kernel.x_edges, kernel.y_edges
    # `_grid_cell` written out: handing it the arrays of edges would count references too.
    for i in range(out.size):
        x, y = lon[i], lat[i]
        cell = NOWHERE
        if west <= x < east and south <= y < north:
            col = min(int((x - west) * x_scale), cols - 1)
            row = min(int((y - south) * y_scale), rows - 1)
            col -= x < x_edges[col]
            col += x >= x_edges[col + 1]
            row -= y < y_edges[row]
            row += y >= y_edges[row + 1]
            cell = row * cols + col
        out[i] = cell


@kernel
def _locate_in_zones(kernel, lon, lat, out):
    west, south, east, north = kernel.west, kernel.south, kernel.east, kernel.north
    x_scale, y_scale, rows, cols = kernel.x_scale, kernel.y_scale, kernel.rows, kernel.cols
    raster = kernel.raster
    listed = 0
    for i in range(out.size):  # first what the raster knows, in a loop that touches nothing else …
        x, y = lon[i], lat[i]
        if west <= x <= east and south <= y <= north:
            # Any monotone rule will do for pixels: edges were filed under rows and columns by this same one.
            col = min(int((x - west) * x_scale), cols - 1)
            row = min(int((y - south) * y_scale), rows - 1)
            out[i] = raster[row * cols + col]
            listed += out[i] < NOWHERE
        else:
            out[i] = NOWHERE
    if listed == 0:
        return
    list_start, list_cell = kernel.list_start, kernel.list_cell
    edge_start, edge_stop, edges = kernel.edge_start, kernel.edge_stop, kernel.edges
    for i in range(out.size):  # … then the points in border pixels
        if out[i] < NOWHERE:
            entry = FIRST_LIST - out[i]
            cell = NOWHERE
            for k in range(list_start[entry], list_start[entry + 1]):
                if covers(edges, edge_start[k], edge_stop[k], lon[i], lat[i]):
                    cell = list_cell[k]
                    break
            out[i] = cell


def locate_points(kernel, lon, lat, out):
    """Write the cell of every point (longitudes, latitudes) into `out` (int32): -1 for none, NaN too.

    Not itself compiled, so that of grid and zones only what is met is.
    """
    if kernel.kind == GRID:
        _locate_in_grid(kernel, lon, lat, out)
    else:
        _locate_in_zones(kernel, lon, lat, out)


@kernel
def locate_ids(kernel, ids, out):
    """Write the cell of every LocationID into `out` (int32): -1 for none."""
    id_cell = kernel.id_cell
    for i in range(out.size):
        known = 0 <= ids[i] < id_cell.size
        out[i] = id_cell[ids[i]] if known else NOWHERE

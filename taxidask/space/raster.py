"""A raster over polygons: what lies in a pixel, or which polygons to test there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taxidask.compiled import kernel
from taxidask.space.kernel import FIRST_LIST, NOWHERE, ZONES, Kernel, covers

PIXELS = 4_000_000  # about 23 m a pixel over New York: few border pixels, 16 MB
MIN_PIXEL = 1e-6  # degrees; keeps the slack below far above rounding errors
SLACK = 1e-3  # of a pixel: an edge is also filed under pixels it passes this close by
FEW = 6  # edges in a row: no pixel of it needs a list of its own


class Polygons(NamedTuple):
    """Polygons as arrays: edges `edges[start[i]:start[i + 1]]` are polygon i's, which belongs to `cell[i]`."""

    edges: NDArray[np.float64]  # x1, y1, x2, y2 with y1 <= y2
    start: NDArray[np.int32]
    cell: NDArray[np.int32]  # ascending


def make_polygons(polygons: list[tuple[int, list[NDArray[np.float64]]]]) -> Polygons:
    """Return (cell, closed rings) pairs, in ascending order of cell, as arrays."""
    edges = []
    for _, rings in polygons:
        own = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in rings])
        edges.append(np.where((own[:, 1] <= own[:, 3])[:, None], own, own[:, [2, 3, 0, 1]]))
    return Polygons(
        edges=np.ascontiguousarray(np.concatenate(edges)),
        start=np.cumsum([0] + [len(own) for own in edges], dtype=np.int32),
        cell=np.array([cell for cell, _ in polygons], np.int32),
    )


def make_kernel(polygons: Polygons, id_cell: NDArray[np.int32], *, pixels: int = PIXELS) -> Kernel:
    """Return the tables that locate points in polygons: the first polygon, in order, that covers a point has it."""
    x, y = polygons.edges[:, 0::2], polygons.edges[:, 1::2]
    west, east, south, north = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    size = max(np.sqrt((east - west) * (north - south) / pixels), (east - west) / 2**14, (north - south) / 2**14)
    size = max(float(size), MIN_PIXEL)
    rows, cols = max(int((north - south) / size), 1), max(int((east - west) / size), 1)
    x_scale, y_scale = cols / max(east - west, MIN_PIXEL), rows / max(north - south, MIN_PIXEL)
    part_row, part_first, row_start, edges = _file_edges(polygons, south, y_scale, rows)
    raster = np.empty(rows * cols, np.int32)
    bounds = west, south, x_scale, y_scale
    n = 8 * len(edges) + 1024
    while True:
        pixel, part = np.empty(n, np.int32), np.empty(n, np.int32)
        n = _paint(bounds, cols, polygons.cell, part_row, part_first, row_start, edges, raster, pixel, part)
        if n <= pixel.size:
            break
    pixel, part = pixel[:n], part[:n]
    order = np.argsort(pixel, kind="stable")  # stable: each pixel's polygons stay in order
    pixel, part = pixel[order], part[order]
    edge_start, edge_stop, edges = _localise(bounds, cols, pixel, part, part_row, part_first, row_start, edges)
    first = np.flatnonzero(np.diff(pixel, prepend=-1))
    raster[pixel[first]] = FIRST_LIST - np.arange(first.size, dtype=np.int32)
    return Kernel(
        kind=ZONES,
        rows=rows,
        cols=cols,
        west=west,
        south=south,
        east=east,
        north=north,
        x_scale=x_scale,
        y_scale=y_scale,
        x_edges=np.empty(0),
        y_edges=np.empty(0),
        raster=raster,
        list_start=np.append(first, pixel.size).astype(np.int32),
        list_cell=polygons.cell[part],
        edge_start=edge_start,
        edge_stop=edge_stop,
        edges=edges,
        id_cell=id_cell,
    )


def _file_edges(polygons: Polygons, south: float, y_scale: float, rows: int) -> tuple[NDArray[Any], ...]:
    """File each polygon's edges under every raster row they touch: its first row, where that stands, and the files."""
    edges, start = polygons.edges, polygons.start
    low, high = (np.minimum(((edges[:, i] - south) * y_scale).astype(np.int32), rows - 1) for i in (1, 3))
    part_row = np.minimum.reduceat(low, start[:-1])
    spans = np.maximum.reduceat(high, start[:-1]) - part_row + 1
    part_first = np.cumsum(spans, dtype=np.int32) - spans
    times = high - low + 1  # in how many rows an edge is filed
    edge = np.repeat(np.arange(len(edges)), times)
    row = np.arange(edge.size) - np.repeat(np.cumsum(times) - times, times) + low[edge]
    part = np.repeat(np.arange(len(spans)), np.diff(start))[edge]
    file = part_first[part] + row - part_row[part]
    row_start = np.cumsum(np.bincount(file + 1, minlength=int(spans.sum()) + 1), dtype=np.int32)
    return part_row, part_first, row_start, edges[edge[np.argsort(file, kind="stable")]]


@kernel
def _mark_columns(marks, edges, start, stop, bounds, row, cols):
    """Mark the columns of a row's pixels that an edge touches or nearly touches; return the first and last."""
    west, south, x_scale, y_scale = bounds
    bottom = south + (row - SLACK) / y_scale
    top = south + (row + 1 + SLACK) / y_scale
    first, last = cols, -1
    for e in range(start, stop):
        x1, y1, x2, y2 = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
        a, b = x1, x2
        if y1 < bottom:
            a = x1 + (x2 - x1) * ((bottom - y1) / (y2 - y1))
        if y2 > top:
            b = x1 + (x2 - x1) * ((top - y1) / (y2 - y1))
        c1 = max(int((min(a, b) - west) * x_scale - SLACK), 0)
        c2 = min(int((max(a, b) - west) * x_scale + SLACK), cols - 1)
        for col in range(c1, c2 + 1):
            marks[col] = True
        first = min(first, c1)
        last = max(last, c2)
    return first, last


@kernel
def _paint(bounds, cols, part_cell, part_row, part_first, row_start, edges, raster, pixel, part):
    """Fill the raster polygon by polygon, and list the polygons to test in each pixel that one cell does not fill.

    Between two marked pixels of a row no edge passes, so one exact test decides them all. A polygon that fills a pixel
    ends that pixel's list: no later one can have a point there. Returns the length of the list, which is complete if it
    fits into `pixel` and `part`.
    """
    west, south, x_scale, y_scale = bounds
    filled = np.zeros(raster.size, np.bool_)
    marks = np.zeros(cols, np.bool_)
    for i in range(raster.size):
        raster[i] = NOWHERE
    n = 0
    for p in range(part_cell.size):
        stop = part_first[p + 1] if p + 1 < part_cell.size else row_start.size - 1
        for j in range(part_first[p], stop):
            row = part_row[p] + j - part_first[p]
            first, last = _mark_columns(marks, edges, row_start[j], row_start[j + 1], bounds, row, cols)
            y = south + (row + 0.5) / y_scale
            inside = False
            for col in range(first, last + 1):
                if not marks[col] and marks[col - 1]:
                    inside = covers(edges, row_start[j], row_start[j + 1], west + (col + 0.5) / x_scale, y)
                i = row * cols + col
                if filled[i] or not (marks[col] or inside):
                    continue
                if not marks[col]:
                    filled[i] = True
                    if raster[i] == NOWHERE:
                        raster[i] = part_cell[p]
                        continue
                raster[i] = FIRST_LIST
                if n < pixel.size:
                    pixel[n] = i
                    part[n] = p
                n += 1
            for col in range(first, last + 1):
                marks[col] = False
    return n


def _localise(
    bounds: tuple[float, ...],
    cols: int,
    pixel: NDArray[np.int32],
    part: NDArray[np.int32],
    part_row: NDArray[np.int32],
    part_first: NDArray[np.int32],
    row_start: NDArray[np.int32],
    edges: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Return where the edges to test for each polygon in each pixel begin and end, and all edges."""
    start, stop = np.empty(pixel.size, np.int32), np.empty(pixel.size, np.int32)
    n = 4 * pixel.size
    while True:
        more = np.empty((n, 4))
        n = _cut(bounds, cols, pixel, part, part_row, part_first, row_start, edges, start, stop, more)
        if n <= len(more):
            return start, stop, np.concatenate([edges, more[:n]])


@kernel
def _cut(bounds, cols, pixel, part, part_row, part_first, row_start, edges, start, stop, more):
    """Along ragged coasts, give each pixel a short list instead of all edges of the polygon in its row.

    A ray to the east from within the pixel does not meet edges west of it. It meets an edge wholly east of it if the
    point's y is at or above exactly one of the edge's ends; so each end toggles the answer for all y from its own
    on. Ends at the same y cancel each other (edges in a chain share them), the few that are left become edges at
    x = infinity that go up for ever. Returns the number of new edges, all of which are there if they fit into `more`.
    """
    west, south, x_scale, y_scale = bounds
    steps = np.empty(len(edges) * 2)
    n = 0
    for k in range(pixel.size):
        row, col = pixel[k] // cols, pixel[k] % cols
        j = part_first[part[k]] + row - part_row[part[k]]
        start[k], stop[k] = row_start[j], row_start[j + 1]
        if stop[k] - start[k] <= FEW:
            continue
        left, right = west + (col - SLACK) / x_scale, west + (col + 1 + SLACK) / x_scale
        bottom, top = south + (row - SLACK) / y_scale, south + (row + 1 + SLACK) / y_scale
        begin = n
        n_steps = 0
        for e in range(start[k], stop[k]):
            x1, x2 = edges[e, 0], edges[e, 2]
            if min(x1, x2) > right:
                for y in (edges[e, 1], edges[e, 3]):
                    if y > top:
                        continue
                    if y < bottom:
                        y = -np.inf
                    i = n_steps - 1
                    while i >= 0 and steps[i] != y:
                        i -= 1
                    if i >= 0:
                        n_steps -= 1
                        steps[i] = steps[n_steps]
                    else:
                        steps[n_steps] = y
                        n_steps += 1
            elif max(x1, x2) >= left:
                if n < len(more):
                    more[n] = edges[e]
                n += 1
        for i in range(n_steps):
            if n < len(more):
                more[n, 0] = more[n, 2] = more[n, 3] = np.inf
                more[n, 1] = steps[i]
            n += 1
        start[k], stop[k] = len(edges) + begin, len(edges) + n
    return n

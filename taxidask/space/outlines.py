"""Outlines with fewer points, for drawing: cells that share a border share it afterwards too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

METRES_PER_DEGREE = 111_195.0  # along a meridian; along a parallel, times the cosine of its latitude


def simplified(rings: Sequence[Points], tolerance: float) -> list[Points]:
    """Leave out points of closed rings so that no outline moves by more than a length (Douglas and Peucker).

    A ring is cut where three or more borders meet, and each stretch between two such places is thinned the same way in
    every ring it belongs to: between cells that shared their border no gaps open. A ring keeps at least three corners.

    Parameters
    ----------
    rings : sequence of arrays (points, 2)
        Longitude and latitude; the last point is the first.
    tolerance : float
        Metres.

    Examples
    --------
    >>> square = np.array([[0, 0], [0.5, 1e-6], [1, 0], [1, 1], [0, 1], [0, 0]])
    >>> simplified([square], 20)[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    if not rings:
        return []
    points, number = np.unique(np.concatenate(rings), axis=0, return_inverse=True)
    across = METRES_PER_DEGREE * np.cos(np.radians(points[:, 1].mean()))
    metres = points * (across, METRES_PER_DEGREE)
    numbered = np.split(number.reshape(-1), np.cumsum([len(ring) for ring in rings])[:-1])
    meeting = _meeting(numbered, len(points))
    known: dict[bytes, NDArray[np.int64]] = {}
    return [points[_thinned(ring, meeting, metres, tolerance, known)] for ring in numbered]


def _meeting(rings: Sequence[NDArray[np.int64]], points: int) -> NDArray[np.bool_]:
    """Which points are the ends of other than two borders."""
    borders = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    once = np.unique(np.sort(borders, axis=1), axis=0)
    return np.bincount(once.reshape(-1), minlength=points) != 2


def _thinned(
    ring: NDArray[np.int64],
    meeting: NDArray[np.bool_],
    metres: Points,
    tolerance: float,
    known: dict[bytes, NDArray[np.int64]],
) -> NDArray[np.int64]:
    open_ring = ring[:-1]
    cuts = np.flatnonzero(meeting[open_ring])
    first = int(cuts[0]) if len(cuts) else int(np.argmin(open_ring))  # the same in whichever ring it lies
    turned = np.roll(open_ring, -first)
    ends = [*(np.flatnonzero(meeting[turned]) if len(cuts) else [0]), len(turned)]
    turned = np.append(turned, turned[0])
    kept = [turned[:1]]
    for a, b in itertools.pairwise(ends):
        kept.append(_stretch(turned[a : b + 1], metres, tolerance, known)[1:])
    thin = np.concatenate(kept)
    if len(thin) < 4:  # no area would be left of it
        third = len(open_ring) // 3
        thin = open_ring[[0, third, 2 * third, 0]]
    return thin


def _stretch(
    stretch: NDArray[np.int64], metres: Points, tolerance: float, known: dict[bytes, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """A stretch between two ends, thinned; the other way round it is the same."""
    backwards = tuple(stretch[:2]) > tuple(stretch[:-3:-1])
    ordered = np.ascontiguousarray(stretch[::-1] if backwards else stretch)
    name = ordered.tobytes()
    if name not in known:
        known[name] = ordered[_kept(metres[ordered], tolerance)]
    return known[name][::-1] if backwards else known[name]


def _kept(line: Points, tolerance: float) -> NDArray[np.bool_]:
    kept = np.zeros(len(line), dtype=bool)
    kept[[0, -1]] = True
    spans = [(0, len(line) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        far = _distances(line[a + 1 : b], line[a], line[b])
        middle = a + 1 + int(np.argmax(far))
        if far[middle - a - 1] > tolerance:
            kept[middle] = True
            spans += [(a, middle), (middle, b)]
    return kept


def _distances(points: Points, a: Points, b: Points) -> NDArray[np.float64]:
    """From points to the line between two others."""
    along = b - a
    length = float(along @ along)
    share = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.hypot(*(points - a - share[:, None] * along).T)

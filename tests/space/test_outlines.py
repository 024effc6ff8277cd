from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from taxidask import Zones
from taxidask.space.outlines import METRES_PER_DEGREE, simplified


@pytest.fixture(scope="module")
def rings():
    return [np.array(ring) for cell in Zones().polygons() for ring in cell]


@pytest.fixture(scope="module")
def thin(rings):
    return simplified(rings, 20)


def metres(points):
    return points * (METRES_PER_DEGREE * np.cos(np.radians(40.7)), METRES_PER_DEGREE)


def test_the_city_s_zones_need_a_seventh_of_their_points(rings, thin):
    assert len(thin) == len(rings)
    assert sum(map(len, thin)) < sum(map(len, rings)) / 6
    for ring in thin:
        assert len(ring) >= 4
        assert (ring[0] == ring[-1]).all()


def test_no_point_lies_further_off_than_told(rings, thin):
    for ring, few in zip(rings, thin, strict=True):
        if len(few) == 4:
            continue  # islets that are no larger than the tolerance
        points, a, b = metres(ring)[:, None], metres(few)[None, :-1], metres(few)[None, 1:]
        along = b - a
        share = np.clip(((points - a) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
        far = np.linalg.norm(points - a - share[..., None] * along, axis=-1).min(1)
        assert far.max() < 20.5  # the cosine is that of one latitude


def test_borders_that_were_shared_still_are(rings, thin):
    """A point that three borders meet in stays, and between such points both sides take the same way."""

    larger = [number for number, ring in enumerate(thin) if len(ring) > 4]  # islets keep three corners, whichever

    def borders(all_rings):
        lines = (all_rings[number].tolist() for number in larger)
        return Counter(tuple(sorted(map(tuple, border))) for line in lines for border in pairwise(line))

    before, after = borders(rings), borders(thin)
    assert sum(n == 2 for n in after.values()) > 1000
    assert not [border for border, n in after.items() if n == 1 and before[border] == 2]


def test_a_hole_and_what_fills_it_stay_alike():
    angles = np.linspace(0, 2 * np.pi, 200)
    island = np.stack([0.01 * np.cos(angles), 40 + 0.01 * np.sin(angles)], 1)
    island[-1] = island[0]
    around = np.array([[-0.1, 39.9], [0.1, 39.9], [0.1, 40.1], [-0.1, 40.1], [-0.1, 39.9]])
    hole = np.roll(island[:-1], 71, axis=0)[::-1]
    _, inner, outer = simplified([around, np.append(hole, hole[:1], axis=0), island], 20)
    assert {tuple(p) for p in inner.tolist()} == {tuple(p) for p in outer.tolist()}
    assert 10 < len(inner) < 60


def test_what_is_smaller_than_the_tolerance_keeps_three_corners():
    angles = np.linspace(0, 2 * np.pi, 40)
    islet = np.stack([1e-5 * np.cos(angles), 1e-5 * np.sin(angles)], 1)
    islet[-1] = islet[0]
    (ring,) = simplified([islet], 20)
    assert len(ring) == 4
    assert simplified([], 20) == []

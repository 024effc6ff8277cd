from __future__ import annotations

import csv
import json
import pickle
import time
from copy import deepcopy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxidask.errors import SpaceError, StorageError
from taxidask.space import Grid, Zones, locate_points, space_from_dict, space_of
from taxidask.space.kernel import side
from taxidask.space.raster import make_kernel, make_polygons

settings.register_profile("steady", deadline=None)  # compiling and a busy machine make single examples slow
settings.load_profile("steady")

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def feature(zone_id, *polygons, name=None) -> dict:
    geometry = {"type": "MultiPolygon", "coordinates": list(polygons)}
    return {"type": "Feature", "properties": {"LocationID": zone_id, "zone": name}, "geometry": geometry}


def collection(*features) -> dict:
    return {"type": "FeatureCollection", "features": list(features)}


def moved(ring, dx=0.0, dy=0.0) -> list:
    return [[x + dx, y + dy] for x, y in ring]


class Slow:
    """Zones the obvious way: every polygon in turn, every edge, in exact arithmetic."""

    def __init__(self, document: dict) -> None:
        polygons = []
        for f in document["features"]:
            g = f["geometry"]
            for rings in [g["coordinates"]] if g["type"] == "Polygon" else g["coordinates"]:
                edges = [np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in map(np.array, rings)]
                polygons.append((f["properties"]["LocationID"], np.concatenate(edges, dtype=float)))
        ids = sorted({zone_id for zone_id, _ in polygons})
        by_cell = sorted(((ids.index(i), edges) for i, edges in polygons), key=lambda p: p[0])
        self.polygons = [
            (cell, *edges[:, :2].min(0).tolist(), *edges[:, :2].max(0).tolist(), edges) for cell, edges in by_cell
        ]

    def cell(self, x: float, y: float) -> int:
        return next(iter(self.cells(x, y)), -1)

    def cells(self, x: float, y: float) -> list[int]:
        return [
            cell
            for cell, west, south, east, north, edges in self.polygons
            if west <= x <= east and south <= y <= north and self.covers(edges, x, y)
        ]

    @staticmethod
    def covers(edges: np.ndarray, x: float, y: float) -> bool:
        y1, y2 = edges[:, 1], edges[:, 3]
        inside = False
        px, py = Fraction(x), Fraction(y)
        for edge in edges[(np.minimum(y1, y2) <= y) & (y <= np.maximum(y1, y2))].tolist():
            ax, ay, bx, by = map(Fraction, edge)
            if (bx - ax) * (py - ay) == (by - ay) * (px - ax) and min(ax, bx) <= px <= max(ax, bx):
                return True
            if (ay <= py) != (by <= py):
                inside ^= px < ax + (bx - ax) * (py - ay) / (by - ay)
        return inside


@pytest.fixture(scope="session")
def path(data: Path) -> Path:
    return data / "zones" / "taxi_zones.geojson"


@pytest.fixture(scope="session")
def zones(path: Path) -> Zones:
    return Zones(path)


@pytest.fixture(scope="session")
def slow(path: Path) -> Slow:
    return Slow(json.loads(path.read_bytes()))


@pytest.fixture(scope="session")
def corners(path: Path) -> np.ndarray:
    """Both ends of every border segment: (n, 4)."""
    segments = []
    for f in json.loads(path.read_bytes())["features"]:
        g = f["geometry"]
        for rings in [g["coordinates"]] if g["type"] == "Polygon" else g["coordinates"]:
            segments += [np.hstack([ring[:-1], ring[1:]]) for ring in map(np.array, rings)]
    return np.concatenate(segments)


number = st.one_of(
    st.integers(-5, 5).map(float), st.floats(-180, 180).filter(lambda x: x == 0 or abs(x) > 1e-100), st.just(0.1)
)


@given(*[number] * 6)
def test_side_is_exact(x1, y1, x2, y2, x, y):
    a, b, c, d, e, f = map(Fraction, (x1, y1, x2, y2, x, y))
    exact = (c - a) * (f - b) - (d - b) * (e - a)
    assert side(x1, y1, x2, y2, x, y) == (exact > 0) - (exact < 0)


@given(number, number, number, number, st.integers(-3, 3), st.integers(-3, 3), st.floats(0, 1))
def test_side_is_exact_next_to_the_line(x1, y1, x2, y2, dx, dy, t):
    x, y = x1 + (x2 - x1) * t, y1 + (y2 - y1) * t
    x, y = x + dx * float(np.spacing(max(abs(x), 1e-100))), y + dy * float(np.spacing(max(abs(y), 1e-100)))
    a, b, c, d, e, f = map(Fraction, (x1, y1, x2, y2, x, y))
    exact = (c - a) * (f - b) - (d - b) * (e - a)
    assert side(x1, y1, x2, y2, x, y) == (exact > 0) - (exact < 0)


lattice = st.integers(0, 6)
ring = st.lists(st.tuples(lattice, lattice), min_size=3, max_size=7, unique=True).map(lambda r: [*r, r[0]])
polygon = st.lists(ring, min_size=1, max_size=2)
points = st.lists(
    st.tuples(*[st.one_of(lattice.map(float), st.integers(0, 12).map(lambda i: i / 2), st.floats(-1, 7))] * 2),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60)
@given(st.lists(polygon, min_size=1, max_size=4), points, st.sampled_from([1, 7, 50, 3000]), st.sampled_from([1, 0.1]))
def test_any_polygons_at_any_resolution(polygons, points, pixels, scale):
    """Rings that cross themselves and each other, points on corners and borders, exact even where floats are not."""
    scaled = [[[[x * scale, y * scale] for x, y in ring] for ring in rings] for rings in polygons]
    slow = Slow(collection(*[feature(i + 1, rings) for i, rings in enumerate(scaled)]))
    arrays = make_polygons([(cell, [np.array(ring) for ring in rings]) for cell, rings in enumerate(scaled)])
    kernel = make_kernel(arrays, np.empty(0, np.int32), pixels=pixels)
    x, y = np.array(points).T * scale
    out = np.empty(len(points), np.int32)
    locate_points(kernel, np.ascontiguousarray(x), np.ascontiguousarray(y), out)
    assert out.tolist() == [slow.cell(*p) for p in zip(x.tolist(), y.tolist(), strict=True)]


def check(zones: Zones, slow: Slow, points: np.ndarray) -> np.ndarray:
    cells = zones.locate(points[:, 0], points[:, 1])
    assert cells.tolist() == [slow.cell(x, y) for x, y in points.tolist()]
    return cells


def test_random_points_of_new_york(zones, slow):
    w, s, e, n = zones.bounds
    check(zones, slow, np.random.default_rng(1).uniform((w, s), (e, n), (1500, 2)))


def test_corners_of_new_york_belong_to_one_zone_each(zones, slow, corners):
    some = np.random.default_rng(2).choice(corners, 1500)[:, :2]
    assert (check(zones, slow, some) >= 0).all()
    everywhere = zones.locate(corners[:, 0], corners[:, 1])
    assert (everywhere >= 0).all()


def test_shared_corners_go_to_the_lowest_id(zones, slow, corners):
    ends, count = np.unique(corners[:, :2], axis=0, return_counts=True)
    shared = np.random.default_rng(3).choice(ends[count > 1], 300)
    several = 0
    for (x, y), cell in zip(shared.tolist(), zones.locate(*shared.T), strict=True):
        touching = slow.cells(x, y)
        several += len(touching) > 1
        assert cell == min(touching)
    assert several > 200


def test_points_on_and_beside_borders_of_new_york(zones, slow, corners):
    rng = np.random.default_rng(4)
    some = rng.choice(corners, 1000)
    middle = (some[:, :2] + some[:, 2:]) / 2
    check(zones, slow, middle)
    check(zones, slow, np.nextafter(middle, rng.choice([-np.inf, np.inf], middle.shape)))
    check(zones, slow, middle + rng.normal(0, 1e-4, middle.shape))


def test_locating_is_fast_even_along_borders(zones, corners):
    """At least 10 M points a second of CPU time are asked for; this leaves room for a busy machine."""
    rng = np.random.default_rng(5)
    n = 1_000_000
    near = rng.choice(corners, n)[:, :2] + rng.normal(0, 3e-4, (n, 2))
    x, y = near.T.copy()
    zones.locate(x[:1], y[:1])
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        zones.locate(x, y)
        seconds.append(time.thread_time() - start)
    assert n / min(seconds) > 4e6


def test_new_york(zones):
    assert zones.cells == 263
    assert zones.ids.tolist() == list(range(1, 264))
    assert zones.names[161] == "Midtown East"
    assert zones.locate([-73.7781, -73.9857, -74.1745], [40.6413, 40.7580, 40.6895]).tolist() == [131, 229, 0]
    assert zones.locate_ids([1, 263, 264, 265, 0, -1, 40000]).tolist() == [0, 262, -1, -1, -1, -1, -1]
    assert zones.locate([np.nan, -73.9857, 0.0], [40.7, np.nan, 0.0]).tolist() == [-1, -1, -1]


def test_islands_of_new_york(zones):
    """Corona and the islands of the harbour have several ids for one name."""
    assert zones.names[55] == zones.names[56] == "Corona"
    assert len({zones.names[i] for i in (102, 103, 104)}) == 1
    governors, ellis, liberty = (-74.0168, 40.6895), (-74.0396, 40.6995), (-74.0445, 40.6892)
    found = zones.locate(*np.array([governors, ellis, liberty]).T)
    assert set(found.tolist()) == {102, 103, 104}


def test_centers_lie_in_their_zones(zones):
    centers = zones.centers()
    assert zones.locate(centers[:, 0], centers[:, 1]).tolist() == list(range(263))
    assert zones.center(5) == tuple(centers[5])


def test_polygons_are_closed_rings(zones):
    rings = zones.polygons()
    assert len(rings) == 263
    assert all(ring[0] == ring[-1] and len(ring) > 3 for cell in rings for ring in cell)


def test_neighbours_of_new_york(zones):
    for cell in range(263):
        others = zones.neighbours(cell)
        assert cell not in others
        assert all(cell in zones.neighbours(other) for other in others)
    times_square = {zones.names[cell] for cell in zones.neighbours(229)}
    assert {"Midtown Center", "Clinton East", "Garment District", "Midtown North"} <= times_square
    assert zones.neighbours(0).size == 0  # Newark Airport


def test_zones_are_a_value(zones, path):
    described = zones.to_dict()
    for copy in (
        pickle.loads(pickle.dumps(zones)),
        space_from_dict(json.loads(json.dumps(described))),
        space_from_dict(zones.to_dict(embed=False)),
        space_from_dict(zones.to_dict(embed=False) | {"url": None}, geojson=zones.geojson),
        Zones.from_geojson(json.dumps(json.loads(path.read_bytes()), indent=1)),
    ):
        assert copy == zones
        assert hash(copy) == hash(zones)
        assert copy.key == zones.key
    assert len(pickle.dumps(zones)) < len(zones.geojson) / 2
    assert repr(zones) == f"Zones({path}, 263 zones)"


def test_the_zones_of_the_package_are_the_citys_file(path):
    own = Zones()
    assert own.geojson == path.read_bytes()
    lookup = list(csv.DictReader(path.with_name("taxi_zone_lookup.csv").read_text().splitlines()))
    told = [(int(row["LocationID"]), row["Zone"], row["Borough"]) for row in lookup if int(row["LocationID"]) <= 263]
    assert list(zip(own.ids.tolist(), own.names, own.boroughs, strict=True)) == told


def test_the_zones_of_the_package_are_one_object(path):
    own = Zones()
    assert own is Zones()
    assert own == Zones(path)
    assert hash(own) == hash(Zones(path))
    assert own is not Zones(path)
    assert repr(own) == "Zones()"
    for copy in (
        pickle.loads(pickle.dumps(own)),
        deepcopy(own),
        space_from_dict(json.loads(json.dumps(own.to_dict()))),
    ):
        assert copy is own
    assert len(pickle.dumps(own)) < 100
    assert own.to_dict() == {
        "kind": "zones", "name": "taxi_zones.geojson.zst", "url": None, "key": Zones(path).key, "cells": 263
    }  # fmt: skip


def test_zones_are_named_where_spaces_are():
    assert space_of("zones") is Zones()
    assert space_of("new_york") == Grid.new_york() == space_of(Grid.new_york())
    with pytest.raises(SpaceError, match="no space and no file called 'Zones'; use auto, new_york, zones, or"):
        space_of("Zones")
    with pytest.raises(SpaceError, match="space cannot be None"):
        space_of(None)


def test_a_file_of_ones_own_is_a_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text(json.dumps(collection(feature(1, [SQUARE], name="here"))))
    for name in ("mine", Path("mine"), str(tmp_path / "mine")):
        assert space_of(name).names == ["here"]
    with pytest.raises(SpaceError, match=r"no space and no file called 'gone\.geojson'"):
        space_of("gone.geojson")


def test_a_pickle_read_twice_makes_its_tables_once(zones):
    data = pickle.dumps(zones)
    assert pickle.loads(data).kernel() is pickle.loads(data).kernel()


def test_stored_zones_outlive_their_url(tmp_path):
    file = tmp_path / "zones.geojson"
    file.write_text(json.dumps(collection(feature(1, [SQUARE]))))
    zones = Zones(file)
    with_shapes, without = zones.to_dict(), zones.to_dict(embed=False)
    assert "geojson" not in without
    file.write_text(json.dumps(collection(feature(1, [moved(SQUARE, 1)]))))
    with pytest.raises(SpaceError, match="are not the ones that were stored"):
        space_from_dict(without)
    file.unlink()
    assert space_from_dict(with_shapes) == zones
    with pytest.raises(StorageError):
        space_from_dict(without)
    with pytest.raises(SpaceError, match="without their shapes"):
        space_from_dict(without | {"url": None})


def test_zones_from_a_memory_url():
    from taxidask.storage import default_storage

    default_storage().write("memory://zones/test.geojson", json.dumps(collection(feature(3, [SQUARE]))).encode())
    assert Zones("memory://zones/test.geojson").ids.tolist() == [3]


def test_features_of_one_id_are_one_zone_even_if_they_overlap():
    zones = Zones.from_geojson(
        collection(
            feature(9, [moved(SQUARE, 5)], name="far"),
            feature(4, [SQUARE], name="two islands"),
            feature(4, [moved(SQUARE, 0.5)], [moved(SQUARE, 3)]),
        )
    )
    assert zones.ids.tolist() == [4, 9]
    assert zones.names == ["two islands", "far"]
    assert zones.locate([0.25, 0.75, 1.25, 3.5, 5.5, 2.5], [0.5] * 6).tolist() == [0, 0, 0, 0, 1, -1]


def test_holes_belong_to_whom_they_are_filled_by_and_their_border_to_the_lowest():
    hole = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75], [0.25, 0.25]]
    zones = Zones.from_geojson(collection(feature(1, [SQUARE, hole]), feature(2, [hole])))
    assert zones.locate([0.1, 0.5, 0.25, 0.75], [0.5, 0.5, 0.5, 0.75]).tolist() == [0, 1, 0, 0]
    assert Zones.from_geojson(collection(feature(1, [SQUARE, hole]))).locate([0.5], [0.5]).tolist() == [-1]
    outline, inner = zones.polygons()[0]
    assert len(outline) == len(inner) == 5
    assert zones.neighbours(0).tolist() == [1]
    assert zones.locate(*zones.center(0)) == 0


def test_a_corner_on_the_other_zones_border_makes_neighbours():
    zones = Zones.from_geojson(
        collection(
            feature(1, [SQUARE]), feature(2, [[[1, 0.5], [2, 0], [2, 1], [1, 0.5]]]), feature(3, [moved(SQUARE, 9)])
        )
    )
    assert [zones.neighbours(cell).tolist() for cell in range(3)] == [[1], [0], []]


def test_unknown_zones_are_no_cells():
    zones = Zones.from_geojson(collection(feature(264, [SQUARE]), feature(2, [moved(SQUARE, 2)])))
    assert zones.ids.tolist() == [2]
    assert zones.locate([0.5, 2.5], [0.5, 0.5]).tolist() == [-1, 0]


@pytest.mark.parametrize("key", ["LocationID", "location_id", "locationid"])
@pytest.mark.parametrize("value", [7, "7", 7.0, "7.0"])
def test_spellings_of_the_id(key, value):
    some = feature(1, [SQUARE])
    some["properties"] = {key: value}
    zones = Zones.from_geojson(collection(some))
    assert zones.ids.tolist() == [7]
    assert zones.names == [None]


def test_open_rings_repeats_and_elevations():
    ring = [[0, 0, 5.0], [1, 0, 5.0], [1, 0, 5.0], [1, 1, 5.0], [0, 1, 5.0]]
    assert Zones.from_geojson(collection(feature(1, [ring]))) == Zones.from_geojson(collection(feature(1, [SQUARE])))


def bad_properties(**properties):
    return collection(feature(1, [SQUARE]) | {"properties": properties})


def bad_geometry(geometry):
    return collection(feature(5, [SQUARE]) | {"geometry": geometry})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html>", "is no GeoJSON: it begins with '<!DOCTYPE html>'"),
        (b"", "is no GeoJSON"),
        (b"\xff\xfe\x00", "is no GeoJSON"),
        (b"PK\x03\x04", "is no GeoJSON.*ogr2ogr"),
        ([1, 2], "no collection of zones: its type is 'list'"),
        ({"type": "Topology"}, "its type is 'Topology'"),
        ({"type": "FeatureCollection"}, "no collection of zones"),
        (collection(), "holds no zones"),
        (collection(feature(264, [SQUARE])), "holds no zones"),
        (collection(None), "feature 0 has no properties"),
        (bad_properties(zone="x", borough="y"), "feature 0 has no LocationID, only 'zone', 'borough'"),
        (bad_properties(LocationID="x"), "has LocationID 'x'; a LocationID is a whole number from 1 to 32767"),
        (bad_properties(LocationID=1.5), "has LocationID 1.5"),
        (bad_properties(LocationID=0), "has LocationID 0"),
        (bad_properties(LocationID=True), "has LocationID True"),
        (bad_properties(LocationID=40000), "has LocationID 40000"),
        (bad_properties(LocationID=[1]), r"has LocationID \[1\]"),
        (bad_geometry(None), r"feature 0 \(LocationID 5\) is no polygon but None"),
        (bad_geometry({"type": "Point", "coordinates": [0, 0]}), "is no polygon but 'Point'"),
        (bad_geometry({"type": "Polygon", "coordinates": []}), "polygon without rings"),
        (bad_geometry({"type": "Polygon", "coordinates": [[0, 1]]}), "ring that is no list of positions"),
        (bad_geometry({"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1]]]}), "not finite|no list"),
        (bad_geometry({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}), "fewer than 3 different"),
        (bad_geometry({"type": "Polygon", "coordinates": [moved(SQUARE, 983000.0, 200000.0)]}), "no longitude and lat"),
        (bad_geometry({"type": "Polygon", "coordinates": [moved(SQUARE, 40.0, -74.0)]}), "Antarctica.*swapped"),
        (
            collection(feature(1, [SQUARE])) | {"crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::2263"}}},
            "coordinate system urn:ogc:def:crs:EPSG::2263, not in degrees",
        ),
    ],
)
def test_what_is_no_file_of_zones(data, says):
    content = data if isinstance(data, bytes) else json.dumps(data)
    with pytest.raises(SpaceError, match=says):
        Zones.from_geojson(content)


def test_a_message_names_the_file(tmp_path):
    file = tmp_path / "zones.shp"
    file.write_bytes(b"\0\0\x27\x0a")
    with pytest.raises(SpaceError, match=f"{file} is no GeoJSON"):
        Zones(file)
    with pytest.raises(StorageError, match=r"missing\.geojson"):
        Zones(tmp_path / "missing.geojson")


def test_ids_must_be_whole_numbers(zones):
    with pytest.raises(SpaceError, match="float64 are no whole numbers"):
        zones.locate_ids([1.0, 2.0])

"""TLC taxi zones as a space."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import zlib
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taxidask.compiled import kernel
from taxidask.errors import SpaceError
from taxidask.space.base import Ring, Space
from taxidask.space.geojson import parse_zones
from taxidask.space.kernel import Kernel, covers, locate_ids
from taxidask.space.raster import make_kernel, make_polygons

_building = threading.Lock()
_reading = threading.Lock()
FILE = "taxi_zones.geojson.zst"


class Zones(Space):
    """TLC taxi zones: cell = position in the sorted LocationIDs.

    A zone is the union of all polygons of its LocationID, holes taken out, borders included. A point that several zones
    touch or overlap in belongs to the one with the lowest LocationID, so every point on a border belongs to exactly one
    zone. Whether a point is on a border or on which side is decided exactly, as if without rounding.

    Parameters
    ----------
    url : str or path, optional
        A GeoJSON FeatureCollection of polygons in degrees, each with its `LocationID` (and its name as `zone`, its
        `borough`). Without it, the TLC's 263 zones, which come with this package as the city publishes them (NYC Open
        Data, "NYC Taxi Zones", in degrees and otherwise unchanged); one object, made once in each process.

    Attributes
    ----------
    ids : int32 array (cells,)
        The LocationIDs, ascending. 264 and 265 (unknown, outside the city) are no cells.
    names : list of str or None
        The zones' names, None where the file has none.
    boroughs : list of str or None
        The boroughs that the zones lie in, None where the file has none.
    url : str or None
        Where the zones were read from; None for those of this package.
    geojson : bytes
        The file's content: `Zones.from_geojson` makes equal zones of it.

    Examples
    --------
    >>> from taxidask import Zones
    >>> Zones().cells, Zones().names[131], Zones().boroughs[131]
    (263, 'JFK Airport', 'Queens')
    >>> square = [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]
    >>> feature = {"properties": {"LocationID": 7}, "geometry": {"type": "Polygon", "coordinates": square}}
    >>> zones = Zones.from_geojson({"type": "FeatureCollection", "features": [feature]})
    >>> zones.ids
    array([7], dtype=int32)
    >>> zones.locate([0.5, 1.0, 1.5], [0.5, 1.0, 0.5])
    array([ 0,  0, -1], dtype=int32)
    >>> zones.locate_ids([7, 264])
    array([ 0, -1], dtype=int32)
    """

    _packaged = False

    def __new__(cls, url: str | os.PathLike[str] | None = None) -> Zones:
        return super().__new__(cls) if url is not None else _own()

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        if url is None:
            return
        from taxidask.storage import absolute, default_storage

        where = absolute(url)
        self._load(default_storage().read(where), where)

    @classmethod
    def from_geojson(cls, data: bytes | str | dict[str, Any], *, url: str | None = None) -> Zones:
        """Return zones from GeoJSON in memory; `url` says where it came from."""
        text = json.dumps(data) if isinstance(data, dict) else data
        zones = object.__new__(cls)
        zones._load(text.encode() if isinstance(text, str) else bytes(text), url)
        return zones

    def _load(self, data: bytes, url: str | None) -> None:
        zones = parse_zones(data, url or "the GeoJSON")
        self.url = url
        self.geojson = data
        self.cells = len(zones)
        self.ids = np.array([zone.id for zone in zones], np.int32)
        self.ids.flags.writeable = False
        self.names = [zone.name for zone in zones]
        self.boroughs = [zone.borough for zone in zones]
        self.label = "taxi zones"
        self._rings = [zone.polygons for zone in zones]
        points = np.concatenate([ring for polygons in self._rings for rings in polygons for ring in rings])
        (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        self.bounds = (west, south, east, north)
        self.key = f"zones-{self.cells}-{self._digest()[:16]}"

    def _digest(self) -> str:
        """Hash of what decides a point's cell: ids and coordinates, however the file writes them."""
        digest = hashlib.sha256()
        for zone_id, polygons in zip(self.ids.tolist(), self._rings, strict=True):
            digest.update(f"zone {zone_id}".encode())
            for rings in polygons:
                digest.update(b"polygon")
                for ring in rings:
                    digest.update(b"ring")
                    digest.update(ring.astype("<f8").tobytes())
        return digest.hexdigest()

    def _make_kernel(self) -> Kernel:
        id_cell = np.full(int(self.ids[-1]) + 1, -1, np.int32)
        id_cell[self.ids] = np.arange(self.cells)
        pairs = [(cell, rings) for cell, polygons in enumerate(self._rings) for rings in polygons]
        return make_kernel(make_polygons(pairs), id_cell)

    def kernel(self) -> Kernel:
        """Return the tables that compiled code takes; made once, by one thread."""
        if "_kernel" not in self.__dict__:
            with _building:
                return self._kernel
        return self._kernel

    def locate_ids(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Return the cell of each LocationID, in the shape of `ids`; -1 for one that is no cell."""
        array = np.asarray(ids)
        if array.dtype.kind not in "iu":
            raise SpaceError(f"LocationIDs of type {array.dtype} are no whole numbers", "give an array of integers")
        flat = array.reshape(-1).astype(np.int64)
        out = np.empty(flat.size, np.int32)
        locate_ids(self.kernel(), flat, out)
        return out.reshape(array.shape)

    def center(self, cell: int) -> tuple[float, float]:
        """Return a point inside a zone, near its middle, as (longitude, latitude).

        The centroid of the zone's largest polygon if it lies inside; else the middle of the widest stretch of that
        polygon at the centroid's latitude.
        """
        lon, lat = self._centers[self._check_cell(cell)]
        return float(lon), float(lat)

    @cached_property
    def _centers(self) -> NDArray[np.float64]:
        return np.array([_middle(max(polygons, key=lambda r: abs(_area(r[0])))) for polygons in self._rings])

    def centers(self) -> NDArray[np.float64]:
        """Return every zone's centre: an array (cells, 2) of longitude and latitude."""
        return self._centers.copy()

    def polygons(self) -> list[list[Ring]]:
        """Return each zone's closed rings of (longitude, latitude), for maps.

        Outlines run counter-clockwise, holes clockwise.
        """
        return [
            [
                [(x, y) for x, y in (ring if (_area(ring) > 0) == (i == 0) else ring[::-1]).tolist()]
                for rings in polygons
                for i, ring in enumerate(rings)
            ]
            for polygons in self._rings
        ]

    def neighbours(self, cell: int) -> NDArray[np.int32]:
        """Return the zones that share a point with a zone, in ascending order."""
        return np.flatnonzero(self._touching[self._check_cell(cell)]).astype(np.int32)

    @cached_property
    def _touching(self) -> NDArray[np.bool_]:
        corners = [np.concatenate([ring for rings in polygons for ring in rings]) for polygons in self._rings]
        owner = np.repeat(np.arange(self.cells, dtype=np.int32), [len(points) for points in corners])
        return _touching(self.kernel(), self.cells, np.concatenate(corners), owner)

    @cached_property
    def _packed(self) -> bytes:
        return zlib.compress(self.geojson, 6)

    def to_dict(self, *, embed: bool = True) -> dict[str, Any]:
        """Return the zones as JSON-able values.

        Parameters
        ----------
        embed : bool
            With the geometry, compressed (about a quarter of the file's size), so that `space_from_dict` needs nothing
            else. Without it, `space_from_dict` takes the GeoJSON from its caller or from the URL. The zones of this
            package are told by their name, and by the key that tells others from them.
        """
        described: dict[str, Any] = {"kind": "zones", "url": self.url, "key": self.key, "cells": self.cells}
        if self._packaged:
            return described | {"name": FILE}
        return described | {"geojson": base64.b64encode(self._packed).decode()} if embed else described

    def __reduce__(self) -> tuple[Any, ...]:
        return (Zones, ()) if self._packaged else (_unpacked, (self._packed, self.url))

    def __repr__(self) -> str:
        return "Zones()" if self._packaged else f"Zones({self.url or 'from GeoJSON'}, {self.cells} zones)"


def _own() -> Zones:
    with _reading:
        return _read_own()


@cache
def _read_own() -> Zones:
    import zstandard

    zones = object.__new__(Zones)
    zones._packaged = True
    zones._load(zstandard.decompress(files("taxidask.space").joinpath(FILE).read_bytes()), None)
    return zones


@lru_cache(maxsize=4)
def _unpacked(packed: bytes, url: str | None) -> Zones:
    """Zones out of a pickle; a worker that gets them with every task makes their tables once."""
    return Zones.from_geojson(zlib.decompress(packed), url=url)


def zones_from_dict(described: dict[str, Any], geojson: bytes | None) -> Zones:
    """Return the zones that `Zones.to_dict` described; zones that turn out to be others are an error."""
    url = described.get("url")
    if url is not None and not isinstance(url, str):
        raise SpaceError(f"stored zones have the URL {url!r:.100}", "give their GeoJSON")
    if geojson is not None:
        zones = Zones.from_geojson(geojson, url=url)
    elif described.get("geojson"):
        try:
            packed = base64.b64decode(described["geojson"], validate=True)
            zones = _unpacked(packed, url)
        except (TypeError, ValueError, zlib.error) as error:
            raise SpaceError(f"the shapes of stored zones are damaged: {error}", "give their GeoJSON") from error
    elif described.get("name") == FILE:
        zones = Zones()
    elif url:
        zones = Zones(url)
    else:
        raise SpaceError("these zones were stored without their shapes and without a URL", "give their GeoJSON")
    if zones.key != described.get("key", zones.key):
        raise SpaceError(
            f"the zones {f'at {url}' if url else 'at hand'} are not the ones that were stored: {zones.key}, "
            f"not {described['key']}",
            "use the file of then, or the version of taxidask",
        )
    return zones


def _area(ring: NDArray[np.float64]) -> float:
    """Twice the signed area in square degrees; positive if counter-clockwise."""
    x, y = (ring - ring[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def _middle(rings: list[NDArray[np.float64]]) -> tuple[float, float]:
    edges = make_polygons([(0, rings)]).edges
    origin = rings[0][0]
    x, y = (rings[0] - origin).T
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]
    if cross.sum() == 0:  # no area: a line
        return float(origin[0]), float(origin[1])
    scale = 3 * cross.sum()
    lon = float(origin[0] + np.sum((x[:-1] + x[1:]) * cross) / scale)
    lat = float(origin[1] + np.sum((y[:-1] + y[1:]) * cross) / scale)
    if covers(edges, 0, len(edges), lon, lat):
        return lon, lat
    x1, y1, x2, y2 = edges[(edges[:, 1] <= lat) & (lat < edges[:, 3])].T
    crossings = np.sort(x1 + (x2 - x1) * (lat - y1) / (y2 - y1))
    if crossings.size < 2:
        return float(origin[0]), float(origin[1])
    widest = int(np.argmax(np.diff(crossings)[::2])) * 2
    return float(crossings[widest : widest + 2].mean()), lat


@kernel
def _touching(kernel, cells, corners, owner):
    """Which zones touch which: a corner of one lies in the other or on its border."""
    touching = np.zeros((cells, cells), np.bool_)
    for i in range(len(corners)):
        x, y, own = corners[i, 0], corners[i, 1], owner[i]
        col = min(int((x - kernel.west) * kernel.x_scale), kernel.cols - 1)
        row = min(int((y - kernel.south) * kernel.y_scale), kernel.rows - 1)
        code = kernel.raster[row * kernel.cols + col]
        if code >= 0 and code != own:
            touching[own, code] = touching[code, own] = True
        if code >= -1:
            continue
        for k in range(kernel.list_start[-2 - code], kernel.list_start[-1 - code]):
            other = kernel.list_cell[k]
            if other != own and covers(kernel.edges, kernel.edge_start[k], kernel.edge_stop[k], x, y):
                touching[own, other] = touching[other, own] = True
    return touching

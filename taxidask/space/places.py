"""Places as people name them: a taxi zone's name or id, or a point."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Set
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

import numpy as np

from taxidask.errors import SpaceError
from taxidask.space.zones import Zones
from taxidask.units import is_whole

NO_PLACE = {
    264: "264 is the TLC's id of trips whose place is unknown",
    265: "265 is the TLC's id of all that is outside the city",
}
_NO_PLACE_NAMES = {"unknown": 264, "nv": 264, "outside of nyc": 265, "na": 265}
_MILES = 69.0  # a degree of latitude
_LISTED = 5


def as_point(place: Any) -> tuple[float, float] | None:
    """The (longitude, latitude) that a place was given as, also as text "LON,LAT"; None for what is no point.

    Examples
    --------
    >>> as_point((-73.98, 40.75)), as_point("-73.98, 40.75"), as_point("JFK Airport"), as_point(132)
    ((-73.98, 40.75), (-73.98, 40.75), None, None)
    """
    if isinstance(place, Mapping | Set):
        raise SpaceError(f"{place!r} is no place", "give (longitude, latitude), or a taxi zone's name or id")
    parts = place.strip("()[] ").split(",") if isinstance(place, str) else place
    try:
        lon, lat = (float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return None
    if not np.isfinite((lon, lat)).all():
        raise SpaceError(f"{place!r} is no point", "give (longitude, latitude) in degrees")
    if 40 <= lon <= 42 and -75 <= lat <= -73:
        raise SpaceError(f"{place!r} has its latitude first", f"give (longitude, latitude): {(lat, lon)}")
    return lon, lat


def find_zone(place: Any, zones: Zones) -> int:
    """The LocationID of a zone's name or id; names are compared without regard to case, accents and punctuation.

    Raises
    ------
    SpaceError
        No zone is called that, and the message lists the nearest; or several are, and it lists them.

    Examples
    --------
    >>> find_zone("jfk airport", Zones()), find_zone("132", Zones()), find_zone(132, Zones())
    (132, 132, 132)
    >>> find_zone("Corona", Zones())
    Traceback (most recent call last):
    taxidask.errors.SpaceError: several zones are called 'Corona'; give the id of one: Corona (56, Queens), ...
    """
    if is_whole(place, -sys.maxsize):
        return _known_id(int(place), zones)
    if not isinstance(place, str) or not place.strip():
        raise SpaceError(f"{place!r} is no place", "give (longitude, latitude), or a taxi zone's name or id")
    if re.fullmatch(r"\s*[+-]?\d+(\.0*)?\s*", place):
        return _known_id(int(place.partition(".")[0]), zones)
    asked = _plain(place)
    names = _plain_names(zones)
    found = [cell for cell, name in enumerate(names) if name == asked]
    if len(found) == 1:
        return int(zones.ids[found[0]])
    if found:
        raise SpaceError(f"several zones are called {place!r}", f"give the id of one: {_list(found, zones)}")
    if asked in _NO_PLACE_NAMES:
        raise SpaceError(f"{NO_PLACE[_NO_PLACE_NAMES[asked]]}, which is no place", "name a zone or give a point")
    if not any(names):
        raise SpaceError(f"{place!r} cannot be looked up: {zones!r} have no names", "give a zone's id or a point")
    near = _list(_nearest_names(asked, names, zones), zones)
    raise SpaceError(f"no taxi zone is called {place!r}", f"did you mean {near}?")


def zone_at(lon: float, lat: float, zones: Zones) -> int:
    """The LocationID of the zone that a point lies in; SpaceError, which names the nearest, if it lies in none."""
    cell = int(zones.locate(lon, lat))
    if cell >= 0:
        return int(zones.ids[cell])
    nearest, miles = _nearest(lon, lat, zones)
    raise SpaceError(
        f"{point_name(lon, lat)} lies in no taxi zone",
        f"the nearest is {zone_name(int(zones.ids[nearest]), zones)}, {miles:,.1f} miles away",
    )


def zone_name(zone: int, zones: Zones) -> str:
    """How the zone of a LocationID is named to people.

    Examples
    --------
    >>> zone_name(132, Zones())
    'JFK Airport (132)'
    """
    name = zones.names[int(np.searchsorted(zones.ids, zone))]
    return f"{name} ({zone})" if name else f"zone {zone}"


def point_name(lon: float, lat: float) -> str:
    """How a point is named to people.

    Examples
    --------
    >>> point_name(-73.98, 40.75)
    '(-73.9800, 40.7500)'
    """
    return f"({lon:.4f}, {lat:.4f})"


def _known_id(zone: int, zones: Zones) -> int:
    if zone in NO_PLACE:
        raise SpaceError(f"{NO_PLACE[zone]}, which is no place", "name a zone or give a point")
    if zone not in zones.ids:
        raise SpaceError(f"there is no taxi zone {zone}", f"ids go from {zones.ids[0]} to {zones.ids[-1]}")
    return zone


def _plain(name: str) -> str:
    """A name without case, accents, apostrophes and what else is neither letter nor digit."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter) and letter not in "'’`")
    return " ".join(re.findall(r"\w+", letters.replace("_", " ")))


@lru_cache(maxsize=4)
def _plain_names(zones: Zones) -> tuple[str, ...]:
    return tuple(_plain(name or "") for name in zones.names)


def _nearest_names(asked: str, names: tuple[str, ...], zones: Zones) -> list[int]:
    """The cells whose names are most like what was asked: those that have all its words, or the borough's, first."""
    words = set(asked.split())

    def likeness(cell: int) -> float:
        own = {*names[cell].split(), *_plain(zones.boroughs[cell] or "").split()}
        return (words <= own) + len(words & own) / len(words | own) + SequenceMatcher(None, asked, names[cell]).ratio()

    scores = [likeness(cell) for cell in range(zones.cells)]
    best = sorted(range(zones.cells), key=lambda cell: (-scores[cell], cell))[:_LISTED]
    return [cell for cell in best if scores[cell] >= scores[best[0]] / 2]


def _list(cells: list[int], zones: Zones) -> str:
    told = []
    for cell in cells:
        borough = zones.boroughs[cell]
        told.append(f"{zones.names[cell]} ({zones.ids[cell]}{f', {borough}' if borough else ''})")
    return ", ".join(told)


def _nearest(lon: float, lat: float, zones: Zones) -> tuple[int, float]:
    """The zone whose border is nearest to a point, and how many miles away it is."""
    scale = np.array([np.cos(np.radians(lat)), 1.0]) * _MILES
    best, distance = 0, np.inf
    for cell, rings in enumerate(zones.polygons()):
        for ring in rings:
            points = (np.array(ring) - (lon, lat)) * scale
            start, along = points[:-1], np.diff(points, axis=0)
            length = (along**2).sum(axis=1)
            # a ring may repeat a point
            share = np.clip(-(start * along).sum(axis=1) / np.where(length > 0, length, 1), 0, 1)
            near = float(np.hypot(*(start + share[:, None] * along).T).min())
            if near < distance:
                best, distance = cell, near
    return best, distance

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxidask.errors import SpaceError
from taxidask.space import Zones, as_point, find_zone, point_name, zone_at, zone_name

ZONES = Zones()
UNIQUE = [cell for cell, name in enumerate(ZONES.names) if ZONES.names.count(name) == 1]


@settings(deadline=None)  # a busy machine makes single examples slow
@given(st.sampled_from(UNIQUE), st.randoms(use_true_random=False))
def test_a_name_is_known_however_it_is_typed(cell, random):
    typed = "".join(random.choice((str.upper, str.lower, str))(letter) for letter in ZONES.names[cell])
    typed = typed.replace(" ", random.choice((" ", "  ", "\t", " - "))).replace("/", random.choice(("/", " / ", " ")))
    typed = typed.replace("'", random.choice(("", "’", "'"))).replace("e", random.choice(("e", "é", "e\u0301")))
    assert find_zone(f" {typed} ", ZONES) == ZONES.ids[cell]


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_zone_or_an_error_that_says_what_to_do(text):
    try:
        found = find_zone(text, ZONES)
    except SpaceError as error:
        found = error.remedy
    assert found


@pytest.mark.parametrize("place", [132, "132", " 132 ", np.int16(132), np.int64(132), np.uint8(132), "0132"])
def test_ids(place):
    assert find_zone(place, ZONES) == 132


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("JFK", r"no taxi zone is called 'JFK'; did you mean JFK Airport \(132, Queens\)\?"),
        ("times square", r"did you mean Times Sq/Theatre District \(230, Manhattan\), "),
        ("midtown", r"Midtown East \(162, Manhattan\), .*Midtown Center \(161, Manhattan\)\?"),
        ("EWR", r"did you mean Newark Airport \(1, EWR\)\?"),
        ("LaGaurdia Airprot", r"did you mean LaGuardia Airport \(138, Queens\)"),
        ("corona", r"several zones are called 'corona'; .* Corona \(56, Queens\), Corona \(57, Queens\)"),
        (
            "governors island ellis island liberty island",
            r"\(103, Manhattan\), .*\(104, .*\(105, Manhattan",
        ),
        ("Unknown", "264 is the TLC's id of trips whose place is unknown"),
        ("Outside of NYC", "265 is the TLC's id of all that is outside the city"),
        (264, "264 is the TLC's id"),
        ("265", "265 is the TLC's id"),
        (0, "there is no taxi zone 0; ids go from 1 to 263"),
        (-3, "there is no taxi zone -3"),
        ("999999999999999999999", "there is no taxi zone 999999999999999999999"),
        ("", "'' is no place"),
        (None, "None is no place"),
        (True, "True is no place"),
        (1.5, "1.5 is no place"),
        ((1, 2, 3), "is no place"),
        ((np.nan, 40.7), "is no place"),
    ],
)
def test_what_is_no_zone(place, says):
    with pytest.raises(SpaceError, match=says):
        find_zone(place, ZONES)


def test_every_zone_has_a_point_inside_it():
    for zone in ZONES.ids.tolist():
        lon, lat = np.round(ZONES.center(zone - 1), 5).tolist()  # as models keep it
        assert zone_at(lon, lat, ZONES) == zone
        assert -74.3 < lon < -73.7  # no place that a row would be rejected for
        assert 40.5 < lat < 41.0


def test_points():
    assert as_point("-73.99,40.75") == as_point((-73.99, 40.75)) == as_point(np.array([-73.99, 40.75]))
    assert point_name(-73.99, 40.75) == "(-73.9900, 40.7500)"
    assert as_point("JFK Airport") is as_point("132") is as_point(132) is as_point(None) is None
    with pytest.raises(SpaceError, match=r"has its latitude first; give \(longitude, latitude\): \(-73.99, 40.75\)"):
        as_point("40.75,-73.99")


def test_the_nearest_zone_is_that_of_the_nearest_border():
    with pytest.raises(SpaceError, match=r"no taxi zone; the nearest is Far Rockaway.* \(\d+\), .* miles away"):
        zone_at(-73.75, 40.55, ZONES)
    square = [[0, 0], [0, 0], [10, 0], [10, 1], [10, 1], [0, 1], [0, 0]]  # far corners, near edge; points twice
    island = [[5, 2.5], [5.1, 2.5], [5.1, 2.6], [5, 2.5]]
    features = [
        {"properties": {"LocationID": i}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for i, ring in ((7, square), (9, island))
    ]
    own = Zones.from_geojson({"type": "FeatureCollection", "features": features})
    with pytest.raises(SpaceError, match=r"the nearest is zone 7, 34\.5 miles away"):
        zone_at(5.0, 1.5, own)
    with pytest.raises(SpaceError, match="have no names; give a zone's id"):
        find_zone("JFK Airport", own)


def test_names_with_accents_of_ones_own():
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    name = unicodedata.normalize("NFC", "Île-de-la-Cité")
    feature = {"properties": {"LocationID": 4, "zone": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    own = Zones.from_geojson({"type": "FeatureCollection", "features": [feature]})
    assert own.boroughs == [None]
    assert find_zone("ile de la cite", own) == 4
    assert zone_name(4, own) == f"{name} (4)"


@pytest.mark.parametrize("text", ["(-73.98, 40.75)", "[-73.98,40.75]", " -73.98 , 40.75 "])
def test_a_point_may_be_written_in_brackets(text):
    assert as_point(text) == (-73.98, 40.75)


@pytest.mark.parametrize("place", ["nan,nan", (float("inf"), 40.75), {-73.98: 1, 40.75: 2}, {-73.98, 40.75}])
def test_what_looks_like_a_point_and_is_none_is_refused(place):
    with pytest.raises(SpaceError, match="is no p"):
        as_point(place)


@pytest.mark.parametrize("place", [132.0, "132.0", " 132 ", np.float32(132)])
def test_a_whole_number_is_an_id_however_it_is_written(place):
    assert find_zone(place, ZONES) == 132


@pytest.mark.parametrize("place", [-1, "-1", "0", "999999999", 10**12])
def test_an_id_that_no_zone_has_is_refused_as_one(place):
    with pytest.raises(SpaceError, match="there is no taxi zone"):
        find_zone(place, ZONES)

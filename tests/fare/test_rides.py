from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import taxidask as td
from taxidask.errors import ModelError
from taxidask.fare.rides import Centers, as_frame, read_rides, where_given

GOOD: dict[str, Any] = {
    "pickup_datetime": pd.Timestamp("2014-05-06 07:08:09"),
    "pickup_longitude": -73.98,
    "pickup_latitude": 40.75,
    "dropoff_longitude": -73.95,
    "dropoff_latitude": 40.78,
    "passenger_count": 1,
    "fare_amount": 12.5,
}


def table(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([GOOD | change for change in changes]).astype(object)


def read(trips: pd.DataFrame, *, target: bool = True) -> Any:
    return read_rides(trips, "points", space=None, centers=None, target=target)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pickup_datetime": None}, "bad_datetime"),
        ({"pickup_datetime": "tomorrow"}, "bad_datetime"),
        ({"pickup_datetime": 20140506}, "bad_datetime"),
        ({"pickup_datetime": "2014-02-30 00:00:00"}, "bad_datetime"),
        ({"pickup_datetime": "0001-01-01 00:00:00"}, "bad_datetime"),
        ({"pickup_datetime": [1, 2]}, "bad_datetime"),
        ({"pickup_longitude": None}, "outside_city"),
        ({"pickup_longitude": 0, "pickup_latitude": 0}, "outside_city"),
        ({"dropoff_latitude": "north"}, "outside_city"),
        ({"dropoff_latitude": np.inf}, "outside_city"),
        ({"dropoff_latitude": object()}, "outside_city"),
        ({"pickup_longitude": 10**400}, "outside_city"),
        ({"passenger_count": 0}, "passenger_count"),
        ({"passenger_count": 208}, "passenger_count"),
        ({"fare_amount": 0}, "fare_out_of_range"),
        ({"fare_amount": -4.5}, "fare_out_of_range"),
        ({"fare_amount": 500.01}, "fare_out_of_range"),
        ({"fare_amount": None}, "fare_out_of_range"),
        ({"fare_amount": "free"}, "fare_out_of_range"),
    ],
)
def test_one_bad_row_among_good_ones(change: dict[str, Any], reason: str) -> None:
    rides = read(table({}, change, {}))
    assert rides.usable.tolist() == [True, False, True]
    assert rides.reasons == {reason: 1}
    assert rides.fare[[0, 2]].tolist() == [12.5, 12.5]


def test_the_first_reason_counts() -> None:
    rides = read(table({"pickup_datetime": None, "fare_amount": -1}, {"passenger_count": 0, "fare_amount": -1}))
    assert rides.reasons == {"bad_datetime": 1, "passenger_count": 1}


@pytest.mark.parametrize(
    "moment",
    [
        "2014-05-06 07:08:09",
        "2014-05-06T07:08:09.000",
        dt.datetime(2014, 5, 6, 7, 8, 9),
        np.datetime64("2014-05-06T07:08:09"),
        "2014-05-06 11:08:09 UTC",
        pd.Timestamp("2014-05-06 07:08:09", tz="America/New_York"),
    ],
)
def test_times_as_people_write_them(moment: Any) -> None:
    rides = read(table({"pickup_datetime": moment}, {}))
    assert rides.time[0] == rides.time[1] == np.datetime64("2014-05-06T07:08:09")


def test_columns_of_other_types() -> None:
    plain = read(pd.DataFrame([GOOD, GOOD]))
    aware = pd.DataFrame([GOOD, GOOD])
    aware["pickup_datetime"] = aware["pickup_datetime"].dt.tz_localize("America/New_York").dt.tz_convert("UTC")
    arrow = as_frame(pa.Table.from_pandas(pd.DataFrame([GOOD, GOOD])))
    texts = pd.DataFrame([GOOD, GOOD]).astype("str")
    nullable = pd.DataFrame([GOOD, GOOD]).convert_dtypes()
    mixed = texts.copy()
    mixed.loc[1, "pickup_datetime"] = "5/6/2014 7:08:09 AM"
    for other in (aware, arrow, texts, mixed, nullable):
        rides = read(other)
        assert rides.usable.all()
        assert (rides.time == plain.time).all()
        assert (rides.lon0 == plain.lon0).all()


def test_passengers_unknown_are_one() -> None:
    trips = table({"passenger_count": None}, {"passenger_count": "many"})
    assert read(trips).usable.all()
    odd = read(table({"passenger_count": 0}, {"passenger_count": 99}), target=False)
    assert odd.usable.all()
    assert odd.passengers.tolist() == [1, 1]
    assert read(trips).passengers.tolist() == [1, 1]
    assert read(trips.drop(columns="passenger_count")).passengers.tolist() == [1, 1]


def test_tolls_out_of_reason_are_unknown() -> None:
    rides = read(table({"tolls_amount": 5.33}, {"tolls_amount": -5.33}, {"tolls_amount": 999}, {"tolls_amount": None}))
    assert rides.usable.all()
    np.testing.assert_array_equal(rides.tolls, [5.33, np.nan, np.nan, np.nan])


def test_where_places_are_found(march: pd.DataFrame, zoned: pd.DataFrame) -> None:
    assert where_given(march) == "points"  # both kinds of columns are there, as in a lake
    assert where_given(zoned) == "zones"
    assert where_given(march[["pickup_longitude"]]) == "points"
    assert where_given(zoned[["pickup_location_id"]]) == "zones"
    assert where_given(pd.DataFrame()) == "points"


def centred_ids(both: pd.DataFrame) -> np.ndarray:
    return both["pickup_location_id"].iloc[900:].to_numpy(int)


def test_a_table_of_both_eras(march: pd.DataFrame, zoned: pd.DataFrame, zones: td.Zones) -> None:
    both = pd.concat([march.head(900), zoned.head(100)], ignore_index=True)
    assert where_given(both) == "zones"
    assert read(both).reasons == {"outside_city": 100}
    rides = read_rides(both, "zones", space=zones, centers=None, target=True)
    assert rides.usable.sum() > 950  # but for points in the water
    centred = read_rides(both, "points", space=None, centers=Centers.from_zones(zones), target=True)
    assert centred.usable.all()
    assert zones.locate(centred.lon0[900:], centred.lat0[900:]).tolist() == (centred_ids(both) - 1).tolist()


def test_zones_of_ids_and_of_points(zones: td.Zones) -> None:
    trips = table(
        {"pickup_location_id": 161, "dropoff_location_id": 264},
        {"pickup_location_id": None, "dropoff_location_id": 132.0},
        {"pickup_location_id": 5.5, "dropoff_location_id": "138"},
    )
    plain = read_rides(trips, "zones", space=None, centers=None, target=True)
    assert plain.usable.tolist() == [False, False, False]
    located = read_rides(trips, "zones", space=zones, centers=None, target=True)
    assert located.usable.all()  # points say what ids do not
    assert located.zone1[1:].tolist() == [132, 138]
    assert located.zone0[0] == 161


def test_zones_of_ones_own_may_have_any_ids() -> None:
    described = json.loads(td.Zones().geojson)
    for feature in described["features"]:
        feature["properties"]["LocationID"] += 1000
    own = td.Zones.from_geojson(described)
    trips = table(
        {"pickup_location_id": 1161, "dropoff_location_id": 1132},
        {"pickup_location_id": None, "dropoff_location_id": 1132},
        {"pickup_location_id": 161, "dropoff_location_id": 132},
    )
    rides = read_rides(trips, "zones", space=own, centers=Centers.from_zones(own), target=True)
    assert rides.usable.all()  # points say what ids do not
    assert rides.zone1.tolist()[:2] == [1132, 1132]
    assert (rides.zone0 > 1000).all()
    assert own.locate(rides.lon1, rides.lat1)[:2].tolist() == [131, 131]
    kept = Centers.from_dict(json.loads(json.dumps(Centers.from_zones(own).to_dict(), sort_keys=True)))
    np.testing.assert_array_equal(kept.of(rides.zone0), Centers.from_zones(own).of(rides.zone0))
    assert np.isnan(kept.of(np.array([0, 161, 99_999]))).all()


def test_a_column_that_is_there_twice_is_refused() -> None:
    trips = pd.DataFrame([GOOD])
    with pytest.raises(ModelError, match="more than one column passenger_count"):
        as_frame(pd.concat([trips, trips[["passenger_count"]]], axis=1))


def test_missing_columns_are_named_with_what_is_near() -> None:
    trips = pd.DataFrame([GOOD]).rename(columns={"fare_amount": "fare_amt", "pickup_latitude": "Pickup_Latitude"})
    with pytest.raises(ModelError, match=r"pickup_latitude \(there is 'Pickup_Latitude'\)"):
        read(trips)
    with pytest.raises(ModelError, match=r"no column fare_amount \(there is 'fare_amt'\)"):
        read(trips.rename(columns={"Pickup_Latitude": "pickup_latitude"}))
    assert read(trips.rename(columns={"Pickup_Latitude": "pickup_latitude"}), target=False).usable.all()


@pytest.mark.parametrize("trips", [None, 3, [GOOD], "trips.csv"])
def test_not_a_table(trips: Any) -> None:
    with pytest.raises(ModelError, match="give a DataFrame"):
        as_frame(trips)

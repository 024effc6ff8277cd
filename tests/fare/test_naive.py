from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.errors import ModelError
from taxidask.fare import tariff_fare
from taxidask.fare.naive import AIRPORTS, at_airport, day_prices, in_manhattan
from taxidask.tariff import STEPS, Prices, prices

TIMES_SQUARE, JFK, LAGUARDIA, NEWARK = (-73.985, 40.758), (-73.782, 40.644), (-73.873, 40.774), (-74.175, 40.691)


def trip(begin: tuple, end: tuple, at: str = "2015-06-01 12:00") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pickup_datetime": [pd.Timestamp(at)],
            "passenger_count": [1],
            "pickup_longitude": [begin[0]],
            "pickup_latitude": [begin[1]],
            "dropoff_longitude": [end[0]],
            "dropoff_latitude": [end[1]],
        }
    )


@pytest.mark.parametrize(
    ("day", "flag", "unit", "jfk", "newark"),
    [
        ("2008-01-01", 250, 40, 4500, 1500),
        ("2012-09-03", 250, 40, 4500, 1500),
        ("2012-09-04", 250, 50, 5200, 1750),
        ("2022-12-18", 250, 50, 5200, 1750),
        ("2022-12-19", 300, 70, 7000, 2000),
    ],
)
def test_published_prices(day: str, flag: int, unit: int, jfk: int, newark: int) -> None:
    of = prices(np.datetime64(day))
    assert (of.flag, of.unit, of.jfk, of.newark) == (flag, unit, jfk, newark)


def test_steps_are_in_order_and_name_prices() -> None:
    days = [day for day, _ in STEPS]
    assert days == sorted(days)
    assert {name for _, changes in STEPS for name in changes} <= set(Prices.__dataclass_fields__)


def test_meter_on_the_straight_line() -> None:
    begin, end = TIMES_SQUARE, (-73.985, 40.758 + 1.05 / 69.0)  # 1.05 miles: five full units
    assert tariff_fare(trip(begin, end)).tolist() == [5.0]
    assert tariff_fare(trip(begin, end, "2010-06-01")).tolist() == [4.5]
    assert tariff_fare(trip(begin, end, "2023-06-01")).tolist() == [6.5]
    assert tariff_fare(trip(begin, begin)).tolist() == [2.5]


def test_flat_fare_is_for_manhattan_only() -> None:
    assert tariff_fare(trip(TIMES_SQUARE, JFK)).tolist() == [52.0]
    assert tariff_fare(trip(JFK, TIMES_SQUARE, "2012-09-03 23:59:59")).tolist() == [45.0]
    brooklyn = (-73.95, 40.65)
    assert tariff_fare(trip(JFK, brooklyn)).iloc[0] < 35
    assert tariff_fare(trip(TIMES_SQUARE, NEWARK)).iloc[0] > 17.5 + 2.5 + 20


def test_unusable_rows_are_nan_and_the_index_stays() -> None:
    trips = pd.concat([trip(TIMES_SQUARE, JFK), trip((0, 0), JFK), trip(TIMES_SQUARE, JFK)])
    trips.index = [7, 7, 3]
    trips.loc[3, "pickup_datetime"] = pd.NaT
    fare = tariff_fare(trips)
    assert fare.index.tolist() == [7, 7, 3]
    assert fare.isna().tolist() == [False, True, True]


def test_manhattan_against_the_taxi_zones(data: Path, zones: td.Zones) -> None:
    described = json.loads((data / "zones" / "taxi_zones.geojson").read_bytes())
    borough = {f["properties"]["LocationID"]: f["properties"]["borough"] for f in described["features"]}
    trips = pd.concat([pd.read_csv(path).iloc[::3] for path in sorted((data / "trips").glob("*2015-0[1-4].csv"))])
    lon, lat = trips["pickup_longitude"].to_numpy(), trips["pickup_latitude"].to_numpy()
    cell = zones.locate(lon, lat)
    lon, lat, zone = lon[cell >= 0], lat[cell >= 0], zones.ids[cell[cell >= 0]]
    truth = np.array([borough[int(z)] == "Manhattan" for z in zone])
    assert (in_manhattan(lon, lat) == truth).mean() > 0.997
    for name, number in (("jfk", 132), ("laguardia", 138)):
        assert (at_airport(name, lon, lat) == (zone == number)).mean() > 0.998


def test_airports_are_where_they_are() -> None:
    for name, place in zip(AIRPORTS, (JFK, LAGUARDIA, NEWARK), strict=True):
        assert [at_airport(other, *np.atleast_2d(place).T)[0] for other in AIRPORTS] == [n == name for n in AIRPORTS]


def test_zone_trips_go_between_the_zones_middles(zoned: pd.DataFrame, zones: td.Zones) -> None:
    fare = tariff_fare(zoned)
    pd.testing.assert_series_equal(fare, tariff_fare(zoned, space=zones))
    assert fare.notna().all()
    assert fare.corr(zoned["fare_amount"]) > 0.8


def test_prices_of_no_day() -> None:
    assert day_prices(np.array([], dtype="datetime64[s]")).flag.tolist() == []


def test_missing_columns() -> None:
    with pytest.raises(ModelError, match=r"pickup_datetime \(there is 'tpep_pickup_datetime'\)"):
        tariff_fare(trip(TIMES_SQUARE, JFK).rename(columns={"pickup_datetime": "tpep_pickup_datetime"}))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.errors import ModelError
from taxidask.fare import tariff_fare
from taxidask.fare.landmarks import AIRPORTS, in_manhattan, taxi_zones
from taxidask.fare.naive import day_prices
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


def test_tolls_change_when_passengers_paid_another(data: Path) -> None:
    """Of all tolls that are one of the table's, nearly all were paid between the days from and to which it holds."""
    files = sorted((data / "headers").glob("*")) + sorted((data / "trips-head").glob("*"))
    files += sorted((data / "trips").glob("*")) + sorted((data / "recent").glob("*yellow*"))
    tables = [td.read_trips(path)[0][["pickup_datetime", "tolls_amount"]] for path in files]
    paid = pd.concat(tables).dropna()
    cents = (paid["tolls_amount"] * 100).round().astype(int)
    for name in ("crossing", "hudson"):
        known = {getattr(Prices(), name)} | {changes[name] for _, changes in STEPS if name in changes}
        some = paid[cents.isin(known)]
        day = [getattr(prices(np.datetime64(moment, "D")), name) for moment in some["pickup_datetime"]]
        right = cents[cents.isin(known)].to_numpy() == day
        assert right.sum() > 100
        assert right.mean() > (0.99 if name == "crossing" else 0.8)
    early = paid[cents.isin([415, 457]) & (paid["pickup_datetime"] < "2010-12-30")]
    assert len(early) > 2
    for moment, toll in zip(early["pickup_datetime"], early["tolls_amount"], strict=True):
        assert prices(np.datetime64(moment, "D")).crossing == round(toll * 100)


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


def by_zones(begin: int, end: int, at: str = "2019-06-03 12:00") -> pd.DataFrame:
    places = {"pickup_location_id": [begin], "dropoff_location_id": [end]}
    return pd.DataFrame({"pickup_datetime": [pd.Timestamp(at)], "passenger_count": [1], **places})


def test_zone_rides_have_the_flat_fare_by_their_ids() -> None:
    zones = td.Zones()
    there, back = pd.concat([by_zones(z, 132) for z in zones.ids]), pd.concat([by_zones(132, z) for z in zones.ids])
    now = pd.concat([there, back])
    later = now.assign(pickup_datetime=pd.Timestamp("2023-06-05 12:00"))
    flat = ((tariff_fare(now) == 52) & (tariff_fare(later) == 70)).to_numpy()  # a metered ride may cost one of them
    manhattan = np.array([name == "Manhattan" for name in zones.boroughs])
    np.testing.assert_array_equal(flat, np.concatenate([manhattan, manhattan]))
    for beside in (219, 218, 10, 124, 201):  # around the airport
        assert tariff_fare(by_zones(161, beside)).iloc[0] < 45
    assert tariff_fare(by_zones(161, 1)).iloc[0] > 17.5 + 2.5 + 20


def test_the_flat_fare_is_where_drivers_took_it(data: Path) -> None:
    """Rate code 2 is the flat fare between Manhattan and Kennedy Airport, pressed by the driver."""
    columns = ["RateCodeID", "pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"]
    files = sorted((data / "trips").glob("*2015-0[1-6].csv"))
    trips = pd.concat([pd.read_csv(path, usecols=lambda name: name.strip() in columns) for path in files])
    begin = taxi_zones(trips["pickup_longitude"], trips["pickup_latitude"])
    end = taxi_zones(trips["dropoff_longitude"], trips["dropoff_latitude"])
    known = (begin > 0) & (end > 0)
    airport = ((begin == 132) | (end == 132)) & known
    flat = (in_manhattan(begin) & (end == 132)) | ((begin == 132) & in_manhattan(end))
    taken = (trips["RateCodeID"] == 2).to_numpy()
    assert taken.sum() > 1000
    assert flat[taken & known].mean() > 0.9  # some take it to the hotels around, or press it twice
    assert taken[flat].mean() > 0.99
    assert taken[airport & ~flat].mean() < 0.05


def test_airports_are_where_they_are() -> None:
    places = np.array([JFK, LAGUARDIA, NEWARK])
    assert taxi_zones(*places.T).tolist() == [airport.zone for airport in AIRPORTS.values()]
    assert [taxi_zones(airport.lon, airport.lat) for airport in AIRPORTS.values()] == [132, 138, 1]


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

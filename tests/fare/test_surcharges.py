"""What is owed beside the meter, by rule and as it was paid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.fare.rides import read_rides
from taxidask.fare.surcharges import surcharges_of

MIDTOWN, SOHO, HARLEM, BROOKLYN = (-73.985, 40.758), (-74.000, 40.723), (-73.945, 40.811), (-73.95, 40.65)
JFK, LAGUARDIA, NEWARK = (-73.782, 40.644), (-73.873, 40.774), (-74.175, 40.691)
MTA, ALWAYS = {"MTA tax": 0.5}, {"MTA tax": 0.5, "improvement": 0.3}
NOW = {"MTA tax": 0.5, "improvement": 1.0}


def owed(begin: tuple[float, float], end: tuple[float, float], at: str) -> dict[str, float]:
    row = {"pickup_datetime": [pd.Timestamp(at)], "pickup_longitude": [begin[0]], "pickup_latitude": [begin[1]]}
    trip = pd.DataFrame(row | {"dropoff_longitude": [end[0]], "dropoff_latitude": [end[1]]})
    return surcharges_of(read_rides(trip, "points", space=None, centers=None, target=False))


@pytest.mark.parametrize(
    ("begin", "end", "at", "expected"),
    [
        (MIDTOWN, SOHO, "2009-06-01 12:00", {}),
        (MIDTOWN, SOHO, "2014-06-02 12:00", MTA),
        (MIDTOWN, SOHO, "2015-06-01 20:00", {"night": 0.5} | ALWAYS),
        (MIDTOWN, SOHO, "2015-06-01 05:59", {"night": 0.5} | ALWAYS),
        (MIDTOWN, SOHO, "2015-06-01 16:00", {"rush hour": 1.0} | ALWAYS),
        (MIDTOWN, SOHO, "2015-06-06 16:00", ALWAYS),  # a Saturday
        (MIDTOWN, SOHO, "2015-05-25 17:00", ALWAYS),  # Memorial Day
        (MIDTOWN, SOHO, "2015-11-03 17:00", ALWAYS),  # Election Day
        (MIDTOWN, SOHO, "2010-11-02 17:00", MTA),  # Election Day of a month that begins with a Monday
        (MIDTOWN, JFK, "2015-06-01 17:00", ALWAYS),
        (MIDTOWN, JFK, "2016-06-01 17:00", {"rush hour": 4.5} | ALWAYS),
        (MIDTOWN, JFK, "2016-06-01 22:00", ALWAYS),
        (BROOKLYN, JFK, "2016-06-01 22:00", {"night": 0.5} | ALWAYS),
        (MIDTOWN, NEWARK, "2015-06-01 17:00", {"rush hour": 1.0, "improvement": 0.3}),
        (HARLEM, BROOKLYN, "2020-06-01 12:00", ALWAYS),
        (HARLEM, SOHO, "2020-06-01 12:00", ALWAYS | {"congestion": 2.5}),
        (MIDTOWN, BROOKLYN, "2024-06-03 12:00", NOW | {"congestion": 2.5}),
        (MIDTOWN, BROOKLYN, "2025-06-02 12:00", NOW | {"congestion": 2.5, "congestion zone": 0.75}),
        ((-73.965, 40.768), BROOKLYN, "2025-06-02 12:00", NOW | {"congestion": 2.5}),  # between 60th and 96th Street
        (BROOKLYN, LAGUARDIA, "2022-12-18 12:00", ALWAYS),
        (BROOKLYN, LAGUARDIA, "2022-12-19 12:00", NOW | {"LaGuardia": 5.0}),
        (LAGUARDIA, BROOKLYN, "2022-12-19 12:00", NOW | {"LaGuardia": 5.0, "airport access": 1.25}),
        (JFK, BROOKLYN, "2021-04-04 12:00", ALWAYS),
        (JFK, BROOKLYN, "2021-04-05 12:00", ALWAYS | {"airport access": 1.25}),
        (JFK, BROOKLYN, "2024-06-03 12:00", NOW | {"airport access": 1.75}),
        (JFK, BROOKLYN, "2026-06-01 12:00", NOW | {"airport access": 2.0}),
        (BROOKLYN, JFK, "2024-06-03 12:00", NOW),
    ],
)
def test_by_rule(begin, end, at: str, expected: dict[str, float]) -> None:
    assert owed(begin, end, at) == expected


def test_as_passengers_paid_them(data: Path) -> None:
    """TLC's records of extra, mta_tax and improvement_surcharge, of 15 months."""
    files = sorted((data / "trips").glob("*.csv"))
    trips = pd.concat([td.read_trips(path)[0].iloc[::200] for path in files], ignore_index=True)
    trips = trips[trips["rate_code_id"].isin([1, 2, 3])]
    rides = read_rides(trips, "points", space=None, centers=None, target=False)
    right = []
    for number, row in enumerate(trips.itertuples()):
        told = surcharges_of(rides.take(np.array([number])))
        extra = told.get("night", 0.0) + told.get("rush hour", 0.0)
        paid = (row.extra, row.mta_tax, row.improvement_surcharge)
        right.append(paid == (extra, told.get("MTA tax", 0.0), told.get("improvement", 0.0)))
    assert len(right) > 600
    assert np.mean(right) > 0.96


def test_a_quote_adds_them_up(model: td.FareModel) -> None:
    quote = model.quote(pickup=MIDTOWN, dropoff=SOHO, at="2015-03-30 17:00")
    assert quote.surcharges == {"rush hour": 1.0} | ALWAYS
    assert quote.total == pytest.approx(quote.price + 1.8)
    assert f"{quote.total:.2f} USD with surcharges (rush hour 1.00, " in repr(quote)
    before = model.quote(pickup=MIDTOWN, dropoff=SOHO, at="2008-12-31 17:00")
    assert "no tariff before 2009-01-01 is known" in before.note
    assert "Surcharge: rush hour" in quote._repr_html_()
    later = model.quote(pickup=LAGUARDIA, dropoff="SoHo", at="2025-03-31 22:00")
    assert later.total - later.price == pytest.approx(1 + 0.5 + 1 + 2.5 + 0.75 + 5 + 1.75)


@pytest.mark.parametrize(("at", "law"), [("2010-06-01 12:00", 45), ("2015-03-20 12:00", 52), ("2025-03-04 12:00", 70)])
def test_the_flat_fare_is_that_of_the_day_whatever_was_learned_from(model: td.FareModel, at: str, law: float) -> None:
    quote = model.quote(pickup="JFK Airport", dropoff=MIDTOWN, at=at)
    assert quote.fare == pytest.approx(law, rel=0.02)
    assert sum(quote.parts.values()) == pytest.approx(quote.price)
    assert bool(quote.note) == (at[:4] != "2015")

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.fare.features import feature_names
from taxidask.fare.why import AVERAGE, FLAG, FLOOR, GROUPS, TOLLS, in_cents, parts_of

MOMENTS = st.datetimes(pd.Timestamp("2009-01-01").to_pydatetime(), pd.Timestamp("2024-12-31").to_pydatetime())
POINTS = st.tuples(st.floats(-74.3, -73.7), st.floats(40.5, 41.0))


@pytest.fixture(scope="module")
def zoned_model(zoned: pd.DataFrame) -> td.FareModel:
    return td.FareModel(rounds=60, num_threads=1).fit(zoned)


def test_every_feature_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(feature_names("zones"))


@settings(deadline=None, max_examples=60)
@given(pickup=POINTS, dropoff=POINTS, at=MOMENTS, passengers=st.integers(1, 9))
def test_the_parts_of_a_price_add_up_to_it(model: td.FareModel, pickup, dropoff, at, passengers) -> None:
    quote = model.quote(pickup=pickup, dropoff=dropoff, at=at, passengers=passengers)
    why = quote.why()
    assert why["usd"].sum() == pytest.approx(quote.price, abs=0.005)
    assert sum(in_cents(quote.parts)) == pytest.approx(round(quote.price, 2), abs=1e-6)
    assert (why["usd"] - in_cents(quote.parts)).abs().max() < 0.0101
    assert quote.parts.get(TOLLS, 0.0) == quote.tolls


@settings(deadline=None, max_examples=30)
@given(pickup=st.integers(1, 263), dropoff=st.integers(1, 263), at=MOMENTS)
def test_the_parts_add_up_between_zones(zoned_model: td.FareModel, pickup, dropoff, at) -> None:
    quote = zoned_model.quote(pickup=pickup, dropoff=dropoff, at=at)
    assert quote.why()["usd"].sum() == pytest.approx(quote.price, abs=0.005)


def test_a_part_tells_what_it_is_called_after(model: td.FareModel) -> None:
    short = model.quote(pickup=(-73.985, 40.758), dropoff=(-73.98, 40.762), at="2015-03-30 09:00")
    far = model.quote(pickup=(-73.985, 40.758), dropoff=(-73.87, 40.85), at="2015-03-30 09:00")
    assert short.parts[FLAG] == far.parts[FLAG] == 2.5
    assert short.parts[AVERAGE] == far.parts[AVERAGE] > 3
    assert short.parts["distance and direction"] < -1 < 5 < far.parts["distance and direction"]
    assert "Made of" in far._repr_html_()
    # a unit costs 50 cents more since: everything but the flag fall, which is not told in units, in proportion
    dearer = model.quote(pickup=(-73.985, 40.758), dropoff=(-73.98, 40.762), at="2023-03-30 09:00")
    assert dearer.parts[FLAG] == 3.0
    assert dearer.parts[AVERAGE] == pytest.approx(short.parts[AVERAGE] * 0.70 / 0.50)


def test_a_meter_that_would_show_less_than_nothing_is_a_part_of_its_own(model: td.FareModel) -> None:
    row = {"pickup_datetime": ["2015-03-30 09:00"], "passenger_count": [1]}
    row |= {"pickup_longitude": [-73.985], "pickup_latitude": [40.758]}
    row |= {"dropoff_longitude": [-73.98], "dropoff_latitude": [40.76]}
    ride = model._rides(pd.DataFrame(row))
    names = model.card["features"]

    class Trees:
        def predict(self, x: np.ndarray, **_: object) -> np.ndarray:
            return np.array([[*([-1.0] * len(names)), 4.0]])

    parts = parts_of([Trees()], names, ride, 2.5, 0.0)
    assert parts[FLOOR] == pytest.approx((len(names) - 4) * 0.5)
    assert sum(parts.values()) == pytest.approx(2.5)


def test_a_quote_made_by_hand_has_no_parts() -> None:
    quote = td.fare.Quote(5.0, 0.0, 5.0, 4.0, 6.0, 5.5, pd.Timestamp("2015-03-30"), "a", "b")
    assert quote.why().empty
    assert "Made of" not in quote._repr_html_()

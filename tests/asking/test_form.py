from __future__ import annotations

from datetime import datetime

import pytest

from taxidask.asking import FormError, add_trip, ask_trips, question, read_form
from taxidask.errors import SourceError
from taxidask.trips import Rules


def test_a_form_is_read_as_the_texts_of_a_file_are(form):
    trip = read_form(form)
    assert trip["pickup_datetime"] == datetime(2013, 2, 3, 18, 30)
    assert trip["dropoff_datetime"] == datetime(2013, 2, 3, 18, 45, 30)
    assert (trip["passenger_count"], trip["payment_type"], trip["fare_amount"]) == (2, 2, 12.0)
    assert "extra" not in trip


def test_a_form_names_all_that_is_wrong_by_field(form):
    wrong = form | {
        "pickup_datetime": "noon",
        "trip_distance": "0",
        "fare_amount": "900",
        "passenger_count": "12",
        "pickup_longitude": "-3",
        "dropoff_latitude": "",
        "rate_code_id": "1.5",
        "vendor_id": "x" * 65,
    }
    with pytest.raises(FormError) as caught:
        read_form(wrong)
    assert set(caught.value.fields) == {
        "pickup_datetime", "trip_distance", "fare_amount", "passenger_count", "pickup_longitude", "dropoff_latitude",
        "rate_code_id", "vendor_id",
    }  # fmt: skip
    assert caught.value.fields["fare_amount"] == "is not over 0 and at most 500 USD"
    assert "-74.3 to -73.7" in caught.value.fields["pickup_longitude"]


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"dropoff_datetime": "2013-02-03 18:00"}, "dropoff_datetime", "is before the pickup"),
        ({"dropoff_datetime": "2013-02-05 18:00"}, "dropoff_datetime", "more than 24 hours"),
        ({"trip_distance": "101"}, "trip_distance", "over 100 miles"),
        ({"trip_distance": "1,5"}, "trip_distance", "no number"),
        ({"passenger_count": "1.5"}, "passenger_count", "no whole number"),
        ({"passenger_count": "0"}, "passenger_count", "is not 1 to 9"),
        ({"payment_type": "gold"}, "payment_type", "no kind of payment"),
        ({"pickup_location_id": "7"}, "pickup_location_id", "a zone beside a point"),
        ({"fare_amount": "nan"}, "fare_amount", "no number"),
        ({"tip_amount": "1e100"}, "tip_amount", "is not 0 to 10,000 USD"),
        ({"tolls_amount": "-1"}, "tolls_amount", "is not 0 to 10,000 USD"),
        ({"vendor_id": "\udcff"}, "vendor_id", "no short text"),
        ({"pickup_datetime": "0099-02-03 18:30", "dropoff_datetime": "0099-02-03 18:40"}, "pickup_datetime", "2009"),
        ({"pickup_datetime": "2215-02-03 18:30", "dropoff_datetime": "2215-02-03 18:40"}, "pickup_datetime", "today"),
    ],
)
def test_a_form_is_judged_by_the_rules_of_rows(form, change, field, text):
    with pytest.raises(FormError) as caught:
        read_form(form | change)
    assert list(caught.value.fields) == [field]
    assert text in caught.value.fields[field]


def test_zones_do_instead_of_points(form):
    places = {name: "" for name in form if name.endswith("itude")}
    trip = read_form(form | places | {"pickup_location_id": "132", "dropoff_location_id": "263"})
    assert (trip["pickup_location_id"], trip["dropoff_location_id"]) == (132, 263)
    with pytest.raises(FormError, match="1 to 263 taxi zones"):
        read_form(form | places | {"pickup_location_id": "264", "dropoff_location_id": "1"})


def test_other_thresholds_and_other_columns(form):
    assert read_form(form | {"fare_amount": "900"}, rules=Rules(max_fare=1000.0))["fare_amount"] == 900
    with pytest.raises(SourceError, match="no column 'price'"):
        read_form(form | {"price": "3"})


def test_the_very_same_trip_is_added_once(store, form):
    assert add_trip(form, store=store, who="ann")[1]
    assert not add_trip(form, store=store, who="bob")[1]
    assert add_trip(form | {"tip_amount": "2.01"}, store=store, who="bob")[1]
    answer = ask_trips(store=store)
    assert (answer.count, answer.added, answer.total_tip) == (2, 2, pytest.approx(4.01))
    assert {item["who"] for item in store.added_trips()} == {"ann", "bob"}


HOSTILE = ["<script>alert(1)</script>", "'; DROP TABLE items; --", '" or 1=1', "a,b", "%s\\", "ÄÖ\u202e", "null", "$.x"]


def test_hostile_vendor_names_are_texts_like_others(store, form):
    for name in HOSTILE:
        assert add_trip(form | {"vendor_id": name}, store=store, who="x")[1]
    for name in HOSTILE:
        answer = ask_trips(question(vendor=[name]), store=store)
        assert answer.rows["vendor_id"].tolist() == [name]
    assert ask_trips(question(vendor=HOSTILE), store=store).count == len(HOSTILE)

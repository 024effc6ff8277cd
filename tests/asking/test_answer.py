"""Answers against pandas: the same trips, in a lake, in a store, or in both."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.asking import ask_trips, load_file, question, save_trips
from taxidask.trips.schema import TRIP_SCHEMA

LINES = [
    {"pickup": f"2013-02-{1 + i % 3:02d} {i % 24:02d}:{i % 60:02d}:00", "passengers": ["", 1, 2, 9, 3][i % 5],
     "distance": [0.1, 2.5, 10, 11.25][i % 4], "fare": [2.5, 9, 10, 52, 12][i // 4 % 5],
     "tip": ["", 0, 1.5, 10.01, 3][i % 5], "vendor": ["CMT", "VTS", "10", "9"][i // 3 % 4],
     "payment": ["CRD", "CSH", "", "NOC"][i // 3 % 4]}
    for i in range(96)
]  # fmt: skip
numbers = st.one_of(st.none(), st.sampled_from([0, 1, 2, 2.5, 9, 9.5, 10, 10.01, 11.25, 52, 100]))
ranges = st.one_of(st.none(), st.tuples(numbers, numbers).filter(lambda r: None in r or r[0] <= r[1]))
moments = st.one_of(
    st.none(),
    st.datetimes(pd.Timestamp("2013-01-31"), pd.Timestamp("2013-02-05")),
    st.sampled_from([pd.Timestamp(line["pickup"]) for line in LINES]),
)
questions = st.fixed_dictionaries(
    {
        "start": moments,
        "end": moments,
        **dict.fromkeys(("passengers", "tip", "distance", "fare"), ranges),
        "vendor": st.lists(st.sampled_from(["CMT", "VTS", "10", "9", "x'"]), max_size=3),
        "payment_type": st.lists(st.sampled_from([1, 2, 3, 4]), max_size=3),
    }
).filter(lambda asked: not (asked["start"] and asked["end"] and asked["end"] < asked["start"]))
COLUMN = {"passengers": "passenger_count", "tip": "tip_amount", "distance": "trip_distance", "fare": "fare_amount"}


def expected(trips: pd.DataFrame, asked: dict) -> pd.DataFrame:
    keep = pd.Series(True, index=trips.index)
    if asked["start"]:
        keep &= trips["pickup_datetime"] >= asked["start"]
    if asked["end"]:
        keep &= trips["pickup_datetime"] < asked["end"]
    for name, column in COLUMN.items():
        for op, bound in zip(("ge", "le"), asked[name] or (None, None), strict=True):
            if bound is not None:
                keep &= getattr(trips[column].astype(float), op)(bound)
    for name, column in (("vendor", "vendor_id"), ("payment_type", "payment_type")):
        if asked[name]:
            keep &= trips[column].isin(asked[name])
    return trips[keep].sort_values("pickup_datetime", kind="stable")


@pytest.fixture
def filled(request, store, lake, line, write):
    """Half of the trips in the lake and half added; and all of them."""
    lines = [line(**one) for one in LINES]
    lake.ingest(write("lake.csv", lines[::2]))
    added = write("added.csv", [*lines[1::2], line(fare=0)])
    result = load_file(added, store=store, lake=lake, who="ann")
    assert (result.place, result.kept, result.rejected) == ("store", 48, {"fare_out_of_range": 1})
    return store, lake, td.read_trips(write("all.csv", lines))[0]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(asked=questions, skip=st.integers(0, 30))
def test_filters_answer_as_pandas_does(filled, asked, skip):
    store, lake, trips = filled
    want = expected(trips, asked)
    answer = ask_trips(question(**asked), lake=lake, store=store, skip=skip, limit=25)
    assert answer.count == len(want)
    assert answer.total_tip == pytest.approx(want["tip_amount"].sum())
    assert answer.average_fare == (pytest.approx(want["fare_amount"].mean()) if len(want) else None)
    assert answer.left_out == answer.count - len(answer.rows)
    times = want["pickup_datetime"].iloc[skip : skip + 25]
    assert answer.rows["pickup_datetime"].tolist() == times.tolist()


def test_all_that_match_are_saved(filled, tmp_path):
    store, lake, trips = filled
    asked = question(fare="9..", passengers="1..2")
    want = expected(trips, {"start": None, "end": None, "passengers": (1, 2), "fare": (9, None), "tip": None,
                            "distance": None, "vendor": [], "payment_type": []})  # fmt: skip
    assert save_trips(str(tmp_path / "all.csv"), asked, lake=lake, store=store) == len(want)
    assert save_trips(str(tmp_path / "all.parquet"), asked, lake=lake, store=store) == len(want)
    csv, parquet = pd.read_csv(tmp_path / "all.csv"), pd.read_parquet(tmp_path / "all.parquet")
    assert csv["pickup_datetime"].tolist() == want["pickup_datetime"].astype(str).tolist()
    assert parquet["pickup_datetime"].tolist() == want["pickup_datetime"].tolist()
    assert parquet["fare_amount"].sum() == pytest.approx(want["fare_amount"].sum())
    assert save_trips(str(tmp_path / "two.csv"), asked, lake=lake, store=store, limit=2) == 2


def test_further_conditions_hold_for_both(filled):
    store, lake, trips = filled
    want = trips[(trips["fare_amount"] >= 9) & (trips["vendor_id"] != "CMT") & trips["passenger_count"].isna()]
    where = "vendor_id != 'CMT' and passenger_count is null"
    answer = ask_trips(question(fare="9.."), lake=lake, store=store, where=where)
    assert answer.count == len(want) > 0
    assert 0 < answer.added < answer.count


def test_only_the_days_asked_are_queried_and_nothing_is_scanned(sqlite, line, write, monkeypatch):
    load_file(write("a.csv", [line(f"2013-02-{day:02d} 10:00:00") for day in range(1, 11)]), store=sqlite, who="ann")
    asked, query = [], type(sqlite)._query
    monkeypatch.setattr(type(sqlite), "_query", lambda self, pk, **how: asked.append(pk) or query(self, pk, **how))
    assert ask_trips(question(start="2013-02-03 09:00", end="2013-02-05"), store=sqlite).count == 2
    days = [pk for pk in asked if pk.startswith("trips#")]
    assert days == ["trips#2013-02-03", "trips#2013-02-04", "trips#2013-02-05"]


def test_dynamodb_is_paged_to_the_end(dynamodb, line, write):
    """A page of a query has 1 MB before the filter: here there are three, and what is asked for is on the last."""
    lines = [line(f"2013-02-03 {i // 1000:02d}:{i // 60 % 16:02d}:{i % 60:02d}", vendor="x" * 64) for i in range(8000)]
    load_file(write("a.csv", [*lines, line("2013-02-03 23:00:00", fare=77)]), store=dynamodb, who="ann")
    assert ask_trips(question(fare=77), store=dynamodb).count == 1
    assert ask_trips(question(vendor="x" * 64), store=dynamodb, limit=1).left_out == 7999


def test_an_era_of_zones_and_a_packed_file(store, tmp_path, data):
    path = min((data / "recent").glob("yellow*2019*.csv"))
    packed = tmp_path / "part.csv.gz"
    packed.write_bytes(gzip.compress(b"".join(Path(path).read_bytes().splitlines(keepends=True)[:500])))
    result = load_file(str(packed), store=store, who="ann")
    assert (result.rows, result.kept, result.place) == (499, 469, "store")
    assert ask_trips(store=store).count == result.kept
    assert result.kept + sum(result.rejected.values()) == result.rows
    trips = td.read_trips(str(packed))[0]
    rows = ask_trips(store=store, limit=1000).rows
    assert sorted(rows["fare_amount"]) == sorted(trips["fare_amount"])
    assert rows["pickup_location_id"].sum() == trips["pickup_location_id"].sum()


def test_a_row_comes_back_as_it_was(store, line, write):
    path = write("a.csv", [line(fare=10.123456789012345, tip="", longitude=-73.98123456789012)])
    load_file(path, store=store, who="ann")
    (left,) = pa.Table.from_pandas(ask_trips(store=store).rows, TRIP_SCHEMA, preserve_index=False).to_pylist()
    (right,) = pa.Table.from_pandas(td.read_trips(path)[0], TRIP_SCHEMA, preserve_index=False).to_pylist()
    assert left == right

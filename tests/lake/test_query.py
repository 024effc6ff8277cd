from __future__ import annotations

import contextlib
import datetime
import itertools
import sqlite3
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError
from taxidask.lake import Lake, tasks
from taxidask.lake.filters import parse_where
from taxidask.sample import make_sample
from taxidask.storage import Storage, counted
from taxidask.trips import TRIP_SCHEMA, read_trips


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_sample(
        tmp_path_factory.mktemp("source"), start="2015-01", months=3, trips_per_month=8000, seed=3, faults=0.05
    )


@pytest.fixture(scope="module")
def lake(files, tmp_path_factory):
    """Three months in row groups of 500 rows: about two a day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "ROW_GROUP", 500)
        lake = Lake(tmp_path_factory.mktemp("lake"))
        lake.ingest(files, client=ThreadExecutor(2))
    return lake


@pytest.fixture(scope="module")
def everything(files):
    """What the lake should hold, in its order."""
    frames = [read_trips(file)[0] for file in sorted(files)]
    trips = pd.concat(frames, ignore_index=True).sort_values("pickup_datetime", kind="stable", ignore_index=True)
    for name in trips.columns:
        if pd.api.types.is_integer_dtype(TRIP_SCHEMA.field(name).type.to_pandas_dtype()):
            trips[name] = trips[name].astype(f"Int{TRIP_SCHEMA.field(name).type.bit_width}")
    return trips


def test_all_trips_in_order(lake, everything):
    pd.testing.assert_frame_equal(lake.trips(), everything)


def test_columns_in_the_order_asked_for(lake, everything):
    names = ["fare_amount", "pickup_datetime", "vendor_id"]
    pd.testing.assert_frame_equal(lake.trips(columns=names), everything[names])
    assert list(lake.trips(columns=["tip_amount"]).columns) == ["tip_amount"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2015-02-03", "2015-02-04"),
        ("2015-01-31 22:00", "2015-02-01 02:00"),
        (None, "2015-01-02"),
        (pd.Timestamp("2015-03-30 12:00"), None),
        (datetime.date(2015, 2, 1), np.datetime64("2015-03-01")),
        ("2014-01-01", "2014-06-01"),
        ("2015-02-03", "2015-02-03"),
    ],
)
def test_from_start_to_end(lake, everything, start, end):
    keep = everything["pickup_datetime"] >= pd.Timestamp(start or "1970-01-01")
    keep &= everything["pickup_datetime"] < pd.Timestamp(end or "2100-01-01")
    pd.testing.assert_frame_equal(lake.trips(start=start, end=end), everything[keep].reset_index(drop=True))


@pytest.mark.parametrize(
    ("where", "query"),
    [
        ("fare_amount > 20 and passenger_count == 1", "fare_amount > 20 and passenger_count == 1"),
        ([("fare_amount", ">", 20), ("passenger_count", "==", 1)], "fare_amount > 20 and passenger_count == 1"),
        (("fare_amount", "<=", "7.5"), "fare_amount <= 7.5"),
        ("not fare_amount < 20 or passenger_count in (5, 6)", "not fare_amount < 20 or passenger_count in (5, 6)"),
        ([("passenger_count", "in", [2, 3])], "passenger_count in (2, 3)"),
        ([("passenger_count", "not in", {1})], "passenger_count not in (1,)"),
        ("10 < fare_amount <= 12.5", "10 < fare_amount <= 12.5"),
        ("20 < fare_amount", "20 < fare_amount"),
        ("tip_amount > fare_amount", "tip_amount > fare_amount"),
        ("passenger_count > 1.5", "passenger_count > 1.5"),
        ("passenger_count < 100000", "passenger_count < 100000"),
        ("fare_amount > -1", "fare_amount > -1"),
        ("vendor_id == 2", "vendor_id == '2'"),
        ("vendor_id == '2'", "vendor_id == '2'"),
        ("pickup_datetime >= '2015-03-15 06:00'", "pickup_datetime >= '2015-03-15 06:00'"),
        ([("dropoff_datetime", "<", datetime.datetime(2015, 1, 2))], "dropoff_datetime < '2015-01-02'"),
        ("pickup_location_id == None", "pickup_location_id.isnull()"),
        ("pickup_location_id is not None", "pickup_location_id.notnull()"),
        ("pickup_location_id is null", "pickup_location_id.isnull()"),
        ("fare_amount == NULL or null != vendor_id", "vendor_id.notnull()"),
        ([("pickup_location_id", "is", None)], "pickup_location_id.isnull()"),
        ([("vendor_id", "is not", pd.NaT)], "vendor_id.notnull()"),
        ("", None),
        ([], None),
    ],
)
def test_where(lake, everything, where, query):
    columns = ["pickup_datetime", "dropoff_datetime", "fare_amount", "tip_amount", "passenger_count"]
    expected = everything if query is None else everything.query(query)
    if where == "":
        with pytest.raises(LakeError, match="cannot be read"):
            lake.trips(where=where)
        return
    pd.testing.assert_frame_equal(lake.trips(where=where, columns=columns), expected[columns].reset_index(drop=True))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("fare_amont > 20", r"no column 'fare_amont'; did you mean fare_amount"),
        ([("passengers", ">", 1)], r"no column 'passengers'; did you mean passenger_count"),
        ("zzz == 1", r"no column 'zzz'; columns are vendor_id, pickup_datetime"),
        ("fare_amount = 20", r"cannot be read.*; compare with =="),
        ("fare_amount >", r"cannot be read"),
        ("fare_amount > 'a lot'", r"fare_amount is a number; 'a lot' is not; compare it with a number like 20"),
        ("fare_amount > True", r"fare_amount is a number; True is not"),
        ("pickup_datetime > 20", r"pickup_datetime is a time; 20 is not"),
        ("pickup_datetime > 'noon'", r"pickup_datetime 'noon' is no time; write it like"),
        ("vendor_id == 1.5", r"vendor_id is text; 1.5 is not"),
        ("fare_amount", r"'fare_amount' is not a condition"),
        ("fare_amount + 1 > 2", r"is not a condition on a column"),
        ("__import__('os').system('true') == 0", r"is not a condition"),
        ("fare_amount > 20 & tip_amount > 1", r"is not a condition"),
        ("1 < 2", r"'1 < 2' is not a condition"),
        ("fare_amount in 5", r"is not a condition"),
        ("fare_amount is 5", r"is not a condition"),
        ("fare_amount < None", r"fare_amount < null has no meaning; use fare_amount is null"),
        ([("fare_amount", "is", 5)], r"only null follows is"),
        ([("fare_amount", "~", 1)], r"fare_amount '~' 1: there is no such op; use == != < <= > >="),
        ([("fare_amount", "in", 5)], r"fare_amount in 5: that is no list of values"),
        ([("fare_amount", ">")], r"no \(column, op, value\)"),
        ([("fare_amount", ["a"], 1)], r"\('fare_amount', \['a'\], 1\) has no op"),
        (5, r"where is 5, neither text nor a list of conditions"),
        ("pickup_datetime > fare_amount", r"pickup_datetime is a time, fare_amount is a number: they do not compare"),
        ("vendor_id == passenger_count", r"vendor_id is text, passenger_count is a number"),
        ("not (dropoff_datetime < vendor_id)", r"dropoff_datetime is a time, vendor_id is text"),
    ],
)
def test_what_is_wrong_with_where(lake, where, message):
    with pytest.raises(LakeError, match=message):
        lake.trips(where=where)


VALUES = {
    "passenger_count": [None, 0, 1, 2],
    "rate_code_id": [1, None, 2],
    "fare_amount": [2.5, None, 10.0, 20.25],
    "vendor_id": [None, "1", "CMT"],
    "dropoff_datetime": [datetime.datetime(2015, 1, 1, 8), None, datetime.datetime(2015, 1, 2)],
}
LITERALS = {
    "passenger_count": st.sampled_from(["0", "1", "2", "1.5", "70000", "-32769", "1e400"]),
    "rate_code_id": st.sampled_from(["1", "2", "3"]),
    "fare_amount": st.sampled_from(["2.5", "10", "-1", "1e30", "20.25"]),
    "vendor_id": st.sampled_from(["'1'", "'CMT'", "'z'"]),
    "dropoff_datetime": st.sampled_from(["'2015-01-01 08:00'", "'2015-01-03'"]),
}
SQL_OP = {"==": "=", "!=": "<>"}


@st.composite
def conditions(draw, depth=3):
    """A condition as `where` takes it, and the same in SQL."""
    kind = draw(st.sampled_from(["compare", "columns", "in", "null", "not", "and", "or"][: 7 if depth else 4]))
    if kind == "not":
        one, sql = draw(conditions(depth - 1))
        return f"not ({one})", f"NOT ({sql})"
    if kind in ("and", "or"):
        pairs = draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))
        return f" {kind} ".join(f"({one})" for one, _ in pairs), f" {kind} ".join(f"({sql})" for _, sql in pairs)
    name = draw(st.sampled_from(sorted(VALUES)))
    op = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    if kind == "columns":
        other = draw(st.sampled_from(["passenger_count", "rate_code_id", "fare_amount"]))
        return f"{other} {op} passenger_count", f"{other} {SQL_OP.get(op, op)} passenger_count"
    if kind == "null":
        word = draw(st.sampled_from(["is null", "is not null"]))
        return f"{name} {word}", f"{name} {word}"
    if kind == "in":
        word = draw(st.sampled_from(["in", "not in"]))
        values = draw(st.lists(LITERALS[name], min_size=1, max_size=3))
        return f"{name} {word} ({', '.join(values)},)", f"{name} {word} ({', '.join(values)})"
    value = draw(LITERALS[name])
    return f"{name} {op} {value}", f"{name} {SQL_OP.get(op, op)} {value}"


@pytest.fixture(scope="module")
def nulls():
    """Every combination of some values and null in five columns, here and in SQLite."""
    rows = list(itertools.product(*VALUES.values()))
    table = pa.table(
        {
            name: pa.array(column, TRIP_SCHEMA.field(name).type)
            for name, column in zip(VALUES, zip(*rows, strict=True), strict=True)
        }
    )
    base = sqlite3.connect(":memory:")
    base.execute(f"CREATE TABLE trips ({', '.join(VALUES)})")
    texts = [[str(value)[:16] if isinstance(value, datetime.datetime) else value for value in row] for row in rows]
    base.executemany("INSERT INTO trips VALUES (?, ?, ?, ?, ?)", texts)
    yield table, base
    base.close()


@given(conditions())
def test_conditions_are_three_valued_as_in_sql(nulls, condition):
    table, base = nulls
    where, sql = condition
    expression, _ = parse_where(where, TRIP_SCHEMA)
    found = ds.dataset(table).to_table(filter=expression).num_rows
    assert found == base.execute(f"SELECT count(*) FROM trips WHERE {sql}").fetchone()[0]


def test_a_null_is_in_no_answer_unless_asked_for(nulls):
    table, _ = nulls
    passengers = table["passenger_count"].to_pylist()

    def rows(where):
        return ds.dataset(table).to_table(filter=parse_where(where, TRIP_SCHEMA)[0]).num_rows

    zeros = passengers.count(0)
    assert rows("not (passenger_count in (1, 2))") == rows("passenger_count not in (1, 2)") == zeros
    assert rows("not (passenger_count not in (0,))") == rows("not not passenger_count in (0,)") == zeros
    assert rows("passenger_count in (1, 2) or passenger_count is null") == len(passengers) - zeros
    assert rows("NOT passenger_count NOT IN (1, 2) OR passenger_count IS NULL") == len(passengers) - zeros
    assert rows("vendor_id == 'AND' OR vendor_id == \"IS NULL\"") == 0


@pytest.mark.parametrize(
    "value", [1.5, 70_000, -40_000, 2.0**40, np.int64(10**12), Decimal("1.5"), "1.5", float("inf")]
)
def test_a_number_that_the_column_cannot_hold_is_in_no_row(nulls, value):
    table, _ = nulls
    everything = len([one for one in table["passenger_count"].to_pylist() if one is not None])

    def rows(op, value):
        where = [("passenger_count", op, value)]
        return ds.dataset(table).to_table(filter=parse_where(where, TRIP_SCHEMA)[0]).num_rows

    assert rows("==", value) == rows("in", [value]) == 0
    assert rows("!=", value) == rows("not in", [value]) == everything
    assert rows("<", value) + rows(">", value) == rows("<=", value) + rows(">=", value) == everything
    assert rows("in", [value, 2, 0]) == rows("in", (0, 2.0))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("passenger_count", ["nan", float("nan"), np.nan, "inf", "1_0", "", "x", True, np.True_, None, 1j, b"1", [1]]),
        ("fare_amount", ["nan", float("nan"), Decimal("sNaN"), 2**60 + 1, np.timedelta64(5, "s"), 10**400, pd.NaT]),
        ("vendor_id", [1.5, True, None, b"CMT", float("nan"), datetime.date(2015, 1, 1), "\ud800"]),
        ("pickup_datetime", [20, 1.5, True, "noon", "2015-02-30", None, np.datetime64("NaT"), datetime.time(8)]),
        ("dropoff_datetime", ["2015-01-01 00:00:00.0000005", pd.Timestamp(1, unit="ns"), "", datetime.timedelta(1)]),
    ],
)
def test_a_value_that_is_none_of_the_column_s_kind_is_refused(name, values):
    for value in values:
        for condition in [(name, "in", [value]), (name, "not in", (value,)), (name, "<", value)]:
            with pytest.raises(LakeError, match=name):
                parse_where([condition], TRIP_SCHEMA)


def test_thousands_of_conditions(nulls):
    table, _ = nulls
    fares = [one for one in table["fare_amount"].to_pylist() if one is not None]
    some = fares.count(2.5) + fares.count(10)

    def rows(where):
        return ds.dataset(table).to_table(filter=parse_where(where, TRIP_SCHEMA)[0]).num_rows

    values = [2.5, 10.0, *np.arange(1000.0, 9998.0).tolist()]
    either = " or ".join(f"fare_amount == {one}" for one in values)
    assert rows(either) == some
    assert rows(f"not ({either})") == rows([("fare_amount", "!=", one) for one in values]) == len(fares) - some
    assert rows("fare_amount" + " <= fare_amount" * 9000) == len(fares)
    assert rows([("fare_amount", "in", [*values, *range(10_000, 200_000)])]) == some
    for too_many in (" or ".join(["fare_amount == 1"] * 10_001), [("fare_amount", "==", 1)] * 10_001):
        with pytest.raises(LakeError, match=r"more than 10,000 conditions; name many values in one"):
            rows(too_many)


@pytest.mark.parametrize(
    "where", ["not " * 2000 + "fare_amount > 1", "fare_amount > " + "-" * 900 + "1", "(" * 150 + "1"]
)
def test_what_is_nested_deep_is_read_or_refused(where):
    with contextlib.suppress(LakeError):
        parse_where(where, TRIP_SCHEMA)


def test_messages_of_long_conditions_are_short():
    for where in ("fare_amount = " + "1" * 100_000, "fare_amount > " + "x" * 100_000, [("vendor_id", "<", [1] * 9999)]):
        with pytest.raises(LakeError) as caught:
            parse_where(where, TRIP_SCHEMA)
        assert len(str(caught.value)) < 1000


def test_a_start_between_two_microseconds(lake, everything):
    at = everything["pickup_datetime"].iloc[100]
    later = pd.Timestamp(at).as_unit("ns") + pd.Timedelta(1, unit="ns")
    after = everything[everything["pickup_datetime"] > at]
    assert len(lake.trips(start=later)) == len(after)
    assert len(lake.trips(end=later)) == len(everything) - len(after)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_an_error(text):
    with contextlib.suppress(LakeError):
        parse_where(text, TRIP_SCHEMA)


def test_wrong_options(lake):
    with pytest.raises(LakeError, match=r"no column 'fare'; did you mean"):
        lake.trips(columns=["fare"])
    with pytest.raises(LakeError, match="end 2015-01-01 is before start 2015-02-01"):
        lake.trips(start="2015-02-01", end="2015-01-01")
    for nonsense in (2015, "soon", float("nan"), [], pd.NaT):
        with pytest.raises(LakeError, match="is no time"):
            lake.trips(start=nonsense)
        with pytest.raises(LakeError, match="is no time"):
            lake.cube(end=nonsense)
    for limit in (-1, 1e23, 10**400, 2.5, "5"):
        with pytest.raises(LakeError, match=r"limit is .*give a number of rows"):
            lake.trips(limit=limit)
    with pytest.raises(LakeError, match="columns is 5, no list of names"):
        lake.trips(columns=5)


def test_times_of_a_zone_become_new_york_s(lake):
    plain = lake.trips(start="2015-02-03 06:00", end="2015-03-09 05:00")
    zoned = lake.trips(start=pd.Timestamp("2015-02-03 11:00", tz="UTC"), end="2015-03-09T10:00:00+01:00")
    pd.testing.assert_frame_equal(zoned, plain)
    before = lake.trips(where="pickup_datetime < '2015-02-03T11:00:00Z'")
    assert len(before) == len(lake.trips(end="2015-02-03 06:00"))
    cube = lake.cube(start=datetime.datetime(2015, 2, 3, 11, tzinfo=datetime.UTC), end="2015-02-04")
    assert (cube.start, len(cube)) == (pd.Timestamp("2015-02-03 06:00"), 36)


def test_limit_gives_the_first(lake, everything):
    for limit in (0, 1, 700, 10_000, 10**6):
        pd.testing.assert_frame_equal(lake.trips(limit=limit), everything.head(limit))
    some = lake.trips(where="fare_amount > 30", start="2015-01-10", limit=40)
    expected = everything[(everything["fare_amount"] > 30) & (everything["pickup_datetime"] >= "2015-01-10")]
    pd.testing.assert_frame_equal(some, expected.head(40).reset_index(drop=True))


# --- what is read ----------------------------------------------------------------------------------------------------


def read_by(lake, **query):
    """Parts opened, and bytes of trips read."""
    seen: list = []
    with counted(Storage(), seen) as storage:
        Lake(lake.url, storage=storage).trips(**query)
    reads = [(url, size) for op, url, size in seen if op == "read" and "/trips/" in url]
    return {url for url, _ in reads}, sum(size for _, size in reads)


def test_a_query_reads_only_what_it_needs(lake):
    parts, everything = read_by(lake)
    assert len(parts) == 3
    parts, day = read_by(lake, start="2015-02-10", end="2015-02-11")
    assert len(parts) == 1, "one month's part"
    assert day < everything / 8, "of its row groups two or three, besides the footer"
    _, narrow = read_by(lake, start="2015-02-10", end="2015-02-11", columns=["fare_amount"])
    assert narrow < day
    _, column = read_by(lake, columns=["fare_amount"])
    assert column < everything * 0.6, "footers of so small a lake are half of it"
    parts, none = read_by(lake, start="2016-01-01")
    assert (parts, none) == (set(), 0)
    parts, _ = read_by(lake, limit=10)
    assert len(parts) == 1, "the first day is enough"
    _, impossible = read_by(lake, where="passenger_count > 50")
    footers = read_by(lake, columns=["pickup_datetime"], where="passenger_count > 50")[1]
    assert impossible == footers, "no row group can hold such a row"


# --- empty -----------------------------------------------------------------------------------------------------------


def test_an_empty_lake_gives_empty_tables(tmp_path):
    lake = Lake(tmp_path / "none")
    trips = lake.trips(where="fare_amount > 2")
    assert list(trips.columns) == TRIP_SCHEMA.names
    assert len(trips) == 0
    assert trips.dtypes["pickup_datetime"] == "datetime64[us]"
    assert list(lake.rejects().columns) == ["source", "offset", "line", "reason"]
    assert list(lake.sources().columns[:3]) == ["url", "month", "era"]
    assert len(lake.rejects()) == len(lake.sources()) == 0
    assert "empty" in repr(lake)
    with pytest.raises(LakeError, match=r"there is no lake at .*; ingest into it first"):
        lake.cube()


def test_no_row_matches(lake):
    frame = lake.trips(where="fare_amount > 400", columns=["fare_amount", "passenger_count"])
    assert len(frame) == 0
    assert list(frame.dtypes.astype(str)) == ["float64", "Int16"]

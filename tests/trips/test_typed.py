"""Parquet of any types ends in the table that the same rows end in as CSV, or is refused by name."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.errors import SourceError
from taxidask.space import Grid
from taxidask.trips import count_block, find_sources, read_block
from taxidask.trips.eras import ERAS

ERA = ERAS[4]
ROW = {
    "VendorID": 1, "tpep_pickup_datetime": datetime(2016, 3, 7, 16, 0, 22),
    "tpep_dropoff_datetime": datetime(2016, 3, 7, 16, 9), "passenger_count": 1, "trip_distance": 1.5,
    "pickup_longitude": -73.99, "pickup_latitude": 40.75, "RatecodeID": 1, "store_and_fwd_flag": "N",
    "dropoff_longitude": -73.97, "dropoff_latitude": 40.75, "payment_type": 1, "fare_amount": 12.0, "extra": 1.0,
    "mta_tax": 0.5, "tip_amount": 3.25, "tolls_amount": 0.0, "improvement_surcharge": 0.3, "total_amount": 17.05,
}  # fmt: skip


def one(path, **changes):
    """The table of a Parquet file of one row with columns of other types."""
    arrays = {name: changes[name] if name in changes else pa.array([value]) for name, value in ROW.items()}
    length = max(len(array) for array in arrays.values())
    arrays = {
        name: pa.concat_arrays([array] * length) if len(array) < length else array for name, array in arrays.items()
    }
    pq.write_table(pa.table(arrays), path)
    [result] = read_block(*find_sources(path)[0].blocks())
    result.trips.validate(full=True)
    return result


def category(array):
    return array.dictionary_encode()


SAME = {
    "decimal": {"fare_amount": pa.array([Decimal("12.00")], pa.decimal128(9, 2)), "extra": pa.array([Decimal(1)])},
    "large decimal": {"fare_amount": pa.array([Decimal("12.00")], pa.decimal256(60, 20))},
    "decimal of a code": {"VendorID": pa.array([Decimal("1.0")]), "passenger_count": pa.array([Decimal("1.0")])},
    "text": {name: pa.array([str(value)]) for name, value in ROW.items()},
    "large text": {name: pa.array([str(value)], pa.large_string()) for name, value in ROW.items()},
    "view": {name: pa.array([str(value)], pa.string_view()) for name, value in ROW.items()},
    "bytes": {name: pa.array([str(value).encode()]) for name, value in ROW.items()},
    "fixed bytes": {"store_and_fwd_flag": pa.array([b"N"], pa.binary(1))},
    "category of text": {name: category(pa.array([str(value)])) for name, value in ROW.items()},
    "category": {name: category(pa.array([value])) for name, value in ROW.items()},
    "small floats": {"trip_distance": pa.array([1.5], pa.float32()), "fare_amount": pa.array([12.0], pa.float16())},
    "whole floats": {name: pa.array([1.0]) for name in ("VendorID", "passenger_count", "RatecodeID", "payment_type")},
    "unsigned": {"passenger_count": pa.array([1], pa.uint64()), "fare_amount": pa.array([12], pa.uint8())},
    "flag": {"store_and_fwd_flag": pa.array([False])},
    "seconds": {"tpep_pickup_datetime": pa.array([ROW["tpep_pickup_datetime"]], pa.timestamp("s"))},
    "nanoseconds": {"tpep_pickup_datetime": pa.array([ROW["tpep_pickup_datetime"]], pa.timestamp("ns"))},
    "word": {"payment_type": category(pa.array(["Credit"]))},
}


@pytest.mark.parametrize("kind", SAME)
def test_a_column_of_another_type_is_cast(tmp_path, kind):
    usual = one(tmp_path / "a-2016-03.parquet")
    assert usual.kept == 1
    other = one(tmp_path / "b-2016-03.parquet", **SAME[kind])
    assert other.trips.equals(usual.trips)
    assert other.unreadable == usual.unreadable


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("fare_amount", pa.array([[12.0]]), "list"),
        ("passenger_count", pa.array([True]), "bool"),
        ("VendorID", pa.array([True]), "bool"),
        ("trip_distance", pa.array([{"miles": 1.5}]), "struct"),
        ("extra", pa.array([time(1)]), "time64"),
        ("tpep_pickup_datetime", pa.array([date(2016, 3, 7)]), "date32"),
        ("tpep_pickup_datetime", pa.array([1_457_366_422]), "int64"),
        ("tpep_dropoff_datetime", pa.array([1_457_366_422.5]), "double"),
        ("store_and_fwd_flag", pa.array([datetime(2016, 3, 7)]), "timestamp"),
    ],
)
def test_a_column_that_cannot_hold_trips_is_refused_by_name(tmp_path, name, array, kind):
    with pytest.raises(SourceError, match=rf"the column '{name}' of .*a-2016-03.parquet is of type {kind}") as info:
        one(tmp_path / "a-2016-03.parquet", **{name: array})
    assert "damaged" not in str(info.value)
    expected = "dates with a time of day: timestamps, or texts" if name.endswith("datetime") else " numbers"
    assert expected in str(info.value)
    if kind == "date32":
        assert "a date without a time of day, where pickup_datetime has dates" in str(info.value)


def test_a_value_that_would_change_is_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"the column 'tip_amount' of .* has a value that a float64 cannot hold"):
        one(tmp_path / "a-2016-03.parquet", tip_amount=pa.array([2**53 + 1]))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    ("zone", "wall", "zoned"),
    [
        (None, "2016-03-07 21:00:22", {}),
        *((zone, "2016-03-07 21:00:22", {"utc": 2}) for zone in ("UTC", "Etc/UTC", "GMT", "+00:00")),
        *((zone, "2016-03-07 16:00:22", {"converted": 2}) for zone in ("America/New_York", "Europe/Paris", "-05:00")),
    ],
)
def test_zones(tmp_path, unit, zone, wall, zoned):
    times = (
        pa.array([datetime(2016, 3, 7, 21, 0, 22)], pa.timestamp(unit)).cast(pa.int64()).cast(pa.timestamp(unit, zone))
    )
    path = tmp_path / "a-2016-03.parquet"
    result = one(path, tpep_pickup_datetime=times, tpep_dropoff_datetime=times)
    assert str(result.trips["pickup_datetime"][0].as_py()) == wall
    assert result.zoned == zoned
    assert count_block(*find_sources(path)[0].blocks(), space=Grid.new_york(), slot_seconds=1800).zoned == zoned
    note = td.Lake(tmp_path / "lake").ingest(path).sources[0].note
    assert ("marked UTC" in note, "other zones" in note) == ("utc" in zoned, "converted" in zoned)


def test_times_that_no_clock_shows(tmp_path):
    far = pa.array([2**62, -(2**62), None, 0], pa.timestamp("ms", "UTC"))
    result = one(tmp_path / "a.parquet", tpep_pickup_datetime=far)
    assert result.rejects["reason"].to_pylist() == ["bad_datetime"] * 3 + ["duration_over_24h"]
    assert result.rejects["offset"].to_pylist() == [0, 1, 2, 3]


def test_texts_that_are_no_utf8_are_read_as_latin_1(tmp_path):
    """A file that says it holds text need not: what one byte makes unreadable fails no source, and no run."""

    def text(*words):
        raw = pa.array(words, pa.binary())
        return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())

    for wrap in (pa.array, category):
        result = one(
            tmp_path / "a-2016-03.parquet", VendorID=wrap(text(b"caf\xe9", "caf\u00e9".encode())),
            trip_distance=pa.array([1.5, 0.0]), store_and_fwd_flag=wrap(text(b"\xff", b"\xff")),
        )  # fmt: skip
        assert result.trips["vendor_id"].to_pylist() == ["caf\u00e9"]
        assert result.trips["store_and_fwd_flag"].to_pylist() == ["\u00ff"]
        assert "\\u00ff" in result.rejects["line"][0].as_py()
    bad = text(b"2016-03-07 16:\xb70:22")
    result = one(tmp_path / "b-2016-03.parquet", tpep_pickup_datetime=bad)
    assert result.rejects["reason"].to_pylist() == ["bad_datetime"]
    assert result.examples == {"bad_datetime": "2016-03-07 16:\u00b70:22"}


NUMBERS = st.sampled_from(["1", "2.5", "-3", "", "1e400", "inf", "nan", "NaN", "x", "40000", "0.1", "7", "1.0", " 4 "])
WORDS = st.sampled_from(["1", "1.0", "1.5", "", " a\t", "v" * 64, "v" * 65, "é" * 33, "CMT", "-2.00"])
PAYMENTS = st.sampled_from(["Cash", "no charge", "CRE", "disp", "c"])
TIMES = st.sampled_from(["2016-03-07 16:00:22", "3/7/2016 16:00", "2016-02-30 00:00:00", "", "noon"])
FIELDS = {
    **dict.fromkeys(["VendorID", "store_and_fwd_flag"], WORDS),
    **dict.fromkeys(["passenger_count", "trip_distance", "RatecodeID", "fare_amount", "extra", "tip_amount"], NUMBERS),
    "payment_type": NUMBERS | PAYMENTS,
    "pickup_longitude": st.sampled_from(["-73.9", "", "inf"]),
    "tpep_pickup_datetime": TIMES,
}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=1, max_size=12), st.data())
def test_csv_and_parquet_end_in_the_same_table(tmp_path_factory, changes, data):
    rows = [{name: str(value) for name, value in ROW.items()} | change for change in changes]
    folder = tmp_path_factory.mktemp("same", numbered=True)
    lines = [",".join(ROW), *(",".join(row.values()) for row in rows)]
    (folder / "2016-03.csv").write_text("\n".join(lines) + "\n")
    arrays = {}
    for name in ROW:
        texts = [row[name] for row in rows]
        arrays[name] = pa.array(texts)
        if data.draw(st.booleans()):
            arrays[name] = _as_numbers(name, texts)
        if data.draw(st.booleans()):
            arrays[name] = arrays[name].dictionary_encode()
    pq.write_table(pa.table(arrays), folder / "2016-03.parquet")
    [csv], [parquet] = (
        list(read_block(*find_sources(folder / f"2016-03.{end}")[0].blocks())) for end in ("csv", "parquet")
    )
    assert parquet.rejected == csv.rejected
    assert parquet.rejects["reason"].to_pylist() == csv.rejects["reason"].to_pylist()
    assert parquet.trips.equals(csv.trips)
    assert parquet.unreadable == csv.unreadable
    assert parquet.examples == csv.examples


def _as_numbers(name, texts):
    """The same values as floats, where all are numbers: what is missing is NaN."""
    # a number is no time; as text "nan" is no number, as float it is none given
    if name.endswith("datetime") or "nan" in "".join(texts).lower():
        return pa.array(texts)
    try:
        return pa.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return pa.array(texts)

"""Any cutting of any file gives the same rows, and they are those of the slow reader."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import oracle
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxidask.errors import SourceError
from taxidask.sample import make_sample
from taxidask.trips import REASONS, Block, Rules, find_sources, read_block, streams
from taxidask.trips.eras import ERAS

HEADER = ",".join(ERAS[4].header)
GOOD = {
    "VendorID": ["1", "2", "CMT", "", ' "x"', '"a ""b"" c"'],
    "tpep_pickup_datetime": ["2015-01-15 19:05:39", "2015-01-31 23:59:59", "2015-01-01 00:00:00"],
    "tpep_dropoff_datetime": ["2015-01-15 19:23:42", "2015-02-01 00:10:00", "2015-01-31 23:59:59"],
    "passenger_count": ["1", "9", "", "2.0", '"3"'],
    "trip_distance": ["1.59", ".70", "100", "3"],
    "pickup_longitude": ["-73.993896484375", "-74.3", "-73.7"],
    "pickup_latitude": ["40.750110626220703", "41.0", "40.5"],
    "RatecodeID": ["1", "99", "", "1.0"],
    "store_and_fwd_flag": ["N", "Y", "", '","'],
    "dropoff_longitude": ["-73.974784851074219", "-73.95"],
    "dropoff_latitude": ["40.750617980957031", "40.7"],
    "payment_type": ["1", "2", "Cash", "CRD", "No Charge", "", "UNKNOWN", "dispute"],
    "fare_amount": ["12", "14.5", "500", "0.01", "1e2"],
    "extra": ["1", "0", "-0.5", ""],
    "mta_tax": ["0.5"],
    "tip_amount": ["3.25", "0", '"1,5"', "?"],
    "tolls_amount": ["0", "5.33"],
    "improvement_surcharge": ["0.3"],
    "total_amount": ["17.05", "10.8"],
}
ODD = [
    "",
    "0",
    "-1",
    "x",
    "1e400",
    "101",
    "500.01",
    "2015-02-29 00:00:00",
    "2015-01-15 24:00:00",
    "2014-12-31 23:59:59",
    "2015-1-15 19:05:39",
    '"',
    '"a"b',
    '""',
    "10",
    "0.5",
    "-0",
    "nan",
    "-73.69999999",
    " 1 ",
    "é",
    "1/15/2015 1:02:03 PM",
]


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    fields = [draw(st.sampled_from(values)) for values in GOOD.values()]
    if draw(st.integers(0, 2)) == 0:
        fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(ODD))
    match draw(st.integers(0, 20)):
        case 0:
            fields.append("")
        case 1:
            fields.pop()
        case 2:
            return draw(st.sampled_from([b"", b"\r", b" ", b",", b"\x00", b",,\xff,"]))
    return ",".join(fields).encode("latin-1")


@st.composite
def files(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    raw = (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
        + HEADER.encode()
        + b"\n"
        + draw(st.sampled_from([b"", b"\r\n", b"\n"]))
    )
    lines = draw(st.lists(rows(), max_size=25))
    return raw + end.join(lines) + draw(st.sampled_from([b"", end]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuts")


@settings(max_examples=50, deadline=None)
@given(files(), st.data())
def test_any_cutting_gives_the_same_rows(folder, raw, data):
    path = folder / "yellow_2015-01.csv"
    path.write_bytes(raw)
    source = find_sources(path)[0]
    expected = oracle.slow_read(raw, "2015-01")
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    borders = [0, *sorted(set(cuts) - {0, len(raw)}), len(raw)]
    chunk = data.draw(st.sampled_from([64, 500, 1 << 20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK_BYTES", chunk)
        patch.setattr(streams, "_BEYOND_BYTES", min(chunk, 100))
        blocks = [Block(source, low, high) for low, high in pairwise(borders)]
        oracle.assert_same([result for block in blocks for result in read_block(block)], expected)


def test_commas_in_quotes_are_no_fields_of_a_layout(tmp_path):
    row = (
        HEADER.encode()
        + b"""
1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,1.59,-73.99,40.75,1,",",-73.97,40.75,1,12,1,0.5,"1,5",0,0.3,17.05
"""
    )
    path = tmp_path / "yellow_2015-01.csv"
    path.write_bytes(row)
    kept, rejects, unreadable = oracle.slow_read(row, "2015-01")
    assert (len(kept), rejects, unreadable) == (1, [], Counter(tip_amount=1))
    oracle.assert_same(list(read_block(*find_sources(path)[0].blocks())), (kept, rejects, unreadable))


def test_rows_past_one_chunk_and_blocks_of_8_mib(tmp_path):
    row = (
        b"1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,1.59,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05\n"
    )
    path = tmp_path / "yellow_2015-01.csv"
    path.write_bytes(HEADER.encode() + b"\n" + row * 200_000)
    source = find_sources(path)[0]
    parts = [list(read_block(block)) for block in source.blocks(8 << 20)]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert sum(part[0].kept for part in parts) == 200_000
    [whole] = read_block(*source.blocks(32 << 20))
    assert pa.concat_tables([part[0].trips for part in parts]).equals(whole.trips)
    assert whole.content == [part[0].content[0] for part in parts]
    assert sum(part[0].bytes for part in parts) == whole.bytes == source.size


def test_only_the_columns_asked_for(tmp_path):
    path = tmp_path / "month.csv"
    path.write_text(HEADER + "\n" + ",".join(values[0] for values in GOOD.values()).replace("3.25", "?") + "\n")
    [result] = read_block(*find_sources(path)[0].blocks(), columns=["fare_amount", "vendor_id", "airport_fee"])
    assert result.trips.to_pylist() == [{"fare_amount": 12.0, "vendor_id": "1", "airport_fee": None}]
    assert result.unreadable == {"fare_amount": 0, "vendor_id": 0}
    [result] = read_block(*find_sources(path)[0].blocks(), columns=["tip_amount"])
    assert (result.trips["tip_amount"].to_pylist(), result.unreadable) == ([None], {"tip_amount": 1})


def test_many_different_texts_are_said_to_be_unreadable_beyond_a_thousand(tmp_path):
    fields = [values[0] for values in GOOD.values()]
    path = tmp_path / "month.csv"
    path.write_text(HEADER + "\n" + "".join(",".join([f"v{k}", *fields[1:]]) + "\n" for k in range(1200)))
    [result] = read_block(*find_sources(path)[0].blocks())
    assert result.unreadable["vendor_id"] == 200
    assert result.trips["vendor_id"].to_pylist() == [f"v{k}" for k in range(1000)] + [None] * 200


def test_thresholds_are_the_rules(tmp_path):
    path = tmp_path / "month.csv"
    path.write_text(HEADER + "\n" + ",".join(values[0] for values in GOOD.values()) + "\n")
    block = find_sources(path)[0].blocks()[0]
    for rules, reason in [
        (Rules(max_duration_hours=0.3), "duration_over_24h"),
        (Rules(max_distance_miles=1.5), "distance_over_100mi"),
        (Rules(max_fare=11.99), "fare_out_of_range"),
        (Rules(min_passengers=2), "passenger_count"),
        (Rules(east=-73.98), "outside_city"),
    ]:
        [result] = read_block(block, rules=rules)
        assert {name: count for name, count in result.rejected.items() if count} == {reason: 1}


def test_a_row_without_end_is_no_csv(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LONGEST_ROW", 1 << 20)
    path = tmp_path / "month.csv"
    path.write_bytes(HEADER.encode() + b"\n" + b"x" * (3 << 20))
    with pytest.raises(SourceError, match="row of more than"):
        list(read_block(*find_sources(path)[0].blocks()))


def test_a_file_that_shrinks_is_said_so(tmp_path):
    path = tmp_path / "month.csv"
    path.write_text(HEADER + "\n1,2\n")
    source = find_sources(path)[0]
    block = Block(replace(source, size=source.size + 100), 0, source.size + 100)
    with pytest.raises(SourceError, match="changed while it was read"):
        list(read_block(block))


@pytest.mark.parametrize("month", ["2009-05", "2012-03", "2014-02", "2015-03", "2016-08", "2017-05", "2019-03"])
def test_made_up_months_of_every_era_with_every_fault(tmp_path, month):
    [path] = make_sample(tmp_path, start=month, trips_per_month=1500, faults=0.3)
    expected = oracle.slow_read(Path(path).read_bytes(), month)
    assert {reason for _, _, reason in expected[1]} == set(REASONS)
    oracle.assert_same(list(read_block(*find_sources(path)[0].blocks())), expected)

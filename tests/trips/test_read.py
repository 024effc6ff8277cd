from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
import zstandard

import taxidask as td
from taxidask.errors import SourceError, SpaceError
from taxidask.space import Grid
from taxidask.storage import Storage
from taxidask.trips import REJECT_SCHEMA, TRIP_SCHEMA, Rules, count_block, find_sources, read_block
from taxidask.trips.eras import ERAS

HEADER = ",".join(ERAS[4].header) + "\r\n"
ROW = "1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,1.59,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05\r\n"
BAD = "1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,0,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05\r\n"


def month(rows: int = 30_000) -> bytes:
    lines = [ROW.replace("3.25", f"{k % 997}.25").replace("19:05:39", f"19:05:{k % 60:02}") for k in range(rows)]
    lines[::7] = [BAD] * len(lines[::7])
    return (HEADER + "".join(lines)).encode()


def read(path, **options):
    return [result for block in find_sources(path)[0].blocks() for result in read_block(block, **options)]


def joined(results):
    return pa.concat_tables([result.trips for result in results]), pa.concat_tables([r.rejects for r in results])


@pytest.mark.parametrize("kind", ["gzip", "two gzip members", "zstd", "two zstd frames", "padded gzip"])
def test_compressed_files_are_read_as_a_stream(tmp_path, kind):
    raw = month()
    half = len(raw) // 2
    pack = zstandard.ZstdCompressor().compress if "zstd" in kind else gzip.compress
    packed = pack(raw[:half]) + pack(raw[half:]) if "two" in kind else pack(raw)
    packed += b"\0" * 512 if "padded" in kind else b""
    (tmp_path / "2015-01.csv").write_bytes(raw)
    (tmp_path / "2015-01.csv.packed").write_bytes(packed)
    plain = read(tmp_path / "2015-01.csv")
    results = read(tmp_path / "2015-01.csv.packed", result_bytes=1 << 20)
    assert len(results) >= 3
    trips, rejects = joined(results)
    assert trips.equals(joined(plain)[0])
    assert rejects.drop_columns("source").equals(joined(plain)[1].drop_columns("source"))
    assert sum(result.bytes for result in results) == len(packed)
    assert [piece for result in results for piece in result.content] == [xxhash.xxh3_128(packed).hexdigest()]
    counts = count_block(
        *find_sources(tmp_path / "2015-01.csv.packed")[0].blocks(), space=Grid.new_york(), slot_seconds=900
    )
    assert counts.kept == trips.num_rows


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [0.5, 0.9, -1])
def test_a_truncated_file_says_how_far_it_was_readable(tmp_path, kind, cut):
    raw = month()
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(raw) if kind == "zstd" else gzip.compress(raw)
    packed = packed[: cut if cut < 0 else int(len(packed) * cut)]
    path = tmp_path / "2015-01.csv.gz"
    path.write_bytes(packed)
    for run in (
        lambda: read(path),
        lambda: count_block(*find_sources(path)[0].blocks(), space=Grid.new_york(), slot_seconds=900),
    ):
        with pytest.raises(SourceError) as info:
            run()
        message = str(info.value)
        assert str(path) in message
        assert f"truncated or damaged {kind}" in message
        assert f"of {len(packed):,}" in message
        assert "bytes unpacked" in message


def test_a_damaged_gzip(tmp_path):
    packed = bytearray(gzip.compress(month()))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    (tmp_path / "a.csv.gz").write_bytes(packed)
    with pytest.raises(SourceError, match="damaged gzip"):
        read(tmp_path / "a.csv.gz")


def test_storages_other_than_the_disk(tmp_path):
    raw = month()
    storage = Storage()
    storage.write("memory://reader/2015-01.csv", raw)
    (tmp_path / "2015-01.csv").write_bytes(raw)
    [block] = find_sources("memory://reader/2015-01.csv", storage=storage)[0].blocks()
    [result] = read_block(block, storage=storage)
    [local] = read(tmp_path / "2015-01.csv")
    assert result.trips.equals(local.trips)
    assert result.content == local.content == [xxhash.xxh3_128(raw).hexdigest()]


def test_content_is_the_hash_of_each_8_mib(tmp_path):
    raw = month(170_000)
    path = tmp_path / "2015-01.csv"
    path.write_bytes(raw)
    pieces = [xxhash.xxh3_128(raw[at : at + (8 << 20)]).hexdigest() for at in range(0, len(raw), 8 << 20)]
    assert len(pieces) == 3
    source = find_sources(path)[0]
    for size in (8 << 20, 16 << 20, 64 << 20):
        assert [piece for block in source.blocks(size) for r in read_block(block) for piece in r.content] == pieces
        counts = [count_block(block, space=Grid.new_york(), slot_seconds=1800) for block in source.blocks(size)]
        assert [piece for part in counts for piece in part.content] == pieces


def test_a_month_without_one_valid_row(tmp_path):
    (tmp_path / "2015-02.csv").write_text(HEADER + ROW + BAD)
    [result] = read(tmp_path / "2015-02.csv")
    assert (result.rows, result.kept, result.rejected["outside_month"]) == (2, 0, 2)
    counts = count_block(*find_sources(tmp_path / "2015-02.csv")[0].blocks(), space=Grid.new_york(), slot_seconds=1800)
    assert (counts.kept, counts.counts.shape, counts.slots, counts.first_pickup) == (0, (0, 600, 2), (0, 0), None)
    (tmp_path / "2015-03.csv").write_text(HEADER)
    [result] = read(tmp_path / "2015-03.csv")
    assert (result.rows, result.trips.schema, result.rejects.schema) == (0, TRIP_SCHEMA, REJECT_SCHEMA)


def test_rejects_keep_the_raw_line(tmp_path):
    odd = b'\xff\xfe,"a,b\x00'
    (tmp_path / "x.csv").write_bytes(HEADER.encode() + ROW.encode() + odd + b"\r\n" + BAD.encode())
    [result] = read(tmp_path / "x.csv")
    lines = result.rejects.to_pylist()
    assert [line["reason"] for line in lines] == ["malformed", "non_positive_distance"]
    assert lines[0]["line"].encode("latin-1") == odd
    assert lines[0]["offset"] == len(HEADER) + len(ROW)
    assert lines[0]["source"] == str(tmp_path / "x.csv")


def test_counts_without_a_month_keep_what_is_far_away(tmp_path):
    late = ROW.replace("2015-01-15", "2019-07-04")
    early = ROW.replace("2015-01-15", "1969-12-31")
    (tmp_path / "x.csv").write_text(HEADER + ROW + late + early + ROW)
    counts = count_block(*find_sources(tmp_path / "x.csv")[0].blocks(), space=Grid.new_york(), slot_seconds=1800)
    assert counts.kept == 4
    assert len(counts.stray_slots) == 4
    first, stop = counts.slots
    assert first == -10
    cube = np.zeros((stop - first, 600, 2), np.int32)
    counts.add_to(cube, first)
    assert cube.sum(axis=(1, 2))[[0, -1]].tolist() == [2, 2]
    assert cube.sum() == 8
    half = np.zeros((1, 600, 2), np.int32)
    counts.add_to(half, 0)
    assert half.sum() == 0
    assert (counts.first_pickup, counts.last_pickup) == (-17661, 1562267139)


def test_counts_of_parquet_equal_those_of_csv(tmp_path):
    (tmp_path / "2015-01.csv").write_bytes(month())
    trips, _ = joined(read(tmp_path / "2015-01.csv"))
    names = {
        "vendor_id": "VendorID",
        "pickup_datetime": "tpep_pickup_datetime",
        "dropoff_datetime": "tpep_dropoff_datetime",
    }
    names |= {"rate_code_id": "RatecodeID"}
    table = trips.select([name for name in ERAS[4].columns if name])
    pq.write_table(
        table.rename_columns([names.get(name, name) for name in table.column_names]), tmp_path / "p-2015-01.parquet"
    )
    again, _ = joined(read(tmp_path / "p-2015-01.parquet"))
    assert again.equals(trips)
    one, other = (
        count_block(*find_sources(tmp_path / name)[0].blocks(), space=Grid.new_york(), slot_seconds=1800)
        for name in ("2015-01.csv", "p-2015-01.parquet")
    )
    assert one.first_slot == other.first_slot
    assert (one.counts == other.counts).all()
    assert one.outside == other.outside


def test_a_grid_refuses_zone_ids(data):
    [block] = find_sources(data / "recent" / "yellow_tripdata_sample_2019-01.csv")[0].blocks()
    with pytest.raises(SpaceError, match="Zones"):
        count_block(block, space=Grid.new_york(), slot_seconds=1800)


def test_zone_counts(data):
    space = td.Zones(data / "zones" / "taxi_zones.geojson")
    [block] = find_sources(data / "recent" / "yellow_tripdata_sample_2019-01.csv")[0].blocks()
    counts = count_block(block, space=space, slot_seconds=1800)
    [result] = read_block(block)
    for direction, end in enumerate(("pickup", "dropoff")):
        ids = result.trips[f"{end}_location_id"].to_numpy()
        assert counts.counts[:, :, direction].sum() + (counts.stray_directions == direction).sum() == len(ids)
        assert (np.bincount(space.locate_ids(ids), minlength=263) == counts.counts[:, :, direction].sum(axis=0)).all()


def test_read_trips(tmp_path, data):
    (tmp_path / "2015-01.csv").write_bytes(month(100))
    trips, rejects = td.read_trips(tmp_path / "2015-01.csv", columns=["pickup_datetime", "fare_amount"])
    assert (len(trips), len(rejects), list(trips)) == (85, 15, ["pickup_datetime", "fare_amount"])
    trips, rejects = td.read_trips(tmp_path / "2015-01.csv", month="2016-01")
    assert (len(trips), set(rejects["reason"])) == (0, {"outside_month"})
    with pytest.raises(SourceError, match="15 files"):
        td.read_trips(data / "trips")
    with pytest.raises(SourceError, match="no column 'fare_amout'; the nearest are fare_amount"):
        td.read_trips(tmp_path / "2015-01.csv", columns=["fare_amout"])


@pytest.mark.parametrize("mib", [16, 64])
def test_a_block_needs_less_than_six_times_its_bytes(tmp_path, mib):
    path = tmp_path / "2015-01.csv"
    lines = month(50_000)[len(HEADER) :]
    path.write_bytes(HEADER.encode() + lines * ((mib << 20) // len(lines) + 1))
    script = f"""
import resource, gc
from taxidask.trips import find_sources, read_block
block = find_sources({str(path)!r})[0].blocks({mib} << 20)[0]
small = find_sources({str(path)!r})[0].blocks(8 << 20)[-1]
list(read_block(small)); gc.collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
[result] = read_block(block)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, result.rows)
"""
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120).stdout
    peak, rows = out.split()
    assert int(rows) > 100_000
    assert float(peak) < 3 * mib


def test_parquet_with_texts_as_of_2009(tmp_path):
    good = ["VTS", "2009-01-04 02:52:00", "2009-01-04 03:02:00", 1, 2.63, -73.99, 40.72, None, None, -73.99, 40.69]
    good += ["CASH", 8.9, 0.5, None, 0.0, 0.0, 9.4, 7]
    changes = [
        ({}, None),
        ({1: "2009-02-30 00:00:00"}, "bad_datetime"),
        ({2: None}, "bad_datetime"),
        ({1: "2009-01-04"}, "bad_datetime"),
        ({4: None}, "malformed"),
        ({6: float("nan")}, "malformed"),
        ({3: None, 11: "Credit"}, None),
        ({11: "barter", 0: " "}, None),
        ({12: 500.01}, "fare_out_of_range"),
        ({2: "2009-01-04 02:51:59"}, "negative_duration"),
        ({3: 208}, "passenger_count"),
    ]
    rows = [[change.get(k, value) for k, value in enumerate(good)] for change, _ in changes]
    names = [*ERAS[0].header, "__index_level_0__"]
    table = pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)})
    pq.write_table(table, tmp_path / "2009-01.parquet")
    [result] = read(tmp_path / "2009-01.parquet")
    assert result.rejects["reason"].to_pylist() == [reason for _, reason in changes if reason]
    assert result.rejects["offset"].to_pylist() == [k for k, (_, reason) in enumerate(changes) if reason]
    assert '"Trip_Pickup_DateTime": "2009-02-30 00:00:00"' in result.rejects["line"][0].as_py()
    assert result.trips["payment_type"].to_pylist() == [2, 1, None]
    assert result.trips["vendor_id"].to_pylist() == ["VTS", "VTS", None]
    assert result.trips["passenger_count"].to_pylist() == [1, None, 1]
    assert result.unreadable["payment_type"] == 1
    assert result.trips.schema == TRIP_SCHEMA


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_passengers": 6, "max_passengers": 2}, "min_passengers 6 is above max_passengers 2"),
        ({"west": -73.0}, "west -73.0 is above east -73.7"),
        ({"north": float("nan")}, "above north nan"),
        ({"max_fare": -1}, "max_fare is -1"),
        ({"max_duration_hours": float("inf")}, "max_duration_hours is inf"),
    ],
)
def test_rules_by_which_no_row_would_be_kept_are_refused(given, message):
    with pytest.raises(td.TaxidaskError, match=message):
        Rules(**given)

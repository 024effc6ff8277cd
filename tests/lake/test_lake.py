from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import CubeError, LakeError, RunError, SourceError, SpaceError, StorageError
from taxidask.lake import Lake, tasks
from taxidask.sample import make_sample
from taxidask.storage import Storage, counted, join
from taxidask.trips import find_sources, read_trips, sources, streams
from taxidask.trips.rules import Rules

RANGE = 4096


@pytest.fixture
def small(monkeypatch):
    """Ranges of the content hash and blocks so small that small files have many."""
    monkeypatch.setattr(sources, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(streams, "RANGE_BYTES", RANGE)
    return RANGE


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return make_sample(
        tmp_path_factory.mktemp("source"), start="2015-01", months=3, trips_per_month=400, seed=5, faults=0.1
    )


@pytest.fixture
def files(pristine, tmp_path):
    """January to March, for a test to change."""
    folder = tmp_path / "source"
    folder.mkdir()
    return [shutil.copy(file, folder) for file in pristine]


@pytest.fixture(params=["file", "memory", "s3"])
def url(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket") + "/lake"
    return str(tmp_path / "lake") if request.param == "file" else f"memory://{tmp_path.name}-{os.urandom(4).hex()}"


@pytest.fixture
def lake(tmp_path):
    return Lake(f"memory://{tmp_path.name}-{os.urandom(4).hex()}")


def ingest(lake, files, **options):
    return lake.ingest(files, client=ThreadExecutor(2), **options)


def contents(lake):
    """What queries give, as text to compare."""
    cube = lake.cube()
    return (
        lake.trips().to_csv(), lake.rejects().to_csv(), lake.sources().drop(columns=["seconds", "version"]).to_csv(),
        str(cube.start), cube.counts.tobytes(), cube.missing.tobytes(),
    )  # fmt: skip


# --- reading ---------------------------------------------------------------------------------------------------------


def test_ingest_and_again(url, files):
    lake = Lake(url)
    first = ingest(lake, files)
    assert first.rows == 1200
    assert first.kept + sum(first.rejected.values()) == first.rows
    assert [source.url for source in first.sources] == files
    assert not any(source.skipped for source in first.sources)
    assert all(source.note.startswith("there are times that cannot be read, like") for source in first.sources)
    before, state = contents(lake), lake.fingerprint()

    seen: list = []
    with counted(Storage(), seen) as storage:
        second = ingest(Lake(url, storage=storage), files)
    assert all(source.skipped for source in second.sources)
    assert (second.rows, second.kept, second.bytes) == (first.rows, first.kept, 0)
    assert {op for op, _, _ in seen} <= {"stat", "read", "list"}, "nothing is written"
    assert not [op for op, name, _ in seen if name in files and op == "read"], "what is there is not looked at"
    assert (contents(lake), lake.fingerprint()) == (before, state)


def test_the_lake_holds_what_the_files_do(lake, files):
    ingest(lake, files)
    trips, rejects = zip(*(read_trips(file) for file in files), strict=True)
    expected = pd.concat(trips).sort_values("pickup_datetime", kind="stable", ignore_index=True)
    found = lake.trips()
    assert found.astype("object").equals(expected.astype("object").where(expected.notna(), found.astype("object")))
    for name in ("fare_amount", "pickup_longitude", "total_amount"):
        assert found[name].tolist() == expected[name].tolist()
    expected = pd.concat(rejects, ignore_index=True)
    assert lake.rejects().to_dict("list") == expected.astype({"reason": "str"}).to_dict("list")


def test_every_kept_row_is_counted(lake, files):
    ingest(lake, files)
    grid, cube = lake.space, lake.cube()
    trips = lake.trips()
    slots = (trips["pickup_datetime"] - cube.start) // cube.slot
    cells = grid.locate(trips["pickup_longitude"], trips["pickup_latitude"])
    expected = np.zeros(cube.counts.shape, np.int64)
    np.add.at(expected, (slots[cells >= 0], cells[cells >= 0], 0), 1)
    slots = (trips["dropoff_datetime"] - cube.start) // cube.slot
    cells = grid.locate(trips["dropoff_longitude"], trips["dropoff_latitude"])
    inside = (cells >= 0) & (slots < len(cube))
    np.add.at(expected, (slots[inside], cells[inside], 1), 1)
    assert (cube.counts == expected).all()
    outside = sum(source.outside[0] for source in ingest(lake, files).sources)
    assert int(cube.counts[..., 0].sum()) + outside == len(trips)


def test_blocks_do_not_matter(lake, files, small, tmp_path):
    ingest(lake, files, block_size=small)
    whole = Lake(tmp_path / "whole")
    ingest(whole, files)
    assert contents(lake) == contents(whole)
    assert len(lake.sources()["content"].unique()) == 3


def test_gzip_zstd_and_parquet_sources(lake, files, tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    name = folder / "yellow_tripdata_2015-01.csv.gz"
    name.write_bytes(gzip.compress(Path(files[0]).read_bytes()))
    result = ingest(lake, [str(name), files[1]])
    assert result.rows == 800
    assert not any(source.duplicate_of for source in result.sources)


def test_real_months(lake, data):
    files = sorted(str(file) for file in (data / "trips").glob("*2015-0[1-3].csv"))
    result = ingest(lake, files)
    assert result.rows == sum(len(Path(file).read_bytes().splitlines()) - 1 for file in files)
    assert set(result.rejected) >= {"non_positive_distance", "outside_city"}


def test_sources_lists_reasons(lake, files):
    ingest(lake, files)
    listed = lake.sources()
    assert list(listed["month"]) == ["2015-01", "2015-02", "2015-03"]
    assert (listed["kept"] + listed["rejected"] == listed["rows"]).all()
    assert (listed[list(td.trips.REASONS)].sum(axis=1) == listed["rejected"]).all()
    assert listed["malformed"].sum() > 0
    trips = lake.trips(columns=["pickup_datetime", "fare_amount"])
    paid = trips.groupby(trips["pickup_datetime"].dt.strftime("%Y-%m"))["fare_amount"].sum()
    assert listed.set_index("month")["fares"].tolist() == paid.round(2).tolist()


def test_rejects_of_a_source_and_a_reason(lake, files):
    ingest(lake, files)
    some = lake.rejects(source=files[1], reason="malformed")
    assert set(some["source"]) == {files[1]}
    assert set(some["reason"]) == {"malformed"}
    assert len(some) == lake.sources().set_index("url").loc[files[1], "malformed"]
    raw = Path(files[1]).read_bytes()
    for offset, line in zip(some["offset"], some["line"], strict=True):
        assert raw[offset : offset + len(line)] == line.encode("latin-1")
    assert len(lake.rejects(limit=7)) == 7
    assert len(lake.rejects(source="yellow_tripdata_2015-02.csv")) == len(lake.rejects(source=files[1]))
    with pytest.raises(LakeError, match="has no source"):
        lake.rejects(source="other.csv")
    with pytest.raises(LakeError, match="no reason 'bad'; reasons are malformed"):
        lake.rejects(reason="bad")


def test_reprs(lake, files):
    result = ingest(lake, files)
    assert "3 sources, 3 read, 1,200 rows" in repr(result)
    assert "malformed" in repr(result)
    assert "<table" in result._repr_html_()
    assert len(result.to_pandas()) == 3
    assert "3 sources" in repr(lake)
    assert "2015-01-01 to 2015-03-31" in repr(lake)
    assert "<table" in lake._repr_html_()


def test_on_block_and_block_size(lake, files, small):
    told: list[dict] = []
    ingest(lake, files[:1], block_size=small, on_block=told.append)
    size = os.path.getsize(files[0])
    assert sorted(block["start"] for block in told) == list(range(0, size, small))
    assert sum(block["bytes"] for block in told) == size == told[0]["total_bytes"]
    assert sum(block["rows"] for block in told) == 400
    assert set(told[0]) >= {"source", "start", "stop", "rows", "kept", "rejected", "bytes", "seconds", "total_bytes"}
    for wrong in (small + 1, 0, "many"):
        with pytest.raises(LakeError, match=r"block_size"):
            ingest(lake, files, block_size=wrong)


# --- one space and slot ----------------------------------------------------------------------------------------------


def test_a_lake_has_one_space_and_one_slot(lake, files):
    grid = td.Grid(4, 4, west=-74.05, south=40.6, east=-73.75, north=40.9)
    ingest(lake, files[:1], space=grid, slot="1h")
    assert lake.space == grid
    assert lake.slot == pd.Timedelta("1h")
    ingest(lake, files[1:2])
    with pytest.raises(LakeError, match=r"counts in Grid\(4, 4.*not in Grid\(24, 25.*lake\.recount\(space=…\)"):
        ingest(lake, files, space=td.Grid.new_york())
    with pytest.raises(LakeError, match=r"slots of 60 min, not 15min.*recount"):
        ingest(lake, files, slot="15min")
    with pytest.raises(CubeError, match="a day is no whole number of slots"):
        ingest(lake, files, slot="7min")
    assert len(lake.sources()) == 2


def test_recount_equals_counting_anew(url, files, tmp_path):
    lake = Lake(url)
    grid = td.Grid(7, 5, west=-74.05, south=40.6, east=-73.75, north=40.9)
    ingest(lake, files)
    report = lake.recount(space=grid, slot="15min")
    other = Lake(tmp_path / "other")
    result = ingest(other, files, space=grid, slot="15min")
    assert lake.cube() == other.cube()
    assert [tuple(row) for row in report[["outside_pickups", "outside_dropoffs"]].to_numpy()] == [
        source.outside for source in result.sources
    ]
    assert (lake.space, lake.slot) == (grid, pd.Timedelta("15min"))
    assert lake.recount(space=grid).equals(report), "counting again changes nothing"
    ingest(lake, files)


def test_a_source_none_of_whose_trips_lies_in_the_space(lake, files):
    elsewhere = td.Grid(2, 2, west=10.0, south=50.0, east=11.0, north=51.0)
    result = ingest(lake, files, space=elsewhere)
    cube = lake.cube()
    assert cube.counts.sum() == 0
    assert sum(source.outside[0] for source in result.sources) == result.kept > 0
    lake.recount(space=td.Grid.new_york())
    assert lake.cube().counts.sum() > 0
    lake.recount(space=elsewhere)
    assert lake.cube(start=cube.start, end=cube.end) == cube


def test_a_source_that_comes_in_while_the_lake_is_recounted(lake, files):
    """It was counted in the old space; its counts in the new one are made from its trips."""
    ingest(lake, files[:2])
    report = tasks.Manifests(lake.url, lake.storage)
    lake.recount(slot="1h")
    for stat in lake.storage.list(join(lake.url, "cube")):
        if "-3600s" in stat.url and report.get(files[0]).id in stat.url:
            lake.storage.delete(stat.url)
    other = Lake(lake.url + "-other")
    ingest(other, files[:2], slot="1h")
    assert lake.cube() == other.cube()


@pytest.fixture
def zoned(tmp_path):
    """A file of January 2018, which names zones."""
    header = "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
    header += "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,"
    header += "tolls_amount,improvement_surcharge,total_amount"
    row = "1,2018-01-01 00:{:02}:00,2018-01-01 01:00:00,1,2.5,1,N,41,{},1,9,0.5,0.5,0,0,0.3,10.3"
    rows = [row.format(minute, 24 + minute) for minute in range(20)]
    file = tmp_path / "yellow_tripdata_2018-01.csv"
    file.write_text("\n".join([header, "", *rows, ""]))
    return file


def test_zone_ids_need_zones(lake, zoned):
    with pytest.raises(SpaceError, match=r"by taxi zone, which Grid\(24.*; count in the taxi zones: space=td\.Zones"):
        ingest(lake, zoned, space=td.Grid.new_york())
    assert lake.storage.list(lake.url) == []
    ingest(lake, zoned, space="zones")
    assert lake.space is td.Zones()
    assert lake.cube().total() == (20, 20)
    with pytest.raises(SpaceError, match="by taxi zone"):
        lake.recount(space=td.Grid.new_york())
    with pytest.raises(SpaceError, match="by taxi zone"):
        ingest(lake, zoned, space="new_york")


def test_a_new_lake_takes_the_space_that_its_first_sources_can_be_placed_in(files, zoned, tmp_path, capsys):
    points, zones = Lake(tmp_path / "points"), Lake(tmp_path / "zones")
    result = points.ingest(files[:1], progress=True)
    assert points.space == td.Grid.new_york()
    assert result.space.reason == "trips begin and end at points"
    assert "ingest: a new lake, counted in Grid(24, 25" in capsys.readouterr().err
    result = zones.ingest([files[0], zoned], progress=True)  # one of them is enough, and the other is placed there too
    assert zones.space is td.Zones()
    told = "counted in Zones(): yellow_tripdata_2018-01.csv names taxi zones, and points are looked up in them"
    assert told in repr(result)
    assert told in capsys.readouterr().err
    assert zones.cube() == td.count_trips([files[0], zoned])
    # later it is the lake's own, whatever comes, and nothing is told as chosen
    again = zones.ingest(files[1:], progress=True)
    assert again.space == (td.Zones(), "")
    assert "new lake" not in capsys.readouterr().err
    with pytest.raises(SpaceError, match=r"which Grid.* cannot place; .*lake\.recount\(space=td\.Zones\(\)\)"):
        points.ingest(zoned)
    points.recount(space="zones")
    points.ingest(zoned)
    assert points.cube() == td.count_trips([files[0], zoned])


def test_what_cannot_be_read_chooses_no_space(zoned, tmp_path):
    lake, wrong = Lake(tmp_path / "lake"), tmp_path / "yellow_tripdata_2015-01.csv"
    for content, says in ((b"", "is empty"), (b"PAR1 and no more", "no readable Parquet"), (b"a,b\n1,2\n", "header")):
        wrong.write_bytes(content)
        with pytest.raises(SourceError, match=says):
            lake.ingest(wrong)
        result = lake.ingest([wrong], errors="report")
        assert says in str(result.sources[0].error)
        assert result.space.reason == ""
    with pytest.raises(SourceError, match="no source was named"):
        lake.ingest([])
    assert lake.storage.list(lake.url) == []
    assert lake.ingest([wrong, zoned], errors="report").space.space == td.Zones()


def test_two_drivers_at_once_agree_on_the_first_ones_space(files, zoned, tmp_path, monkeypatch):
    """Both find no lake; the other's is written between this one's look and its own writing."""
    from taxidask.lake import layout as module

    def beaten_by(winner):
        written = module.write_layout

        def write(*arguments, **options):
            monkeypatch.setattr(module, "write_layout", written)
            Lake(arguments[0]).ingest(winner)
            return written(*arguments, **options)

        monkeypatch.setattr(module, "write_layout", write)

    lake = Lake(tmp_path / "gridded")
    beaten_by(files[0])
    with pytest.raises(SpaceError, match=r"lake\.recount\(space=td\.Zones\(\)\)"):
        lake.ingest(zoned)
    assert lake.space == td.Grid.new_york()
    assert len(lake.sources()) == 1
    lake = Lake(tmp_path / "zoned")
    beaten_by(zoned)
    assert lake.ingest(files[0]).space == (td.Zones(), "")  # zones can place it
    lake = Lake(tmp_path / "asked")
    beaten_by(zoned)
    with pytest.raises(LakeError, match=r"counts in Zones\(\), not in Grid.*lake\.recount\(space=…\)"):
        lake.ingest(files[0], space="new_york")


def test_there_and_back(files, tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.ingest(files)
    before = lake.cube()
    lake.recount(space=td.Zones())
    assert lake.cube() == td.count_trips(files, space="zones")
    [stored] = [stat for stat in lake.storage.list(join(lake.url, "spaces")) if "zones" in stat.url]
    assert stored.size < 200  # by name and key, not 3.5 MB of borders
    lake.recount(space="new_york")
    assert lake.cube() == before


def test_a_lake_of_other_zones_than_this_package_carries(lake, zoned):
    """A later version may come with others: then the lake's must not be taken for them."""
    ingest(lake, zoned)
    [stored] = lake.storage.list(join(lake.url, "spaces"))
    described = json.loads(lake.storage.read(stored.url))
    key = described["key"][:-3] + "abc"
    other = Lake(lake.url + "-other")
    other.storage.write(join(other.url, "spaces", f"{key}.json"), json.dumps(described | {"key": key}).encode())
    layout = json.loads(lake.storage.read(join(lake.url, "lake.json"))) | {"space_key": key}
    other.storage.write(join(other.url, "lake.json"), json.dumps(layout).encode())
    with pytest.raises(SpaceError, match=r"the zones at hand are not the ones that were stored.*version of taxidask"):
        other.space  # noqa: B018


# --- what a cube covers ----------------------------------------------------------------------------------------------


def late_trip(month, day, file, pickup, dropoff):
    header = "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
    header += "pickup_latitude,rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,"
    header += "fare_amount,surcharge,mta_tax,tip_amount,tolls_amount,total_amount"
    row = f"CMT,{pickup},{dropoff},1,2.5,-73.99,40.75,1,N,-73.98,40.76,CSH,9,0.5,0.5,0,0,10"
    file.write_text(f"{header}\n\n{row}\n{row}\n")
    return str(file)


def test_dropoffs_after_the_month_show_once_their_month_is_there(lake, tmp_path):
    def month(number, pickup, dropoff):
        file = tmp_path / f"yellow_tripdata_2013-{number:02}.csv"
        return late_trip(number, 1, file, pickup, dropoff)

    january = month(1, "2013-01-31 23:50:00", "2013-02-01 00:10:00")
    march = month(3, "2013-03-05 12:00:00", "2013-03-05 12:10:00")
    february = month(2, "2013-02-28 23:50:00", "2013-03-01 00:10:00")
    ingest(lake, january)
    cube = lake.cube()
    assert (str(cube.start), str(cube.end)) == ("2013-01-01 00:00:00", "2013-02-01 00:00:00")
    assert cube.total() == (2, 0)
    assert not cube.missing.any()
    ingest(lake, march)
    cube = lake.cube()
    assert str(cube.end) == "2013-04-01 00:00:00"
    assert cube.total() == (4, 2), "February's slots show nothing of January's trips"
    assert cube.missing[31 * 48 : 59 * 48].all()
    assert cube.missing.sum() == 28 * 48
    ingest(lake, february)
    cube = lake.cube()
    assert not cube.missing.any()
    assert cube.total() == (6, 6)
    some = lake.cube(start="2013-02-28 23:00", end="2013-03-01 01:00")
    assert some == cube.between("2013-02-28 23:00", "2013-03-01 01:00")
    wide = lake.cube(start="2012-12-31", end="2013-01-02")
    assert wide.missing.tolist() == [True] * 48 + [False] * 48
    for wrong in ({"start": "2013-01-01 00:10"}, {"start": "2013-02-02", "end": "2013-02-01"}, {"end": "2012-01-01"}):
        with pytest.raises(LakeError):
            lake.cube(**wrong)


def test_a_source_without_a_month_covers_its_days(lake, tmp_path):
    file = late_trip(1, 1, tmp_path / "some.csv", "2013-01-05 23:50:00", "2013-01-06 00:10:00")
    result = ingest(lake, file)
    assert "outside_month was not checked" in result.sources[0].note
    cube = lake.cube()
    assert (str(cube.start), len(cube)) == ("2013-01-05 00:00:00", 48)
    assert cube.total() == (2, 0)


def test_the_month_can_be_told(lake, tmp_path):
    file = late_trip(1, 1, tmp_path / "some.csv", "2013-01-05 23:50:00", "2013-01-06 00:10:00")
    assert ingest(lake, file, month="2013-01").sources[0].note == ""
    assert len(lake.cube()) == 31 * 48


# --- changed, doubled and broken sources -----------------------------------------------------------------------------


def test_a_changed_source_replaces_what_it_was(url, files, tmp_path):
    lake = Lake(url)
    ingest(lake, files)
    before = lake.fingerprint()
    lines = Path(files[1]).read_bytes().splitlines(keepends=True)
    Path(files[1]).write_bytes(b"".join(lines[:100]))
    result = ingest(lake, files)
    assert [source.skipped for source in result.sources] == [True, False, True]
    assert result.sources[1].rows == 99
    assert lake.fingerprint() != before
    other = Lake(tmp_path / "other")
    ingest(other, files)
    assert contents(lake) == contents(other)
    assert lake.fingerprint() == other.fingerprint()


def test_a_source_that_was_only_touched_gives_the_same(lake, files):
    ingest(lake, files)
    before, state = contents(lake), lake.fingerprint()
    os.utime(files[0], (1, 1))
    assert not ingest(lake, files).sources[0].skipped
    assert (contents(lake), lake.fingerprint()) == (before, state)


def test_other_rules_read_again(lake, files):
    kept = ingest(lake, files).kept
    result = ingest(lake, files, rules=Rules(max_fare=10))
    assert result.kept < kept
    assert not any(source.skipped for source in result.sources)
    assert lake.trips()["fare_amount"].max() <= 10
    assert lake.sources()["kept"].sum() == result.kept


def test_two_names_of_one_content_count_once(url, files):
    lake = Lake(url)
    ingest(lake, files)
    before = lake.trips(), lake.cube(), lake.fingerprint()
    copy = str(Path(files[0]).with_name("copy of yellow_tripdata_2015-01.csv"))
    shutil.copy(files[0], copy)
    for _ in range(2):
        result = ingest(lake, [*files, copy])
        assert result.sources[3].duplicate_of == files[0]
        assert f"same content as {files[0]}" in result.sources[3].note
        assert result.rows == 1200
    assert result.sources[3].skipped
    pd.testing.assert_frame_equal(lake.trips(), before[0])
    assert (lake.cube(), lake.fingerprint()) == before[1:]
    assert lake.sources()["rows"].sum() == 1200
    assert lake.sources().set_index("url").loc[copy, "note"] == f"same content as {files[0]}, counted there"


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_equal_files_the_first_by_name_counts(lake, files, small, order):
    text = Path(files[0]).read_bytes()
    names = [str(Path(files[0]).with_name(f"{letter} yellow_tripdata_2015-01.csv")) for letter in "abc"]
    for name in names:
        Path(name).write_bytes(text)
    result = lake.ingest([names[place] for place in order], client=ThreadExecutor(3), block_size=small)
    told = {source.url: source.duplicate_of for source in result.sources}
    assert told == {names[0]: None, names[1]: names[0], names[2]: names[0]}
    assert lake.sources()["rows"].tolist() == [400, 0, 0]


def test_a_second_name_counts_when_the_first_has_changed(lake, files):
    copy = str(Path(files[0]).with_name("copy of yellow_tripdata_2015-01.csv"))
    shutil.copy(files[0], copy)
    ingest(lake, [files[0], copy])
    lines = Path(files[0]).read_bytes().splitlines(keepends=True)
    Path(files[0]).write_bytes(b"".join(lines[:50]))
    result = ingest(lake, [copy, files[0]])
    assert [source.duplicate_of for source in result.sources] == [None, None]
    assert lake.sources()["rows"].tolist() == [400, 49]


def test_two_sources_that_exchange_their_contents(lake, files):
    ingest(lake, files[:2], month=None)
    first, second = Path(files[0]).read_bytes(), Path(files[1]).read_bytes()
    Path(files[0]).write_bytes(second)
    Path(files[1]).write_bytes(first)
    ingest(lake, files[:2], errors="report")
    assert lake.sources()["rows"].tolist() == [400, 400]
    assert not lake.sources()["note"].str.contains("content").any()


def test_a_claim_whose_manifest_never_came_is_taken_over(url, files):
    lake = Lake(url)
    ingest(lake, files[:1])
    content = lake.sources()["content"][0]
    other = Lake(join(url, "other"))
    claim = tasks.Manifests(other.url, other.storage).claim_path(content)
    other.storage.write(claim, json.dumps({"url": "/gone/yellow_tripdata_2015-01.csv"}).encode())
    assert ingest(other, files[:1]).sources[0].duplicate_of is None
    assert json.loads(other.storage.read(claim)) == {"url": files[0]}
    pd.testing.assert_frame_equal(other.trips(), lake.trips())


def test_two_names_of_one_content_that_are_finished_at_once(lake, files, monkeypatch):
    """The second looks for the first's manifest just before it is written, and takes its claim over."""
    copy = str(Path(files[0]).with_name("copy of yellow_tripdata_2015-01.csv"))
    shutil.copy(files[0], copy)
    get, commit, first = tasks.Manifests.get, tasks.Manifests.commit, threading.Lock()
    committed, looking = threading.Event(), threading.local()

    def get_too_early(manifests, url):
        if getattr(looking, "instead_of", url) != url:
            del looking.instead_of
            assert committed.wait(20)
            return None
        return get(manifests, url)

    def one_after_the_other(manifests, manifest, **options):
        if first.acquire(blocking=False):
            done = commit(manifests, manifest, **options)
            committed.set()
            return done
        deadline = time.monotonic() + 20
        while manifests.claimant(manifest.content) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        looking.instead_of = manifest.url
        return commit(manifests, manifest, **options)

    monkeypatch.setattr(tasks.Manifests, "get", get_too_early)
    monkeypatch.setattr(tasks.Manifests, "commit", one_after_the_other)
    with ThreadPoolExecutor(2) as drivers:  # one driver would wait with the second
        results = list(drivers.map(lambda name: ingest(lake, [name]), [files[0], copy]))
    assert committed.is_set()
    monkeypatch.undo()
    result = ingest(lake, [files[0], copy])
    assert all(one.skipped for one in result.sources)
    [second] = [source for source in result.sources if source.duplicate_of]
    assert "same content as" in second.note
    assert sum(one.kept for result in results for one in result.sources) >= lake.sources()["kept"].sum()
    assert lake.sources()["rows"].tolist().count(0) == 1
    assert {manifest.url for manifest in tasks.Manifests(lake.url, lake.storage).all() if manifest.duplicate_of} == {
        second.url
    }


def test_of_two_manifests_of_one_content_readers_count_the_claimants(lake, files):
    """What is there for a moment when a claim is taken over from a driver that lives."""
    ingest(lake, files[:1])
    trips = lake.trips()
    manifests = tasks.Manifests(lake.url, lake.storage)
    manifest = json.loads(lake.storage.read(manifests.path(files[0])))
    del manifest["seal"]
    lake.storage.write(manifests.path("/a/copy"), json.dumps(manifest | {"url": "/a/copy"}).encode())
    pd.testing.assert_frame_equal(lake.trips(), trips)
    assert lake.sources()["rows"].tolist() == [0, 400]


def test_a_source_that_changes_while_it_is_read(lake, files, monkeypatch):
    finish = tasks.finish_source

    def late(task):
        with open(task.job.source.url, "ab") as file:
            file.write(b"more")
        return finish(task)

    monkeypatch.setattr(tasks, "finish_source", late)
    with pytest.raises(SourceError, match="changed while it was read"):
        ingest(lake, files[:1])
    assert len(lake.sources()) == 0


def test_bad_sources_do_not_keep_others_out(lake, files, tmp_path):
    packed = tmp_path / "yellow_tripdata_2015-05.csv.gz"
    packed.write_bytes(gzip.compress(Path(files[0]).read_bytes())[:-2000])
    with pytest.raises(SourceError, match=r"yellow_tripdata_2015-05\.csv\.gz"):
        ingest(lake, [files[0], packed, files[1]])
    assert lake.sources()["url"].tolist() == files[:2]
    report = ingest(lake, [files[0], packed, files[1]], errors="report")
    assert [source.error is not None for source in report.sources] == [False, True, False]
    assert [source.url for source in report.failed] == [str(packed)]
    worse = tmp_path / "yellow_tripdata_2015-06.csv.gz"
    worse.write_bytes(packed.read_bytes()[:-10])
    with pytest.raises(
        SourceError, match=r"2 of 3 sources cannot be used: .*2015-05.*2015-06.*the rest is in the lake"
    ):
        ingest(lake, [files[0], packed, worse])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.csv", None, r"none\.csv does not exist"),
        ("empty.csv", b"", r"is empty"),
        ("page.csv", b"<html><body>Not found</body></html>\n", r"page\.csv"),
        ("other.csv", b"a,b,c\n1,2,3\n", r"other\.csv"),
    ],
)
def test_what_is_no_source(lake, tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        ingest(lake, tmp_path / name)
    assert lake.storage.list(lake.url) == [], "nothing was begun"


def test_a_folder_without_trips(lake, tmp_path):
    with pytest.raises(SourceError, match="no trip files"):
        ingest(lake, tmp_path)


def test_a_month_with_not_one_valid_row(lake, files, tmp_path):
    wrong = tmp_path / "yellow_tripdata_2015-09.csv"
    shutil.copy(files[0], wrong)
    with pytest.raises(SourceError, match=r"not one of the 400 rows of .*-09\.csv can be kept: .*outside_month 3\d\d"):
        ingest(lake, [wrong, files[1]])
    assert len(lake.rejects(source=wrong)) == 400, "nothing is lost"
    assert lake.sources().set_index("url").loc[str(wrong), ["rows", "kept", "rejected"]].tolist() == [400, 0, 400]
    cube = lake.cube()
    assert (str(cube.start), str(cube.end)) == ("2015-02-01 00:00:00", "2015-03-01 00:00:00"), "it covers nothing"
    with pytest.raises(SourceError, match="not one of the 400 rows"):
        ingest(lake, wrong)
    other = Lake(lake.url + "-other")
    assert ingest(other, wrong, errors="report").kept == 0
    assert len(other.trips()) == 0
    with pytest.raises(LakeError, match="has no trips yet"):
        other.cube()


# --- stopping, damage, disks -----------------------------------------------------------------------------------------


def test_cancelled_between_blocks(lake, files, small, monkeypatch):
    told: list = []
    with pytest.raises(RunError, match=r"cancelled with \d+ of \d+ blocks read; ingest again to go on"):
        ingest(lake, files, block_size=small, on_block=told.append, should_stop=lambda: len(told) >= 5)
    assert len(told) < 12
    first = {(block["source"], block["start"]) for block in told}
    told.clear()
    ingest(lake, files, block_size=small, on_block=told.append)
    assert not first & {(block["source"], block["start"]) for block in told}, "finished blocks are not read again"
    other = Lake(lake.url + "-other")
    ingest(other, files)
    assert contents(lake) == contents(other)


def test_damaged_files_are_named(lake, files):
    ingest(lake, files[:1])
    path = tasks.Manifests(lake.url, lake.storage).path(files[0])
    good = lake.storage.read(path)
    lake.storage.write(path, good[:100])
    with pytest.raises(
        LakeError, match=r"manifests/.*\.json is no manifest: .*; delete it and ingest its source again"
    ):
        Lake(lake.url).trips()
    lake.storage.write(path, good.replace(b'"format": 1', b'"format": 99'))
    with pytest.raises(LakeError, match="of lake format 99, this version reads 1"):
        Lake(lake.url).trips()
    lake.storage.write(join(lake.url, "lake.json"), b"{}")
    with pytest.raises(LakeError, match=r"lake\.json is damaged"):
        Lake(lake.url).cube()


def test_rows_that_do_not_add_up_are_an_error(lake, files, monkeypatch):
    read = tasks.read_block

    def lossy(*args, **options):
        for result in read(*args, **options):
            result.rows += 1
            yield result

    monkeypatch.setattr(tasks, "read_block", lossy)
    with pytest.raises(LakeError, match=r"401 rows read, but 400 accounted for"):
        ingest(lake, files[:1])
    assert len(lake.sources()) == 0


def test_a_full_disk_loses_nothing(files, small_disk, tmp_path):
    disk = small_disk("400k")
    lake = Lake(disk / "lake")
    ingest(lake, files[:1])
    before = contents(lake)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 20_000))
    with pytest.raises(StorageError, match=r"the disk is full: [\d,]+ bytes needed, [\d,]+ free; free some space"):
        ingest(lake, files)
    assert contents(lake) == before
    (disk / "filler").unlink()
    assert ingest(lake, files).rows == 1200
    other = Lake(tmp_path / "other")
    ingest(other, files)
    assert contents(lake) == contents(other)


def test_a_lake_without_permission(files, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        ingest(Lake(tmp_path / "lake"), files)


def test_sources_are_looked_at_once(lake, files):
    """find_sources accepts what the lake does: names, patterns, folders."""
    folder = Path(files[0]).parent
    assert [one.url for one in find_sources(f"{folder}/*-0[12].csv")] == files[:2]
    assert len(ingest(lake, [folder, files[0]]).sources) == 3


def test_sources_and_lake_on_s3(bucket, files, small, tmp_path):
    storage = Storage()
    urls = [f"{bucket}/csv/{Path(file).name}" for file in files]
    for name, file in zip(urls, files, strict=True):
        storage.write(name, Path(file).read_bytes())
    lake = Lake(f"{bucket}/lake")
    result = ingest(lake, f"{bucket}/csv/*.csv", block_size=2 * small)
    assert [source.url for source in result.sources] == urls
    local = Lake(tmp_path / "lake")
    ingest(local, files)
    pd.testing.assert_frame_equal(lake.trips(), local.trips())
    assert lake.cube() == local.cube()
    assert lake.sources()["content"].tolist() == local.sources()["content"].tolist()
    storage.write(urls[0], Path(files[1]).read_bytes())
    result = ingest(lake, f"{bucket}/csv/")
    assert [source.skipped for source in result.sources] == [False, True, True]
    assert result.sources[0].duplicate_of == urls[1], "January's file holds what February's does"
    assert lake.sources()["rows"].tolist() == [0, 400, 400]

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.cube import MAX_COUNT
from taxidask.errors import CubeError, LakeError, RunError, SourceError, SpaceError
from taxidask.trips import count
from taxidask.trips.blockcounts import BlockCounts

GRID = td.Grid.new_york()


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("months")
    return td.make_sample(folder, start="2015-11", months=3, trips_per_month=4000, seed=3)


def lake_cube(folder: Path, files, **options) -> td.Cube:
    lake = td.Lake(folder / "lake")
    lake.ingest(files, **options)
    return lake.cube()


def test_it_equals_the_lake(months, tmp_path):
    cube = td.count_trips(months)
    assert cube == lake_cube(tmp_path, months)
    assert (cube.start, cube.end) == (pd.Timestamp("2015-11-01"), pd.Timestamp("2016-02-01"))
    assert not cube.missing.any()
    assert cube.ingest.rows == cube.ingest.kept + sum(cube.ingest.rejected.values()) == 12_000
    outside = np.sum([source.outside for source in cube.ingest.sources], axis=0)
    assert (cube.ingest.kept - outside)[0] == cube.total().pickups


def test_it_equals_the_lake_on_real_files(data, tmp_path):
    files = sorted((data / "trips").glob("*-0[13].csv"))
    cube = td.count_trips(files, slot="15min")
    assert cube == lake_cube(tmp_path, files, slot="15min")
    assert cube.missing.sum() == (28 + 275 + 29) * 96  # February, April to December, February
    assert not cube.counts[cube.missing].any()


def test_zones(data, tmp_path):
    zones = td.Zones(data / "zones" / "taxi_zones.geojson")
    files = [*(data / "recent").glob("*2019*.csv"), data / "trips" / "yellow_tripdata_2015-12.csv"]
    cube = td.count_trips(files)
    assert cube == lake_cube(tmp_path, files, space=zones)
    assert cube.space is td.Zones()
    assert "names taxi zones, and points are looked up in them" in repr(cube.ingest)
    with pytest.raises(SpaceError, match=r"cannot place; count in the taxi zones: space=td\.Zones\(\)"):
        td.count_trips(files, space="new_york")


def test_workers_find_the_same(months, cluster):
    assert td.count_trips(months, client=cluster) == td.count_trips(
        months, client=td.compute.executors.ThreadExecutor(2)
    )


def test_any_cutting_counts_the_same(months, monkeypatch, tmp_path):
    big = tmp_path / "yellow_tripdata_2015-11.csv"
    lines = Path(months[0]).read_bytes().splitlines(keepends=True)
    rows = b"".join(lines[1:])
    big.write_bytes(lines[0] + rows * (20 * 2**20 // len(rows)))
    monkeypatch.setattr(count, "SMALLEST", 8 << 20)
    cut = td.count_trips(big)
    monkeypatch.setattr(count, "SMALLEST", 64 << 20)
    assert cut == td.count_trips(big)
    assert cut.total() == tuple(n * (20 * 2**20 // len(rows)) for n in td.count_trips(months[0]).total())


def test_the_same_content_counts_once(months, tmp_path):
    second = tmp_path / "again-2015-11.csv"
    shutil.copy(months[0], second)
    cube = td.count_trips([*months, second])
    assert cube == td.count_trips(months)
    assert cube.ingest.sources[-1].duplicate_of == months[0]
    assert "same content as" in cube.ingest.sources[-1].note
    assert cube.ingest.rows == 12_000

    changed = tmp_path / "other-2015-11.csv"  # of the same size, but another content
    changed.write_bytes(Path(months[0]).read_bytes()[:-3] + b"77\n")
    assert td.count_trips([months[0], changed]).ingest.rows == 8000


def test_a_source_without_a_month_covers_the_days_of_its_pickups(months, tmp_path):
    plain = tmp_path / "trips.csv"
    shutil.copy(months[1], plain)
    packed = tmp_path / "packed-2015-11.csv.gz"
    packed.write_bytes(gzip.compress(Path(months[0]).read_bytes()))
    cube = td.count_trips([plain, packed])
    assert cube == lake_cube(tmp_path, [plain, packed])
    assert "outside_month was not checked" in cube.ingest.sources[0].note


def test_what_cannot_be_counted(months, tmp_path):
    wrong = tmp_path / "yellow_tripdata_2009-01.csv"
    shutil.copy(months[0], wrong)
    with pytest.raises(SourceError, match=r"not one of the 4,000 rows .* outside_month 3,\d{3}"):
        td.count_trips(wrong)
    with pytest.raises(SourceError, match="does not exist"):
        td.count_trips(tmp_path / "no.csv")
    with pytest.raises(SpaceError, match="there is no space and no file called 'newyork'"):
        td.count_trips(months, space="newyork")
    with pytest.raises(SpaceError, match="space cannot be 3"):
        td.count_trips(months, space=3)
    with pytest.raises((CubeError, LakeError), match="7min"):
        td.count_trips(months, slot="7min")
    with pytest.raises(RunError, match="counting was cancelled after 0 of 3 blocks"):
        td.count_trips(months, should_stop=lambda: True)


def test_blocks_follow_the_work():
    mib = 1 << 20
    assert count._block_size(1 * mib, 2) == 32 * mib
    assert count._block_size(480 * mib, 2) == 64 * mib
    assert count._block_size(100_000 * mib, 2) == 128 * mib


def test_a_pickup_far_away_does_not_fill_the_memory(months, tmp_path):
    """Rows of 2098 are there in real files; a name with a month sets them aside."""
    head, *_, last = Path(months[0]).read_bytes().splitlines(keepends=True)
    fields = last.split(b",")
    far = b",".join([fields[0], b"2098-01-31 12:00:00", b"2098-01-31 12:10:00", *fields[3:]])
    source = tmp_path / "trips.csv"
    source.write_bytes(head + last.rstrip() + b"\r\n" + far)
    with pytest.raises(CubeError, match=r"from 20\d\d-\d\d-\d\d to 2098-01-31.*name the month"):
        td.count_trips(source)
    lake = td.Lake(tmp_path / "lake")
    assert lake.ingest(source).kept == 2
    with pytest.raises(LakeError, match=r"trips\.csv has pickups from .* to 2098-02-01; give both start and end"):
        lake.cube()
    assert lake.cube(start="2098-01-31", end="2098-02-01").total().pickups <= 1


def test_counts_never_wrap():
    full = np.full((2, 1, 2), MAX_COUNT - 1, np.int32)
    block = BlockCounts(0, np.full((1, 1, 2), 5, np.int32))
    stray = BlockCounts(0, np.zeros((0, 1, 2), np.int32), stray_slots=np.array([1, 1]), stray_cells=np.array([0, 0]),
                        stray_directions=np.array([0, 0]))  # fmt: skip
    for counted in (block, stray):
        with pytest.raises(CubeError, match="2,147,483,647"):
            counted.add_to(full.copy(), 0)

"""What an earlier or a slower driver left behind never becomes part of what readers see."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from taxidask.compute.executors import ThreadExecutor
from taxidask.cube import MAX_COUNT
from taxidask.errors import CubeError, SourceError
from taxidask.lake import Lake, tasks
from taxidask.lake import cube as covered
from taxidask.sample import make_sample
from taxidask.storage import Storage
from taxidask.trips import read_trips, sources, streams
from taxidask.trips.rules import Rules


@pytest.fixture
def one_and_other(tmp_path, monkeypatch):
    """Two files of several blocks each, and of one month."""
    monkeypatch.setattr(sources, "RANGE_BYTES", 4096)
    monkeypatch.setattr(streams, "RANGE_BYTES", 4096)
    return tuple(
        make_sample(tmp_path / str(seed), start="2015-01", trips_per_month=rows, seed=seed)[0]
        for seed, rows in ((1, 400), (2, 300))
    )


@pytest.fixture
def source(tmp_path):
    return str(tmp_path / "yellow_tripdata_2015-01.csv")


def ingest(lake, files, **options):
    return lake.ingest(files, client=ThreadExecutor(1), block_size=8192, **options)


def fares(lake):
    return lake.trips(columns=["fare_amount"])["fare_amount"].tolist()


def fares_of(*files):
    frames = [read_trips(file, month="2015-01")[0] for file in files]
    return sorted(fare for frame in frames for fare in frame["fare_amount"])


@pytest.mark.parametrize("survivors", ["blocks", "trips"])
def test_killed_while_a_second_name_is_cleared_up(tmp_path, one_and_other, source, monkeypatch, survivors):
    """Parts without a summary are harmless, a summary without its parts would be a lake that cannot be read."""
    one, other = one_and_other
    second = str(tmp_path / "copy 2015-01.csv")
    shutil.copy(one, source)
    shutil.copy(one, second)
    lake = Lake(tmp_path / "lake")
    ingest(lake, source)
    delete = Storage.delete

    def some(self, url):
        if f"/{survivors}/" not in url:
            delete(self, url)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", some)
        ingest(lake, second)
    shutil.copy(other, source)
    for _ in range(2):  # what is gone is read again, by the second call at the latest
        result = ingest(lake, [source, second], errors="report")
    assert [one.duplicate_of for one in result.sources] == [None, None]
    assert sorted(fares(Lake(lake.url))) == fares_of(one, other)
    lake.cube()


def test_summaries_go_before_what_they_vouch_for(tmp_path, one_and_other, source, monkeypatch):
    deleted = []
    monkeypatch.setattr(Storage, "delete", lambda self, url: deleted.append(url))
    shutil.copy(one_and_other[0], source)
    second = shutil.copy(source, tmp_path / "copy 2015-01.csv")
    lake = Lake(tmp_path / "lake")
    ingest(lake, source)
    deleted.clear()
    ingest(lake, second)
    kinds = [url.endswith(".json") for url in dict.fromkeys(deleted)]
    assert kinds.index(False) == kinds.count(True) > 0
    assert any("/trips/" in url for url in deleted)


def test_a_version_that_comes_back_is_not_mixed_with_the_one_between(tmp_path, one_and_other, source, monkeypatch):
    """As on S3, where equal bytes are an equal version."""
    shutil.copy(one_and_other[0], source)
    before, stat = Path(source).read_bytes(), os.stat(source)
    between = (Path(one_and_other[1]).read_bytes() * 2)[: len(before)]
    read, seen = tasks.read_block, []

    def overwritten(block, **options):
        seen.append(block)
        if len(seen) == 3:
            with open(source, "r+b") as file:
                file.write(between)
        return read(block, **options)

    lake = Lake(tmp_path / "lake")
    monkeypatch.setattr(tasks, "read_block", overwritten)
    with pytest.raises(SourceError, match="changed while it was read"):
        ingest(lake, source)
    monkeypatch.setattr(tasks, "read_block", read)
    with open(source, "r+b") as file:
        file.write(before)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(seen) < 8, "no further blocks are read after the change"
    ingest(lake, source)
    assert sorted(fares(lake)) == fares_of(source)


def test_a_driver_that_slept_does_not_replace_a_newer_version(tmp_path, one_and_other, source, monkeypatch):
    shutil.copy(one_and_other[0], source)
    lake, merge = Lake(tmp_path / "lake"), tasks.merge

    def asleep(*arguments):
        monkeypatch.setattr(tasks, "merge", merge)
        shutil.copy(one_and_other[1], source)
        ingest(Lake(lake.url), source)
        return merge(*arguments)

    monkeypatch.setattr(tasks, "merge", asleep)
    with pytest.raises(SourceError, match="changed while it was read"):
        ingest(lake, source)
    assert sorted(fares(lake)) == fares_of(one_and_other[1])


def test_a_second_name_whose_first_has_changed_alone_is_told(tmp_path, one_and_other, source):
    shutil.copy(one_and_other[0], source)
    second = shutil.copy(source, str(tmp_path / "copy 2015-01.csv"))
    lake = Lake(tmp_path / "lake")
    assert second not in ingest(lake, [source]).sources[0].note
    ingest(lake, [second])
    shutil.copy(one_and_other[1], source)
    for _ in range(2):  # also when it was in the lake already
        assert second in ingest(lake, [source]).sources[0].note
    notes = lake.sources().set_index("url")["note"]
    assert second not in notes[source]
    assert notes[second] == f"counts nowhere since {source} has other content: ingest it again"
    ingest(lake, [second])
    assert second not in ingest(lake, [source]).sources[0].note
    assert not lake.sources()["note"].str.contains("nowhere").any()


def test_trips_longer_than_a_day_show_in_a_part_of_the_cube(tmp_path, one_and_other, source):
    lines = Path(one_and_other[0]).read_bytes().splitlines(keepends=True)
    fields = lines[-1].split(b",")
    fields[1:3] = b"2015-01-31 12:00:00", b"2015-02-02 10:00:00"
    Path(source).write_bytes(lines[0] + b",".join(fields))
    february = make_sample(tmp_path / "february", start="2015-02", trips_per_month=50, faults=0)
    lake = Lake(tmp_path / "lake")
    ingest(lake, [source, *february], rules=Rules(max_duration_hours=48))
    part = lake.cube(start="2015-02-02", end="2015-02-03")
    assert part == lake.cube().between("2015-02-02", "2015-02-03")


def test_counts_that_do_not_fit_are_an_error(tmp_path, one_and_other, source, monkeypatch):
    shutil.copy(one_and_other[0], source)
    lake = Lake(tmp_path / "lake")
    ingest(lake, source)
    read = covered.read_tally

    def many(*arguments, **options):
        tally = read(*arguments, **options)
        for _, pickups, _ in tally._pending:
            pickups += MAX_COUNT
        return tally

    monkeypatch.setattr(covered, "read_tally", many)
    with pytest.raises(CubeError, match=r"above 2,147,483,647.*lake\.recount"):
        lake.cube()

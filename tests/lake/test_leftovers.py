"""Files that nobody refers to are cleared by the next ingest of their source, and none that a driver may need."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import RunError
from taxidask.lake import Lake, sweeping, tasks
from taxidask.lake import lake as module
from taxidask.lake.manifest import Manifests
from taxidask.sample import make_sample
from taxidask.storage import Storage
from taxidask.trips import sources, streams
from taxidask.trips.rules import Rules

BLOCK = 8192


@pytest.fixture
def months(tmp_path, monkeypatch):
    """One file of eight blocks, and another content for its name."""
    monkeypatch.setattr(sources, "RANGE_BYTES", 4096)
    monkeypatch.setattr(streams, "RANGE_BYTES", 4096)
    return [
        make_sample(tmp_path / str(seed), start="2015-01", trips_per_month=400, seed=seed, faults=0.2)[0]
        for seed in (1, 2)
    ]


@pytest.fixture
def source(tmp_path, months):
    return shutil.copy(months[0], tmp_path / "yellow_tripdata_2015-01.csv")


def read(lake, files, **options):
    return lake.ingest(files, **{"client": ThreadExecutor(1), "block_size": BLOCK, **options})


def unnamed(lake):
    """Files of the lake but for those that readers see, claims and the space."""
    seen = set()
    for path in Path(lake.url, "manifests").glob("*.json"):
        fields = json.loads(path.read_text())
        seen |= {part["path"] for part in fields["parts"] + fields["rejects"]}
        if not fields["duplicate_of"]:
            seen.add(f"cube/{fields['count_key']}/{fields['id']}.parquet")
    there = {str(path.relative_to(lake.url)) for path in Path(lake.url).rglob("*") if path.is_file()}
    assert seen <= there
    return {path for path in there - seen if path.split("/")[0] in ("trips", "rejects", "cube", "blocks")}


def interrupted(lake, files, blocks=3, **options):
    done: list[dict] = []
    with pytest.raises(RunError, match="was cancelled"):
        read(lake, files, on_block=done.append, should_stop=lambda: len(done) >= blocks, **options)
    return len(done)


def contents(lake):
    return lake.trips().to_csv(), lake.rejects().to_csv(), lake.cube().counts.tobytes()


def fresh(tmp_path, source):
    lake = Lake(tmp_path / f"fresh-{os.urandom(4).hex()}")
    read(lake, source)
    return contents(lake)


def test_parts_of_a_former_version(tmp_path, source, months):
    read(lake := Lake(tmp_path / "lake"), source)
    os.utime(source, ns=(1, 1))
    read(lake, source)
    assert not unnamed(lake)
    shutil.copy(months[1], source)
    read(lake, source)
    assert not unnamed(lake)
    assert contents(lake) == fresh(tmp_path, source)


def test_blocks_of_a_killed_read_after_the_source_changed(tmp_path, source, months):
    interrupted(lake := Lake(tmp_path / "lake"), source)
    assert unnamed(lake)
    shutil.copy(months[1], source)
    read(lake, source)
    assert not unnamed(lake)
    assert contents(lake) == fresh(tmp_path, source)


@pytest.mark.parametrize("other", [4096, 16384, 1 << 20])
def test_blocks_of_another_size(tmp_path, source, other):
    interrupted(lake := Lake(tmp_path / "lake"), source)
    read(lake, source, block_size=other)
    assert not unnamed(lake)
    assert contents(lake) == fresh(tmp_path, source)


def test_what_a_killed_clearing_left_is_cleared_though_nothing_is_read(tmp_path, source, monkeypatch):
    read(lake := Lake(tmp_path / "lake"), source)
    os.utime(source, ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", lambda *_: None)
        read(lake, source)
    assert unnamed(lake)
    assert read(lake, source).sources[0].skipped
    assert not unnamed(lake)


def test_of_other_sources_nothing_is_touched(tmp_path, source, months):
    done = interrupted(lake := Lake(tmp_path / "lake"), months[1])
    before = unnamed(lake)
    os.utime(source, ns=(1, 1))
    read(lake, source)
    assert unnamed(lake) == before
    again: list[dict] = []
    read(lake, months[1], on_block=again.append)
    assert len(again) == len(range(0, os.path.getsize(months[1]), BLOCK)) - done


def test_blocks_that_a_driver_of_other_rules_may_be_reading_stay(tmp_path, source):
    done = interrupted(lake := Lake(tmp_path / "lake"), source, rules=Rules(max_fare=50))
    before = unnamed(lake)
    read(lake, source)
    assert unnamed(lake) == before
    again: list[dict] = []
    read(lake, source, rules=Rules(max_fare=50), on_block=again.append)
    assert len(again) == len(range(0, os.path.getsize(source), BLOCK)) - done
    assert not unnamed(lake)


def test_a_driver_whose_blocks_were_cleared_under_it_reads_them_again(tmp_path, source, months, monkeypatch):
    """The version it reads goes, another driver clears it, and it comes back: a look at the version says nothing."""
    lake, stat = Lake(tmp_path / "lake"), os.stat(source)
    data = Path(source).read_bytes()
    commit, seen = Manifests.commit, []

    def asleep(*arguments, **options):
        if not seen:
            seen.append(1)
            with open(source, "r+b") as file:
                file.truncate()
                file.write(Path(months[1]).read_bytes())
            read(Lake(lake.url), source)
            with open(source, "r+b") as file:
                file.truncate()
                file.write(data)
            os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return commit(*arguments, **options)

    monkeypatch.setattr(Manifests, "commit", asleep)
    read(lake, source)
    assert contents(lake) == fresh(tmp_path, source)
    assert not unnamed(lake)


def test_a_clearing_that_sleeps_harms_nothing(tmp_path, source, months, monkeypatch):
    """Between its looking and its deleting another driver takes up the same blocks and makes them visible."""
    data, stat = Path(source).read_bytes(), os.stat(source)
    interrupted(lake := Lake(tmp_path / "lake"), source)
    with open(source, "r+b") as file:
        file.truncate()
        file.write(Path(months[1]).read_bytes())
    delete, seen = sweeping.delete, []

    def asleep(*arguments):
        if not seen:
            seen.append(1)
            with open(source, "r+b") as file:
                file.truncate()
                file.write(data)
            os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            read(Lake(lake.url), source)
        delete(*arguments)

    monkeypatch.setattr(sweeping, "delete", asleep)
    read(lake, source)
    assert seen
    assert contents(Lake(lake.url)) == fresh(tmp_path, source)


def test_a_reader_whose_parts_are_replaced_reads_again(tmp_path, source, months, monkeypatch):
    read(lake := Lake(tmp_path / "lake"), source)
    for name in ("query_trips", "query_rejects", "cube_of"):
        slow, seen = getattr(module, name), []

        def replaced(*arguments, slow=slow, seen=seen, **options):
            if not seen:
                seen.append(1)
                os.utime(source)
                read(Lake(lake.url), source)
            return slow(*arguments, **options)

        monkeypatch.setattr(module, name, replaced)
    assert contents(lake) == fresh(tmp_path, source)


def test_two_drivers_of_two_block_sizes(tmp_path, source, monkeypatch):
    """The other one reads all of it while this one is at its last block."""
    lake, done = Lake(tmp_path / "lake"), []
    total = len(range(0, os.path.getsize(source), BLOCK))

    def other(block):
        done.append(block)
        if len(done) == total:
            read(Lake(lake.url), source, block_size=2 * BLOCK)

    result = read(lake, source, on_block=other)
    assert tasks.SECOND in result.sources[0].note
    assert contents(lake) == fresh(tmp_path, source)
    assert not unnamed(lake)

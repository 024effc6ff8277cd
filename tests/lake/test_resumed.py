"""Blocks that were finished before are taken up only if what they left is what their summary says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError, RunError
from taxidask.lake import Lake, tasks
from taxidask.sample import make_sample
from taxidask.trips import sources, streams

BLOCK = 8192


@pytest.fixture
def file(tmp_path, monkeypatch):
    """One file of eight blocks."""
    monkeypatch.setattr(sources, "RANGE_BYTES", 4096)
    monkeypatch.setattr(streams, "RANGE_BYTES", 4096)
    return make_sample(tmp_path / "source", start="2015-01", trips_per_month=400, seed=1, faults=0.2)[0]


def ingest(lake, file, **options):
    return lake.ingest(file, client=ThreadExecutor(1), block_size=BLOCK, **options)


def contents(lake):
    return lake.trips().to_csv(), lake.rejects().to_csv(), lake.cube().counts.tobytes()


def interrupted(lake, file, blocks=4):
    """An ingest that ends after some blocks, as one does whose driver is killed."""
    done: list[dict] = []
    with pytest.raises(RunError, match="was cancelled"):
        ingest(lake, file, on_block=done.append, should_stop=lambda: len(done) >= blocks)
    return len(done)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def fewer_rows(path):
    """As many bytes, a good footer, and other rows than were written."""
    size = path.stat().st_size
    pq.write_table(pq.read_table(path).slice(1), path)
    path.write_bytes(path.read_bytes()[:size].ljust(size, b"\0"))


HARM = {
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "garbage of its size": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "other rows": fewer_rows,
    "another block's": lambda path: shutil.copy(sorted(path.parent.iterdir())[1], path),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("where", ["trips", "rejects"])
def test_a_harmed_part_of_a_finished_block_is_read_again(tmp_path, file, where, harm):
    ingest(expected := Lake(tmp_path / "expected"), file)
    lake = Lake(tmp_path / "lake")
    finished = interrupted(lake, file)
    HARM[harm](sorted(Path(lake.url, where).rglob("*.parquet"))[0])
    read: list[dict] = []
    ingest(lake, file, on_block=read.append)
    total = len(range(0, Path(file).stat().st_size, BLOCK))
    assert len(read) == total - finished + 1, "the harmed block and those that were not finished"
    assert contents(lake) == contents(expected)


@pytest.mark.parametrize("harm", ["{}", "[]", "garbage", '{"parts": [{}], "rejects": []}', "fewer"])
def test_a_harmed_summary_is_not_trusted(tmp_path, file, harm):
    ingest(expected := Lake(tmp_path / "expected"), file)
    lake = Lake(tmp_path / "lake")
    interrupted(lake, file)
    path = sorted(Path(lake.url, "blocks").rglob("*.json"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": 1, "kept": 1}) if harm == "fewer" else harm)
    ingest(lake, file)
    assert contents(lake) == contents(expected)


@pytest.mark.parametrize("harm", ["truncated", "gone", "garbage of its size"])
def test_harmed_counts_of_a_block_are_made_of_its_trips(tmp_path, file, harm):
    ingest(expected := Lake(tmp_path / "expected"), file)
    lake = Lake(tmp_path / "lake")
    interrupted(lake, file)
    HARM[harm](sorted(Path(lake.url, "blocks").rglob("*.parquet"))[0])
    ingest(lake, file)
    assert contents(lake) == contents(expected)


def test_what_is_harmed_while_it_is_read_is_read_again(tmp_path, file):
    ingest(expected := Lake(tmp_path / "expected"), file)
    lake = Lake(tmp_path / "lake")
    seen: list[dict] = []

    def harm(block):
        seen.append(block)
        if len(seen) == 3:
            truncate(sorted(Path(lake.url, "trips").rglob("*.parquet"))[1])

    ingest(lake, file, on_block=harm)
    assert sum(block["start"] == BLOCK for block in seen) == 2
    assert seen[-1]["total_bytes"] == Path(file).stat().st_size + BLOCK
    assert contents(lake) == contents(expected)


def test_a_disk_that_never_keeps_what_is_written_ends_the_ingest(tmp_path, file, monkeypatch):
    written = tasks._write_trips

    def harmed(job, *arguments):
        for part in written(job, *arguments):
            truncate(Path(job.lake, part.path))
            yield part

    monkeypatch.setattr(tasks, "_write_trips", harmed)
    lake = Lake(tmp_path / "lake")
    with pytest.raises(LakeError, match="gone or damaged again and again; look after the disk"):
        ingest(lake, file)
    assert lake.sources().empty


def test_a_damaged_part_is_read_again_also_where_it_is_counted_anew(tmp_path, file):
    """The lake was recounted between a kill and the next ingest, so that the counts of its blocks are of no use."""
    february = make_sample(tmp_path / "february", start="2015-02", trips_per_month=100)
    ingest(lake := Lake(tmp_path / "lake"), february)
    interrupted(lake, file)
    lake.recount(slot="60min")
    path = sorted(Path(lake.url, "trips", "year=2015", "month=01").rglob("*.parquet"))[0]
    data = bytearray(path.read_bytes())
    data[200] ^= 8
    path.write_bytes(data)
    ingest(lake, file)
    expected = Lake(tmp_path / "expected")
    ingest(expected, [file, *february], slot="60min")
    assert contents(lake) == contents(expected)
    assert json.loads(Path(lake.url, "lake.json").read_text())["slot_seconds"] == 3600

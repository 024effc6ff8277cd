"""An ingest needs no more memory than it says, whatever the rows are and whatever they unpack to."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import taxidask as td
from taxidask.lake.layout import save_space
from taxidask.lake.tasks import BlockTask, Job, run_task
from taxidask.storage import default_storage
from taxidask.trips import Rules, find_sources
from taxidask.trips.eras import ERAS
from taxidask.trips.streams import RangeReader
from taxidask.trips.unpack import Unpacked

HEADER = (",".join(ERAS[4].header) + "\n").encode()
ROW = "1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,1.59,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05\n"
SCRIPT = """
import resource, sys
import taxidask as td
path, small, block = sys.argv[1:]
td.Lake(small + "-lake").ingest(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = td.Lake(path + "-lake").ingest(path, errors="report", block_size=block)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
print(result.rows, sum(result.rejected.values()), result.kept, len(td.Lake(path + "-lake").rejects(limit=10**7)))
print(result.sources[0].left_out)
"""


def packed(pack, text, times):
    """A text many times over."""
    return b"".join([pack.compress(HEADER), *(pack.compress(text) for _ in range(times)), pack.flush()])


def long_texts():
    """Parquet whose rows all have one text of 20,000 letters."""
    row = dict(zip(ERAS[4].header, ROW.strip().split(","), strict=True))
    columns = {name: pa.array([value] * 40_000) for name, value in row.items()}
    columns["VendorID"] = pa.DictionaryArray.from_arrays([0] * 40_000, ["v" * 20_000])
    columns["trip_distance"] = pa.array(["0", "1"] * 20_000)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, store_schema=False)
    return sink.getvalue().to_pybytes()


BASE = 64  # MiB that a task needs whatever its block is
# what the file holds, MiB of a block, and whether some rejects are counted only
FILES = {
    "letters.csv": (lambda: HEADER + b"," * (15 << 20) + b"\n" + b"y\n" * (4 << 20), 32, True),
    "letters.csv.gz": (lambda: packed(zlib.compressobj(wbits=31), b"z\n" * (1 << 19), 10), 32, True),
    "small-block.csv.gz": (lambda: packed(zlib.compressobj(wbits=31), b"z\n" * (1 << 19), 40), 8, True),
    f"{'of-a-long-name' * 14}-2015-02.csv": (lambda: HEADER + ROW.encode() * 100_000, 16, False),
    "texts.parquet": (long_texts, 32, True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_task_needs_less_than_six_times_its_block(tmp_path, name):
    path, small = tmp_path / name, tmp_path / "small-2015-01.csv"
    path.write_bytes(FILES[name][0]())
    small.write_bytes(HEADER + ROW.encode() * 1000)
    command = [sys.executable, "-c", SCRIPT, str(path), str(small), f"{FILES[name][1]}MiB"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout.splitlines()
    rows, rejected, kept, shown = map(int, out[1].split())
    left_out = int(out[2])
    assert rows == rejected + kept == shown + left_out + kept
    assert float(out[0]) < 6 * FILES[name][1] + (BASE if FILES[name][1] < 32 else 0)
    assert (left_out > 0) == FILES[name][2]


def test_what_is_left_out_is_counted_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("taxidask.trips.read.LEAST_REJECTS", 0)
    monkeypatch.setattr("taxidask.trips.streams.CHUNK_BYTES", 1 << 16)
    path = tmp_path / "2015-01.csv"
    path.write_bytes(HEADER + (b"x\n" * 5000 + ROW.encode() + ROW.replace("1.59", "0").encode()) * 20)
    lake = td.Lake(tmp_path / "lake")
    [source] = lake.ingest(path).sources
    assert (source.rows, source.kept) == (100_040, 20)
    assert {reason: count for reason, count in source.rejected.items() if count} == {
        "malformed": 100_000,
        "non_positive_distance": 20,
    }
    shown = lake.rejects()
    assert len(shown) + source.left_out == 100_020
    assert set(shown["reason"]) == {"malformed", "non_positive_distance"}
    assert shown["offset"].max() > 0.9 * path.stat().st_size  # the sample is of all of the file
    said = f"{source.left_out:,} of the rejected rows are counted only, the others are in lake.rejects()"
    assert said in source.note
    assert said in lake.sources()["note"][0]


def test_few_bytes_that_unpack_to_very_many_are_unpacked_piece_by_piece(tmp_path):
    path = tmp_path / "bomb.csv.zst"
    path.write_bytes(packed(zstandard.ZstdCompressor().compressobj(), b"\n" * (1 << 20), 100))
    assert path.stat().st_size < 16 << 10
    [source] = find_sources(path)
    reader = RangeReader(*source.blocks(), default_storage(), start=0)
    unpacked = Unpacked(reader, "zstd")
    tracemalloc.start()
    unpacked.skip(1 << 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reader.close()
    assert peak < 8 << 20
    assert unpacked.given == len(HEADER) + (100 << 20)


def test_drivers_of_other_block_sizes_leave_each_others_parts_of_a_stream_alone(tmp_path):
    [file] = td.make_sample(tmp_path, start="2015-01", trips_per_month=20_000, seed=1)
    packed = tmp_path / "2015-01.csv.gz"
    packed.write_bytes(gzip.compress(Path(file).read_bytes()))
    lake, space = tmp_path / "lake", td.Grid.new_york()
    save_space(str(lake), space, default_storage())
    [source] = find_sources(packed)
    job = Job(str(lake), default_storage(), source, Rules(), space.key, 1800)
    run_task(BlockTask(job, 0, source.size))
    before = {path: path.read_bytes() for path in lake.glob("[tr]*/**/*.parquet")}
    run_task(BlockTask(job, 0, source.size, result_bytes=1 << 20))
    assert len(list(lake.glob("trips/**/*.parquet"))) > sum("trips" in str(path) for path in before) > 0
    assert all(path.read_bytes() == data for path, data in before.items())

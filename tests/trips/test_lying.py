"""Files that are not what they seem: refused in words, in bounded memory, or read as what they are."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import SourceError
from taxidask.lake import Lake
from taxidask.sample import make_sample
from taxidask.storage import Storage
from taxidask.trips import find_sources, read_block
from taxidask.trips.eras import ERAS
from taxidask.trips.sources import survey
from taxidask.trips.unpack import UnpackLimit

HEADER = (",".join(ERAS[4].header) + "\n").encode()
ROW = b"1,2015-01-15 19:05:39,2015-01-15 19:23:42,1,1.59,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05\n"
PACK = {"gzip": lambda: zlib.compressobj(wbits=31), "zstd": lambda: zstandard.ZstdCompressor().compressobj()}


@pytest.mark.parametrize("pack", PACK)
def test_a_bomb_is_refused_by_size_and_ratio_together(tmp_path, pack):
    packer = PACK[pack]()
    path = tmp_path / "2015-01.csv.packed"
    text = HEADER + ROW * 10 + b"\n" * (8 << 20)
    path.write_bytes(packer.compress(text) + packer.flush())
    for limit, refused in [
        (UnpackLimit(), False), (UnpackLimit(4 << 20, 100), True), (UnpackLimit(16 << 20, 100), False),
        (UnpackLimit(4 << 20, 1e6), False),
    ]:  # fmt: skip
        [source] = survey(path, unpack=limit)
        if refused:
            with pytest.raises(SourceError, match="unpacks to more than 100 times its bytes and 4,194,304 bytes"):
                list(read_block(*source.blocks()))
        else:
            assert sum(result.kept for result in read_block(*source.blocks())) == 10


def test_the_limit_is_a_setting_and_fails_no_other_source(tmp_path, capsys):
    [good] = make_sample(tmp_path / "in", start="2015-02", trips_per_month=50)
    bomb = tmp_path / "in" / "2015-01.csv.gz"
    bomb.write_bytes(gzip.compress(HEADER + ROW + b"\n" * (8 << 20)))
    from taxidask.cli.command import run

    given = ["--lake", str(tmp_path / "lake"), "--unpack-size", "1MiB", "--unpack-ratio", "50"]
    assert run(["ingest", str(tmp_path / "in"), *given]) == 3
    assert "unpacks to more than 50 times its bytes" in capsys.readouterr().err
    assert list(Lake(tmp_path / "lake").sources()["url"]) == [good]


def test_a_parquet_file_that_says_it_unpacks_to_too_much(tmp_path):
    path = tmp_path / "2015-01.parquet"
    values = ROW.decode().strip().split(",")
    pq.write_table(
        pa.table({name: pa.array([value] * 200_000) for name, value in zip(ERAS[4].header, values, strict=True)}),
        path, use_dictionary=False, compression="zstd",
    )  # fmt: skip
    [source] = find_sources(path)
    assert sum(result.kept for result in read_block(*source.blocks())) == 200_000
    with pytest.raises(SourceError, match="unpacks to more than 100 times"):
        list(read_block(*replace(source, unpack=UnpackLimit(1 << 20, 100)).blocks()))


def test_a_line_of_300_mb_is_refused_wherever_a_block_begins(tmp_path):
    """The file is sparse: most of the line is NULs."""
    path = tmp_path / "2015-01.csv"
    with path.open("wb") as file:
        file.write(HEADER + ROW)
        file.truncate(300 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + ROW)
    [source] = find_sources(path)
    first, *_, last = source.blocks(64 << 20)
    with pytest.raises(SourceError, match=r"a row of more than .* MiB at byte"):
        list(read_block(first))
    [result] = read_block(last)
    assert (result.rows, result.kept) == (1, 1)


class Changing(Storage):
    """Changes a file the first time that one looks at its version again while it is read."""

    def __init__(self, path, change):
        super().__init__()
        self.path, self.change, self.looks = str(path), change, 0

    def stat(self, url):
        if url == self.path:
            self.looks += 1
            if self.looks == 2:
                self.change(Path(url))
        return super().stat(url)


def grow(path):
    with path.open("ab") as file:
        file.write(ROW)


def replaced(path):
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes().replace(b"1.59", b"2.59"))
    new.rename(path)


@pytest.mark.parametrize("change", [grow, replaced, lambda path: path.write_bytes(HEADER), Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_no_source_and_read_whole_the_next_time(tmp_path, change):
    path = tmp_path / "2015-01.csv"
    path.write_bytes(HEADER + ROW * 100)
    storage = Changing(path, change)
    lake = Lake(tmp_path / "lake", storage=storage)
    [one] = lake.ingest(path, client=ThreadExecutor(1), errors="report").sources
    assert one.error is not None
    assert len(Lake(tmp_path / "lake").sources()) == 0
    if change in (grow, replaced):
        [one] = td.Lake(tmp_path / "lake").ingest(path, client=ThreadExecutor(1)).sources
        assert (one.rows, one.kept) == (101 if change is grow else 100,) * 2
        assert Lake(tmp_path / "lake").check().well

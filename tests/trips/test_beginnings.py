"""What a file's layout is, whatever it is packed in and whatever its first rows are."""

from __future__ import annotations

import gzip
import random
import struct
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.errors import SourceError
from taxidask.storage import Storage
from taxidask.trips import find_sources, read_block
from taxidask.trips.eras import ERAS, HEAD_BYTES

HEADER = ",".join(ERAS[5].header) + "\n"
# as published from 2016-07 on: two fields more than names
ROW = "1,2016-08-15 19:05:39,2016-08-15 19:23:42,1,1.59,1,N,161,162,1,12,1,0.5,3.25,0,0.3,17.05,,\r\n"
US = ROW.replace("2016-08-15 19:05:39", "08/15/2016 07:05:39 PM").replace("2016-08-15 19:23:42", "8/15/2016 19:23")
ROWS = (ROW + US) * 500
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"pzst"


def zstd(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


PACKS = {
    "gzip": (lambda *texts: b"".join(gzip.compress(text) for text in texts)),
    "zstd": (lambda *texts: b"".join(zstd(text) for text in texts)),
    "zstd with skippable frames": (lambda *texts: b"".join(SKIPPABLE + zstd(text) for text in texts) + SKIPPABLE),
    "plain": (lambda *texts: b"".join(texts)),
}
BEGINNINGS = {
    "header alone": [HEADER, ROWS],
    "an empty member": ["", HEADER + ROWS],
    "empty members": ["", "", HEADER, "", ROWS, ""],
    "a piece of the header": [HEADER[:20], HEADER[20:], "\r\n", ROWS[:3], ROWS[3:]],
    "a thousand small members": [HEADER, *(ROWS[at : at + 200] for at in range(0, len(ROWS), 200))],
    "a long odd row": [HEADER + "x" * (1 << 20) + "\n" + ROWS],
    "an odd row of commas": [HEADER + "," * 300_000 + "\n" + ROWS],
    "blanks": [HEADER + (" " * 50 + "\r\n") * 4000, ROWS],
    "empty lines": ["\n\r\n" * 40_000 + HEADER + "\r\n" * 70_000 + ROWS],
    "one quoted": [HEADER + ROW.replace(",N,", ',"a,b",') * 10 + ROWS],
}


@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("pack", PACKS)
def test_a_layout_is_told_from_the_unpacked_beginning(tmp_path, pack, begin):
    path = tmp_path / "yellow_tripdata_2016-08.csv"
    path.write_bytes(PACKS[pack](*(text.encode() for text in BEGINNINGS[begin])))
    [source] = find_sources(path)
    assert source.era.extra_fields == 2
    [result] = read_block(*source.blocks())
    assert result.kept == 1000 + 10 * (begin == "one quoted")
    assert set(result.rejects["reason"].to_pylist()) <= {"malformed"}
    assert result.bytes == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(HEADER + ROWS)), max_size=12), st.sampled_from(sorted(PACKS)))
def test_any_cutting_into_members_is_the_same_file(tmp_path_factory, cuts, pack):
    text = (HEADER + ROWS).encode()
    borders = [0, *sorted(cuts), len(text)]
    path = tmp_path_factory.mktemp("members") / "yellow_tripdata_2016-08.csv"
    path.write_bytes(PACKS[pack](*(text[low:high] for low, high in pairwise(borders))))
    [result] = read_block(*find_sources(path)[0].blocks())
    assert (result.rows, result.kept) == (1000, 1000)


def test_a_first_block_larger_than_the_head(tmp_path):
    rough = random.Random(0)
    names = [
        "".join(rough.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=60))
        for _ in range(900)
    ]
    text = HEADER + "".join(name + ROW[1:].replace("1.59", f"1.{k}") for k, name in enumerate(names * 3))
    packed = zstandard.ZstdCompressor(level=1).compress(text.encode())
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed[: HEAD_BYTES // 4]) == b""
    path = tmp_path / "2016-08.csv.zst"
    path.write_bytes(packed)
    assert td.read_trips(path)[0].shape[0] == 2700


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_what_a_packed_file_without_trips_is(tmp_path, pack):
    path = tmp_path / "2016-08.csv.packed"
    whole = PACKS[pack](HEADER.encode() + ROWS.encode())
    for packed, message in {
        PACKS[pack](b""): "is empty",
        PACKS[pack](b"", b" \n"): "is empty",
        whole[:15]: f"truncated or damaged {pack}",
        PACKS[pack](b"PAR1" + bytes(100)): f"is Parquet inside {pack}",
        PACKS[pack](b"PK\x03\x04" + bytes(100)): f"is a zip archive inside {pack}",
        PACKS[pack](b"<html>"): "is HTML",
        PACKS[pack](b"a,b\n1,2\n"): "no known era",
    }.items():
        path.write_bytes(packed)
        with pytest.raises(SourceError, match=message):
            find_sources(path)


def test_only_as_much_is_read_as_tells_the_layout():
    storage = Storage()
    asked = []
    read = storage.read
    storage.read = lambda url, *span, version: asked.append(span) or read(url, *span, version=version)  # type: ignore[method-assign]
    text = (HEADER + ROWS * 100).encode()
    for name, raw in {"a.csv": text, "b.csv": (HEADER + "x" * 100_000 + "\n").encode() + text}.items():
        storage.write(f"memory://beginnings/{name}", raw)
    find_sources("memory://beginnings/a.csv", storage=storage)
    assert asked == [(0, HEAD_BYTES)]
    asked.clear()
    find_sources("memory://beginnings/b.csv", storage=storage)
    assert asked == [(0, HEAD_BYTES), (HEAD_BYTES, 5 * HEAD_BYTES), (5 * HEAD_BYTES, 21 * HEAD_BYTES)]


def test_a_storage_that_fails_while_a_file_is_unpacked_is_said_as_that():
    class FailingError(Exception):
        pass

    storage = Storage()
    url = "memory://beginnings/c.csv.zst"
    storage.write(url, zstd((HEADER + ROWS).encode()))
    [source] = find_sources(url, storage=storage)

    def fail(*_, version):
        raise FailingError

    storage.read = fail  # type: ignore[method-assign]
    with pytest.raises(FailingError):
        list(read_block(*source.blocks(), storage=storage))

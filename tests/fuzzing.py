"""Files that lie: mutations of real heads, read by the package and by the slow reader of oracle.py.

    python tests/fuzzing.py --inputs 100000 --first 0

A child process reads the inputs, so that a crash, a hang or memory without end is a finding of the input it was at and
the others go on. Each finding is printed with its number; ``--first NUMBER --inputs 1`` is that input again.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from oracle import assert_same, slow_read

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import SourceError
from taxidask.lake import Lake
from taxidask.space import Grid, Zones
from taxidask.storage import default_storage
from taxidask.trips import REASONS, Block, count_block, find_sources, read_block, streams

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULT_BYTES = 8 << 20
MEMORY = 6 * 8 + 64
"""MiB that a task of 8 MiB blocks may need."""
LONGEST = 120
"""Seconds that one input may take: a hundred times what the slowest takes on a busy machine."""
TOKENS = [
    b"", b"0", b"-1", b"-0", b"x", b"1e400", b"1e-400", b"101", b"500.01", b"9" * 400, b"." * 3, b"1_0", b"0x1f", b"+5",
    b"inf", b"NaN", b"null", b"1.", b".5e1", b"\0", b"\0" * 70, b"\r", b"\n", b"\r\n", b"\n\n\r\n", b"\r\r\n", b'"',
    b'""', b'"a"b', b'","', b"','", b",", b",,", b"," * 300, b" ", b"\t", b" 1 ", b"\x0b", b"\x1a", b"\xa0", b"\xff",
    b"\xc3(", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xd9\xa3", b"v" * 64, b"v" * 65, "é".encode() * 33, b"y" * 20_000,
    b"\\", b"2015-02-29 00:00:00", b"2015-01-15 24:00:00", b"2015-1-15 19:05:39", b"1/15/2015 1:02:03 PM",
    b"#", b"13/1/2015 1:02", b"2015-01-15T19:05:39Z", b"2015-01-15T19:05:39-05:00", b"20150115 190539",
    b"0001-01-01 00:00:00", b"9999-12-31 23:59:59", b"2015-03-08 02:30:00 EST", b"Jan 5, 2015 10:00", b"Cash",
    b"No Charge", b"264", b"1.0", b"40000",
]  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One file, told in numbers: from which head, which of its rows, and what is done to them."""

    base: int
    first: float
    rows: int
    steps: tuple[tuple[str, float, float], ...]
    packing: str = "plain"
    packed_steps: tuple[tuple[str, float, float], ...] = ()
    cuts: tuple[float, ...] = ()
    chunk: int = 1 << 20
    named: bool = True
    lake: bool = False


@cache
def bases() -> list[tuple[str, bytes, list[bytes]]]:
    """Names, headers and rows of the real files; those the package refuses as they are are left out."""
    found = []
    folders = ("trips-head", "headers", "headers-green-fhv", "recent")
    for path in sorted(path for folder in folders for path in (DATA / folder).glob("*.csv")):
        if path.name.startswith("fhv"):
            continue
        raw = path.read_bytes()
        # of the same weight as all the short ones together
        for _ in range(30 if len(raw) > 2000 else 1):
            lines = raw.split(b"\n")
            found.append((path.name, lines[0] + b"\n", lines[1:]))
    return found


def _flip(raw: bytes, at: int, value: float) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << int(value * 8)]) + raw[at + 1 :]


def _lines(raw: bytes, at: int, value: float) -> bytes:
    lines = raw.split(b"\n")
    one, other = at * len(lines) // (len(raw) + 1), int(value * len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _field(raw: bytes, at: int, value: float) -> bytes:
    start, stop = raw.rfind(b",", 0, at) + 1, raw.find(b",", at)
    return raw[:start] + _token(value) + raw[stop if stop >= 0 else len(raw) :]


def _token(value: float) -> bytes:
    return TOKENS[int(value * len(TOKENS))]


def _slice(raw: bytes, at: int, value: float) -> bytes:
    return raw[at : at + 1 + int(200 * value**3)]


MUTATIONS = {
    "flip": _flip,
    "byte": lambda raw, at, value: raw[:at] + bytes([int(value * 256)]) + raw[at + 1 :],
    "insert": lambda raw, at, value: raw[:at] + _token(value) + raw[at:],
    "field": _field,
    "drop": lambda raw, at, value: raw[:at] + raw[at + len(_slice(raw, at, value)) :],
    "twice": lambda raw, at, value: raw[:at] + _slice(raw, at, value) * (2 + int(5 * value)) + raw[at:],
    "cut": lambda raw, at, value: raw[:at] if value < 0.2 else raw,
    "lines": _lines,
    "header": lambda raw, at, value: raw[: (line := raw.find(b"\n", at) + 1)] + raw[: raw.find(b"\n") + 1] + raw[line:],
    "ends": lambda raw, at, value: raw[:at] + raw[at:].replace(b"\n", b"\r\n" if value < 0.5 else b"\r"),
    "wide": lambda raw, at, value: raw[:at] + _slice(raw, at, value).decode("latin-1").encode("utf-16") + raw[at:],
    "quote": lambda raw, at, value: b'"'.join([raw[:at], raw[at : (end := at + int(30 * value))], raw[end:]]),
}  # fmt: skip
PACKINGS = ["plain"] * 6 + ["gzip", "zstd", "parquet", "parquet", "utf-16"]


def drawn(number: int) -> Input:
    """The input of a number, always the same."""
    rng = random.Random(number)

    def steps(most: int) -> tuple[tuple[str, float, float], ...]:
        some = int(rng.random() ** 2 * (most + 1))
        low = -1 * (rng.random() < 0.1)
        return tuple(
            (rng.choice(list(MUTATIONS)), min(rng.uniform(low, 1), 1 - 1e-9), rng.random()) for _ in range(some)
        )

    packing = rng.choice(PACKINGS)
    return Input(
        rng.randrange(len(bases())), rng.random(), int(rng.random() ** 2 * 60), steps(12), packing,
        steps(4) if packing in ("gzip", "zstd", "parquet") else (),
        tuple(rng.random() for _ in range(rng.randrange(7))), rng.choice([64, 500, 1 << 20]),
        rng.random() < 0.8, rng.random() < 0.03,
    )  # fmt: skip


def mutated(raw: bytes, steps: tuple[tuple[str, float, float], ...], begin: int = 0) -> bytes:
    """Bytes after some mutations, one after another: behind a beginning, or anywhere where the place is below 0."""
    for name, place, value in steps:
        low = begin if place >= 0 else 0
        if len(raw) > low:
            raw = MUTATIONS[name](raw, low + int(abs(place) * (len(raw) - low)), value)
    return raw


def text_of(one: Input) -> tuple[str, bytes, bytes]:
    """Its name, header and text, before it is packed."""
    name, header, rows = bases()[one.base]
    at = int(one.first * max(len(rows) - one.rows, 1))
    return name, header, mutated(header + b"\n".join(rows[at : at + one.rows]), one.steps, len(header))


def unpacked(raw: bytes, packing: str) -> bytes | None:
    """What others unpack of it; None where they say that it is damaged."""
    try:
        if packing == "gzip":
            return gzip.decompress(raw)
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True) as reader:
            found = reader.read()
        decompressor, rest = zstandard.ZstdDecompressor(), raw
        while rest:  # the reader takes a frame that is cut short for a whole one
            member = decompressor.decompressobj()
            member.decompress(rest)
            if not member.eof:
                return None
            rest = member.unused_data
        return found
    except (zlib.error, EOFError, OSError, zstandard.ZstdError):
        return None


def pack(raw: bytes, one: Input) -> bytes:
    """A text in members, whole."""
    borders = [0, *sorted(int(cut * len(raw)) for cut in one.cuts), len(raw)]
    squeeze = gzip.compress if one.packing == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress
    return b"".join(squeeze(raw[low:high]) for low, high in pairwise(borders))


def parquet_of(text: bytes, one: Input) -> bytes:
    """The head's own rows as Parquet of text columns, in one of many ways to write it."""
    rng = random.Random(one.first)
    names, *rows = [line.rstrip("\r").split(",") for line in text.decode("latin-1").split("\n")]
    rows = [row for row in rows if len(row) >= len(names)]
    table = pa.table({name.strip(): pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression=rng.choice(["none", "snappy", "zstd", "gzip"]),
        row_group_size=rng.choice([1, 7, 1000]), use_dictionary=rng.random() < 0.5,
        write_page_checksum=rng.random() < 0.5, data_page_size=rng.choice([64, 1 << 20]),
        data_page_version=rng.choice(["1.0", "2.0"]), store_schema=rng.random() < 0.5,
    )  # fmt: skip
    return sink.getvalue()


def numbers_of(results) -> tuple[int, int, Counter]:
    """Rows, kept rows and reasons; each result is whole in itself."""
    reasons: Counter = Counter()
    for result in results:
        assert result.rows == result.kept + sum(result.rejected.values())
        assert (result.kept, result.rows) == (result.trips.num_rows, result.kept + result.rejects.num_rows)
        result.trips.validate(full=True)
        result.rejects.validate(full=True)
        reasons.update(result.rejected)
    return sum(result.rows for result in results), sum(result.kept for result in results), +reasons


def check(one: Input, folder: Path) -> str:
    """Read a file in every way there is; what became of it. AssertionError, and any but SourceError, is a finding."""
    name, header, raw = text_of(replace(one, steps=()) if one.packing == "parquet" else one)
    text: bytes | None = raw
    if one.packing in ("gzip", "zstd"):
        raw = mutated(pack(raw, one), one.packed_steps)
        text = unpacked(raw, one.packing)
    elif one.packing == "parquet":
        raw = mutated(parquet_of(raw, one), one.packed_steps)
    elif one.packing == "utf-16":
        text = raw = raw.decode("latin-1").encode(["utf-16", "utf-16-le", "utf-16-be"][one.rows % 3])
    path = folder / (name if one.named else "trips.csv")
    url = str(path) if one.rows % 2 else f"memory://fuzzing/{path.name}"
    default_storage().write(url, raw)
    try:
        [source] = find_sources(url)
    except SourceError:
        # what begins with the header of a real file is refused for one reason only: that it is packed and damaged
        plain = one.packing == "plain" or (text is not None and one.packing in ("gzip", "zstd"))
        assert not (plain and text and text.startswith(header)), "a file with a whole header was refused"
        return "refused"
    space = Grid.new_york() if source.era.locations == "points" else Zones()
    with mock.patch.multiple(streams, CHUNK_BYTES=one.chunk, _BEYOND_BYTES=min(one.chunk, 100)):
        if source.format == "parquet":
            return _check_parquet(source, one, space)
        try:
            whole = list(read_block(*source.blocks(), result_bytes=RESULT_BYTES))
        except SourceError:
            assert text is None, "a file that others unpack was refused"
            return "damaged"
        assert text is not None, "a file that others call damaged was read"
        expected = slow_read(text, source.month)
        assert_same(whole, expected)
        found = numbers_of(whole)
        if source.splittable:
            borders = [0, *sorted({int(cut * len(raw)) for cut in one.cuts} - {0, len(raw)}), len(raw)]
            cut = [Block(source, low, high) for low, high in pairwise(borders)]
            parts = [result for block in cut for result in read_block(block)]
            assert pa.concat_tables([part.trips for part in parts]).equals(whole[0].trips)
            assert pa.concat_tables([part.rejects for part in parts]).equals(whole[0].rejects)
            assert numbers_of(parts) == found
            assert sum(part.bytes for part in parts) == source.size
            counted = [count_block(block, space=space, slot_seconds=1800) for block in cut]
        else:
            counted = [count_block(*source.blocks(), space=space, slot_seconds=1800)]
        assert (sum(part.rows for part in counted), sum(part.kept for part in counted)) == found[:2]
        assert sum((Counter(part.rejected) for part in counted), Counter()) == found[2]
        if one.lake:
            _check_lake(url, found)
    return "read"


def _check_parquet(source, one: Input, space) -> str:
    try:
        results = list(read_block(*source.blocks(), result_bytes=RESULT_BYTES))
    except SourceError:
        assert one.packed_steps, "a whole Parquet file was refused"
        return "damaged"
    found = numbers_of(results)
    with default_storage().open(source.url) as file:
        assert pq.ParquetFile(file).metadata.num_rows == found[0]
    small = list(read_block(*source.blocks(), result_bytes=500))
    assert numbers_of(small) == found
    assert pa.concat_tables([part.trips for part in small]).equals(pa.concat_tables([part.trips for part in results]))
    counted = count_block(*source.blocks(), space=space, slot_seconds=1800)
    assert (counted.rows, counted.kept, +Counter(counted.rejected)) == found
    return "read"


def _check_lake(url: str, found: tuple[int, int, Counter]) -> None:
    lake = Lake(f"memory://fuzzing/lake-{time.monotonic_ns()}")
    [one] = lake.ingest(url, client=ThreadExecutor(1), errors="report").sources
    if one.rows == 0 and one.error is not None:
        return  # as dates whose order nobody can tell
    assert (one.rows, one.kept, +Counter(one.rejected)) == found
    trips, rejects = lake.trips(), lake.rejects()
    assert (len(trips), len(rejects)) == (found[1], found[0] - found[1])
    assert set(rejects["reason"]) <= set(REASONS)
    for stat in default_storage().list(lake.url):
        default_storage().delete(stat.url)


def _child(first: int, inputs: int) -> None:
    """Read inputs, saying the number of each before it and what became of it after."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(100):  # compile, fill caches
            with contextlib.suppress(Exception):
                check(replace(drawn(number), packed_steps=()), Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), resource.RLIM_INFINITY))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, first + inputs):
            print(number, flush=True)
            try:
                became = check(drawn(number), Path(folder))
            except Exception:
                became = "FINDING " + traceback.format_exc(limit=-4).replace("\n", " | ")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if peak - most > MEMORY << 10:
                became, most = f"FINDING {(peak - most) >> 10} MiB more than before ({became})", peak
            print(became, flush=True)
        print(f"grown {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most) >> 10}", flush=True)


def run(first: int, inputs: int) -> tuple[Counter, list[str], int]:
    """Read inputs in children; what became of them, the findings, and how much memory (MiB) they took at most."""
    became: Counter = Counter()
    findings: list[str] = []
    grown, stop = 0, first + inputs
    while first < stop:
        command = [sys.executable, __file__, "--child", "--first", str(first), "--inputs", str(stop - first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            timer = threading.Timer(LONGEST * 3, child.kill)
            timer.start()
            errors: list[str] = []
            listener = threading.Thread(target=lambda: errors.extend(child.stderr))  # noqa: B023
            listener.start()
            at = first - 1
            for line in child.stdout:
                timer.cancel()
                timer = threading.Timer(LONGEST, child.kill)
                timer.start()
                text = line.strip()
                if text.isdigit():
                    at = int(text)
                elif text.startswith("grown"):
                    grown = max(grown, int(text.split()[1]))
                    first = stop
                elif text.startswith("FINDING"):
                    findings.append(f"{at}: {text}")
                    print(findings[-1], flush=True)
                else:
                    became[text] += 1
                    if at % 1000 == 999:
                        print(f"{at + 1:,}: {dict(became)}, {len(findings)} findings", flush=True)
            timer.cancel()
            listener.join()
        if first < stop:
            if at < first:
                raise RuntimeError(f"the child did not begin: {''.join(errors)[-2000:]}")
            findings.append(f"{at}: the process ended with {child.returncode}: {''.join(errors)[-500:]}")
            print(findings[-1], flush=True)
            first = at + 1
    return became, findings, grown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.first, given.inputs)
    else:
        began = time.monotonic()
        totals, found, memory = run(given.first, given.inputs)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{given.inputs:,} inputs: {dict(totals)}, {len(found)} findings; {memory} MiB more at most; "
            f"{used.ru_utime + used.ru_stime:,.0f} s of CPU, {time.monotonic() - began:,.0f} s"
        )
        sys.exit(bool(found))

"""The Parquet files of a lake: written with checksums, read with their verification, and damage told with its cure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import xxhash

from taxidask.errors import LakeError
from taxidask.storage import MissingError, RangeFile, Stat, Storage, join
from taxidask.trips.schema import PLACES
from taxidask.words import command

from .manifest import Part

DICTIONARY = [
    "vendor_id", "passenger_count", "rate_code_id", "store_and_fwd_flag", "pickup_location_id", "dropoff_location_id",
    "payment_type", "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge",
    "congestion_surcharge", "airport_fee", "cbd_congestion_fee", "total_amount", "trip_distance", "source", "reason",
]  # fmt: skip
TAIL = 1 << 16  # bytes that Arrow reads for a footer, at once
FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


class DamagedError(LakeError):
    """A file of the lake that is not what was written."""


class GoneError(DamagedError):
    """A file that a manifest names and that is not there."""


def mend(lake: str, source: str) -> str:
    """How a damaged part of a source is mended, in a line that works when pasted."""
    again = command("taxidask lake check --mend", lake=lake)
    return f"restore the file from a copy, or read {source} again: {again} (in Python, lake.check(mend=True))"


@contextlib.contextmanager
def damage(url: str, source: str, remedy: str) -> Iterator[None]:
    """Tell what goes wrong in a file of the lake as damage, with the file's name and how it is mended."""
    try:
        yield
    except MissingError as error:
        raise GoneError(f"{url} of {source} is not there", remedy) from error
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise DamagedError(f"{url} of {source} is damaged: {error}", remedy) from error


def to_parquet(tables: Any, schema: pa.Schema) -> memoryview:
    """Tables as one Parquet file, each as a row group: only one of them is held at a time."""
    sink = pa.BufferOutputStream()
    encodings = {
        "use_dictionary": [name for name in schema.names if name in DICTIONARY],
        "column_encoding": {name: "BYTE_STREAM_SPLIT" for name in schema.names if name in PLACES["points"]},
    }
    with pq.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, write_page_checksum=True, **encodings
    ) as writer:
        for table in tables:
            writer.write_table(table)
    return memoryview(sink.getvalue())


def footer_of(data: bytes | memoryview) -> str:
    """A checksum of what Parquet has none for: where pages are, how they are written, which values they span."""
    if len(data) < 12 or bytes(data[-4:]) != b"PAR1":
        raise ValueError("it does not end as Parquet does")
    length = int.from_bytes(data[-8:-4], "little") + 8
    if length > len(data):
        raise ValueError(f"its footer would have {length:,} bytes, more than are there")
    return xxhash.xxh3_64_hexdigest(bytes(data[-length:]))


class _Verified(RangeFile):
    """A part whose end was read and compared with its manifest; Arrow finds its footer there, and asks no more."""

    def __init__(self, storage: Storage, url: str, part: Part) -> None:
        super().__init__(storage, Stat(url, part.bytes, ""))
        self._tail = storage.read(url, max(part.bytes - TAIL, 0), part.bytes + 1)
        if len(self._tail) != min(part.bytes, TAIL):
            raise ValueError(f"it has other than the {part.bytes:,} bytes that its manifest says")
        length = int.from_bytes(self._tail[-8:-4], "little") + 8
        if TAIL < length <= part.bytes:
            self._tail = storage.read(url, part.bytes - length, part.bytes)
        if part.footer and footer_of(self._tail) != part.footer:
            raise ValueError("its footer is not the one that was written")
        self._tail_at = part.bytes - len(self._tail)

    def range(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``; those of the end are at hand."""
        if start >= self._tail_at:
            return self._tail[start - self._tail_at : stop - self._tail_at]
        return super().range(start, stop)


@contextlib.contextmanager
def open_part(lake: str, storage: Storage, part: Part, source: str) -> Iterator[pa.NativeFile]:
    """Open a part for Arrow, its size and footer verified; whatever is found wrong inside is told as damage."""
    url = join(lake, part.path)
    with damage(url, source, mend(lake, source)), _Verified(storage, url, part) as file:
        yield pa.PythonFile(file, mode="r")


@contextlib.contextmanager
def read_part(lake: str, storage: Storage, part: Part, source: str) -> Iterator[pq.ParquetFile]:
    """Open a part for reading whole row groups."""
    with open_part(lake, storage, part, source) as file:
        reader = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True)
        check_rows(reader, part)
        yield reader


def check_rows(opened: pq.ParquetFile | ds.ParquetFileFragment, part: Part) -> None:
    """That a part has the rows its manifest says, which its footer has been read for anyway."""
    if opened.metadata.num_rows != part.rows:
        raise ValueError(f"it has {opened.metadata.num_rows:,} rows, and {part.rows:,} were written")

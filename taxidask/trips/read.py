"""Reading trips: a block as tables, a block as counts, a file as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from taxidask.errors import SourceError
from taxidask.storage import Storage, default_storage

from .blockcounts import BlockCounts, Counter
from .eras import LONGEST_ROW
from .parquet import read_parquet
from .rules import Rules, check_order, check_rules
from .schema import REASONS, trip_schema
from .sources import Block, find_sources
from .streams import RangeReader, row_chunks
from .tables import Judged, Rejects, Trips
from .unpack import Unpacked

if TYPE_CHECKING:
    import pandas as pd

    from taxidask.space import Space

RESULT_BYTES = 64 << 20
"""Text of one result of a source that is read as a stream, at most."""
REJECTS_SHARE = 2
"""Bytes of rejects that a result holds for each byte of its text: all, unless its rows are very short."""
LEAST_REJECTS = 4 << 20


@dataclass
class BlockResult:
    """What was read of a block: the kept rows, the others, and the counts of both.

    Attributes
    ----------
    trips : pyarrow.Table
        Kept rows in the order of the file, columns of `TRIP_SCHEMA`.
    rejects : pyarrow.Table
        Rejected rows, as `REJECT_SCHEMA`; where they would take several times the text's bytes, a sample of them.
    rows, kept : int
        Rows read and rows kept; kept and the sum of `rejected` make rows.
    rejected : dict
        Rejected rows by reason, every reason named.
    unreadable : dict
        Values by column that were neither empty nor readable, and are null.
    bytes : int
        Bytes of the file this covers (compressed ones, where they are).
    content : list of str
        xxh3_128 of the file's 8 MiB ranges completed so far, those of earlier results left out.
    zoned : dict
        Times marked UTC (`utc`, taken as they stand) and of other zones (`converted`), and dates by their order,
        where there are any.
    examples : dict
        By reason, the first text that could not be read.
    """

    trips: pa.Table
    rejects: pa.Table
    rows: int
    kept: int
    rejected: dict[str, int]
    unreadable: dict[str, int]
    bytes: int
    content: list[str]
    zoned: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)


def add_up(total: dict[str, int], more: dict[str, int]) -> None:
    """Add counts to counts of the same names."""
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def read_block(
    block: Block,
    *,
    storage: Storage | None = None,
    rules: Rules = Rules(),
    columns: Sequence[str] | None = None,
    result_bytes: int = RESULT_BYTES,
) -> Iterator[BlockResult]:
    """Read the rows that start in a block.

    Parameters
    ----------
    block : Block
        A byte range of a source; the whole of one that cannot be split.
    storage : Storage, optional
        Where it is read.
    rules : Rules
        What rows must pass.
    columns : sequence of str, optional
        Which columns to read; all of `TRIP_SCHEMA` by default.
    result_bytes : int
        A compressed or Parquet source is handed out in results of about this many bytes of text.

    Yields
    ------
    BlockResult
        One for a plain CSV block; for other sources one after another, so that memory stays bounded.
    """
    storage = storage or default_storage()
    source = block.source
    check_rules(rules)
    wanted = None if columns is None else trip_schema(columns).names
    if source.format == "parquet":
        room = max(REJECTS_SHARE * result_bytes, LEAST_REJECTS)
        for part in read_parquet(
            block, storage=storage, rules=rules, columns=wanted, result_bytes=result_bytes, room=room
        ):
            yield BlockResult(*part)
        return
    reader, chunks = _open(block, storage)
    size = block.stop - block.start if source.splittable else result_bytes
    room = max(REJECTS_SHARE * size, LEAST_REJECTS)
    try:
        done_bytes, done_content = (block.start, 0) if source.splittable else (0, 0)
        judged, rejects = Judged(source.era, source.month, rules), Rejects(source.url, room)
        trips, taken = Trips(judged, wanted, size + LONGEST_ROW), 0

        def result() -> BlockResult:
            return BlockResult(
                trips.table(), rejects.table(), judged.rows, trips.count, judged.reasons(), trips.unreadable,
                min(reader.at, block.stop) - done_bytes, reader.content[done_content:],
                judged.zoned, judged.examples,
            )  # fmt: skip

        for text, length, base in chunks:
            if not source.splittable and taken and taken + length > size:
                yield result()
                done_bytes, done_content = min(reader.at, block.stop), len(reader.content)
                judged, rejects = Judged(source.era, source.month, rules), Rejects(source.url, room)
                trips, taken = Trips(judged, wanted, size + LONGEST_ROW), 0
            kept, bad = judged.take(text, length, trips.passengers_known, trips.count)
            trips.take(text, kept)
            rejects.take(text, base, judged, bad)
            taken += length
        reader.finish()
        yield result()
    finally:
        reader.close()


def count_block(
    block: Block,
    *,
    storage: Storage | None = None,
    rules: Rules = Rules(),
    space: Space,
    slot_seconds: int,
    start_second: int = 0,
    content: bool = True,
) -> BlockCounts:
    """Count the rows that start in a block by slot, cell and direction, without tables in between.

    Parameters
    ----------
    block : Block
        A byte range of a source; the whole of one that cannot be split.
    storage : Storage, optional
        Where it is read.
    rules : Rules
        What rows must pass.
    space : Grid or Zones
        The cells.
    slot_seconds : int
        Length of a slot.
    start_second : int
        Where slot 0 starts, in seconds since 1970; ends before it have negative slots.
    content : bool
        Whether to hash the block's ranges; needed only where another source may hold the same.
    """
    storage = storage or default_storage()
    source = block.source
    judged = Judged(source.era, source.month, rules)
    counter = Counter(judged, space, slot_seconds=slot_seconds, start_second=start_second, month=source.month)
    size = block.stop - block.start
    if source.format == "parquet":
        ranges: list[str] = []
        names = ["pickup_datetime", "dropoff_datetime", *_places(judged.zones)]
        for trips, _, rows, _, rejected, _, _, part, zoned, examples in read_parquet(
            block, storage=storage, rules=rules, columns=names, result_bytes=RESULT_BYTES, room=0
        ):
            add_up(judged.zoned, zoned)
            judged.examples = examples | judged.examples
            judged.rows += rows
            judged.rejected += np.array([rejected[reason] for reason in REASONS])
            ranges += part
            judged.load(trips)
            counter.take(trips.num_rows)
        return counter.result(size=size, content=ranges)
    reader, chunks = _open(block, storage, hashed=content)
    try:
        for text, length, _ in chunks:
            kept, _ = judged.take(text, length)
            counter.take(kept)
        reader.finish()
        return counter.result(size=size, content=reader.content)
    finally:
        reader.close()


def _places(zones: bool) -> tuple[str, ...]:
    return (
        ("pickup_location_id", "dropoff_location_id")
        if zones
        else ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")
    )


def _open(
    block: Block, storage: Storage, *, hashed: bool = True
) -> tuple[RangeReader, Iterator[tuple[np.ndarray, int, int]]]:
    source = block.source
    inside = block.start < source.data_start
    if not source.splittable:
        reader = RangeReader(block, storage, start=0, hashed=hashed)
        unpacked = Unpacked(reader, str(source.compression), source.unpack)
        unpacked.skip(source.data_start)
        return reader, row_chunks(unpacked.read_into, source.data_start, seek=False, limit=None, url=source.url)
    start = block.start if inside else block.start - 1
    reader = RangeReader(block, storage, start=start, hashed=hashed)
    if inside:
        start = min(source.data_start, block.stop)
        reader.skip(start)
    return reader, row_chunks(reader.read_into, start, seek=not inside, limit=block.stop, url=source.url)


def read_trips(
    url: str | PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    month: str | None = None,
    rules: Rules = Rules(),
    storage: Storage | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read one source into memory, for looking at.

    Parameters
    ----------
    url : str or path
        A CSV (plain, gzip, zstd) or Parquet file of trips, of any era.
    columns : sequence of str, optional
        Which columns to read; all by default, null where the era lacks them.
    month : str, optional
        The month pickups must lie in, `YYYY-MM`; by default the one in the file's name.
    rules : Rules
        What rows must pass.
    storage : Storage, optional
        Where it is read.

    Returns
    -------
    (DataFrame, DataFrame)
        Kept rows, and rejects with their byte offset, raw line and reason.
    """
    storage = storage or default_storage()
    sources = find_sources(url, storage=storage, month=month)
    if len(sources) > 1:
        raise SourceError(
            f"{url} is {len(sources)} files, and read_trips reads one", "ingest them: td.Lake(url).ingest(sources)"
        )
    results = [
        result
        for block in sources[0].blocks()
        for result in read_block(block, storage=storage, rules=rules, columns=columns)
    ]
    zoned: dict[str, int] = {}
    for result in results:
        add_up(zoned, result.zoned)
    check_order(sources[0].url, sources[0].month, zoned)
    trips = pa.concat_tables([result.trips for result in results])
    rejects = pa.concat_tables([result.rejects for result in results])
    return trips.to_pandas(), rejects.to_pandas()

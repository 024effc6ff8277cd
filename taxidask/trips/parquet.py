"""Parquet sources: the same rules and the same tables, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxidask.errors import SourceError
from taxidask.storage import Storage

from .rules import KEPT, Rules, judge_columns
from .schema import REASONS, trip_schema
from .sources import Block
from .streams import RangeReader
from .tables import BAD_DATETIME, Rejects, sample, shortened
from .typed import column as canonical
from .typed import decoded, floats, is_text, text_lengths, times, values_of

ROW_BYTES = 160
"""Text bytes a row would have in CSV: what a result's size is reckoned in."""
_SLICE_ROWS, _SLICE_BYTES = 4096, 8 << 20
Part = tuple[
    pa.Table, pa.Table, int, int, dict[str, int], dict[str, int], int, list[str], dict[str, int], dict[str, str]
]


def read_parquet(
    block: Block, *, storage: Storage, rules: Rules, columns: list[str] | None, result_bytes: int, room: int
) -> Iterator[Part]:
    """Read a Parquet source; the fields of a `BlockResult` for every batch of rows, with `room` bytes for rejects."""
    source = block.source
    reader = RangeReader(block, storage, start=0)
    try:
        reader.skip(source.size)
    finally:
        reader.close()
    schema = trip_schema(columns)
    given = False
    try:
        with storage.open(source.url, size=source.size, version=source.version) as file:
            # texts as numbers of different ones: a long one that every row has is held once
            table = pq.ParquetFile(file)
            source.unpack.check(source.url, _unpacked(table.metadata), source.size)
            words = [field.name for field in table.schema_arrow if is_text(field.type)]
            table = pq.ParquetFile(file, metadata=table.metadata, read_dictionary=words)
            names = {column: source.era.header[source.era.position(column)] for column in source.era.columns if column}
            row = 0
            batches = table.iter_batches(max(result_bytes // ROW_BYTES, 1))
            for batch in batches:
                _check_categories(batch)
                data = {column: batch.column(batch.schema.get_field_index(name)) for column, name in names.items()}
                last = row + batch.num_rows == table.metadata.num_rows
                size, content = (source.size, reader.content) if last else (0, [])
                rejects = Rejects(source.url, room)
                yield _judged(batch, data, row, schema, block, rules, rejects, size, content)
                given = given or last
                row += batch.num_rows
            if not given:
                none = dict.fromkeys(REASONS, 0)
                empty = schema.empty_table(), Rejects(source.url, 0).table()
                yield *empty, 0, 0, none, {}, source.size, reader.content, {}, {}
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{source.url} is a damaged Parquet file: {error}", "download it again") from error


def _unpacked(metadata: pq.FileMetaData) -> int:
    """Bytes that all its columns have unpacked, as it says itself."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns))


def _check_categories(batch: pa.RecordBatch) -> None:
    """Raise where a row has the number of a value that there is not: Arrow itself does not look."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type) and len(column) > column.null_count:
            found = pc.min_max(column.indices)
            if found["min"].as_py() < 0 or found["max"].as_py() >= len(column.dictionary):
                raise pa.ArrowInvalid(f"the column {name!r} has the number of a value that it does not hold")


def _judged(
    batch: pa.RecordBatch,
    data: dict[str, pa.Array],
    row: int,
    schema: pa.Schema,
    block: Block,
    rules: Rules,
    rejects: Rejects,
    size: int,
    content: list[str],
) -> Part:
    source = block.source
    zones = source.era.locations == "zones"
    where = {name: f"the column {source.era.header[source.era.position(name)]!r} of {source.url}" for name in data}
    judged: dict[str, Any] = {}
    zoned: dict[str, int] = {}
    written = {end: data[f"{end}_datetime"] for end in ("pickup", "dropoff")}
    for end in ("pickup", "dropoff"):
        found = times(data[f"{end}_datetime"])
        judged[f"{end}_missing"], judged[f"{end}_datetime"] = found.missing, found.stamps
        data[f"{end}_datetime"] = pa.array(found.stamps.view("datetime64[us]"), mask=found.missing)
        for name, count in found.zoned.items():
            zoned[name] = zoned.get(name, 0) + count
    places = ("location_id",) if zones else ("longitude", "latitude")
    for name in [
        "trip_distance",
        "fare_amount",
        *(f"{end}_{place}" for end in ("pickup", "dropoff") for place in places),
    ]:
        judged[name] = floats(data[name], where[name])[0]
    people, strange = floats(data["passenger_count"], where["passenger_count"])
    judged["passenger_count"] = np.where(strange, 0.5, people)  # neither empty nor a number: malformed
    codes = judge_columns(judged, zones=zones, month=source.month, rules=rules)
    examples: dict[str, str] = {}
    for at in np.flatnonzero(codes == BAD_DATETIME)[:1].tolist():
        end = "pickup" if judged["pickup_missing"][at] else "dropoff"
        if is_text(values_of(written[end].type)):
            examples["bad_datetime"] = shortened(_values(written[end].slice(at, 1))[0] or "")
    kept = codes == KEPT
    rejected = np.bincount(codes[~kept], minlength=len(REASONS))
    keep = pa.array(kept)
    unreadable: dict[str, int] = {}
    arrays = []
    for field in schema:
        if field.name not in data:
            arrays.append(pa.nulls(int(kept.sum()), field.type))
            continue
        array, bad = data[field.name].filter(keep), 0
        if not pa.types.is_timestamp(field.type):
            array, bad = canonical(array, field, where[field.name])
        unreadable[field.name] = bad
        arrays.append(array)
    for numbers in _slices(batch, np.flatnonzero(~kept)):
        if rejects.full:
            numbers = numbers[sample(codes[numbers])]
        lines = [json.dumps(line, default=str).encode() for line in _rows(batch.take(pa.array(numbers)))]
        ends = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int32)
        rejects.add(numbers + row, codes[numbers], np.frombuffer(b"".join(lines), np.uint8), ends)
    counts = dict(zip(REASONS, rejected.tolist(), strict=True))
    trips = pa.Table.from_arrays(arrays, schema=schema)
    return (
        trips, rejects.table(), batch.num_rows, trips.num_rows, counts, unreadable, size, content, zoned, examples,
    )  # fmt: skip


def _slices(batch: pa.RecordBatch, numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in slices that need little memory as Python's objects, however long their texts are."""
    if not len(numbers):
        return
    sizes = np.full(len(numbers), _SLICE_BYTES // _SLICE_ROWS)
    for column in batch.columns:
        if is_text(values_of(column.type)):
            sizes += text_lengths(column.take(pa.array(numbers)))
    yield from np.split(numbers, np.flatnonzero(np.diff(np.cumsum(sizes) // _SLICE_BYTES)) + 1)


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as Python has them."""
    columns = [_values(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    """Values as Python has them: texts that are no UTF-8 as Latin-1, times that it has none for as their numbers."""
    if is_text(values_of(column.type)):
        texts = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        return [None if raw is None else decoded(raw) for raw in texts.cast(pa.large_binary()).to_pylist()]
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()

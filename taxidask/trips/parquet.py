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
from .tables import Rejects

ROW_BYTES = 160
"""Text bytes a row would have in CSV: what a result's size is reckoned in."""
_WORDS = {"cre": 1, "crd": 1, "cas": 2, "csh": 2, "dis": 4, "unk": 5}


def read_parquet(
    block: Block, *, storage: Storage, rules: Rules, columns: list[str] | None, result_bytes: int
) -> Iterator[tuple[pa.Table, pa.Table, int, int, dict[str, int], dict[str, int], int, list[str]]]:
    """Read a Parquet source; the fields of a `BlockResult` for every batch of rows."""
    source = block.source
    reader = RangeReader(block, storage, start=0)
    try:
        reader.skip(source.size)
    finally:
        reader.close()
    schema = trip_schema(columns)
    given = False
    try:
        with storage.open(source.url) as file:
            table = pq.ParquetFile(file)
            names = {column: source.era.header[source.era.position(column)] for column in source.era.columns if column}
            row = 0
            batches = table.iter_batches(max(result_bytes // ROW_BYTES, 1))
            for batch in batches:
                data = {column: batch.column(batch.schema.get_field_index(name)) for column, name in names.items()}
                part = _judged(batch, data, row, schema, block, rules)
                last = row + batch.num_rows == table.metadata.num_rows
                yield *part, source.size if last else 0, reader.content if last else []
                given = given or last
                row += batch.num_rows
            if not given:
                none = dict.fromkeys(REASONS, 0)
                yield schema.empty_table(), Rejects(source.url).table(), 0, 0, none, {}, source.size, reader.content
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{source.url} is a damaged Parquet file: {error}", "download it again") from error


def _judged(
    batch: pa.RecordBatch, data: dict[str, pa.Array], row: int, schema: pa.Schema, block: Block, rules: Rules
) -> tuple[pa.Table, pa.Table, int, int, dict[str, int], dict[str, int]]:
    zones = block.source.era.locations == "zones"
    judged: dict[str, Any] = {}
    for end in ("pickup", "dropoff"):
        times = _times(data[f"{end}_datetime"])
        data[f"{end}_datetime"] = times
        judged[f"{end}_missing"] = times.is_null().to_numpy(zero_copy_only=False)
        judged[f"{end}_datetime"] = pc.fill_null(times.cast(pa.int64()), 0).to_numpy()
    places = ("location_id",) if zones else ("longitude", "latitude")
    for name in [
        "trip_distance",
        "fare_amount",
        *(f"{end}_{place}" for end in ("pickup", "dropoff") for place in places),
    ]:
        judged[name] = _floats(data[name])[0]
    people, strange = _floats(data["passenger_count"])
    judged["passenger_count"] = np.where(strange, 0.5, people)  # neither empty nor a number: malformed
    codes = judge_columns(judged, zones=zones, month=block.source.month, rules=rules)
    kept = codes == KEPT
    rejected = np.bincount(codes[~kept], minlength=len(REASONS))
    keep = pa.array(kept)
    unreadable: dict[str, int] = {}
    arrays = []
    for field in schema:
        if field.name not in data:
            arrays.append(pa.nulls(int(kept.sum()), field.type))
            continue
        array, bad = _column(data[field.name].filter(keep), field)
        unreadable[field.name] = bad
        arrays.append(array)
    rejects = Rejects(block.source.url)
    numbers = np.flatnonzero(~kept)
    if len(numbers):
        lines = [json.dumps(line, default=str).encode() for line in batch.take(pa.array(numbers)).to_pylist()]
        ends = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int32)
        rejects.add(numbers + row, codes[~kept], np.frombuffer(b"".join(lines), np.uint8), ends)
    counts = dict(zip(REASONS, rejected.tolist(), strict=True))
    trips = pa.Table.from_arrays(arrays, schema=schema)
    return trips, rejects.table(), batch.num_rows, trips.num_rows, counts, unreadable


def _times(array: pa.Array) -> pa.Array:
    """Times as microseconds of the clock; null where there is none. 2009 and 2010 are published as text."""
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        text = pc.utf8_trim(array.cast(pa.string()), " \t")
        good = pc.match_substring_regex(text, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
        times = pc.strptime(pc.if_else(good, text, None), "%Y-%m-%d %H:%M:%S", "s", error_is_null=True)
        # strptime takes February 30 for March 2: what is not written as it was read is no date
        real = pc.equal(pc.strftime(times, "%Y-%m-%d %H:%M:%S"), text)
        return pc.if_else(real, times, None).cast(pa.timestamp("us"))
    return pa.nulls(len(array), pa.timestamp("us"))


def _floats(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64, NaN where missing or unreadable, and which are unreadable."""
    strange = np.zeros(len(array), bool)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        text = pc.utf8_trim(array.cast(pa.string()), " \t")
        filled = pc.fill_null(pc.not_equal(text, ""), False)
        good = pc.fill_null(pc.match_substring_regex(text, r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"), False)
        strange = pc.and_not(filled, good).to_numpy(zero_copy_only=False)
        values = [float(value) if ok else np.nan for value, ok in zip(text.to_pylist(), good.to_pylist(), strict=True)]
        return np.array(values, dtype=np.float64), strange
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), strange
    return pc.fill_null(array.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False), strange


def _column(array: pa.Array, field: pa.Field) -> tuple[pa.Array, int]:
    """A column in its canonical type, and how many values were unreadable."""
    kind = field.type
    if pa.types.is_timestamp(kind):
        return array, 0
    if kind == pa.string():
        if pa.types.is_floating(array.type):
            array = array.cast(pa.int64(), safe=False)  # 1.0 where nulls made a code a float
        text = pc.utf8_trim(array.cast(pa.string()), " \t")
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), 0
    if field.name == "payment_type" and pa.types.is_string(array.type):
        codes = [_payment(word) for word in array.to_pylist()]
        return pa.array([code if code is not None and code >= 0 else None for code in codes], pa.int8()), codes.count(
            -1
        )
    values, strange = _floats(array)
    known = ~np.isnan(values)
    if kind != pa.float64():
        low, high = (0, 6) if field.name == "payment_type" else (-32768, 32767)
        fits = known & (np.floor(values) == values) & (values >= low) & (values <= high)
        bad = int((known & ~fits).sum() + strange.sum())
        return pa.array(np.where(fits, values, 0).astype(kind.to_pandas_dtype()), kind, mask=~fits), bad
    return pa.array(values, kind, mask=~known), int(strange.sum())


def _payment(word: str | None) -> int | None:
    """The data dictionary's code, None where empty, -1 where it is neither number nor word."""
    text = (word or "").strip(" \t").lower()
    if not text:
        return None
    code = 3 if text.startswith("no") else _WORDS.get(text[:3])
    if code is not None:
        return code
    try:
        value = float(text)
    except ValueError:
        return -1
    return int(value) if value in range(7) else -1

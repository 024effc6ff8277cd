"""Reading the lake: only the parts, row groups and columns that a query needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from taxidask.errors import QuestionError
from taxidask.storage import Storage
from taxidask.trips.schema import REJECT_SCHEMA, TRIP_SCHEMA, trip_schema
from taxidask.units import is_whole

from .filters import Where, check_columns, naive, parse_where
from .manifest import Manifest, Part
from .parts import FORMAT, check_rows, open_part

DAY_US = 86_400_000_000
READERS = 8  # parts read at the same time: most of the wait is for the storage


def micros(name: str, value: Any, default: int) -> int:
    """A moment as microseconds since 1970, the next one of a moment between two: trips have whole ones."""
    if value is None:
        return default
    moment = naive(name, value)
    return int(moment.as_unit("us").to_numpy().astype("int64")) + bool(moment.nanosecond)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame whose column types do not depend on its values: integers that may be missing stay integers."""
    integers = {pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype()}
    return table.to_pandas(types_mapper=integers.get, split_blocks=True, self_destruct=True)


def query_trips(
    lake: str,
    storage: Storage,
    manifests: Sequence[Manifest],
    *,
    start: Any = None,
    end: Any = None,
    where: Where = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Trips with a pickup in ``[start, end)`` for which `where` holds.

    In order of pickup, then source, then their place in the source.
    """
    names = names_of(columns)
    schema = trip_schema(names)
    condition, looked_at = parse_where(where, TRIP_SCHEMA)
    if condition is not None:  # what Arrow cannot compare is no damage of a part
        TRIP_SCHEMA.empty_table().filter(condition)
    limit = _checked(limit)
    source = {part.path: manifest.url for manifest in manifests for part in manifest.parts}
    parts = [part for manifest in manifests for part in manifest.parts if part.first is not None]
    low = micros("start", start, min((part.first or 0 for part in parts), default=0))
    high = micros("end", end, max((part.last or 0 for part in parts), default=-1) + 1)
    if start is not None and end is not None and high < low:
        raise QuestionError(f"end {end} is before start {start}", "exchange them")
    read = [name for name in TRIP_SCHEMA.names if name in {*names, *looked_at, "pickup_datetime"}]

    def window(low: int, high: int) -> pa.Table:
        return _window(lake, storage, parts, source, low, high, condition, read).select(names)

    if limit is None:
        return window(low, high).cast(schema)
    tables, rows = [schema.empty_table()], 0
    for one, other in _growing(parts, low, high):
        if rows >= limit:
            break
        tables.append(window(one, other))
        rows += tables[-1].num_rows
    return pa.concat_tables(tables).slice(0, limit)


def _growing(parts: list[Part], low: int, high: int) -> Iterator[tuple[int, int]]:
    """Windows of time that grow, over what the parts hold: a query of few rows reads few."""
    low = max(low, min((part.first or 0 for part in parts), default=high))
    high = min(high, max((part.last or 0 for part in parts), default=low) + 1)
    span = DAY_US
    while low < high:
        stop = min(low + span - low % DAY_US, high)
        yield low, stop
        low, span = stop, span * 2


def _window(
    lake: str,
    storage: Storage,
    parts: list[Part],
    source: dict[str, str],
    low: int,
    high: int,
    condition: pc.Expression | None,
    columns: list[str],
) -> pa.Table:
    wanted = [part for part in parts if (part.first or 0) < high and (part.last or 0) >= low]
    pickup = pc.field("pickup_datetime")
    expression = (pickup >= pa.scalar(low, pa.timestamp("us"))) & (pickup < pa.scalar(high, pa.timestamp("us")))
    expression = expression if condition is None else expression & condition

    def read(part: Part) -> pa.Table:
        with open_part(lake, storage, part, source[part.path]) as file:
            fragment = FORMAT.make_fragment(file)
            check_rows(fragment, part)
            return fragment.to_table(schema=TRIP_SCHEMA, columns=columns, filter=expression, use_threads=False)

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(read, wanted))
    table = pa.concat_tables([trip_schema(columns).empty_table(), *tables])
    del tables
    return table.take(pc.sort_indices(table["pickup_datetime"]))  # stable: equal times keep the order of the parts


def query_rejects(
    lake: str,
    storage: Storage,
    manifests: Sequence[Manifest],
    *,
    reasons: Sequence[str] | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Rows kept aside, by source and place in it."""
    limit = _checked(limit)
    plain = pa.schema(
        [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in REJECT_SCHEMA]
    )
    tables, rows = [plain.empty_table()], 0
    for manifest in manifests:
        if reasons is not None and not any(manifest.rejected.get(reason) for reason in reasons):
            continue
        for part in manifest.rejects:
            if limit is not None and rows >= limit:
                break
            with open_part(lake, storage, part, manifest.url) as file:
                fragment = FORMAT.make_fragment(file)
                check_rows(fragment, part)
                table = fragment.to_table(schema=plain, use_threads=False)
            if reasons is not None:
                table = table.filter(pc.is_in(table["reason"], pa.array(list(reasons), pa.string())))
            tables.append(table)
            rows += table.num_rows
    return pa.concat_tables(tables).slice(0, limit)


def names_of(columns: Sequence[str] | str | None) -> list[str]:
    """The columns asked for, checked; all by default."""
    if columns is None:
        return TRIP_SCHEMA.names
    if not isinstance(columns, Iterable):
        raise QuestionError(f"columns is {columns!r:.100}, no list of names", 'like ["pickup_datetime", "fare_amount"]')
    names = [columns] if isinstance(columns, str) else list(columns)
    check_columns(names, TRIP_SCHEMA)
    return names


def _checked(limit: Any) -> int | None:
    if limit is not None and not is_whole(limit, 0):
        raise QuestionError(f"limit is {limit!r:.100}", "give a number of rows, 0 or more")
    return None if limit is None else int(limit)

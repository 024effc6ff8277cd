"""Answers over a lake and what a store has beside it.

A trip is in an answer once, wherever it is just then. Three things are read, in this order:

1. the store's list of files that were added (`loads`), then the added trips of the asked days; rows of a file that was
   not wholly there when the list was read are left out, so that a file shows whole or not at all;
2. what the lake's manifests make visible: its trips are these, and no others;
3. the store's batches of trips from the form.

A row of a file is left out when one of those manifests counts the file's content: it is among the lake's trips. A trip
from the form is left out when one of the batches names it whose source is among those manifests; a batch is noted
before its source is written, so that no source can be visible in 2 whose batch is not seen in 3. What the store has no
more at 1 was removed after its source had become visible, and so is seen in 2. See `taxidask.asking.moving` for the
other side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxidask.errors import LakeError
from taxidask.lake import Lake
from taxidask.lake.filters import Where, parse_where
from taxidask.lake.layout import read_layout
from taxidask.lake.manifest import Manifest
from taxidask.lake.query import names_of, to_pandas
from taxidask.lake.totals import Found, Kept, ask, days, read_visible, sums
from taxidask.results import Store
from taxidask.results.added import LOADING, MOVED, batch_keys, table_of
from taxidask.results.keys import Key
from taxidask.storage import absolute, default_storage
from taxidask.trips.schema import TRIP_SCHEMA, trip_schema
from taxidask.words import quantity

from .filters import Question

_Seen = Callable[[list[Manifest]], pa.Table]
ALL = Question()


@dataclass(frozen=True)
class Answer:
    """What a question comes to.

    Attributes
    ----------
    count : int
        Trips that match, all of them.
    added : int
        How many of them were added and are not in the lake yet.
    average_fare : float or None
        USD; None where no trip matches.
    total_tip : float
        USD; trips that do not tell their tip count as none.
    rows : DataFrame
        Those asked for, in order of pickup.
    skipped : int
        Trips that come before them.
    """

    count: int
    added: int
    average_fare: float | None
    total_tip: float
    rows: pd.DataFrame
    skipped: int = 0

    @property
    def left_out(self) -> int:
        """Trips that match and are not among the rows."""
        return self.count - len(self.rows)

    @property
    def summary(self) -> str:
        """The figures in a line."""
        if not self.count:
            return "no trip matches"
        added = f", {self.added:,} of them added and not in the lake yet" if self.added else ""
        fare = f"average fare {self.average_fare:,.2f} USD, total tip {self.total_tip:,.2f} USD"
        shown = ""
        if self.left_out:
            first = self.skipped + 1
            shown = f"; {first:,} to {self.skipped + len(self.rows):,} are shown, {self.left_out:,} are left out"
            if self.rows.empty:
                shown = "; none is shown"
        return f"{quantity(self.count, 'trip')}{added}: {fare}{shown}"

    def __repr__(self) -> str:
        return f"Answer: {self.summary}"


def ask_trips(
    asked: Question = ALL,
    *,
    lake: Lake | None = None,
    store: Store | None = None,
    where: Where = None,
    columns: Sequence[str] | None = None,
    skip: int = 0,
    limit: int = 20,
    kept: Kept | None = None,
) -> Answer:
    """Count the trips of a lake and those added beside it, sum their fares and tips, and read a page of them.

    Parameters
    ----------
    asked : Question
        From `question`; all trips by default.
    lake : Lake, optional
    store : Store, optional
        Where trips were added.
    where : str or list, optional
        Further conditions, as `Lake.trips` takes them.
    columns : list of str, optional
        Those of the rows; all by default.
    skip, limit : int
        Which rows, in order of pickup.
    kept : callable, optional
        Remembers what was read of the lake for this question, and gives it again while the lake has the same files.

    Raises
    ------
    LakeError
        There is no lake where one was named, though the store knows of one: what was only added is not all there is.
    """
    names = names_of(columns)
    read = [name for name in TRIP_SCHEMA.names if name in {*names, "pickup_datetime"}]
    parse_where(where, TRIP_SCHEMA)
    _check_lake(lake, store)
    seen = _beside(asked, store, where)
    found: Found[pa.Table]
    conditions = _with(asked, where)
    if lake is None:
        found = Found(0, 0.0, 0.0, trip_schema(read).empty_table(), seen([]))
    else:
        found = ask(
            lake, start=asked.start, end=asked.end, where=conditions, columns=read, most=skip + limit, beside=seen,
            kept=kept,
        )  # fmt: skip
    beside = found.beside
    fares, tips = sums(beside)
    count = found.count + beside.num_rows
    rows = _ordered([found.rows, beside.select(read)]).slice(skip, limit).select(names)
    average = math.fsum([found.fares, fares]) / count if count else None
    return Answer(count, beside.num_rows, average, math.fsum([found.tips, tips]), to_pandas(rows), skip)


def save_trips(
    url: str,
    asked: Question = ALL,
    *,
    lake: Lake | None = None,
    store: Store | None = None,
    where: Where = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> int:
    """Write all trips that match, or the first `limit`, to a .csv or .parquet file, a day at a time; how many.

    Whoever reads the file sees what was there before until all is written.
    """
    names = names_of(columns)
    read = [name for name in TRIP_SCHEMA.names if name in {*names, "pickup_datetime"}]
    _check_lake(lake, store)
    seen = _beside(asked, store, where)
    schema = trip_schema(names)

    def write(manifests: list[Manifest]) -> int:
        beside = seen(manifests).select(read)
        by_day = pc.floor_temporal(beside["pickup_datetime"], unit="day")
        others = [pd.Timestamp(day) for day in pc.unique(by_day).to_pylist()]
        left = math.inf if limit is None else limit
        with default_storage().writing(absolute(url)) as file, _Writer(file, url, schema) as writer:
            for day, table in _days(lake, manifests, asked, where, read, others):
                mine = beside.filter(pc.equal(by_day, pa.scalar(day.to_pydatetime(), by_day.type)))
                rows = _ordered([table, mine]).select(names)
                rows = rows if rows.num_rows <= left else rows.slice(0, int(left))
                left -= rows.num_rows
                writer.add(rows)
                if left <= 0:
                    break
            return writer.rows

    return write([]) if lake is None else read_visible(lake, write)


def _days(
    lake: Lake | None, manifests: list[Manifest], asked: Question, where: Where, read: list[str], others: Any
) -> Any:
    if lake is None:
        return ((day, trip_schema(read).empty_table()) for day in sorted(others))
    return days(
        lake, manifests, start=asked.start, end=asked.end, where=_with(asked, where), columns=read, also=others
    )  # fmt: skip


class _Writer:
    """Tables of one schema, one after another, as a CSV or Parquet file."""

    def __init__(self, file: Any, url: str, schema: pa.Schema) -> None:
        self.rows = 0
        self._file = file
        self._parquet = pq.ParquetWriter(file, schema) if url.lower().endswith(".parquet") else None
        if self._parquet is None:
            self._csv(schema.empty_table(), header=True)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *failed: object) -> None:
        if self._parquet is not None:
            self._parquet.close()

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        if self._parquet is not None:
            self._parquet.write_table(table)
        else:
            self._csv(table, header=False)

    def _csv(self, table: pa.Table, *, header: bool) -> None:
        to_pandas(table).to_csv(self._file, index=False, mode="wb", header=header)


def _with(asked: Question, where: Where) -> list[Any]:
    """The question's conditions and further ones."""
    if where is None:
        return list(asked.conditions)
    if isinstance(where, str) or (isinstance(where, tuple) and len(where) == 3 and isinstance(where[1], str)):
        return [*asked.conditions, where]
    return [*asked.conditions, *where]


def _ordered(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table["pickup_datetime"]))  # stable


def _check_lake(lake: Lake | None, store: Store | None) -> None:
    if lake is None or store is None or read_layout(lake.url, lake.storage) is not None:
        return
    known = store.get_latest().get("lake") or next((batch["lake"] for batch in store.batches()), None)
    if known or any(load["state"] == MOVED for load in store.loads().values()):
        told = f", and {store.url} knows of one" + (f" at {known}" if known else "")
        raise LakeError(f"there is no lake at {lake.url}{told}", "name that lake, or bring it back")


def _counts(row: dict[str, Any], whole: dict[str, str | None]) -> bool:
    """Whether a file's row is of the attempt that brought the whole file."""
    return row["load"] in whole and row.get("attempt") == whole[row["load"]]


def _beside(asked: Question, store: Store | None, where: Where) -> _Seen:
    """Read what a store has of a question; what remains of it beside the sources of a lake is told when they are."""
    if store is None:
        return lambda _: TRIP_SCHEMA.empty_table()
    whole = {content: load.get("attempt") for content, load in store.loads().items() if load["state"] != LOADING}
    items = list(store.added_trips(asked.start, asked.end, asked.conditions))
    items = [item for item in items if "load" not in item or _counts(item, whole)]
    further, _ = parse_where(where, TRIP_SCHEMA)

    def seen(manifests: list[Manifest]) -> pa.Table:
        contents, urls = {one.content for one in manifests}, {one.url for one in manifests}
        moved: set[Key] = set()
        if any("load" not in item for item in items):
            moved = {key for batch in store.batches() if batch["url"] in urls for key in batch_keys(batch)}
        left = [
            item
            for item in items
            if (item["load"] not in contents if "load" in item else Key(item["pk"], item["sk"]) not in moved)
        ]
        table = table_of(left)
        return table if further is None else table.filter(further)

    return seen

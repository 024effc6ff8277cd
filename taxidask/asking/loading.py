"""A file of trips that is added: a small one into the store, a larger one into the lake, the same bytes once.

A file is known by its content, hashed as the lake hashes it. Up to 50,000 rows go into the store, one item each, and
its bytes with them: the next run gives these to the lake as a source, so that there, too, they are the file's content
and count once, whichever way they come. A larger file is copied beside the lake, as a source has to stay readable, and
ingested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from taxidask.errors import LakeError, SourceError
from taxidask.lake import Lake
from taxidask.lake.totals import holder_of
from taxidask.results import Store
from taxidask.results.added import MOST_BYTES, THERE
from taxidask.storage import Storage, default_storage, join
from taxidask.trips.outcome import NO_ROWS, raise_failures
from taxidask.trips.read import add_up, read_block
from taxidask.trips.rules import Rules
from taxidask.trips.schema import REJECT_SCHEMA
from taxidask.trips.sources import RANGE_BYTES, Source, find_sources, month_of
from taxidask.words import quantity, shortened

from .form import FIRST, latest

MOST_ROWS = 50_000
"""Rows of a file that a store takes."""
MOST_DAYS = 5_000
_LARGEST = 1e125  # what a store's numbers reach to
OnProgress = Callable[[dict[str, Any]], object]
"""Gets what a `Progress` takes of what was read since; of what was written, ``written`` and ``total`` items."""


@dataclass(frozen=True)
class Loaded:
    """What became of a file that was to be added.

    Attributes
    ----------
    name, content : str
        Its name, and the hash of its bytes.
    place : {"store", "lake", ""}
        Where its trips went; empty where nothing was added.
    rows, kept : int
        Rows in the file, and trips that were added.
    rejected : dict of int
        Rows set aside, by reason. kept + rejected = rows.
    rejects : DataFrame
        Those rows, as they stand in the file; a sample where they are very many.
    note : str
        Why nothing was added, or what else is worth knowing.
    unreadable : dict of int
        Values by column that could not be read and are null in trips that were added.
    url : str
        The lake's source, where it went there.
    """

    name: str
    content: str
    place: str
    rows: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=lambda: REJECT_SCHEMA.empty_table().to_pandas(), repr=False)
    note: str = ""
    unreadable: dict[str, int] = field(default_factory=dict)
    url: str = ""

    @property
    def summary(self) -> str:
        """In a line what was added."""
        if not self.place:
            return f"{shortened(self.name, 200)}: nothing added: {self.note}"
        where = "to the store" if self.place == "store" else "to the lake"
        why = ", ".join(f"{reason} {count:,}" for reason, count in self.rejected.items() if count)
        left = f", {sum(self.rejected.values()):,} rejected ({why})" if why else ""
        note = f"; {self.note}" if self.note else ""
        added = f"{quantity(self.kept, 'trip')} of {quantity(self.rows, 'row')} added {where}"
        return f"{shortened(self.name, 200)}: {added}{left}{note}"


def load_file(
    url: str,
    *,
    store: Store,
    lake: Lake | None = None,
    name: str | None = None,
    who: str,
    month: str | None = None,
    rules: Rules = Rules(),
    client: Any = None,
    progress: OnProgress | None = None,
    storage: Storage | None = None,
) -> Loaded:
    """Add a file of trips.

    Parameters
    ----------
    url : str
        CSV (plain, gzip, zstd) or Parquet of any TLC era.
    store : Store
        Takes files of up to 50,000 rows.
    lake : Lake, optional
        Takes larger ones; without it these are an error.
    name : str, optional
        What people call the file; by default the last part of its URL.
    who : str
        Kept with it, and the time.
    month : str, optional
        The month pickups must lie in, ``YYYY-MM``; by default the one in the name.
    rules : Rules
        What rows must pass.
    progress : callable, optional
        Called with the rows, rejected and bytes read since, and ``total_bytes``; then with the items ``written`` so far
        and their ``total``.

    Raises
    ------
    SourceError
        It is no file of trips, or not one row can be kept.
    """
    storage = storage or default_storage()
    name = name or PurePosixPath(url.replace("\\", "/")).name
    tell = progress or (lambda _: None)
    found = find_sources(url, storage=storage, month=month or month_of(name))
    if len(found) != 1:
        raise SourceError(f"{url} is {len(found)} files", "load them one by one")
    source = found[0]
    content = content_of(source, storage)
    if there := _there(content, store, lake):
        return Loaded(name, content, "", note=there)
    read = _read(source, storage, rules, tell)
    if read is None:
        return _into_lake(source, content, name, lake, rules, client, tell, storage)
    trips, rejects, rows, rejected, unreadable = read
    if source.month is None:
        _check_times(name, trips)
    outcome = Loaded(name, content, "store", rows, trips.num_rows, rejected, rejects.to_pandas(), "", unreadable)
    if not trips.num_rows:
        return Loaded(
            name,
            content,
            "",
            rows,
            0,
            rejected,
            outcome.rejects,
            note=f"none of its {quantity(rows, 'row')} can be kept" if rows else NO_ROWS,
        )
    about = {"name": name, "month": source.month, "who": who, "rows": rows, "rejected": rejected}
    about["bytes"], about["suffix"] = source.size, _suffix(source)
    data = storage.read(source.url)

    def written(done: int, total: int) -> None:
        tell({"written": done, "total": total})

    if not store.load_trips(content, trips, data, about, progress=written):
        return Loaded(name, content, "", note=_there(content, store, lake) or "another has just added the same content")
    return outcome


def content_of(source: Source, storage: Storage) -> str:
    """What the lake knows a file's content by."""
    ranges = [
        xxhash.xxh3_128_digest(storage.read(source.url, at, min(at + RANGE_BYTES, source.size)))
        for at in range(0, source.size, RANGE_BYTES)
    ]
    return xxhash.xxh3_128_hexdigest(b"".join(ranges))


def upload_url(lake: str, content: str, month: str | None, suffix: str) -> str:
    """Where a file that was added lies beside a lake; its name tells the month that its own name told."""
    return join(lake, "uploads", f"{content}{'' if month is None else f'_{month}'}{suffix}")


def _there(content: str, store: Store, lake: Lake | None) -> str:
    """Where the same content is already, in words; empty where it is not."""
    holder = None if lake is None else holder_of(lake, content)
    if holder is not None:
        return f"the lake has the same content as {holder}"
    load = store.get_load(content)
    if load is None or (load["state"] != THERE and lake is not None):
        return ""  # also what was taken out of the lake again
    if load["state"] not in (THERE, "lake"):
        return ""
    return f"the same content was added at {load['at']} by {load['who']} as {shortened(str(load['name']), 200)}"


def _check_times(name: str, trips: pa.Table) -> None:
    """Refuse a file of no month with trips of another century: they would stretch all that is counted by time."""
    pickups = trips["pickup_datetime"]
    strange = pc.or_(
        pc.less(pickups, pa.scalar(FIRST, pickups.type)), pc.greater(pickups, pa.scalar(latest(), pickups.type))
    )
    if count := pc.sum(strange).as_py() or 0:
        raise SourceError(
            f"{shortened(name, 200)}: {quantity(count, 'trip')} of {trips.num_rows:,} did not begin from {FIRST.year} "
            f"to today, as that of {pickups.filter(strange)[0]}",
            "name the file's month (--month, or in its name): such rows are then rejected",
        )


def _suffix(source: Source) -> str:
    return ".parquet" if source.format == "parquet" else {"gzip": ".csv.gz", "zstd": ".csv.zst"}.get(
        source.compression or "", ".csv"
    )  # fmt: skip


def _read(
    source: Source, storage: Storage, rules: Rules, tell: OnProgress
) -> tuple[pa.Table, pa.Table, int, dict[str, int], dict[str, int]] | None:
    """All rows of a file that a store takes; None of a larger one."""
    if source.size > MOST_BYTES:
        return None
    tables, aside, rows = [], [], 0
    rejected: dict[str, int] = {}
    unreadable: dict[str, int] = {}
    for block in source.blocks(RANGE_BYTES):
        for result in read_block(block, storage=storage, rules=rules):
            rows += result.rows
            if rows > MOST_ROWS:
                return None
            tables.append(result.trips)
            aside.append(result.rejects)
            add_up(rejected, result.rejected)
            add_up(unreadable, {name: count for name, count in result.unreadable.items() if count})
    trips = pa.concat_tables(tables)
    days = pc.count_distinct(pc.floor_temporal(trips["pickup_datetime"], unit="day")).as_py()
    if days > MOST_DAYS or any(_too_large(column) for column in trips.columns):
        return None
    rejected = {reason: count for reason, count in rejected.items() if count}
    # not block by block: what turns out to be too large is read again, by the lake, and counted there
    tell({"rows": rows, "rejected": rows - trips.num_rows, "bytes": source.size, "total_bytes": source.size})
    return trips, pa.concat_tables(aside), rows, rejected, unreadable


def _too_large(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and (pc.max(pc.abs(column)).as_py() or 0) > _LARGEST


def _pieces(source: Source, storage: Storage) -> Iterator[bytes]:
    for at in range(0, source.size, RANGE_BYTES):
        yield storage.read(source.url, at, min(at + RANGE_BYTES, source.size))


def _into_lake(
    source: Source,
    content: str,
    name: str,
    lake: Lake | None,
    rules: Rules,
    client: Any,
    tell: OnProgress,
    storage: Storage,
) -> Loaded:
    if lake is None:
        raise LakeError(
            f"{name} has more than {MOST_ROWS:,} rows, which go into a lake, and none was named",
            "name a lake, or add the file in pieces",
        )
    url = upload_url(lake.url, content, source.month, _suffix(source))
    if not lake.storage.exists(url):
        with lake.storage.writing(url) as file:
            for piece in _pieces(source, storage):
                file.write(piece)
    result = lake.ingest([url], rules=rules, client=client, on_block=tell, errors="report")
    (one,) = result.sources
    if one.duplicate_of:
        return Loaded(name, content, "", note=f"the lake has the same content as {one.duplicate_of}")
    if one.kept == 0:
        raise_failures(result)
    unreadable = {column: count for column, count in one.unreadable.items() if count}
    rejected = {reason: count for reason, count in one.rejected.items() if count}
    rejects = lake.rejects(source=url)
    return Loaded(name, content, "lake", one.rows, one.kept, rejected, rejects, one.note, unreadable, url)

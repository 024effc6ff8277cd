"""What all trips of a question come to, and the first of them: summed part by part, of the columns it takes alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from taxidask.trips.schema import TRIP_SCHEMA

from .filters import Where, parse_where
from .lake import Lake
from .manifest import Manifest, Part
from .parts import FORMAT, check_rows, open_part
from .query import DAY_US, READERS, micros, query_trips

T = TypeVar("T")
Kept = Callable[[str, Callable[[], Any]], Any]
"""Gives again what it was given before for the same files, named by a digest, or calls what reads them."""


@dataclass(frozen=True)
class Found(Generic[T]):
    """What a lake has of a question.

    Attributes
    ----------
    count : int
        Trips that match.
    fares, tips : float
        Their sum, USD; a tip that is not known counts as none.
    rows : Table
        The first of them.
    beside : object
        What was made of the sources that all of this was read from.
    """

    count: int
    fares: float
    tips: float
    rows: pa.Table
    beside: T


def ask(
    lake: Lake,
    *,
    start: pd.Timestamp | None,
    end: pd.Timestamp | None,
    where: Where,
    columns: Sequence[str],
    most: int,
    beside: Callable[[list[Manifest]], T],
    kept: Kept | None = None,
) -> Found[T]:
    """Count and sum the trips that match, and read the first `most` of them.

    `beside` gets the sources that are read: what else depends on them is to see the same ones. What `kept` has of the
    same files is not read again; it is of this question alone.
    """

    def read(manifests: list[Manifest]) -> Found[T]:
        made = beside(manifests)

        def of_lake() -> tuple[int, float, float, pa.Table]:
            count, fares, tips = _totals(lake, manifests, start, end, where)
            rows = query_trips(
                lake.url, lake.storage, manifests,
                start=start, end=end, where=where, columns=columns, limit=min(most, count),
            )  # fmt: skip
            return count, fares, tips, rows

        if kept is None:
            return Found(*of_lake(), made)
        files = "\n".join(part.path for part in _parts(manifests, start, end))
        count, fares, tips, rows = kept(hashlib.blake2b(files.encode(), digest_size=16).hexdigest(), of_lake)
        return Found(count, fares, tips, rows, made)

    return read_visible(lake, read)


def days(
    lake: Lake,
    manifests: list[Manifest],
    *,
    start: pd.Timestamp | None,
    end: pd.Timestamp | None,
    where: Where,
    columns: Sequence[str],
    also: Sequence[pd.Timestamp] = (),
) -> Iterator[tuple[pd.Timestamp, pa.Table]]:
    """The trips that match, day by day; also of days that others have trips of."""
    wanted = {pd.Timestamp(day).normalize() for day in also}
    for one in _parts(manifests, start, end):
        first, last = (pd.Timestamp((moment or 0) // DAY_US * DAY_US, unit="us") for moment in (one.first, one.last))
        wanted.update(pd.date_range(first, last, freq="D"))
    for day in sorted(wanted):
        low, high = day, day + pd.Timedelta(days=1)
        low, high = max(low, start or low), min(high, end or high)
        if low < high:
            yield day, query_trips(
                lake.url, lake.storage, manifests, start=low, end=high, where=where, columns=columns
            )  # fmt: skip


def visible(lake: Lake) -> list[Manifest]:
    """The sources that count."""
    return lake._manifests.counted()


def read_visible(lake: Lake, read: Callable[[list[Manifest]], T]) -> T:
    """Read the sources that count; again where one was replaced meanwhile."""
    return lake._read(read)


def holder_of(lake: Lake, content: str) -> str | None:
    """URL of the source of the lake that counts a content."""
    return next((one.url for one in visible(lake) if one.content == content and one.kept), None)


def _parts(manifests: list[Manifest], start: pd.Timestamp | None, end: pd.Timestamp | None) -> list[Part]:
    low, high = micros("start", start, -(2**62)), micros("end", end, 2**62)
    parts = [part for manifest in manifests for part in manifest.parts if part.first is not None]
    return [part for part in parts if (part.first or 0) < high and (part.last or 0) >= low]


def _totals(
    lake: Lake, manifests: list[Manifest], start: pd.Timestamp | None, end: pd.Timestamp | None, where: Where
) -> tuple[int, float, float]:
    condition, _ = parse_where(where, TRIP_SCHEMA)
    source = {part.path: manifest.url for manifest in manifests for part in manifest.parts}
    pickup = pc.field("pickup_datetime")
    if start is not None:
        after = pickup >= pa.scalar(micros("start", start, 0), pa.timestamp("us"))
        condition = after if condition is None else condition & after
    if end is not None:
        before = pickup < pa.scalar(micros("end", end, 0), pa.timestamp("us"))
        condition = before if condition is None else condition & before

    def read(part: Part) -> tuple[int, float, float]:
        with open_part(lake.url, lake.storage, part, source[part.path]) as file:
            fragment = FORMAT.make_fragment(file)
            check_rows(fragment, part)
            table = fragment.to_table(
                schema=TRIP_SCHEMA, columns=["fare_amount", "tip_amount"], filter=condition, use_threads=False
            )
        return table.num_rows, *sums(table)

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(read, _parts(manifests, start, end)))
    return sum(one[0] for one in found), math.fsum(one[1] for one in found), math.fsum(one[2] for one in found)


def sums(table: pa.Table) -> tuple[float, float]:
    """Fares and tips of a table, summed."""
    return tuple(pc.sum(table[name], min_count=0).as_py() for name in ("fare_amount", "tip_amount"))

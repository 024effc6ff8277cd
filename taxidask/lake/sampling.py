"""Some trips of a lake, spread evenly over all of them: by their number, not by the calendar.

A wrong pickup years before all others, or a month without data, would else take the place of trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taxidask.storage import Storage
from taxidask.trips.schema import TRIP_SCHEMA, trip_schema

from .manifest import Manifest
from .parts import read_part
from .query import READERS, names_of, query_trips
from .tasks import ROW_GROUP

FEWEST_GROUPS, ROWS_OF_GROUP = 256, 1024
"""Row groups read at least where there are so many, and rows taken from one at most where they are more: a group holds
trips that follow one another, so few groups would be few hours."""
_GOLDEN = (5**0.5 - 1) / 2
_ODD = np.uint64(0x9E3779B97F4A7C15)


def sample_trips(
    lake: str, storage: Storage, manifests: Sequence[Manifest], *, rows: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """About so many trips, in order of pickup; all of them where there are no more.

    Of few trips a share of all seconds is taken, whatever blocks they were read in; of many, row groups at even
    distances are read, from each the same share.
    """
    names = names_of(columns)
    read = [name for name in TRIP_SCHEMA.names if name in {*names, "pickup_datetime"}]
    parts = [(part, one.url) for one in manifests for part in one.parts if part.rows]
    total = sum(part.rows for part, _ in parts)
    if total <= rows:
        return query_trips(lake, storage, manifests, columns=columns)
    groups = max(FEWEST_GROUPS, -(-rows // ROWS_OF_GROUP))
    if some := total > groups * ROW_GROUP:
        parts.sort(key=lambda pair: pair[0].first or 0)  # else by source and place in it, as trips of one moment stand
    starts = np.cumsum([0, *(part.rows for part, _ in parts)])
    step = max(1, -(-min(total, groups * ROW_GROUP) // rows))
    # in each of equal stretches, at another place: at equal distances all might fall on one day of the week
    strata = np.arange(groups)
    places = ((strata + strata * _GOLDEN % 1) * (total / groups)).astype(np.int64)

    empty = trip_schema(read).empty_table()

    def take(which: int) -> pa.Table:
        part, url = parts[which]
        inside = places[(places >= starts[which]) & (places < starts[which + 1])] - starts[which]
        tables = [empty]
        if some and not len(inside):
            return empty
        with read_part(lake, storage, part, url) as reader:
            sizes = [reader.metadata.row_group(group).num_rows for group in range(reader.num_row_groups)]
            ends = np.cumsum(sizes)
            if some:
                together = [[int(group)] for group in np.unique(np.searchsorted(ends, inside, "right"))]
            else:  # neighbours come in one request
                together = [list(range(at, min(at + 16, len(sizes)))) for at in range(0, len(sizes), 16)]
            for chosen in together:
                table = reader.read_row_groups(chosen, columns=read)
                tables.append(table.filter(pa.array(_drawn(table["pickup_datetime"], step))))
        return pa.concat_tables(tables)

    with ThreadPoolExecutor(READERS) as pool:
        table = pa.concat_tables([empty, *pool.map(take, range(len(parts)))])
    return table.take(pc.sort_indices(table["pickup_datetime"])).select(names)


def _drawn(pickups: pa.ChunkedArray, step: int) -> NDArray[np.bool_]:
    """One of `step` pickups, drawn by its second: the same ones in any order and from any part."""
    seconds = pickups.to_numpy().astype("datetime64[s]").astype(np.uint64)
    return (seconds * _ODD >> np.uint64(32)) % np.uint64(step) == 0

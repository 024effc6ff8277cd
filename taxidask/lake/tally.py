"""Trips counted by slot and cell, sparsely: what a block and a source add to the lake's cube."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taxidask.storage import Storage

from .parts import damage

if TYPE_CHECKING:
    from taxidask.space import Space

Ints = NDArray[np.int64]

SLICE = 1 << 16  # rows located and counted at a time
COMPACT = 1 << 22  # entries held before they are added up
TALLY_SCHEMA = pa.schema([(name, pa.int32()) for name in ("slot", "cell", "pickups", "dropoffs")])


@dataclass
class Tally:
    """Pickups and drop-offs by slot and cell; only cells with a trip are held, in order of slot and cell.

    A slot is the number of slot lengths since 1970-01-01 00:00 New York time. `outside` counts the ends that lie in no
    cell of the space: pickups and drop-offs.
    """

    slot_seconds: int
    cells: int
    outside: tuple[int, int] = (0, 0)
    _pending: list[tuple[Ints, Ints, Ints]] = field(default_factory=list)
    _entries: int = 0

    def add(self, keys: Ints, pickups: Ints, dropoffs: Ints) -> None:
        """Add counts of keys slot × cells + cell."""
        self._pending.append((keys, pickups, dropoffs))
        self._entries += len(keys)
        if self._entries > COMPACT:
            self.entries()

    def entries(self) -> tuple[Ints, Ints, Ints]:
        """Keys in ascending order, each once, with their pickups and drop-offs."""
        if len(self._pending) != 1:
            keys, pickups, dropoffs = (
                np.concatenate([np.empty(0, np.int64), *(part[at] for part in self._pending)]) for at in range(3)
            )
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            first = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
            sums = [np.add.reduceat(values[order], first) if len(first) else values for values in (pickups, dropoffs)]
            self._pending = [(keys[first], sums[0], sums[1])]
        self._entries = len(self._pending[0][0])
        return self._pending[0]

    def add_trips(self, trips: pa.Table, space: Space, locations: str) -> None:
        """Count each end of each trip where it lies."""
        for start in range(0, trips.num_rows, SLICE):
            part = trips.slice(start, SLICE)
            outside = []
            for direction, end in enumerate(("pickup", "dropoff")):
                seconds = _numbers(part, f"{end}_datetime") // 1_000_000
                if locations == "zones":
                    cell = space.locate_ids(_numbers(part, f"{end}_location_id"))
                else:
                    cell = space.locate(_numbers(part, f"{end}_longitude"), _numbers(part, f"{end}_latitude"))
                inside = cell >= 0
                keys: Ints = np.asarray((seconds // self.slot_seconds)[inside] * self.cells + cell[inside], np.int64)
                distinct, times = np.unique(keys, return_counts=True)
                counts: Ints = np.asarray(times, np.int64)
                zeros: Ints = np.zeros(len(distinct), np.int64)
                self.add(distinct, *((zeros, counts) if direction else (counts, zeros)))
                outside.append(int(part.num_rows - inside.sum()))
            self.outside = (self.outside[0] + outside[0], self.outside[1] + outside[1])

    def to_bytes(self) -> bytes:
        """As Parquet, in order of slot and cell."""
        keys, pickups, dropoffs = self.entries()
        columns = [keys // self.cells, keys % self.cells, pickups, dropoffs]
        # Arrow checks: a number that does not fit is an error, never another number.
        table = pa.table([pa.array(column, pa.int32()) for column in columns], schema=TALLY_SCHEMA)
        about = {"slot_seconds": self.slot_seconds, "cells": self.cells, "outside": "{},{}".format(*self.outside)}
        table = table.replace_schema_metadata({name: str(value) for name, value in about.items()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=1 << 17, write_page_checksum=True)
        return sink.getvalue().to_pybytes()


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    column = table[name].combine_chunks()
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    return column.to_numpy(zero_copy_only=False)


def read_tally(
    storage: Storage,
    url: str,
    source: str,
    *,
    kept: int,
    slot_seconds: int,
    cells: int,
    first: int | None = None,
    last: int | None = None,
) -> Tally:
    """Read the counts of a source back, of slots `first` to `last` (inclusive) only if these are given.

    Every trip of the source, `kept` in all, was counted at either end or is outside: all slots are read and added up.
    """
    with damage(url, source, "count it again: lake.recount()"):
        with pq.ParquetFile(pa.BufferReader(storage.read(url)), page_checksum_verification=True) as reader:
            about = {name.decode(): value.decode() for name, value in (reader.schema_arrow.metadata or {}).items()}
            table = reader.read()
        pickups, dropoffs = (int(number) for number in about["outside"].split(","))
        if (int(about["slot_seconds"]), int(about["cells"])) != (slot_seconds, cells):
            raise ValueError(f"it has {about}, not slots of {slot_seconds} s and {cells} cells")
        tally = Tally(slot_seconds, cells, (pickups, dropoffs))
        slot, cell, up, off = (table[name].to_numpy().astype(np.int64) for name in TALLY_SCHEMA.names)
        for name, counts, outside in (("pickups", up, pickups), ("drop-offs", off, dropoffs)):
            if (total := int(counts.sum()) + outside) != kept:
                raise ValueError(f"it has {total:,} {name} of {kept:,} trips")
        keys = slot * cells + cell
        if len(cell) and not 0 <= cell.min() <= cell.max() < cells:
            raise ValueError(f"it has cells {cell.min()} to {cell.max()} of {cells}")
        if np.diff(keys).min(initial=1) < 1:
            raise ValueError("its slots and cells are not in order")
    keep = slice(
        0 if first is None else int(np.searchsorted(slot, first)),
        None if last is None else int(np.searchsorted(slot, last, "right")),
    )
    tally.add(keys[keep], up[keep], off[keep])
    return tally


def merge(parts: Iterable[Callable[[], Tally]], slot_seconds: int, cells: int) -> Tally:
    """Add up tallies, holding one part at a time besides the sum."""
    total = Tally(slot_seconds, cells)
    for part in parts:
        tally = part()
        total.add(*tally.entries())
        total.outside = (total.outside[0] + tally.outside[0], total.outside[1] + tally.outside[1])
    return total

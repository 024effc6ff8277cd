"""From chunks of rows straight to counts by slot, cell and direction: no table in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from taxidask.compiled import kernel
from taxidask.cube import add_counts
from taxidask.errors import CubeError
from taxidask.space import Space, locate_ids, locate_points

from .rules import month_bounds
from .tables import Judged

_NONE = np.empty(0, np.int64)


@dataclass
class BlockCounts:
    """What a block adds to a cube.

    Attributes
    ----------
    rows, kept : int
        Rows read, and rows kept by the rules.
    rejected, unreadable : dict
        Rejected rows by reason; nothing is unreadable here, as no other column is read.
    bytes : int
        Bytes of the block.
    content : list of str
        xxh3_128 of each of its 8 MiB ranges.
    first_slot : int
        The slot of `counts[0]`, counted from `start_second`.
    counts : int32 array (slots, cells, 2)
        0 pickup, 1 dropoff.
    stray_slots, stray_cells, stray_directions : int arrays
        Ends further away in time, one by one: `counts[slot, cell, direction] += 1` for each.
    outside : tuple of int
        Pickups and dropoffs of kept rows whose place is in no cell.
    first_pickup, last_pickup : int or None
        Seconds since 1970; None where no row was kept.
    zoned, examples : dict
        As in `BlockResult`.
    """

    first_slot: int
    counts: np.ndarray
    rows: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    content: list[str] = field(default_factory=list)
    stray_slots: np.ndarray = field(default_factory=lambda: _NONE)
    stray_cells: np.ndarray = field(default_factory=lambda: _NONE)
    stray_directions: np.ndarray = field(default_factory=lambda: _NONE)
    outside: tuple[int, int] = (0, 0)
    first_pickup: int | None = None
    last_pickup: int | None = None
    zoned: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add_to(self, counts: np.ndarray, first_slot: int) -> None:
        """Add to an array (slots, cells, 2) whose first slot is `first_slot`; ends outside its slots are left out.

        Examples
        --------
        >>> cube = np.zeros((4, 1, 2), np.int32)
        >>> BlockCounts(1, np.ones((2, 1, 2), np.int32)).add_to(cube, 0)
        >>> cube[:, 0, 0].tolist()
        [0, 1, 1, 0]
        """
        shift = self.first_slot - first_slot
        low, high = max(shift, 0), min(shift + len(self.counts), len(counts))
        if low < high:
            add_counts(counts, self.counts[low - shift : high - shift], low)
        slots = self.stray_slots - first_slot
        good = (slots >= 0) & (slots < len(counts))
        where = slots[good], self.stray_cells[good], self.stray_directions[good]
        np.add.at(counts, where, 1)
        if counts[where].min(initial=0) < 0:
            raise CubeError(
                "a slot and cell have more trips than a cube can hold (2,147,483,647)",
                "use shorter slots or smaller cells",
            )

    @property
    def slots(self) -> tuple[int, int]:
        """The first slot and the one after the last that hold all its ends, from `start_second` on; (0, 0) for none."""
        first = int(self.stray_slots.min(initial=self.first_slot if len(self.counts) else 2**62))
        last = int(
            self.stray_slots.max(initial=self.first_slot + len(self.counts) - 1 if len(self.counts) else -(2**62))
        )
        return (first, last + 1) if first <= last else (0, 0)


@kernel
def count_ends(times, cells, count, direction, origin, slot, first_slot, counts, stray_slot, stray_cell):
    """Count one end of kept rows; how many are strays and how many in no cell, the earliest and latest time."""
    strays, lost = 0, 0
    earliest, latest = np.int64(2**62), np.int64(-(2**62))
    slots = counts.shape[0]
    for i in range(count):
        earliest = min(earliest, times[i])
        latest = max(latest, times[i])
        if cells[i] < 0:
            lost += 1
            continue
        at = (times[i] - origin) // slot
        row = at - first_slot
        if 0 <= row < slots:
            counts[row, cells[i], direction] += 1
        else:
            stray_slot[strays] = at
            stray_cell[strays] = cells[i]
            strays += 1
    return strays, lost, earliest, latest


class Counter:
    """Counts of a block as its chunks come.

    Parameters
    ----------
    judged : Judged
        The parser, which holds a chunk's kept rows.
    space : Grid or Zones
        The cells.
    slot_seconds : int
        Length of a slot.
    start_second : int
        Where slot 0 starts, in seconds since 1970.
    month : str or None
        The source's month, which is the window counted in an array; by default two months from the first pickup's.
    """

    def __init__(
        self, judged: Judged, space: Space, *, slot_seconds: int, start_second: int, month: str | None
    ) -> None:
        self.judged, self.space = judged, space
        self.slot, self.origin = slot_seconds * 1_000_000, start_second * 1_000_000
        self.counts = np.zeros((0, space.cells, 2), np.int32)
        self.first_slot = 0
        if month is not None:
            self._open(*month_bounds(month))
        self._strays: list[tuple[np.ndarray, np.ndarray, int]] = []
        self._make_room(1)
        self.lost = [0, 0]
        self.ends = [(2**62, -(2**62))] * 2  # the earliest and latest pickup, and dropoff
        if judged.zones:
            space.locate_ids(np.empty(0, np.int16))  # a grid refuses here, before anything is read

    def _open(self, low: int, high: int) -> None:
        """Count in an array from `low` to a day after `high`, microseconds."""
        self.first_slot = (low - self.origin) // self.slot
        slots = (high + 86_400_000_000 - self.origin) // self.slot + 1 - self.first_slot
        self.counts = np.zeros((slots, self.space.cells, 2), np.int32)

    def _make_room(self, size: int) -> None:
        self._cells = np.empty(size, np.int32)
        self._stray_slot, self._stray_cell = np.empty(size, np.int64), np.empty(size, np.int32)

    def take(self, kept: int) -> None:
        """Count the kept rows of the chunk just judged."""
        judged = self.judged
        if not kept:
            return
        if kept > len(self._cells):
            self._make_room(len(judged.pickup))
        if not len(self.counts):
            first = np.datetime64(int(judged.pickup[0]), "us").astype("datetime64[M]")
            self._open(month_bounds(str(first))[0], month_bounds(str(first + 1))[1])
        ends = (
            (judged.pickup, judged.x1, judged.y1, judged.id1),
            (judged.dropoff, judged.x2, judged.y2, judged.id2),
        )
        cells = self._cells
        for direction, (times, lon, lat, ids) in enumerate(ends):
            if judged.zones:
                locate_ids(self.space.kernel(), ids[:kept], cells[:kept])
            else:
                locate_points(self.space.kernel(), lon[:kept], lat[:kept], cells[:kept])
            strays, lost, earliest, latest = count_ends(
                times, cells, kept, direction, self.origin, self.slot, self.first_slot, self.counts,
                self._stray_slot, self._stray_cell,
            )  # fmt: skip
            if strays:
                self._strays.append((self._stray_slot[:strays].copy(), self._stray_cell[:strays].copy(), direction))
            self.lost[direction] += lost
            low, high = self.ends[direction]
            self.ends[direction] = min(low, earliest), max(high, latest)

    def result(self, *, size: int, content: list[str]) -> BlockCounts:
        """What was counted, in the slots from the first to the last end."""
        judged = self.judged
        (first_pickup, last_pickup), (first_dropoff, last_dropoff) = self.ends
        first = max((min(first_pickup, first_dropoff) - self.origin) // self.slot - self.first_slot, 0)
        last = (max(last_pickup, last_dropoff) - self.origin) // self.slot - self.first_slot + 1
        kept = judged.rows - int(judged.rejected.sum())
        strays = self._strays
        return BlockCounts(
            first_slot=self.first_slot + first,
            counts=self.counts[first : max(last, first)],
            rows=judged.rows,
            kept=kept,
            rejected=judged.reasons(),
            bytes=size,
            content=content,
            stray_slots=np.concatenate([_NONE, *(part[0] for part in strays)]),
            stray_cells=np.concatenate([_NONE, *(part[1] for part in strays)]),
            stray_directions=np.concatenate([_NONE, *(np.full(len(part[0]), part[2]) for part in strays)]),
            outside=(self.lost[0], self.lost[1]),
            first_pickup=first_pickup // 1_000_000 if kept else None,
            last_pickup=last_pickup // 1_000_000 if kept else None,
            zoned=judged.zoned,
            examples=judged.examples,
        )

"""From chunks of rows to Arrow: the kept rows' columns, and the rejects with their raw lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from taxidask.trips.kernels.parser import CHUNK_BYTES, index_quoted_rows, index_rows, judge
from taxidask.trips.kernels.times import FORMS, NO_TIME, parse_any_time

from .eras import Era
from .kernels import columns as kernels
from .rules import Rules, month_bounds
from .schema import REASONS, REJECT_SCHEMA, trip_schema
from .typed import decoded, plain_word

# A kept row has two times of at least 11 characters, 16 commas and a value in four more fields.
SHORTEST_ROW = 42
LONGEST_EXAMPLE = 60
REJECT_BYTES = 16
"""Bytes of a reject besides its line; its source's URL is held once for all."""
_JUDGED = {
    "pickup_datetime": "pickup",
    "dropoff_datetime": "dropoff",
    "passenger_count": "passengers",
    "trip_distance": "distance",
    "fare_amount": "fare",
    "pickup_longitude": "x1",
    "pickup_latitude": "y1",
    "dropoff_longitude": "x2",
    "dropoff_latitude": "y2",
    "pickup_location_id": "id1",
    "dropoff_location_id": "id2",
}
BAD_DATETIME = REASONS.index("bad_datetime")
_POINTS = ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")
_ZONES = ("pickup_location_id", "dropoff_location_id")


class Judged:
    """The parser over one chunk after another: its index, and what the rules looked at, of the kept rows.

    Parameters
    ----------
    era : Era
        The layout of the rows.
    month : str or None
        The month pickups must lie in.
    rules : Rules
        The thresholds.
    """

    def __init__(self, era: Era, month: str | None, rules: Rules) -> None:
        self.era = era
        self.zones = era.locations == "zones"
        self.low, self.high = month_bounds(month)
        self.limits = rules.limits()
        places = _ZONES if self.zones else _POINTS
        names = ("pickup_datetime", "dropoff_datetime", "passenger_count", "trip_distance", "fare_amount", *places)
        self.fields = np.array([era.fields, *(era.position(name) for name in names)], dtype=np.int64)
        self.rejected = np.zeros(len(REASONS), np.int64)
        self.rows = 0
        self.examples: dict[str, str] = {}
        self.zoned: dict[str, int] = {}
        """How many times are of which of `FORMS`."""
        self._forms = np.zeros(max(FORMS.values()) + 1, np.int64)
        self._make_room(CHUNK_BYTES)

    def _make_room(self, size: int) -> None:
        self._size = size
        self.ends = np.empty(size + 64, np.uint32)
        self.row_start, self.row_first, self.row_last = (np.empty(size // 2 + 1, np.uint32) for _ in range(3))
        self.rejects, self.codes = np.empty(size // 2 + 1, np.uint32), np.empty(size // 2 + 1, np.int8)
        room = size // SHORTEST_ROW + 1
        self.kept = np.empty(room, np.uint32)
        self._bits = np.zeros(room // 8 + 1, np.uint8)
        self.pickup, self.dropoff = np.empty(room, np.int64), np.empty(room, np.int64)
        self.passengers = np.empty(room, np.int16)
        self.distance, self.fare = np.empty(room), np.empty(room)
        points, zones = (1, room) if self.zones else (room, 1)
        self.x1, self.y1, self.x2, self.y2 = (np.empty(points) for _ in range(4))
        self.id1, self.id2 = np.empty(zones, np.int16), np.empty(zones, np.int16)

    def take(self, text: np.ndarray, length: int, known: np.ndarray | None = None, at: int = 0) -> tuple[int, int]:
        """Index and judge a chunk; how many rows are kept and rejected. `known` gets passengers' bits from `at` on."""
        if length > self._size:
            self._make_room(len(text))
        known = self._bits if known is None else known
        address = text.ctypes.data
        index = (self.ends, self.row_start, self.row_first, self.row_last)
        rows = index_rows(address, length, *index)
        if rows < 0:
            rows = index_quoted_rows(address, length, *index)
        kept = judge(
            address, *index, rows, self.fields, self.zones, self.low, self.high, self.limits, self._forms,
            self.pickup, self.dropoff, self.passengers, known, at, self.distance, self.x1, self.y1, self.x2, self.y2,
            self.fare, self.id1, self.id2, self.kept, self.rejects, self.codes,
        )  # fmt: skip
        self.rows += rows
        self.zoned = {name: int(self._forms[of]) for name, of in FORMS.items() if self._forms[of]}
        if rows > kept:
            self.rejected += np.bincount(self.codes[: rows - kept], minlength=len(REASONS))
            if self.rejected[BAD_DATETIME] and "bad_datetime" not in self.examples:
                self._show_time(text, rows - kept)
        return kept, rows - kept

    def _show_time(self, text: np.ndarray, count: int) -> None:
        """Keep the text of the chunk's first time that cannot be read."""
        row = self.rejects[int(np.argmax(self.codes[:count] == BAD_DATETIME))]
        for field in self.fields[1:3]:
            entry = int(self.row_first[row]) + int(field)
            start = int(self.ends[entry - 1]) + 1 if field else int(self.row_start[row])
            stop = int(self.ends[entry])
            if parse_any_time(text.ctypes.data, start, stop)[1] == NO_TIME:
                self.examples["bad_datetime"] = shortened(text[start:stop].tobytes().decode("latin-1"))
                return

    def load(self, trips: pa.Table) -> None:
        """Take kept rows read elsewhere, their times and places, as if a chunk had been judged."""
        for name, mine in _JUDGED.items():
            if name in trips.column_names:
                column = trips[name].cast(pa.int64()) if name.endswith("datetime") else trips[name]
                setattr(self, mine, np.array(column.to_numpy()))

    def reasons(self) -> dict[str, int]:
        """Rejected rows by reason, every reason named."""
        return dict(zip(REASONS, self.rejected.tolist(), strict=True))


class Rejects:
    """Rejected rows as they come, and the table of them: all as long as there is room, then a sample.

    Parameters
    ----------
    url : str
        The source.
    room : int
        Bytes of the table, about; once it is full, one row of each reason is taken of what is added together.
    """

    def __init__(self, url: str, room: int) -> None:
        self.url = url
        self._room = room - len(url)
        self._offsets: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._lines: list[np.ndarray] = []
        self._ends: list[np.ndarray] = []

    def take(self, text: np.ndarray, base: int, judged: Judged, count: int) -> None:
        """Keep the raw rows of a chunk that starts at offset `base`."""
        if not count:
            return
        rows, codes = judged.rejects[:count], judged.codes[:count]
        if self.full:
            sampled = sample(codes)
            rows, codes, count = rows[sampled], codes[sampled], len(sampled)
        starts = judged.row_start[rows].astype(np.int64)
        size = 2 * int((judged.ends[judged.row_last[rows]].astype(np.int64) - starts).sum())
        out, offsets = np.empty(size, np.uint8), np.zeros(count + 1, np.int32)
        used = kernels.copy_lines(
            text.ctypes.data, judged.ends, judged.row_start, judged.row_last, rows, count, out, offsets
        )
        self.add(starts + base, codes.copy(), out[:used].copy(), offsets)

    @property
    def full(self) -> bool:
        """Whether only a sample is to be added."""
        return self._room <= 0

    def add(self, offsets: np.ndarray, codes: np.ndarray, lines: np.ndarray, ends: np.ndarray) -> None:
        """Keep rejects whose lines are UTF-8 one after another, ending at `ends[1:]`."""
        self._room -= len(lines) + len(codes) * REJECT_BYTES
        self._offsets.append(offsets)
        self._codes.append(codes)
        self._ends.append(ends)
        self._lines.append(lines)

    def table(self) -> pa.Table:
        """The rejects, in the order of the file."""
        if not self._offsets:
            return REJECT_SCHEMA.empty_table()
        parts = []
        for offsets, codes, lines, ends in zip(self._offsets, self._codes, self._lines, self._ends, strict=True):
            count = len(codes)
            text = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(ends), pa.py_buffer(lines)])
            reason = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(REASONS))
            source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([self.url]))
            columns = [source, pa.array(offsets), text, reason]
            parts.append(pa.Table.from_arrays(columns, schema=REJECT_SCHEMA))
        return pa.concat_tables(parts)


def sample(codes: np.ndarray) -> np.ndarray:
    """Which of some rejected rows stand for all: the first of each reason, in order."""
    return np.sort(np.unique(codes, return_index=True)[1])


class Trips:
    """Kept rows as they come, and the table of them, in arrays that Arrow takes over as they are.

    Parameters
    ----------
    judged : Judged
        The parser.
    columns : list of str or None
        Which columns to read; all by default.
    size : int
        Bytes of text to make room for. What is never written costs no memory.
    """

    def __init__(self, judged: Judged, columns: list[str] | None, size: int) -> None:
        self.judged = judged
        self.schema = trip_schema(columns)
        self.count = 0
        self.room = size // SHORTEST_ROW + 1
        self.passengers_known = np.zeros(self.room // 8 + 1, np.uint8)
        self.unreadable: dict[str, int] = {}
        self._out: dict[str, np.ndarray] = {}
        self._known: dict[str, np.ndarray] = {}
        self._count: dict[str, int] = {}
        self._pool: dict[str, list[Any]] = {}
        for field in self.schema:
            if judged.era.position(field.name) < 0:
                continue
            kind = np.dtype(np.int16) if field.type == pa.string() else np.dtype(_numpy(field.type))
            self._out[field.name] = np.empty(self.room, kind)
            self._count[field.name] = 0
            self.unreadable[field.name] = 0
            if field.type == pa.string():
                pool = np.empty((kernels.MOST_TEXTS + 1, kernels.LONGEST_TEXT + 1), np.uint8)
                self._pool[field.name] = [pool, np.zeros(kernels.MOST_TEXTS, np.int64), 0]
            elif field.name not in _JUDGED:
                self._known[field.name] = np.zeros(self.room // 8 + 1, np.uint8)

    def take(self, text: np.ndarray, kept: int) -> None:
        """Add the kept rows of the chunk just judged."""
        judged, at = self.judged, self.count
        where = (text.ctypes.data, judged.ends, judged.row_start, judged.row_first, judged.kept, kept)
        for name, out in self._out.items():
            if name in _JUDGED:
                out[at : at + kept] = getattr(judged, _JUDGED[name])[:kept]
                continue
            field = judged.era.position(name)
            if name in self._pool:
                pool, lengths, used = self._pool[name]
                used, good, bad = kernels.read_texts(*where, field, at, out, pool, lengths, used)
                self._pool[name][2] = used
            else:
                read = (
                    kernels.read_payments
                    if name == "payment_type"
                    else kernels.read_wholes
                    if out.dtype == np.int16
                    else kernels.read_floats
                )
                good, bad = read(*where, field, at, out, self._known[name])
            self._count[name] += good
            self.unreadable[name] += bad
        self.count += kept

    def table(self) -> pa.Table:
        """The trips, in the order of the file."""
        count = self.count
        # one piece of zeros serves every column the era lacks
        zeros = pa.py_buffer(np.zeros(8 * count + 8, np.uint8))
        arrays = []
        for field in self.schema:
            out = self._out.get(field.name)
            if out is None:
                buffers = [zeros, zeros, zeros] if field.type == pa.string() else [zeros, zeros]
                arrays.append(pa.Array.from_buffers(field.type, count, buffers, count))
            elif field.name in self._pool:
                pool, lengths, used = self._pool[field.name]
                words = pa.array(
                    [plain_word(decoded(pool[i, : lengths[i]].tobytes())) for i in range(used)], pa.string()
                )
                codes = pa.array(out[:count], mask=out[:count] < 0)
                arrays.append(pa.DictionaryArray.from_arrays(codes, words).dictionary_decode())
            else:
                known = None
                nulls = 0
                if field.name == "passenger_count":
                    known, nulls = self.passengers_known, -1
                elif field.name not in _JUDGED and self._count[field.name] < count:
                    known, nulls = self._known[field.name], count - self._count[field.name]
                bits = None if known is None else pa.py_buffer(known)
                arrays.append(pa.Array.from_buffers(field.type, count, [bits, pa.py_buffer(out[:count])], nulls))
        return pa.Table.from_arrays(arrays, schema=self.schema)


def shortened(text: str) -> str:
    """An example as it is shown."""
    return text if len(text) <= LONGEST_EXAMPLE else text[:LONGEST_EXAMPLE] + "…"


def _numpy(kind: pa.DataType) -> str:
    return {"timestamp[us]": "int64", "double": "float64"}.get(str(kind), str(kind))

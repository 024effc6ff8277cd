"""Forecasts, counted demand and tables as items, and back: pure, the same for every store.

A forecast's or cube's item holds one cell's day: where its first slot starts, how long a slot is, and one list per
column. It is far under DynamoDB's 400 KB: at 30-minute slots 48 × 2 directions × 3 = 288 numbers of at most six digits,
5 bytes each and one more as an entry of a list, make 1,728 bytes, and names and keys about 250: 2 KB. Slots of one
minute would make 1,440 × 6 × 6 B = 52 KB.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from taxidask.clock import wall_clock, wall_clocks
from taxidask.errors import StoreError
from taxidask.results import keys
from taxidask.results.values import item_bytes, numbers_or_none, plain, six_digits

Item = dict[str, Any]
DIRECTIONS = ("pickup", "dropoff")
_BAND = ("mean", "low", "high")
_PART_BYTES = 200 * 1024
_EMPTY_TIME = np.dtype("datetime64[us]")


# -- times -------------------------------------------------------------------------------------------------------------


def moment(value: Any, name: str) -> pd.Timestamp | None:
    """A time as New York's clocks show it; None stays None."""
    if value is None:
        return None
    try:
        return wall_clock(value)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{name} is {value!r}, which is no time", "write it as 2016-02-01 or 2016-02-01T00:30"
        ) from error


def day(stamp: pd.Timestamp) -> str:
    """The sort key of the day a time lies in."""
    return stamp.strftime("%Y-%m-%d")


def days_of(times: Any, slot: pd.Timedelta) -> list[tuple[str, str, int, int]]:
    """Day, ISO time of its first slot, and first and last + 1 position, of each day in regular `times`."""
    index = pd.DatetimeIndex(wall_clocks(pd.Series(times)))
    if len(index) == 0:
        return []
    if slot <= pd.Timedelta(0):
        raise StoreError(f"slot is {slot}", "give a length of time, as 30min")
    if index.hasnans or not (index == pd.date_range(index[0], periods=len(index), freq=slot)).all():
        raise StoreError(f"the times from {index[0]} to {index[-1]} are not one {slot} after the other", None)
    names = index.strftime("%Y-%m-%d").to_numpy()
    cuts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(index)]
    return [(str(names[a]), index[a].isoformat(), a, b) for a, b in itertools.pairwise(cuts)]


def _item_times(item: Item, length: int) -> np.ndarray:
    step = np.timedelta64(round(item["slot_seconds"] * 1e6), "us")
    return np.datetime64(item["start"], "us") + np.arange(length) * step


def _between(frame: pd.DataFrame, start: pd.Timestamp | None, end: pd.Timestamp | None) -> pd.DataFrame:
    keep = np.ones(len(frame), dtype=bool)
    if start is not None:
        keep &= (frame["time"] >= start).to_numpy()
    if end is not None:
        keep &= (frame["time"] < end).to_numpy()
    return frame[keep].reset_index(drop=True)


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes NaN


# -- forecasts ---------------------------------------------------------------------------------------------------------


def forecast_items(
    times: Any,
    bands: Sequence[np.ndarray],
    *,
    slot: Any,
    space_key: str,
    cells: Sequence[int | str],
    model: str,
    run: str,
) -> tuple[int, Iterator[Item]]:
    """How many items there are, and the items: day by day, and within a day cell by cell.

    In this order neighbours lie in different partitions, so that any second's writes are spread over all of them.

    Parameters
    ----------
    times : array of datetimes
        The slots' starts, one slot after the other.
    bands : three arrays (slots, cells, 2)
        Mean, low and high; kept to six significant digits, NaN as null.
    """
    length = pd.Timedelta(slot)
    days = days_of(times, length)
    shape = (len(pd.DatetimeIndex(times)), len(cells), 2)
    for name, band in zip(_BAND, bands, strict=True):
        if np.shape(band) != shape:
            raise StoreError(
                f"the forecast's {name} has shape {np.shape(band)}, its times and cells make {shape}", None
            )

    def items() -> Iterator[Item]:
        for name, start, a, b in days:
            # cells first, so that a cell's day is contiguous
            rounded = [six_digits(np.asarray(band)[a:b]).transpose(1, 2, 0) for band in bands]
            for position, cell in enumerate(cells):
                item: Item = {
                    "pk": keys.forecast_pk(space_key, length, cell),
                    "sk": name,
                    "start": start,
                    "slot_seconds": plain(length.total_seconds()),
                    "model": model,
                    "run": run,
                }
                for d, direction in enumerate(DIRECTIONS):
                    item[direction] = {
                        column: numbers_or_none(band[position, d]) for column, band in zip(_BAND, rounded, strict=True)
                    }
                yield item

    return len(days) * len(cells), items()


def forecast_frame(items: Iterable[Item], start: pd.Timestamp | None, end: pd.Timestamp | None) -> pd.DataFrame:
    """Time, direction, mean, low, high of slots from `start` up to, not including, `end`."""
    rows: dict[str, list[np.ndarray]] = {"time": [], "direction": [], **{column: [] for column in _BAND}}
    for item in items:
        length = len(item[DIRECTIONS[0]]["mean"])
        rows["time"].append(np.repeat(_item_times(item, length), 2))
        rows["direction"].append(np.tile(np.array(DIRECTIONS, dtype=object), length))
        for column in _BAND:
            both = np.stack([_array(item[direction][column]) for direction in DIRECTIONS], axis=1)
            rows[column].append(both.reshape(-1))
    frame = pd.DataFrame(
        {
            "time": np.concatenate([np.empty(0, _EMPTY_TIME), *rows["time"]]),
            "direction": pd.array(np.concatenate([np.empty(0, object), *rows["direction"]]), dtype="str"),
            **{column: np.concatenate([np.empty(0), *rows[column]]) for column in _BAND},
        }
    )
    return _between(frame, start, end)


def total_bands(table: pd.DataFrame) -> tuple[pd.DatetimeIndex, list[np.ndarray]]:
    """Times and three arrays (slots, 1, 2) of a table (time, direction, mean, low, high) of city totals."""
    missing = [name for name in ("time", "direction", *_BAND) if name not in table.columns]
    if missing:
        raise StoreError(
            f"the table of city totals has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}",
            "give it as Forecast.total() does",
        )
    strangers = sorted(set(table["direction"]) - set(DIRECTIONS))
    if strangers:
        raise StoreError(f"the table of city totals has a direction {strangers[0]!r}", "use pickup and dropoff")
    times = pd.DatetimeIndex(table["time"].drop_duplicates()).sort_values()
    bands = [np.full((len(times), 1, 2), np.nan) for _ in _BAND]
    for d, direction in enumerate(DIRECTIONS):
        rows = table[table["direction"] == direction]
        where = times.get_indexer(pd.DatetimeIndex(rows["time"]))
        for band, column in zip(bands, _BAND, strict=True):
            band[where, 0, d] = rows[column].to_numpy(dtype=np.float64)
    return times, bands


# -- counted demand ----------------------------------------------------------------------------------------------------


def demand_items(
    times: Any, counts: np.ndarray, *, slot: Any, space_key: str, cells: Sequence[int | str], missing: np.ndarray | None
) -> tuple[int, Iterator[Item]]:
    """How many items there are, and the items, in the order of `forecast_items`.

    Parameters
    ----------
    counts : array of int (slots, cells, 2)
    missing : array of bool (slots,), optional
        Slots without data; they become nulls, not zeros, and days of nothing else no items.
    """
    length = pd.Timedelta(slot)
    days = days_of(times, length)
    if missing is not None:
        days = [(name, start, a, b) for name, start, a, b in days if not missing[a:b].all()]

    def items() -> Iterator[Item]:
        for name, start, a, b in days:
            block = np.ascontiguousarray(counts[a:b].transpose(1, 2, 0))
            gaps = [] if missing is None else np.flatnonzero(missing[a:b]).tolist()
            for position, cell in enumerate(cells):
                both = block[position].tolist()
                for values in both:
                    for gap in gaps:
                        values[gap] = None
                yield {
                    "pk": keys.demand_pk(space_key, length, cell),
                    "sk": name,
                    "start": start,
                    "slot_seconds": plain(length.total_seconds()),
                    "pickups": both[0],
                    "dropoffs": both[1],
                }

    return len(days) * len(cells), items()


def demand_frame(items: Iterable[Item], start: pd.Timestamp | None, end: pd.Timestamp | None) -> pd.DataFrame:
    """Time, pickups, dropoffs; NaN in slots without data, of which days of nothing else have one for all of them."""
    rows: dict[str, list[np.ndarray]] = {"time": [], "pickups": [], "dropoffs": []}
    known: np.datetime64 | None = None
    for item in items:
        times = _item_times(item, len(item["pickups"]))
        if known is not None and times[0] > known:  # else a line through the rows would go straight across
            rows["time"].append(np.array([known]))
            for name in ("pickups", "dropoffs"):
                rows[name].append(np.array([np.nan]))
        rows["time"].append(times)
        known = times[-1] + np.timedelta64(round(item["slot_seconds"] * 1e6), "us")
        rows["pickups"].append(_array(item["pickups"]))
        rows["dropoffs"].append(_array(item["dropoffs"]))
    frame = pd.DataFrame(
        {
            "time": np.concatenate([np.empty(0, _EMPTY_TIME), *rows["time"]]),
            "pickups": np.concatenate([np.empty(0), *rows["pickups"]]),
            "dropoffs": np.concatenate([np.empty(0), *rows["dropoffs"]]),
        }
    )
    return _between(frame, start, end)


# -- tables ------------------------------------------------------------------------------------------------------------


def table_bodies(frame: pd.DataFrame) -> list[Item]:
    """A table in parts of at most 200 KB, column by column, each naming the whole it belongs to.

    Column types are kept. A named index becomes a column, any other index is left out.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise StoreError(f"the table has two columns called {doubled[0]!r}", "give every column its own name")
    columns = []
    for position, name in enumerate(names):
        column = frame.iloc[:, position]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = wall_clocks(column)
        columns.append({"name": name, "type": _type_name(column), "values": _column_values(column, name)})
    size = item_bytes({"columns": columns})
    parts = max(1, min(len(frame), math.ceil(size / _PART_BYTES)))
    cuts = [round(len(frame) * i / parts) for i in range(parts + 1)]
    digest = hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]
    return [
        {
            "part": i,
            "parts": parts,
            "digest": digest,
            "columns": [{**column, "values": column["values"][a:b]} for column in columns],
        }
        for i, (a, b) in enumerate(itertools.pairwise(cuts))
    ]


def table_frame(bodies: list[Item], what: str) -> pd.DataFrame:
    """The table back from its parts; empty when there are none."""
    first = next((body for body in bodies if body["part"] == 0), None)
    if first is None:
        if not bodies:
            return pd.DataFrame()
        raise StoreError(f"{what} is only partly there", "it is being written; read it again in a moment")
    whole = [body for body in bodies if body["digest"] == first["digest"] and body["part"] < first["parts"]]
    if len(whole) != first["parts"]:
        raise StoreError(f"{what} is only partly there", "it is being written; read it again in a moment")
    whole.sort(key=lambda body: body["part"])
    series = {}
    for position, column in enumerate(first["columns"]):
        values = [value for body in whole for value in body["columns"][position]["values"]]
        series[column["name"]] = _column(values, column["type"])
    return pd.DataFrame(series)


def _type_name(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return str(column.cat.categories.dtype)
    return str(column.dtype)


def _column_values(column: pd.Series, name: str) -> list[Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "m":
        # whole nanoseconds: seconds as a float would lose some
        return [None if pd.isna(v) else int(pd.Timedelta(v).as_unit("ns").value) for v in column]
    return [plain(value, f"{name}[{i}]") for i, value in enumerate(column.tolist())]


def _column(values: list[Any], kind: str) -> pd.Series:
    if kind.startswith("datetime64"):
        array = np.array([np.datetime64("NaT") if v is None else np.datetime64(v) for v in values], dtype=kind)
        return pd.Series(array)
    if kind.startswith("timedelta64"):
        nanos = [np.timedelta64("NaT") if v is None else np.timedelta64(v, "ns") for v in values]
        return pd.Series(np.array(nanos, dtype="timedelta64[ns]").astype(kind))
    if kind == "object":
        return pd.Series(values, dtype=object)
    if kind.startswith("float"):
        return pd.Series(_array(values).astype(kind))
    if None in values and (kind == "bool" or kind.startswith(("int", "uint"))):
        return pd.Series(values, dtype=object)
    return pd.Series(values, dtype=kind)

"""Maps: all cells of a day in one place, and the cells' outlines, so that a page that draws them asks twice.

A day's counts of 263 zones in 48 slots take about 14 KB, its forecast with the band 320 KB: numbers of six digits, in
four bytes each, hardly become fewer by compression. That is 15 and 320 write units. The outlines of the zones take 70.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.errors import StoreError
from taxidask.results import items as codec
from taxidask.results import keys
from taxidask.results.drawing.geometry import Geometry, bodies_of, geometry_of
from taxidask.results.drawing.packing import damaged, interleaved, packed, straight, unpacked
from taxidask.results.keys import Key
from taxidask.results.values import plain, six_digits

if TYPE_CHECKING:
    from taxidask.space import Space

DEMAND_DAYS = 28
"""How many of the last days are published of every cell; of the city all are."""

KINDS = {"actual": ("trips",), "forecast": ("mean", "low", "high")}
MAP_CELLS = 20_000
"""Spaces of more cells have no maps: no page could draw them."""

_MOST_NUMBERS = 8_000_000  # of a day
_MISSING = -1  # among counts
_INDEX = "days"
Item = dict[str, Any]


@dataclass(frozen=True, repr=False)
class DayMap:
    """A day of every cell.

    Attributes
    ----------
    day : str
    kind : {"actual", "forecast"}
    times : DatetimeIndex
        Start of each slot that the map knows something of; a forecast may begin or end within the day.
    slot : Timedelta
    numbers : dict of str to array (slots, cells, 2)
        ``trips`` that were counted, NaN in slots without data; or ``mean``, ``low`` and ``high``. 0 pickup, 1 dropoff.
    model, run : str or None
        What made a forecast.
    backtest : bool
        Whether the forecast is a backtest's: made afterwards, by a model that had been shown the slots before only.
    """

    day: str
    kind: str
    times: pd.DatetimeIndex
    slot: pd.Timedelta
    numbers: dict[str, np.ndarray]
    model: str | None = None
    run: str | None = None
    backtest: bool = False

    def __repr__(self) -> str:
        slots, cells, _ = next(iter(self.numbers.values())).shape
        return f"DayMap({self.day}, {self.kind}, {slots} slots, {cells} cells)"


class Maps:
    """What a store holds for maps; the rest of a store gives it items by their keys."""

    if TYPE_CHECKING:
        _query: Any
        _put: Any
        _delete: Any
        _read: Any
        _alive: Any
        _finish: Any

    def put_demand_map(self, cube: Any, *, days: int | None = DEMAND_DAYS) -> int:
        """Publish the last `days` of a cube, all cells of a day together; other days' counts are removed.

        Days without data have no map. Spaces of more than 20,000 cells have none at all.

        Returns the number of items written: parts of days that are new or were counted differently before.
        """
        counts = np.asarray(cube.counts)
        if len(counts) == 0 or not _drawable(counts.shape[1]):
            return 0
        times = pd.DatetimeIndex(cube.times)
        begin = 0
        if days is not None:
            begin = int(times.searchsorted((times[-1] - pd.Timedelta(days=days - 1)).normalize()))
        gaps = np.zeros(len(counts), dtype=bool) if getattr(cube, "missing", None) is None else np.asarray(cube.missing)
        known = np.where(gaps[begin:, None, None], _MISSING, counts[begin:])
        pk = keys.map_pk(cube.space.key, cube.slot, "actual")
        wanted = dict(_day_items(pk, times[begin:], [known], slot=cube.slot))
        some = {day: items for day, items in wanted.items() if not gaps[begin:][_of_day(times[begin:], day)].all()}
        return self._replace(pk, [*self._query(pk)], some, run=None)

    def put_forecast_map(self, forecast: Any, *, model: str, run: str, backtest: bool = False) -> int:
        """Publish a forecast, all cells of a day together.

        So that a day's forecast can be compared with what came, a day holds the newest forecast that was made before
        it: one that knows fewer of its slots than the one that is there leaves that alone. What a backtest predicted
        only fills days that no forecast was made for. A forecast removes those of days more than 28 before its first
        slot, whose counts are gone too, and of days after its last.

        Parameters
        ----------
        forecast : Forecast
        model, run : str
            Which model made it, in which run; kept with it.
        backtest : bool
            Whether its slots had been there already, and only the model did not know them.

        Returns
        -------
        int
            Items written: parts of days, and the list of them.
        """
        bands = [np.asarray(band) for band in (forecast.mean, forecast.low, forecast.high)]
        if len(bands[0]) == 0 or not _drawable(bands[0].shape[1]):
            return 0
        slot, times = pd.Timedelta(forecast.slot), pd.DatetimeIndex(codec.wall_clocks(pd.Series(forecast.times)))
        pk = keys.map_pk(forecast.space.key, slot, "forecast")
        said = {"model": model, "run": run, "backtest": backtest}
        wanted = dict(_day_items(pk, times, bands, slot=slot, said=said))
        for items in wanted.values():
            for item in items:
                self._finish(item, run)
        there = [*self._alive(self._query(pk))]
        first = codec.day(times[0] - pd.Timedelta(days=DEMAND_DAYS))
        for day, items in _by_day(there).items():
            covered = backtest or first <= day <= codec.day(times[-1])
            if covered and (day not in wanted or _stays(items[0], wanted[day][0])):
                wanted[day] = items
        return self._replace(pk, there, wanted, run=run)

    def get_map(self, space_key: str, day: Any, kind: str, *, slot: Any = "30min") -> DayMap | None:
        """All cells of a day as they were counted (``"actual"``) or ``"forecast"``; None when that is not published.

        Raises
        ------
        StoreError
            When it is being written at the moment, or damaged.
        """
        moment = codec.moment(day, "day")
        if moment is None:
            raise StoreError("day is None", "write it as 2016-02-01")
        name, pk = codec.day(moment), keys.map_pk(space_key, slot, _kind(kind))
        found = [*self._alive(self._query(pk, prefix=f"{name}#"))]
        return _day_map(found, name, kind, f"the {kind} map of {name}") if found else None

    def map_days(self, space_key: str, slot: Any = "30min") -> dict[str, list[str]]:
        """The days, in order, that there are maps of, by kind: two GetItems."""
        days: dict[str, list[str]] = {}
        for kind in KINDS:
            item = self._read(Key(keys.map_pk(space_key, slot, kind), _INDEX)) or {}
            days[kind] = sorted(map(str, item.get("days") or []))
        return days

    def put_geometry(self, space: Space) -> int:
        """Publish how the cells of a space are drawn, if it is not there yet; the number of items written."""
        if not _drawable(space.cells):
            return 0
        pk = keys.geometry_pk(space.key)
        wanted = [{"pk": pk, "sk": f"{body['part']:04d}", **body} for body in bodies_of(space)]
        return self._replace(pk, [*self._query(pk)], {"": wanted}, run=None, index=False)

    def get_geometry(self, space_key: str) -> Geometry | None:
        """How the cells of a space are drawn; None when it is not published."""
        found = [*self._query(keys.geometry_pk(space_key))]
        return geometry_of(found, space_key) if found else None

    def _replace(
        self, pk: str, there: list[Item], wanted: dict[str, list[Item]], *, run: str | None, index: bool = True
    ) -> int:
        """Make a partition hold what is wanted: what is there is not written again, what is there besides removed."""
        old = {item["sk"]: item for item in there}
        parts = [item for day in sorted(wanted) for item in wanted[day]]
        written = 0
        lists = [[self._finish({"pk": pk, "sk": _INDEX, "days": sorted(wanted)}, run)]] if index else []
        for items in (parts, *lists):  # the list of days last
            new = [item for item in items if old.pop(item["sk"], None) != item]
            written += self._put(iter(new), len(new)) if new else 0
        self._delete(Key(pk, sk) for sk in old)
        return written


def _drawable(cells: int) -> bool:
    return 0 < cells <= MAP_CELLS


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise StoreError(f"kind is {kind!r:.100}", f"give {' or '.join(map(repr, KINDS))}")
    return kind


def _of_day(times: pd.DatetimeIndex, day: str) -> np.ndarray:
    return times.normalize() == pd.Timestamp(day)


def _stays(old: Item, new: Item) -> bool:
    """Whether a day's forecast is kept rather than replaced."""
    if old.get("backtest"):
        return False
    return bool(new["backtest"]) or new["slots"] < old.get("slots", 0)


def _by_day(items: Iterable[Item]) -> dict[str, list[Item]]:
    days: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item["sk"] != _INDEX:
            days[item["sk"].partition("#")[0]].append(item)
    return days


def _day_items(
    pk: str, times: pd.DatetimeIndex, bands: Sequence[np.ndarray], *, slot: Any, said: Item | None = None
) -> Iterator[tuple[str, list[Item]]]:
    """The items of each day in `times`; counts are one array (slots, cells, 2), a forecast's bands three."""
    length = pd.Timedelta(slot)
    for name, start, a, b in codec.days_of(times, length):
        block = np.stack([band[a:b] for band in bands])
        if block.size > _MOST_NUMBERS:
            continue
        head = {"start": start, "slot_seconds": plain(length.total_seconds()), "slots": b - a, "cells": block.shape[2]}
        numbers = block.astype("<i4") if len(bands) == 1 else six_digits(block).astype("<f4")
        # slots last: a cell's neighbours in time are most like it
        bodies = packed(interleaved(numbers.transpose(0, 2, 3, 1)))
        yield name, [{"pk": pk, "sk": f"{name}#{body['part']:04d}", **head, **(said or {}), **body} for body in bodies]


def _day_map(found: Sequence[Item], day: str, kind: str, what: str) -> DayMap:
    head = found[0]
    slots, cells = head.get("slots"), head.get("cells")
    names = KINDS[kind]
    if not (isinstance(slots, int) and isinstance(cells, int) and slots > 0 and cells > 0):
        raise damaged(what, f"{slots!r:.40} slots of {cells!r:.40} cells")
    if slots * cells * 2 * len(names) > _MOST_NUMBERS:
        raise damaged(what, f"{slots} slots of {cells} cells are too many")
    size = slots * cells * 2 * len(names) * 4
    raw = unpacked(found, what, most=size)
    if len(raw) != size:
        raise damaged(what, f"it holds {len(raw):,} bytes, not {size:,}")
    try:
        slot = pd.Timedelta(seconds=head["slot_seconds"])
        if not slot > pd.Timedelta(0):
            raise ValueError(f"slots of {slot}")
        times = pd.date_range(pd.Timestamp(head["start"]), periods=slots, freq=slot)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise damaged(what, str(error)) from error
    if times.tz is not None or not _of_day(times, day).all():
        raise damaged(what, f"its slots are not those of {day}")
    flat = straight(raw, "<i4" if kind == "actual" else "<f4")
    values = flat.reshape(len(names), cells, 2, slots).transpose(0, 3, 1, 2).astype(np.float64)
    values = np.where(values < 0, np.nan, values) if kind == "actual" else six_digits(values)
    return DayMap(
        day,
        kind,
        times,
        slot,
        dict(zip(names, values, strict=True)),
        head.get("model"),
        head.get("run"),
        head.get("backtest") is True,
    )

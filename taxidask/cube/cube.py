"""The demand cube: trips counted by slot, cell and direction."""

from __future__ import annotations

import html
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from taxidask.cube.adding import MAX_COUNT, add_counts
from taxidask.cube.slots import moment_text, slot_start
from taxidask.errors import CubeError
from taxidask.space import Space
from taxidask.units import parse_slot, slot_name
from taxidask.words import quantity

if TYPE_CHECKING:
    import xarray as xr

DIRECTIONS = ("pickup", "dropoff")
_DAY = pd.Timedelta(days=1)
_USUAL = 20  # trips a day, from which on a day without one is no day of trips


class Totals(NamedTuple):
    """All trip ends of a cube."""

    pickups: int
    dropoffs: int


class Cube:
    """Trips counted by slot, cell and direction.

    Parameters
    ----------
    counts : array-like of int (slots, cells, 2)
        Trip ends: 0 pickup, 1 dropoff in the last axis. An int32 array is taken as it is, without a copy.
    start : str or Timestamp
        When slot 0 begins, New York wall-clock time; a whole number of slots after midnight.
    slot : str or Timedelta
        Length of a slot; a day is a whole number of them.
    space : Space
        The cells: a `Grid` or `Zones`.
    missing : array-like of bool (slots,), optional
        Slots without data. They are not zeros: models skip them.

    Attributes
    ----------
    counts : int32 array (slots, cells, 2)
        Read-only.
    missing : bool array (slots,)
        Read-only.
    start, end : Timestamp
        The cube covers [start, end).
    slot : Timedelta
    space : Space
    times : DatetimeIndex
        Start of every slot.

    Examples
    --------
    >>> from taxidask import Cube, Grid
    >>> grid = Grid(1, 2, west=0, south=0, east=2, north=1)
    >>> cube = Cube([[[1, 0], [2, 1]], [[0, 0], [3, 4]]], start="2015-01-01", slot="30min", space=grid)
    >>> cube
    Cube: 2 slots of 30min from 2015-01-01 00:00 to 2015-01-01 01:00, 2 cells (Grid 1 × 2), 6 pickups, 5 dropoffs
    >>> print(cube.to_pandas().to_string())
                     time  cell  pickups  dropoffs  missing
    0 2015-01-01 00:00:00     0        1         0    False
    1 2015-01-01 00:00:00     1        2         1    False
    2 2015-01-01 00:30:00     0        0         0    False
    3 2015-01-01 00:30:00     1        3         4    False
    >>> (cube + cube).total()
    Totals(pickups=12, dropoffs=10)
    >>> cube.reslot("60min").counts.tolist()
    [[[1, 0], [5, 5]]]
    >>> cube.between("2015-01-01 00:30", "2015-01-01 01:00").total()
    Totals(pickups=3, dropoffs=4)
    """

    ingest: Any = None
    """What `count_trips` read to make this cube, source by source; None for a cube of other origin."""

    def __init__(
        self,
        counts: ArrayLike,
        *,
        start: str | pd.Timestamp,
        slot: str | pd.Timedelta = "30min",
        space: Space,
        missing: ArrayLike | None = None,
    ) -> None:
        if not isinstance(space, Space):
            raise CubeError(f"a cube's space cannot be {space!r}", "give a td.Grid or td.Zones")
        self.space = space
        self.slot = parse_slot(slot)
        self.start = slot_start("start", start, self.slot)
        self.counts = _counts(counts, space)
        self.missing = _missing(missing, self.counts.shape[0])

    @property
    def end(self) -> pd.Timestamp:
        return self.start + self.slot * len(self)

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        return pd.date_range(self.start, periods=len(self), freq=self.slot, name="time")

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def total(self) -> Totals:
        """Return all pickups and all dropoffs."""
        pickups, dropoffs = self.counts.sum(axis=(0, 1), dtype=np.int64).tolist()
        return Totals(pickups, dropoffs)

    def by_slot(self) -> pd.DataFrame:
        """Return pickups and dropoffs of all cells together, one row per slot, with `missing`.

        Examples
        --------
        >>> import taxidask as td
        >>> grid = td.Grid(1, 2, west=0, south=0, east=2, north=1)
        >>> td.Cube([[[1, 0], [2, 1]]], start="2015-01-01", space=grid).by_slot()
                    pickups  dropoffs  missing
        time
        2015-01-01        3         1    False
        """
        sums = self.counts.sum(axis=1, dtype=np.int64)
        columns = {"pickups": sums[:, 0], "dropoffs": sums[:, 1], "missing": self.missing}
        return pd.DataFrame(columns, index=self.times)

    def by_cell(self) -> pd.DataFrame:
        """Return pickups and dropoffs of all slots together, one row per cell.

        Examples
        --------
        >>> import taxidask as td
        >>> grid = td.Grid(1, 2, west=0, south=0, east=2, north=1)
        >>> td.Cube([[[1, 0], [2, 1]]], start="2015-01-01", space=grid).by_cell()
              pickups  dropoffs
        cell
        0           1         0
        1           2         1
        """
        sums = self.counts.sum(axis=0, dtype=np.int64)
        cells = pd.RangeIndex(self.space.cells, name="cell")
        return pd.DataFrame({"pickups": sums[:, 0], "dropoffs": sums[:, 1]}, index=cells)

    def between(self, start: str | pd.Timestamp, end: str | pd.Timestamp) -> Cube:
        """Return the slots from `start` up to and without `end`.

        Both must be starts of slots within the cube (`end` may be the cube's end); anything else is an error.
        """
        first, stop = self._position("start", start), self._position("end", end)
        if first >= stop:
            raise CubeError(f"start {start} is not before end {end}", "give start < end")
        return self._like(self.counts[first:stop], self.start + self.slot * first, self.missing[first:stop])

    def trimmed(self) -> Cube:
        """Return the cube without empty days at its ends, on which nothing was counted rather than nobody driving.

        A file that is named for a month and holds a week of it covers the month. Days at either end on which no trip
        begins are left out where the other days have 20 and more; slots marked missing stay.
        """
        day, pickups = round(_DAY / self.slot), self.counts[:, :, 0].any(axis=1) | self.missing
        filled = np.flatnonzero(pickups)
        days = len(filled) * self.slot / _DAY
        if not len(filled) or self.counts[:, :, 0].sum(dtype=np.int64) < _USUAL * days:
            return self
        first = int(filled[0]) // day * day
        stop = len(self) - (len(self) - 1 - int(filled[-1])) // day * day
        if stop - first == len(self):
            return self
        return self._like(self.counts[first:stop], self.start + self.slot * first, self.missing[first:stop])

    def _position(self, name: str, value: str | pd.Timestamp) -> int:
        moment = slot_start(name, value, self.slot)
        if not self.start <= moment <= self.end:
            span = f"from {moment_text(self.start)} to {moment_text(self.end)}"
            raise CubeError(f"{name} {moment_text(moment)} lies outside the cube, which goes {span}", "stay within it")
        return int((moment - self.start) // self.slot)

    def _like(self, counts: NDArray[np.int32], start: pd.Timestamp, missing: NDArray[np.bool_]) -> Cube:
        """A cube of the same space and slot; counts are known to be good and are not looked at again."""
        cube = object.__new__(Cube)
        cube.space, cube.slot, cube.start = self.space, self.slot, start
        cube.counts, cube.missing = _read_only(counts), _read_only(missing)
        return cube

    def __add__(self, other: object) -> Cube:
        """Add counts slot by slot; the sum covers the span of both, and what neither covers is missing.

        A slot is missing only where it is missing in, or not covered by, both.
        """
        if isinstance(other, int) and other == 0:  # sum(cubes) starts with 0
            return self
        if not isinstance(other, Cube):
            return NotImplemented
        if self.space != other.space:
            raise CubeError(
                f"cubes of different spaces cannot be added: {self.space!r} and {other.space!r}",
                "count both in the same space",
            )
        if self.slot != other.slot:
            raise CubeError(
                f"cubes of slots of {slot_name(self.slot)} and {slot_name(other.slot)} cannot be added",
                f"bring both to the same slots first: cube.reslot({slot_name(max(self.slot, other.slot))!r})",
            )
        start, end = min(self.start, other.start), max(self.end, other.end)
        slots = int((end - start) // self.slot)
        counts = np.zeros((slots, self.space.cells, 2), np.int32)
        missing = np.ones(slots, bool)
        for cube in (self, other):
            first = int((cube.start - start) // self.slot)
            add_counts(counts, cube.counts, first)
            missing[first : first + len(cube)] &= cube.missing
        return self._like(counts, start, missing)

    __radd__ = __add__

    def reslot(self, slot: str | pd.Timedelta) -> Cube:
        """Return the same counts in longer slots; totals stay equal.

        Parameters
        ----------
        slot : str or Timedelta
            A whole multiple of the cube's slot.

        Returns
        -------
        Cube
            A slot is missing where any part of it is missing, or lies before the cube's start or after its end.
        """
        longer = parse_slot(slot)
        if longer % self.slot:
            raise CubeError(
                f"slots of {slot_name(self.slot)} do not add up to slots of {slot_name(longer)}",
                "only a whole multiple of the cube's slot can be made; count again for any other",
            )
        n = int(longer // self.slot)
        start, end = self.start.floor(longer), self.end.ceil(longer)
        slots = int((end - start) // longer)
        first = int((self.start - start) // self.slot)
        missing = np.ones(slots * n, bool)
        missing[first : first + len(self)] = self.missing
        counts = np.zeros((slots, self.space.cells, 2), np.int32)
        for part in range(n):  # the part-th short slot of every long one
            skip = -(-(first - part) // n) if part < first else 0
            source = self.counts[skip * n + part - first :: n]
            add_counts(counts, source, skip)
        cube = self._like(counts, start, np.logical_or.reduce(missing.reshape(slots, n), axis=1))
        cube.slot = longer
        return cube

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per slot and cell: time, cell, pickups, dropoffs, missing."""
        slots, cells, _ = self.counts.shape
        return pd.DataFrame(
            {
                "time": np.repeat(self.times.to_numpy(), cells),
                "cell": np.tile(np.arange(cells, dtype=np.int32), slots),
                "pickups": self.counts[:, :, 0].reshape(-1),
                "dropoffs": self.counts[:, :, 1].reshape(-1),
                "missing": np.repeat(self.missing, cells),
            }
        )

    def to_xarray(self) -> xr.DataArray:
        """Return the counts as an array with named axes (time, cell, direction).

        `missing` stands beside `time`; the cells' `longitude`, `latitude` and, of zones, `location_id` beside `cell`.

        Examples
        --------
        >>> import taxidask as td
        >>> grid = td.Grid(1, 2, west=0, south=0, east=2, north=1)
        >>> trips = td.Cube([[[1, 0], [2, 1]]], start="2015-01-01", space=grid).to_xarray()
        >>> int(trips.sel(cell=1, direction="pickup").sum())
        2
        >>> trips.sizes
        Frozen({'time': 1, 'cell': 2, 'direction': 2})
        """
        import xarray as xr  # heavy, and only needed here

        centers = self.space.centers()
        coords: dict[str, Any] = {
            "time": self.times,
            "cell": np.arange(self.space.cells, dtype=np.int32),
            "direction": list(DIRECTIONS),
            "missing": ("time", self.missing),
            "longitude": ("cell", centers[:, 0]),
            "latitude": ("cell", centers[:, 1]),
        }
        ids = getattr(self.space, "ids", None)
        if ids is not None:
            coords["location_id"] = ("cell", ids)
        attrs = {"slot": slot_name(self.slot), "space": self.space.key, "long_name": "trip ends", "units": "1"}
        return xr.DataArray(self.counts, dims=("time", "cell", "direction"), coords=coords, name="trips", attrs=attrs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cube):
            return NotImplemented
        return (
            self.space == other.space
            and self.slot == other.slot
            and self.start == other.start
            and np.array_equal(self.missing, other.missing)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def _facts(self) -> dict[str, str]:
        pickups, dropoffs = self.total()
        facts = {
            "slots": f"{len(self):,} of {slot_name(self.slot)}",
            "from": moment_text(self.start),
            "to": moment_text(self.end),
            "cells": f"{self.space.cells:,} ({self.space.label})",
            "pickups": f"{pickups:,}",
            "dropoffs": f"{dropoffs:,}",
        }
        if self.missing.any():
            n = int(self.missing.sum())
            facts["missing"] = quantity(n, "slot")
        return facts

    def __repr__(self) -> str:
        f = self._facts()
        missing = f", {f['missing']} missing" if "missing" in f else ""
        length = f["slots"].split(" of ")[1]
        label = f["cells"].split(" ", 1)[1]
        return (
            f"Cube: {quantity(len(self), 'slot')} of {length} from {f['from']} to {f['to']}, "
            f"{quantity(self.space.cells, 'cell')} {label}, {f['pickups']} pickups, {f['dropoffs']} dropoffs{missing}"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table><caption>Demand cube</caption><tbody>{rows}</tbody></table>"


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _counts(counts: ArrayLike, space: Space) -> NDArray[np.int32]:
    array = np.asarray(counts)
    if array.ndim != 3 or array.shape[1:] != (space.cells, 2):
        raise CubeError(
            f"counts of shape {array.shape} do not fit {space.cells} cells of {space!r}",
            f"give counts of shape (slots, {space.cells}, 2)",
        )
    if array.dtype.kind not in "iu":
        raise CubeError(f"counts of type {array.dtype} are no whole numbers", "round them: counts.astype('int32')")
    if array.size:
        lowest, highest = array.min(), array.max()
        bad = lowest if lowest < 0 else highest
        if not 0 <= bad <= MAX_COUNT:
            slot, cell, direction = np.argwhere(array == bad)[0]
            raise CubeError(
                f"slot {slot}, cell {cell}, {DIRECTIONS[direction]}: a count cannot be {bad:,}",
                f"counts go from 0 to {MAX_COUNT:,}",
            )
    return _read_only(np.ascontiguousarray(array, np.int32))


def _missing(missing: ArrayLike | None, slots: int) -> NDArray[np.bool_]:
    if missing is None:
        return _read_only(np.zeros(slots, bool))
    array = np.asarray(missing)
    if array.dtype != bool or array.shape != (slots,):
        raise CubeError(
            f"missing of type {array.dtype} and shape {array.shape} does not fit {slots} slots",
            f"give bools of shape ({slots},)",
        )
    return _read_only(array.copy())

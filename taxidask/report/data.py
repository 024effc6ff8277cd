"""What the report reads: the run's results from the store, the trips and the cube from its lake."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from taxidask.errors import LakeError, ReportError
from taxidask.report.kernel import FROM, RUN
from taxidask.words import command

if TYPE_CHECKING:
    from taxidask.cube import Cube
    from taxidask.lake import Lake
    from taxidask.results import Store

_RUN = "taxidask run --sources 'trips/*.csv'"


@dataclass
class RunData:
    """One run's results, each read when it is first asked for.

    Attributes
    ----------
    store : Store
    lake : Lake
    run : dict
        The run's item: id, created, settings, stages.
    latest : dict
        What the store shows as latest: spans and cells of the published forecast.
    """

    store: Store
    lake: Lake
    run: dict[str, Any]
    latest: dict[str, Any]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.run["id"])

    @property
    def published(self) -> bool:
        """Whether the forecasts in the store are this run's."""
        return self.latest.get("run") == self.id and bool(self.latest.get("forecast_start"))

    @cached_property
    def sources(self) -> pd.DataFrame:
        """One row per source of the lake: url, rows, kept, rejected and a column per reason."""
        return self.lake.sources()

    @cached_property
    def cube(self) -> Cube:
        """Trips counted by slot, cell and direction, over all covered months; without empty days at their ends."""
        return self.lake.cube().trimmed()

    @cached_property
    def observed(self) -> pd.DataFrame:
        """Trips of the whole area: time, pickups, dropoffs; NaN in slots without data."""
        return self._observed(slice(None))

    def observed_in(self, cell: int) -> pd.DataFrame:
        """Trips of one cell: time, pickups, dropoffs."""
        return self._observed([cell])

    def _observed(self, cells: Any) -> pd.DataFrame:
        sums = self.cube.counts[:, cells].sum(axis=1, dtype="int64").astype("float64")
        sums[self.cube.missing] = float("nan")
        return pd.DataFrame({"time": self.cube.times, "pickups": sums[:, 0], "dropoffs": sums[:, 1]})

    @cached_property
    def forecast(self) -> pd.DataFrame:
        """The published forecast of the whole area: time, direction, mean, low, high; empty if it is another run's."""
        return self.forecast_in("city")

    def forecast_in(self, cell: int | str) -> pd.DataFrame:
        """The published forecast of one cell."""
        if not self.published:
            return pd.DataFrame(columns=["time", "direction", "mean", "low", "high"])
        latest = self.latest
        span = latest["forecast_start"], latest["forecast_end"]
        return self.store.get_forecast(latest["space"], cell, *span, slot=latest.get("slot", "30min"))

    def cell_name(self, cell: int) -> str:
        """A cell for a reader: its zone's name, or its row and column in the grid."""
        space: Any = self.cube.space
        names = getattr(space, "names", None)
        if names is not None and names[cell]:
            return str(names[cell])
        if hasattr(space, "cols"):
            lon, lat = space.center(cell)
            return f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.3f}° {'E' if lon >= 0 else 'W'}"
        return f"Cell {cell}"

    def metrics(self, kind: str) -> pd.DataFrame:
        """The run's backtest of a kind of model (``"demand"`` or ``"fare"``), or what it counted of the prices it told
        (``"fare-prices"``, ``"fare-errors"``: see `taxidask.fare.told`); empty when there is none."""
        return self.store.get_metrics(self.id, kind)

    def card(self, kind: str) -> dict[str, Any]:
        """The card of the run's model of a kind, or the latest one; empty when there is none."""
        return self.store.get_card(kind, run=self.id) or self.store.get_card(kind) or {}

    def fares(self, rows: int = 40_000) -> pd.DataFrame:
        """When about `rows` trips began and their fares, spread evenly over the lake's; all if there are fewer."""
        return self.lake.sample(rows, columns=["pickup_datetime", "fare_amount"])


def open_run(*, store: str | None = None, lake: str | None = None, run: str | None = None) -> RunData:
    """Open a run for its report.

    Parameters
    ----------
    store, lake : str, optional
        Default: the settings (``TAXIDASK_STORE``, ``TAXIDASK_LAKE``, ``taxidask.toml``).
    run : str, optional
        Default: ``TAXIDASK_RUN``; ``last``, as without any: the run that published last, else the newest.

    Raises
    ------
    ReportError
        When the store knows no such run, or none at all.
    """
    from taxidask.lake import Lake
    from taxidask.results import open_store
    from taxidask.results.notes import whole
    from taxidask.settings import resolve
    from taxidask.storage import absolute

    # nbconvert runs a notebook in the notebook's own folder; settings are relative to where the command was given
    with contextlib.chdir(os.environ.get(FROM) or "."):
        settings, _ = resolve({"store": store, "lake": lake})
        opened = open_store(settings.store)
        place = absolute(settings.lake)
    latest = opened.get_latest()
    named = run or os.environ.get(RUN) or "last"
    wanted = latest.get("run") if named == "last" else named
    item = opened.get_run(wanted) if wanted else next(iter(opened.list_runs(limit=1)), None)
    if item is None:
        known = [one["id"] for one in opened.list_runs(limit=3)]
        raise ReportError(
            f"there is no run {wanted} in {opened.url}" if wanted else f"there is no run yet in {opened.url}",
            f"the newest are {', '.join(known)}" if known else f"start one: {command(_RUN, store=opened.url)}",
        )
    if since := (((item.get("stages") or {}).get("publish")) or {}).get("unchanged_since"):
        item = opened.get_run(since) or item  # it found nothing new: its results are those of that run
    if lake is None and "TAXIDASK_LAKE" not in os.environ and (item.get("settings") or {}).get("lake"):
        place = absolute(item["settings"]["lake"])
    data = RunData(opened, Lake(place), whole(opened, item), latest)
    if data.sources.empty:
        raise LakeError(f"the lake {place} of run {data.id} has no source", "name the run's lake with TAXIDASK_LAKE")
    return data

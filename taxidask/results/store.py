"""The store's interface: what is published, and how it is read. Stores differ in seven small operations on items."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.errors import StoreError
from taxidask.results import given, keys
from taxidask.results import items as codec
from taxidask.results.added import AddedTrips, Conditions
from taxidask.results.changes import seal, there
from taxidask.results.drawing.maps import DEMAND_DAYS, Maps
from taxidask.results.keys import CITY, LATEST, Key
from taxidask.results.values import plain
from taxidask.results.watches import Watches
from taxidask.units import is_whole

if TYPE_CHECKING:
    from taxidask.storage import Regions

LAYOUT = 3
"""Of what is published: what is there in another is not all that is read, and has to be published again."""

Item = dict[str, Any]
Progress = Callable[[int, int], None]


class Store(AddedTrips, Maps, Watches, ABC):
    """Published results: forecasts, counted demand, maps, model cards, metrics, ingest summaries and runs; added trips.

    Open one with `open_store`. Opening is cheap and touches nothing; `check` says whether the store can be used, and
    `create` makes it. A store may be shared between threads and sent to other processes.

    Every write replaces whole items, so that writing the same twice changes nothing, and of two writers the last one
    wins, in whichever region of a global table they wrote. Only runs are written conditionally, and a condition is
    judged in the region that is written to. Every read asks for known keys and never scans.

    Numbers are kept exactly, forecasts to six significant digits; NaN and infinity become null. Times are New York
    wall-clock time as published.

    Parameters
    ----------
    ttl_days : float, optional
        Forecasts, metrics and runs are forgotten so many days after their run began. None keeps them.
    """

    url: str
    regions: Regions | None = None
    cost_class: str = "free of charge"
    _readers = 1
    """Queries that are worth asking at a time."""

    def __init__(self, url: str, *, ttl_days: float | None = None) -> None:
        if ttl_days is not None and not ttl_days > 0:
            raise StoreError(
                f"ttl_days is {ttl_days}", "give a number of days over 0, or leave it out to keep everything"
            )
        self.url = url
        self.ttl_days = ttl_days

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a kind of store has to do --------------------------------------------------------------------------------

    @abstractmethod
    def create(self) -> bool:
        """Make the store if it is not there yet, and wait until it can be used; whether this call made it."""

    @abstractmethod
    def check(self) -> None:
        """Raise StoreError, with the remedy, when the store cannot be used."""

    def look_over(self) -> None:
        """The same, more thoroughly where it can be."""
        self.check()

    @abstractmethod
    def close(self) -> None:
        """Give back connections; the store may be used again afterwards."""

    def newest(self) -> tuple[str, float | None]:
        """The region that is read from, and when its newest run or publication was written, seconds since 1970."""
        return "", None

    def staying(self) -> Store:
        """This store for work that is begun anew in another region when its active one goes dark: no write moves."""
        return self

    @property
    def usage(self) -> dict[str, float]:
        """Write and read units that this object has been charged for so far."""
        return {"write_units": 0.0, "read_units": 0.0}

    @abstractmethod
    def _get(self, key: Key) -> Item | None:
        """One item by its key."""

    @abstractmethod
    def _query(
        self,
        pk: str,
        *,
        first: str | None = None,
        last: str | None = None,
        prefix: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        where: Conditions = (),
    ) -> Iterator[Item]:
        """Items of a partition in the order of their sort keys, from `first` to `last`, both included."""

    @abstractmethod
    def _put(self, items: Iterable[Item], total: int, progress: Progress | None = None) -> int:
        """Write items, replacing those of the same key; how many there were."""

    @abstractmethod
    def _delete(self, doomed: Iterable[Key]) -> int:
        """Remove items; how many were named."""

    @abstractmethod
    def _insert(self, item: Item) -> bool:
        """Write an item unless its key is taken; whether it was written."""

    @abstractmethod
    def _update(self, key: Key, changes: dict[tuple[str, ...], Any], expect: dict[tuple[str, ...], Any]) -> bool:
        """Set the values at `changes`' paths if the item exists and equals `expect` at its paths; whether it did.

        An expected None is met by null and by absence.
        """

    # -- forecasts -----------------------------------------------------------------------------------------------------

    def put_forecast(self, forecast: Any, *, model: str, run: str, progress: Progress | None = None) -> int:
        """Publish a forecast of every cell: one item per cell and day, with both directions.

        A day's item holds the newest forecast of that day and replaces an older one.

        Parameters
        ----------
        forecast : Forecast
        model, run : str
            Which model made it, in which run; kept with it.
        progress : callable, optional
            Called with the items written so far and their total.

        Returns
        -------
        int
            Items written.
        """
        forecast, model, run = given.forecast_of(forecast), given.text_of(model, "model"), given.text_of(run, "run")
        total, items = codec.forecast_items(
            forecast.times,
            (forecast.mean, forecast.low, forecast.high),
            slot=forecast.slot,
            space_key=forecast.space.key,
            cells=range(np.shape(forecast.mean)[1] if np.ndim(forecast.mean) > 1 else 0),
            model=model,
            run=run,
        )
        return self._publish(items, total, run=run, progress=progress)

    def put_total_forecast(self, forecast: Any, *, model: str, run: str) -> int:
        """Publish a forecast's city totals with their own band: one item per day.

        `forecast` needs `total()`, a table (time, direction, mean, low, high), `slot` and `space`.
        """
        forecast, model, run = given.totals_of(forecast), given.text_of(model, "model"), given.text_of(run, "run")
        times, bands = codec.total_bands(forecast.total())
        total, items = codec.forecast_items(
            times, bands, slot=forecast.slot, space_key=forecast.space.key, cells=[CITY], model=model, run=run
        )
        return self._publish(items, total, run=run)

    def get_forecast(
        self, space_key: str, cell: int | str, start: Any = None, end: Any = None, *, slot: Any = "30min"
    ) -> pd.DataFrame:
        """A cell's newest forecast as time, direction, mean, low, high; `end` is left out.

        `cell` is a number, or ``"city"`` for the totals. Empty when nothing has been published.
        """
        items, first, last = self._span(keys.forecast_pk(space_key, slot, cell), start, end)
        return codec.forecast_frame(items, first, last)

    def get_total_forecast(
        self, space_key: str, start: Any = None, end: Any = None, *, slot: Any = "30min"
    ) -> pd.DataFrame:
        """The city's newest forecast as time, direction, mean, low, high."""
        return self.get_forecast(space_key, CITY, start, end, slot=slot)

    # -- counted demand ------------------------------------------------------------------------------------------------

    def put_demand(
        self,
        cube: Any,
        *,
        cells: Sequence[int] | None = None,
        days: int | None = DEMAND_DAYS,
        progress: Progress | None = None,
    ) -> int:
        """Publish a cube's counts: the last `days` of every cell (or of `cells`), and all days of the whole city.

        Days without data are not published, and removed where they were.

        Returns the number of items written: one per cell and day that is new, or was counted differently before.
        """
        counts = np.asarray(given.cube_of(cube).counts)
        days = None if days is None else given.days_of(days)
        if len(counts) == 0:
            return 0
        times, missing = pd.DatetimeIndex(cube.times), getattr(cube, "missing", None)
        space_key = cube.space.key
        wanted = given.cells_of(cells, counts.shape[1])

        def publish(cells: list[Any], counts: np.ndarray, begin: int, progress: Progress | None = None) -> int:
            gaps = None if missing is None else np.asarray(missing)[begin:]
            total, items = codec.demand_items(
                times[begin:], counts[begin:], slot=cube.slot, space_key=space_key, cells=cells, missing=gaps
            )
            partitions = [keys.demand_pk(space_key, cube.slot, cell) for cell in cells]
            return self._publish_changed(items, total, partitions, (times[begin], times[-1]), progress=progress)

        written = publish([CITY], counts.sum(axis=1, dtype=np.int64, keepdims=True), 0)
        # whole days, as a day's item is replaced whole
        begin = 0
        if days is not None:
            begin = int(times.searchsorted((times[-1] - pd.Timedelta(days=days - 1)).normalize()))
        return written + publish(wanted.tolist(), counts if cells is None else counts[:, wanted], begin, progress)

    def get_demand(
        self, space_key: str, cell: int | str = CITY, start: Any = None, end: Any = None, *, slot: Any = "30min"
    ) -> pd.DataFrame:
        """Counted trips as time, pickups, dropoffs, without `end`; NaN where is no data, once for whole days of it."""
        items, first, last = self._span(keys.demand_pk(space_key, slot, cell), start, end)
        return codec.demand_frame(items, first, last)

    # -- models --------------------------------------------------------------------------------------------------------

    def put_card(self, kind: str, card: Mapping[str, Any], *, run: str | None = None) -> None:
        """Publish a model's card as the latest of its kind, which stays, and as that of `run` if one is given."""
        body = plain(given.mapping_of(card, f"card {kind}"), f"card {kind}")
        run = None if run is None else given.text_of(run, "run")
        for owner in (run, None) if run is not None else (None,):
            self._publish(iter([{**keys.card_key(kind, owner)._asdict(), "card": body}]), 1, run=owner)

    def get_card(self, kind: str, *, run: str | None = None) -> dict[str, Any] | None:
        """The latest card of a kind, or that of a run; None when there is none."""
        item = self._read(keys.card_key(kind, run))
        return None if item is None else item["card"]

    def put_metrics(self, run: str, kind: str, metrics: pd.DataFrame) -> None:
        """Publish a table of metrics of a run, such as ``"demand"`` or ``"fare"``."""
        run = given.text_of(run, "run")
        bodies = codec.table_bodies(given.table_of(metrics, "metrics"))
        # the first part last: it makes the others count
        items = [{**keys.metrics_key(run, kind, body["part"])._asdict(), **body} for body in reversed(bodies)]
        self._publish(iter(items), len(items), run=run)

    def get_metrics(self, run: str, kind: str) -> pd.DataFrame:
        """A run's table of metrics, with the column types it had; empty when there is none."""
        found = self._query(keys.metrics_key(run, kind, 0).pk, prefix=keys.metrics_prefix(kind))
        return codec.table_frame(list(self._alive(found)), f"the table of {kind} metrics of run {run}")

    # -- ingest, and what to show first --------------------------------------------------------------------------------

    def put_ingest(self, lake_url: str, sources: Iterable[Any], *, replace: bool = False) -> int:
        """Publish what ingesting each source found; how many of them are new or changed.

        Parameters
        ----------
        sources : iterable of dict or dataclass
            Each with its ``url``; everything else is kept as it is.
        replace : bool
            Also forget sources that are not among them.
        """
        items, lake_url = [], given.text_of(lake_url, "lake_url")
        for body in given.sources_of(sources):
            key = keys.ingest_key(lake_url, body["url"])
            # a dict in a store has no order of its own
            items.append({**key._asdict(), "lake": lake_url, "names": list(body), "source": body})
        return self._publish_changed(iter(items), len(items), [keys.ingest_pk(lake_url)], replace=replace)

    def get_ingest(self, lake_url: str) -> pd.DataFrame:
        """One row per source of a lake, by URL; rejects stay a dict of reasons."""
        found = self._alive(self._query(keys.ingest_pk(lake_url)))
        rows = [{name: item["source"][name] for name in item["names"]} for item in found]
        rows.sort(key=lambda row: str(row["url"]))
        return pd.DataFrame(rows)

    def put_latest(self, latest: Mapping[str, Any]) -> None:
        """Publish what the Overview shows first: run, lake, space, spans and the like."""
        body = plain(given.mapping_of(latest, "latest"), "latest")
        self._publish(iter([{"pk": LATEST, "sk": LATEST, "latest": body}]), 1, run=None)

    def get_latest(self) -> dict[str, Any]:
        """What was published last; empty when nothing has been."""
        item = self._read(Key(LATEST, LATEST))
        return {} if item is None else item["latest"]

    # -- runs ----------------------------------------------------------------------------------------------------------

    def create_run(self, run: Mapping[str, Any]) -> bool:
        """Write a new run; False when there is one of the same id."""
        body = plain(given.mapping_of(run, "run"), "run")
        if not isinstance(body.get("id"), str) or not body["id"]:
            raise StoreError("a run has no id", "give it one like 20261123T081500Z-ab12cd: ids sort by time")
        for name in body:
            given.top_level(name)
        item = self._finish({**keys.run_key(body["id"])._asdict(), **body}, body["id"])
        return self._insert(item)

    def get_run(self, run: str) -> dict[str, Any] | None:
        """A run, or None."""
        item = self._read(keys.run_key(run))
        return None if item is None else _bare(item)

    def update_run(self, run: str, changes: Mapping[str, Any], *, expect: Mapping[str, Any] | None = None) -> bool:
        """Change a run if it is as expected.

        Only what is named is written, in one step, so that writers of different things do not undo each other.

        Parameters
        ----------
        changes : dict
            New values by name. A name with dots sets one entry inside a dict: ``{"stages.ingest": {...}}`` leaves the
            other stages alone. The dict it goes into has to be there.
        expect : dict, optional
            Values, by name, that the run must have now; None is met by null and by absence.

        Returns
        -------
        bool
            False, with nothing changed, when there is no such run or it is not as expected.
        """
        paths = {
            given.path_of(name): plain(value, name) for name, value in given.mapping_of(changes, "changes").items()
        }
        given.no_overlap(list(paths))
        known = {} if expect is None else given.mapping_of(expect, "expect")
        expected = {given.path_of(name): plain(value, name) for name, value in known.items()}
        if ("id",) in paths:
            raise StoreError(f"an update of run {run} changes its id", "create a new run instead")
        return self._update(keys.run_key(run), paths, expected)

    def ask_to_stop(self, run: str, item: Mapping[str, Any]) -> bool:
        """Ask the driver of a run to stop; False where the run is not in the state any more that `item` says."""
        return self.update_run(run, {"cancel": True}, expect={"state": item["state"]})

    def list_runs(self, limit: int = 50, *, before: str | None = None) -> list[dict[str, Any]]:
        """Runs, newest first: at most `limit`, older than the id `before` if one is given."""
        if not is_whole(limit, 0):
            raise StoreError(f"limit is {limit!r:.100}", "give a number of runs, 0 or more")
        if limit == 0:
            return []
        last = None if before is None else keys.run_key(before).sk
        found = self._query(keys.RUNS, last=last, newest_first=True, limit=limit + (before is not None))
        older = (item for item in self._alive(found) if item["sk"] != last)
        return [_bare(item) for item in islice(older, limit)]

    # -- shared --------------------------------------------------------------------------------------------------------

    def _publish(self, items: Iterable[Item], total: int, *, run: str | None, progress: Progress | None = None) -> int:
        """Write items that expire with `run`, or stay (None)."""
        return self._put((self._finish(item, run) for item in items), total, progress) if total else 0

    def _publish_changed(
        self,
        items: Iterable[Item],
        total: int,
        partitions: Sequence[str],
        days: Sequence[pd.Timestamp] = (),
        *,
        replace: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Write, of items that stay, those that are new or changed; how many that were.

        `partitions` are all that they lie in, `days` the first and the last of theirs. With `replace`, what the
        partitions hold besides of these days is removed.
        """
        first, last = map(codec.day, days) if days else (None, None)
        left = there(partial(self._query, first=first, last=last), partitions, readers=self._readers)
        new = (item for item in items if left.pop((item["pk"], item["sk"]), None) != seal(item))
        written = self._put(new, total, progress) if total else 0
        if replace:
            self._delete(Key(*key) for key in left)
        return written

    def _finish(self, item: Item, run: str | None) -> Item:
        """The item with its end of life, if it has one."""
        if self.ttl_days is not None and run is not None:
            began = keys.run_time(run)
            item["expires_at"] = int((began.timestamp() if began else time.time()) + self.ttl_days * 86400)
        return item

    def _read(self, key: Key) -> Item | None:
        item = self._get(key)
        return None if item is None else next(self._alive([item]), None)

    def _alive(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items whose time has not run out: DynamoDB may take days to remove them."""
        now = time.time()
        return (item for item in items if item.get("expires_at") is None or item["expires_at"] > now)

    def _span(self, pk: str, start: Any, end: Any) -> tuple[Iterator[Item], pd.Timestamp | None, pd.Timestamp | None]:
        first, last = codec.moment(start, "start"), codec.moment(end, "end")
        if first is not None and last is not None and last <= first:
            return iter(()), first, last
        found = self._query(
            pk,
            first=None if first is None else codec.day(first),
            last=None if last is None else codec.day(last),
        )
        return self._alive(found), first, last


def look(item: Item, path: tuple[str, ...]) -> Any:
    """The value at a path, None when there is none."""
    value: Any = item
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def no_such_place(key: Key) -> StoreError:
    """An update goes into a dict that is not there."""
    return StoreError(f"{key} has no dict where an entry is to be set", "set the whole dict first, then its entries")


def _bare(item: Item) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in keys.RESERVED}

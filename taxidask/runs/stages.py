"""The stages of a run, in order. Each says what its inputs are, whether its output is already there, and makes it."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from taxidask.asking.moving import bring, settle, waits
from taxidask.backtests import backtest
from taxidask.cube import Cube
from taxidask.demand import DemandModel, Forecast, folds_of
from taxidask.errors import ReportError, RunError, TaxidaskError, TooFewError
from taxidask.fare import FareModel, fit_and_backtest
from taxidask.lake import Lake
from taxidask.results import LAYOUT, Store
from taxidask.runs.ledger import Ledger, digest
from taxidask.settings import Settings
from taxidask.space import AUTO, Space, Zones, space_of, zone_name
from taxidask.storage import Storage, absolute, default_storage, join
from taxidask.trips import Ingest, Rules, Source
from taxidask.trips.outcome import NO_ROWS
from taxidask.trips.sources import UnpackLimit, Unusable, raise_unusable
from taxidask.units import parse_bytes
from taxidask.words import quantity

if TYPE_CHECKING:
    from distributed import Client

FARE_ROWS = 500_000  # memory stays bounded over years of trips
BACKTEST_FOLDS = 2  # each fits anew
FARE_COLUMNS = [
    *("pickup_datetime", "pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"),
    *("pickup_location_id", "dropoff_location_id", "passenger_count", "fare_amount", "tolls_amount"),
]


def rules_of(settings: Settings) -> Rules:
    """The row rules that the settings give thresholds for."""
    return Rules(
        max_duration_hours=settings.max_duration_hours,
        max_distance_miles=settings.max_distance_miles,
        max_fare=settings.max_fare,
        min_passengers=settings.min_passengers,
        max_passengers=settings.max_passengers,
        west=settings.west,
        east=settings.east,
        south=settings.south,
        north=settings.north,
    )


def unpack_of(settings: Settings) -> UnpackLimit:
    """What the settings let a packed file unpack to."""
    return UnpackLimit(parse_bytes(settings.unpack_size), settings.unpack_ratio)


@dataclass
class Job:
    """What the stages of one run share."""

    settings: Settings
    store: Store
    lake: Lake
    storage: Storage
    sources: list[Source | Unusable]
    ledger: Ledger
    client: Client | None
    progress: bool
    say: Callable[[str], None]
    read: dict[str, int] = field(default_factory=lambda: {"bytes": 0})  # in this attempt
    models: dict[str, Any] = field(default_factory=dict)  # this run's, by kind
    _cube: Cube | None = None

    @property
    def cube(self) -> Cube:
        if self._cube is None:
            self._cube = self.lake.cube().trimmed()
        return self._cube

    def renew(self, without: Collection[str]) -> None:
        """Look again at what there is: the run has gone over to another region."""
        self.lake, self.storage, self.sources = open_job(self.settings, without, self.storage)
        self._cube, self.models = None, {}

    def model_url(self, kind: str) -> str:
        """Where this run's model of a kind is; runs with other settings have theirs elsewhere."""
        return join(self.lake.url, "models", f"demand-{self.settings.horizon}" if kind == "demand" else kind)


# -- ingest ----------------------------------------------------------------------------------------------------------


def ingest_inputs(job: Job) -> str:
    space = job.settings.space
    key = space if space == AUTO else space_of(space).key
    found = [(s.url, s.version if isinstance(s, Source) else str(s.error)) for s in job.sources]
    return digest(found, key, job.settings.slot, repr(rules_of(job.settings)))


def ingest_ready(job: Job, outputs: dict[str, Any]) -> bool:
    """Whether the lake is as it was left; a source that could be opened, and not be read, may be readable now."""
    if outputs.get("failed") or waits(job.store, job.lake):
        return False
    return bool(outputs.get("fingerprint")) and outputs["fingerprint"] == job.lake.fingerprint()


def left_out(result: Ingest) -> list[str]:
    """What an ingest did not take: failed sources, most of a source, second names of a content, unreadable values."""
    notes = [f"{source.url}: {source.error}" for source in result.failed]
    taken = [source for source in result.sources if source.error is None]
    notes += [f"{source.url}: {source.mostly_rejected}" for source in taken if source.mostly_rejected]
    notes += [f"{source.url}: {NO_ROWS}" for source in taken if source.empty]
    notes += [f"{source.url}: {source.note}" for source in result.sources if source.duplicate_of]
    return notes + [
        f"{source.url}: {count:,} unreadable values of {column} became null"
        for source in result.sources
        for column, count in source.unreadable.items()
        if count
    ]


def ingest(job: Job) -> dict[str, Any]:
    done = {"rows": 0, "kept": 0, "bytes": 0, "blocks": 0}
    lock = threading.Lock()

    def on_block(block: dict[str, Any]) -> None:
        with lock:
            for name in ("rows", "kept", "bytes"):
                done[name] += block[name]
            done["blocks"] += 1
            job.read["bytes"] = done["bytes"]
        job.ledger.progress(**done)

    usable = [one for one in job.sources if isinstance(one, Source)]
    added, staying = bring(job.store, job.lake, job.lake.choose_space(job.settings.space, usable).space)
    try:
        result = job.lake.ingest(
            [*job.sources, *added],
            space=job.settings.space,
            slot=job.settings.slot,
            client=job.client,
            block_size=parse_bytes(job.settings.block_size),
            rules=rules_of(job.settings),
            on_block=on_block,
            should_stop=job.ledger.should_stop,
            progress=job.progress,
            errors="report",
        )
    except RunError:
        job.ledger.check()
        raise
    settle(job.store, job.lake)
    table = job.lake.sources()
    job.store.put_ingest(job.lake.url, table.to_dict("records"))
    if not int(table["kept"].sum()):
        raise RunError(
            "no source gave a valid row: " + "; ".join(left_out(result)),
            "look at the rows set aside with lake.rejects()",
        )
    # The figures are the lake's, not those of this attempt: a resumed run reports what an uninterrupted one does.
    kept, rejected = int(table["kept"].sum()), int(table["rejected"].sum())
    opened = {source.url for source in job.sources if isinstance(source, Source)} - set(table["url"])
    failed = sum(source.url in opened for source in result.failed)
    space = result.space.space.label
    return {
        "rows": int(table["rows"].sum()),
        "kept": kept,
        "bytes": int(table["bytes"].sum()),
        "detail": f"{quantity(len(table), 'source')}, {kept:,} kept, {rejected:,} rejected, counted in {space}",
        "blocks": done["blocks"],
        "left_out": [*left_out(result), *staying],
        "outputs": {"fingerprint": job.lake.fingerprint(), "failed": failed},
    }


# -- models ----------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    """Of what the numbers depend on besides data and settings."""
    return {name: version(name) for name in ("taxidask", "lightgbm", "numpy", "holidays")}


def demand_inputs(job: Job) -> str:
    # the layout, as what the backtest foresaw is published at once
    return digest(job.lake.fingerprint(), job.settings.horizon, _versions(), LAYOUT)


def model_ready(job: Job, kind: str, outputs: dict[str, Any]) -> bool:
    if outputs.get("too_few"):
        return True  # the same data are as few as they were
    url = outputs.get("model")
    if not url:
        return False
    try:
        model = job.models[kind] = (DemandModel if kind == "demand" else FareModel).load(url)
    except TaxidaskError:
        return False
    return model.card["data"] == outputs["data"]


def _keep(job: Job, kind: str, model: DemandModel | FareModel) -> dict[str, Any]:
    """Save a model that was fitted and publish its card; what `model_ready` looks at."""
    url = job.model_url(kind)
    job.models[kind] = model
    # also as the newest of its kind, which forecasts and quotes ask
    for place in dict.fromkeys((url, join(job.lake.url, "models", kind))):
        model.save(place)
    job.store.put_card(kind, model.card, run=job.ledger.id)
    return {"model": url, "data": model.card["data"]}


def _too_few(kind: str, rows: int, error: TooFewError) -> dict[str, Any]:
    """What a stage comes to whose model cannot be had of these data: the run goes on without it, and says so."""
    return {
        "rows": rows,
        "detail": f"no {kind} model, for want of trips",
        "left_out": [f"no {kind} model: {error}"],
        "outputs": {"too_few": True},
    }


def demand(job: Job) -> dict[str, Any]:
    cube = job.cube
    slots_per_day = int(pd.Timedelta("1D") / cube.slot)
    model = DemandModel(horizon=job.settings.horizon)
    horizon = min(job.settings.horizon, slots_per_day)
    folds = min(BACKTEST_FOLDS, folds_of(cube, horizon))
    if folds:

        def publish(forecast: Forecast) -> None:
            job.store.put_forecast_map(forecast, model="demand", run=job.ledger.id, backtest=True)

        frame = backtest(model, cube, folds=folds, horizon=horizon, client=job.client, on_forecast=publish)
        job.store.put_metrics(job.ledger.id, "demand", frame)
        job.ledger.check()
    rows = int(cube.counts.sum())
    try:
        model.fit(cube, client=job.client)
    except TooFewError as error:
        return _too_few("demand", rows, error)
    said = [f"{cube.space.cells} cells, {len(cube.times)} slots", model.note, _few_folds(folds, "one day", "days")]
    return {"rows": rows, "detail": "; ".join(filter(None, said)), "outputs": _keep(job, "demand", model)}


def _few_folds(folds: int, one: str, many: str) -> str:
    """What a backtest lacks, for want of data."""
    if folds == BACKTEST_FOLDS:
        return ""
    return f"backtest of {one} only" if folds else f"too few {many} for a backtest"


def fare_inputs(job: Job) -> str:
    return digest(job.lake.fingerprint(), FARE_ROWS, _versions())


def fare_trips(lake: Lake) -> pd.DataFrame:
    """Trips to learn fares from: all of a small lake, of a large one as many, spread evenly over all."""
    return lake.sample(FARE_ROWS, columns=FARE_COLUMNS)


def fare(job: Job) -> dict[str, Any]:
    trips = fare_trips(job.lake)
    model = FareModel(space=job.lake.space)
    try:
        tested = fit_and_backtest(model, trips, folds=BACKTEST_FOLDS, client=job.client)
    except TooFewError as error:
        return _too_few("fare", len(trips), error)
    for kind, table in (("fare", tested.table), ("fare-prices", tested.prices), ("fare-errors", tested.errors)):
        job.store.put_metrics(job.ledger.id, kind, table)
    job.ledger.check()
    said = [f"{len(trips):,} trips", _few_folds(len(tested.table), "the newest quarter", "trips")]
    return {"rows": len(trips), "detail": "; ".join(filter(None, said)), "outputs": _keep(job, "fare", model)}


# -- publish and report ----------------------------------------------------------------------------------------------


def publish_inputs(job: Job) -> str:
    models = [job.ledger.stage(kind).get("outputs") for kind in ("demand", "fare")]
    return digest(*models, job.settings.horizon, LAYOUT)


def publish_ready(job: Job, outputs: dict[str, Any]) -> bool:
    latest = job.store.get_latest()
    return bool(outputs) and latest.get("run") == outputs.get("run")


def cell_names(space: Space, cells: list[int]) -> dict[str, str]:
    """What the cells that are taxi zones are called.

    Examples
    --------
    >>> from taxidask.space import Grid
    >>> cell_names(Zones(), [131, 55]), cell_names(Grid.new_york(), [330])
    ({'131': 'JFK Airport (132)', '55': 'Corona (56)'}, {})
    """
    return {str(cell): zone_name(int(space.ids[cell]), space) for cell in cells} if isinstance(space, Zones) else {}


def publish(job: Job) -> dict[str, Any]:
    cube = job.cube
    run, written, span = job.ledger.id, 0, (cube.end, cube.end)
    if model := job.models.get("demand"):
        forecast = model.forecast(cube, horizon=job.settings.horizon, client=job.client)
        span = forecast.times[0], forecast.times[-1] + cube.slot
        job.ledger.check()
        written += job.store.put_forecast(forecast, model="demand", run=run)
        written += job.store.put_total_forecast(forecast, model="demand", run=run)
        written += job.store.put_forecast_map(forecast, model="demand", run=run)
    written += job.store.put_demand(cube)
    written += job.store.put_geometry(cube.space)
    written += job.store.put_demand_map(cube)
    volume = cube.counts.sum(axis=(0, 2))
    busiest = [int(cell) for cell in volume.argsort(kind="stable")[::-1][:50] if volume[cell] > 0]
    job.store.put_latest(
        {
            "run": run,
            "lake": job.lake.url,
            "space": cube.space.key,
            "slot": job.settings.slot,
            "cube_start": cube.start.isoformat(),
            "cube_end": cube.end.isoformat(),
            "forecast_start": span[0].isoformat(),
            "forecast_end": span[1].isoformat(),  # without a model the same
            "trips": int(job.lake.sources()["kept"].sum()),
            "cells": busiest,
            "cell_names": cell_names(cube.space, busiest),
        }
    )
    return {
        "rows": written,
        "detail": f"{round((span[1] - span[0]) / cube.slot)} slots for {cube.space.cells} cells, "
        f"{written:,} items new or changed",
        "outputs": {"items": written, "run": run},
    }


def report_inputs(job: Job) -> str:
    return digest(publish_inputs(job), job.settings.report)


def report_ready(job: Job, outputs: dict[str, Any]) -> bool:
    return bool(outputs.get("report")) and job.storage.exists(outputs["report"])


def report(job: Job) -> dict[str, Any]:
    from taxidask.report import build

    run = job.ledger.stage("publish").get("outputs", {}).get("run", job.ledger.id)  # whose results are to be shown
    url = build(store=job.store, lake=job.lake, run_id=run, out=absolute(job.settings.report))
    return {"bytes": job.storage.stat(url).size, "detail": url, "outputs": {"report": url}}


@dataclass(frozen=True)
class Stage:
    name: str
    title: str
    inputs: Callable[[Job], str]
    ready: Callable[[Job, dict[str, Any]], bool]
    make: Callable[[Job], dict[str, Any]]


PIPELINE = (
    Stage("ingest", "reading trips into the lake", ingest_inputs, ingest_ready, ingest),
    Stage(
        "demand", "fitting the demand model", demand_inputs, lambda job, out: model_ready(job, "demand", out), demand
    ),
    Stage("fare", "fitting the fare model", fare_inputs, lambda it, out: model_ready(it, "fare", out), fare),
    Stage("publish", "publishing forecasts", publish_inputs, publish_ready, publish),
    Stage("report", "building the report", report_inputs, report_ready, report),
)


def try_report(url: str, storage: Storage) -> None:
    """Raise when the report could not be written: better now than after an hour of work. Leaves nothing behind."""
    path = absolute(url)
    if "://" in path:
        if "/" not in path.partition("://")[2]:
            raise ReportError(f"the report {path} is a bucket", f"name a file in it, e.g. {path}/report.pdf")
        # to be replaced only where it is of a version that it never has: tried, and refused for that reason alone
        storage.replace(f"{path}.{uuid.uuid4().hex[:8]}.tmp", b"", "0-none")
        return
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path's it raises nothing; writing says what is wrong
        raise ReportError(f"the report {path} is a folder", f"name a file, e.g. {path}/report.pdf")
    folder, name = os.path.split(path)
    while not os.path.lexists(folder):  # what is not there yet is made with the report, not before
        folder, name = os.path.split(folder)
    probe = os.path.join(folder, f"{name}.{uuid.uuid4().hex[:8]}.tmp")  # noqa: PTH118
    storage.write(probe, b"")
    storage.delete(probe)


def open_job(
    settings: Settings, without: Collection[str] = (), storage: Storage | None = None
) -> tuple[Lake, Storage, list[Source | Unusable]]:
    """The lake and the sources of a run; raises before any work when none can be read, or the report not written."""
    storage = storage or default_storage()
    try_report(settings.report, storage)
    lake = Lake(settings.lake, storage=storage)
    found = lake.find(settings.sources, rules=rules_of(settings), space=settings.space, unpack=unpack_of(settings))
    found = [one for one in found if one.url not in without]
    errors = [one.error for one in found if isinstance(one, Unusable)]
    if len(errors) == len(found):
        raise_unusable(errors, len(found))
    return lake, storage, found

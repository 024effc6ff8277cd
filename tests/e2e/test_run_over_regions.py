"""Runs in two regions of real servers: the home region's end in the middle of a stage, and both sides of a cut."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from drivers import OWN
from pdfs import text_of
from replica import Pair
from replica_items import NAMES, Tables, tables

import taxidask as td
from taxidask.lake import layout
from taxidask.results import Store, open_store
from taxidask.runs import run
from taxidask.runs.ledger import Ledger
from taxidask.settings import Region, Settings
from taxidask.storage import Storage, regions_of

STAGES = ("ingest", "demand", "fare", "publish", "report")
BEGUN = "a new lake"  # its lake.json and its space in home alone
PLAYED = (BEGUN, *STAGES) if os.environ.get("EVERY_STAGE") else (BEGUN, "ingest")  # the others by hand


@pytest.fixture
def both(pair: Pair, aws: Any) -> Iterator[tuple[Pair, Tables]]:
    """A bucket and a table in each region."""
    with tables(aws) as made:
        yield pair, made


def settings_of(pair: Pair, made: Tables, lake: str, **more: Any) -> Settings:
    places = {pair.url: f"{pair.url}-west"}
    regions = [
        Region(
            name=NAMES[side],
            s3_endpoint=getattr(pair, side).url,
            dynamodb_endpoint=made.links[side].url,
            places=places if side == "west" else {},
        )
        for side in NAMES
    ]
    options = {"horizon": 4, "heartbeat_timeout": 30.0, "block_size": "8MiB", "regions": regions, **more}
    return Settings(
        sources=[f"{pair.url}/trips/*.csv"],
        lake=f"{pair.url}/{lake}",
        report=f"{pair.url}/{lake}.pdf",
        store=made.url,
        **options,
    )


def cut(pair: Pair, made: Tables, side: str = "east") -> None:
    getattr(pair, side).off()
    made.links[side].off()


def mend(pair: Pair, made: Tables, side: str = "east") -> None:
    getattr(pair, side).on()
    made.links[side].on()


def in_the_middle(monkeypatch: pytest.MonkeyPatch, stage: str, end: Callable[[], None]) -> None:
    """End something once, at the worst moment of a stage: some of its work done, nothing noted."""
    ended: list[bool] = []

    def once() -> None:
        if not ended:
            ended.append(True)
            end()

    def after(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            once()
            return result

        monkeypatch.setattr(owner, name, call)

    import taxidask.runs.stages as stages

    if stage == BEGUN:
        after(layout, "write_layout")
    elif stage == "ingest":
        after(Ledger, "progress")
    elif stage == "demand":
        after(stages.DemandModel, "fit")
    elif stage == "fare":
        after(stages, "fit_and_backtest")
    elif stage == "publish":
        after(Store, "put_forecast")
    else:
        after(importlib.import_module("taxidask.report.data"), "open_run")


@contextlib.contextmanager
def light() -> Iterator[None]:
    """Tasks run in this process, models are small, and of counted demand one day is published."""
    from taxidask.demand import DemandModel
    from taxidask.fare import FareModel

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("taxidask.runs.pipeline.connect", lambda settings: contextlib.nullcontext(None))
        patched.setitem(Store.put_demand.__kwdefaults__, "days", 1)
        for model, options in ((DemandModel, {"rounds": 10}), (FareModel, {"rounds": 20})):
            for name, value in {**options, "max_rows": 20_000}.items():
                patched.setitem(model.__init__.__kwdefaults__, name, value)
        yield


@pytest.fixture
def here() -> Iterator[None]:
    with light():
        yield


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trips")
    td.make_sample(folder, start="2015-01", months=1, trips_per_month=4_000, seed=3)
    return folder


@pytest.fixture(scope="module")
def expected(trips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run on one machine leaves."""
    home = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(
        sources=[f"{trips}/*.csv"],
        lake=f"{home}/lake",
        report=f"{home}/lake.pdf",
        store=f"sqlite:///{home}/results.db",
        horizon=4,
    )
    with light():
        run(settings, progress=False)
    return numbers(settings)


def numbers(settings: Settings) -> dict[str, Any]:
    """What a run left, without what names the run itself."""
    regions = regions_of(settings)
    storage = Storage(regions=regions)  # none: that of one machine
    lake, store = td.Lake(settings.lake, storage=storage), open_store(settings.store, regions=regions)
    latest = store.get_latest()
    span = (pd.Timestamp(latest["forecast_start"]), pd.Timestamp(latest["forecast_end"]))
    lines = [" ".join(line.split()) for line in text_of(storage.read(settings.report)).splitlines()]
    told = {
        "trips": lake.trips(),
        "rejects": lake.rejects().assign(source=lambda rows: rows["source"].str.rpartition("/")[2]),
        "cube": lake.cube(),
        "city": store.get_total_forecast(latest["space"], *span, slot=latest["slot"]),
        "cell": store.get_forecast(latest["space"], latest["cells"][0], *span, slot=latest["slot"]),
        "demand": store.get_metrics(latest["run"], "demand"),
        "fare": store.get_metrics(latest["run"], "fare"),
        "latest": {name: value for name, value in latest.items() if name not in ("run", "lake")},
        "report": [line.replace(latest["run"], "Run") for line in lines if not OWN.search(line)],
    }
    store.close()
    return told


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, other[name], obj=name)
        elif name == "report":
            places = re.compile(r"/")  # where the run had its lake and its files
            kept = [[line for line in lines if not places.search(line)] for lines in (value, other[name])]
            assert kept[0] == kept[1]
        else:
            assert value == other[name], name


@pytest.mark.parametrize("stage", PLAYED)
def test_a_run_goes_over_when_its_home_region_ends_in_the_middle_of_a_stage(
    both, trips: Path, expected, monkeypatch, here, stage, capsys
):
    pair, made = both
    for path in trips.iterdir():
        pair.storage().write(f"{pair.url}/trips/{path.name}", path.read_bytes())
    pair.settle()
    settings = settings_of(pair, made, "lake")
    with monkeypatch.context() as patched:
        in_the_middle(patched, stage, lambda: cut(pair, made))
        done = run(settings)
    said = capsys.readouterr().err
    assert done.state == "done"
    assert "goes on in us-west-2" in said
    store = open_store(made.url, regions=regions_of(settings))
    item = store.get_run(done.id)
    assert (item["state"], item["region"]) == ("done", "us-west-2")
    assert any("went over from us-east-1 to us-west-2" in fault for fault in item["faults"])
    assert_same(expected, numbers(settings))
    mend(pair, made)
    pair.settle()
    made.settle()
    for side in NAMES:  # after the copies each region alone gives the answers of the undisturbed run
        alone = "west" if side == "east" else "east"
        cut(pair, made, alone)
        assert_same(expected, numbers(settings))
        mend(pair, made, alone)
    assert open_store(made.url, regions=regions_of(settings)).get_run(done.id)["state"] == "done"

"""A run that finds everything as the run before left it; the models are small, the report a stand-in."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import taxidask as td
from taxidask.asking import add_trip, ask_trips, load_file
from taxidask.backtests import backtest
from taxidask.cli import main
from taxidask.report.data import open_run
from taxidask.results import Store
from taxidask.runs import former, pipeline, stages
from taxidask.runs.ledger import placed, settings_key
from taxidask.runs.look import describe


@pytest.fixture
def job(tmp_path: Path, light: None, monkeypatch: pytest.MonkeyPatch) -> td.Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "connect", lambda _: contextlib.nullcontext(None))
    monkeypatch.setattr(stages, "backtest", lambda *_, **__: pd.DataFrame({"mae": [1.5]}))
    td.make_sample("trips", start="2015-03", trips_per_month=2_200)  # enough for a backtest of fares
    return td.load_settings(sources="trips/*.csv", horizon=4)


def contents(store: Store) -> dict[tuple[str, str], Any]:
    rows = store._connect().execute("SELECT pk, sk, item FROM items").fetchall()  # type: ignore[attr-defined]
    return {(pk, sk): item for pk, sk, item in rows}


def ran(run: td.Run) -> dict[str, bool]:
    return {name: "unchanged_since" not in record for name, record in run.stages.items()}


ALL = ("ingest", "demand", "fare", "publish", "report")


def test_a_run_with_nothing_new_writes_its_own_record_only(
    job: td.Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = td.run(job, progress=False)
    store = td.open_store(first.store)
    before, files = contents(store), {path: path.stat().st_mtime_ns for path in Path().rglob("*.*") if path.is_file()}
    monkeypatch.setattr(pipeline, "connect", lambda _: pytest.fail("there is nothing to be done"))
    capsys.readouterr()
    second = td.run(job, resume="last")
    assert "nothing new" in capsys.readouterr().err
    assert (second.state, second.left_out) == ("done", first.left_out)
    assert second.id != first.id
    assert ran(second) == dict.fromkeys(ALL, False)
    after = contents(store)
    assert {key for key in after if after[key] != before.get(key)} == {("runs", second.id)}
    database = Path("taxidask.db").absolute()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in files.items() if database.name not in path.name)
    assert f"unchanged since run {first.id}" in describe(store.get_run(second.id) or {})
    # its report would be that of the run whose results stand
    assert open_run(store=first.store, run=second.id).id == first.id
    assert td.run(job, progress=False).stages["publish"]["unchanged_since"] == first.id


def test_what_is_gone_or_asked_for_is_made_again(job: td.Settings) -> None:
    first = td.run(job, progress=False)
    os.unlink("report.pdf")
    second = td.run(job, progress=False)
    assert ran(second) == {**dict.fromkeys(ALL, False), "report": True}
    assert Path("report.pdf").read_text() == first.id
    os.unlink(next(Path("lake/models/fare").glob("model-*")))
    third = td.run(job, progress=False)
    assert ran(third) == {**dict.fromkeys(ALL, True), "ingest": False}
    assert td.open_store(first.store).get_latest()["run"] == third.id
    with pytest.raises(SystemExit) as ended:
        main(["run", "--sources", "trips/*.csv", "--horizon", "4", "--refit"])
    assert ended.value.code == 0
    assert td.open_store(first.store).get_latest()["run"] not in (third.id, first.id)


def test_a_run_is_done_anew_for_other_settings_versions_sources_and_before_it_is_forgotten(
    job: td.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = td.run(job, progress=False)
    job = placed(job)

    def kept(job: td.Settings) -> set[str]:
        store = td.open_store(job.store)
        last = former.former_run(store, job)
        if last is None:
            return set()
        lake, storage, sources = stages.open_job(job)
        return former.unchanged(stages.Job(job, store, lake, storage, sources, None, None, False, print), last)  # type: ignore[arg-type]

    assert kept(job) == set(ALL)
    assert kept(job.model_copy(update={"workers": 2})) == set(ALL)
    assert kept(job.model_copy(update={"horizon": 5})) == set()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "version", lambda name: f"{name} of tomorrow")
        assert kept(job) == {"ingest"}
    with monkeypatch.context() as patch:
        patch.setattr(stages, "LAYOUT", stages.LAYOUT + 1)
        assert kept(job) == {"ingest"}  # what earlier versions did not publish is
    soon = job.model_copy(update={"store": f"{job.store}?ttl_days=6"})
    store = td.open_store(job.store)
    store.update_run(first.id, {"settings_key": settings_key(soon)})
    assert kept(soon) == set(ALL)
    store.update_run(first.id, {"created": f"{datetime.now(UTC) - timedelta(days=4):%Y-%m-%dT%H:%M:%SZ}"})
    assert kept(soon) == set()  # its forecasts have two days left
    store.update_run(first.id, {"settings_key": settings_key(job)})
    assert kept(job) == set(ALL)
    record = store.get_run(first.id)["stages"]["ingest"]
    failed = {**record, "outputs": {**record["outputs"], "failed": 1}}
    store.update_run(first.id, {"stages.ingest": failed})
    assert kept(job) == set(ALL) - {"ingest"}  # it may be readable now
    td.make_sample("trips", start="2015-04", trips_per_month=50)
    assert "ingest" not in kept(job)
    td.Lake(job.lake).ingest("trips/*.csv")
    assert kept(job) == set()


def test_two_runs_of_other_settings_at_once_publish_each_its_own_model(
    job: td.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job.model_copy(update={"horizon": 6, "store": "sqlite:///other.db"})
    trips, between = stages.fare_trips, iter([other])

    def meanwhile(lake: td.Lake) -> pd.DataFrame:
        if theirs := next(between, None):
            assert "6 slots" in td.run(theirs, progress=False).stages["publish"]["detail"]
        return trips(lake)

    monkeypatch.setattr(stages, "fare_trips", meanwhile)
    run = td.run(job, progress=False)
    assert run.stages["publish"]["detail"].startswith("4 slots")
    store = td.open_store(run.store)
    assert store.get_card("demand", run=run.id)["settings"]["horizon"] == 4
    assert td.DemandModel.load("lake/models/demand-4").options.horizon == 4
    newest = td.DemandModel.load("lake/models/demand")
    assert newest.options.horizon == 6
    for settings in (job, other):
        assert ran(td.run(settings, progress=False))["demand"] is False, "the other's model is not in the way"


def test_a_run_publishes_maps_and_what_its_backtest_foresaw(job: td.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = stages.backtest

    def look_back(model: Any, data: Any, **options: Any) -> pd.DataFrame:
        return (backtest if isinstance(model, td.DemandModel) else quick)(model, data, **options)

    monkeypatch.setattr(stages, "backtest", look_back)
    run = td.run(job, progress=False)
    store, cube = td.open_store(run.store), td.Lake(job.lake).cube().trimmed()
    key, slot = cube.space.key, cube.slot
    days = store.map_days(key, slot)
    assert days["actual"] == [f"2015-03-{day:02}" for day in range(4, 32)]
    assert days["forecast"] == ["2015-03-31", "2015-04-01"]
    trips = store.get_map(key, "2015-03-31", "actual", slot=slot).numbers["trips"]
    assert (trips == cube.counts[-len(trips) :]).all()
    foreseen = store.get_map(key, "2015-03-31", "forecast", slot=slot)
    assert (foreseen.backtest, len(foreseen.times), foreseen.run) == (True, 2 * 4, run.id)
    assert (foreseen.times == cube.times[-8:]).all()
    ahead = store.get_map(key, cube.end, "forecast", slot=slot)
    assert (ahead.backtest, len(ahead.times)) == (False, 4)
    expected = store.get_forecast(key, 330, slot=slot)
    assert ahead.numbers["mean"][:, 330].ravel().tolist() == expected["mean"].tolist()
    assert store.get_geometry(key).cells == cube.space.cells


def test_a_run_takes_in_what_was_added_and_the_next_one_finds_nothing_new(job: td.Settings, tmp_path: Path) -> None:
    first = td.run(job, progress=False)
    store, lake = td.open_store(first.store), td.Lake(first.lake)
    (other,) = td.make_sample(str(tmp_path / "other"), start="2015-03", trips_per_month=300, seed=9)
    path = Path(other).rename(tmp_path / "more.csv")
    loaded = load_file(str(path), store=store, lake=lake, who="ann")
    trip = lake.trips(limit=1).iloc[0].dropna().to_dict() | {"tip_amount": 0.37}
    assert add_trip(trip, store=store, who="ann")[1]
    before = ask_trips(store=store, lake=lake, limit=0)
    assert before.added == loaded.kept + 1
    second = td.run(job, progress=False)
    assert ran(second)["ingest"]
    after = ask_trips(store=store, lake=lake, limit=0)
    assert (after.count, after.added) == (before.count, 0)
    assert len(lake.trips()) == before.count == second.stages["ingest"]["kept"]
    assert int(lake.cube().counts[..., 0].sum()) == before.count - lake_outside(lake)
    assert not any(ran(td.run(job, progress=False)).values())


def lake_outside(lake: td.Lake) -> int:
    """Pickups that lie in no cell."""
    trips = lake.trips()
    return int((lake.space.locate(trips["pickup_longitude"], trips["pickup_latitude"]) < 0).sum())

"""`taxidask watch`: what is taken when, and what is told of it; the models are small, the report a stand-in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask import report
from taxidask.errors import RunError, SettingsError, StoreError
from taxidask.results import Store
from taxidask.results.drawing.maps import DayMap
from taxidask.runs import drift, pipeline, stages, watch, watching
from taxidask.runs.ledger import Ledger, settings_key
from taxidask.runs.look import is_watching


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> td.Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "connect", lambda _: contextlib.nullcontext(None))
    # what is taken when has nothing to do with models
    monkeypatch.setattr(pipeline, "PIPELINE", pipeline.PIPELINE[:1])
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    td.make_sample("made", start="2015-03", months=2, trips_per_month=4_000)
    Path("trips").mkdir()
    return td.load_settings(sources="trips", horizon=4)


@pytest.fixture
def whole(job: td.Settings, light: None, monkeypatch: pytest.MonkeyPatch) -> td.Settings:
    """All stages, with small models and a stand-in for the report."""
    monkeypatch.setattr(pipeline, "PIPELINE", stages.PIPELINE)
    return job


def come(month: str) -> Path:
    name = f"yellow_tripdata_2015-{month}.csv"
    return Path(shutil.copy(Path("made", name), Path("trips", name)))


def the_watch(store: Store) -> dict[str, Any]:
    [told] = store.list_watches()
    return told


def looked(job: td.Settings, looks: int) -> Store:
    watch(job, every=0.1, looks=looks, progress=False)
    return td.open_store(job.store)


def test_files_are_taken_as_they_come_and_nothing_is_done_twice(
    job: td.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(job, every=0.1, looks=2)
    assert "no file of trips yet behind" in capsys.readouterr().err
    store = td.open_store(job.store)
    assert store.list_runs() == []
    come("03")
    watch(job, every=0.1, looks=4)
    said = capsys.readouterr().err
    assert "waiting until 1 file stay as they are" in said
    assert said.count("1 new file") == 1
    [first] = store.list_runs()
    assert first["state"] == "done"
    told = the_watch(store)
    assert (told["state"], told["run"], told["waiting"], told["error"]) == ("stopped", first["id"], [], None)
    come("04")
    watch(job, every=0.1, looks=4, progress=False)
    runs = store.list_runs()
    assert [run["state"] for run in runs] == ["done"] * 2
    assert len(td.Lake(job.lake).sources()) == 2


def test_two_looks_at_a_new_file_are_far_enough_apart_however_often_it_looks(
    job: td.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            return super().wait(0)

    monkeypatch.setattr(watching, "SETTLE", 7.0)
    come("03")
    watch(job, every=0.1, looks=2, stopped=Waits(), progress=False)
    assert asked == [7.0]
    assert len(td.Lake(job.lake).sources()) == 1


def test_a_file_that_is_being_written_waits_and_the_others_do_not(job: td.Settings) -> None:
    come("03")
    growing = come("04")
    whole = growing.read_bytes()
    growing.write_bytes(whole[:50_000])
    done = threading.Event()

    def write() -> None:
        with growing.open("ab") as file:
            for at in range(50_000, len(whole), 2_000):
                file.write(whole[at : at + 2_000])
                file.flush()
                time.sleep(0.02)
                if done.wait(0):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    stopped = threading.Event()
    seen: list[list[str]] = []
    lake = td.Lake(job.lake)

    def look_on() -> None:
        store = td.open_store(job.store)
        until = time.monotonic() + 60
        while time.monotonic() < until and not stopped.is_set():
            with contextlib.suppress(td.TaxidaskError):
                table = lake.sources()
                seen.append(table["rows"].tolist())
                runs = store.list_runs()
                if len(table) == 2 and not writer.is_alive() and all(one["state"] == "done" for one in runs):
                    stopped.set()
            time.sleep(0.1)
        stopped.set()

    onlooker = threading.Thread(target=look_on)
    onlooker.start()
    watch(job, every=0.2, progress=False, stopped=stopped)
    onlooker.join()
    done.set()
    writer.join()
    rows = whole.count(b"\n") - 1
    table = lake.sources().set_index("url")
    assert table.loc[str(growing.absolute()), "rows"] == rows
    assert all(both[-1] == rows for both in seen if len(both) == 2), "never a part of it"


def test_a_changed_file_is_read_again_and_a_bad_one_is_given_once(
    job: td.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = come("03")
    store = looked(job, 3)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-100]))
    Path("trips", "other.csv").write_text("a,b\n1,2\n")
    watch(job, every=0.1, looks=5)
    runs = store.list_runs()
    assert len(runs) == 2
    assert td.Lake(job.lake).sources()["rows"].tolist() == [len(lines) - 101]
    said = capsys.readouterr().err
    assert said.count("1 new file") == 1
    assert said.count("left out: ") == 1
    assert "other.csv" in said


def test_models_stay_while_their_forecasts_are_good(
    whole: td.Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    come("03")
    store = looked(whole, 3)
    [first] = store.list_runs()
    before = store.get_latest()
    monkeypatch.setattr(drift, "ALLOWED", 100.0)
    monkeypatch.setattr(drift, "same_slot_last_week", lambda counts, *_, **__: np.full((4, *counts.shape[1:]), np.nan))
    order: list[str] = []
    put_demand, put_forecast = Store.put_demand, Store.put_forecast
    monkeypatch.setattr(Store, "put_demand", lambda *a, **k: order.append("demand") or put_demand(*a, **k))
    monkeypatch.setattr(Store, "put_forecast", lambda *a, **k: order.append("forecast") or put_forecast(*a, **k))
    come("04")
    watch(whole, every=0.1, looks=3)
    assert "the demand model earns its place" in capsys.readouterr().err
    second = store.list_runs()[0]
    assert order[:2] == ["demand", "forecast"], "what was counted is there first"
    assert second["stages"]["demand"]["unchanged_since"] == first["id"]
    latest = store.get_latest()
    assert latest["run"] == second["id"]
    assert latest["forecast_start"] > before["forecast_start"]
    assert latest["cube_end"] == td.Lake(whole.lake).cube().trimmed().end.isoformat()
    pd.testing.assert_frame_equal(store.get_metrics(second["id"], "demand"), store.get_metrics(first["id"], "demand"))
    assert store.get_card("demand", run=second["id"]) == store.get_card("demand", run=first["id"])
    found = second["drift"]
    told = [found[name] for name in ("start", "end", "slots", "earns")]
    assert told == [before["forecast_start"], before["forecast_end"], 4, True]
    again = td.run(whole, refit="drift", progress=False)
    assert all("unchanged_since" in record for record in again.stages.values()), "nothing new"
    plain = td.run(whole, progress=False)
    assert "unchanged_since" not in plain.stages["demand"], "a plain run fits what was only kept"


def test_models_that_are_kept_stay_so_wherever_the_run_is_interrupted(
    whole: td.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "backtest", lambda *_, **__: pd.DataFrame({"mae": [1.5]}))
    come("03")
    first = td.run(whole, progress=False)
    monkeypatch.setattr(drift, "ALLOWED", 100.0)
    monkeypatch.setattr(drift, "same_slot_last_week", lambda counts, *_, **__: np.full((4, *counts.shape[1:]), np.nan))
    for kind in (td.DemandModel, td.FareModel):
        monkeypatch.setattr(kind, "fit", lambda *_, **__: pytest.fail("it was kept"))
    come("04")

    def interrupted(owner: Any, name: str, when: Any) -> None:
        inner = getattr(owner, name)

        def call(*given: Any, **more: Any) -> Any:
            if when(*given):
                raise KeyboardInterrupt
            return inner(*given, **more)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, call)
            with pytest.raises(KeyboardInterrupt):
                td.run(whole, resume="last", refit="drift", progress=False)

    interrupted(pipeline, "publish_counts", lambda *_: True)
    interrupted(Ledger, "keep_stage", lambda _, name, *__: name == "fare")
    interrupted(Store, "put_forecast", lambda *_: True)
    interrupted(report, "build", lambda *_: True)  # by then what it published is the newest
    done = td.run(whole, resume="last", refit="drift", progress=False)
    assert [run["state"] for run in td.open_store(done.store).list_runs()] == ["done", "done"]
    assert [done.stages[kind]["unchanged_since"] for kind in ("demand", "fare")] == [first.id] * 2
    assert "unchanged_since" not in done.stages["publish"]


class Foreseen:
    """A store that holds a forecast of four slots."""

    def __init__(self, space: Any, mean: np.ndarray) -> None:
        span = {"forecast_start": "2015-03-09T00:00:00", "forecast_end": "2015-03-09T02:00:00"}
        self.latest = {"space": space.key, "slot": "30min", **span}
        self.mean = mean

    def get_latest(self) -> dict[str, Any]:
        return self.latest

    def get_map(self, key: str, day: Any, kind: str, *, slot: Any) -> DayMap | None:
        if pd.Timestamp(day) != pd.Timestamp("2015-03-09"):
            return None
        times = pd.date_range("2015-03-09", periods=4, freq="30min")
        numbers = {"mean": self.mean, "low": self.mean - 1, "high": self.mean + 1}
        return DayMap("2015-03-09", kind, times, pd.Timedelta(slot), numbers)


def test_drift_is_what_was_forecast_beside_what_came() -> None:
    space = td.Grid(1, 2, west=-74.0, south=40.7, east=-73.9, north=40.8)
    counts = np.zeros((8 * 48 + 3, 2, 2), np.int32)
    counts[48:52] = 7  # a week before
    counts[8 * 48 :] = 10
    missing = np.zeros(len(counts), bool)
    missing[8 * 48 + 1] = True
    cube = td.Cube(counts, start="2015-03-01", slot="30min", space=space, missing=missing)
    store: Any = Foreseen(space, np.full((4, 2, 2), 9.0))
    metrics = pd.DataFrame({"rmse": [1.0, 7.0, 99.0], "first_lead": [1, 1, 2], "last_lead": [4, 4, 4]})
    found = drift.look_for_drift(store, cube, metrics)
    assert found == drift.Drift("2015-03-09T00:00:00", "2015-03-09T01:30:00", 2, 1.0, 3.0, 5.0, 1.0)
    assert found.earns
    beside = "last week's counts 3.00, its backtest 5.00, band held 100 %"
    assert f"off by 1.00 trips a slot and cell ({beside}): the demand model earns its place" in str(found)
    worse = drift.look_for_drift(store, cube, pd.DataFrame({"rmse": [0.5], "first_lead": [1], "last_lead": [4]}))
    assert worse is not None
    assert not worse.earns, "twice as far off as in its backtest"
    store.mean = np.full((4, 2, 2), 15.0)
    worse = drift.look_for_drift(store, cube, pd.DataFrame())
    assert worse is not None
    assert (worse.rmse, worse.tested, worse.earns) == (5.0, None, False), "last week's counts were nearer"
    assert drift.look_for_drift(store, cube.between("2015-03-01", "2015-03-09"), metrics) is None, "nothing has come in"
    store.latest["space"] = "another"
    assert drift.look_for_drift(store, cube, metrics) is None


def test_one_watch_at_a_time_and_the_place_of_a_dead_one_is_taken(job: td.Settings) -> None:
    store = looked(job, 1)
    key = settings_key(pipeline.placed(job))
    told = the_watch(store)
    assert not is_watching(told)
    other = {**told, "owner": "elsewhere:1", "state": "looking", "timeout": 1.5, "heartbeat": time.time()}
    assert store.put_watch(key, other, former=told["owner"])
    done = threading.Event()

    def live() -> None:
        while not done.wait(0.3):
            store.put_watch(key, {**other, "heartbeat": time.time()}, former="elsewhere:1")

    living = threading.Thread(target=live)
    living.start()
    with pytest.raises(RunError, match="elsewhere:1 watches this already; one is enough"):
        watch(job, every=0.1, looks=1, progress=False)
    done.set()
    living.join()
    watch(job, every=0.1, looks=1, progress=False)
    assert the_watch(store)["owner"] != "elsewhere:1"


def test_a_watch_whose_place_was_taken_ends(job: td.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "put_watch", lambda *_, former, **__: former is None)
    with pytest.raises(RunError, match="another watch has taken the place"):
        watch(job, every=0.1, looks=20, progress=False)


def test_trouble_is_told_and_the_next_look_tries_again(
    job: td.Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    come("03")
    looks = iter([StoreError("the store is busy", "wait")])

    def fail_once(*given: Any, **more: Any) -> Any:
        if (error := next(looks, None)) is not None:
            raise error
        return pipeline.run(*given, **more)

    monkeypatch.setattr(watching, "run", fail_once)
    watch(job, every=0.1, looks=2)
    assert "error: the store is busy; wait; looking again in" in capsys.readouterr().err
    store = td.open_store(job.store)
    assert the_watch(store)["error"] == "the store is busy; wait"


def test_a_watch_looks_and_notes_in_the_regions_of_its_settings() -> None:
    west = {"name": "us-west-2", "places": {"s3://taxis": "s3://taxis-west"}}
    settings = td.Settings(lake="s3://taxis/lake", store="dynamodb://taxis", regions=[{"name": "us-east-1"}, west])
    it = watching.Watch(settings, 1.0, threading.Event(), print)
    for regions in (it.store.regions, it.lake.storage.regions):
        assert [region.name for region in regions.regions] == ["us-east-1", "us-west-2"]


@pytest.mark.parametrize("given", [{"every": 0}, {"every": "8 days"}, {"every": "soon"}, {"looks": 0}])
def test_nonsense_is_refused(job: td.Settings, given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"length of time|whole number from 1"):
        watch(job, **given)


def test_sigterm_ends_it_well(job: td.Settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "taxidask.cli", "watch", "--sources", "trips", "--every", "1s"],
        stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    while "no file of trips yet" not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[1]
    assert (process.returncode, rest.splitlines()[-1]) == (0, "the watch has ended")
    assert the_watch(td.open_store("sqlite:///taxidask.db"))["state"] == "stopped"

"""`td.run` around its stages: what is found out first, what a run notes, how it goes on. The stages are stand-ins."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import taxidask as td
from taxidask.cli import main
from taxidask.errors import ReportError, RunError, SettingsError, SourceError, SpaceError, StorageError
from taxidask.runs import cost, meter, pipeline
from taxidask.runs.ledger import resume_line, told
from taxidask.runs.look import describe, find, runs_table
from taxidask.runs.stages import PIPELINE, Job, Stage


class Stages:
    """Two stages; `broken` makes the second fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.broken = False

    def first(self, job: Job) -> dict[str, Any]:
        self.made.append("ingest")
        job.read["bytes"] = 1000
        return {"rows": 10, "detail": "ten rows", "left_out": ["b.csv: the same as a.csv"], "outputs": {"there": True}}

    def second(self, _: Job) -> dict[str, Any]:
        self.made.append("demand")
        if self.broken:
            raise td.TaxidaskError("the model does not fit", "give it more days")
        return {"detail": "fitted", "outputs": {}}

    def pipeline(self) -> tuple[Stage, ...]:
        def ready(_: Job, outputs: dict[str, Any]) -> bool:
            return bool(outputs)

        return (
            Stage("ingest", "reading", lambda _: "same", ready, self.first),
            Stage("demand", "fitting", lambda _: "same", ready, self.second),
        )


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    monkeypatch.chdir(tmp_path)
    td.make_sample("trips", start="2015-03", trips_per_month=200)
    made = Stages()
    monkeypatch.setattr(pipeline, "PIPELINE", made.pipeline())
    monkeypatch.setattr(pipeline, "connect", lambda _: contextlib.nullcontext(None))
    return made


def settings(**more: Any) -> td.Settings:
    return td.Settings(sources=["trips/*.csv"], **more)


def test_a_run_leaves_out_what_is_no_trips_and_names_it(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PIPELINE", PIPELINE[:1])
    Path("trips/page.csv").write_text("<html>404</html>")
    Path("trips/empty.csv").touch()
    run = td.run(settings(), progress=False)
    assert run.stages["ingest"]["rows"] == 200
    assert [note.partition(": ")[0] for note in run.left_out] == [
        os.path.abspath("trips/empty.csv"), os.path.abspath("trips/page.csv"),
    ]  # fmt: skip
    assert "is empty" in run.left_out[0]
    assert "is HTML" in run.left_out[1]
    Path("trips/yellow_tripdata_2015-03.csv").unlink()
    with pytest.raises(SourceError, match="2 of 2 sources cannot be used"):
        td.run(settings(lake="other"), progress=False)
    assert len(runs()) == 1


def runs() -> list[dict[str, Any]]:
    return td.open_store("sqlite:///taxidask.db").list_runs()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"space": "nowhere.geojson"}, SpaceError, r"nowhere\.geojson"),
        ({"sources": ["missing.csv"]}, SourceError, r"missing\.csv"),
        ({"report": "trips"}, ReportError, r"trips is a folder; name a file"),
        ({"report": "trips/yellow_tripdata_2015-03.csv/report.pdf"}, StorageError, "a part of its path is a file"),
    ],
    ids=["space", "source", "report-folder", "report-under-a-file"],
)
def test_what_cannot_work_is_found_out_before_there_is_a_run(
    stages: Stages, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    for _ in range(2):  # a run that nobody drives would have the second one refused
        with pytest.raises(error, match=message):
            td.run(td.Settings(**{"sources": ["trips/*.csv"], **more}), progress=False)
    assert not Path("taxidask.db").exists() or runs() == []
    assert stages.made == []


def test_nothing_to_read_is_wrong_use_and_leaves_nothing_behind(stages: Stages) -> None:
    with pytest.raises(SettingsError, match="name no sources"):
        td.run(td.Settings(), progress=False)
    assert sorted(path.name for path in Path().iterdir()) == ["trips"]
    assert stages.made == []


@pytest.mark.usefixtures("stages")
def test_a_run_keeps_absolute_places_and_its_estimate(tmp_path: Path) -> None:
    run = td.run(settings(), progress=False)
    assert run.lake == str(tmp_path / "lake")
    assert run.report == str(tmp_path / "report.pdf")
    assert run.store == f"sqlite:///{tmp_path / 'taxidask.db'}"
    (item,) = runs()
    assert item["settings"]["sources"] == [str(tmp_path / "trips" / "*.csv")]
    assert item["estimate"]["core_seconds"] > 0
    assert item["estimate"]["writes"] == 0  # no DynamoDB
    assert item["cost"]["bytes"] == 1000


def test_a_failed_run_says_where_and_goes_on_from_another_folder(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.broken = True
    with pytest.raises(td.TaxidaskError, match="does not fit"):
        td.run(settings(), progress=False)
    store = td.open_store(f"sqlite:///{tmp_path / 'taxidask.db'}")
    (item,) = store.list_runs()
    assert (item["state"], item["stages"]["ingest"]["state"], item["stages"]["demand"]["state"]) == (
        *("failed", "done", "failed"),
    )
    assert runs_table(store.list_runs()).loc[0, ["state", "stage"]].to_list() == ["failed", "demand"]
    text = describe(find(store, item["id"]))
    for words in ("give it more days", "left out b.csv", "core seconds", f"taxidask runs resume {item['id']}"):
        assert words in text

    stages.broken = False
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = td.run(td.Settings(store=store.url), resume=item["id"], progress=False)
    assert stages.made == ["ingest", "demand", "demand"]
    assert (run.state, run.lake, run.left_out) == ("done", str(tmp_path / "lake"), ["b.csv: the same as a.csv"])
    assert run.cost["bytes"] == 1000  # read in the first attempt
    assert run.cost["core_seconds"] >= item["cost"]["core_seconds"]
    assert store.get_run(item["id"])["error"] is None


def test_a_run_whose_last_lines_nobody_can_read_is_done(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        run = td.run(settings())
        with contextlib.suppress(BrokenPipeError):
            gone.close()
    assert run.state == "done"
    assert td.open_store(f"sqlite:///{tmp_path / 'taxidask.db'}").get_run(run.id)["state"] == "done"


def test_resume_refuses_another_job_and_lets_it_run_elsewhere(stages: Stages) -> None:
    stages.broken = True
    with pytest.raises(td.TaxidaskError, match="does not fit"):
        td.run(settings(slot="60min"), progress=False)
    (item,) = runs()
    for other in (settings(slot="15min"), td.Settings(lake="other")):
        with pytest.raises(RunError, match=f"run {item['id']} did another job: (slot|lake) was"):
            td.run(other, resume=item["id"], progress=False)
    stages.broken = False
    # what is not given is the run's own
    assert td.run(settings(workers=1, block_size="8MiB"), resume=item["id"], progress=False).id == item["id"]
    with pytest.raises(RunError, match=f"there is no run 'nonsense'.*{item['id']}"):
        td.run(settings(), resume="nonsense", progress=False)


def test_a_hint_works_as_printed_in_any_folder(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.broken = True
    store = f"sqlite:///{tmp_path}/my store/it's.db"
    with pytest.raises(td.TaxidaskError, match="does not fit"):
        td.run(settings(store=store, lake="my lake", workers=1, block_size="8MiB"), progress=False)
    (item,) = td.open_store(store).list_runs()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    # what lies in that folder belongs to other runs
    Path("taxidask.toml").write_text('lake = "other"\nslot = "15min"\n', encoding="utf-8")
    monkeypatch.setenv("TAXIDASK_REPORT", "other.pdf")
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def paste(line: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        return int(ended.value.code or 0)

    for line in (told("show", item), told("resume", item), resume_line(item)):
        assert paste(line) == (0 if "show" in line else 1)
    out, err = capsys.readouterr()
    assert told("resume", item) in out
    assert err.count("does not fit") == 2
    assert "--workers 1 --block-size 8MiB" in resume_line(item).replace("'", "")
    stages.broken = False
    assert paste(resume_line(item)) == 3  # something was left out
    assert td.open_store(store).get_run(item["id"])["state"] == "done"
    assert [path.name for path in Path().iterdir()] == ["taxidask.toml"]


@pytest.mark.parametrize(
    "arguments",
    [
        *("run --resume r1", "runs resume r1", "runs show r1", "runs list", "runs cancel r1", "report"),
        *("doctor", "run --sources missing.csv"),
    ],
)
def test_asking_makes_no_store(arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("taxidask.compute.connect", lambda _: contextlib.nullcontext(None))
    with pytest.raises(SystemExit):
        main([*shlex.split(arguments), "--store", "sqlite:///new/results.db"])
    assert not (tmp_path / "new").exists()
    for action in (
        lambda store: store.update_run("r1", {"state": "done"}),
        lambda store: store.put_ingest("lake", [], replace=True),
        lambda store: store.get_latest(),
    ):
        with pytest.raises(td.TaxidaskError, match=r"there is no store.*taxidask store create"):
            action(td.open_store("sqlite:///new/results.db"))
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("stages")
def test_the_same_relative_names_in_another_folder_are_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path / 'shared.db'}"
    first = td.run(settings(store=store), progress=False)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    td.make_sample("trips", start="2015-03", trips_per_month=100)
    second = td.run(settings(store=store), resume="last", progress=False)
    keys = {item["id"]: item["settings_key"] for item in td.open_store(store).list_runs()}
    assert keys[first.id] != keys[second.id]


@pytest.mark.parametrize(("slot", "horizon"), [("15min", 2880), ("30min", 1440), ("60min", 720), ("1D", 30)])
def test_the_estimate_counts_days_whatever_the_slot(slot: str, horizon: int) -> None:
    settings = td.Settings(store="dynamodb://taxidask", slot=slot, horizon=horizon)
    guess = cost.estimate(settings, bytes_to_read=10**9, blocks=15, sources=1, months=1, cells=600, cores=2)
    forecast, demand = cost.day_writes(slot=pd.Timedelta(slot).total_seconds())
    maps = cost.map_writes(cells=600, slot=pd.Timedelta(slot).total_seconds(), days=31)
    assert guess.writes == 600 * (31 * forecast + 28 * demand) + 31 * demand + maps


def test_pods_cost_what_they_ask_for() -> None:
    pods = td.Settings(compute="kubernetes", workers=8, worker_cpus=2, scheduler_cpus=0.5)
    assert meter.cores_of(pods, None) == 16.5

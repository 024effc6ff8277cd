from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import taxidask as td
from taxidask.app.snapshot import read_curves
from taxidask.runs import pipeline, stages
from taxidask.runs.ledger import placed
from taxidask.settings import Settings
from taxidask.storage import default_storage


@pytest.mark.parametrize("where", ["path", "memory://test-stages", "bucket"])
def test_a_report_is_ready_where_it_was_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    home = {"path": str(tmp_path), "bucket": ""}.get(where, where) or request.getfixturevalue("bucket")
    url, storage = f"{home}/reports/report.pdf", default_storage()

    def build(*, out: str, **_: Any) -> str:
        storage.write(out, b"%PDF, 12 B, ")
        return out

    monkeypatch.setattr("taxidask.report.build", build)
    settings, ledger = SimpleNamespace(report=url), SimpleNamespace(id="r1", stage=lambda _: {})
    job: Any = SimpleNamespace(storage=storage, settings=settings, ledger=ledger, store=None, lake=None)
    assert not stages.report_ready(job, {})
    assert not stages.report_ready(job, {"report": url})
    done = stages.report(job)
    assert done == {"bytes": 12, "detail": url, "outputs": {"report": url}}
    assert stages.report_ready(job, done["outputs"])
    storage.delete(url)
    assert not stages.report_ready(job, done["outputs"])


def test_a_run_is_known_by_its_space_wherever_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, kept in (("auto", "auto"), ("zones", "zones"), ("mine.geojson", str(tmp_path / "mine.geojson"))):
        settings = Settings(sources=["trips"], store="sqlite:///a.db", space=given)
        assert placed(settings).space == kept


@pytest.fixture
def one_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A run of one day's few trips, without its report, on threads."""
    monkeypatch.chdir(tmp_path)
    [month] = td.make_sample("month", start="2015-03", trips_per_month=4_000, faults=0)
    head, *rows = Path(month).read_text().splitlines()
    Path("trips").mkdir()
    day = [row for row in rows if row.split(",")[1].startswith("2015-03-02")]
    (Path("trips") / Path(month).name).write_text("\n".join([head, *day, ""]))
    monkeypatch.setattr(pipeline, "PIPELINE", stages.PIPELINE[:4])
    monkeypatch.setattr(pipeline, "connect", lambda _: contextlib.nullcontext(None))
    return Settings(sources=["trips/*.csv"])


def test_a_run_of_too_little_for_models_publishes_what_it_counted_and_says_so(one_day: Settings) -> None:
    run = td.run(one_day, progress=False)
    assert run.state == "done"
    assert [note.partition(":")[0] for note in run.left_out] == ["no demand model", "no fare model"]
    assert "needs 96 (2.0 days)" in run.left_out[0]
    assert "needs 1,000 usable trips" in run.left_out[1]
    store = td.open_store("sqlite:///taxidask.db")
    latest = store.get_latest()
    assert latest["run"] == run.id
    curves = read_curves(store, latest)
    assert curves.observed["pickups"].sum() == latest["trips"] > 50
    assert curves.expected.empty
    again = td.run(one_day, progress=False)
    assert again.stages["publish"]["unchanged_since"] == run.id
    assert again.left_out == run.left_out

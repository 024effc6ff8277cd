"""The Runs page without a browser: what it shows, and what it does for whom."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from app.conftest import RUN, run_item

from taxidask.app.pages.runs import Runs
from taxidask.app.state import AppState
from taxidask.app.told import compared_html, log_html, run_html, runs_html
from taxidask.results import Store
from taxidask.runs.look import runs_table
from taxidask.runs.starting import Started, Starter
from taxidask.settings import Settings

EVIL = "<img src=x onerror=alert(1)>'\""


class Process:
    pid = 0

    def __init__(self, code: int | None) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code


class Stub(Starter):
    """Starts nothing; keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[Any] = []

    def _start(self, what: str, words: Any, settings: Settings, *, seconds: float | None = None) -> Started:
        self.asked.append((words, settings))
        begun = Started(what, "20260101T000000Z-0123abcd.log", Process(None))
        self.started.append(begun)
        return begun


@pytest.fixture
def app(filled: Store, tmp_path: Path) -> AppState:
    settings = Settings(store=filled.url, lake=str(tmp_path / "lake"), report=str(tmp_path / "report.pdf"))
    return AppState(filled, settings, starter=Stub(tmp_path / "logs"))


def looked(app: AppState) -> Runs:
    page = Runs(app)
    asyncio.run(page.refresh())
    return page


def choose(page: Runs, **values: str) -> None:
    """As a visitor does, while the server's loop runs."""

    async def set_and_look() -> None:
        for name, value in values.items():
            getattr(page, name).value = value
        await page.refresh()

    asyncio.run(set_and_look())


def living(**changes: Any) -> dict[str, Any]:
    return run_item("20260301T000000Z-aaaaaa", state="running", heartbeat=time.time(), **changes)


def test_the_newest_run_is_shown_stage_by_stage(app: AppState) -> None:
    page = looked(app)
    assert not page.notice.visible
    assert RUN in page.table.object
    assert "30.0 s" in page.told.object
    assert "with this app" in page.log.object
    assert list(page.chosen.options.values()) == ["", RUN]
    assert not page.cancel.visible
    assert not page.resume.visible


def test_a_living_run_shows_its_progress_its_log_and_can_be_cancelled(app: AppState, caplog: Any) -> None:
    log = "20260101T000000Z-0123abcd.log"
    app.starter.folder.mkdir(parents=True)
    (app.starter.folder / log).write_text(f"reading {EVIL}\n")
    stages = {"ingest": {"state": "running", "started": "2026-03-01T00:00:00Z"}}
    figures = {"progress": {"stage": "ingest", "rows": 1234, "bytes": 25_000_000}}
    cost = {"core_seconds": 1.0, "bytes": 100_000_000, "puts": 0, "gets": 0, "writes": 0, "usd": 0.0123}
    app.store.create_run(living(stages=stages, estimate=cost, log=log, **figures))
    page = looked(app)
    assert "value='0.25'" in page.told.object
    assert "1,234 rows, 25.0 MB of 100.0 MB" in page.told.object
    assert "0.0123" in page.told.object
    assert "reading &lt;img" in page.log.object
    assert page.cancel.visible
    with caplog.at_level("INFO", "taxidask.audit"):
        asyncio.run(page._cancel(None))
    assert app.store.get_run("20260301T000000Z-aaaaaa")["cancel"] is True
    assert "local did 'cancel run 20260301T000000Z-aaaaaa'" in caplog.text
    assert "will stop before its next block" in page.notice.object
    assert page.cancel.disabled  # asked already
    app.store.update_run("20260301T000000Z-aaaaaa", {"state": "cancelled"})
    for key in ("runs", ("run", "20260301T000000Z-aaaaaa")):
        app.forget(key)
    asyncio.run(page.refresh())
    assert "has stopped: it is cancelled" in page.notice.object


def test_what_is_watched_is_shown_live(app: AppState) -> None:
    assert not looked(app).watch_card.visible
    told = {
        "owner": "here:1", "sources": [EVIL], "lake": "lake", "every": 300.0, "timeout": 60.0, "state": "waiting",
        "waiting": [f"trips/{EVIL}"], "run": RUN, "error": None, "heartbeat": time.time(),
    }  # fmt: skip
    app.store.put_watch("a", told)
    app.store.put_watch("b", {**told, "heartbeat": time.time() - 61, "waiting": [], "run": None, "error": "busy; wait"})
    app.forget("watches")
    page = looked(app)
    assert page.watch_card.visible
    shown = page.watched.object
    assert "waits for files, heard of" in shown
    assert "silent: start it again with taxidask watch" in shown
    assert f"./runs?run={RUN}" in shown
    assert "busy; wait" in shown
    assert "<img" not in shown


def test_a_run_is_started_from_the_form_and_followed_to_its_item(app: AppState) -> None:
    page = looked(app)
    page._open_form(None)
    page.form.widgets["slot"].value = "7min"
    page.form.widgets["workers"].value = "none"
    asyncio.run(page._start(None))
    assert not app.starter.asked
    assert page.form.widgets["slot"].error_state
    assert "workers is 'none'" in page.form.widgets["workers"].helper_text
    page.form.widgets["slot"].value, page.form.widgets["workers"].value = "15min", "3"
    asyncio.run(page._start(None))
    assert "a run needs some" in page.notice.object
    page.form.widgets["sources"].value = "/trips/a.csv\n/trips/b.csv"
    asyncio.run(page._start(None))
    ((words, settings),) = app.starter.asked
    assert words == ["run"]
    assert (settings.sources, settings.slot, settings.workers) == (["/trips/a.csv", "/trips/b.csv"], "15min", 3)
    assert settings.store == app.store.url
    assert "Started: a new run" in page.notice.object
    assert not page.form_card.visible
    app.store.create_run(living(log=app.starter.started[0].log))
    app.forget("runs")
    asyncio.run(page.refresh())
    assert page.chosen.value == "20260301T000000Z-aaaaaa"


@pytest.mark.parametrize(("own", "begun"), [([], "/trips/old.csv"), (["/trips/mine.csv"], "/trips/mine.csv")])
def test_the_form_begins_with_what_the_last_run_read_where_the_settings_name_nothing(
    filled: Store, tmp_path: Path, own: list[str], begun: str
) -> None:
    item = run_item("20160301T081500Z-000001", created="2016-03-01T08:15:00Z")
    filled.create_run({**item, "settings": {**item["settings"], "sources": ["/trips/old.csv"], "report": "/r.pdf"}})
    page = looked(AppState(filled, Settings(lake=str(tmp_path / "lake"), sources=own)))
    page._open_form(None)
    assert page.form.widgets["sources"].value == begun
    assert page.form.widgets["lake"].value == str(tmp_path / "lake")


def test_a_start_that_comes_to_no_run_says_why(app: AppState) -> None:
    page = looked(app)
    page._open_form(None)
    page.form.widgets["sources"].value = "/trips/a.csv"
    asyncio.run(page._start(None))
    started = app.starter.started[0]
    app.starter.folder.mkdir(parents=True, exist_ok=True)
    (app.starter.folder / started.log).write_text("error: run x does this job already; wait for it\n")
    started.process.code = 1
    asyncio.run(page.refresh())
    assert "No run came of it: error: run x does this job already" in page.notice.object
    assert "role='alert'" in page.notice.object
    assert "Came to no run" in page.table.object
    started.command = "report"
    asyncio.run(page.refresh())
    assert "Came to no run" not in page.table.object


def test_a_cancelled_run_is_resumed(app: AppState) -> None:
    whole = Settings(store=app.store.url, sources=["/a.csv"], workers=2).model_dump(mode="json")
    app.store.create_run(run_item("20260301T000000Z-bbbbbb", state="cancelled", settings=whole))
    page = looked(app)
    assert page.resume.visible
    asyncio.run(page._resume(None))
    ((words, settings),) = app.starter.asked
    assert words == ["run", "--resume", "20260301T000000Z-bbbbbb"]
    assert (settings.workers, settings.store) == (2, app.store.url)


def test_who_only_reads_does_nothing(app: AppState, caplog: Any) -> None:
    app.store.create_run(living())
    app.local = False
    page = looked(app)
    assert page.new.disabled
    assert page.cancel.disabled
    assert "Only operators" in page.why_not.object
    asyncio.run(page._cancel(None))  # whatever a browser sends
    assert app.store.get_run("20260301T000000Z-aaaaaa")["cancel"] is False
    assert "was refused" in caplog.text
    page._open_form(None)
    page.form.widgets["sources"].value = "/trips/a.csv"
    asyncio.run(page._start(None))
    assert not app.starter.asked


def test_in_a_pod_the_page_says_what_starts_runs(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    page = looked(app)
    assert page.new.disabled
    assert "kubectl create job run-now --from cronjob/run" in page.why_not.object


def test_an_unknown_run_in_the_address_is_told(app: AppState) -> None:
    page = looked(app)
    page.chosen.options = {**page.chosen.options, "x": "20200101T000000Z-ffffff"}
    choose(page, chosen="20200101T000000Z-ffffff")
    assert "there is no run" in page.notice.object


def test_an_empty_store_and_one_that_is_not_there(store: Store, tmp_path: Path) -> None:
    app = AppState(store, Settings(store=store.url), starter=Stub(tmp_path))
    assert "Runs cannot be read" in looked(app).notice.object
    store.create()
    page = looked(app)
    assert "There is no run yet" in page.table.object
    assert not page.run_card.visible
    app.local = False
    assert "taxidask run --sources" in looked(app).notice.object


def test_metrics_of_two_runs_side_by_side(app: AppState) -> None:
    import pandas as pd

    app.store.create_run(run_item("20260301T000000Z-cccccc"))
    for run, mae in ((RUN, 2.5), ("20260301T000000Z-cccccc", 2.0)):
        app.store.put_metrics(run, "fare", pd.DataFrame({"fold": [0], "mae": [mae], "coverage": [0.8]}))
    page = looked(app)
    choose(page, chosen=RUN, other="20260301T000000Z-cccccc")
    assert "<td class='number'>-0.5 (lower)</td>" in page.compared.object
    assert "<td class='number'>+0</td>" in page.compared.object
    assert "<td class='text'>share in the band</td>" in page.compared.object


def test_nothing_from_a_store_or_a_log_is_taken_for_html() -> None:
    item = run_item(EVIL, state=EVIL, error=EVIL, owner=EVIL, created=EVIL, settings={"lake": EVIL})
    item["stages"] = {"ingest": {"state": EVIL, "started": EVIL[:3], "detail": EVIL, "left_out": [EVIL]}}
    started = Started(EVIL, "x", Process(1))
    for text in (
        runs_html(runs_table([{**item, "heartbeat": 0.0}]), None, ended=[(started, EVIL)]),
        run_html({**item, "stages": {"ingest": {**item["stages"]["ingest"], "started": None}}}),
        log_html(item, EVIL),
        log_html(item, None),
        compared_html(None, "a", ""),
    ):
        assert "<img" not in text

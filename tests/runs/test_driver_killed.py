"""Real driver processes, really killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pdfs import text_of

import taxidask as td
from taxidask.runs.ledger import STAGES
from taxidask.runs.look import find, request_cancel

DRIVER = Path(__file__).with_name("driver.py")
# lines of a report that name the run itself: its id, when it started, how long its stages took
OWN = re.compile(rf"Run|^Started|^({'|'.join(STAGES)}) ")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("trips")
    return td.make_sample(str(folder), start="2015-03", trips_per_month=120_000, seed=3)


def order(home: Path, sources: list[str], **more: Any) -> dict[str, Any]:
    settings = {
        "sources": sources,
        "lake": str(home / "lake"),
        "store": f"sqlite:///{home / 'results.db'}",
        "report": str(home / "report.pdf"),
        "block_size": "8MiB",
        "heartbeat_timeout": 2.0,
        "horizon": 4,
    }
    return {"settings": settings, **more}


class Driver:
    """A driver process; what it says goes to a file that can be read while it works."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.log = Path(given["settings"]["report"]).with_name(f"driver-{uuid.uuid4().hex}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(DRIVER), json.dumps(given)], stdout=subprocess.PIPE, stderr=log, text=True
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def finish(self, timeout: float = 240) -> tuple[int, str, str]:
        """Its exit code, output and what it said."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"waited {timeout} s for the driver, which said:\n{self.said}") from None
        return self.process.returncode, out, self.said


def open_results(home: Path) -> Any:
    return td.open_store(f"sqlite:///{home / 'results.db'}")


def until(condition: Any, what: str, timeout: float = 60) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if answer := condition():
                return answer
        except td.TaxidaskError:
            pass  # the store is not made yet
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout} s for {what}")


def numbers(home: Path) -> dict[str, Any]:
    """What a run left: lake, store and report, without what names the run itself."""
    lake = td.Lake(str(home / "lake"))
    store = open_results(home)
    latest = store.get_latest()
    run = latest["run"]
    span = (pd.Timestamp(latest["forecast_start"]), pd.Timestamp(latest["forecast_end"]))
    text = text_of((home / "report.pdf").read_bytes())
    lines = [" ".join(line.split()).replace(run, "Run") for line in text.splitlines()]
    return {
        "trips": lake.trips(),
        "rejects": lake.rejects(),
        "cube": lake.cube(),
        "cell": store.get_forecast(latest["space"], latest["cells"][0], *span, slot=latest["slot"]),
        "city": store.get_total_forecast(latest["space"], *span, slot=latest["slot"]),
        "demand": store.get_metrics(run, "demand"),
        "fare": store.get_metrics(run, "fare"),
        "latest": {k: v for k, v in latest.items() if k not in ("run", "lake")},
        "report": [line for line in lines if not OWN.search(line)],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, other[name], obj=name)
        else:
            assert value == other[name], name


@pytest.mark.timeout(500)
def test_killed_in_every_stage_and_resumed_elsewhere_gives_the_same_numbers(tmp_path: Path, sources: list[str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code, _, err = Driver(order(home, sources)).finish()
    assert code == 0, err
    expected = numbers(home)
    home.rename(tmp_path / "straight")
    home.mkdir()

    finished: dict[Path, int] = {}
    spent = 0.0
    for number, stage in enumerate(STAGES):
        resume = "last" if number else None
        code, _, err = Driver(order(home, sources, resume=resume, die_in=stage)).finish()
        assert code == -signal.SIGKILL, f"not killed in {stage}: {err}"
        run = open_results(home).list_runs()[0]
        assert run["stages"][stage]["state"] == "running"
        # nobody could write its last figure, so what it noted on the way is all that the next one can add to
        assert run["cost"]["core_seconds"] > spent
        spent = run["cost"]["core_seconds"]
        if stage == "ingest":
            finished = {path: path.stat().st_mtime_ns for path in (home / "lake" / "trips").rglob("*.parquet")}
            assert finished
    code, out, err = Driver(order(home, sources, resume="last")).finish()
    assert code == 0, err
    done = json.loads(out)
    assert done["state"] == "done"
    assert done["id"] == run["id"]
    assert done["cost"]["core_seconds"] > spent  # of all five before it
    assert done["cost"] == open_results(home).get_run(done["id"])["cost"]
    assert len(open_results(home).list_runs()) == 1
    # blocks that were finished when the driver died were not written, hence not read, again
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert_same(expected, numbers(home))


def test_cancel_stops_within_a_block_and_loses_nothing(tmp_path: Path, sources: list[str]) -> None:
    driver = Driver(order(tmp_path, sources, slow=1.5))
    store = open_results(tmp_path)
    run = until(lambda: next((r for r in store.list_runs() if "ingest" in r["stages"]), None), "the ingest to begin")
    assert "will stop" in request_cancel(store, run["id"])
    begun = time.monotonic()
    code, _, err = driver.finish(60)
    assert code == 1
    assert "was cancelled" in err
    assert f"--resume {run['id']}" in err
    assert time.monotonic() - begun < 15
    ended = find(store, run["id"])
    assert ended["state"] == "cancelled"
    assert ended["stages"]["ingest"]["state"] == "cancelled"
    assert len(td.Lake(str(tmp_path / "lake")).sources()) == 0  # no half source


def test_second_driver_is_refused_and_one_with_resume_takes_over(tmp_path: Path, sources: list[str]) -> None:
    first = Driver(order(tmp_path, sources, slow=30))
    store = open_results(tmp_path)
    run = until(lambda: next((r for r in store.list_runs() if "ingest" in r["stages"]), None), "the ingest to begin")

    code, _, err = Driver(order(tmp_path, sources)).finish()
    assert code == 1
    assert f"run {run['id']} does this job already" in err

    heir = Driver(order(tmp_path, sources, resume="last", die_in="demand"))
    until(lambda: "waiting up to" in heir.said, "the heir to meet a living driver")
    assert store.get_run(run["id"])["owner"] == run["owner"], "took over from a living driver"
    first.process.kill()
    first.process.communicate()
    code, _, err = heir.finish()
    assert code == -signal.SIGKILL, err
    assert f"resuming run {run['id']}" in err
    after = store.get_run(run["id"])
    assert after["owner"] != run["owner"]
    assert after["stages"]["ingest"]["state"] == "done"


def test_ctrl_c_leaves_the_run_resumable_and_says_how(tmp_path: Path, sources: list[str]) -> None:
    driver = Driver(order(tmp_path, sources, slow=1.5))
    store = open_results(tmp_path)
    run = until(lambda: next((r for r in store.list_runs() if "ingest" in r["stages"]), None), "the ingest to begin")
    time.sleep(0.5)
    driver.process.send_signal(signal.SIGINT)
    code, _, err = driver.finish(60)
    assert code == 130, err
    assert f"interrupted; go on with: taxidask run --resume {run['id']}" in err
    assert "Traceback" not in err
    assert find(store, run["id"])["state"] == "interrupted"

"""Real driver processes, cancelled, interrupted and killed; one killed in every stage is in tests/e2e."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from drivers import Driver, open_results, order, until

import taxidask as td
from taxidask.runs.look import find, request_cancel


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("trips")
    return td.make_sample(str(folder), start="2015-03", trips_per_month=120_000, seed=3)


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
    assert time.monotonic() - begun < 40
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

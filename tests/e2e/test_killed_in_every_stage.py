"""A real driver process, really killed in every stage of a run."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from drivers import Driver, assert_same, numbers, open_results, order

import taxidask as td
from taxidask.runs.ledger import STAGES


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("trips")
    return td.make_sample(str(folder), start="2015-03", trips_per_month=120_000, seed=3)


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

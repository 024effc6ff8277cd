"""A run of the command that has ended, and what has to be equal between two such runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pdfs import text_of

import taxidask as td

COMMAND = Path(sys.executable).with_name("taxidask")


@dataclass(frozen=True)
class Finished:
    """What a run left."""

    run: dict[str, Any]
    said: str
    lake: td.Lake
    store: Any
    report: Path


def run(sources: str, lake: str, store: str, report: Path) -> Finished:
    """Run the command on a local cluster."""
    ended = subprocess.run(
        [COMMAND, "run", "--sources", sources, "--lake", lake, "--store", store, "--report", report, "--json"],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=report.parent,
    )
    assert ended.returncode == 0, ended.stderr
    return Finished(json.loads(ended.stdout), ended.stderr, td.Lake(lake), td.open_store(store), report)


def _rejects(finished: Finished) -> pd.DataFrame:
    """Its rejects, each with the name of its file: the two may have read it in different places."""
    return finished.lake.rejects().assign(source=lambda rejects: rejects["source"].str.rsplit("/", n=1).str[1])


def _ingest(finished: Finished) -> pd.DataFrame:
    """What it published of its sources, each by the name of its file; the rest of it is when and where it was read."""
    table = finished.store.get_ingest(finished.lake.url)
    table["url"] = table["url"].str.rsplit("/", n=1).str[1]
    return table.drop(columns=["seconds", "version"])


def _card(finished: Finished, kind: str) -> dict[str, Any]:
    """The card of its model, but for when it was made."""
    return {name: value for name, value in finished.store.get_card(kind).items() if name != "created"}


def _report(finished: Finished) -> list[str]:
    """The lines of its report up to the table of its stages, but for those that name the run, its start and its lake,
    whose URL may take several lines."""
    text = text_of(finished.report.read_bytes()).partition("Stages of run")[0]
    lines = re.sub(r"^Started .*?^(?=Trips )", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    return [line for line in lines if finished.run["id"] not in line]


def assert_same_numbers(mine: Finished, theirs: Finished) -> None:
    """The same trips, rejects, cube, published items and report, but for what names the run itself."""
    pd.testing.assert_frame_equal(theirs.lake.trips(), mine.lake.trips())
    pd.testing.assert_frame_equal(_rejects(theirs), _rejects(mine))
    assert theirs.lake.cube() == mine.lake.cube()
    latest, other = mine.store.get_latest(), theirs.store.get_latest()
    assert {**other, "run": "", "lake": ""} == {**latest, "run": "", "lake": ""}
    for cell in [*range(mine.lake.cube().space.cells), "city"]:
        pd.testing.assert_frame_equal(
            theirs.store.get_forecast(latest["space"], cell, slot=latest["slot"]),
            mine.store.get_forecast(latest["space"], cell, slot=latest["slot"]),
        )
        pd.testing.assert_frame_equal(
            theirs.store.get_demand(latest["space"], cell, slot=latest["slot"]),
            mine.store.get_demand(latest["space"], cell, slot=latest["slot"]),
        )
    pd.testing.assert_frame_equal(_ingest(theirs), _ingest(mine))
    for kind in ("demand", "fare"):
        assert _card(theirs, kind) == _card(mine, kind)
    for kind in ("demand", "fare", "fare-prices", "fare-errors"):
        pd.testing.assert_frame_equal(
            theirs.store.get_metrics(theirs.run["id"], kind), mine.store.get_metrics(mine.run["id"], kind)
        )
    assert len(_report(mine)) > 100
    assert _report(theirs) == _report(mine)

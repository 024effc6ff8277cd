"""Drivers of runs as processes of their own, to be killed; and what a run left, to be compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
from pdfs import text_of

import taxidask as td
from taxidask.runs.ledger import STAGES

DRIVER = Path(__file__).parent / "runs" / "driver.py"
# lines of a report that name the run itself: its id, when it started, how long its stages took
OWN = re.compile(rf"Run|^Started|^({'|'.join(STAGES)}) ")


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

"""Runs as processes of their own: they outlive who started them, and the ledger knows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taxidask as td
from taxidask.errors import RunError
from taxidask.results import Store, open_store
from taxidask.runs import starting
from taxidask.runs.look import find, request_cancel
from taxidask.runs.starting import Started, Starter
from taxidask.settings import Settings


def until(condition: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < end, "in vain"
        time.sleep(0.1)
    return met


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    files = td.make_sample(str(tmp_path / "trips"), start="2015-03", trips_per_month=30_000)
    return {
        "sources": files,
        "lake": str(tmp_path / "lake"),
        "store": f"sqlite:///{tmp_path}/taxidask.db",
        "report": str(tmp_path / "report.pdf"),
        "workers": 1,
        "space": "new_york",
        "heartbeat_timeout": 6.0,
    }


@pytest.fixture
def store(job: dict[str, Any]) -> Store:
    made = open_store(job["store"])
    made.create()
    return made


@pytest.fixture
def starter(tmp_path: Path) -> Starter:
    return Starter(tmp_path / "logs")


class Ended:
    """Instead of a process."""

    pid = 0

    def __init__(self, code: int | None = 0) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def wait(self, _seconds: float | None = None) -> int:
        return self.code or 0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been started."""
    orders: list[dict[str, Any]] = []

    def note(words: list[str], **options: Any) -> Ended:
        orders.append({"words": words, **options})
        return Ended()

    monkeypatch.setattr(starting.subprocess, "Popen", note)
    return orders


def test_a_process_is_told_the_settings_that_were_checked_and_no_others(
    starter: Starter, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAXIDASK_WORKERS", "7")
    monkeypatch.setenv("PANEL_COOKIE_SECRET", "of the app")
    settings = Settings(sources=["trips/a b.csv", "[x].csv"], slot="15min", prices={"vcpu_hour": 0.5})
    started = starter.run(settings)
    (order,) = told
    kept = {name: value for name, value in order["env"].items() if name.startswith("TAXIDASK_")}
    assert order["words"][1:] == ["-m", "taxidask.cli", "run"]
    assert kept.pop("TAXIDASK_RUN_LOG") == started.log
    assert "PANEL_COOKIE_SECRET" not in order["env"]
    monkeypatch.delenv("TAXIDASK_WORKERS")
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(order["cwd"])  # where the process reads them
    assert td.load_settings() == starting.placed(settings.model_copy(update={
        "sources": [str(tmp_path / "trips/a b.csv"), str(tmp_path / "[x].csv")],
        "lake": str(tmp_path / "lake"), "store": f"sqlite:///{tmp_path}/taxidask.db",
        "report": str(tmp_path / "report.pdf"),
    }))  # fmt: skip


def test_nothing_is_started_in_a_pod_and_the_reader_is_told_what_starts_runs_there(
    starter: Starter, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("TAXIDASK_NAMESPACE", "rides")
    with pytest.raises(RunError, match=r"CronJob.*kubectl create job run-now --from cronjob/run --namespace rides"):
        starter.run(Settings(sources=["a.csv"]))
    assert not told


def test_only_so_many_are_at_work_at_a_time_and_old_logs_go(
    starter: Starter, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_KEPT", 6)
    for _ in range(9):
        starter.run(Settings(sources=["a.csv"]))
    assert len(list(starter.folder.glob("*.log"))) == 6
    assert (starter.folder / starter.started[-1].log).exists()
    starter.started = [Started("a run", "x", Ended(None)) for _ in range(starting.AT_ONCE)]
    with pytest.raises(RunError, match="4 processes that were started here are at work"):
        starter.run(Settings(sources=["a.csv"]))


def test_what_cannot_be_started_is_an_error(starter: Starter) -> None:
    with pytest.raises(RunError, match=r"could not be started.*name a folder"):
        starter.run(Settings(sources=["/" + "x" * 200 + f"{number}.csv" for number in range(1000)]))


def test_a_tail_is_short_does_nothing_and_is_of_a_log_only(starter: Starter) -> None:
    starter.folder.mkdir(parents=True)
    name = "20260101T000000Z-0123abcd.log"
    (starter.folder / name).write_bytes(b"first\n" * 5000 + b"\x1b[2J\xff last\r\n")
    text = starter.tail(name, most=100)
    assert text.startswith("…\nfirst\n")
    assert text.rstrip().endswith("\\x1b[2J\ufffd last")
    assert len(text) < 120
    (starter.folder / "secret").write_text("of another")
    for other in (
        None,
        "secret",
        "../logs/secret",
        f"../{starter.folder.name}/{name}",
        "20260101T000000Z-00000000.log",
    ):
        assert starter.tail(other) is None


def test_a_process_past_its_time_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    child = int(process.stdout.readline())
    started = Started("a wait", "x", process)
    starting._wait(started, 0.1)
    assert started.overdue
    assert started.code == -9
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2], 20)
    process.stdin.close()
    process.stdout.close()


STARTS_AND_DIES = """
import json, os, sys
from pathlib import Path
from taxidask.runs.starting import Starter
from taxidask.settings import Settings
order = json.loads(sys.argv[1])
print(Starter(Path(order["logs"])).run(Settings(**order["job"])).log, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_run_outlives_who_started_it_and_is_cancelled_and_resumed_through_the_ledger(
    job: dict[str, Any], store: Store, starter: Starter
) -> None:
    order = json.dumps({"logs": str(starter.folder), "job": job})
    dead = subprocess.run([sys.executable, "-c", STARTS_AND_DIES, order], stdout=subprocess.PIPE, check=False)
    assert dead.returncode == -9
    log = dead.stdout.decode().strip()
    run = until(lambda: Started("", log, Ended()).run(store))
    twin = starter.run(Settings(**job))  # of the same settings, while the first lives
    until(lambda: twin.code is not None)
    assert twin.code == 1
    assert f"run {run} does this job already" in starter.tail(twin.log)
    assert twin.run(store) is None
    with pytest.raises(RunError, match="nothing to resume"):
        starter.resume(store, run)
    assert "will stop" in request_cancel(store, run)
    until(lambda: find(store, run)["state"] == "cancelled")
    assert f"run {run}: 1 source" in starter.tail(find(store, run)["log"])

    again = starter.resume(store, run)
    until(lambda: again.run(store) == run)
    assert again.log != log
    until(lambda: find(store, run).get("dashboard"))
    request_cancel(store, run)
    until(lambda: again.code is not None)
    assert find(store, run)["state"] == "cancelled"
    assert f"resuming run {run}" in starter.tail(again.log)
    assert find(store, run)["settings"]["workers"] == 1
    assert os.stat(starter.folder).st_mode & 0o77 == 0

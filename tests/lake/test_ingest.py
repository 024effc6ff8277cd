"""The lake's ingest on workers: what dies, what it costs, what memory it takes."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import cloudpickle
import pandas as pd
import psutil
import pytest

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.compute.workers import repeated
from taxidask.lake import ingest
from taxidask.lake.tasks import BlockTask, FinishTask, Job, run_task
from taxidask.storage import default_storage
from taxidask.trips.eras import ERAS
from taxidask.trips.rules import Rules
from taxidask.trips.sources import Source

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not import the tests
MIB = 1 << 20


class Logged:
    """The ingest's task, leaving a file for every execution."""

    __name__ = "run_task"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, task):
        if isinstance(task, BlockTask):
            (self.folder / f"{Path(task.job.source.url).name}:{task.start}:{uuid.uuid4().hex}").touch()
        return run_task(task)

    def executions(self) -> list[str]:
        return sorted(path.name.rpartition(":")[0] for path in self.folder.iterdir())


def test_a_worker_killed_mid_ingest_costs_its_running_block_and_nothing_else(cluster, tmp_path, monkeypatch):
    files = td.make_sample(tmp_path, start="2015-01", months=3, trips_per_month=130_000, seed=5)
    expected = td.Lake(tmp_path / "expected")
    expected.ingest(files, client=ThreadExecutor(2))
    cluster.run(lambda: __import__("taxidask.trips.read"))
    (tmp_path / "log").mkdir()
    logged = Logged(tmp_path / "log")
    monkeypatch.setattr(ingest, "run_task", logged)
    done = []

    def kill_one(block):
        done.append((block["source"], block["start"]))
        if len(done) == 3:
            os.kill(min(cluster.run(os.getpid).values()), signal.SIGKILL)

    lake, before = td.Lake(tmp_path / "lake"), repeated(cluster)
    lake.ingest(files, client=cluster, block_size="8MiB", on_block=kill_one)

    blocks = sum(-(-os.path.getsize(file) // (8 * MIB)) for file in files)
    assert blocks >= 8
    assert len(done) == len(set(done)) == blocks
    # One thread a worker: the block that ran, and at most one whose result was still with it.
    assert 0 <= len(logged.executions()) - blocks <= 2
    assert len(set(logged.executions())) == blocks
    assert 1 <= repeated(cluster) - before <= 2
    assert lake.cube() == expected.cube()
    columns = ["url", "rows", "kept", "bytes"]
    pd.testing.assert_frame_equal(lake.sources()[columns], expected.sources()[columns])
    order = ["pickup_datetime", "dropoff_datetime", "pickup_longitude", "fare_amount"]
    pd.testing.assert_frame_equal(
        lake.trips().sort_values(order, ignore_index=True), expected.trips().sort_values(order, ignore_index=True)
    )
    assert len(lake.rejects()) == len(expected.rejects()) > 0


PEAK = """
import gc, json, sys, tempfile
from taxidask.space import Grid
from taxidask.compute.workers import repeated
from taxidask.storage import default_storage
from taxidask.lake.tasks import BlockTask, Job, run_task
from taxidask.lake.layout import save_space
from taxidask.trips.rules import Rules
from taxidask.trips.sources import find_sources

MIB = 1 << 20

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

with tempfile.TemporaryDirectory() as lake:
    storage, space = default_storage(), Grid.new_york()
    save_space(lake, space, storage)
    [source] = find_sources(sys.argv[1])
    job = Job(lake, storage, source, Rules(), space.key, 1800)
    run_task(BlockTask(job, 0, 8 * MIB))  # libraries loaded, kernels compiled
    ratios = {}
    for size in map(int, sys.argv[2:]):
        gc.collect()
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts anew
        idle = status("VmRSS")
        result = run_task(BlockTask(job, 0, size * MIB))
        assert result["rows"] > 0, result
        ratios[size] = (status("VmHWM") - idle) / MIB / size
print(json.dumps(ratios))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc/self/clear_refs")
def test_a_block_takes_less_than_six_times_its_size(tmp_path):
    [file] = td.make_sample(tmp_path, start="2015-03", trips_per_month=460_000, seed=1)
    assert os.path.getsize(file) > 64 * MIB
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask's nanny starts workers
    done = subprocess.run(
        [sys.executable, "-c", PEAK, file, "16", "64"], capture_output=True, timeout=120, env=environment, check=True
    )
    ratios = json.loads(done.stdout)
    assert all(0.5 < ratio < 6 for ratio in ratios.values()), ratios


def pretend(task):
    """A task that reads nothing and says what a month's would."""
    url = task.job.source.url
    if isinstance(task, FinishTask):
        return {"url": url, "month": task.job.source.month, "rows": 10, "kept": 10, "rejected": {"malformed": 1}}
    return {"start": task.start, "stop": task.stop, "rows": 1, "kept": 1, "rejected": {}, "bytes": 1, "seconds": 0.0}


def jobs(folder: Path, months: int) -> list[Job]:
    """Months of 1.9 GB, as real ones of 2015 are."""
    storage, era = default_storage(), next(iter(ERAS))
    return [
        Job(str(folder), storage, Source(f"s3://trips/{n}.csv", 1900 * MIB, "1", None, era, "csv", None, 0), Rules(),
            "grid", 1800)
        for n in range(months)
    ]  # fmt: skip


def test_the_driver_of_a_hundred_months_takes_no_more_than_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "run_task", pretend)

    def run(months: int) -> int:
        driver = ingest.Driver(jobs(tmp_path, months), block_size=64 * MIB, executor=ThreadExecutor(2))
        assert len(driver.run()) == months
        gc.collect()
        return psutil.Process().memory_info().rss

    run(3)
    assert run(100) - run(1) < 8 * MIB  # 3,000 blocks

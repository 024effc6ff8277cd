"""What a growing number of months costs the driver and the scheduler.

Runs the real ingest driver on a real local cluster over simulated months of 1.9 GB, 30 blocks of 64 MiB each as in
2015, whose tasks do nothing: what remains is the cost of driving them. Prints a Markdown table.

    python benchmarks/scale.py [MONTHS …]
"""

from __future__ import annotations

import gc
import sys
import tempfile
import threading
import time
from typing import Any

import psutil

import taxidask as td
from taxidask.compute import executor
from taxidask.lake import ingest
from taxidask.lake.tasks import BlockTask, FinishTask, Job
from taxidask.storage import default_storage
from taxidask.trips.eras import ERAS
from taxidask.trips.rules import Rules
from taxidask.trips.schema import REASONS
from taxidask.trips.sources import Source

MIB = 1 << 20
MONTH_BYTES = 1900 * MIB


def simulated(task: BlockTask | FinishTask) -> dict[str, Any]:
    """What a block or a finished source sends back, without reading anything."""
    rejected = dict.fromkeys(REASONS, 7)
    if isinstance(task, FinishTask):
        source = task.job.source
        return {"url": source.url, "month": source.month, "rows": 12_700_000, "kept": 12_600_000, "rejected": rejected}
    size = task.stop - task.start
    return {"start": task.start, "stop": task.stop, "rows": 425_000, "kept": 424_930, "rejected": rejected,
            "bytes": size, "seconds": 1.0}  # fmt: skip


def job(lake: str, month: int) -> Job:
    """A month that is not there."""
    name = f"{2009 + month // 12}-{month % 12 + 1:02d}"
    url = f"s3://trips/yellow_tripdata_{name}.csv"
    source = Source(url, MONTH_BYTES, "1", name, next(iter(ERAS)), "csv", None, 0)
    return Job(lake, default_storage(), source, Rules(), "grid", 1800)


class Peak:
    """The highest memory use of a process while this is entered, over what it was before."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def __enter__(self) -> Peak:
        gc.collect()
        self.before = self.peak = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        return (self.peak - self.before) / MIB


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(client: Any, months: int) -> str:
    driver, scheduler = psutil.Process(), psutil.Process(client._node.process.pid)
    blocks = -(-MONTH_BYTES // (64 * MIB)) * months
    before = cpu_seconds(driver), cpu_seconds(scheduler)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as lake, Peak(driver) as here, Peak(scheduler) as there:
        jobs = [job(lake, month) for month in range(months)]
        results = ingest.Driver(jobs, block_size=64 * MIB, executor=executor(client)).run()
    seconds = time.perf_counter() - start
    assert len(results) == months
    cpu = cpu_seconds(driver) - before[0], cpu_seconds(scheduler) - before[1]
    figures = [seconds, cpu[0], cpu[1]]
    each = " | ".join(f"{1000 * value / blocks:.1f}" for value in figures)
    return f"| {months} | {blocks:,} | {here.before / MIB:.0f} | {here.mib:.1f} | {there.mib:.1f} | {each} |"


def main(months: list[int]) -> None:
    ingest.run_task = simulated
    print("| months | blocks | driver before, MiB | driver grows, MiB | scheduler grows, MiB "
          "| per block: time, ms | driver CPU, ms | scheduler CPU, ms |")  # fmt: skip
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    with td.connect() as client:
        measure(client, 3)  # connections made, libraries loaded
        for count in months:
            print(measure(client, count), flush=True)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1, 10, 100])

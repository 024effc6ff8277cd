"""What a cluster far larger than this machine costs its scheduler and its driver.

A real scheduler, as a pod starts it, with 200 real connections of workers that hold no data: each is a worker of one
thread inside one of a few processes, and its blocks do nothing. The real ingest driver runs 100,000 blocks of 64 MiB
over them, which is 6.7 TB of CSV. What is left is what driving them costs. Beside it, what one would write with Dask
alone: all blocks in one ``client.map``. Prints a Markdown table.

    python benchmarks/scheduler.py [BLOCKS …] [--workers 200] [--without-map]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
from distributed import Client, Worker, as_completed
from scale import MIB, Peak, cpu_seconds, simulated

import taxidask as td
from taxidask.compute import executor, workers
from taxidask.lake import ingest
from taxidask.lake.tasks import BlockTask, Job
from taxidask.storage import default_storage
from taxidask.trips.eras import ERAS
from taxidask.trips.rules import Rules
from taxidask.trips.sources import Source

BLOCK = 64 * MIB
BLOCKS_OF_MONTH = 32
PER_PROCESS = 50
START_SECONDS = 180.0
SCHEDULER = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",  # as on every cluster of the package
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


async def simulate(address: str, count: int) -> None:
    """So many workers in this process, until the scheduler is gone."""
    made = [Worker(address, nthreads=1, memory_limit=0, dashboard=False, local_directory=None) for _ in range(count)]
    await asyncio.gather(*made)
    await asyncio.gather(*(worker.finished() for worker in made))


@contextlib.contextmanager
def cluster(count: int) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler and `count` simulated workers; its address and process."""
    environment = {**os.environ, **SCHEDULER, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        environment["DASK_TEMPORARY_DIRECTORY"] = folder
        file = Path(folder) / "scheduler.json"

        def start(*command: str) -> subprocess.Popen[bytes]:
            quiet = (Path(folder) / "log").open("ab")
            process = subprocess.Popen([sys.executable, *command], env=environment, stdout=quiet, stderr=quiet)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            return process

        scheduler = start(
            *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(file)),
        )
        deadline = time.monotonic() + START_SECONDS
        while not file.exists():
            if scheduler.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"waited {START_SECONDS:.0f} s for the scheduler:\n{(Path(folder) / 'log').read_text()}"
                )
            time.sleep(0.1)
        time.sleep(0.5)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            address = client.scheduler.address
            for first in range(0, count, PER_PROCESS):
                start(__file__, "--simulate", address, "--workers", str(min(PER_PROCESS, count - first)))
            client.wait_for_workers(count, timeout=START_SECONDS)
        yield address, psutil.Process(scheduler.pid)


def jobs(lake: str, blocks: int) -> list[Job]:
    """Months that are not there, of 32 blocks each."""
    made = []
    for month in range(-(-blocks // BLOCKS_OF_MONTH)):
        name = f"{month // 12:04d}-{month % 12 + 1:02d}"
        size = min(BLOCKS_OF_MONTH, blocks - month * BLOCKS_OF_MONTH) * BLOCK
        source = Source(f"s3://trips/yellow_tripdata_{name}.csv", size, "1", name, next(iter(ERAS)), "csv", None, 0)
        made.append(Job(lake, default_storage(), source, Rules(), "grid", 1800))
    return made


def tasks_of(job: Job) -> list[BlockTask]:
    return [BlockTask(job, start, start + BLOCK) for start in range(0, job.source.size, BLOCK)]


class Known:
    """The most tasks that the scheduler knew of at once while this is entered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def __enter__(self) -> Known:
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            with contextlib.suppress(Exception):
                self.most = max(self.most, self._client.run_on_scheduler(_count_tasks))

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def with_driver(client: Client, lake: str, blocks: int) -> None:
    made = jobs(lake, blocks)
    results = ingest.Driver(made, block_size=BLOCK, executor=executor(client)).run()
    assert len(results) == len(made)


def with_map(client: Client, lake: str, blocks: int) -> None:
    tasks = [task for job in jobs(lake, blocks) for task in tasks_of(job)]
    done = as_completed(client.map(simulated, tasks, pure=False), with_results=True)
    assert sum(1 for _ in done) == blocks


def measure(name: str, way: Any, blocks: int, count: int) -> str:
    """A row of the table, on a cluster of its own."""
    with cluster(count) as (address, process), td.connect(td.Settings(compute=address)) as client:
        with tempfile.TemporaryDirectory() as lake:
            with_driver(client, lake, 4 * count)  # connections made, libraries loaded
        driver = psutil.Process()
        with (
            tempfile.TemporaryDirectory() as lake,
            Known(client) as known,
            Peak(driver) as here,
            Peak(process) as there,
        ):
            before = cpu_seconds(driver), cpu_seconds(process)
            start = time.perf_counter()
            way(client, lake, blocks)
            seconds = time.perf_counter() - start
            cpu = cpu_seconds(driver) - before[0], cpu_seconds(process) - before[1]
    each = " | ".join(f"{1000 * value / blocks:.2f}" for value in (seconds, *cpu))
    return (
        f"| {name} | {blocks:,} | {count} | {known.most:,} | {there.peak / MIB:,.0f} | {there.mib:,.1f} "
        f"| {here.mib:,.1f} | {each} |"
    )


def task_bytes() -> int:
    """What one task is on the wire, without Dask's own few hundred bytes around it."""
    (job,) = jobs("s3://lake/lake", 1)
    (task,) = tasks_of(job)
    call = (workers._run, (td.__version__, "0" * 32, simulated, workers._Box(task)))
    return len(cloudpickle.dumps(call))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("blocks", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--without-map", action="store_true")
    parser.add_argument("--simulate", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.simulate:
        asyncio.run(simulate(given.simulate, given.workers))
        return
    ingest.run_task = simulated
    print(f"one task: {task_bytes() / 1024:.1f} KiB\n")
    print(
        "| | blocks | workers | tasks known at once, most | scheduler's memory, MiB | it grows, MiB "
        "| driver grows, MiB | per block: time, ms | driver CPU, ms | scheduler CPU, ms |"
    )
    print("|---|" + "---:|" * 9)
    for blocks in given.blocks:
        print(measure("taxidask", with_driver, blocks, given.workers), flush=True)
    if not given.without_map:
        print(measure("`client.map`", with_map, max(given.blocks), given.workers), flush=True)


if __name__ == "__main__":
    main()

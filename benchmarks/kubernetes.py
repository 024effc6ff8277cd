"""What pods cost in time: clusters started and closed in a row, workers added, lost and replaced, and a month read.

Needs the cluster of ``k8s/``, reachable by ``kubectl``, a place where its Services' names are known, and a folder in
S3 that the pods and this process both reach. The month, 489 MB of CSV, is made and put there once. It is read into a
lake by one worker pod with one core, and by a local cluster of one worker on one core of this machine, in turns. Prints
Markdown.

    TAXIDASK_IMAGE=… python benchmarks/kubernetes.py s3://BUCKET/FOLDER [--clusters 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import taxidask as td
from taxidask.compute.kubernetes.status import Status
from taxidask.storage import default_storage

TRIPS = 3_100_000
WAIT_SECONDS = 180.0
SMALL = {"worker_memory": "1GiB", "worker_cpus": 0.1, "scheduler_cpus": 0.1, "scheduler_memory": "512MiB"}
READER = {"worker_memory": "3GiB", "worker_cpus": 1.0, "scheduler_cpus": 0.2, "scheduler_memory": "512MiB"}


def settings(**given: Any) -> td.Settings:
    """Of a cluster of pods."""
    return td.Settings(compute="kubernetes", image=os.environ["TAXIDASK_IMAGE"], **given)


def connect(**given: Any) -> Any:
    """A client on a new cluster; its status is not printed."""
    return td.connect(settings(**given), status=Status())


def seconds_until(condition: Callable[[], bool]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > WAIT_SECONDS:
            raise SystemExit(f"waited {WAIT_SECONDS:.0f} s")
        time.sleep(0.05)
    return time.perf_counter() - began


def row(what: str, times: list[float]) -> None:
    """One line of the table."""
    each = " | ".join(f"{value:.1f}" for value in (statistics.median(times), min(times), max(times)))
    print(f"| {what} | {len(times)} | {each} |", flush=True)


def clusters_in_a_row(count: int) -> None:
    """Start, use and close so many, one after the other."""
    started, closed = [], []
    for _ in range(count):
        began = time.perf_counter()
        client = connect(workers=1, **SMALL)
        client.submit(sum, [1, 2]).result()
        ready = time.perf_counter()
        client.close()
        started.append(ready - began)
        closed.append(time.perf_counter() - ready)
    row("cluster: from nothing to the first result of a worker", started)
    row("cluster: from `close` until no object of it is left", closed)


def workers_come_and_go(rounds: int) -> None:
    """Scaling up and down, and the replacement of a worker that is killed."""
    more, fewer, again = [], [], []
    with connect(workers=1, **SMALL) as client:
        cluster = client.cluster
        for _ in range(rounds):
            cluster.scale(2)
            more.append(seconds_until(lambda: len(client.nthreads()) == 2))
            cluster.scale(1)
            fewer.append(seconds_until(lambda: len(cluster.pods()) == 2 and len(client.nthreads()) == 1))
            (before,) = client.nthreads()
            pod = cluster.pods()[1]["metadata"]["name"]
            subprocess.run(
                ["kubectl", "-n", cluster.namespace, "delete", "pod", pod, "--force", "--grace-period=0"],
                check=True, capture_output=True,
            )  # fmt: skip
            again.append(seconds_until(lambda old=before: set(client.nthreads()) - {old} != set()))
    row("one more worker: from `scale` until it has joined", more)
    row("one less: from `scale` until its pod is gone", fewer)
    row("a worker killed by force: until another has joined", again)


def month(folder: str) -> str:
    """The month in S3, made and put there if it is not."""
    url, storage = f"{folder}/trips/yellow_tripdata_2015-03.csv", default_storage()
    if not storage.exists(url):
        with tempfile.TemporaryDirectory() as scratch:
            [made] = td.make_sample(scratch, start="2015-03", trips_per_month=TRIPS)
            storage.write(url, Path(made).read_bytes())
    return url


def read(client: Any, url: str, folder: str) -> float:
    """Seconds of reading the month into an empty lake; kernels and imports are warm."""
    client.submit(lambda: __import__("taxidask.trips.read")).result()
    lake = td.Lake(f"{folder}/{uuid.uuid4().hex[:8]}")
    began = time.perf_counter()
    lake.ingest(url, client=client)
    return time.perf_counter() - began


def local(url: str, folder: str) -> float:
    """The same on one core of this machine, in a process of its own."""
    code = (
        "import os, sys; os.sched_setaffinity(0, {0}); sys.path.insert(0, 'benchmarks')\n"
        "import taxidask as td, kubernetes as bench\n"
        "with td.connect(td.Settings(workers=1, worker_memory='3GiB')) as client:\n"
        f"    bench.read(client, {url!r}, {folder!r}); print(bench.read(client, {url!r}, {folder!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    url = month(given.folder)
    print("| | times | seconds, median | least | most |\n|---|---:|---:|---:|---:|")
    clusters_in_a_row(given.clusters)
    workers_come_and_go(given.rounds)
    pods, here = [], []
    with connect(workers=1, **READER) as client:
        read(client, url, given.folder)
        for _ in range(given.rounds):
            pods.append(read(client, url, given.folder))
            here.append(local(url, given.folder))
    row("489 MB from S3 to the lake in S3: a worker pod of one core", pods)
    row("the same: a local cluster on one core", here)
    print(f"\npods over a local cluster: {statistics.median(pods) / statistics.median(here):.2f} ×")


if __name__ == "__main__":
    main()

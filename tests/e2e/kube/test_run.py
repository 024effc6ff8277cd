"""`taxidask run` as a Job on worker pods, S3 and DynamoDB: the same numbers as here, whatever is killed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from finished import Finished, assert_same_numbers, run
from kube import Job

import taxidask as td
from taxidask.runs.ledger import STAGES

pytestmark = pytest.mark.timeout(1800)

MONTHS = ("2015-01", "2015-02", "2015-03")
TRIPS = 3_300_000  # of the generated month: 500 MB
BUCKET = "taxidask"
BLOCKS = TRIPS * 150 // (8 << 20)  # of 8 MiB


@pytest.fixture(scope="module")
def folder(cluster: Any, data: Path, aws_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """In S3: three real months and a made-up one of 500 MB."""
    s3 = boto3.client("s3", region_name="us-east-1")
    prefix = f"e2e-{uuid.uuid4().hex[:8]}"
    [made] = td.make_sample(tmp_path_factory.mktemp("made"), start="2015-04", trips_per_month=TRIPS, seed=9)
    assert os.path.getsize(made) >= 500e6
    for path in [Path(made), *(data / "trips" / f"yellow_tripdata_{month}.csv" for month in MONTHS)]:
        s3.upload_file(str(path), BUCKET, f"{prefix}/trips/{path.name}")
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture(scope="module", autouse=True)
def _credentials(aws_servers: Any) -> Any:
    before = os.environ.copy()
    os.environ.update(aws_servers.environment)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def expected(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp("local")
    return run(f"{folder}/trips/*.csv", str(home / "lake"), f"sqlite:///{home / 'results.db'}", home / "report.pdf")


@pytest.fixture
def order(folder: str, cluster: Any, tmp_path: Path) -> Any:
    """Makes a Job with a lake, a store and a report of its own, and removes it."""
    made = []

    def make(name: str, **settings: str) -> tuple[Job, str, str]:
        lake, store = f"{folder}/{name}", f"dynamodb://{name}-{uuid.uuid4().hex[:8]}"
        td.open_store(store).create()
        job = Job(
            cluster, f"{name}-{uuid.uuid4().hex[:5]}", sources=f"{folder}/trips/*.csv", lake=lake, store=store,
            report=f"{lake}.pdf", block_size="8MiB", heartbeat_timeout="15", regions="[]", **settings,
        )  # fmt: skip
        made.append(job)
        return job, lake, store

    yield make
    for job in made:
        cluster("delete", "job", job.name, "--wait=false", check=False)


def finished(job: Job, lake: str, store: str, tmp_path: Path) -> Finished:
    """What the Job left, once it is complete."""
    job.wait(lambda: job.state() == "Complete", "the Job to be complete", 1200)
    report = tmp_path / "report.pdf"
    boto3.client("s3").download_file(BUCKET, f"{lake}.pdf".removeprefix(f"s3://{BUCKET}/"), str(report))
    opened = td.open_store(store)
    [ran] = opened.list_runs()
    return Finished(ran, job.log(), td.Lake(lake), opened, report)


def test_whatever_is_killed_the_run_ends_with_the_same_numbers(order: Any, expected: Finished, tmp_path: Path) -> None:
    job, lake, store = order("killed")
    opened = td.open_store(store)

    def at(stage: str) -> Callable[[], Any]:
        def reached() -> bool:
            return any(stage in one["stages"] for one in opened.list_runs())

        return reached

    def amid_ingest() -> bool:
        return any(0 < one.get("progress", {}).get("blocks", 0) < BLOCKS - 4 for one in opened.list_runs())

    job.kill("worker", amid_ingest, "the first blocks to be read")
    job.kill("scheduler", at("demand"), "the demand model to be fitted")
    job.kill("driver", at("fare"), "the fare model to be fitted")
    left = finished(job, lake, store, tmp_path)
    assert left.run["state"] == "done"
    assert left.run["stages"]["ingest"]["repeated"] > 0, left.run  # what its worker had at work
    attempts = {stage: left.run["stages"][stage]["attempts"] for stage in STAGES}
    assert attempts["demand"] > 1, attempts  # its scheduler went
    assert attempts["fare"] > 1, attempts  # its driver went
    assert attempts["publish"] == attempts["report"] == 1, attempts
    assert_same_numbers(expected, left)


def test_a_cluster_goes_with_its_run(cluster: Any) -> None:
    end = time.monotonic() + 120
    while cluster.get("daskclusters")["items"] or cluster.get("pods", "-l", "dask.org/cluster-name")["items"]:
        assert time.monotonic() < end, cluster("get", "daskclusters,pods")
        time.sleep(1)

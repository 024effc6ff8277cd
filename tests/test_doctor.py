"""`taxidask doctor` as in pods, on real S3 servers of two regions."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dask
import pytest
from distributed import LocalCluster, Security

import taxidask as td
from taxidask import storage
from taxidask.compute.kubernetes import spec
from taxidask.compute.kubernetes.certificates import Certificates
from taxidask.doctor import Finding, examine


@pytest.fixture
def there(aws: Any) -> str:
    """A fresh bucket in the other region; its s3:// URL."""
    name = f"taxidask-{uuid.uuid4().hex[:12]}"
    s3 = boto3.client("s3", region_name="us-west-2", endpoint_url=aws.s3["us-west-2"])
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return f"s3://{name}"


@pytest.fixture
def lakes(aws: Any, bucket: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The lakes of both regions; the environment is that of a pod that knows them."""
    regions = [
        {"name": "us-east-1"},
        {"name": "us-west-2", "places": {bucket: there}, "s3_endpoint": aws.s3["us-west-2"]},
    ]
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "count.nbc").touch()
    monkeypatch.chdir(tmp_path)
    for key, value in {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "TAXIDASK_LAKE": f"{bucket}/lake",
        "TAXIDASK_REGIONS": json.dumps(regions),
    }.items():
        monkeypatch.setenv(key, value)
    return f"us-east-1: {bucket}/lake", f"us-west-2: {there}/lake"


@pytest.fixture
def dask_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None, protocol="tcp://") as cluster:
        yield cluster


def looked(**given: Any) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(given)}


def test_worker_tries_both_regions_and_its_scheduler(
    lakes: tuple[str, str], dask_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", dask_cluster.scheduler_address)
    found = looked()
    assert [str(finding) for finding in found.values() if not finding.ok] == []
    assert set(found) == {"python", "settings", "pod", "identity", "kernels", "s3", "scheduler"}
    assert found["s3"].found == f"written, read and deleted in {', '.join(lakes)}"
    assert found["scheduler"].found == f"{dask_cluster.scheduler_address} answers; 1 worker"


def test_one_region_that_fails_hides_nothing_of_the_other(lakes: tuple[str, str], aws: Any, there: str) -> None:
    other = {"name": "us-west-2", "places": {"s3://no-such-bucket": there}, "s3_endpoint": aws.s3["us-west-2"]}
    found = looked(lake="s3://no-such-bucket/lake", regions=[{"name": "us-east-1"}, other])
    for subject in ("s3", "lake"):
        assert not found[subject].ok
        assert "no-such-bucket" in found[subject].found
        assert found[subject].remedy
    assert found["s3"].found.startswith("us-east-1: ")
    assert found["s3"].found.endswith(f"written, read and deleted in {lakes[1]}")


def test_the_lake_is_tried_whatever_the_regions(lakes: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_COMPONENT", "worker")
    here = lakes[0].split()[1]
    assert looked(regions=[])["s3"].found == f"written, read and deleted in {here}"
    found = looked(regions=[{"name": "us-east-1", "lake": "s3://no-such-bucket/lake"}])["s3"]
    assert not found.ok
    assert found.found.endswith(f"written, read and deleted in {here}")


def test_driver_writes_once_in_each_region(
    lakes: tuple[str, str], bucket: str, dask_cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = storage.Storage.write
    monkeypatch.setattr(storage.Storage, "write", lambda self, url, data: (written.append(url), write(self, url, data)))
    monkeypatch.setenv("POD_COMPONENT", "driver")
    found = looked(compute=dask_cluster.scheduler_address, store=f"sqlite:///{tmp_path}/results.db")
    assert [str(finding) for finding in found.values() if not finding.ok] == []
    assert found["s3"].found == f"written, read and deleted in {', '.join(lakes)}"
    assert found["lake"].found == "0 sources, 0 trips"
    beside = [url.rpartition("/")[0] for url in written if url.startswith("s3://")]
    assert beside == [lake.split()[1] for lake in lakes]
    assert storage.default_storage().list(bucket) == [], "nothing is left"


def test_scheduler_looks_at_itself_only(lakes: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = Certificates.make("anna", "taxidask", now=dt.datetime.now(dt.UTC))
    tls = {"require-encryption": True, "tls.ca-file": made.ca}
    for who in ("scheduler", "worker", "client"):
        tls |= {f"tls.{who}.cert": made.cert, f"tls.{who}.key": made.key}
    monkeypatch.setenv("POD_COMPONENT", "scheduler")
    with (
        dask.config.set({f"distributed.comm.{key}": value for key, value in tls.items()}),
        LocalCluster(
            n_workers=0, processes=False, dashboard_address=None, protocol="tls://", security=Security()
        ) as cluster,
    ):
        monkeypatch.setattr(spec, "COMM_PORT", cluster.scheduler.port)
        found = looked()
    assert set(found) == {"python", "settings", "pod", "scheduler"}
    assert found["pod"].found.startswith("scheduler ")
    assert found["scheduler"].found == f"tls://127.0.0.1:{spec.COMM_PORT} answers; 0 workers"


def test_worker_without_a_named_scheduler_is_none(lakes: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_COMPONENT", "worker")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    found = looked()
    assert [subject for subject, finding in found.items() if not finding.ok] == ["scheduler"]
    assert "DASK_SCHEDULER_ADDRESS" in found["scheduler"].remedy


def test_a_report_that_no_run_could_write_is_found_out_before(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    td.make_sample(tmp_path, start="2015-03", trips_per_month=100)
    (trips,) = tmp_path.glob("*.csv")
    assert looked(report=f"{bucket}/reports/a.pdf")["report"].ok
    assert not storage.default_storage().list(bucket), "nothing is left of the trial"
    for report, message in (
        ("s3://taxidask-none-of-that-name/a.pdf", "no such bucket"),
        (bucket, "is a bucket"),
    ):
        found = looked(report=report)["report"]
        assert not found.ok
        assert message in found.found
        assert found.remedy
        with pytest.raises(td.TaxidaskError, match=message):
            td.run(td.Settings(sources=[str(trips)], lake="lake", report=report), progress=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYS")
    assert "credentials not accepted" in looked(report=f"{bucket}/a.pdf")["report"].found


def test_a_source_in_another_region_or_an_unknown_key_is_said_with_what_to_set(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage.default_storage().write(f"{bucket}/empty.csv", b"")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    found = looked(sources=[f"{bucket}/trips.csv"])["sources"]
    assert (found.ok, found.remedy) == (False, "set AWS_DEFAULT_REGION=us-east-1")
    assert "the bucket is in us-east-1, and eu-west-1 was asked" in found.found
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "NOBODYS")
            found = looked(sources=[f"{bucket}/trips.csv"])["sources"]
            assert not found.ok
            assert "credentials not accepted" in found.found
            assert "AWS_ACCESS_KEY_ID" in found.remedy
    assert not storage.default_storage().exists(f"{bucket}/trips.csv")
    assert storage.default_storage().stat(f"{bucket}/empty.csv").size == 0

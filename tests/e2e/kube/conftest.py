"""One real Kubernetes with overlay `local` on it, for all tests of this folder."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from halves import halves
from kube import IMAGE, NAMESPACE, ROOT, Drivers, Kubectl, deploy, put, until


def _context() -> str:
    """A hash of everything that the image is made of."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", "Dockerfile", ".dockerignore", "pyproject.toml",
         "requirements.lock", "README.md", "LICENSE", "report", "k8s/image", "taxidask"],
        cwd=ROOT, capture_output=True, check=True, timeout=30,
    ).stdout.decode()  # fmt: skip
    total = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {""}):
        if (file := ROOT / name).is_file():
            total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _build(kube: Path, environment: dict[str, str]) -> bool:
    """Build and load the image if anything in it changed; whether that was so. KEEP_IMAGE=1 takes the one there is."""
    if os.environ.get("KEEP_IMAGE"):
        return False
    context = _context()
    label = ["buildah", "inspect", "--type", "image", "--format", '{{index .OCIv1.Config.Labels "taxidask.context"}}']
    built = subprocess.run([*label, IMAGE], capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    loaded = subprocess.run(
        ["bash", "-c", f'. {kube}/env && $CTR images ls -q name=={IMAGE}'],
        capture_output=True, text=True, timeout=30, check=False,
    ).stdout.strip()  # fmt: skip
    if built == context and loaded == IMAGE:
        return False
    command = [str(kube / "build"), IMAGE, str(ROOT), "--label", f"taxidask.context={context}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=1500, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr[-4000:]
    return True


def _up(command: Path) -> None:
    """It looks for addresses with `ip | grep -q` under pipefail, which fails now and then: so once more."""
    for attempt in range(3):
        answer = subprocess.run([command], capture_output=True, text=True, timeout=600, check=False)
        if answer.returncode == 0:
            return
        assert attempt < 2, f"{command}: {answer.stdout}\n{answer.stderr}"


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def kubectl(shared: Path, aws_servers: Any) -> Kubectl:
    """The cluster, up, with nothing asked of it yet."""
    if os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") != "1":
        pytest.skip("there is one Kubernetes: run these tests one at a time, with --numprocesses=0")
    if not (shared / "kube" / "up").exists():
        pytest.skip("needs the Kubernetes of ../shared/kube, which is not here")
    if os.geteuid() != 0:
        pytest.skip("starting a Kubernetes on this machine needs root")
    _up(shared / "kube" / "up")
    # The servers answer pods too if the cluster's network was there when they were started.
    addresses = ("http://172.30.0.1:9101", "http://172.30.0.1:9102")
    if not all(map(_answers, addresses)):
        subprocess.run([shared / "aws" / "down"], check=True, capture_output=True, timeout=60)
    _up(shared / "aws" / "up")
    assert all(map(_answers, addresses)), "S3 does not answer where pods look for it"
    text = subprocess.run(
        ["bash", "-c", ". ./env && env -0"], cwd=shared / "kube", check=True, capture_output=True, timeout=30
    ).stdout.decode()
    return Kubectl(dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry))


@pytest.fixture(scope="session")
def cluster(kubectl: Kubectl, shared: Path, aws_servers: Any) -> Iterator[Kubectl]:
    """The cluster with the image of this checkout and overlay `local` on it."""
    import boto3

    credentials = {key.lower(): aws_servers.environment[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    s3 = {
        region: boto3.client("s3", region_name=region, endpoint_url=endpoint, **credentials)
        for region, endpoint in aws_servers.s3.items()
    }
    for region, name in (("us-east-1", NAMESPACE), ("us-west-2", f"{NAMESPACE}-west")):
        if name not in {bucket["Name"] for bucket in s3[region].list_buckets()["Buckets"]}:
            where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3[region].create_bucket(Bucket=name, **where)
    for month in sorted((shared / "data" / "trips").glob("*.csv"))[:1]:
        s3["us-east-1"].upload_file(str(month), NAMESPACE, f"trips/{month.name}")
    changed = _build(shared / "kube", kubectl.environment)
    there = kubectl.run("get", "deployment", "app").returncode == 0
    if changed and there:
        kubectl("rollout", "restart", "deployment/app", "deployment/dask-operator")
    deploy(kubectl)
    yield kubectl
    kubectl("delete", "pods", "-l", "tests=e2e", "--wait=false", check=False)


@pytest.fixture
def folder(cluster: Kubectl, aws: Any) -> str:
    """A folder of its own in S3, and its copy in the other region, with the city as two zones in it."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    put(aws, name, "zones.geojson", json.dumps(halves()).encode())
    return f"s3://{NAMESPACE}/{name}"


@pytest.fixture
def app_address(cluster: Kubectl) -> Iterator[str]:
    """Host and port at which a pod of the app answers here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    forward = cluster.start("port-forward", "service/app", f"{address.rpartition(':')[2]}:80")

    try:
        until(lambda: _answers(f"http://{address}/healthz"), "the port-forward", 60)
        yield address
    finally:
        forward.kill()
        forward.communicate()


@pytest.fixture
def drive(cluster: Kubectl, shared: Path) -> Iterator[Drivers]:
    drivers = Drivers(cluster, shared / "kube" / "in-cluster-dns")
    yield drivers
    drivers.stop()


@pytest.fixture
def name(cluster: Kubectl) -> Iterator[str]:
    """Of a cluster that is removed in the end, however the test ends."""
    made = f"test-{uuid.uuid4().hex[:8]}"
    yield made
    cluster("delete", "daskcluster", made, "--ignore-not-found", "--wait=false", check=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes everything away comes last; before it the app, which keeps the pods it got under load for a while."""
    items.sort(key=lambda item: ("test_removal" in item.nodeid, "test_app" in item.nodeid))

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from distributed import Client
    from replica import Pair

# The same examples every time, so that a test fails for who changed something. Others are drawn by hand with
# --hypothesis-profile=default, which hypothesis's own option loads after this.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and servers beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real data ../shared, which is not here")
    return SHARED


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


@dataclass(frozen=True)
class Aws:
    """Two regions of real S3 and DynamoDB servers on this machine."""

    s3: dict[str, str]
    dynamodb: dict[str, str]
    environment: dict[str, str]
    root: Path  # of what they keep


def _answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def aws_servers(shared: Path) -> Aws:
    text = subprocess.run(
        ["bash", "-c", ". ./env && export AWS_ROOT && env -0"],
        cwd=shared / "aws",
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout.decode()
    env = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    servers = [env[name] for name in ("S3_EAST", "S3_WEST", "DYNAMODB_EAST", "DYNAMODB_WEST")]
    if not all(map(_answers, servers)):  # starting them takes programs that an ordinary machine may lack
        subprocess.run([shared / "aws" / "up"], check=True, timeout=300, capture_output=True)
    keys = [key for key in env if key.startswith("AWS_") and key not in ("AWS_HERE", "AWS_ROOT", "AWS_CA_BUNDLE")]
    return Aws(
        s3={"us-east-1": env["S3_EAST"], "us-west-2": env["S3_WEST"]},
        dynamodb={"us-east-1": env["DYNAMODB_EAST"], "us-west-2": env["DYNAMODB_WEST"]},
        environment={key: env[key] for key in keys}
        | {"AWS_ENDPOINT_URL_S3": env["S3_EAST"], "AWS_ENDPOINT_URL_DYNAMODB": env["DYNAMODB_EAST"]},
        root=Path(env["AWS_ROOT"]),
    )


@pytest.fixture
def aws(aws_servers: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The servers, with this process's environment pointing at the home region."""
    for key, value in aws_servers.environment.items():
        monkeypatch.setenv(key, value)
    return aws_servers


@pytest.fixture
def bucket(aws: Aws) -> str:
    """A fresh bucket in the home region; its s3:// URL."""
    import boto3

    name = f"taxidask-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def pair(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A fresh bucket in each region behind a link that can be cut, in a process that has not seen a region dark."""
    import boto3
    from links import Link
    from replica import Pair

    from taxidask.storage import regions

    monkeypatch.setattr(regions, "_process", regions.Breakers())
    name = f"taxidask-{uuid.uuid4().hex[:12]}"
    for region, bucket in (("us-east-1", name), ("us-west-2", f"{name}-west")):
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        boto3.client("s3", endpoint_url=aws.s3[region], region_name=region).create_bucket(Bucket=bucket, **where)
    pair = Pair(name, Link(aws.s3["us-east-1"]), Link(aws.s3["us-west-2"]), aws.root)
    if not pair.folder("west").is_dir():
        pytest.skip(f"needs the folder of the S3 servers' objects, which is not at {aws.root}")
    yield pair
    pair.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of a size, like ``64k``, to be filled."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root can mount the small disk this test fills")
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True
        ).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two workers of one thread each, for the tests of one module."""
    import taxidask as td
    from taxidask.settings import Settings

    with td.connect(Settings(workers=2, worker_memory="1GiB")) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("TAXIDASK_")]:
        monkeypatch.delenv(key)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # told to stop, each does what a process of its own does: a server of an earlier test may have taken that over
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for mark in item.iter_markers("program"):
        if shutil.which(mark.args[0]) is None:
            pytest.skip(f"needs the program {mark.args[0]}, which is not here")


def pytest_configure(config: pytest.Config) -> None:
    """At the end of a session, fail it for AWS calls of the package that no role in k8s/aws allows."""
    if SHARED.is_dir() and not hasattr(config, "workerinput"):
        from aws_rights import Rights

        config.pluginmanager.register(Rights(), "aws-rights")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that two processes end at about the same time."""
    longest = ("test_chaos", "test_lake_kill", "test_driver_killed", "test_app_walk")
    items.sort(key=lambda item: not any(name in item.nodeid for name in longest))

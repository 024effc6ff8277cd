"""What the tests themselves do about AWS calls: note the package's, and fail a session for one that no role allows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aws_calls
import boto3
import pytest
from aws_calls import Call, actions
from aws_rights import ROLES, Rights, refused

from taxidask.storage import Storage


def _call(action: str, operation: str = "") -> Call:
    return Call(action, operation or action, "arn:aws:s3:::bucket/key", "tests/test_a.py::test_b", 1)


@pytest.fixture
def poorer(tmp_path: Path) -> Path:
    """The roles, but that none may delete objects or describe tables."""
    taken = ("s3:DeleteObject", "dynamodb:DescribeTable")
    lines = [line for line in ROLES.read_text().splitlines(keepends=True) if not line.strip().endswith(taken)]
    path = tmp_path / "roles.yaml"
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    ("operation", "params", "needed"),
    [
        ("s3:GetObject", {}, ["s3:GetObject"]),
        ("s3:GetObject", {"VersionId": "1"}, ["s3:GetObjectVersion"]),
        ("s3:HeadObject", {}, ["s3:GetObject"]),
        ("s3:HeadBucket", {}, ["s3:ListBucket"]),
        ("s3:ListObjectsV2", {}, ["s3:ListBucket"]),
        ("s3:UploadPart", {}, ["s3:PutObject"]),
        ("s3:AbortMultipartUpload", {}, ["s3:AbortMultipartUpload"]),
        ("s3:PutObject", {"IfNoneMatch": "*"}, ["s3:PutObject"]),
        ("s3:PutObject", {"IfMatch": "1"}, ["s3:PutObject", "s3:GetObject"]),
        ("dynamodb:BatchWriteItem", {}, ["dynamodb:BatchWriteItem"]),
        (
            "dynamodb:TransactWriteItems",
            {"TransactItems": [{"Put": {}}, {"ConditionCheck": {}}, {"Put": {}}]},
            ["dynamodb:ConditionCheckItem", "dynamodb:PutItem"],
        ),
    ],
)
def test_actions_of_an_operation(operation: str, params: dict[str, Any], needed: list[str]) -> None:
    assert actions(operation, params) == needed


def test_a_call_that_no_role_allows_is_named(poorer: Path) -> None:
    delete = _call("s3:DeleteObject")
    assert refused([delete]) == []
    assert refused([delete, delete], poorer) == [
        "s3:DeleteObject on arn:aws:s3:::bucket/key, called in tests/test_a.py::test_b"
    ]
    assert refused(
        [_call("dynamodb:DeleteTable"), _call("s3:ListAllMyBuckets", "s3:ListBuckets"), _call("s3:GetObject")]
    ) == [
        "dynamodb:DeleteTable on arn:aws:s3:::bucket/key, called in tests/test_a.py::test_b",
        "s3:ListAllMyBuckets (for s3:ListBuckets) on arn:aws:s3:::bucket/key, called in tests/test_a.py::test_b",
    ]


def test_installing_and_asking_who_one_is_needs_no_role() -> None:
    assert refused([_call("dynamodb:CreateTable"), _call("sts:GetCallerIdentity")]) == []


@pytest.fixture
def heard() -> Iterator[list[str]]:
    operations: list[str] = []

    def listen(calls: list[Call]) -> None:
        operations.extend(call.operation for call in calls)

    aws_calls.listeners.append(listen)
    yield operations
    aws_calls.listeners.remove(listen)


def test_the_package_s_calls_are_noted_and_those_of_tests_are_not(bucket: str, heard: list[str]) -> None:
    name = bucket.removeprefix("s3://")
    client = boto3.client("s3", region_name="us-east-1")
    client.put_object(Bucket=name, Key="a", Body=b"")
    with ThreadPoolExecutor(1) as pool:  # no caller to be seen there
        pool.submit(client.delete_object, Bucket=name, Key="a").result()
    client.close()
    assert heard == []
    storage = Storage()
    storage.write(f"{bucket}/b", b"two")
    storage.read(f"{bucket}/b", 1)
    assert heard == ["s3:PutObject", "s3:GetObject"]


CONFTEST = """
from pathlib import Path
from aws_rights import Rights

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Rights(Path({roles!r})))
"""
TESTS = """
import subprocess, sys
import pytest
from taxidask import open_store
from taxidask.errors import StoreError

def test_allowed():
    with pytest.raises(StoreError):
        open_store("dynamodb://table").list_runs()

def test_in_a_process():
    code = "import taxidask; taxidask.open_store('dynamodb://table').create()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode
"""


def test_a_session_fails(tmp_path: Path, poorer: Path) -> None:
    """Calls are noted in other processes, too: in those of pytest-xdist and in those that tests start."""
    (tmp_path / "conftest.py").write_text(CONFTEST.format(roles=str(poorer)))
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
    folders = [aws_calls.TESTS, str(ROLES.parents[2]), environment.get("PYTHONPATH", "")]
    environment |= {  # without keys no request is sent, but noted it is
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    table = f"arn:aws:dynamodb:us-east-1:{aws_calls.ACCOUNT}:table/table"
    assert f"dynamodb:DescribeTable on {table}, called in test_it.py::test_in_a_process\n" in ended.stdout
    assert "dynamodb:Query" not in ended.stdout
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED


def test_nothing_is_left_behind() -> None:
    before = dict(os.environ)
    rights = Rights()
    assert os.environ[aws_calls.FILE] != before.get(aws_calls.FILE)
    folder = Path(os.environ[aws_calls.FILE]).parent
    assert folder.is_dir()
    rights.pytest_unconfigure()
    assert dict(os.environ) == before
    assert not folder.exists()

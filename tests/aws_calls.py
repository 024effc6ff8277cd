"""Notes every AWS call that the package makes, in this process and in those it starts.

`install` wraps the one method of boto3's and aiobotocore's clients that every call goes through, when these are
imported; each kind of call becomes a line of the file that the environment names. Only the standard library is imported
here: processes that tests start do this, too, whatever they look at.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ACCOUNT = "111122223333"  # the account of AWS's own examples
FILE = "TESTS_AWS_CALLS"  # environment variable: where calls are noted
TESTS = str(Path(__file__).resolve().parent) + os.sep

# Operations without an action of the same name (Service Authorization Reference of S3, DynamoDB and SQS).
_ACTIONS = {
    "s3:CompleteMultipartUpload": ["s3:PutObject"],
    "s3:CopyObject": ["s3:GetObject", "s3:PutObject"],
    "s3:CreateMultipartUpload": ["s3:PutObject"],
    "s3:DeleteObjects": ["s3:DeleteObject"],
    "s3:HeadBucket": ["s3:ListBucket"],
    "s3:HeadObject": ["s3:GetObject"],
    "s3:ListBuckets": ["s3:ListAllMyBuckets"],
    "s3:ListMultipartUploads": ["s3:ListBucketMultipartUploads"],
    "s3:ListObjectVersions": ["s3:ListBucketVersions"],
    "s3:ListObjects": ["s3:ListBucket"],
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:ListParts": ["s3:ListMultipartUploadParts"],
    "s3:UploadPart": ["s3:PutObject"],
    "s3:UploadPartCopy": ["s3:GetObject", "s3:PutObject"],
    "sqs:DeleteMessageBatch": ["sqs:DeleteMessage"],
}
# Operations on one version of an object have actions of their own.
_VERSIONED = {
    "s3:GetObject": ["s3:GetObjectVersion"],
    "s3:HeadObject": ["s3:GetObjectVersion"],
    "s3:DeleteObject": ["s3:DeleteObjectVersion"],
}
_TRANSACTED = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem", "Update": "UpdateItem",
               "Delete": "DeleteItem", "Get": "GetItem"}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One IAM action that a call needs."""

    action: str
    operation: str
    resource: str
    test: str
    process: int


Listener = Callable[[list[Call]], None]
listeners: list[Listener] = []
_noted: set[tuple[str, ...]] = set()


def actions(operation: str, params: dict[str, Any]) -> list[str]:
    """IAM actions that AWS asks for before it does an operation, "service:Operation"."""
    if operation in ("dynamodb:TransactWriteItems", "dynamodb:TransactGetItems"):
        kinds = {kind for item in params["TransactItems"] for kind in item}
        return sorted(f"dynamodb:{_TRANSACTED[kind]}" for kind in kinds)
    if "VersionId" in params and operation in _VERSIONED:
        return _VERSIONED[operation]
    needed = _ACTIONS.get(operation, [operation])
    if "IfMatch" in params and operation in ("s3:PutObject", "s3:CompleteMultipartUpload"):
        return [*needed, "s3:GetObject"]  # a write over a given version looks at that version
    return needed


def _resource(service: str, params: dict[str, Any], region: str) -> str:
    if service == "s3" and "Bucket" in params:
        return f"arn:aws:s3:::{params['Bucket']}" + (f"/{params['Key']}" if "Key" in params else "")
    if service == "dynamodb":
        entries = [entry for item in params.get("TransactItems", ()) for entry in item.values()]
        tables = {entry["TableName"] for entry in [params, *entries] if "TableName" in entry}
        tables |= set(params.get("RequestItems", ()))
        return ",".join(f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}" for table in sorted(tables))
    if service == "sqs" and "QueueUrl" in params:
        return f"arn:aws:sqs:{region}:{ACCOUNT}:{params['QueueUrl'].rpartition('/')[2]}"
    return ""


def _by_tests(frame: FrameType | None) -> bool | None:
    """Whether tests or the package are the nearer of the callers; None where neither is, as in s3fs's own thread."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(TESTS) and file != __file__:  # a call may be made within another
            return True
        inside = frame.f_globals.get("__package__") or frame.f_globals.get("__name__") or ""
        if inside.partition(".")[0] == "taxidask":
            return False
        frame = frame.f_back
    return None


def _note(client: Any, name: str, params: dict[str, Any], caller: FrameType) -> None:
    by_tests = _by_tests(caller)
    # What cannot be told is the package's: a call too many is seen at once, one that is missing never.
    if by_tests or (by_tests is None and getattr(client, "_made_by_tests", False)):
        return
    service = client.meta.service_model.service_name
    operation = f"{service}:{name}"
    resource = _resource(service, params, client.meta.region_name)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    calls = [Call(action, operation, resource, test, os.getpid()) for action in actions(operation, params)]
    for listener in listeners:
        listener(calls)
    folder = "/".join(resource.split("/")[:2])  # policies go no further down than the first folder of a bucket
    key = (operation, folder, *(call.action for call in calls))
    if key in _noted or FILE not in os.environ:
        return
    _noted.add(key)
    lines = "".join(json.dumps(asdict(call)) + "\n" for call in calls)
    with contextlib.suppress(OSError):  # the session has ended before this process
        # one write at the end of the file: several processes do this, and some of them get killed
        file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, lines.encode())
        finally:
            os.close(file)


def _wrap_boto(module: Any) -> None:
    call, create = module.BaseClient._make_api_call, module.ClientCreator.create_client

    def noted(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        _note(self, operation_name, api_params, sys._getframe(1))
        return call(self, operation_name, api_params)

    def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
        client = create(self, *args, **kwargs)
        client._made_by_tests = _by_tests(sys._getframe(1))
        return client

    module.BaseClient._make_api_call, module.ClientCreator.create_client = noted, marked


def _wrap_aiobotocore(module: Any) -> None:
    call = module.AioBaseClient._make_api_call

    async def noted(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        _note(self, operation_name, api_params, sys._getframe(1))
        return await call(self, operation_name, api_params)

    module.AioBaseClient._make_api_call = noted


_WRAPPED: dict[str, Callable[[Any], None]] = {"botocore.client": _wrap_boto, "aiobotocore.client": _wrap_aiobotocore}


class _Imports:
    """Wraps the clients when they are imported: many processes never do."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _WRAPPED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: Any) -> None:
            execute(module)
            _WRAPPED[name](module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Note calls from now on; nothing happens the second time."""
    if any(getattr(finder, "__name__", "") == _Imports.__name__ for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Imports)
    for name in _WRAPPED:
        if name in sys.modules:
            _WRAPPED[name](sys.modules[name])


def read(file: Path) -> list[Call]:
    """What was noted in a file."""
    return [Call(**json.loads(line)) for line in file.read_text().splitlines()]

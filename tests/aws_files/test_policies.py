"""What pods may do on AWS, beside what the package does there.

`calls` runs the package against real servers and notes every request by the pod that would make it; the roles must
allow each on what it touches, and must allow nothing that is never asked for.
"""

from __future__ import annotations

import contextvars
import inspect
import json
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from cloudformation import ACCOUNT, Template, lines, listed

import taxidask as td
from taxidask import _storage_backends, doctor
from taxidask.app.data import cell_names, read_curves, read_snapshot
from taxidask.compute.executors import ThreadExecutor
from taxidask.results import dynamodb
from taxidask.runs import pipeline
from taxidask.runs.stages import try_report
from taxidask.storage import default_storage, join

TEMPLATES = ["bucket.yaml", "home.yaml", "platform.yaml", "roles.yaml"]

# operations whose action has another name
ACTIONS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
# calls of no pod, each with its reason
NOT_FOR_PODS = {
    "dynamodb:CreateTable": "home.yaml makes the table; `taxidask store create` is for tables without it",
    "dynamodb:DescribeTimeToLive": "as CreateTable",
    "dynamodb:UpdateTimeToLive": "as CreateTable",
    "s3:CreateBucket": "bucket.yaml makes the buckets",
}
# rights that no test makes use of, each with its reason
UNUSED = {
    "s3:AbortMultipartUpload": "s3fs takes an upload back whose parts failed",
}


# --- wildcards -------------------------------------------------------------------------------------------------------


def _wild(folder: Path, name: str) -> Iterator[Any]:
    for keys, line in lines(folder / name):
        if keys and keys[-1] in ("Action", "Resource", "Principal", "AWS") and re.search(r"[*?]", line.value):
            yield line


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_wildcard_has_a_reason_on_its_line(folder: Path, name: str) -> None:
    bare = [line for line in _wild(folder, name) if not re.search(r"  # \w.{10,}", line.line)]
    assert not bare, "\n".join(f"{name}:{line.number}: {line.line.strip()}" for line in bare)


@pytest.mark.parametrize("name", TEMPLATES)
def test_statements_name_what_they_allow(folder: Path, name: str) -> None:
    for owner, statement in Template(folder / name, OtherRegion="us-west-2", OidcIssuer="oidc/id/1").statements():
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), (owner, statement)
        if statement["Effect"] == "Allow":
            assert not [action for action in listed(statement["Action"]) if "*" in action], (owner, statement)


def test_a_wildcard_without_a_reason_is_found(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "Statement:\n"
        "  - Effect: Allow\n"
        "    Action: [s3:GetObject, s3:Put*]\n"
        '    Resource: !Sub "${Bucket.Arn}/*"\n'
        '    Principal: {AWS: "*"}  # everybody, for a reason given\n'
    )
    assert [line.number for line in _wild(tmp_path, "bad.yaml")] == [3, 4, 5]
    with pytest.raises(AssertionError, match=r"bad\.yaml:3"):
        test_every_wildcard_has_a_reason_on_its_line(tmp_path, "bad.yaml")


def test_each_role_is_taken_on_by_its_own_service_account_only(folder: Path) -> None:
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1")
    assert set(roles.resources("AWS::IAM::Role")) == {"Driver", "Worker", "App"}
    for name, statement in roles.statements():
        if "sts:AssumeRoleWithWebIdentity" in listed(statement["Action"]):
            assert statement["Condition"]["StringEquals"] == {
                "oidc.example/id/1:sub": f"system:serviceaccount:taxidask:{name.lower()}",
                "oidc.example/id/1:aud": "sts.amazonaws.com",
            }
            assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example/id/1"}


# --- calls -----------------------------------------------------------------------------------------------------------

_pod: contextvars.ContextVar[str] = contextvars.ContextVar("pod", default="Driver")


@dataclass
class Calls:
    """Requests by pod: action and ARN."""

    made: set[tuple[str, str, str]] = field(default_factory=set)

    def note(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        service = model.service_model.service_name
        operation = f"{service}:{model.name}"
        self.made.add((_pod.get(), operation, context["taxidask_resource"]))

    @staticmethod
    def look(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """What a request is about, while its parameters still have their names."""
        if "Bucket" in params:
            about = f"arn:aws:s3:::{params['Bucket']}" + (f"/{params['Key']}" if "Key" in params else "")
        else:
            tables = [params["TableName"]] if "TableName" in params else list(params["RequestItems"])
            (table,) = tables
            about = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{table}"
        context["taxidask_resource"] = about


def _as(pod: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any, **kwargs: Any) -> Any:
        token = _pod.set(pod)
        try:
            return function(*args, **kwargs)
        finally:
            _pod.reset(token)

    inside.__name__ = getattr(function, "__name__", "task")
    return inside


class Workers(ThreadExecutor):
    """Threads whose requests count as a worker pod's."""

    def map_unordered(self, fn: Any, items: Any, **options: Any) -> Any:
        return super().map_unordered(_as("Worker", fn), items, **options)

    def submit(self, fn: Any, *args: Any, **options: Any) -> Any:
        return super().submit(_as("Worker", fn), *args, **options)


@pytest.fixture(scope="module")
def calls(aws_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    """A run from S3 to DynamoDB and all that is read afterwards."""
    calls = Calls()
    table, bucket = f"roles-{uuid.uuid4().hex}", f"taxidask-{ACCOUNT}-us-east-1-{uuid.uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("roles"))
        for key, value in aws_servers.environment.items():
            patch.setenv(key, value)
        s3, tables = (boto3.client(name, region_name="us-east-1") for name in ("s3", "dynamodb"))
        s3.create_bucket(Bucket=bucket)
        # the table as home.yaml makes it
        tables.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        _record(patch, calls)
        try:
            _everything(patch, f"s3://{bucket}", f"dynamodb://{table}?write_units=100000")
            calls.made = {
                (pod, action, about.replace(bucket, f"taxidask-{ACCOUNT}-us-east-1").replace(table, "taxidask"))
                for pod, action, about in calls.made
            }
            yield calls
        finally:
            tables.delete_table(TableName=table)
            s3.close()
            tables.close()


def _record(patch: pytest.MonkeyPatch, calls: Calls) -> None:
    made = botocore.session.Session.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.register("before-parameter-build", calls.look)
        self.register("before-call", calls.note)

    patch.setattr(botocore.session.Session, "__init__", init)  # aiobotocore's session is one, too
    patch.setattr(_storage_backends, "_S3_OF_PROCESS", {})
    started = ThreadPoolExecutor.submit

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return started(self, contextvars.copy_context().run, fn, *args, **kwargs)  # threads are of the pod they are in

    patch.setattr(ThreadPoolExecutor, "submit", submit)


def _everything(patch: pytest.MonkeyPatch, bucket: str, table: str) -> None:
    storage = default_storage()
    for file in td.make_sample("trips", start="2015-03", trips_per_month=5_000, faults=0.02):
        _as("Installer", storage.write)(join(bucket, "trips", Path(file).name), Path(file).read_bytes())
    zones = join(bucket, "trips", "zones.geojson")
    _as("Installer", storage.write)(zones, json.dumps(_quarters()).encode())
    report = join(bucket, "reports", "report.pdf")
    settings = td.Settings(
        # few cells and slots: what is computed does not matter here
        sources=[join(bucket, "trips", "*.csv")], lake=join(bucket, "lake"), store=table, report=report,
        space=zones, slot="4h", horizon=6,
    )  # fmt: skip
    for model in (td.DemandModel, td.FareModel):
        patch.setitem(model.__init__.__kwdefaults__, "rounds", 5)
    # its notebook runs in a process of its own, and reads what is read below
    patch.setattr(pipeline, "PIPELINE", tuple(stage for stage in pipeline.PIPELINE if stage.name != "report"))
    run = td.run(settings, client=Workers(2), progress=False)
    assert run.state == "done"
    try_report(report, storage)
    storage.write(report, b"%PDF")
    for check in (doctor._settings_sources, doctor._lake, doctor._store, doctor._report, doctor._regions):
        check(settings)
    _as("Worker", doctor._regions)(settings)
    _as("App", doctor._store)(settings)

    lake = td.Lake(settings.lake)
    lake.trips(limit=10)
    lake.rejects()
    lake.cube()
    lake.recount(space=td.Grid(2, 2, west=-74.3, south=40.5, east=-73.7, north=41.0), client=Workers(2))
    patch.setattr(_storage_backends, "WRITE_PART", 12 << 20)
    with pytest.raises(td.errors.StorageError):
        storage.stat(join(settings.lake, "nothing"))
    storage.write(join(settings.lake, "large"), bytes(13 << 20))
    storage.delete(join(settings.lake, "large"))

    _as("App", lambda: _look(settings.store))()


def _quarters() -> dict[str, Any]:
    """The city as four zones."""

    def zone(number: int, west: float, south: float) -> dict[str, Any]:
        ring = [[west, south], [west + 0.3, south], [west + 0.3, south + 0.25], [west, south + 0.25], [west, south]]
        return {"type": "Feature", "properties": {"LocationID": number},
                "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip

    corners = [(west, south) for west in (-74.3, -74.0) for south in (40.5, 40.75)]
    return {"type": "FeatureCollection", "features": [zone(n, *corner) for n, corner in enumerate(corners, 1)]}


def _look(url: str) -> None:
    """What the app's pages do."""
    store = td.open_store(url)
    store.check()
    latest = read_snapshot(store).latest
    for cell in cell_names(latest).values():
        assert len(read_curves(store, latest, cell).expected)


def action(operation: str) -> str:
    return ACTIONS.get(operation, operation)


def test_each_pod_may_do_what_it_does(folder: Path, calls: Calls) -> None:
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1")
    denied = sorted(
        f"{pod}: {action(operation)} on {about}"
        for pod, operation, about in calls.made
        if pod != "Installer" and not roles.allows(pod, action(operation), about)
    )
    assert not denied, "\n".join(denied)


def test_each_pod_may_do_the_same_in_the_other_region(folder: Path, calls: Calls) -> None:
    """When the home region is out."""
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1")
    there = {(pod, action(name), about.replace("us-east-1", "us-west-2")) for pod, name, about in calls.made}
    assert not [call for call in there if call[0] != "Installer" and not roles.allows(*call)]


def test_no_pod_may_do_what_it_never_does(folder: Path, calls: Calls) -> None:
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1")
    done = {(pod, action(operation)) for pod, operation, _ in calls.made}
    idle = sorted(
        f"{role}: {allowed}"
        for role, statement in roles.statements()
        if "Resource" in statement
        for allowed in listed(statement["Action"])
        if (role, allowed) not in done and allowed not in UNUSED
    )
    assert not idle, "\n".join(idle)


def test_every_call_in_the_source_was_made(calls: Calls) -> None:
    """A call that nobody recorded could not be missed above."""
    operations = {
        "s3": re.findall(r'call_s3\(\s*"(\w+)"', inspect.getsource(_storage_backends)),
        "dynamodb": re.findall(
            r'self\.(?:_raw|_call|_conditional)\(\s*"(\w+)"|client\.(describe_\w+)\(', inspect.getsource(dynamodb)
        ),
    }
    named = {
        f"{service}:" + "".join(word.capitalize() for word in "".join(name).split("_"))
        for service, names in operations.items()
        for name in names
    }
    assert len(named) >= 12
    assert named - {operation for _, operation, _ in calls.made} - set(NOT_FOR_PODS) == set()


def test_what_is_listed_as_not_for_pods_is_not_done_by_them(calls: Calls) -> None:
    done = {operation for pod, operation, _ in calls.made if pod != "Installer"}
    assert not done & set(NOT_FOR_PODS)

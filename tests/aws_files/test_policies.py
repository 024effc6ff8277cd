"""What pods may do on AWS, beside what the package does there.

`calls` runs the package against real servers and notes every request by the pod that would make it; the roles must
allow each on what it touches, and must allow nothing that is never asked for. What the rest of the tests call is held
against the roles at the end of the session, by aws_rights.py.
"""

from __future__ import annotations

import ast
import contextvars
import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aws_calls
import boto3
import botocore.session
import pytest
from aws_calls import ACCOUNT, Call
from aws_rights import FREE, NOT_FOR_PODS
from botocore import xform_name
from cloudformation import Template, lines, listed
from queues import FakeSqs

import taxidask as td
from taxidask import doctor, replicas
from taxidask.app import reportfile
from taxidask.app.quoting import load_fares
from taxidask.app.snapshot import cell_names, read_curves, read_snapshot
from taxidask.asking import add_trip, ask_trips, load_file, loading, question
from taxidask.compute.executors import ThreadExecutor
from taxidask.runs import watch
from taxidask.runs.ledger import open_run
from taxidask.runs.look import request_cancel
from taxidask.storage import backends, default_storage, join

TEMPLATES = ["bucket.yaml", "home.yaml", "platform.yaml", "roles.yaml"]

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
    """Requests by pod: action, operation and ARN."""

    made: set[tuple[str, str, str, str]] = field(default_factory=set)

    def note(self, calls: list[Call]) -> None:
        for call in calls:
            # a kernel of the report is a process of the driver's
            pod = _pod.get() if call.process == os.getpid() else "Driver"
            self.made.add((pod, call.action, call.operation, call.resource))

    def asked(self) -> set[tuple[str, str, str]]:
        """By pods: action and ARN."""
        return {
            (pod, action, about) for pod, action, _, about in self.made if pod != "Installer" and action not in FREE
        }

    def operations(self) -> set[str]:
        return {operation for pod, _, operation, _ in self.made if pod != "Installer"}


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

    dashboard_link = ""

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
        s3_west = boto3.client("s3", region_name="us-west-2", endpoint_url=aws_servers.s3["us-west-2"])
        west = boto3.client("dynamodb", region_name="us-west-2", endpoint_url=aws_servers.dynamodb["us-west-2"])
        s3.create_bucket(Bucket=bucket)
        there = bucket.replace("us-east-1", "us-west-2")
        s3_west.create_bucket(Bucket=there, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        # the table as home.yaml makes it
        for client in (tables, west):
            client.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
                BillingMode="PAY_PER_REQUEST",
            )
        _follow_threads(patch)
        aws_calls.listeners.append(calls.note)
        try:
            _everything(
                patch, f"s3://{bucket}", f"dynamodb://{table}?write_units=100000", tmp_path_factory.mktemp("irsa")
            )
            _as("Regions", _compare_regions)(f"s3://{bucket}/lake", f"s3://{there}/lake", table, aws_servers)
            calls.note(_of_processes())
            calls.made = {
                (
                    *made,
                    about.replace(bucket, f"taxidask-{ACCOUNT}-us-east-1")
                    .replace(there, f"taxidask-{ACCOUNT}-us-west-2")
                    .replace(table, "taxidask"),
                )
                for *made, about in calls.made
            }
            yield calls
        finally:
            aws_calls.listeners.remove(calls.note)
            for client in (tables, west):
                client.delete_table(TableName=table)
            for client in (s3, s3_west, tables, west):
                client.close()


def _follow_threads(patch: pytest.MonkeyPatch) -> None:
    """Threads are of the pod they are in."""
    started = ThreadPoolExecutor.submit

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return started(self, contextvars.copy_context().run, fn, *args, **kwargs)

    patch.setattr(ThreadPoolExecutor, "submit", submit)


def _of_processes() -> list[Call]:
    """What processes called that were started here."""
    here = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    noted = aws_calls.read(Path(os.environ[aws_calls.FILE]))
    found = [call for call in noted if call.test == here and call.process != os.getpid()]
    assert found, "the report's kernel calls"
    return found


class _Sts(BaseHTTPRequestHandler):
    """As much of STS as a pod with a role asks for."""

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["Action"][0]
        arn = f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/taxidask-driver/pod</Arn>"
        answers = {
            "AssumeRoleWithWebIdentity": "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey>"
            "<SessionToken>c</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>",
            "GetCallerIdentity": arn,
        }
        body = f"<{asked}Response><{asked}Result>{answers[asked]}</{asked}Result></{asked}Response>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _identities(settings: td.Settings, folder: Path) -> None:
    """Each pod asks who it is, with a role as its ServiceAccount gives it one."""
    (folder / "token").write_text("token")
    with HTTPServer(("127.0.0.1", 0), _Sts) as server, pytest.MonkeyPatch.context() as patch:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/taxidask-driver")
        patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
        try:
            for pod in ("Driver", "Worker", "App"):
                assert "assumed-role/taxidask-driver" in _as(pod, doctor._identity)(settings)
        finally:
            server.shutdown()
            thread.join()


def _everything(patch: pytest.MonkeyPatch, bucket: str, table: str, folder: Path) -> None:
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
    with pytest.MonkeyPatch.context() as once:
        once.setattr("taxidask.report.build", _stop)
        with pytest.raises(InterruptedError):
            td.run(settings, client=Workers(2), progress=False)
    run = td.run(settings, client=Workers(2), resume="last", progress=False)
    assert run.state == "done"
    assert td.run(settings, client=Workers(2), resume=run.id, progress=False).id == run.id
    with FakeSqs() as sqs:
        sqs.send("an event")
        watch(settings.model_copy(update={"queue": sqs.url}), every="1h", looks=2, client=Workers(2), progress=False)
    _identities(settings, folder)
    for check in (doctor._settings_sources, doctor._lake, doctor._store, doctor._report, doctor._regions):
        check(settings)
    _as("Worker", doctor._regions)(settings)
    _as("App", doctor._store)(settings)

    _as("App", lambda: _look(settings))()
    _as("Operator", lambda: _write(patch, settings))()
    lake = td.Lake(settings.lake)
    lake.trips(limit=10)
    lake.rejects()
    lake.cube()
    lake.recount(space=td.Grid(2, 2, west=-74.3, south=40.5, east=-73.7, north=41.0), client=Workers(2))
    patch.setattr(backends, "WRITE_PART", 12 << 20)
    with pytest.raises(td.errors.StorageError):
        storage.stat(join(settings.lake, "nothing"))
    storage.write(join(settings.lake, "large"), bytes(13 << 20))
    storage.delete(join(settings.lake, "large"))


def _compare_regions(lake: str, there: str, table: str, aws: Any) -> None:
    """What `taxidask regions --repair` does."""
    regions = [
        {"name": name, "lake": url, "s3_endpoint": aws.s3[name], "dynamodb_endpoint": aws.dynamodb[name]}
        for name, url in (("us-east-1", lake), ("us-west-2", there))
    ]
    settings = td.Settings(lake=lake, store=f"dynamodb://{table}", regions=regions)
    places = replicas.places_of(settings)
    assert all(state.reachable for state in replicas.look(places, settings))
    replicas.measure_lag(places, wait=0.1)
    assert replicas.repair(places, replicas.compare(places), young=0).left == []
    manifest = next(stat.url for stat in places[1].storage.list(join(there, "manifests"), depth=1))
    places[1].storage.replace(
        manifest, places[1].storage.read(manifest) + b"\n", places[1].storage.stat(manifest).version
    )
    assert len(replicas.compare(places).left) == 1
    for place in places:
        place.table.close()


def _stop(**_: Any) -> None:
    raise InterruptedError


def _quarters() -> dict[str, Any]:
    """The city as four zones."""

    def zone(number: int, west: float, south: float) -> dict[str, Any]:
        ring = [[west, south], [west + 0.3, south], [west + 0.3, south + 0.25], [west, south + 0.25], [west, south]]
        return {"type": "Feature", "properties": {"LocationID": number},
                "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip

    corners = [(west, south) for west in (-74.3, -74.0) for south in (40.5, 40.75)]
    return {"type": "FeatureCollection", "features": [zone(n, *corner) for n, corner in enumerate(corners, 1)]}


def _look(settings: td.Settings) -> None:
    """What the app's pages do."""
    store, lake = td.open_store(settings.store), td.Lake(settings.lake)
    store.check()
    latest = read_snapshot(store).latest
    for cell in cell_names(latest).values():
        assert len(read_curves(store, latest, cell).expected)
    assert len(load_fares([lake.url]).names)
    assert ask_trips(question(fare="20.."), lake=lake, store=store).count
    assert len(lake.rejects(limit=10))
    assert reportfile.read(store).startswith(b"%PDF")


def _write(patch: pytest.MonkeyPatch, settings: td.Settings) -> None:
    """What the app's operators do."""
    store, lake = td.open_store(settings.store), td.Lake(settings.lake)
    trip = {
        "pickup_datetime": "2015-03-03 18:30", "dropoff_datetime": "2015-03-03 18:45", "trip_distance": "2.5",
        "fare_amount": "12", "passenger_count": "1", "pickup_location_id": "1", "dropoff_location_id": "2",
    }  # fmt: skip
    assert add_trip(trip, store=store, who="ann")[1]
    files = td.make_sample("more", start="2015-04", months=2, trips_per_month=300, faults=0.02)
    for file, most in zip(files, (50_000, 10), strict=True):  # into the store, into the lake
        patch.setattr(loading, "MOST_ROWS", most)
        assert load_file(file, store=store, lake=lake, who="ann").kept
    item, _ = open_run(store, settings.model_copy(update={"slot": "6h"}), None, lambda _: None)
    request_cancel(store, item["id"])


def _allows(folder: Path, pod: str, action: str, on: str) -> bool:
    """Whether a pod's role lets it; the app's has its operators' rights where it was made with them."""
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1", AppWrites=str(pod == "Operator").lower())
    return roles.allows("App" if pod == "Operator" else pod, action, on)


def test_each_pod_may_do_what_it_does(folder: Path, calls: Calls) -> None:
    denied = sorted(
        f"{pod}: {action} on {on}" for pod, action, on in calls.asked() if not _allows(folder, pod, action, on)
    )
    assert not denied, "\n".join(denied)


def test_each_pod_may_do_the_same_in_the_other_region(folder: Path, calls: Calls) -> None:
    """When the home region is out."""
    there = {(pod, action, about.replace("us-east-1", "us-west-2")) for pod, action, about in calls.asked()}
    assert not [call for call in there if not _allows(folder, *call)]


def test_no_pod_may_do_what_it_never_does(folder: Path, calls: Calls) -> None:
    done = {(pod, action) for pod, action, _ in calls.asked()}
    as_app = {("App", action) for pod, action in done if pod == "Operator"}
    idle = sorted(
        f"{role}: {allowed} (AppWrites={writes})"
        for writes, may in (("false", done), ("true", done | as_app))
        for role, statement in Template(folder / "roles.yaml", OidcIssuer="o/1", AppWrites=writes).statements()
        if "Resource" in statement
        for allowed in listed(statement["Action"])
        if (role, allowed) not in may and allowed not in UNUSED
    )
    assert not idle, "\n".join(idle)


def test_the_app_writes_nothing_unless_its_operators_sign_in(folder: Path) -> None:
    roles = Template(folder / "roles.yaml", OidcIssuer="oidc.example/id/1")
    actions = {
        a for name, one in roles.statements() if name == "App" and "Resource" in one for a in listed(one["Action"])
    }
    assert actions == {"s3:ListBucket", "s3:GetObject", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query"}


def _in_source() -> set[str]:
    """Operations that the package's source names, anywhere: as an attribute or in quotes."""
    session = botocore.session.get_session()
    known = {
        xform_name(operation): f"{service}:{operation}"
        for service in ("s3", "dynamodb", "sqs", "sts")
        for operation in session.get_service_model(service).operation_names
    }
    found = set()
    for file in Path(td.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in known:
                found.add(node.value)
            elif isinstance(node, ast.Attribute) and "_" in node.attr and node.attr in known:  # not DataFrame.query
                found.add(node.attr)
    return {known[name] for name in found}


def test_every_call_in_the_source_was_made(calls: Calls) -> None:
    """A call that no pod made here could not be missed above."""
    named = _in_source()
    assert len(named) >= 14
    assert named - calls.operations() - set(NOT_FOR_PODS) == set()


def test_what_is_listed_as_not_for_pods_is_not_done_by_them(calls: Calls) -> None:
    assert not calls.operations() & set(NOT_FOR_PODS)
    assert set(FREE) <= calls.operations()

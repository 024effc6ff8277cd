"""The Deployment `watch`, switched on: a file that comes is taken in, and a pod that is told to go ends its run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from kube import Kubectl, until

import taxidask as td

pytestmark = pytest.mark.timeout(900)

HELD = "tests.taxidask/look"  # so that a pod that has ended is still there to be looked at
LABEL = "app.kubernetes.io/name=watch"


@pytest.fixture
def place(aws: Any, folder: str) -> Iterator[dict[str, str]]:
    """Where a watch looks and writes, of this test alone."""
    store = f"dynamodb://watch-{uuid.uuid4().hex[:8]}"
    tables = [boto3.client("dynamodb", region_name=name, endpoint_url=url) for name, url in aws.dynamodb.items()]
    for region, endpoint in aws.dynamodb.items():
        td.open_store(store, region=region, endpoint=endpoint).create()
    own = {"sources": "trips/", "lake": "lake", "report": "report.pdf", "space": "zones.geojson"}
    yield {"store": store, **{name: f"{folder}/{path}" for name, path in own.items()}}
    for client in tables:
        client.delete_table(TableName=store.removeprefix("dynamodb://"))


@pytest.fixture
def watching(cluster: Kubectl, place: dict[str, str]) -> Iterator[Kubectl]:
    """The Deployment as it is applied, one pod instead of none, with settings of its own."""
    before = cluster.get("deployment", "watch")["spec"]
    assert before["replicas"] == 0
    args = before["template"]["spec"]["containers"][0]["args"]
    own = {**place, "slot": "4h", "horizon": "6"}
    more = [word for name, value in own.items() for word in (f"--{name}", value)]
    change(cluster, [*args[: args.index("--every")], "--every", "5s", *more])
    cluster("scale", "deployment/watch", "--replicas=1")
    try:
        yield cluster
    finally:
        cluster("scale", "deployment/watch", "--replicas=0")
        for one in cluster.get("pods", "-l", LABEL)["items"]:
            release(cluster, one["metadata"]["name"])
        change(cluster, args)


def change(kubectl: Kubectl, args: list[str]) -> None:
    path = "/spec/template/spec/containers/0/args"
    kubectl(
        "patch",
        "deployment",
        "watch",
        "--type=json",
        "-p",
        json.dumps([{"op": "replace", "path": path, "value": args}]),
    )


def hold(kubectl: Kubectl, pod: str) -> None:
    kubectl("patch", "pod", pod, "-p", json.dumps({"metadata": {"finalizers": [HELD]}}))


def release(kubectl: Kubectl, pod: str) -> None:
    kubectl("patch", "pod", pod, "-p", json.dumps({"metadata": {"finalizers": None}}), check=False)


def state(kubectl: Kubectl, pod: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.get("pod", pod)["status"]["containerStatuses"][0]["state"]
    return found


def test_a_file_that_comes_is_taken_in_and_the_watch_stops_within_a_run(
    watching: Kubectl, place: dict[str, str], tmp_path: Path
) -> None:
    s3, store = boto3.client("s3"), td.open_store(place["store"])
    months = [Path(one) for one in td.make_sample(tmp_path, start="2015-03", months=2, trips_per_month=4_000)]

    def come(path: Path) -> None:
        bucket, _, key = f"{place['sources']}{path.name}".removeprefix("s3://").partition("/")
        s3.upload_file(str(path), bucket, key)

    def said() -> str:
        return str(watching.run("logs", "deployment/watch", "--tail=60").stdout)

    def wait(condition: Any, what: str, seconds: float) -> Any:
        try:
            return until(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{said()}") from None

    wait(lambda: "no file of trips yet" in said(), "the first look", 120)
    [pod] = watching.get("pods", "-l", LABEL)["items"]
    name = pod["metadata"]["name"]
    hold(watching, name)
    log = watching.start("logs", "--follow", name)

    come(months[0])
    wait(lambda: [one["state"] for one in store.list_runs()] == ["done"], "the run with the first file", 300)
    latest = store.get_latest()
    assert latest["lake"] == place["lake"]
    assert td.Lake(place["lake"]).sources()["rows"].tolist() == [4_000]
    assert len(store.get_total_forecast(latest["space"], slot=latest["slot"])) == 2 * 6

    come(months[1])
    wait(lambda: len(store.list_runs()) == 2, "the run with the second file", 120)
    watching("scale", "deployment/watch", "--replicas=0")
    ended = wait(lambda: state(watching, name).get("terminated"), "the pod to end", 90)
    words, _ = log.communicate(timeout=30)
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed"), words
    assert words.endswith("the watch has ended\n")
    assert store.list_runs()[0]["state"] == "interrupted"
    [told] = store.list_watches()
    assert told["state"] == "stopped"
    wait(lambda: watching.get("daskclusters")["items"] == [], "the workers of its run to go", 60)

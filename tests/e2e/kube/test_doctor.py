"""`taxidask doctor` inside pods: says whether that pod can do its work, and what to do if not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube import Drivers, Kubectl, pod, until

LAKES = ("us-east-1: s3://taxidask/lake", "us-west-2: s3://taxidask-west/lake")


def findings(said: str) -> dict[str, dict[str, Any]]:
    found, _ = json.JSONDecoder().raw_decode(said, said.index("[{"))  # the log holds what went to stderr too
    return {finding["subject"]: finding for finding in found}


def driver(cluster: Kubectl, name: str, *options: str) -> dict[str, dict[str, Any]]:
    """What it says in a pod made like that of the scheduled run."""
    template = cluster.get("cronjob", "run")["spec"]["jobTemplate"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    container["args"] = ["taxidask", "doctor", "--json", *options]
    template["metadata"] = {"name": name, "labels": template["metadata"]["labels"] | {"tests": "e2e"}}
    cluster("delete", "pod", name, "--ignore-not-found")
    cluster.apply({"apiVersion": "v1", "kind": "Pod", **template})
    phase = ("get", "pod", name, "-o", "jsonpath={.status.phase}")
    until(lambda: cluster(*phase) in ("Succeeded", "Failed"), f"{name} to end", 90)
    said = cluster("logs", name)
    cluster("delete", "pod", name, "--wait=false")
    return findings(said)


def test_driver_can_do_all_of_it(cluster: Kubectl) -> None:
    found = driver(cluster, "doctor-driver")
    assert [f for f in found.values() if not f["ok"]] == []
    assert {"pod", "identity", "kernels", "s3", "sources", "lake", "store", "report", "dask"} <= set(found)
    assert found["pod"]["found"].startswith("driver ")
    assert found["s3"]["found"] == f"written, read and deleted in {', '.join(LAKES)}"
    assert "conditions for starting a cluster hold" in found["dask"]["found"]


def test_each_thing_that_is_wrong_has_its_remedy(cluster: Kubectl) -> None:
    regions = cluster.get("configmap", "taxidask")["data"]["TAXIDASK_REGIONS"]
    found = driver(
        cluster, "doctor-broken", "--regions", regions.replace('"s3://taxidask":', '"s3://no-such-bucket":'),
        "--lake", "s3://no-such-bucket/lake", "--store", "dynamodb://no-such-table", "--image", "taxidask:latest",
    )  # fmt: skip
    wrong = {name: finding for name, finding in found.items() if not finding["ok"]}
    assert set(wrong) == {"s3", "lake", "store", "dask"}
    assert all(finding["remedy"] for finding in wrong.values())
    assert "no-such-bucket" in wrong["s3"]["found"]
    assert wrong["s3"]["found"].endswith(f"written, read and deleted in {LAKES[1]}"), "the other region is tried, too"
    assert "no-such-table" in wrong["store"]["found"]
    assert "latest" in wrong["dask"]["found"]


@pytest.mark.parametrize(("place", "subject"), [("deploy/app", "store"), ("deploy/dask-operator", "clusters")])
def test_running_pods_look_at_their_own_work_only(cluster: Kubectl, place: str, subject: str) -> None:
    found = findings(cluster("exec", place, "--", "taxidask", "doctor", "--json"))
    assert found[subject]["ok"], found[subject]
    assert not {"lake", "report", "dask"} & set(found)


@pytest.mark.timeout(420)
def test_pods_of_a_running_cluster_can_do_their_work(drive: Drivers, cluster: Kubectl, name: str) -> None:
    told = drive.first(
        drive.start(f"""
large = dict(worker_cpus=0.5, worker_memory="1GiB", scheduler_cpus=0.4, scheduler_memory="768MiB")
with td.connect(settings(cluster_name={name!r}, **large), timeout=120) as client:
    pods = [pod["metadata"] for pod in client.cluster.pods()]
    tell(**{{pod["labels"]["dask.org/component"]: pod["name"] for pod in pods}})
    time.sleep(600)
""")
    )
    for component in ("worker", "scheduler"):
        said = cluster("exec", told[component], "--", "taxidask", "doctor", "--json", seconds=120)
        found = findings(said)
        assert [f for f in found.values() if not f["ok"]] == []
        assert found["pod"]["found"].startswith(f"{component} ")
        assert found["scheduler"]["found"].endswith("8786 answers; 1 worker")
        own = {"identity", "kernels", "s3"} if component == "worker" else set()
        assert set(found) == {"python", "settings", "pod", "scheduler"} | own
        if component == "worker":
            assert found["s3"]["found"] == f"written, read and deleted in {', '.join(LAKES)}"


def test_worker_without_scheduler_and_kernels_says_so(cluster: Kubectl) -> None:
    variables = {
        "DASK_SCHEDULER_ADDRESS": "tls://nobody-scheduler.taxidask:8786",
        "NUMBA_CACHE_DIR": "/tmp/empty",
    }
    env = [{"name": name, "value": value} for name, value in variables.items()]
    sources = [{"configMapRef": {"name": "taxidask"}}, {"secretRef": {"name": "aws"}}]
    command = ["taxidask", "doctor", "--json"]
    cluster("delete", "pod", "doctor-worker", "--ignore-not-found")
    cluster.apply(
        pod("doctor-worker", "worker", container={"env": env, "envFrom": sources, "command": command, "args": []})
    )
    phase = ("get", "pod", "doctor-worker", "-o", "jsonpath={.status.phase}")
    until(lambda: cluster(*phase) in ("Succeeded", "Failed"), "the doctor to end", 90)
    found = findings(cluster("logs", "doctor-worker"))
    cluster("delete", "pod", "doctor-worker", "--wait=false")
    assert {name for name, finding in found.items() if not finding["ok"]} == {"scheduler", "kernels"}
    assert "args" in found["kernels"]["remedy"]

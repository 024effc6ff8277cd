"""`kubectl delete -k` takes everything away, also while a cluster works; comes last, and puts it all back."""

from __future__ import annotations

import time

from kube import LOCAL, Kubectl, deploy, until

OURS = ("crd", "clusterrole", "clusterrolebinding")


def left(cluster: Kubectl) -> list[str]:
    """What there still is of ours."""
    names = cluster("get", *[",".join(OURS)], "-o", "name").split()
    there = [name for name in names if "dask" in name]
    return there + cluster("get", "namespace", "taxidask", "--ignore-not-found", "-o", "name").split()


def test_delete_leaves_nothing_even_with_a_cluster_at_work(cluster: Kubectl) -> None:
    starter = cluster.get("cronjob", "run")["spec"]["jobTemplate"]["spec"]["template"]
    [container] = starter["spec"]["containers"]
    container["args"] = ["taxidask", "cluster", "up", "removal", "--workers", "1", "--worker-memory", "1GiB"]
    starter["metadata"] = {"name": "starter", "labels": starter["metadata"]["labels"]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", **starter})
    phase = ("get", "pod", "starter", "-o", "jsonpath={.status.phase}")
    until(lambda: cluster(*phase) in ("Succeeded", "Failed"), "the cluster to be up", 120)
    assert cluster(*phase) == "Succeeded", cluster("logs", "starter")
    assert len(cluster.get("pods", "-l", "dask.org/cluster-name=removal")["items"]) == 2

    began = time.monotonic()
    try:
        cluster("delete", "-k", LOCAL, "--ignore-not-found", "--timeout=120s", seconds=150)
        until(lambda: not left(cluster), "everything to go", 60)
        print(f"everything was gone after {time.monotonic() - began:.0f} s")
    finally:
        deploy(cluster)

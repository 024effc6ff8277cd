"""What ``taxidask cluster`` shows and does, on top of :mod:`taxidask.compute.kubernetes.cluster`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taxidask.compute import dashboard
from taxidask.compute.dashboard import Scheduler
from taxidask.compute.kubernetes import pods as diagnosis
from taxidask.compute.kubernetes import start as clusters
from taxidask.compute.kubernetes.api import Kube
from taxidask.compute.kubernetes.cluster import KubernetesCluster
from taxidask.compute.kubernetes.preflight import requested
from taxidask.compute.kubernetes.status import Deadline, Status
from taxidask.compute.kubernetes.watch import wait_scheduler, wait_workers
from taxidask.errors import ComputeError

if TYPE_CHECKING:
    from taxidask.settings import Prices, Settings

UP_SECONDS = 300.0
LOOK_SECONDS = 5.0


def up(settings: Settings, *, timeout: float = UP_SECONDS, status: Status | None = None) -> KubernetesCluster:
    """Start the cluster the settings name, or find it; it stays when this process ends.

    Works from where the API server can be reached, also outside the cluster.
    """
    status = status or Status()
    deadline = Deadline.of_start(timeout, status)
    cluster = clusters.start(settings, Kube(settings.namespace), deadline, status, keep=True)
    try:
        wait_scheduler(cluster, deadline)
        wait_workers(cluster, deadline)
    except BaseException as error:
        cluster.remove_after(error, deadline)
        raise
    status.end("running")
    return cluster


def down(
    kube: Kube, names: list[str], *, every: bool, anyones: bool = False, say: Callable[[str], None] = print
) -> list[str]:
    """Remove clusters by name, or all of this user's (``every``), or all of the namespace's (``anyones``).

    Returns
    -------
    list of str
        The names of those removed, their pods and Secrets gone.
    """
    if every or anyones:
        owner = None if anyones else clusters.whoami(kube)
        if owner == "":
            raise ComputeError("the API server does not say whose clusters are yours", "name them, or give --anyones")
        found = clusters.all_clusters(kube, owner=owner)
    else:
        found = [clusters.find(name, kube) for name in names]
    for cluster in found:
        say(f"removing {cluster.name} …")
        cluster.delete(wait=0)
    for cluster in found:
        cluster.delete()
    return [cluster.name for cluster in found]


def ask(cluster: KubernetesCluster, *, seconds: float = LOOK_SECONDS) -> Scheduler | None:
    """What the scheduler says of its workers and tasks; None where it cannot be asked, as from outside the cluster.

    It is asked over its dashboard's port: whoever looks needs no certificates, which let their holder do anything.
    """
    try:
        return dashboard.ask(cluster.dashboard_link, seconds=seconds)
    except ComputeError:
        return None


def describe(
    cluster: KubernetesCluster, prices: Prices, told: Scheduler | None, *, now: dt.datetime | None = None
) -> dict[str, Any]:
    """A cluster as it is now: state, pods, workers, memory, cost, address, and what keeps pods from running.

    The cost is that of the pods that are there, since each was started: cores asked for, by the price of a core hour.
    ``workers_joined``, ``memory_used`` and ``tasks`` are what `ask` was told, and None where it was told nothing.
    """
    now = now or dt.datetime.now(dt.UTC)
    pods, events = cluster.pods(), cluster.events()
    body = cluster.body()
    workers = [pod for pod in pods if not diagnosis.is_scheduler(pod)]
    rows = [_pod(pod, now) for pod in pods]
    held = [row for row in rows if row["state"] not in ("Failed", "Succeeded")]  # an evicted pod stays to be seen
    seconds = sum(row["cpus"] * row["seconds"] for row in held)
    return {
        "name": cluster.name,
        "namespace": cluster.namespace,
        "state": "Deleting" if "deletionTimestamp" in body["metadata"] else body.get("status", {}).get("phase", "New"),
        "owner": body["metadata"].get("labels", {}).get("taxidask/owner", ""),
        "made": body["metadata"]["creationTimestamp"],
        "idle_timeout": body["spec"].get("idleTimeout", 0),
        "workers": sum(map(diagnosis.ready, workers)),
        "workers_wanted": cluster.wanted(),
        "workers_joined": len(told.workers) if told else None,
        "memory": sum(row["memory"] for row in rows if row["component"] == "worker"),
        "memory_used": sum(worker["memory"] for worker in told.workers) if told else None,
        "tasks": told.tasks if told else None,
        "cost": round(seconds / 3600 * prices.vcpu_hour, 4),
        "cost_hour": round(sum(row["cpus"] for row in held) * prices.vcpu_hour, 4),
        "scheduler": cluster.scheduler_address,
        "dashboard": cluster.dashboard_link,
        "pods": rows,
        "problems": [str(problem) for problem in diagnosis.problems(pods, events)],
    }


def text(cluster: dict[str, Any]) -> str:
    """The same for a person."""
    used = f", {cluster['memory_used'] / 2**30:.2f} used" if cluster["memory_used"] is not None else ""
    lines = [
        f"{cluster['name']} in namespace {cluster['namespace']}: {cluster['state']}, made {cluster['made']}"
        + (f" by {cluster['owner']}" if cluster["owner"] else ""),
        f"workers    {cluster['workers']} ready of {cluster['workers_wanted']} wanted"
        + (f", {cluster['workers_joined']} joined" if cluster["workers_joined"] is not None else ""),
        f"memory     {cluster['memory'] / 2**30:.2f} GiB of workers{used}",
        f"cost       {cluster['cost']:.4f} USD so far of the pods below, {cluster['cost_hour']:.4f} USD an hour",
        f"idle       removed after {cluster['idle_timeout'] / 60:g} min without work"
        if cluster["idle_timeout"]
        else "idle       never removed by itself: idle_timeout is 0",
        f"scheduler  {cluster['scheduler']}",
        f"dashboard  {cluster['dashboard']} (outside: kubectl -n {cluster['namespace']} port-forward "
        f"service/{cluster['name']}-scheduler 8787)",
        "pods",
    ]
    width = max((len(row["name"]) for row in cluster["pods"]), default=0)
    lines += [
        f"  {row['name']:<{width}}  {row['state']:<18} {row['cpus']:g} cores  {row['memory'] / 2**30:.2f} GiB  "
        f"{row['restarts']} restarts  {row['seconds'] / 60:.0f} min  {row['node']}"
        for row in cluster["pods"]
    ]
    return "\n".join(lines + [f"problem: {problem}" for problem in cluster["problems"]])


def _pod(pod: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    status = pod.get("status", {})
    state = diagnosis.waiting(pod) or ("Ready" if diagnosis.ready(pod) else status.get("phase", ""))
    began = status.get("startTime")
    return {
        "name": pod["metadata"]["name"],
        "component": "scheduler" if diagnosis.is_scheduler(pod) else "worker",
        "state": "Terminating" if "deletionTimestamp" in pod["metadata"] else state,
        "node": pod["spec"].get("nodeName", ""),
        "cpus": requested(pod["spec"], "cpu"),
        "memory": round(requested(pod["spec"], "memory")),
        "restarts": sum(state.get("restartCount", 0) for state in status.get("containerStatuses", [])),
        "seconds": round((now - dt.datetime.fromisoformat(began)).total_seconds()) if began else 0,
    }

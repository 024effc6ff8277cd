"""What taxidask adds to the dask-kubernetes operator; ``kopf run`` takes this module after its own.

Stock dask-kubernetes 2026.3.0, met by TLS and at work:

- asks a scheduler that does not answer by HTTP through its comm, without certificates, then removes the newest workers
  whatever they hold. Here it asks by HTTP only, and tries again until it gets an answer;
- sets the phase of a cluster from two handlers that race, so that some stay Pending for ever
  (dask/dask-kubernetes#968). Here a third one puts that right;
- looks after idleness and load in timers, for which kopf puts a finalizer on every cluster: a namespace that is deleted
  together with its operator then hangs. Here one loop does both, without finalizers, and also removes clusters whose
  scheduler has not answered for as long as they may be idle, and those whose driver's pod has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import kr8s
from dask_kubernetes.operator._objects import DaskAutoscaler, DaskCluster, DaskWorkerGroup
from dask_kubernetes.operator.controller import controller
from kr8s.asyncio.objects import Deployment, Pod, Service

from taxidask.compute.kubernetes.api import DASK

INTERVAL_SECONDS = 3.0
HTTP_SECONDS = 10.0
RETIRE_SECONDS = 120.0
"""Moving what workers hold to others takes as long as the network needs."""
STEADY_SECONDS = 15.0
"""How long the load has to stay low before workers are taken away."""
RETRY_SECONDS = 5.0
DISCOVERY_SECONDS = 60

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every call of the API


class Scheduler:
    """A scheduler's HTTP API; every call raises ``OSError`` or ``aiohttp.ClientError`` unless it answers 200.

    Parameters
    ----------
    service : str
        Its Service.
    namespace : str
        Where that is.
    """

    def __init__(self, service: str, namespace: str, *, port: int = 8787) -> None:
        self._url = f"http://{service}.{namespace}:{port}/api/v1/"

    async def idle_since(self) -> float:
        """Since when it has had nothing to do, in seconds since 1970; 0 if it has."""
        return float((await self._call("GET", "check_idle"))["idle_since"] or 0)

    async def target(self) -> int:
        """How many workers suit its load."""
        return math.ceil((await self._call("GET", "adaptive_target"))["workers"])

    async def workers(self) -> list[str]:
        """The names of its workers."""
        return [str(worker["name"]) for worker in (await self._call("GET", "get_workers"))["workers"]]

    async def retire(self, count: int) -> list[str]:
        """Have it choose `count` workers and move what they hold; the names of those it let go."""
        gone = await self._call("POST", "retire_workers", seconds=RETIRE_SECONDS, json={"n": count})
        return [str(worker["name"]) for worker in gone.values()]

    async def _call(self, method: str, what: str, *, seconds: float = HTTP_SECONDS, **options: Any) -> Any:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, self._url + what, **options) as answer,
        ):
            return await answer.json()


# -- scaling down ----------------------------------------------------------------------------------------------------


async def retire_workers(
    n_workers: int, scheduler_service_name: str, worker_group_name: str, namespace: str, logger: Any
) -> list[str]:
    """The Deployments to delete so that a group has `n_workers` fewer.

    First those whose worker the scheduler does not know: they hold nothing. The scheduler chooses the others and moves
    what they hold. If it does not answer, nothing is deleted and kopf calls again.
    """
    deployments: list[Any] = [
        deployment
        async for deployment in Deployment.list(
            namespace=namespace, label_selector={"dask.org/workergroup-name": worker_group_name}
        )
    ]
    scheduler = Scheduler(scheduler_service_name, namespace)
    try:
        known = set(await scheduler.workers())
        strangers = sorted(d.name for d in deployments if d.name not in known)[:n_workers]
        count = n_workers - len(strangers)
        retired = await scheduler.retire(count) if count else []
    except (OSError, aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        raise kopf.TemporaryError(
            f"{worker_group_name} keeps its workers: the scheduler could not retire {n_workers} of them: "
            f"{type(error).__name__}: {error}",
            delay=RETRY_SECONDS,
        ) from error
    logger.info(f"{worker_group_name}: retired {retired}, never joined {strangers}")
    gone = [deployment for deployment in deployments if deployment.name in {*strangers, *retired}]
    if len(gone) < n_workers:
        # What the others hold has no room elsewhere yet. Those that were retired have to go now, or they come back.
        for deployment in gone:
            await deployment.delete()
        raise kopf.TemporaryError(
            f"{worker_group_name}: {n_workers - len(gone)} workers cannot be retired yet", delay=RETRY_SECONDS
        )
    return [deployment.name for deployment in gone]


# -- the phase -------------------------------------------------------------------------------------------------------


@kopf.on.field("daskcluster.kubernetes.dask.org", field="status.phase", new="Pending")
async def repair_phase(name: str, namespace: str | None, patch: kopf.Patch, retry: int, **_: Any) -> None:
    """A cluster that becomes Pending when its Service is there already is Running."""
    if await _has_service(name, namespace):
        patch.status["phase"] = "Running"
    elif retry < 30:
        raise kopf.TemporaryError(f"{name} has no Service yet", delay=1)


async def _has_service(name: str, namespace: str | None) -> bool:
    try:
        service = await Service.get(f"{name}-scheduler", namespace=namespace, timeout=1)
    except kr8s.NotFoundError:
        return False
    return service.spec.type != "LoadBalancer" or bool(service.status.get("loadBalancer", {}).get("ingress"))


# -- idleness and load -----------------------------------------------------------------------------------------------


@dataclass
class Memory:
    """What the loop knows of one cluster."""

    heard: float
    """When its scheduler last answered, or the cluster was made."""
    wanted: list[tuple[float, int]] = field(default_factory=list)
    """Lately, how many workers suited its load."""


def steady_target(memory: Memory, now: float, target: int, current: int, minimum: int, maximum: int) -> int:
    """How many workers a cluster is to have: more at once, fewer only when the load has been low for a while.

    Examples
    --------
    >>> memory = Memory(heard=0)
    >>> [steady_target(memory, at, want, 3, 1, 3) for at, want in [(0, 1), (10, 9), (20, 1), (36, 1)]]
    [3, 3, 3, 1]
    """
    before = [entry for entry in memory.wanted if entry[0] <= now - STEADY_SECONDS]
    memory.wanted = before[-1:] + [entry for entry in memory.wanted if entry[0] > now - STEADY_SECONDS]
    memory.wanted.append((now, target))
    highest = max(n for _, n in memory.wanted)
    wanted = min(max(target if target > current else highest, minimum), maximum)
    return wanted if wanted >= current or before else min(current, maximum)


def is_over(spec: dict[str, Any], memory: Memory, now: float, idle_since: float | None) -> str:
    """Why a cluster has to go: it was idle, or out of reach (`idle_since` None), for too long; empty if not."""
    limit = spec.get("idleTimeout", 0)
    if not limit:
        return ""
    if idle_since is None:
        return f"its scheduler has not answered for {now - memory.heard:.0f} s" if now - memory.heard > limit else ""
    return f"it has been idle for {now - idle_since:.0f} s" if idle_since and now - idle_since > limit else ""


async def look(memories: dict[str, Memory], namespace: str) -> None:
    """One round over all clusters of a namespace."""
    clusters = [cluster async for cluster in DaskCluster.list(namespace=namespace)]
    scalers = {scaler.spec.cluster: scaler async for scaler in DaskAutoscaler.list(namespace=namespace)}
    for uid in set(memories) - {cluster.metadata.uid for cluster in clusters}:
        del memories[uid]
    living = [c for c in clusters if "deletionTimestamp" not in c.metadata]
    results = await asyncio.gather(
        *(_look_at(cluster, scalers.get(cluster.name), memories) for cluster in living), return_exceptions=True
    )
    for cluster, result in zip(living, results, strict=True):
        if isinstance(result, Exception):
            logger.warning(f"{cluster.name}: {type(result).__name__}: {result}")


async def _look_at(cluster: Any, scaler: Any, memories: dict[str, Memory]) -> None:
    now = time.time()
    made = datetime.fromisoformat(cluster.metadata.creationTimestamp).timestamp()
    # After the operator's own restart nothing is known of what was before.
    memory = memories.setdefault(cluster.metadata.uid, Memory(heard=max(made, now - INTERVAL_SECONDS)))
    scheduler = Scheduler(f"{cluster.name}-scheduler", cluster.namespace)
    idle_since: float | None = None
    with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
        idle_since = await scheduler.idle_since()
        memory.heard = now
    if why := await _driver_ended(cluster) or is_over(cluster.spec, memory, now, idle_since):
        logger.info(f"{cluster.name} is removed: {why}")
        await cluster.delete()
        return
    if idle_since is None:
        return
    if cluster.raw.get("status", {}).get("phase") in (None, "Created", "Pending") and now - made > 10:
        logger.warning(f"{cluster.name} is {cluster.raw.get('status', {}).get('phase')}, but its scheduler answers")
        await cluster.patch({"status": {"phase": "Running"}})
    if scaler is not None:
        group = await DaskWorkerGroup.get(f"{cluster.name}-default", namespace=cluster.namespace)
        limits = scaler.spec.minimum, scaler.spec.maximum
        wanted = steady_target(memory, now, await scheduler.target(), group.replicas, *limits)
        if wanted != group.replicas and await scaler.exists():
            logger.info(f"{cluster.name}: from {group.replicas} to {wanted} workers")
            # a conflict if somebody scaled it meanwhile: then the next round looks again
            seen = {"resourceVersion": group.metadata.resourceVersion}
            await group.patch({"metadata": seen, "spec": {"worker": {"replicas": wanted}}})


async def _driver_ended(cluster: Any) -> str:
    """Why a cluster bound to its driver's pod has to go: that pod has ended, though it is still to be seen."""
    for owner in cluster.metadata.get("ownerReferences", []):
        if owner.kind == "Pod":
            with contextlib.suppress(kr8s.NotFoundError):  # then Kubernetes removes the cluster
                pod = await Pod.get(owner.name, namespace=cluster.namespace, timeout=1)
                if pod.status.phase in ("Succeeded", "Failed"):
                    return f"its driver {owner.name} has {pod.status.phase.lower()}"
    return ""


# -- taking part -----------------------------------------------------------------------------------------------------

_REPLACED = {"daskautoscaler_adapt", "daskcluster_autoshutdown"}


def install() -> None:
    """Replace what is replaced in the stock operator."""
    registry = kopf.get_default_registry()
    timers = registry._spawning._handlers
    found = {handler.id for handler in timers}
    if found != _REPLACED or not callable(getattr(controller, "retire_workers", None)):
        raise RuntimeError(f"this dask-kubernetes has other timers than expected: {sorted(found)}")
    timers.clear()
    controller.retire_workers = retire_workers


_loops: list[asyncio.Task[None]] = []


@kopf.on.startup(id="taxidask")
async def begin(settings: kopf.OperatorSettings, logger: Any, **_: Any) -> None:
    """Start the loop, once the custom resources are there."""
    # Namespaces and resources are what they are: looking for others takes rights in the whole cluster.
    settings.scanning.disabled = True
    await _discovered()
    namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
    logger.info(f"watching over the clusters of namespace {namespace}")
    _loops.append(asyncio.create_task(_watch_over(namespace)))


async def _discovered() -> None:
    api = await kr8s.asyncio.api()
    for _ in range(DISCOVERY_SECONDS):
        with contextlib.suppress(kr8s.ServerError):
            async with api.call_api("GET", base="/apis", version=DASK.split("/")[0], url=DASK.split("/")[1]) as answer:
                there = {resource["kind"] for resource in answer.json()["resources"]}
                if there >= {"DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob"}:
                    return
        await asyncio.sleep(1)
    raise kopf.PermanentError(f"waited {DISCOVERY_SECONDS} s for the custom resources of {DASK}: apply k8s/ again")


@kopf.on.cleanup(id="taxidask")
async def end(**_: Any) -> None:
    """Stop the loop."""
    for task in _loops:
        task.cancel()
    await asyncio.gather(*_loops, return_exceptions=True)


async def _watch_over(namespace: str) -> None:
    memories: dict[str, Memory] = {}
    while True:
        try:
            await asyncio.wait_for(look(memories, namespace), 4 * HTTP_SECONDS)
        except Exception as error:
            logger.warning(f"a round over the clusters failed: {type(error).__name__}: {error}")
        await asyncio.sleep(INTERVAL_SECONDS)


install()

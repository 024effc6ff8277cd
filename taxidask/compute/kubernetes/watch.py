"""Looking at a cluster's pods until they run or cannot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from taxidask.compute.kubernetes import pods as diagnosis
from taxidask.compute.kubernetes.api import ApiError
from taxidask.compute.kubernetes.status import POLL_SECONDS, Deadline
from taxidask.errors import ComputeError
from taxidask.words import quantity

if TYPE_CHECKING:
    from taxidask.compute.kubernetes.cluster import KubernetesCluster

PHASE_SECONDS = 8.0
"""How long the operator has to set the phase once the scheduler is ready."""
PATIENCE_SECONDS = 12.0
"""How long a problem that does not go away by itself has to last: pods may be in the middle of a restart."""


class StartError(ComputeError):
    """A cluster's pods did not start.

    Attributes
    ----------
    details : str
        Their conditions, events and last log lines.
    """

    def __init__(self, message: str, remedy: str, *, details: str) -> None:
        super().__init__(message, remedy)
        self.details = details

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.details}".rstrip()


class Watch:
    """Looks at a cluster's pods again and again, until they cannot start or the deadline is over."""

    def __init__(self, cluster: KubernetesCluster, deadline: Deadline) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._since: dict[tuple[str, bool], float] = {}
        self._problems: list[diagnosis.Problem] = []
        self._pods: list[dict[str, Any]] = []
        self._missed = 0
        self.phase = ""

    def look(self) -> list[dict[str, Any]]:
        """The pods now; raises if one of them cannot start."""
        try:
            self.phase = self._cluster.phase()
            self._pods, events = self._cluster.pods(), self._cluster.events()
            self._missed = 0
        except ApiError:
            self._missed += 1  # an API server may be replaced meanwhile
            if self._missed > 5 or self._deadline.left <= 0:
                raise
            return self._pods
        self._problems = diagnosis.problems(self._pods, events)
        up = any(diagnosis.is_scheduler(pod) and diagnosis.ready(pod) for pod in self._pods)
        # Workers without a scheduler end by themselves: that is no problem of theirs.
        final = [p for p in self._problems if p.final and (up or p.scheduler or p.kind != "crash")]
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key in {(p.kind, p.scheduler) for p in final}}
        lasting = [p for p in final if now - self._since[p.kind, p.scheduler] >= PATIENCE_SECONDS]
        if lasting:
            raise self._error(lasting[0])
        return self._pods

    def why(self, component: str) -> str:
        """The last reason known for the pods of a component, "scheduler" or "worker"."""
        scheduler = component == "scheduler"
        for problem in self._problems:
            if problem.scheduler == scheduler:
                return problem.why
        for pod in self._pods:
            if diagnosis.is_scheduler(pod) == scheduler and not diagnosis.ready(pod):
                phase = pod.get("status", {}).get("phase", "")
                return diagnosis.waiting(pod) or ("Running, not ready yet" if phase == "Running" else phase)
        return "the operator has made no pod yet" if scheduler else ""

    def pause(self) -> None:
        """Until the next look; raises when the deadline is over."""
        try:
            self._deadline.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self._error(self._problems[0] if self._problems else None) from None

    def _error(self, problem: diagnosis.Problem | None) -> ComputeError:
        cluster = self._cluster
        told = f"the cluster {cluster.name} in namespace {cluster.namespace} did not start: "
        told += str(problem) if problem else f"waited {self._deadline.total:.0f} s in all; {cluster.status}"
        details = ""
        try:
            details = diagnosis.report(cluster.pods(), cluster.events(), self._log)
        except ApiError as error:
            details = f"(its pods could not be looked at: {error})"
        remedy = problem.remedy if problem else "look at the operator's log: kubectl logs deployment/dask-operator"
        return StartError(told, remedy, details=details)

    def _log(self, pod: str, container: str, previous: bool) -> list[str]:
        return self._cluster._kube.log(pod, container, lines=diagnosis.LINES_SHOWN, previous=previous)


def wait_scheduler(cluster: KubernetesCluster, deadline: Deadline) -> None:
    """Until the scheduler's pod is ready and the operator says so; :class:`ComputeError` if it cannot be."""
    watch = Watch(cluster, deadline)
    ready_since: float | None = None
    while True:
        pods = watch.look()
        if any(diagnosis.is_scheduler(pod) and diagnosis.ready(pod) for pod in pods):
            ready_since = ready_since or time.monotonic()
            if watch.phase == "Running":
                return
            reason = f"its phase is {watch.phase or 'not set'}"
            cluster.status.wait("the operator to call the cluster Running", reason)
            if time.monotonic() - ready_since > PHASE_SECONDS:
                # dask-kubernetes#968: two of its handlers raced and the later one wrote the earlier phase.
                cluster._kube.patch("daskclusters", cluster.name, {"status": {"phase": "Running"}})
        else:
            cluster.status.wait("the scheduler's pod", watch.why("scheduler"))
        watch.pause()


def wait_workers(cluster: KubernetesCluster, deadline: Deadline) -> None:
    """Until the pods of all its workers are ready; :class:`ComputeError` if they cannot be."""
    watch, wanted = Watch(cluster, deadline), cluster.wanted()
    while True:
        pods = [pod for pod in watch.look() if not diagnosis.is_scheduler(pod)]
        count = sum(map(diagnosis.ready, pods))
        if count >= wanted:
            return
        cluster.status.wait(quantity(wanted, "worker"), f"{count} are ready. {watch.why('worker')}".rstrip(". "))
        watch.pause()

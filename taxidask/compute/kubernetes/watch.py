"""Looking at a cluster's pods until they run or cannot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from taxidask.compute.kubernetes import pods as diagnosis
from taxidask.compute.kubernetes.api import ApiError
from taxidask.compute.kubernetes.status import Deadline
from taxidask.errors import ComputeError

if TYPE_CHECKING:
    from taxidask.compute.kubernetes.cluster import KubernetesCluster

POLL_SECONDS = 0.5
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

"""One cluster of worker pods: made, found, scaled and removed through its custom resources."""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxidask.compute.kubernetes import pods as diagnosis
from taxidask.compute.kubernetes import preflight
from taxidask.compute.kubernetes.api import ApiError, Kube
from taxidask.compute.kubernetes.certificates import Certificates
from taxidask.compute.kubernetes.spec import (
    HTTP_PORT,
    Shape,
    autoscaler,
    checked,
    cluster_labels,
    dask_cluster,
    label_value,
    owner_reference,
)
from taxidask.compute.kubernetes.status import Deadline, Status
from taxidask.errors import ComputeError
from taxidask.words import quantity

if TYPE_CHECKING:
    from taxidask.settings import Settings

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 12.0
"""How long a problem that does not go away by itself has to last: pods may be in the middle of a restart."""
GONE_SECONDS = 120.0
OPERATOR_SECONDS = 45.0
"""How long an operator that is there, but not ready, may take: it is replaced when a new version is applied."""
PHASE_SECONDS = 8.0
"""How long the operator has to set the phase once the scheduler is ready."""

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


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


class KubernetesCluster:
    """A Dask cluster in a namespace, known by its name.

    Made by :func:`start` or :func:`find`; a client on one has it as ``client.cluster``.

    Attributes
    ----------
    name, namespace : str
        What it is called and where.
    mine : bool
        Whether this process made it, and removes it when its client closes.
    status : Status
        What is waited for, for how long, and why.
    """

    def __init__(self, kube: Kube, body: dict[str, Any], *, mine: bool, status: Status) -> None:
        self._kube = kube
        self._body = body
        self.name: str = body["metadata"]["name"]
        self.namespace = kube.namespace
        self.mine = mine
        self.status = status

    def __repr__(self) -> str:
        return f"<KubernetesCluster {self.name!r} in namespace {self.namespace!r}: {self.status}>"

    @property
    def uid(self) -> str:
        """Of the DaskCluster object: another cluster of the same name has another."""
        return self._body["metadata"]["uid"]

    @property
    def cpus(self) -> float:
        """Cores that its pods ask for together, as they were when this process made or found it."""
        spec = self._body["spec"]
        scheduler, worker = (
            sum(preflight.quantity(one["resources"]["requests"]["cpu"]) for one in spec[part]["spec"]["containers"])
            for part in ("scheduler", "worker")
        )
        return float(scheduler + spec["worker"]["replicas"] * worker)

    @property
    def host(self) -> str:
        """The name of the scheduler's Service."""
        return f"{self.name}-scheduler.{self.namespace}"

    @property
    def scheduler_address(self) -> str:
        """Where clients connect."""
        return f"tls://{self.host}:8786"

    @property
    def dashboard_link(self) -> str:
        """Dask's dashboard; from a browser outside, forward the port first."""
        return f"http://{self.host}:{HTTP_PORT}/status"

    # -- looking -------------------------------------------------------------------------------------------------

    def body(self) -> dict[str, Any]:
        """The DaskCluster object as it is now; as it was last, if it is gone."""
        return self._kube.find("daskclusters", self.name) or self._body

    def pods(self) -> list[dict[str, Any]]:
        """Its pods, the scheduler's first."""
        found = self._kube.list("pods", labels=f"dask.org/cluster-name={self.name}")
        return sorted(found, key=lambda pod: (not diagnosis.is_scheduler(pod), pod["metadata"]["name"]))

    def events(self) -> list[dict[str, Any]]:
        """What Kubernetes noted about it since it was made."""
        since = self._body["metadata"]["creationTimestamp"]
        return [
            event
            for event in self._kube.list("events")
            if diagnosis.belongs(event, self.name) and (diagnosis._when(event) or since) >= since
        ]

    def problems(self) -> list[diagnosis.Problem]:
        """What keeps its pods from running."""
        return diagnosis.problems(self.pods(), self.events())

    def certificates(self) -> Certificates:
        """Those that its scheduler, workers and clients share."""
        name = f"{self.name}-tls"
        try:
            return Certificates.from_secret(self._kube.get("secrets", name))
        except KeyError as error:
            raise ComputeError(
                f"the Secret {name} in namespace {self.namespace} holds no {error}",
                f"the cluster was not made by taxidask: taxidask cluster down {self.name}, and start it again",
            ) from error

    def wanted(self) -> int:
        """How many workers were last asked for."""
        group = self._kube.find("daskworkergroups", f"{self.name}-default") or self._body
        return int(group["spec"]["worker"].get("replicas", 0))

    def alive(self) -> bool:
        """Whether this very cluster is still there and not being removed."""
        body = self._kube.find("daskclusters", self.name)
        return body is not None and body["metadata"]["uid"] == self.uid and "deletionTimestamp" not in body["metadata"]

    # -- changing ------------------------------------------------------------------------------------------------

    def scale(self, workers: int) -> None:
        """Ask for this many workers; the operator makes pods, or has the scheduler retire some and removes theirs."""
        if workers < 0:
            raise ComputeError(f"a cluster cannot have {workers} workers", "give 0 or more")
        self._kube.delete("daskautoscalers", self.name)  # it would set its own number at once
        self._kube.patch("daskworkergroups", f"{self.name}-default", {"spec": {"worker": {"replicas": workers}}})

    def adapt(self, *, minimum: int, maximum: int) -> None:
        """Let the operator keep between `minimum` and `maximum` workers, by the load."""
        if not 0 <= minimum <= maximum or maximum < 1:
            raise ComputeError(
                f"adapt between {minimum} and {maximum} workers makes no sense",
                "give both limits: 0 <= minimum <= maximum, and maximum at least 1",
            )
        body = autoscaler(self.name, minimum, maximum, owner_reference(self._body))
        try:
            self._kube.create("daskautoscalers", body)
        except ApiError as error:
            if error.code != 409:
                raise
            self._kube.patch("daskautoscalers", self.name, {"spec": body["spec"]})

    def delete(self, *, wait: float = GONE_SECONDS) -> None:
        """Remove it and everything it owns.

        Parameters
        ----------
        wait : float
            Seconds until its pods, Service and Secret have to be gone, else :class:`ComputeError`; 0 does not look.
        """
        self._kube.delete("daskclusters", self.name, uid=self.uid)
        if wait > 0:
            self._wait_gone(Deadline(wait, self.status))
        self.status.end("closed")

    def _wait_gone(self, deadline: Deadline) -> None:
        while True:
            left = [f"pod {pod['metadata']['name']}" for pod in self.pods() if self._owned(pod)]
            left += [
                f"{kind[:-1]} {name}"
                for kind, name in (
                    ("daskclusters", self.name),
                    ("services", f"{self.name}-scheduler"),
                    ("secrets", f"{self.name}-tls"),
                )
                if (found := self._kube.find(kind, name)) and self._owned(found)
            ]
            if not left:
                return
            self.status.wait("the cluster's end", f"{len(left)} objects left, e.g. {left[0]}")
            try:
                deadline.sleep(POLL_SECONDS)
            except TimeoutError:
                raise ComputeError(
                    f"waited {deadline.total:.0f} s for the cluster {self.name} to go; still there: {', '.join(left)}",
                    f"look at them with kubectl -n {self.namespace} describe; a finalizer or a dead node may hold them",
                ) from None

    def _owned(self, found: dict[str, Any]) -> bool:
        """Whether an object is of this cluster and not of a later one with the same name."""
        return found["metadata"]["creationTimestamp"] <= self._newest()

    def _newest(self) -> str:
        body = self._kube.find("daskclusters", self.name)
        later = body is not None and body["metadata"]["uid"] != self.uid
        return str(body["metadata"]["creationTimestamp"])[:-1] if later and body else "~"

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait_scheduler(self, deadline: Deadline) -> None:
        """Until the scheduler's pod is ready and the operator says so; :class:`ComputeError` if it cannot be."""
        watch = _Watch(self, deadline)
        ready_since: float | None = None
        while True:
            pods = watch.look()
            if any(diagnosis.is_scheduler(pod) and diagnosis.ready(pod) for pod in pods):
                ready_since = ready_since or time.monotonic()
                phase = self._phase()
                if phase == "Running":
                    return
                self.status.wait("the operator to call the cluster Running", f"its phase is {phase or 'not set'}")
                if time.monotonic() - ready_since > PHASE_SECONDS:
                    # dask-kubernetes#968: two of its handlers raced and the later one wrote the earlier phase.
                    self._kube.patch("daskclusters", self.name, {"status": {"phase": "Running"}})
            else:
                self.status.wait("the scheduler's pod", watch.why("scheduler"))
            watch.pause()

    def wait_workers(self, deadline: Deadline) -> None:
        """Until the pods of all its workers are ready; :class:`ComputeError` if they cannot be."""
        watch, wanted = _Watch(self, deadline), self.wanted()
        while True:
            pods = [pod for pod in watch.look() if not diagnosis.is_scheduler(pod)]
            count = sum(map(diagnosis.ready, pods))
            if count >= wanted:
                return
            self.status.wait(quantity(wanted, "worker"), f"{count} are ready. {watch.why('worker')}".rstrip(". "))
            watch.pause()

    def _phase(self) -> str:
        body = self._kube.find("daskclusters", self.name)
        if body is None or body["metadata"]["uid"] != self.uid or "deletionTimestamp" in body["metadata"]:
            raise ComputeError(
                f"the cluster {self.name} in namespace {self.namespace} was removed while it was waited for",
                "somebody closed it, or it was idle for too long: start it again",
            )
        return str(body.get("status", {}).get("phase", ""))

    def watch(self, deadline: Deadline) -> _Watch:
        """For waits for its workers."""
        return _Watch(self, deadline)

    def remove_after(self, error: BaseException) -> None:
        """Remove what was made, after a start that failed; what goes wrong now is added to the error."""
        self.status.end("failed")
        if not self.mine:
            return
        try:
            self.delete()
        except ComputeError as left:
            error.add_note(f"the cluster could not be removed: {left}")
        self.status.state = "failed"


class _Watch:
    """Looks at a cluster's pods again and again, until they cannot start or the deadline is over."""

    def __init__(self, cluster: KubernetesCluster, deadline: Deadline) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._since: dict[tuple[str, bool], float] = {}
        self._problems: list[diagnosis.Problem] = []
        self._pods: list[dict[str, Any]] = []
        self._missed = 0

    def look(self) -> list[dict[str, Any]]:
        """The pods now; raises if one of them cannot start."""
        try:
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
                states = pod.get("status", {}).get("containerStatuses", [])
                waiting = [s["state"]["waiting"].get("reason", "") for s in states if "waiting" in s.get("state", {})]
                phase = pod.get("status", {}).get("phase", "")
                return waiting[0] if waiting else "Running, not ready yet" if phase == "Running" else phase
        return "the operator has made no pod yet" if scheduler else ""

    def pause(self) -> None:
        """Until the next look; raises when the deadline is over."""
        try:
            self._deadline.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self.over() from None

    def over(self) -> ComputeError:
        """The error for a deadline that is over."""
        return self._error(self._problems[0] if self._problems else None)

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


def start(
    settings: Settings, kube: Kube, deadline: Deadline, status: Status, *, keep: bool = False
) -> KubernetesCluster:
    """Make a cluster, or find the one of that name; its pods may not be there yet.

    Parameters
    ----------
    settings : Settings
        ``cluster_name`` (one is made up if it is open), ``image``, ``workers`` and so on.
    keep : bool
        It outlives this process: it is not bound to the pod that this runs in.
    """
    name = settings.cluster_name
    if name:
        checked(name)
        status.wait("the Kubernetes API", f"is there a cluster {name}?")
        if found := _settled(kube, name, deadline, status):
            return KubernetesCluster(kube, found, mine=False, status=status)
    status.wait("preflight", "API server, custom resources, operator, rights, quota, image")
    shape = Shape.of(settings, name or f"taxidask-{uuid.uuid4().hex[:8]}", image=preflight.image_of(settings.image))
    checks = preflight.preflight(kube, shape)
    patience = Deadline(min(OPERATOR_SECONDS, deadline.left), status)
    while patience.left and [check.name for check in checks if not check.ok] == ["operator"] and _comes(kube):
        status.wait("the operator to be ready", next(check.detail for check in checks if not check.ok))
        patience.sleep(POLL_SECONDS)
        checks = [check for check in checks if check.ok] + [preflight.check_operator(kube)]
    preflight.require(checks, f"no cluster can be started in namespace {kube.namespace}")
    shape = Shape.of(settings, shape.name, image=shape.image, owner=whoami(kube))
    owner = None if keep or name else _own_pod(kube)
    status.wait("the operator", "the DaskCluster object is made")
    # Ready before they are needed: a pod that is faster than its Secret starts seconds later.
    certificates = Certificates.make(shape.name, shape.namespace, now=dt.datetime.now(dt.UTC))
    try:
        body = kube.create("daskclusters", dask_cluster(shape, owners=[owner] if owner else None))
    except ApiError as error:
        if error.code == 409 and (body_found := kube.find("daskclusters", shape.name)):  # another driver was faster
            return KubernetesCluster(kube, body_found, mine=False, status=status)
        raise
    cluster = KubernetesCluster(kube, body, mine=True, status=status)
    try:
        secret = certificates.secret(f"{shape.name}-tls", cluster_labels(shape), owner_reference(body))
        kube.create("secrets", secret)
    except BaseException as error:
        cluster.remove_after(error)
        raise
    return cluster


def find(name: str, kube: Kube, status: Status | None = None) -> KubernetesCluster:
    """The cluster of that name; :class:`ComputeError` if there is none."""
    body = kube.find("daskclusters", checked(name))
    if body is None:
        others = ", ".join(sorted(b["metadata"]["name"] for b in kube.list("daskclusters")))
        raise ComputeError(
            f"there is no cluster {name} in namespace {kube.namespace}",
            f"there are: {others}" if others else "start one: taxidask cluster up",
        )
    status = status or Status()
    status.end("running")
    return KubernetesCluster(kube, body, mine=False, status=status)


def all_clusters(kube: Kube, *, owner: str | None = None) -> list[KubernetesCluster]:
    """The clusters of a namespace that taxidask made; with `owner`, those of that user."""
    labels = "app.kubernetes.io/part-of=taxidask" + (f",taxidask/owner={owner}" if owner else "")
    found = kube.list("daskclusters", labels=labels)
    return [KubernetesCluster(kube, body, mine=False, status=Status()) for body in found]


def whoami(kube: Kube) -> str:
    """The user that the API server takes this process for, as a label's value; empty if it does not say."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        user = kube.create("selfsubjectreviews", review)["status"]["userInfo"]["username"]
    except (ApiError, KeyError):
        return ""
    return label_value(user)


def _settled(kube: Kube, name: str, deadline: Deadline, status: Status) -> dict[str, Any] | None:
    """The DaskCluster of that name, once it is not being removed any more."""
    while True:
        body = kube.find("daskclusters", name)
        secret = kube.find("secrets", f"{name}-tls") if body else None
        if body is None or ("deletionTimestamp" not in body["metadata"] and secret):
            if body is None and kube.list("pods", labels=f"dask.org/cluster-name={name}"):
                status.wait(f"the former cluster {name} to go", "its pods are still ending")
            else:
                return body
        else:
            gone = "deletionTimestamp" in body["metadata"]
            status.wait(
                f"the former cluster {name} to go" if gone else f"the certificates of {name}",
                "it is being removed" if gone else "another driver is making it",
            )
        try:
            deadline.sleep(POLL_SECONDS)
        except TimeoutError:
            raise deadline.error(f"remove it by hand: kubectl -n {kube.namespace} delete daskcluster {name}") from None


def _comes(kube: Kube) -> bool:
    return bool(kube.list("pods", labels=preflight.OPERATOR))


def _own_pod(kube: Kube) -> dict[str, Any] | None:
    """The pod this process runs in, as an owner: what a driver made goes with it, however it ends."""
    if not _TOKEN.exists():
        return None
    try:
        pod = kube.get("pods", os.environ.get("POD_NAME") or socket.gethostname())
    except ApiError:
        return None  # a pod of another namespace; the idle timeout remains
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

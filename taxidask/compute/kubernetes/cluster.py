"""One cluster of worker pods, through its custom resources: looked at, scaled, waited for, removed."""

from __future__ import annotations

import html
from typing import Any

from taxidask.compute.kubernetes import pods as diagnosis
from taxidask.compute.kubernetes.api import ApiError, Kube
from taxidask.compute.kubernetes.certificates import Certificates
from taxidask.compute.kubernetes.preflight import requested
from taxidask.compute.kubernetes.spec import (
    HTTP_PORT,
    autoscaler,
    owner_reference,
    scheduler_address,
    scheduler_host,
)
from taxidask.compute.kubernetes.status import POLL_SECONDS, Deadline, Status
from taxidask.errors import ComputeError, SettingsError
from taxidask.words import command

GONE_SECONDS = 120.0


class KubernetesCluster:
    """A Dask cluster in a namespace, known by its name.

    Made or found by :mod:`taxidask.compute.kubernetes.start`; a client on one has it as ``client.cluster``.

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
        self._workers: int = body["spec"]["worker"].get("replicas", 0)

    def __repr__(self) -> str:
        return f"<KubernetesCluster {self.name!r} in namespace {self.namespace!r}: {self.status}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def line(self, what: str) -> str:
        """The line for a shell that shows or removes it: ``status`` or ``down``."""
        return command(f"taxidask cluster {what}", self.name, namespace=self.namespace)

    @property
    def uid(self) -> str:
        """Of the DaskCluster object: another cluster of the same name has another."""
        return self._body["metadata"]["uid"]

    @property
    def cpus(self) -> float:
        """Cores that its pods ask for together, with as many workers as were last known to be asked for."""
        spec = self._body["spec"]
        scheduler, worker = (requested(spec[part]["spec"], "cpu") for part in ("scheduler", "worker"))
        return scheduler + self._workers * worker

    @property
    def host(self) -> str:
        """The name of the scheduler's Service."""
        return scheduler_host(self.name, self.namespace)

    @property
    def scheduler_address(self) -> str:
        """Where clients connect."""
        return scheduler_address(self.name, self.namespace)

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
            if diagnosis.belongs(event, self.name) and (diagnosis.when(event) or since) >= since
        ]

    def certificates(self) -> Certificates:
        """Those that its scheduler, workers and clients share."""
        name = f"{self.name}-tls"
        try:
            return Certificates.from_secret(self._kube.get("secrets", name))
        except KeyError as error:
            raise ComputeError(
                f"the Secret {name} in namespace {self.namespace} holds no {error}",
                f"the cluster was not made by taxidask: {self.line('down')}, and start it again",
            ) from error

    def wanted(self) -> int:
        """How many workers were last asked for."""
        group = self._kube.find("daskworkergroups", f"{self.name}-default") or self._body
        self._workers = int(group["spec"]["worker"].get("replicas", 0))
        return self._workers

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
        self._workers = workers

    def adapt(self, *, minimum: int, maximum: int) -> None:
        """Let the operator keep between `minimum` and `maximum` workers, by the load."""
        check_limits(minimum, maximum)
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

    def phase(self) -> str:
        """What the operator calls its state; :class:`ComputeError` if it is being removed."""
        body = self._kube.find("daskclusters", self.name)
        if body is None or body["metadata"]["uid"] != self.uid or "deletionTimestamp" in body["metadata"]:
            raise ComputeError(
                f"the cluster {self.name} in namespace {self.namespace} was removed while it was waited for",
                "somebody closed it, or it was idle for too long: start it again",
            )
        return str(body.get("status", {}).get("phase", ""))

    def remove_after(self, error: BaseException, deadline: Deadline) -> None:
        """Remove what was made, after a start that failed; what goes wrong now is added to the error."""
        self.status.end("failed")
        if not self.mine:
            return
        try:
            self.delete(wait=deadline.left_for_removal)
        except ComputeError as left:
            error.add_note(f"the cluster could not be removed: {left}")
        self.status.end("failed")


def check_limits(minimum: int, maximum: int) -> None:
    """:class:`SettingsError` if no number of workers lies between them."""
    if not 0 <= minimum <= maximum or maximum < 1:
        raise SettingsError(
            f"adapt between {minimum} and {maximum} workers makes no sense",
            "give both limits: 0 <= minimum <= maximum, and maximum at least 1",
        )

"""The Dask client on a cluster of pods."""

from __future__ import annotations

import atexit
import contextlib
import logging
import socket
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from distributed import Client
from distributed.versions import VersionMismatchWarning

from taxidask.compute.kubernetes.api import Kube
from taxidask.compute.kubernetes.cluster import GONE_SECONDS, KubernetesCluster
from taxidask.compute.kubernetes.spec import COMM_PORT
from taxidask.compute.kubernetes.start import start
from taxidask.compute.kubernetes.status import POLL_SECONDS, Deadline, Status
from taxidask.compute.kubernetes.watch import Watch, wait_scheduler
from taxidask.errors import ComputeError
from taxidask.words import quantity

if TYPE_CHECKING:
    from taxidask.settings import Settings

START_SECONDS = 300.0
"""Enough for a node to be added; what cannot start is noticed long before."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""How long a scheduler may be silent while the cluster starts: on few cores it is, while workers join."""
COMPARED = ("python", "dask", "distributed", "taxidask")

logger = logging.getLogger(__name__)

_open: weakref.WeakSet[KubernetesClient] = weakref.WeakSet()


class KubernetesClient(Client):
    """A client on a cluster of pods, over TLS; see :func:`taxidask.connect`.

    Attributes
    ----------
    cluster : KubernetesCluster
        To look at it and to scale it. Closing the client removes it only if this client made it.
    """

    cluster: KubernetesCluster

    def __init__(self, cluster: KubernetesCluster, *, timeout: float) -> None:
        self._pods: KubernetesCluster | None = None
        security = cluster.certificates().security()
        try:
            with warnings.catch_warnings():
                # compare_versions is stricter where it matters; a patch of Python does not
                warnings.simplefilter("ignore", VersionMismatchWarning)
                super().__init__(cluster.scheduler_address, security=security, timeout=timeout)
        except BaseException:
            self.close()  # else distributed takes what never connected for the current client
            raise
        self.cluster = self._pods = cluster
        _open.add(self)

    def wait_pods(self, workers: int, deadline: Deadline) -> None:
        """Until `workers` have joined, or, when the deadline is over, at least one has."""
        cluster = self.cluster
        watch = Watch(cluster, deadline)
        while (count := self._joined()) < workers:
            watch.look()
            cluster.status.wait(quantity(workers, "worker"), f"{count} have joined. {watch.why('worker')}".rstrip(". "))
            if deadline.left <= 0 and count:
                break  # what is missing may still come; the status says why it has not
            watch.pause()
        self.scheduler_info()  # what the client shows of its workers is from when it connected

    def _joined(self) -> int:
        """How many workers the scheduler has."""
        try:
            return len(self.sync(self.scheduler.ncores, callback_timeout=ANSWER_SECONDS))  # type: ignore[union-attr]
        except (OSError, AttributeError) as error:  # AttributeError: distributed has given the connection up
            raise self._silent(error) from error

    def _silent(self, error: BaseException) -> ComputeError:
        self.cluster.phase()  # if it was removed, that is the error
        return ComputeError(
            f"the scheduler of {self.cluster.name} stopped answering: {error or type(error).__name__}",
            f"its pod may have run out of memory (scheduler_memory): {self.cluster.line('status')}",
        )

    def compare_versions(self) -> None:
        """:class:`ComputeError` if scheduler or workers run something else than this process."""
        try:
            found: Any = self.sync(self._get_versions, packages=["taxidask"], callback_timeout=ANSWER_SECONDS)
        except (OSError, AttributeError) as error:
            raise self._silent(error) from error
        if told := differences(found):
            raise ComputeError(
                f"the cluster {self.cluster.name} does not run what this driver runs: {'; '.join(told)}",
                "use the image made from this environment (setting image), for the driver too; "
                f"an old cluster goes with: {self.cluster.line('down')}",
            )

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the client, then remove the cluster if this client made it."""
        cluster, self._pods = getattr(self, "_pods", None), None
        try:
            return super().close(*args, **kwargs)
        finally:
            if cluster is not None and cluster.mine:
                try:
                    cluster.delete(wait=GONE_SECONDS)
                except ComputeError as error:  # the work is done all the same
                    logger.warning("%s. The operator removes it after its idle time.", error)

    def shutdown(self) -> Any:
        """Close the client and remove the cluster, whoever made it."""
        try:
            return self.close()
        finally:
            if not self.cluster.mine:
                self.cluster.delete(wait=GONE_SECONDS)


def connect(settings: Settings, *, timeout: float | None = None, status: Status | None = None) -> KubernetesClient:
    """A client on the cluster that the settings name, or on a new one; see :func:`taxidask.connect`."""
    status = status or Status()
    deadline = Deadline.of_start(START_SECONDS if timeout is None else timeout, status)
    cluster = start(settings, Kube(settings.namespace), deadline, status)
    return attach(cluster, deadline)


def attach(cluster: KubernetesCluster, deadline: Deadline) -> KubernetesClient:
    """A client on a cluster, once it has a scheduler and workers; removes the cluster if it cannot and is its own."""
    client = None
    try:
        wait_scheduler(cluster, deadline)
        client = _dial(cluster, deadline)
        wanted = cluster.wanted()
        client.wait_pods(wanted if cluster.mine else min(wanted, 1), deadline)
        client.compare_versions()
    except BaseException as error:
        if client is not None:
            client._pods = None
            client.close()
        cluster.remove_after(error, deadline)
        raise
    cluster.status.end("running")
    return client


def _dial(cluster: KubernetesCluster, deadline: Deadline) -> KubernetesClient:
    """A client, as soon as the scheduler lets it in."""
    cluster.status.wait("the scheduler to answer", cluster.scheduler_address)
    while True:
        try:
            socket.getaddrinfo(cluster.host, COMM_PORT)
            return KubernetesClient(cluster, timeout=max(1.0, min(CONNECT_SECONDS, deadline.left)))
        except socket.gaierror as error:
            problem = ComputeError(
                f"cannot find the scheduler {cluster.host}: {error.strerror}",
                "the driver has to run in the cluster (a Job, or JupyterLab in a pod), where that name is known",
            )
        except (OSError, TimeoutError) as error:
            problem = ComputeError(
                f"the scheduler at {cluster.scheduler_address} does not answer: {error}",
                "a NetworkPolicy must let this driver reach port 8786: give its pod the label "
                "app.kubernetes.io/component: driver",
            )
        # A Service's name and its address take a moment to be known everywhere.
        cluster.status.wait("the scheduler to answer", problem.message)
        try:
            deadline.sleep(POLL_SECONDS)
        except TimeoutError:
            raise problem from None


def differences(found: dict[str, Any]) -> list[str]:
    """What scheduler or workers have in another version than the client, both named.

    Python matters up to its minor version: that is what functions are pickled for.

    Parameters
    ----------
    found : dict
        What ``Client.get_versions`` returns.
    """
    mine = _versions(found["client"])
    told: dict[str, list[str]] = {}
    for where, other in [("the scheduler", found["scheduler"]), *found["workers"].items()]:
        if other is None:
            continue
        theirs = _versions(other)
        for name in COMPARED:
            if theirs[name] != mine[name]:
                text = f"{name} {mine[name]} here, {theirs[name]} on"
                told.setdefault(text, []).append(where if where == "the scheduler" else "worker")
    return [
        f"{text} {' and '.join(sorted(set(where)))}{'s' if where.count('worker') > 1 else ''}"
        for text, where in told.items()
    ]


def _versions(host: dict[str, Any]) -> dict[str, str]:
    packages = host["packages"]
    python = ".".join(str(packages.get("python", "?")).split(".")[:2])
    return {name: python if name == "python" else str(packages.get(name, "none")) for name in COMPARED}


@atexit.register
def _close_all() -> None:
    for client in list(_open):
        with contextlib.suppress(Exception):
            cluster, client._pods = client._pods, None  # distributed closes the client later, which waits
            if cluster is not None and cluster.mine:
                cluster.delete(wait=0)  # the rest goes by itself

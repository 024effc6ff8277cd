"""Clusters of a namespace: one is started, or found by its name."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxidask.compute.kubernetes import preflight
from taxidask.compute.kubernetes.api import ApiError, Kube
from taxidask.compute.kubernetes.certificates import Certificates
from taxidask.compute.kubernetes.cluster import KubernetesCluster
from taxidask.compute.kubernetes.spec import (
    Shape,
    checked,
    cluster_labels,
    dask_cluster,
    label_value,
    owner_reference,
)
from taxidask.compute.kubernetes.status import POLL_SECONDS, Deadline, Status
from taxidask.errors import ComputeError
from taxidask.words import command

if TYPE_CHECKING:
    from taxidask.settings import Settings

OPERATOR_SECONDS = 45.0
"""How long an operator that is there, but not ready, may take: it is replaced when a new version is applied."""

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


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
    try:
        return _start(settings, kube, deadline, status, keep=keep)
    except BaseException:
        status.end("failed")
        raise


def _start(settings: Settings, kube: Kube, deadline: Deadline, status: Status, *, keep: bool) -> KubernetesCluster:
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
        time.sleep(min(POLL_SECONDS, patience.left))
        checks = [check for check in checks if check.ok] + [preflight.check_operator(kube)]
    preflight.require(checks, f"no cluster can be started in namespace {kube.namespace}")
    shape = Shape.of(settings, shape.name, image=shape.image, owner=whoami(kube))
    owner = None if keep or name else _own_pod(kube)
    status.wait("the operator", "the DaskCluster object is made")
    # Ready before they are needed: a pod that is faster than its Secret starts seconds later.
    certificates = Certificates.make(shape.name, shape.namespace, now=dt.datetime.now(dt.UTC))
    try:
        body = kube.create("daskclusters", dask_cluster(shape, owners=[owner] if owner else None))
    except BaseException as error:
        code = getattr(error, "code", 0)
        if code == 409 and (body_found := kube.find("daskclusters", shape.name)):  # another driver was faster
            return KubernetesCluster(kube, body_found, mine=False, status=status)
        if not name and (code == 0 or code >= 500):  # it may be there all the same, and nobody else has this name
            with contextlib.suppress(ComputeError):
                kube.delete("daskclusters", shape.name)
        raise
    cluster = KubernetesCluster(kube, body, mine=True, status=status)
    try:
        secret = certificates.secret(f"{shape.name}-tls", cluster_labels(shape), owner_reference(body))
        kube.create("secrets", secret)
    except BaseException as error:
        cluster.remove_after(error, deadline)
        raise
    return cluster


def find(name: str, kube: Kube, status: Status | None = None) -> KubernetesCluster:
    """The cluster of that name; :class:`ComputeError` if there is none."""
    body = kube.find("daskclusters", checked(name))
    if body is None:
        others = ", ".join(sorted(b["metadata"]["name"] for b in kube.list("daskclusters")))
        raise ComputeError(
            f"there is no cluster {name} in namespace {kube.namespace}",
            f"there are: {others}"
            if others
            else f"start one: {command('taxidask cluster up', namespace=kube.namespace)}",
        )
    status = status or Status()
    status.end("running")
    return KubernetesCluster(kube, body, mine=False, status=status)


def all_clusters(kube: Kube, *, owner: str | None = None) -> list[KubernetesCluster]:
    """The clusters of a namespace that taxidask made; with `owner`, those of that user."""
    labels = "app.kubernetes.io/part-of=taxidask" + (f",taxidask/owner={owner}" if owner is not None else "")
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

"""What has to hold before a pod is made; each check says what is wrong and what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from taxidask.compute.kubernetes.api import DASK, ApiError, Kube
from taxidask.compute.kubernetes.pods import ready
from taxidask.compute.kubernetes.spec import Shape
from taxidask.errors import ComputeError

APPLY = "apply k8s/overlays/… of this version: kubectl apply -k k8s/overlays/eks"
OPERATOR = "app.kubernetes.io/part-of=taxidask,app.kubernetes.io/component=operator"
CRDS = ("daskclusters", "daskworkergroups", "daskautoscalers")

RIGHTS = {
    (DASK.split("/")[0], "daskclusters"): ("get", "list", "create", "patch", "delete"),
    (DASK.split("/")[0], "daskworkergroups"): ("get", "patch"),
    (DASK.split("/")[0], "daskautoscalers"): ("get", "create", "patch", "delete"),
    ("", "pods"): ("get", "list"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
    ("", "services"): ("get",),
    ("", "secrets"): ("get", "create"),
    ("", "resourcequotas"): ("list",),
}
"""Every verb that starting, scaling and closing a cluster uses."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What.
    ok : bool
        Whether it holds.
    detail : str
        What was found.
    remedy : str
        What to do if it does not hold.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{'ok ' if self.ok else 'NO '} {self.name}: {self.detail}" + ("" if self.ok else f"; {self.remedy}")


def preflight(kube: Kube, shape: Shape) -> list[Check]:
    """All checks for starting a cluster; the API server's first, and no others if it does not answer."""
    checks = [check_image(shape.image), check_api(kube)]
    if checks[-1].ok:
        checks += [*check_crds(kube), check_operator(kube), *check_rights(kube), *check_quota(kube, shape)]
    return checks


def require(checks: list[Check], what: str) -> None:
    """Raise :class:`ComputeError` with every check that does not hold and its remedy."""
    failed = [check for check in checks if not check.ok]
    if len(failed) == 1:
        raise ComputeError(f"{what}: {failed[0].detail}", failed[0].remedy)
    if failed:
        told = "\n".join(f"  {check.name}: {check.detail}; {check.remedy}" for check in failed)
        raise ComputeError(f"{what}, for {len(failed)} reasons:\n{told}")


def image_of(setting: str | None) -> str:
    """The image that a setting names; in a pod, its own if the setting is open."""
    return setting or os.environ.get("TAXIDASK_IMAGE", "")


def check_image(image: str) -> Check:
    """It is named, with a tag that means one thing."""
    remedy = "set image (or TAXIDASK_IMAGE) to NAME:TAG as it was pushed, with a tag other than latest"
    if not image:
        return Check("image", False, "no image is named for scheduler and workers", remedy)
    if not re.fullmatch(r"[a-z0-9][\w.:/-]*?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", image):
        return Check("image", False, f"{image!r} is no name of an image", remedy)
    last = image.rsplit("/", 1)[-1]
    tag = "" if "@" in last else last.partition(":")[2]
    if "@" not in last and tag in ("", "latest"):
        found = "has the tag latest" if tag else "has no tag"
        return Check("image", False, f"the image {image!r} {found}: pods made later might run something else", remedy)
    return Check("image", True, image)


def check_api(kube: Kube) -> Check:
    """The API server answers."""
    try:
        return Check("api", True, f"Kubernetes {kube.version()}")
    except ApiError as error:
        return Check("api", False, error.message, error.remedy or "")


@cache
def _packaged(kind: str) -> dict[str, Any]:
    import yaml

    folder = resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    return yaml.safe_load((folder / f"{kind.removesuffix('s')}.yaml").read_text(encoding="utf-8"))


def fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths and types of everything a schema describes."""
    yield f"{path}:{schema.get('type', '')}"
    for name, part in schema.get("properties", {}).items():
        yield from fields(part, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"], f"{path}[]")


def check_crds(kube: Kube) -> Iterator[Check]:
    """The custom resources are there, and have the fields that this version of dask-kubernetes has."""
    from importlib.metadata import version

    ours = version("dask-kubernetes")
    for kind in CRDS:
        full = f"{kind}.{DASK.split('/')[0]}"
        try:
            found = kube.find("customresourcedefinitions", full)
        except ApiError as error:
            yield Check("crds", False, error.message, error.remedy or APPLY)
            continue
        if found is None:
            yield Check("crds", False, f"the custom resource {full} is not installed", APPLY)
            continue
        wanted = _packaged(kind)["spec"]["versions"][0]
        served = [v for v in found["spec"]["versions"] if v["name"] == wanted["name"] and v["served"]]
        there = set(fields(served[0]["schema"]["openAPIV3Schema"])) if served else set()
        missing = sorted(set(fields(wanted["schema"]["openAPIV3Schema"])) - there)
        conditions = found.get("status", {}).get("conditions", [])
        accepted = any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
        if missing or not accepted:
            why = (
                f"lacks {len(missing)} fields, e.g. {missing[0].split(':')[0]}" if missing else "is not established yet"
            )
            yield Check(
                "crds", False, f"the custom resource {full} is not that of dask-kubernetes {ours}: it {why}", APPLY
            )
        else:
            yield Check("crds", True, f"{full} of dask-kubernetes {ours}")


def check_operator(kube: Kube) -> Check:
    """The operator's pod runs."""
    try:
        pods = kube.list("pods", labels=OPERATOR)
    except ApiError as error:
        return Check("operator", False, error.message, error.remedy or APPLY)
    where = f"namespace {kube.namespace}"
    if not pods:
        return Check("operator", False, f"no dask operator runs in {where}", APPLY)
    if not any(map(ready, pods)):
        names = ", ".join(pod["metadata"]["name"] for pod in pods)
        remedy = f"see kubectl -n {kube.namespace} describe deployment dask-operator, and its log"
        return Check("operator", False, f"the dask operator in {where} is not ready ({names})", remedy)
    return Check("operator", True, f"the dask operator runs in {where}")


def check_rights(kube: Kube) -> list[Check]:
    """The caller may do all of this: one review for each verb that will be used."""
    asked = [(group, kind, verb) for (group, kind), verbs in RIGHTS.items() for verb in verbs]

    def allowed(what: tuple[str, str, str]) -> bool:
        group, kind, verb = what
        resource, _, sub = kind.partition("/")
        attributes = {"namespace": kube.namespace, "group": group, "resource": resource, "verb": verb}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes | ({"subresource": sub} if sub else {})},
        }
        return bool(kube.create("selfsubjectaccessreviews", review)["status"]["allowed"])

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = dict(zip(asked, pool.map(allowed, asked), strict=True))
    except ApiError as error:
        return [Check("rights", False, error.message, error.remedy or "")]
    lacking = [f"{verb} {kind}" for (_, kind, verb), yes in answers.items() if not yes]
    if lacking:
        remedy = f"bind the Role `driver` of k8s/base in namespace {kube.namespace} to this user or ServiceAccount"
        return [Check("rights", False, f"this user may not {', '.join(lacking)}", remedy)]
    return [Check("rights", True, f"{len(asked)} verbs in namespace {kube.namespace}")]


def check_quota(kube: Kube, shape: Shape) -> list[Check]:
    """The namespace's ResourceQuotas leave room for scheduler and workers."""
    try:
        quotas = kube.list("resourcequotas")
    except ApiError as error:
        return [Check("quota", False, error.message, error.remedy or "")]
    needs, lacking = shape.needs(), []
    for quota in quotas:
        status = quota.get("status", {})
        for name, limit in status.get("hard", {}).items():
            if name in needs:
                left = quantity(limit) - quantity(status.get("used", {}).get(name, "0"))
                if needs[name] > left + 1e-9:
                    shown = f"{_amount(name, needs[name])} of {name}, {_amount(name, max(left, 0.0))} left of {limit}"
                    lacking.append(f"{quota['metadata']['name']}: needs {shown}")
    what = f"a scheduler and {shape.workers} workers"
    if lacking:
        remedy = (
            "close clusters that are not used (taxidask cluster status, down), ask for less, or raise the ResourceQuota"
        )
        return [
            Check("quota", False, f"the quota of {kube.namespace} has no room for {what}: {'; '.join(lacking)}", remedy)
        ]
    return [Check("quota", True, f"room for {what}")]


def _amount(name: str, value: float) -> str:
    return f"{value / (1 << 30):.2f} GiB" if "memory" in name else f"{value:g}"


def requested(pod: dict[str, Any], resource: str) -> float:
    """What the containers of a pod's specification ask for of "cpu" or "memory"."""
    asked = (container.get("resources", {}).get("requests", {}) for container in pod["containers"])
    return sum((quantity(requests.get(resource, "0")) for requests in asked), 0.0)


_SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_SUFFIXES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number.

    >>> quantity("500m"), quantity("2Gi"), quantity("3"), quantity("1e3")
    (0.5, 2147483648.0, 3.0, 1000.0)
    """
    for suffix, factor in sorted(_SUFFIXES.items(), key=lambda item: -len(item[0])):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)

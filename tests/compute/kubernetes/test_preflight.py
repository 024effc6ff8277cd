from __future__ import annotations

import copy
from typing import Any

import pytest

from taxidask.compute.kubernetes import preflight
from taxidask.compute.kubernetes.api import ApiError
from taxidask.compute.kubernetes.spec import Shape
from taxidask.errors import ComputeError
from taxidask.settings import Settings

SHAPE = Shape.of(Settings(compute="kubernetes", workers=2, worker_memory="1GiB"), "anna", image="registry/taxidask:1")


class Server:
    """An API server on which all is well, until a test says otherwise."""

    namespace = "taxidask"

    def __init__(self) -> None:
        self.crds = {f"{kind}.kubernetes.dask.org": copy.deepcopy(preflight._packaged(kind)) for kind in preflight.CRDS}
        for body in self.crds.values():
            body["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        conditions = [{"type": "Ready", "status": "True"}]
        self.pods: list[dict[str, Any]] = [{"metadata": {"name": "operator"}, "status": {"conditions": conditions}}]
        self.quotas: list[dict[str, Any]] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str, str]] = []

    def version(self) -> str:
        return "v1.35.4"

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.crds.get(name)

    def list(self, kind: str, **_: Any) -> Any:
        return self.pods if kind == "pods" else self.quotas

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
        self.asked.append((wanted["group"], resource, wanted["verb"]))
        return {"status": {"allowed": (resource, wanted["verb"]) not in self.forbidden}}


def failed(server: Server, shape: Shape = SHAPE) -> dict[str, preflight.Check]:
    return {check.name: check for check in preflight.preflight(server, shape) if not check.ok}  # type: ignore[arg-type]


def test_nothing_is_wrong() -> None:
    server = Server()
    checks = preflight.preflight(server, SHAPE)  # type: ignore[arg-type]
    assert all(check.ok for check in checks)
    assert {check.name for check in checks} == {"image", "api", "crds", "operator", "rights", "quota"}
    assert len(server.asked) == sum(map(len, preflight.RIGHTS.values()))
    preflight.require(checks, "no")


@pytest.mark.parametrize(
    "image",
    [
        "taxidask:1",
        "123.dkr.ecr.us-east-1.amazonaws.com/taxidask:2026.1",
        "localhost:5000/a/b:c",
        "a/b@sha256:" + "0" * 64,
    ],
)
def test_images_that_mean_one_thing(image: str) -> None:
    assert preflight.check_image(image).ok


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("", "no image"),
        ("taxidask", "has no tag"),
        ("localhost:5000/taxidask", "has no tag"),
        ("a:latest", "tag latest"),
        ("A B:1", "no name of an image"),
    ],
)
def test_images_that_do_not(image: str, why: str) -> None:
    check = preflight.check_image(image)
    assert not check.ok
    assert why in check.detail
    assert "TAXIDASK_IMAGE" in check.remedy


def test_an_api_server_that_does_not_answer_ends_the_checks() -> None:
    server = Server()

    def silent() -> str:
        raise ApiError("the Kubernetes API does not answer", "set KUBECONFIG")

    server.version = silent  # type: ignore[method-assign]
    assert list(failed(server)) == ["api"]


def test_custom_resources_missing_or_of_another_version() -> None:
    server = Server()
    del server.crds["daskautoscalers.kubernetes.dask.org"]
    assert "daskautoscalers.kubernetes.dask.org is not installed" in failed(server)["crds"].detail
    server = Server()
    version = server.crds["daskclusters.kubernetes.dask.org"]["spec"]["versions"][0]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["idleTimeout"]
    assert "lacks 1 fields, e.g. .spec.idleTimeout" in failed(server)["crds"].detail
    server = Server()
    server.crds["daskclusters.kubernetes.dask.org"]["status"] = {}
    assert "not established yet" in failed(server)["crds"].detail


def test_operator_missing_or_not_ready() -> None:
    server = Server()
    server.pods[0]["status"]["conditions"][0]["status"] = "False"
    assert "not ready (operator)" in failed(server)["operator"].detail
    server.pods.clear()
    assert "no dask operator runs" in failed(server)["operator"].detail


def test_rights_are_named_by_verb() -> None:
    server = Server()
    server.forbidden = {("pods/log", "get"), ("secrets", "create")}
    check = failed(server)["rights"]
    assert check.detail == "this user may not get pods/log, create secrets"
    assert "Role `driver`" in check.remedy


def test_quota_that_is_used_up() -> None:
    server = Server()
    hard = {"pods": "10", "requests.memory": "8Gi", "requests.cpu": "4", "persistentvolumeclaims": "0"}
    used = {"pods": "8", "requests.memory": "1Gi", "requests.cpu": "3500m"}
    server.quotas = [{"metadata": {"name": "team"}, "status": {"hard": hard, "used": used}}]
    check = failed(server)["quota"]
    assert "team: needs 3 of pods, 2 left of 10" in check.detail
    assert "needs 2.5 of requests.cpu, 0.5 left of 4" in check.detail
    assert "memory" not in check.detail
    used |= {"pods": "7", "requests.cpu": "1500m"}
    assert failed(server) == {}


def test_several_reasons_are_told_together() -> None:
    server = Server()
    server.pods.clear()
    server.forbidden = {("pods", "list")}
    with pytest.raises(ComputeError) as raised:
        preflight.require(preflight.preflight(server, SHAPE), "no cluster")  # type: ignore[arg-type]
    text = str(raised.value)
    assert text.startswith("no cluster, for 2 reasons:\n  operator: ")
    assert "\n  rights: this user may not list pods; " in text

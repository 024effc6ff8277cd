"""What the API server makes of the manifests, and what it allows to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube import LOCAL, ROOT, Kubectl

from taxidask.compute.kubernetes.preflight import RIGHTS

DASK = "kubernetes.dask.org"
CLUSTERS, GROUPS, SCALERS = f"daskclusters.{DASK}", f"daskworkergroups.{DASK}", f"daskautoscalers.{DASK}"
NEEDS = {
    "operator": [
        *(f"{verb} {kind}" for kind in (CLUSTERS, GROUPS, SCALERS) for verb in ("list", "watch", "patch", "delete")),
        *(f"{verb} {kind}" for kind in ("deployments.apps", "services") for verb in ("create", "list", "delete")),
        "watch pods", "patch pods", "create events", f"create {GROUPS}",
    ],
    "driver": [
        *(f"{verb} {kind}.{group}".rstrip(".") for (group, kind), verbs in RIGHTS.items() for verb in verbs),
        f"get customresourcedefinitions.apiextensions.k8s.io/{CLUSTERS}",
        "create selfsubjectaccessreviews.authorization.k8s.io",
    ],
    "worker": [],
    "app": [],
}  # fmt: skip
FORBIDDEN = [
    "create pods", "create pods/exec", "create pods/portforward", "create pods/attach", "list secrets", "watch secrets",
    "create serviceaccounts/token", "impersonate users", "create rolebindings.rbac.authorization.k8s.io",
    "update roles.rbac.authorization.k8s.io", "create daemonsets.apps", "create jobs.batch", "patch cronjobs.batch",
    "get configmaps", "patch networkpolicies.networking.k8s.io", "patch resourcequotas", "patch limitranges",
    "list nodes", "patch namespaces", "create customresourcedefinitions.apiextensions.k8s.io",
]  # fmt: skip
ONLY_OPERATOR = ["create deployments.apps", "patch services", "delete services", f"create {GROUPS}", "patch pods"]
ONLY_DRIVER = ["get secrets", "create secrets", "get pods/log", "list resourcequotas"]


def review(who: str, question: str, namespace: str | None = "taxidask") -> dict[str, Any]:
    verb, _, what = question.partition(" ")
    what, _, rest = what.partition("/")
    kind, _, group = what.partition(".")
    named = kind == "customresourcedefinitions"
    attributes = {"verb": verb, "resource": kind, "group": group, "namespace": None if named else namespace}
    attributes |= {"name": rest} if named else {"subresource": rest}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:taxidask:{who}",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:taxidask", "system:authenticated"],
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }


def allowed(kubectl: Kubectl, who: str, questions: list[str], namespace: str | None = "taxidask") -> list[str]:
    """Those of the questions that the API server says yes to."""
    if not questions:
        return []
    asked = [review(who, question, namespace) for question in questions]
    answer = kubectl("create", "-f", "-", "-o", "json", given={"apiVersion": "v1", "kind": "List", "items": asked})
    decoder, found, rest = json.JSONDecoder(), [], answer.strip()
    while rest:
        one, end = decoder.raw_decode(rest)
        found += one.get("items", [one])
        rest = rest[end:].lstrip()
    assert len(found) == len(questions)
    return [question for question, one in zip(questions, found, strict=True) if one["status"]["allowed"]]


@pytest.mark.parametrize("who", NEEDS)
def test_account_may_do_what_it_needs_and_no_more(cluster: Kubectl, who: str) -> None:
    assert allowed(cluster, who, NEEDS[who]) == NEEDS[who]
    forbidden = FORBIDDEN + (ONLY_OPERATOR if who != "operator" else []) + (ONLY_DRIVER if who != "driver" else [])
    assert allowed(cluster, who, forbidden) == []
    # and nothing in anybody else's namespace
    assert (
        allowed(cluster, who, [q for q in NEEDS[who] if "selfsubject" not in q and "customres" not in q], "default")
        == []
    )


@pytest.mark.parametrize("overlay", ["local", "eks"])
def test_api_server_accepts_the_overlay(cluster: Kubectl, overlay: str) -> None:
    answer = cluster.run("apply", "--dry-run=server", "-k", str(ROOT / "k8s" / "overlays" / overlay), seconds=120)
    assert answer.returncode == 0, answer.stderr
    assert "PodSecurity" not in answer.stderr
    assert answer.stdout.count("(server dry run)") > 25


def test_pod_security_refuses_what_is_not_restricted(cluster: Kubectl) -> None:
    spec = {"containers": [{"name": "main", "image": "localhost/taxidask:dev"}]}
    answer = cluster.run(
        "apply", "--dry-run=server", "-f", "-",
        given={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": spec},
    )  # fmt: skip
    assert answer.returncode != 0
    assert 'violates PodSecurity "restricted' in answer.stderr


def test_pods_without_rights_have_no_token(cluster: Kubectl) -> None:
    look = "import pathlib; print(pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount/token').exists())"
    assert cluster.python("deploy/app", look).strip() == "False"
    assert cluster.python("deploy/dask-operator", look).strip() == "True"


def test_pods_of_the_overlay_are_not_replaced_when_it_is_applied_again(cluster: Kubectl) -> None:
    def pods() -> set[str]:
        found = cluster.get("pods", "-l", "app.kubernetes.io/component in (app,operator)")["items"]
        return {one["metadata"]["name"] for one in found}

    before = pods()
    cluster("apply", "-k", LOCAL)
    cluster("rollout", "status", "deployment/app", "--timeout=60s", seconds=70)
    assert before <= pods()

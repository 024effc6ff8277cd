"""What the API server makes of the manifests, and what it allows to whom."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kube import LOCAL, ROOT, Kubectl, until
from schemas import definitions

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
    "app": [
        f"get {CLUSTERS}", f"list {CLUSTERS}", f"get {GROUPS}", "list pods", "list events",
    ],
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


def there(kubectl: Kubectl, names: list[str]) -> list[dict[str, Any]]:
    found = kubectl("get", "crd", *names, "--ignore-not-found", "-o", "json")
    return json.loads(found)["items"] if found.strip() else []


@pytest.fixture
def karpenter(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The cluster with Karpenter's definitions, for as long as a test takes."""
    found = definitions()
    names = [one["metadata"]["name"] for one in found]
    # those of a test before this may still be going
    until(lambda: not any("deletionTimestamp" in crd["metadata"] for crd in there(kubectl, names)), "them to go", 240)
    for crd in there(kubectl, names):  # of a test that was killed, or in use
        name = crd["metadata"]["name"]
        assert not kubectl("get", name, "-o", "name").split(), f"{name} is somebody else's"
    try:
        kubectl("apply", "--server-side", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": found})
        kubectl("wait", "crd", *names, "--for=condition=Established", "--timeout=60s", seconds=70)
        until(lambda: set(names) <= set(kubectl("api-resources", "-o", "name").split()), "the kinds to be served")
        yield kubectl
    finally:
        # the API server takes minutes now and then to finish with definitions that have just been made
        kubectl("delete", "crd", *names, "--ignore-not-found", "--wait=false")


def dry_run(kubectl: Kubectl, *objects: dict[str, Any]) -> tuple[int, str]:
    given = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    answer = kubectl.run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", given=given)
    return answer.returncode, answer.stdout + answer.stderr


def test_api_server_accepts_the_nodes_by_karpenters_own_rules(karpenter: Kubectl) -> None:
    nodes = list(yaml.safe_load_all((ROOT / "k8s" / "aws" / "nodes.yaml").read_text()))
    empty = copy.deepcopy(nodes[0])
    empty["spec"]["template"]["spec"]["requirements"][0]["values"] = []
    # a kind is known a moment before its rules in CEL are in force
    until(lambda: "must have a value defined" in dry_run(karpenter, empty)[1], "the rules to be in force")
    code, said = dry_run(karpenter, *nodes)
    assert code == 0, said
    assert said.count("serverside-applied (server dry run)") == len(nodes) == 3

    # rules that no JSON schema holds
    for number, where, value, message in [
        (0, ["template", "metadata", "labels", "karpenter.sh/x"], "y", 'label domain "karpenter.sh" is restricted'),
        (0, ["template", "spec", "requirements", 3, "key"], "karpenter.k8s.aws/size", "is restricted"),
        (1, ["disruption", "budgets", 0, "duration"], "1h", "'schedule' must be set with 'duration'"),
        (2, ["role"], "taxidask-node", "must specify exactly one of ['role', 'instanceProfile']"),
        (2, ["tags", "karpenter.sh/nodepool"], "mine", "tag contains a restricted tag"),
    ]:
        wrong = copy.deepcopy(nodes[number])
        inside: Any = wrong["spec"]
        for key in where[:-1]:
            inside = inside[key]
        inside[where[-1]] = value
        code, said = dry_run(karpenter, wrong)
        assert code != 0, where
        assert message in said


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
    assert cluster.python("deploy/app", look).strip() == "True"
    assert cluster.python("deploy/dask-operator", look).strip() == "True"


def test_pods_of_the_overlay_are_not_replaced_when_it_is_applied_again(cluster: Kubectl) -> None:
    def pods() -> set[str]:
        found = cluster.get("pods", "-l", "app.kubernetes.io/component in (app,operator)")["items"]
        return {one["metadata"]["name"] for one in found}

    before = pods()
    cluster("apply", "-k", LOCAL)
    cluster("rollout", "status", "deployment/app", "--timeout=60s", seconds=70)
    assert before <= pods()

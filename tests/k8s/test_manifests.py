"""What the manifests say, read without a cluster; with kubectl also what the overlays make of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dask_kubernetes
import pytest
import yaml

from taxidask.compute.kubernetes.preflight import RIGHTS
from taxidask.settings import Settings, load_settings

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = ("local", "eks")


@cache
def documents(folder: str) -> list[dict[str, Any]]:
    return [
        document
        for file in sorted((K8S / folder).glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for document in yaml.safe_load_all(file.read_text())
    ]


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pod_specs(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for o in objects:
        if o["kind"] in ("Deployment", "Job"):
            yield o["metadata"]["name"], o["spec"]["template"]
        if o["kind"] == "CronJob":
            yield o["metadata"]["name"], o["spec"]["jobTemplate"]["spec"]["template"]


def test_definitions_are_those_of_the_installed_operator() -> None:
    installed = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    files = sorted(path.name for path in installed.glob("*.yaml"))
    assert files == sorted(path.name for path in (K8S / "base" / "crds").glob("*.yaml"))
    for name in files:
        assert (K8S / "base" / "crds" / name).read_text() == (installed / name).read_text(), f"copy {name} again"


@pytest.mark.parametrize("folder", ["base", "overlays/local"])
def test_every_pod_is_as_restricted_as_can_be(folder: str) -> None:
    specs = dict(pod_specs(documents(folder)))
    for name, template in specs.items():
        spec = template["spec"] if "containers" in template["spec"] else {}
        if not spec or "securityContext" not in spec:
            assert folder != "base", name  # a patch of an overlay
            continue
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        assert {v["name"] for v in spec["volumes"]} == {"tmp", "home"}
        assert template["metadata"]["labels"]["app.kubernetes.io/component"] in ("operator", "driver", "app")
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert "command" not in container, "the image's entrypoint puts the kernels in place"


def test_only_who_speaks_to_the_api_server_has_a_token() -> None:
    assert all(o["automountServiceAccountToken"] is False for o in documents("base") if o["kind"] == "ServiceAccount")
    with_token = {n for n, t in pod_specs(documents("base")) if t["spec"]["automountServiceAccountToken"]}
    assert with_token == {"dask-operator", "app", "run", "lab", "watch"}
    bound = {s["name"] for o in documents("base") if o["kind"].endswith("RoleBinding") for s in o["subjects"]}
    assert bound == {"operator", "driver", "app"}


def test_no_role_has_a_wildcard() -> None:
    rules = [rule for o in documents("base") if o["kind"] in ("Role", "ClusterRole") for rule in o["rules"]]
    assert rules
    assert not any("*" in values for rule in rules for values in rule.values())


def test_driver_may_do_just_what_preflight_asks_for() -> None:
    allowed = {
        (group, resource): set(rule["verbs"])
        for rule in one(documents("base"), "Role", "driver")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert allowed == {what: set(verbs) for what, verbs in RIGHTS.items()}


def test_the_app_only_looks() -> None:
    rules = one(documents("base"), "Role", "app")["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}
    assert not {"secrets", "configmaps"} & {resource for rule in rules for resource in rule["resources"]}


def test_scheduled_run_neither_overlaps_nor_runs_for_ever() -> None:
    run = one(documents("base"), "CronJob", "run")["spec"]
    job = run["jobTemplate"]["spec"]
    assert run["concurrencyPolicy"] == "Forbid"
    assert {"backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"} <= set(job)
    arguments = job["template"]["spec"]["containers"][0]["args"]
    assert arguments == ["taxidask", "run", "--compute", "kubernetes", "--resume", "last"]


def test_the_watch_is_off_until_asked_for_and_alone() -> None:
    watch = one(documents("base"), "Deployment", "watch")["spec"]
    assert (watch["replicas"], watch["strategy"]) == (0, {"type": "Recreate"})
    assert watch["template"]["spec"]["containers"][0]["args"][:2] == ["taxidask", "watch"]


def test_app_survives_the_loss_of_a_pod() -> None:
    objects = documents("base")
    container = one(objects, "Deployment", "app")["spec"]["template"]["spec"]["containers"][0]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert one(objects, "HorizontalPodAutoscaler", "app")["spec"]["minReplicas"] == 2
    assert one(objects, "PodDisruptionBudget", "app")["spec"]["minAvailable"] == 1
    topologies = one(objects, "Deployment", "app")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {c["topologyKey"] for c in topologies} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_names_both_regions(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = one(documents(f"overlays/{overlay}"), "ConfigMap", "taxidask")["data"]
    for key in ("TAXIDASK_LAKE", "TAXIDASK_REGIONS"):
        monkeypatch.setenv(key, given[key])
    home, other = load_settings().regions
    assert (home.name, home.lake) == (given["AWS_DEFAULT_REGION"], None), "the home region has the lake"
    assert other.name == "us-west-2"
    covered = [given[f"TAXIDASK_{name}"].rstrip("/") for name in ("SOURCES", "LAKE", "REPORT")]
    assert all(any(f"{url}/".startswith(f"{place}/") for place in other.places) for url in covered)


@pytest.mark.program("kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_renders_with_one_tagged_image(overlay: str) -> None:
    objects = rendered(overlay)
    images = {c["image"] for _, template in pod_specs(objects) for c in template["spec"]["containers"]}
    assert len(images) == 1
    [image] = images
    assert image.rpartition(":")[2] not in ("", "latest", image)
    settings = one(objects, "ConfigMap", "taxidask")["data"]
    assert settings["TAXIDASK_IMAGE"] == image
    fields = {key.removeprefix("TAXIDASK_").lower() for key in settings if key.startswith("TAXIDASK_")}
    assert fields <= set(Settings.model_fields)
    cluster_wide = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    assert all(o["metadata"].get("namespace") == "taxidask" for o in objects if o["kind"] not in cluster_wide)


@pytest.mark.program("kubectl")
def test_eks_has_roles_and_no_credentials() -> None:
    objects = rendered("eks")
    assert not [o for o in objects if o["kind"] == "Secret"]
    settings = one(objects, "ConfigMap", "taxidask")["data"]
    assert not [key for key in settings if "KEY" in key or "ENDPOINT" in key]
    roles = {
        o["metadata"]["name"]: o["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn")
        for o in objects
        if o["kind"] == "ServiceAccount"
    }
    assert roles["operator"] is None
    for name in ("driver", "worker", "app"):
        assert roles[name] == f"arn:aws:iam::111122223333:role/taxidask-{name}"


@pytest.mark.program("kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_may_talk_unless_it_is_said(overlay: str) -> None:
    policies = [o for o in rendered(overlay) if o["kind"] == "NetworkPolicy"]
    assert one(policies, "NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for policy in policies:
        for rule in (policy["spec"].get("ingress") or []) + (policy["spec"].get("egress") or []):
            assert rule.get("ports"), f"{policy['metadata']['name']} opens every port"
            assert rule.get("from") or rule.get("to"), f"{policy['metadata']['name']} opens to everybody"


@pytest.mark.program("kubectl")
def test_the_app_has_operators_only_where_visitors_sign_in(tmp_path: Path) -> None:
    def arguments(objects: list[dict[str, Any]]) -> list[str]:
        return one(objects, "Deployment", "app")["spec"]["template"]["spec"]["containers"][0]["args"]

    plain = arguments(rendered("eks"))
    assert not [argument for argument in plain if argument.startswith(("--auth", "--operator"))]
    at = {name: os.path.relpath(K8S / name, tmp_path.resolve()) for name in ("overlays/eks", "operators")}
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{at['overlays/eks']}]\ncomponents: [{at['operators']}]\n"
    )
    command = ["kubectl", "kustomize", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    objects = list(yaml.safe_load_all(answer.stdout))
    users = "/run/app-users/users.json"
    assert arguments(objects) == [*plain, "--auth=basic", f"--users={users}", "--operator=operator"]
    spec = one(objects, "Deployment", "app")["spec"]["template"]["spec"]
    [users_at] = [volume["mountPath"] for volume in spec["containers"][0]["volumeMounts"] if volume["name"] == "users"]
    assert users.startswith(f"{users_at}/")
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"] if "emptyDir" in volume}
    assert sizes == {"tmp": "1Gi", "home": "64Mi"}
    assert one(objects, "CronJob", "run") == one(rendered("eks"), "CronJob", "run")

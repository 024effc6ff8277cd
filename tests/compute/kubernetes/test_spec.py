from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest

from taxidask.compute.kubernetes import spec
from taxidask.compute.kubernetes.cluster import KubernetesCluster
from taxidask.compute.kubernetes.preflight import _packaged
from taxidask.compute.kubernetes.status import Status
from taxidask.errors import SettingsError
from taxidask.settings import Settings

IMAGE = "registry/taxidask:1"


def made(**given: Any) -> tuple[spec.Shape, dict[str, Any]]:
    shape = spec.Shape.of(Settings(compute="kubernetes", **given), "anna", image=IMAGE, owner="me")
    return shape, spec.dask_cluster(shape)


def pod(body: dict[str, Any], part: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    found = body["spec"][part]["spec"]
    [container] = found["containers"]
    return found, container, {entry["name"]: entry["value"] for entry in container["env"]}


def test_commands_are_those_that_distributed_has_and_speak_tls() -> None:
    _, body = made(workers=3, worker_cpus=2, worker_memory="4GiB")
    _, scheduler, _ = pod(body, "scheduler")
    _, worker, environment = pod(body, "worker")
    assert scheduler["args"][:4] == ["dask", "scheduler", "--protocol", "tls"]
    assert worker["args"][:3] == ["dask", "worker", "tls://anna-scheduler.taxidask:8786"]
    assert environment["DASK_SCHEDULER_ADDRESS"] == "tls://anna-scheduler.taxidask:8786"
    options = dict(zip(worker["args"][3::2], worker["args"][4::2], strict=False))
    assert options["--nthreads"] == "2"
    assert int(options["--memory-limit"]) == (4 << 30) - spec.NANNY_BYTES
    assert (options["--worker-port"], options["--nanny-port"]) == ("8788", "8789")
    assert environment["OMP_NUM_THREADS"] == "2"
    for part in ("scheduler", "worker"):
        _, container, environment = pod(body, part)
        assert "command" not in container, "the image's entry point has to run"
        assert environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
        for who in ("SCHEDULER", "WORKER", "CLIENT"):
            assert environment[f"DASK_DISTRIBUTED__COMM__TLS__{who}__CERT"] == "/etc/taxidask/tls/tls.crt"


def test_the_environment_is_what_dask_understands() -> None:
    import dask.config
    from distributed import Security

    _, body = made()
    environment = pod(body, "scheduler")[2]

    def flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
        return {
            name: value
            for key, part in config.items()
            for name, value in (
                flat(part, f"{path}{key}.") if isinstance(part, dict) else {f"{path}{key}": part}
            ).items()
        }

    with dask.config.set(flat(dask.config.collect_env(environment))):
        security = Security()
        routes = dask.config.get("distributed.scheduler.http.routes")
        saturation = dask.config.get("distributed.scheduler.worker-saturation")
    assert security.require_encryption is True
    assert security.tls_worker_cert == "/etc/taxidask/tls/tls.crt"
    assert security.tls_ca_file == "/etc/taxidask/tls/ca.crt"
    assert "distributed.http.scheduler.api" in routes
    assert saturation == 1.0


def test_pods_satisfy_pod_security_restricted() -> None:
    _, body = made()
    for part in ("scheduler", "worker"):
        found, container, _ = pod(body, part)
        assert found["securityContext"]["runAsNonRoot"] is True
        assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert found["automountServiceAccountToken"] is False
        assert found["serviceAccountName"] == "worker"
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
            *("/tmp", "/home/taxidask", "/etc/taxidask/tls")
        }
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_doctor_is_told_what_pod_it_is_in() -> None:
    _, body = made()
    for part in ("scheduler", "worker"):
        _, container, environment = pod(body, part)
        assert environment["POD_COMPONENT"] == part
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names))


def test_a_worker_is_retired_before_it_is_stopped() -> None:
    found, container, _ = pod(made()[1], "worker")
    assert container["lifecycle"]["preStop"]["exec"]["command"] == [
        "python",
        "-m",
        "taxidask.compute.kubernetes.retire",
    ]
    assert found["terminationGracePeriodSeconds"] > 45


def test_labels_policies_select_by() -> None:
    _, body = made()
    assert body["metadata"]["labels"] == {
        "dask.org/cluster-name": "anna",
        "app.kubernetes.io/part-of": "taxidask",
        "taxidask/owner": "me",
    }
    for part in ("scheduler", "worker"):
        labels = body["spec"][part]["metadata"]["labels"]
        assert labels == {"app.kubernetes.io/part-of": "taxidask", "app.kubernetes.io/component": part}
    ports = {port["name"]: port["port"] for port in body["spec"]["scheduler"]["service"]["ports"]}
    assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}, "names that the operator looks for"
    # the VPC CNI lets pods through to a Service only if it selects by what a policy selects by
    assert spec.labels("scheduler").items() <= body["spec"]["scheduler"]["service"]["selector"].items()


def test_every_field_is_one_that_the_custom_resource_has() -> None:
    """The API server drops others without a word."""

    def unknown(value: Any, schema: dict[str, Any], path: str) -> list[str]:
        if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string"):
            return []
        if isinstance(value, dict):
            known = schema.get("properties", {})
            other = schema.get("additionalProperties")
            return [
                found
                for key, part in value.items()
                for found in (
                    unknown(part, known[key], f"{path}.{key}") if key in known else [] if other else [f"{path}.{key}"]
                )
            ]
        if isinstance(value, list):
            return [found for part in value for found in unknown(part, schema.get("items", {}), f"{path}[]")]
        return []

    _, body = made()
    crd = _packaged("daskclusters")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert unknown({"spec": body["spec"]}, crd, "") == []
    scaler = spec.autoscaler("anna", 1, 3, {})
    crd = _packaged("daskautoscalers")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert unknown({"spec": scaler["spec"]}, crd, "") == []


def test_idle_time_and_defaults() -> None:
    shape, body = made()
    assert body["spec"]["idleTimeout"] == 1200
    assert (shape.workers, shape.worker_memory) == (spec.WORKERS, 4 << 30)
    assert made(idle_timeout="90s")[1]["spec"]["idleTimeout"] == 90


@pytest.mark.parametrize("name", ["", "Anna", "anna_b", "-anna", "anna-", "1anna", "a" * 41, "a.b"])
def test_names_that_pods_cannot_have(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a Kubernetes cluster"):
        spec.checked(name)


def test_a_worker_too_small_for_its_nanny_is_refused() -> None:
    with pytest.raises(SettingsError, match="too little for a worker pod"):
        made(worker_memory="100MiB")


def test_a_cluster_says_what_cores_its_pods_ask_for() -> None:
    shape, body = made(workers=3, worker_cpus=0.6, scheduler_cpus=0.25)
    found = KubernetesCluster(SimpleNamespace(namespace="taxidask"), body, mine=True, status=Status())
    assert shape.cpus == pytest.approx(found.cpus) == pytest.approx(2.05)


def test_needs_cover_what_quotas_count() -> None:
    shape, _ = made(workers=3, worker_cpus=2, worker_memory="1GiB", scheduler_cpus=0.5, scheduler_memory="2GiB")
    needs = shape.needs()
    assert needs["requests.cpu"] == needs["limits.cpu"] == 6.5
    assert needs["requests.memory"] == 5 << 30
    assert needs["pods"] == 4


def test_secret_is_owned_by_its_cluster() -> None:
    import datetime as dt

    from taxidask.compute.kubernetes.certificates import Certificates

    certificates = Certificates.make("anna", "taxidask", now=dt.datetime.now(dt.UTC))
    owner = spec.owner_reference(
        {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "anna", "uid": "1"}}
    )
    secret = certificates.secret("anna-tls", {}, owner)
    assert secret["metadata"]["ownerReferences"] == [owner]
    assert base64.b64decode(secret["data"]["tls.key"]).startswith(b"-----BEGIN PRIVATE KEY")
    assert Certificates.from_secret(secret) == certificates
    assert "PRIVATE" not in repr(certificates)


def test_users_as_labels() -> None:
    assert spec.label_value("a:b") != spec.label_value("a/b")
    long = spec.label_value("arn:aws:sts::123456789012:assumed-role/" + "x" * 80)
    assert len(long) <= 63
    assert long[0].isalnum()
    assert long[-1].isalnum()

"""One real Kubernetes with overlay `local` on it, for all tests of this folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "localhost/taxidask:dev"
NAMESPACE = "taxidask"
LOCAL = str(ROOT / "k8s" / "overlays" / "local")


class Kubectl:
    """`kubectl` on the cluster; every call has a deadline."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(
        self, *arguments: str, namespace: str = NAMESPACE, given: Any = None, seconds: float = 60, check: bool = True
    ) -> str:
        answer = self.run(*arguments, namespace=namespace, given=given, seconds=seconds)
        assert not check or answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stdout}\n{answer.stderr}"
        return answer.stdout

    def run(
        self, *arguments: str, namespace: str = NAMESPACE, given: Any = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "-n", namespace, *arguments], input=None if given is None else json.dumps(given),
            capture_output=True, text=True, timeout=seconds, env=self.environment, check=False,
        )  # fmt: skip

    def get(self, *what: str, namespace: str = NAMESPACE) -> Any:
        return json.loads(self("get", *what, "-o", "json", namespace=namespace))

    def python(self, pod: str, code: str, *arguments: str, namespace: str = NAMESPACE, seconds: float = 60) -> str:
        """What a Python program prints in a pod."""
        return self("exec", pod, "--", "python", "-c", code, *arguments, namespace=namespace, seconds=seconds)

    def apply(self, *objects: dict[str, Any], namespace: str = NAMESPACE) -> None:
        self(
            "apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": list(objects)}, namespace=namespace
        )

    def wait_ready(self, *pods: str, namespace: str = NAMESPACE, seconds: int = 90) -> None:
        names = [f"pod/{pod}" for pod in pods]
        self(
            "wait", "--for=condition=Ready", f"--timeout={seconds}s", *names, namespace=namespace, seconds=seconds + 10
        )


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
    return value


def pod(name: str, component: str | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of our image that satisfies `restricted`; with a component, one of ours."""
    labels = {"app.kubernetes.io/part-of": "taxidask", "app.kubernetes.io/component": component} if component else {}
    container = {
        "name": "main",
        "image": IMAGE,
        "args": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "home", "mountPath": "/home/taxidask"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels | {"tests": "e2e"} | spec.pop("labels", {})},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container | spec.pop("container", {})],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}],
            **spec,
        },
    }


def _context() -> str:
    """A hash of everything that the image is made of."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", "Dockerfile", ".dockerignore", "pyproject.toml",
         "requirements.lock", "README.md", "LICENSE", "report", "k8s/image", "taxidask"],
        cwd=ROOT, capture_output=True, check=True, timeout=30,
    ).stdout.decode()  # fmt: skip
    total = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {""}):
        if (file := ROOT / name).is_file():
            total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _build(kube: Path, environment: dict[str, str]) -> bool:
    """Build and load the image if anything in it changed; whether that was so."""
    context = _context()
    label = ["buildah", "inspect", "--type", "image", "--format", '{{index .OCIv1.Config.Labels "taxidask.context"}}']
    built = subprocess.run([*label, IMAGE], capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    loaded = subprocess.run(
        ["bash", "-c", f'. {kube}/env && $CTR images ls -q name=={IMAGE}'],
        capture_output=True, text=True, timeout=30, check=False,
    ).stdout.strip()  # fmt: skip
    if built == context and loaded == IMAGE:
        return False
    command = [str(kube / "build"), IMAGE, str(ROOT), "--label", f"taxidask.context={context}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=1500, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr[-4000:]
    return True


@pytest.fixture(scope="session")
def kubectl(shared: Path, aws_servers: Any) -> Kubectl:
    """The cluster, up, with nothing asked of it yet."""
    if os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") != "1":
        pytest.skip("there is one Kubernetes: run these tests one at a time, with --numprocesses=0")
    if not (shared / "kube" / "up").exists():
        pytest.skip("needs the Kubernetes of ../shared/kube, which is not here")
    if os.geteuid() != 0:
        pytest.skip("starting a Kubernetes on this machine needs root")
    subprocess.run([shared / "kube" / "up"], check=True, timeout=600, capture_output=True)
    # once more: with the cluster there, the servers answer pods too
    subprocess.run([shared / "aws" / "up"], check=True, timeout=300, capture_output=True)
    text = subprocess.run(
        ["bash", "-c", ". ./env && env -0"], cwd=shared / "kube", check=True, capture_output=True, timeout=30
    ).stdout.decode()
    return Kubectl(dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry))


def deploy(kubectl: Kubectl) -> None:
    """Apply overlay `local` and wait until all of it works."""
    kubectl("apply", "-k", LOCAL)
    for name in ("dask-operator", "app"):
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s", seconds=190)
    until(lambda: kubectl.get("deployment", "app")["status"].get("readyReplicas", 0) >= 2, "two pods of the app", 90)


@pytest.fixture(scope="session")
def cluster(kubectl: Kubectl, shared: Path, aws_servers: Any) -> Iterator[Kubectl]:
    """The cluster with the image of this checkout and overlay `local` on it."""
    import boto3

    credentials = {key.lower(): aws_servers.environment[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=aws_servers.s3["us-east-1"], **credentials)
    if NAMESPACE not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=NAMESPACE)
    for month in sorted((shared / "data" / "trips").glob("*.csv"))[:1]:
        s3.upload_file(str(month), NAMESPACE, f"trips/{month.name}")
    changed = _build(shared / "kube", kubectl.environment)
    there = kubectl.run("get", "deployment", "app").returncode == 0
    if changed and there:
        kubectl("rollout", "restart", "deployment/app", "deployment/dask-operator")
    deploy(kubectl)
    yield kubectl
    kubectl("delete", "pods", "-l", "tests=e2e", "--wait=false", check=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes everything away comes last."""
    items.sort(key=lambda item: "test_removal" in item.nodeid)

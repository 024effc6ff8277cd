"""A real Kubernetes for tests: `kubectl` with deadlines, pods of the image, programs that start clusters, runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "localhost/taxidask:dev"
NAMESPACE = "taxidask"
LOCAL = str(ROOT / "k8s" / "overlays" / "local")

HEAD = """
import json, os, sys, time
import taxidask as td
from distributed import wait
from taxidask.errors import TaxidaskError

def until(condition, what, seconds=90):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.3)
    return value

def tell(**what):
    print(json.dumps(what), flush=True)

def settings(**given):
    small = dict(workers=1, worker_memory="768MiB", worker_cpus=0.1, scheduler_cpus=0.1, scheduler_memory="512MiB")
    return td.Settings(**(dict(compute="kubernetes", image=os.environ["TEST_IMAGE"]) | small | given))
"""


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

    def start(self, *arguments: str, namespace: str = NAMESPACE) -> subprocess.Popen[str]:
        """A call that goes on meanwhile."""
        command = ["kubectl", "-n", namespace, *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )

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


class Drivers:
    """Python programs that see the cluster as pods do."""

    def __init__(self, kubectl: Kubectl, dns: Path) -> None:
        self._dns = dns
        self._environment = kubectl.environment | {"PYTHONPATH": str(ROOT), "TEST_IMAGE": IMAGE}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, code: str) -> subprocess.Popen[str]:
        command = [str(self._dns), sys.executable, "-W", "error", "-c", HEAD + code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=self._environment, start_new_session=True)  # fmt: skip
        self._started.append(process)
        return process

    def __call__(self, code: str, *, seconds: float = 240) -> list[dict[str, Any]]:
        """What a program tells; it has to end well."""
        process = self.start(code)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            pytest.fail(f"the driver took more than {seconds:.0f} s: {out}\n{err}")
        assert process.returncode == 0, f"{out}\n{err}"
        return [json.loads(line) for line in out.splitlines()]

    def first(self, process: subprocess.Popen[str]) -> Any:
        """What a started program tells first."""
        assert process.stdout is not None
        if not (line := process.stdout.readline()):
            pytest.fail(f"the driver ended: {process.communicate(timeout=60)[1]}")
        return json.loads(line)

    def command(self, *arguments: str, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        line = [str(self._dns), sys.executable, "-c", "from taxidask.cli import main; main()", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=seconds, env=self._environment, check=False)

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Job:
    """A Job like those of the CronJob, with settings of its own."""

    def __init__(self, kubectl: Kubectl, name: str, **settings: str) -> None:
        self.kubectl, self.name = kubectl, name
        made = kubectl("create", "job", name, "--from=cronjob/run", "--dry-run=client", "-o", "json")
        body = json.loads(made)
        del body["metadata"]["ownerReferences"]
        [container] = body["spec"]["template"]["spec"]["containers"]
        container["env"] = [{"name": f"TAXIDASK_{key.upper()}", "value": value} for key, value in settings.items()]
        kubectl.apply(body)
        self.killed: list[str] = []

    def pods(self, component: str) -> list[str]:
        """Its running pods: the driver's, or those of the clusters that it made."""
        if component == "driver":
            found = self.kubectl.get("pods", "-l", f"job-name={self.name}")["items"]
        else:
            found = self.kubectl.get("pods", "-l", f"dask.org/component={component},dask.org/cluster-name")["items"]
        return [
            one["metadata"]["name"]
            for one in found
            if one["status"].get("phase") == "Running"
            and "deletionTimestamp" not in one["metadata"]
            and one["metadata"]["name"] not in self.killed
        ]

    def kill(self, component: str, after: Callable[[], Any], what: str) -> None:
        """Remove one of its pods by force, once something has happened."""
        self.wait(after, what, 420)
        victim = self.wait(lambda: self.pods(component), f"a running {component}", 240)[0]
        self.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
        self.killed.append(victim)

    def state(self) -> str:
        status = self.kubectl.get("job", self.name)["status"]
        done = [one["type"] for one in status.get("conditions", ()) if one["status"] == "True"]
        return "Complete" if "Complete" in done else "Failed" if "Failed" in done else ""

    def log(self) -> str:
        return str(self.kubectl.run("logs", "-l", f"job-name={self.name}", "--tail=60", "--prefix").stdout)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """The condition's first true value, unless the Job fails before."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}; its pods said:\n{self.log()}"
            assert self.state() != "Failed", f"the Job failed; its pods said:\n{self.log()}"
            time.sleep(0.3)
        return value


def put(aws: Any, folder: str, name: str, data: bytes) -> None:
    """Write an object into a folder of the overlay's bucket, and its copy into the other region's."""
    import boto3

    for region, bucket in (("us-east-1", NAMESPACE), ("us-west-2", f"{NAMESPACE}-west")):
        s3 = boto3.client("s3", region_name=region, endpoint_url=aws.s3[region])
        s3.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=data)
        s3.close()


def deploy(kubectl: Kubectl) -> None:
    """Apply overlay `local` and wait until all of it works."""
    kubectl("apply", "-k", LOCAL)
    for name in ("dask-operator", "app"):
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s", seconds=190)
    until(lambda: kubectl.get("deployment", "app")["status"].get("readyReplicas", 0) >= 2, "two pods of the app", 90)

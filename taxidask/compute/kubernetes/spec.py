"""The objects of one cluster, as plain dictionaries: what its pods run, need, may do and are called."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taxidask.errors import SettingsError
from taxidask.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from taxidask.settings import Settings

WORKERS = 2
WORKER_MEMORY = "4GiB"
COMM_PORT, HTTP_PORT = 8786, 8787
WORKER_PORT, NANNY_PORT, HEALTH_PORT = 8788, 8789, 8790
NANNY_BYTES = 200 << 20
"""Of a worker pod's memory, what is left to the nanny: the worker is restarted by it before the kernel kills both."""
GRACE_SECONDS = 60
"""From SIGTERM to SIGKILL: time to hand what a worker holds to another one."""
TLS_FOLDER = "/etc/taxidask/tls"
OWNER_LABEL = "taxidask/owner"
LONGEST_NAME = 40
"""Pods are called NAME-default-worker-<10 letters>-<15 letters>, in at most 63, cut after that."""

_ROUTES = [
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.health",
    "distributed.http.statics",
    "distributed.http.scheduler.api",  # retiring workers and idleness, for operator and driver
]
_TLS = "DASK_DISTRIBUTED__COMM__TLS__"


@dataclass(frozen=True)
class Shape:
    """What a cluster is to be like. Sizes in bytes, cores of one pod, seconds."""

    name: str
    namespace: str
    image: str
    workers: int
    worker_cpus: float
    worker_memory: int
    scheduler_cpus: float
    scheduler_memory: int
    idle_seconds: int
    owner: str = ""

    @classmethod
    def of(cls, settings: Settings, name: str, *, image: str, owner: str = "") -> Shape:
        """From settings; those left open get the defaults of worker pods."""
        memory = parse_bytes(settings.worker_memory or WORKER_MEMORY)
        if memory < 2 * NANNY_BYTES:
            raise SettingsError(
                f"worker_memory {settings.worker_memory!r} is too little for a worker pod",
                f"give at least {2 * NANNY_BYTES >> 20}MiB; 2GiB and more for blocks of 64MiB",
            )
        return cls(
            name=checked(name),
            namespace=settings.namespace,
            image=image,
            workers=WORKERS if settings.workers is None else settings.workers,
            worker_cpus=settings.worker_cpus,
            worker_memory=memory,
            scheduler_cpus=settings.scheduler_cpus,
            scheduler_memory=parse_bytes(settings.scheduler_memory),
            idle_seconds=math.ceil(parse_seconds(settings.idle_timeout)),
            owner=owner,
        )

    @property
    def threads(self) -> int:
        """Threads of one worker."""
        return max(1, round(self.worker_cpus))

    @property
    def cpus(self) -> float:
        """Cores of all its pods."""
        return self.scheduler_cpus + self.workers * self.worker_cpus

    def needs(self) -> dict[str, float]:
        """What a ResourceQuota counts of the whole cluster: cores, bytes and objects."""
        cpus = self.cpus
        memory = self.scheduler_memory + self.workers * self.worker_memory
        pods = 1 + self.workers
        return {
            **dict.fromkeys(("cpu", "requests.cpu", "limits.cpu"), cpus),
            **dict.fromkeys(("memory", "requests.memory", "limits.memory"), float(memory)),
            **dict.fromkeys(("pods", "count/pods", "count/deployments.apps", "count/replicasets.apps"), float(pods)),
            **dict.fromkeys(("services", "count/services", "secrets", "count/secrets"), 1.0),
            **dict.fromkeys(
                (f"count/{kind}.kubernetes.dask.org" for kind in ("daskclusters", "daskworkergroups")), 1.0
            ),
        }


def scheduler_host(name: str, namespace: str) -> str:
    """The name of a cluster's scheduler Service, as pods of any namespace resolve it."""
    return f"{name}-scheduler.{namespace}"


def scheduler_address(name: str, namespace: str) -> str:
    """Where a cluster's scheduler is found from any pod."""
    return f"tls://{scheduler_host(name, namespace)}:{COMM_PORT}"


def checked(name: str) -> str:
    """A cluster's name, if pods, Services and labels can be called after it."""
    if len(name) > LONGEST_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        raise SettingsError(
            f"cluster_name {name!r} cannot name a Kubernetes cluster",
            f"use at most {LONGEST_NAME} lower-case letters, digits and '-', a letter first and no '-' last",
        )
    return name


def label_value(text: str) -> str:
    """A user's name as a label's value: the same for the same user, different for different ones.

    >>> label_value("system:serviceaccount:taxidask:driver")
    'system-serviceaccount-taxidask-driver-f853d348'
    >>> label_value("anna")
    'anna'
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")
    if plain == text and len(text) <= 63:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[:54].rstrip('-_.')}-{digest}".lstrip("-")


def labels(component: str) -> dict[str, str]:
    """The labels that policies and people select by."""
    return {"app.kubernetes.io/part-of": "taxidask", "app.kubernetes.io/component": component}


def cluster_labels(shape: Shape) -> dict[str, str]:
    """Of the objects that belong to a cluster as a whole."""
    own = {"dask.org/cluster-name": shape.name, "app.kubernetes.io/part-of": "taxidask"}
    return own | ({OWNER_LABEL: shape.owner} if shape.owner else {})


def dask_cluster(shape: Shape, *, owners: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The DaskCluster object that the operator makes Deployments and a Service of."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": shape.name, "labels": cluster_labels(shape), "ownerReferences": owners or []},
        "spec": {
            "idleTimeout": shape.idle_seconds,
            "scheduler": {
                "metadata": _metadata("scheduler"),
                "spec": _scheduler_pod(shape),
                "service": {
                    "type": "ClusterIP",
                    # With the labels of the policies: the VPC CNI of EKS lets a pod through to a Service only if the
                    # Service selects by what the policy selects by.
                    "selector": labels("scheduler")
                    | {"dask.org/cluster-name": shape.name, "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": "tcp-comm", "protocol": "TCP", "port": COMM_PORT, "targetPort": "tcp-comm"},
                        {
                            "name": "http-dashboard",
                            "protocol": "TCP",
                            "port": HTTP_PORT,
                            "targetPort": "http-dashboard",
                        },
                    ],
                },
            },
            "worker": {
                "metadata": _metadata("worker"),
                "replicas": shape.workers,
                "spec": _worker_pod(shape),
            },
        },
    }


def autoscaler(shape_name: str, minimum: int, maximum: int, owner: dict[str, Any]) -> dict[str, Any]:
    """The DaskAutoscaler that keeps the workers between two limits."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {
            "name": shape_name,
            "labels": {"dask.org/cluster-name": shape_name, "app.kubernetes.io/part-of": "taxidask"},
            "ownerReferences": [owner],
        },
        "spec": {"cluster": shape_name, "minimum": minimum, "maximum": maximum},
    }


def owner_reference(owner: dict[str, Any]) -> dict[str, Any]:
    """What makes an object go when `owner`, as the API server sent it, goes."""
    meta = owner["metadata"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}


def _metadata(component: str) -> dict[str, Any]:
    # Karpenter must not move a pod to save a node: a scheduler's death costs a whole run.
    return {"labels": labels(component), "annotations": {"karpenter.sh/do-not-disrupt": "true"}}


def _scheduler_pod(shape: Shape) -> dict[str, Any]:
    command = ["dask", "scheduler", "--protocol", "tls", "--port", str(COMM_PORT)]
    health = {"path": "/health", "port": "http-dashboard"}
    container = {
        "args": [*command, "--dashboard-address", f":{HTTP_PORT}"],
        "env": _pairs(
            {
                "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": str(_ROUTES),
                # A worker holds only what it runs: its death then counts against those tasks and no other.
                "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
            }
        ),
        "ports": _ports({"tcp-comm": COMM_PORT, "http-dashboard": HTTP_PORT}),
        "resources": _resources(shape.scheduler_cpus, shape.scheduler_memory),
        "readinessProbe": {"httpGet": health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": health,
            "initialDelaySeconds": 60,
            "periodSeconds": 20,
            "timeoutSeconds": 15,
            "failureThreshold": 6,  # two minutes: a busy scheduler is slow to answer, and its death is dear
        },
    }
    return _pod(shape, "scheduler", container) | {"terminationGracePeriodSeconds": 10}


def _worker_pod(shape: Shape) -> dict[str, Any]:
    health = {"path": "/health", "port": "http"}
    address = scheduler_address(shape.name, shape.namespace)
    container = {
        "args": [
            *("dask", "worker", address, "--name", "$(DASK_WORKER_NAME)", "--nworkers", "1"),
            *("--nthreads", str(shape.threads), "--memory-limit", str(shape.worker_memory - NANNY_BYTES)),
            *("--worker-port", str(WORKER_PORT), "--nanny-port", str(NANNY_PORT)),
            *("--no-dashboard", "--dashboard-address", f":{HEALTH_PORT}"),
            *("--local-directory", "/tmp/dask", "--death-timeout", "60"),  # noqa: S108
        ],
        "env": _pairs(
            {
                # The operator fills in its own address, tcp://, for containers that have none.
                "DASK_SCHEDULER_ADDRESS": address,
                "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
                # A fare model is fitted as one task, which may use all the cores of its pod; tasks that run side by
                # side say themselves how many they take.
                "OMP_NUM_THREADS": str(max(1, math.ceil(shape.worker_cpus))),
            }
        ),
        "ports": _ports({"worker": WORKER_PORT, "nanny": NANNY_PORT, "http": HEALTH_PORT}),
        "resources": _resources(shape.worker_cpus, shape.worker_memory),
        "readinessProbe": {"httpGet": health, "periodSeconds": 3, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": health,
            "initialDelaySeconds": 120,
            "periodSeconds": 30,
            "timeoutSeconds": 15,
            "failureThreshold": 6,  # the nanny restarts a worker that died; this is for one that hangs
        },
        # Before SIGTERM, which drops what the worker holds.
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "taxidask.compute.kubernetes.retire"]}}},
    }
    return _pod(shape, "worker", container) | {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "tolerations": [{"key": "taxidask/spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
    }


def _pod(shape: Shape, component: str, container: dict[str, Any]) -> dict[str, Any]:
    base = {
        "name": component,
        "image": shape.image,
        # No `command`: the image's entry point puts the compiled kernels where they can be used.
        "imagePullPolicy": "IfNotPresent",
        "envFrom": [
            {"configMapRef": {"name": "taxidask", "optional": True}},
            {"secretRef": {"name": "aws", "optional": True}},  # only where there are no roles for ServiceAccounts
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container, of this pod alone
            {"name": "home", "mountPath": "/home/taxidask"},
            {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True},
        ],
    }
    return {
        "serviceAccountName": "worker",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [base | container | {"env": _env(shape, component) + container["env"]}],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "home", "emptyDir": {}},
            {"name": "tls", "secret": {"secretName": f"{shape.name}-tls", "defaultMode": 0o440}},
        ],
    }


def _env(shape: Shape, component: str) -> list[dict[str, str]]:
    cert, key = f"{TLS_FOLDER}/tls.crt", f"{TLS_FOLDER}/tls.key"
    parts = {f"{_TLS}{part}__CERT": cert for part in ("SCHEDULER", "WORKER", "CLIENT")}
    parts |= {f"{_TLS}{part}__KEY": key for part in ("SCHEDULER", "WORKER", "CLIENT")}
    secure = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True", f"{_TLS}CA_FILE": f"{TLS_FOLDER}/ca.crt"}
    own = {
        "POD_COMPONENT": component,  # for taxidask doctor
        "TAXIDASK_NAMESPACE": shape.namespace,
        "TAXIDASK_IMAGE": shape.image,
    }
    return _pairs(secure | parts | own)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _ports(ports: dict[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]


def _resources(cpus: float, memory: int) -> dict[str, Any]:
    # Requests are limits: nothing a pod was promised is taken by a neighbour, and nothing is used that is not paid.
    amounts = {"cpu": f"{round(cpus * 1000)}m", "memory": str(memory)}
    return {"requests": dict(amounts), "limits": dict(amounts)}

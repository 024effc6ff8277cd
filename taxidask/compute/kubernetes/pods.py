"""Why pods do not start: from their conditions, their events and their last log lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

EVENTS_SHOWN = 5
LINES_SHOWN = 10

_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

REMEDIES = {
    "image": "check the setting image, that its tag was pushed or loaded, and that the nodes may pull it",
    "memory": "give it more: worker_memory, or scheduler_memory for the scheduler",
    "crash": "the log lines above say why; the image must hold the same taxidask as the driver",
    "config": "apply k8s/ again: a Secret, ConfigMap or command that the pod needs is missing",
    "quota": "close clusters that are not used (taxidask cluster down), ask for less, or raise the ResourceQuota",
    "policy": "apply k8s/ again: namespace, LimitRange and pods do not fit each other",
    "unschedulable": "ask for less (workers, worker_cpus, worker_memory) or add nodes",
    "evicted": "the node ran out of memory or disk: ask for more memory, or use smaller blocks",
}


@dataclass(frozen=True)
class Problem:
    """Why a pod does not run.

    Attributes
    ----------
    kind : str
        One of the keys of ``REMEDIES``.
    subject : str
        The pod, or the ReplicaSet that cannot make one.
    scheduler : bool
        Whether it is the scheduler's.
    why : str
        Reason and message as Kubernetes gives them.
    final : bool
        It will not go away by waiting.
    """

    kind: str
    subject: str
    scheduler: bool
    why: str
    final: bool

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}"


def belongs(event: dict[str, Any], cluster: str) -> bool:
    """Whether an event is about something of the cluster."""
    name = event.get("involvedObject", {}).get("name", "")
    return name == cluster or name.startswith((f"{cluster}-scheduler", f"{cluster}-default", f"{cluster}-tls"))


def ready(pod: dict[str, Any]) -> bool:
    """Whether a pod passes its probes and is not being deleted."""
    conditions = pod.get("status", {}).get("conditions", [])
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def waiting(pod: dict[str, Any]) -> str:
    """Why its first container that waits does, as Kubernetes calls it; empty if none does."""
    states = [container.get("state", {}) for container in pod.get("status", {}).get("containerStatuses", [])]
    return next((state["waiting"].get("reason", "") for state in states if "waiting" in state), "")


def is_scheduler(pod: dict[str, Any]) -> bool:
    """Whether it is a scheduler's pod."""
    return pod["metadata"].get("labels", {}).get("dask.org/component") == "scheduler"


def problems(pods: Iterable[dict[str, Any]], events: Iterable[dict[str, Any]]) -> list[Problem]:
    """What keeps pods of one cluster from running: the scheduler's first, final ones before others.

    Parameters
    ----------
    pods, events : iterable of dict
        As the API server sends them; events only of this cluster (see :func:`belongs`).
    """
    pods, events = list(pods), list(events)
    found = [problem for pod in pods if not ready(pod) for problem in _of_pod(pod)]
    owners = {re.sub(r"-[a-z0-9]+$", "", pod["metadata"]["name"]) for pod in pods}
    found += [problem for event in events if (problem := _of_event(event)) and problem.subject not in owners]
    distinct = {(problem.kind, problem.subject): problem for problem in found}
    return sorted(distinct.values(), key=lambda p: (not p.scheduler, not p.final, p.subject))


def _of_pod(pod: dict[str, Any]) -> list[Problem]:
    name, status, scheduler = pod["metadata"]["name"], pod.get("status", {}), is_scheduler(pod)
    if "deletionTimestamp" in pod["metadata"]:
        return []

    def problem(kind: str, why: str, *, final: bool = True) -> list[Problem]:
        return [Problem(kind, name, scheduler, why, final)]

    if status.get("reason") == "Evicted":
        return problem("evicted", f"Evicted: {status.get('message', '')}", final=False)  # another takes its place
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            text = f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
            return problem("unschedulable", text, final=False)  # nodes may be on their way
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        told = f"{reason}: {message}" if message else reason
        if reason in _IMAGE:
            return problem("image", told)
        if ended.get("reason") == "OOMKilled" or "OOM-killed" in ended.get("message", "") + message:
            limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory", "?")
            text = f"OOMKilled at its memory limit of {_size(limit)}"
            return problem("memory", text + _restarts(container))
        if reason in _CONFIG:
            return problem("config", told)
        if ended and (reason == "CrashLoopBackOff" or ended.get("exitCode")):
            code = ended.get("exitCode")
            cause = ended.get("reason", "Error")
            text = f"{reason or cause}: it ended with exit code {code}" + _restarts(container)
            if ended.get("message"):
                text += f" ({ended['message'].strip()})"
            # The first end may be a scheduler that was not there yet.
            return problem("crash", text, final=container.get("restartCount", 0) > 1 or reason == "CrashLoopBackOff")
    return []


def _restarts(container: dict[str, Any]) -> str:
    count = container.get("restartCount", 0)
    return f", started {count + 1} times" if count else ""


def _of_event(event: dict[str, Any]) -> Problem | None:
    if event.get("reason") != "FailedCreate":
        return None
    subject, message = event["involvedObject"]["name"], event.get("message", "")
    kind = "quota" if "exceeded quota" in message else "policy"
    shown = re.sub(r'^Error creating: pods "[^"]*" is forbidden: ', "", message)
    label = "exceeded quota" if kind == "quota" else "denied"
    text = shown if shown.startswith(label) else f"{label}: {shown}"
    return Problem(kind, subject, "-scheduler-" in subject, text, True)


def _size(quantity: str) -> str:
    return f"{int(quantity) / (1 << 20):.0f} MiB" if quantity.isdigit() else quantity


def report(
    pods: Iterable[dict[str, Any]],
    events: Iterable[dict[str, Any]],
    log: Callable[[str, str, bool], list[str]],
) -> str:
    """What is known of the pods that are not ready, for a person: conditions, last events and log lines.

    Parameters
    ----------
    pods, events : iterable of dict
        As :func:`problems` takes them.
    log : callable
        ``log(pod, container, previous)``: the last lines a container wrote, now or before it was restarted.
    """
    events = sorted(events, key=when)
    lines = []
    shown: set[str] = set()
    for pod in pods:
        if ready(pod):
            continue
        name, status = pod["metadata"]["name"], pod.get("status", {})
        lines.append(f"pod {name}: {status.get('phase', 'unknown')}")
        lines += [
            f"  {condition['type']}={condition['status']}: {condition['message']}"
            for condition in status.get("conditions", [])
            if condition["status"] != "True" and condition.get("message")
        ]
        own = [event for event in events if event["involvedObject"]["name"] == name]
        shown |= {_text(event) for event in own}
        lines += _shown(own)
        for container in status.get("containerStatuses", []):
            now = log(name, container["name"], False)
            told = now or (log(name, container["name"], True) if container.get("restartCount") else [])
            lines += [f"  log: {line}" for line in told[-LINES_SHOWN:]]
    rest = [e for e in events if e.get("type") == "Warning" and _text(e) not in shown]
    if rest:
        lines.append("other events")
        lines += _shown(rest)
    return "\n".join(lines)


def when(event: dict[str, Any]) -> str:
    """When an event was last seen."""
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""


def _text(event: dict[str, Any]) -> str:
    return f"{event['involvedObject']['name']} {event.get('reason')}: {event.get('message', '').strip()}"


def _shown(events: list[dict[str, Any]]) -> list[str]:
    return [f"  event: {text}" for text in list(dict.fromkeys(map(_text, events)))[-EVENTS_SHOWN:]]

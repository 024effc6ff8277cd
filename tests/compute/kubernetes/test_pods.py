from __future__ import annotations

from typing import Any

import pytest

from taxidask.compute.kubernetes.pods import belongs, problems, ready, report


def pod(name: str = "anna-scheduler-7f9-x1", *, component: str = "scheduler", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"dask.org/component": component}},
        "spec": {"containers": [{"name": component, "resources": {"limits": {"memory": str(64 << 20)}}}]},
        "status": {"phase": "Pending"} | status,
    }


def container(*, restarts: int = 0, last: dict[str, Any] | None = None, **state: Any) -> list[dict[str, Any]]:
    return [{"name": "scheduler", "restartCount": restarts, "state": state,
             "lastState": {"terminated": last} if last else {}}]  # fmt: skip


def event(
    reason: str, message: str, name: str = "anna-scheduler-7f9", at: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    return {"involvedObject": {"name": name}, "reason": reason, "message": message, "type": "Warning",
            "lastTimestamp": at, "metadata": {}}  # fmt: skip


CASES: dict[str, tuple[dict[str, Any], str, bool, str]] = {
    "image": (
        pod(containerStatuses=container(waiting={"reason": "ImagePullBackOff", "message": "not found"})),
        "image", True, "ImagePullBackOff: not found",
    ),
    "never pulled": (
        pod(containerStatuses=container(waiting={"reason": "ErrImageNeverPull"})), "image", True, "ErrImageNeverPull",
    ),
    "unschedulable": (
        pod(
            conditions=[
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
            ]
        ),
        "unschedulable", False, "Unschedulable: 0/1 nodes",
    ),
    "out of memory": (
        pod(containerStatuses=container(restarts=1, running={}, last={"reason": "OOMKilled", "exitCode": 137})),
        "memory", True, "OOMKilled at its memory limit of 64 MiB, started 2 times",
    ),
    "out of memory before it began": (
        pod(containerStatuses=container(waiting={"reason": "RunContainerError", "message": "init was OOM-killed"})),
        "memory", True, "OOMKilled",
    ),
    "crash": (
        pod(containerStatuses=container(restarts=2, waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1})),
        "crash", True, "CrashLoopBackOff: it ended with exit code 1, started 3 times",
    ),
    "one crash": (
        pod(containerStatuses=container(restarts=1, running={}, last={"exitCode": 1, "reason": "Error"})),
        "crash", False, "Error: it ended with exit code 1",
    ),
    "secret missing": (
        pod(containerStatuses=container(waiting={"reason": "CreateContainerConfigError", "message": "no secret"})),
        "config", True, "CreateContainerConfigError: no secret",
    ),
    "evicted": (pod(phase="Failed", reason="Evicted", message="disk"), "evicted", False, "Evicted: disk"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_why_a_pod_does_not_run(case: str) -> None:
    body, kind, final, why = CASES[case]
    [problem] = problems([body], [])
    assert (problem.kind, problem.final) == (kind, final)
    assert problem.why.startswith(why)
    assert problem.remedy
    assert str(problem).startswith("anna-scheduler-7f9-x1: ")


def test_pods_that_start_or_end_are_no_problem() -> None:
    starting = pod(containerStatuses=container(waiting={"reason": "ContainerCreating"}))
    ending = CASES["crash"][0] | {"metadata": pod()["metadata"] | {"deletionTimestamp": "now"}}
    fine = pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}],
               containerStatuses=container(restarts=3, running={}, last={"reason": "OOMKilled"}))  # fmt: skip
    assert problems([starting, ending, fine], []) == []
    assert (ready(fine), ready(starting)) == (True, False)


def test_what_pods_are_not_even_made_for() -> None:
    quota = event(
        "FailedCreate",
        'Error creating: pods "anna-default-worker-1-2" is forbidden: exceeded quota: taxidask, requested: pods=1',
        name="anna-default-worker-1",
    )
    policy = event("FailedCreate", 'Error creating: pods "a" is forbidden: violates PodSecurity "restricted:latest"')
    found = problems([], [quota, policy])
    assert [(p.kind, p.scheduler, p.final) for p in found] == [("policy", True, True), ("quota", False, True)]
    assert found[1].why == "exceeded quota: taxidask, requested: pods=1"
    made_since = pod("anna-default-worker-1-x2", component="worker", containerStatuses=container(running={}))
    assert problems([made_since], [quota]) == [], "it was there, and has gone"


def test_the_schedulers_problem_comes_first() -> None:
    worker = CASES["image"][0] | {"metadata": pod("anna-default-worker-1", component="worker")["metadata"]}
    assert [p.scheduler for p in problems([worker, CASES["unschedulable"][0]], [])] == [True, False]


def test_events_of_a_cluster_and_no_other() -> None:
    assert belongs(event("Failed", "", name="anna-default-worker-12-34"), "anna")
    assert not belongs(event("Failed", "", name="annabel-scheduler-1"), "anna")


def test_a_report_has_conditions_events_and_last_lines() -> None:
    def log(name: str, which: str, previous: bool) -> list[str]:
        return [f"line {number}" for number in range(30)] if previous else []

    body = CASES["crash"][0]
    body["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": "not ready"}]
    name = body["metadata"]["name"]
    events = [event("BackOff", f"again {n}", name=name, at=f"2026-01-01T00:00:0{n}Z") for n in (3, 1, 2)]
    told = report([body], [*events, event("FailedCreate", "denied")], log)
    assert told.startswith(f"pod {name}: Pending\n  Ready=False: not ready\n")
    assert told.index("again 1") < told.index("again 2") < told.index("again 3")
    assert "  log: line 29" in told
    assert "line 19" not in told
    assert "other events\n  event: anna-scheduler-7f9 FailedCreate: denied" in told

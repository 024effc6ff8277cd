from __future__ import annotations

import io

import pytest

from taxidask.compute.kubernetes.client import differences
from taxidask.compute.kubernetes.status import Deadline, Status, show


def test_a_status_says_what_for_how_long_and_why() -> None:
    now = [0.0]
    status = Status(clock=lambda: now[0])
    assert str(status) == "starting"
    out = io.StringIO()
    show(status, out)
    status.wait("the scheduler's pod", "Pending")
    now[0] = 5
    status.wait("the scheduler's pod", "ContainerCreating")
    status.wait("the scheduler's pod", "ContainerCreating")
    assert str(status) == "waiting 5 s for the scheduler's pod: ContainerCreating"
    assert (status.waiting_for, status.why, status.seconds) == ("the scheduler's pod", "ContainerCreating", 5)
    now[0] = 7
    status.wait("2 workers")
    now[0] = 8
    status.end("running")
    assert repr(status) == "Status(running; the scheduler's pod 7.0 s, 2 workers 1.0 s)"
    assert status.waiting_for is None
    assert [line.split(" (")[0] for line in out.getvalue().splitlines()] == [
        "cluster: waiting for the scheduler's pod: Pending",
        "cluster: waiting for the scheduler's pod: ContainerCreating",
        "cluster: waiting for 2 workers",
        "cluster: running",
    ]


def test_a_deadline_says_what_it_waited_for() -> None:
    status = Status()
    status.wait("2 workers", "none has joined")
    deadline = Deadline(0.0, status)
    assert deadline.left == 0
    with pytest.raises(TimeoutError, match="2 workers: none has joined"):
        deadline.sleep(1)
    assert "waited 0 s in all" in str(deadline.error("look"))


def host(python: str = "3.11.7.final.0", **packages: str) -> dict[str, dict[str, str]]:
    return {"packages": {"python": python, "dask": "1", "distributed": "1", "taxidask": "1", "numpy": "1"} | packages}


def test_versions_that_matter() -> None:
    same = {"client": host(), "scheduler": host("3.11.2.final.0", numpy="2"), "workers": {"tls://a": host()}}
    assert differences(same) == []
    other = {
        "client": host(),
        "scheduler": host("3.12.1.final.0"),
        "workers": {"tls://a": host(taxidask="2"), "tls://b": host(taxidask="2")},
    }
    assert differences(other) == ["python 3.11 here, 3.12 on the scheduler", "taxidask 1 here, 2 on workers"]


def test_a_start_keeps_time_for_removing_what_it_made() -> None:
    deadline = Deadline.of_start(60.0, Status())
    assert 39 < deadline.left <= 40
    assert 59 < deadline.left_for_removal <= 60
    assert 269 < Deadline.of_start(300.0, Status()).left <= 270

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import kopf
import pytest
from dask_kubernetes.operator.controller import controller

from taxidask.compute.kubernetes import operator
from taxidask.compute.kubernetes.operator import Memory, Scheduler, is_over, retire_workers, steady_target


def test_nothing_needs_a_finalizer_and_scaling_down_is_ours() -> None:
    registry = kopf.get_default_registry()
    assert list(registry._spawning._handlers) == []
    assert [handler.id for handler in registry._changing._handlers if handler.requires_finalizer] == []
    assert controller.retire_workers is retire_workers
    with pytest.raises(RuntimeError, match="other timers than expected"):
        operator.install()


class Deployment:
    gone: list[str]

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    async def list(cls, **_: Any) -> Any:
        for name in ("a", "b", "c", "d"):
            yield cls(name)

    async def delete(self) -> None:
        Deployment.gone.append(self.name)


class Known(Scheduler):
    """A scheduler with three of the four workers."""

    can_retire = 9
    asked = 0

    async def workers(self) -> list[str]:
        return ["a", "c", "d"]

    async def retire(self, count: int) -> list[str]:
        type(self).asked = count
        return ["c", "a", "d"][: min(count, self.can_retire)]


def retired(monkeypatch: pytest.MonkeyPatch, scheduler: type[Scheduler], count: int) -> list[str]:
    monkeypatch.setattr(operator, "Deployment", Deployment)
    monkeypatch.setattr(operator, "Scheduler", scheduler)
    Deployment.gone = []
    return asyncio.run(retire_workers(count, "anna-scheduler", "anna-default", "taxidask", logging.getLogger("test")))


def test_the_scheduler_chooses_and_those_it_does_not_know_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(retired(monkeypatch, Known, 1)) == ["b"]
    assert sorted(retired(monkeypatch, Known, 3)) == ["a", "b", "c"]
    assert Known.asked == 2


def test_a_silent_scheduler_costs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Known):
        async def workers(self) -> list[str]:
            raise aiohttp.ClientConnectionError("no route")

    with pytest.raises(kopf.TemporaryError, match="anna-default keeps its workers"):
        retired(monkeypatch, Silent, 2)
    assert Deployment.gone == []


def test_workers_whose_data_has_no_room_stay_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Known):
        can_retire = 1

    with pytest.raises(kopf.TemporaryError, match="1 workers cannot be retired yet"):
        retired(monkeypatch, Full, 3)
    assert sorted(Deployment.gone) == ["b", "c"]


def test_more_workers_at_once_fewer_after_a_while() -> None:
    memory = Memory(heard=0)
    assert steady_target(memory, 0, 5, 1, 1, 3) == 3
    assert steady_target(memory, 3, 0, 3, 1, 3) == 3
    assert steady_target(memory, 12, 0, 3, 1, 3) == 3
    assert steady_target(memory, 17, 0, 3, 1, 3) == 3
    assert steady_target(memory, 19, 0, 3, 1, 3) == 1
    assert steady_target(Memory(heard=0), 0, 0, 5, 1, 3) == 3, "a limit that was lowered holds at once"
    assert steady_target(Memory(heard=0), 0, 0, 0, 2, 3) == 2


def test_what_is_over() -> None:
    spec = {"idleTimeout": 60}
    assert is_over(spec, Memory(heard=0), 100, 30) == "it has been idle for 70 s"
    assert is_over(spec, Memory(heard=0), 100, 50) == ""
    assert is_over(spec, Memory(heard=0), 100, 0) == "", "it works"
    assert is_over(spec, Memory(heard=10), 100, None) == "its scheduler has not answered for 90 s"
    assert is_over(spec, Memory(heard=50), 100, None) == ""
    assert is_over({"idleTimeout": 0}, Memory(heard=0), 1e9, None) == ""


def test_the_schedulers_own_api_answers_what_is_asked() -> None:
    import dask.config
    from distributed import Scheduler as DaskScheduler
    from distributed import Worker

    routes = [*dask.config.get("distributed.scheduler.http.routes"), "distributed.http.scheduler.api"]

    async def check() -> None:
        with dask.config.set({"distributed.scheduler.http.routes": routes}):
            async with (
                DaskScheduler(
                    host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=False
                ) as dask_scheduler,
                Worker(dask_scheduler.address, name="one", dashboard_address=":0"),
            ):
                scheduler = Scheduler("127.0.0.1", "", port=dask_scheduler.http_server.port)
                scheduler._url = f"http://127.0.0.1:{dask_scheduler.http_server.port}/api/v1/"
                await scheduler.idle_since()
                assert await scheduler.idle_since() > 1e9
                assert await scheduler.workers() == ["one"]
                assert await scheduler.target() == 0
                assert await scheduler.retire(1) == ["one"]
                assert await scheduler.workers() == []

    asyncio.run(check())


def repaired(monkeypatch: pytest.MonkeyPatch, *, there: bool, retry: int = 0) -> dict[str, Any]:
    async def has_service(name: str, namespace: str | None) -> bool:
        return there

    monkeypatch.setattr(operator, "_has_service", has_service)
    patch = kopf.Patch()
    asyncio.run(operator.repair_phase(name="anna", namespace="taxidask", patch=patch, retry=retry))
    return dict(patch)


def test_a_cluster_that_becomes_pending_after_its_service_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """dask-kubernetes#968: the handler that sees the Service may be faster than the one that calls it Pending."""
    assert repaired(monkeypatch, there=True) == {"status": {"phase": "Running"}}
    with pytest.raises(kopf.TemporaryError, match="anna has no Service yet"):
        repaired(monkeypatch, there=False)
    assert repaired(monkeypatch, there=False, retry=30) == {}

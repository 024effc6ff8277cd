from __future__ import annotations

import functools
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client

import taxidask as td
from taxidask.compute import executor
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import ComputeError, SourceError
from taxidask.settings import Settings


@pytest.fixture(params=["threads", "workers"])
def runs(request):
    return ThreadExecutor(2) if request.param == "threads" else executor(request.getfixturevalue("cluster"))


def square(x: int) -> int:
    return x * x


class Mark:
    """A task that leaves a file per execution."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder, self.seconds = folder, seconds

    def __call__(self, item: int) -> int:
        (self.folder / f"{item}-{uuid.uuid4().hex}").touch()
        time.sleep(self.seconds)
        return item

    def started(self) -> list[int]:
        return sorted(int(path.name.partition("-")[0]) for path in self.folder.iterdir())


def test_every_item_comes_back_with_its_result(runs):
    assert sorted(runs.map_unordered(square, range(50))) == [(i, i * i) for i in range(50)]
    assert list(runs.map_unordered(square, [])) == []
    assert runs.threads == 2


def test_results_come_as_they_finish(runs):
    assert [item for item, _ in runs.map_unordered(time.sleep, [0.8, 0.1])] == [0.1, 0.8]


def test_items_are_taken_as_there_is_room(runs):
    taken = itertools.count()
    for done, _ in enumerate(runs.map_unordered(square, (next(taken) for _ in range(100)), window=3)):
        assert int(repr(taken)[6:-1]) <= done + 1 + 3


def test_what_a_task_raises_comes_out_as_itself(runs, tmp_path):
    def fail(item):
        if item == 2:
            raise SourceError("no such trips", "look elsewhere")
        return mark(item)

    mark = Mark(tmp_path, 0.3)
    with pytest.raises(SourceError, match="no such trips; look elsewhere"):
        for _ in runs.map_unordered(fail, range(40)):
            pass
    time.sleep(1)
    assert len(mark.started()) <= 20


def test_stop_starts_no_further_item_and_awaits_the_running(runs, tmp_path):
    mark = Mark(tmp_path, 0.2)
    seen = []
    for item, _ in runs.map_unordered(mark, range(100), should_stop=lambda: len(seen) >= 2):
        seen.append(item)
    assert sorted(seen) == mark.started()
    assert 2 <= len(seen) <= 20  # of 100: those that started while word of it went round
    time.sleep(0.5)
    assert sorted(seen) == mark.started()


def test_leaving_the_loop_early_cancels_the_rest(runs, tmp_path):
    mark = Mark(tmp_path, 0.2)
    for _ in runs.map_unordered(mark, range(40)):
        break
    time.sleep(1)
    assert len(mark.started()) <= 20


def test_submit(runs):
    def fail(*, word):
        raise ValueError(word)

    assert runs.submit(pow, 2, 5).result() == 32
    with pytest.raises(ValueError, match="xyz"):
        runs.submit(fail, word="xyz").result()


def _tokens() -> list[str]:
    from taxidask.compute import workers

    return sorted(workers._halted)


def test_a_task_that_ended_well_costs_no_broadcast_and_leaves_nothing(cluster, monkeypatch):
    def fail():
        raise ValueError("no")

    broadcasts = []
    run = cluster._run
    monkeypatch.setattr(cluster, "_run", lambda fn, *args, **kwargs: broadcasts.append(fn) or run(fn, *args, **kwargs))
    runs = executor(cluster)
    for _ in range(3):
        assert runs.submit(square, 3).result() == 9
        with pytest.raises(ValueError, match="no"):
            runs.submit(fail).result()
    assert len(list(runs.map_unordered(square, range(20)))) == 20
    assert not broadcasts
    monkeypatch.undo()
    assert set(map(tuple, cluster.run(_tokens).values())) == {()}


def test_of_what_was_stopped_nothing_stays_on_the_workers(cluster, tmp_path):
    runs, mark = executor(cluster), Mark(tmp_path, 0.2)
    for _ in runs.map_unordered(mark, range(40)):
        break
    assert len(list(runs.map_unordered(mark, range(100, 140), should_stop=lambda: len(mark.started()) > 3))) < 40
    deadline = time.monotonic() + 30
    while any(cluster.run(_tokens).values()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(0.5)
    started = mark.started()
    time.sleep(1)
    assert mark.started() == started


class Large:
    """Much data that tells how often it was pickled here."""

    pickled = 0

    def __init__(self, size: int) -> None:
        self.data = bytes(size)

    def __reduce__(self) -> tuple[Any, ...]:
        type(self).pickled += 1
        return bytes, (self.data,)


def test_what_one_task_is_given_is_pickled_once(cluster):
    size = 20_000_000
    large = Large(size)
    assert executor(cluster).submit(len, large).result() == size
    assert Large.pickled == 1


def test_a_function_is_measured_without_making_all_of_its_pickle():
    from taxidask.compute.workers import INLINE_BYTES, _is_large

    made = []

    class Part:
        def __reduce__(self) -> tuple[Any, ...]:
            made.append(self)
            return bytes, (os.urandom(INLINE_BYTES // 2),)

    assert not _is_large(square)
    assert not _is_large(functools.partial(square, bytes(1000)))
    assert _is_large(functools.partial(square, np.zeros(INLINE_BYTES // 8 + 1)))
    assert _is_large(functools.partial(square, [Part() for _ in range(100)]))
    assert len(made) < 10


def test_arguments_are_taken_as_they_are(runs):
    # Dask itself would look inside for keys and futures, and warns of large ones.
    big = b"x" * 20_000_000
    items = [{"a": [1, ("b", 2)]}, ["x"], big]
    results = {len(str(item)): result for item, result in runs.map_unordered(len, items)}
    assert sorted(results.values()) == [1, 1, len(big)]


def test_a_task_may_run_tasks_itself(runs):
    def outer(n):
        return sorted(executor().map_unordered(square, range(n)))

    expected = [(0, 0), (1, 1), (2, 4)]
    assert [result for _, result in runs.map_unordered(outer, [3] * 5)] == [expected] * 5
    assert runs.submit(outer, 3).result() == expected


def test_without_a_client_it_is_this_process():
    # The module's cluster is the current client; a thread of its own context has none.
    assert ThreadExecutor().threads >= 1
    assert {pid for _, pid in ThreadExecutor(2).map_unordered(lambda _: os.getpid(), range(4))} == {os.getpid()}


def test_executors_pass_through(cluster):
    assert executor(chosen := ThreadExecutor(1)) is chosen
    assert executor() == executor() or executor()._client is cluster


def test_clients_that_cannot_be_used_are_refused(cluster):
    with pytest.raises(ComputeError, match="is no Dask client"):
        executor("tcp://127.0.0.1:8786")
    with Client(cluster.scheduler.address, set_as_default=False) as other:
        pass
    with pytest.raises(ComputeError, match="is closed"):
        executor(other)


def test_a_dead_worker_costs_what_it_ran_and_nothing_else(cluster, tmp_path):
    mark = Mark(tmp_path, 0.3)
    killed = False
    results = []
    for item, result in executor(cluster).map_unordered(mark, range(24)):
        assert item == result
        results.append(item)
        if len(results) == 4 and not killed:
            killed = True
            os.kill(next(iter(cluster.run(os.getpid).values())), signal.SIGKILL)
    assert sorted(results) == list(range(24))
    again = len(mark.started()) - 24
    assert 0 <= again <= 2  # one thread a worker: the block it ran, and one whose result was still with it


def test_a_task_that_kills_its_workers_is_named(cluster):
    def die(item):
        if item == "poison":
            os._exit(1)
        time.sleep(0.01)

    with pytest.raises(ComputeError) as error:
        list(executor(cluster).map_unordered(die, [*range(20), "poison", *range(20)], describe=lambda i: f"block {i}"))
    assert "4 workers died" in str(error.value)
    assert "block poison" in str(error.value)
    assert "memory limit 1.00 GiB" in str(error.value)
    assert "block_size" in str(error.value)


def test_no_worker_is_an_error_with_a_deadline(cluster, monkeypatch):
    monkeypatch.setattr("taxidask.compute.workers.WORKER_SECONDS", 1.0)
    monkeypatch.setattr("taxidask.compute.workers.WATCH_SECONDS", 0.2)
    monkeypatch.setattr("taxidask.compute.workers._threads", lambda client: 0)
    with pytest.raises(ComputeError, match="waited 1 s for a worker at tcp://"):
        list(executor(cluster).map_unordered(time.sleep, [3]))


def test_a_scheduler_that_dies_is_an_error(monkeypatch):
    client = td.connect(Settings(workers=1))
    workers = psutil.Process(client._node.process.pid).children(recursive=True)
    threading.Timer(1.0, client._node.process.kill).start()
    try:
        with pytest.raises(ComputeError, match=r"the scheduler at tcp://.* is gone"):
            list(executor(client).map_unordered(time.sleep, [60]))
    finally:
        client.close()
    assert workers
    assert not psutil.wait_procs(workers, timeout=10)[1]


BARE = """
import sys
sys.modules["taxidask"] = None
from distributed import LocalCluster
with LocalCluster(n_workers=1, processes=False, protocol="tcp://", dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


def test_workers_without_the_package_are_told_apart_from_a_bug():
    bare = subprocess.Popen(
        [sys.executable, "-c", BARE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = bare.stdout.readline().strip()
        wanted = pytest.raises(ComputeError, match=r"cannot import taxidask: .*; install taxidask \d")
        with td.connect(Settings(compute=address)) as client, wanted:
            list(executor(client).map_unordered(abs, [1]))
    finally:
        bare.communicate(timeout=30)


def test_a_worker_of_another_version_is_refused(cluster, monkeypatch):
    monkeypatch.setattr("taxidask.compute.workers.__version__", "9.9")
    with pytest.raises(ComputeError, match=r"a worker has taxidask \S+, the driver 9\.9"):
        executor(cluster).submit(abs, 1).result()


def test_the_driver_stays_flat(runs):
    def rss() -> int:
        gc.collect()
        return psutil.Process().memory_info().rss

    def run(count: int) -> None:
        assert sum(1 for _ in runs.map_unordered(square, iter(range(count)))) == count

    run(500)
    before = rss()
    run(2000)
    assert rss() - before < 16 << 20


class Heavy:
    """A function that carries much, and something it makes of it on first use."""

    def __init__(self) -> None:
        self.much = os.urandom(300_000)

    def __call__(self, item: int) -> tuple[int, int]:
        self.__dict__.setdefault("made", time.monotonic_ns())
        return os.getpid(), self.made


def test_a_heavy_function_travels_once_and_survives_its_worker(cluster):
    heavy, pids, killed = Heavy(), {}, False
    for n, (_, (pid, made)) in enumerate(executor(cluster).map_unordered(heavy, range(60))):
        pids.setdefault(pid, set()).add(made)
        if n == 20 and not killed:
            killed = True
            os.kill(pid, signal.SIGKILL)
    assert n == 59
    # once to each worker; the one that is left may have to open it again, if its copy was not known of yet
    assert all(len(made) <= 2 for made in pids.values()), pids
    assert sum(map(len, pids.values())) <= len(pids) + 1, pids

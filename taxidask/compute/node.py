"""The process that holds a local cluster: scheduler and nannies here, workers as its children.

A cluster started by the driver itself needs the driver's script to have a ``__main__`` guard, because every worker
imports it again. This process is the cluster's main module instead, so a plain script or a notebook needs none.

It lives as long as its standard input: the driver holds the other end of that pipe, which the kernel closes however
the driver ends. Its workers in turn watch a pipe of this process. So nothing outlives a driver that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import select
import signal
import threading
from typing import IO, Any

CLOSE_SECONDS = 5.0
"""How long a graceful close may take before this process ends anyway, and its workers with it."""

BOOT = """\
import json, sys
spec = json.loads(sys.stdin.readline())
sys.path[:] = spec["path"]
from taxidask.compute.node import main
main(spec)
"""
"""What the child runs: it imports from where the driver imports, also modules that lie beside the user's script."""


def main(spec: dict[str, Any]) -> None:
    """Run a local cluster until standard input ends.

    Parameters
    ----------
    spec : dict
        ``workers``, ``threads``, ``memory`` (bytes of one worker), ``dashboard`` (address or None) and ``parent``
        (the driver's process id).
    """
    # Whatever workers print must not fill the pipe that carries the address: from here on it goes to stderr.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    code = 1
    try:
        asyncio.run(_serve(spec, answer))
        code = 0
    finally:
        # Threads of distributed may hold the interpreter open; the workers notice our end by themselves.
        os._exit(code)


async def _serve(spec: dict[str, Any], answer: IO[str]) -> None:
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    _quiet()
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    threading.Thread(target=_watch, args=(spec["parent"], loop, over), daemon=True).start()

    dask.config.set(
        {
            # A worker holds only tasks that it runs, the rest waits at the scheduler: a worker's death then counts
            # against those it was running and against no other.
            "distributed.scheduler.worker-saturation": 1.0,
            # Nobody asks what functions the threads are in, and sampling that takes the GIL a hundred times a second.
            "distributed.worker.profile.enabled": False,
            # A fare model is fitted as one task, which may use the cores that are idle meanwhile; tasks that run side
            # by side say themselves how many they take.
            "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": CPU_COUNT,
        }
    )
    try:
        cluster = await LocalCluster(
            n_workers=spec["workers"],
            threads_per_worker=spec["threads"],
            memory_limit=spec["memory"],
            host="127.0.0.1",
            dashboard_address=spec["dashboard"],
            preload=[__name__],
            asynchronous=True,
        )
    except Exception as error:
        answer.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answer.flush()
        raise
    answer.write(json.dumps({"address": cluster.scheduler_address}) + "\n")
    with contextlib.suppress(BrokenPipeError):  # of a driver that was killed meanwhile
        answer.close()
    closed = asyncio.ensure_future(_finished(cluster.scheduler))  # client.shutdown() closes it
    await asyncio.wait({closed, asyncio.ensure_future(over.wait())}, return_when=asyncio.FIRST_COMPLETED)
    logging.getLogger("distributed").setLevel(logging.ERROR)  # a slow worker is killed, and that is all right now
    await asyncio.wait_for(_close(cluster), CLOSE_SECONDS)


async def _finished(scheduler: Any) -> None:
    await scheduler.finished()


async def _close(cluster: Any) -> None:
    await cluster.close()


def _watch(parent: int, loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    """Wait for the driver's end: its pipe closes, or, should a fork of it still hold the pipe, we are adopted."""
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready and not os.read(0, 1024):
            break
    loop.call_soon_threadsafe(over.set)
    # The loop itself may be stuck or busy starting workers.
    threading.Timer(CLOSE_SECONDS + 1, os._exit, args=(1,)).start()


def _quiet() -> None:
    """Not that a killed worker's folder is gone already: every cluster on a machine clears away what others left."""
    logging.getLogger("distributed.diskutils").addFilter(
        lambda record: f"[Errno {errno.ENOENT}]" not in record.getMessage()
    )


def dask_setup(worker: Any) -> None:  # noqa: ARG001 - Dask passes it
    """Called in each worker as it starts.

    What a task raises reaches the driver, so it need not also be logged; that running tasks are cut off when the
    cluster closes is no news either.
    """
    _quiet()
    logging.getLogger("distributed.worker").addFilter(lambda record: "Compute Failed" not in str(record.msg))
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)

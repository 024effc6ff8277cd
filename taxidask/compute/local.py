"""A cluster of processes on this machine, which ends with its client."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from typing import Any

from distributed import Client

from taxidask.compute import node
from taxidask.errors import ComputeError
from taxidask.units import parse_bytes

START_SECONDS = 60.0
MEMORY_SHARE = 0.9
"""Of the machine's memory, what the workers together may use; the rest is the driver's."""


def size(workers: int | None = None, memory: str | int | None = None) -> tuple[int, int, int]:
    """The shape of a cluster on this machine: worker processes, threads of each, bytes of memory of each.

    Cores and memory are what this process may use, by affinity and control group. Two threads share a process: the
    kernels release the GIL, so they run side by side, and share the compiled code and libraries, which are most of an
    idle worker's memory. No more than two, so that a worker that dies costs two blocks at most.
    """
    from dask.system import CPU_COUNT
    from dask.utils import format_bytes
    from distributed.system import MEMORY_LIMIT

    count = workers or max(1, CPU_COUNT // 2)
    threads = max(1, CPU_COUNT // count)
    share = int(MEMORY_LIMIT * MEMORY_SHARE) // count
    if memory is None:
        return count, threads, share
    wanted = parse_bytes(memory)
    if wanted * count > MEMORY_LIMIT:
        raise ComputeError(
            f"{count} workers of {format_bytes(wanted)} each need {format_bytes(wanted * count)}; "
            f"this machine has {format_bytes(MEMORY_LIMIT)}",
            f"set worker_memory to at most {format_bytes(share)}, or fewer workers",
        )
    return count, threads, wanted


class LocalClient(Client):
    """A client whose cluster runs on this machine and ends with it; see :func:`connect`."""

    def __init__(self, workers: int, threads: int, memory: int, *, timeout: float) -> None:
        self._node = _start(workers, threads, memory, timeout)
        try:
            super().__init__(self._node.address, timeout=timeout)
            self.wait_for_workers(workers, timeout=timeout)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise ComputeError(f"the local cluster at {self._node.address} did not answer: {error}") from error
            raise

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close the client, then the scheduler and workers that were started for it."""
        try:
            return super().close(*args, **kwargs)
        finally:
            self._node.stop()

    def shutdown(self) -> Any:
        """The same, as distributed calls it."""
        try:
            return super().shutdown()
        finally:
            self._node.stop()


class _Node:
    """The driver's end of a :mod:`taxidask.compute.node` process."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.address = address

    def stop(self) -> None:
        """End the process and, through it, its workers; returns once it is gone."""
        process = self.process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it may have ended before it read what is still buffered
                process.stdin.close()
        try:
            process.wait(node.CLOSE_SECONDS + 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        if process.stdout is not None:
            process.stdout.close()


def _start(workers: int, threads: int, memory: int, timeout: float) -> _Node:
    spec = {"workers": workers, "threads": threads, "memory": memory, "parent": os.getpid(), "path": sys.path}
    spec["dashboard"] = "127.0.0.1:0"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", node.BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the driver's business: it decides what becomes of running blocks
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    started = _Node(process, "")
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended at once: its code is asked for below
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
        line = _line(process, timeout)
    except BaseException:
        started.stop()
        raise
    answer = json.loads(line) if line else {"error": f"it ended with code {process.wait(10)}"}
    if "error" in answer:
        started.stop()
        raise ComputeError(f"the local cluster did not start: {answer['error']}", "see the lines it wrote above")
    started.address = answer["address"]
    return started


def _line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """One line of the process's output; empty if it ended without."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    deadline = time.monotonic() + timeout
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            process.kill()
            raise ComputeError(
                f"waited {timeout:.0f} s for a local cluster to start", "the machine may be busy: try again"
            )
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            return b""
        text += piece
    return text

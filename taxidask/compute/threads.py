"""Tasks on threads of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .base import Executor, R, Session, Skipped, T


class ThreadExecutor(Executor):
    """Threads of this process.

    Parameters
    ----------
    threads : int, optional
        One per core that this process may use, if not given.
    """

    def __init__(self, threads: int | None = None) -> None:
        from dask.system import CPU_COUNT

        self._threads = threads or CPU_COUNT

    @property
    def threads(self) -> int:
        return self._threads

    def __repr__(self) -> str:
        return f"ThreadExecutor(threads={self._threads})"

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="taxidask")
        try:
            yield _Threads(pool, self._threads)
        finally:
            # Threads cannot be killed: whoever continues must not meet a block that is still being written.
            pool.shutdown(wait=True, cancel_futures=True)


class _Threads(Session):
    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self._threads = threads
        self._waiting: dict[Future[Any], None] = {}

    def width(self) -> int:
        return self._threads + 1  # one waits, so that no thread does

    def start(self, fn: Callable[[T], R], item: T) -> Future[Any]:
        future = self._pool.submit(fn, item)
        self._waiting[future] = None
        return future

    def collect(self, future: Future[Any]) -> Any:
        self._waiting.pop(future, None)
        return Skipped() if future.cancelled() else future.result()

    def halt(self) -> None:
        for future in list(self._waiting):
            future.cancel()

    def watch(self) -> None:
        """Threads do not die."""

    def abandon(self, futures: list[Future[Any]]) -> None:
        for future in futures:
            future.cancel()

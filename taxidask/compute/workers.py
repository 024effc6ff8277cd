"""The executor on a Dask client's workers."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import cloudpickle
import dask
from distributed import Client, Future, KilledWorker, get_worker, worker_client
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from taxidask import __version__
from taxidask.errors import ComputeError
from taxidask.storage.requests import Requests, add, take

from .base import Again, Call, Executor, Killed, R, Session, Skipped, T

WORKER_SECONDS = 300.0
"""How long tasks may wait without any worker before that is an error."""

WATCH_SECONDS = 5.0
COLLECT_SECONDS = 30.0
INLINE_BYTES = 64 << 10
"""A function whose pickle is larger is sent to each worker once instead of with each task."""
STOP_SECONDS = 10.0
FORGET_SECONDS = 1.0
COMPILING = "taxidask-compiling"
"""The topic of the events by which workers say that they compile."""

_halted: set[str] = set()  # in a worker: the maps of which no task may start any more


class DaskExecutor(Executor):
    """The workers of a Dask client.

    Tasks whose worker dies run again on another, as often as the scheduler's ``allowed-failures`` says (3). Inside a
    task, the task's own slot is given back while it waits for others, so that it cannot wait for itself.

    Parameters
    ----------
    client : distributed.Client
        Not an asynchronous one.
    """

    def __init__(self, client: Client) -> None:
        if not isinstance(client, Client):
            raise ComputeError(f"client = {client!r} is no Dask client", "use td.connect(), or leave client out")
        self._inside = _on_worker()
        if client.asynchronous and not self._inside:
            raise ComputeError(f"{client!r} is asynchronous", "use a Client made without asynchronous=True")
        if client.status != "running":
            raise ComputeError(f"{client!r} is {client.status}", "connect again: td.connect()")
        self._client = client

    @property
    def threads(self) -> int:
        return _threads(self._client)

    def __repr__(self) -> str:
        return f"DaskExecutor({self._client!r})"

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        with worker_client() if self._inside else contextlib.nullcontext():
            if not self._inside:
                self._client.subscribe_topic(COMPILING, _hear)
            workers = _Workers(self._client)
            try:
                yield workers
            finally:
                workers.close()


def repeated(client: Any) -> int:
    """How many tasks of a client's scheduler had to run again so far, because the worker that had them was lost; 0 for
    what is no Dask client."""
    if not isinstance(client, Client):
        return 0
    try:
        events = client.get_events("all")
    except OSError:  # it is gone, which whoever needs it next will say
        return 0
    return sum(
        len(event["processing-tasks"]) + len(event["lost-computed-tasks"])
        for _, event in events
        if isinstance(event, dict) and event.get("action") == "remove-worker"
    )


class _Workers(Session):
    def __init__(self, client: Client) -> None:
        self._client = client
        self._token = uuid.uuid4().hex
        self._count = 0
        self._watched = self._seen = time.monotonic()
        self._width = _width(self._threads())
        self._sent: tuple[Any, Any] | None = None
        self._told = False  # whether workers hold the token

    def width(self) -> int:
        if time.monotonic() - self._watched > WATCH_SECONDS:
            self.watch()
        return self._width

    def start(self, fn: Callable[[T], R], item: T) -> Future:
        name = getattr(fn, "__name__", type(fn).__name__)
        self._count += 1
        # All keys are of one group: the scheduler then holds what no thread is free for, instead of piling it onto
        # workers, where a death would count against tasks that never ran. The box keeps Dask from looking for
        # futures inside the item.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"}):
            return self._client.submit(
                _run,
                __version__,
                self._token,
                self._once(fn),
                _Box(item),
                key=(f"{name}-{self._token}", self._count),
                pure=False,
            )

    def _once(self, fn: Callable[..., Any]) -> Any:
        """The function, or, if it carries much, a future of it: each worker then gets it once, and all tasks there
        share one, with what it has computed for itself. A future of a task and not scattered data, so that it comes
        back should its worker die."""
        if self._sent is None or self._sent[0] is not fn:
            large = not isinstance(fn, Call) and _is_large(fn)  # a call happens once
            self._sent = (fn, self._client.submit(_Box.open, _Box(fn), pure=False) if large else fn)
        return self._sent[1]

    def collect(self, future: Future) -> Any:
        try:
            result, requests = future.result(timeout=COLLECT_SECONDS)
        except KilledWorker as error:
            raise Killed(error.allowed_failures + 1, getattr(error.last_worker, "memory_limit", None)) from error
        except (FutureCancelledError, CommClosedError) as error:
            if future.status == "error":  # the task raised it
                raise
            raise self._gone() from error
        except (ModuleNotFoundError, RuntimeError) as error:
            missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
            if isinstance(missing, ModuleNotFoundError) and (missing.name or "").startswith("taxidask"):
                raise ComputeError(
                    f"the scheduler or workers at {_address(self._client)} cannot import taxidask: {missing}",
                    f"install taxidask {__version__} and its requirements there",
                ) from error
            raise
        except TimeoutError:
            # The task may have raised this itself.
            if future.status == "error":
                raise
            self.watch()
            raise Again from None
        add(requests)
        return result

    def halt(self) -> None:
        self._told = True
        self._tell(_halt)

    def close(self) -> None:
        """No task of this session is waited for any more."""
        if self._told and self._client.status == "running":
            self._tell(_forget)

    def _tell(self, function: Callable[..., None]) -> None:
        with contextlib.suppress(Exception):  # a worker that dies now starts nothing either
            self._client.sync(
                self._client._run, function, self._token, on_error="ignore", callback_timeout=STOP_SECONDS
            )

    def watch(self) -> None:
        now = time.monotonic()
        if now - self._watched < WATCH_SECONDS:
            return
        self._watched = now
        if self._client.status not in ("running", "connecting"):
            raise self._gone()
        threads = self._threads()
        self._width = _width(threads)
        if threads:
            self._seen = now
        elif now - self._seen > WORKER_SECONDS:
            raise ComputeError(
                f"waited {WORKER_SECONDS:.0f} s for a worker at {_address(self._client)}",
                "start workers, or look at their log: they may not start or not reach the scheduler",
            )

    def abandon(self, futures: list[Future]) -> None:
        if futures and self._client.status == "running":
            self.halt()
            with contextlib.suppress(Exception):
                self._client.cancel(futures, reason="the call that started it is over")

    def _threads(self) -> int:
        try:
            return _threads(self._client)
        except CommClosedError as error:
            raise self._gone() from error

    def _gone(self) -> ComputeError:
        return ComputeError(
            f"the scheduler at {_address(self._client)} is gone, and what it was working on with it",
            "connect again and repeat the call: finished blocks are not read again",
        )


class _Box:
    """An item as it is."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def open(self) -> Any:
        return self.item


def _run(version: str, token: str, fn: Callable[[Any], Any], box: _Box) -> tuple[Any, Requests]:
    """The task's result, and the requests to S3 that its process has not told of yet; a task that fails tells none."""
    if version != __version__:
        raise ComputeError(f"a worker has taxidask {__version__}, the driver {version}", "install the same on both")
    from taxidask.compiled import follow  # numba, which a driver that only asks for a fit need not load

    follow(_report)
    result = Skipped() if token in _halted else fn(box.item)
    return result, take()


def _report(where: str, busy: bool) -> None:
    """In a worker: tell the scheduler, and through it the driver, that this process compiles."""
    from taxidask.compiled import HERE

    if where != HERE:
        return
    with contextlib.suppress(ValueError):  # a process with a worker in one thread may compile in another
        worker = get_worker()
        worker.log_event(COMPILING, {"where": worker.address, "busy": busy})


def _hear(event: tuple[float, dict[str, Any]]) -> None:
    """In the driver: pass on what a worker told."""
    from taxidask.compiled import tell

    tell(event[1]["where"], event[1]["busy"])


def _halt(token: str) -> None:
    _halted.add(token)


def _forget(token: str, dask_worker: Any) -> None:
    """In a worker: drop the token as soon as no task of it waits here to be started. Not at once: what was cancelled
    is taken back on another way than this call comes."""

    def look() -> None:
        mine = (
            task for key, task in dask_worker.state.tasks.items() if isinstance(key, tuple) and token in str(key[0])
        )
        if any(task.state not in ("executing", "long-running", "cancelled", "memory", "error") for task in mine):
            dask_worker.loop.call_later(FORGET_SECONDS, look)
        else:
            _halted.discard(token)

    dask_worker.loop.call_later(FORGET_SECONDS, look)


def _is_large(fn: Any) -> bool:
    """Whether a function's pickle has more than `INLINE_BYTES`; found out without making all of it."""
    left = INLINE_BYTES

    def write(data: Any) -> int:
        nonlocal left
        left -= memoryview(data).nbytes
        if left < 0:
            raise _LargeError
        return 0

    sink = SimpleNamespace(write=write)
    try:
        # arrays are handed over as they are, and not copied
        cloudpickle.Pickler(sink, protocol=5, buffer_callback=lambda buffer: bool(write(buffer.raw()))).dump(fn)
    except _LargeError:
        return True
    return False


class _LargeError(Exception):
    """It has been seen to be."""


def _threads(client: Client) -> int:
    return int(client.scheduler_info(n_workers=0).get("total_threads", 0))


def _width(threads: int) -> int:
    # Twice what can run: a free thread finds its next block at the scheduler, and a cluster that grows with its
    # load sees some.
    return max(8, 2 * threads)


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "its address"


def _on_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True

"""Running many tasks, a bounded number at a time: what threads and workers have in common."""

from __future__ import annotations

import contextlib
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from taxidask.errors import ComputeError

T = TypeVar("T")
R = TypeVar("R")

POLL_SECONDS = 0.2


class Executor(ABC):
    """Runs tasks, a bounded number of them at a time; see :func:`executor`."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """How many tasks can run at the same time, now."""

    @abstractmethod
    def _session(self) -> contextlib.AbstractContextManager[Session]:
        """What the tasks of one call run on."""

    def submit(self, fn: Callable[..., R], *args: Any, **kwargs: Any) -> Pending[R]:
        """Start one task. ``result()`` of what comes back waits for it, and raises what it raised."""
        return Pending(self._session(), Call(fn, args, kwargs))

    def map_unordered(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        window: int | None = None,
        should_stop: Callable[[], bool] | None = None,
        describe: Callable[[T], str] = repr,
    ) -> Iterator[tuple[T, R]]:
        """Run ``fn`` on every item and yield ``(item, result)`` as they finish.

        Parameters
        ----------
        fn : callable
            Takes one item. For workers it and the item are pickled; results should be small.
        items : iterable
            Taken one by one as there is room, never all at once.
        window : int, optional
            Tasks in flight at most; by default enough to keep every thread busy.
        should_stop : callable, optional
            Asked between tasks, at least every 0.2 s, so it must be quick. Once true no further item starts; those
            that run are awaited and yielded, then the iteration ends.
        describe : callable
            Names an item in an error.

        Raises
        ------
        Exception
            Whatever a task raised, as it was raised; tasks that have not started are cancelled.
        ComputeError
            If workers die again and again on an item, none comes for 300 s, or the scheduler is gone.
        """
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        flight: dict[Any, T] = {}
        rest = iter(items)
        more, stopping = True, False
        with self._session() as session:
            try:
                while True:
                    if not stopping and should_stop is not None and should_stop():
                        stopping = True
                        session.halt()
                    while more and not stopping and len(flight) < (window or session.width()):
                        try:
                            item = next(rest)
                        except StopIteration:
                            more = False
                            break
                        future = session.start(fn, item)
                        flight[future] = item
                        future.add_done_callback(done.put)
                    if not flight:
                        return
                    try:
                        future = done.get(timeout=POLL_SECONDS)
                    except queue.Empty:
                        session.watch()
                        continue
                    try:
                        result = session.collect(future)
                    except Again:
                        future.add_done_callback(done.put)
                        continue
                    except Killed as death:
                        raise death.error(describe(flight[future])) from death.__cause__
                    item = flight.pop(future)
                    del future
                    if not isinstance(result, Skipped):
                        yield item, result
            finally:
                session.abandon([future for future in flight if not future.done()])


class Session(ABC):
    """The part of a map that differs between threads and workers."""

    @abstractmethod
    def width(self) -> int:
        """Tasks to have in flight."""

    @abstractmethod
    def start(self, fn: Callable[[T], R], item: T) -> Any:
        """A future, hashable, with ``add_done_callback`` and ``done``."""

    @abstractmethod
    def collect(self, future: Any) -> Any:
        """A finished future's result; raises what the task raised, `Again` to be asked again, or `Killed`."""

    @abstractmethod
    def halt(self) -> None:
        """Let no task start any more: those that have not come back as `Skipped`."""

    @abstractmethod
    def watch(self) -> None:
        """Called while nothing happens; raises if nothing ever will."""

    @abstractmethod
    def abandon(self, futures: list[Any]) -> None:
        """Nobody waits for these any more."""


class Skipped:
    """The result of a task that was told to stop before it began."""


class Again(Exception):  # noqa: N818
    """A future that was finished is not any more: the worker that held its result is gone."""


class Killed(Exception):  # noqa: N818
    """The workers that ran a task died each time."""

    def __init__(self, deaths: int, memory: int | None) -> None:
        super().__init__(deaths, memory)
        self.deaths = deaths
        self.memory = memory

    def error(self, item: str) -> ComputeError:
        from dask.utils import format_bytes

        limit = f" (memory limit {format_bytes(self.memory)})" if self.memory else ""
        return ComputeError(
            f"{self.deaths} workers died one after the other{limit} while they worked on {item}",
            "most often they ran out of memory: give them more (worker_memory) or smaller blocks (block_size); "
            "their own log says if it was something else",
        )


class Call(Generic[R]):
    """A function and its arguments, to be called with an item that says nothing."""

    def __init__(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __call__(self, _: None) -> R:
        return self.fn(*self.args, **self.kwargs)


class Pending(Generic[R]):
    """One task that was started by :meth:`Executor.submit`."""

    def __init__(self, session: contextlib.AbstractContextManager[Session], call: Call[R]) -> None:
        self._name = call.__name__
        self._context = session
        self._session = session.__enter__()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._future = self._session.start(call, None)
        self._future.add_done_callback(self._done.put)

    def result(self) -> R:
        """Wait for the task; its result, or what it raised. To be called once."""
        try:
            while True:
                try:
                    return self._session.collect(self._done.get(timeout=POLL_SECONDS))
                except queue.Empty:
                    self._session.watch()
                except Again:
                    self._future.add_done_callback(self._done.put)
                except Killed as death:
                    raise death.error(self._name) from death.__cause__
        finally:
            if not self._future.done():
                self._session.abandon([self._future])
            self._context.__exit__(None, None, None)

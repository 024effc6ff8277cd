"""What a cluster that is being started waits for, for how long, and why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from taxidask.errors import ComputeError
from taxidask.progress import say

POLL_SECONDS = 0.5
REMOVAL_SECONDS = 30.0
"""What the pods of a cluster that never worked take to go, with room."""


@dataclass(frozen=True)
class Step:
    """One thing that was waited for: what, the last reason known, when it began, how long it took (None: still)."""

    what: str
    why: str
    began: float
    seconds: float | None = None


class Status:
    """Where a cluster stands, from the first second on.

    Give one to :func:`taxidask.connect` to look at it from another thread, or find it as ``client.cluster.status``.

    Examples
    --------
    >>> ticks = iter([0.0, 0.0, 4.0, 4.0]).__next__
    >>> status = Status(clock=ticks)
    >>> status.wait("the scheduler's pod", "ContainerCreating")
    >>> print(status)
    waiting 4 s for the scheduler's pod: ContainerCreating
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Status], None]] = []
        self.steps: list[Step] = []
        self.state = "starting"
        """One of "starting", "running", "failed" and "closed"."""
        self.began = clock()

    @property
    def waiting_for(self) -> str | None:
        """What is being waited for, or None."""
        return self.steps[-1].what if self.steps and self.steps[-1].seconds is None else None

    @property
    def why(self) -> str:
        """The last reason known."""
        return self.steps[-1].why if self.steps else ""

    @property
    def seconds(self) -> float:
        """How long it has been waited for that."""
        if not self.steps:
            return self._clock() - self.began
        last = self.steps[-1]
        return last.seconds if last.seconds is not None else self._clock() - last.began

    def listen(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` at every change."""
        self._listeners.append(listener)

    def wait(self, what: str, why: str = "") -> None:
        """Say what is waited for; the same again only updates the reason."""
        with self._lock:
            if self.waiting_for == what:
                if self.steps[-1].why == why:
                    return
                self.steps[-1] = Step(what, why, self.steps[-1].began)
            else:
                self._finish()
                self.steps.append(Step(what, why, self._clock()))
        self._tell()

    def end(self, state: str) -> None:
        """Nothing is waited for any more."""
        with self._lock:
            self._finish()
            self.state = state
        self._tell()

    def _finish(self) -> None:
        if self.waiting_for is not None:
            last = self.steps[-1]
            self.steps[-1] = Step(last.what, last.why, last.began, self._clock() - last.began)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self)

    def __str__(self) -> str:
        if self.waiting_for is None:
            return self.state
        return f"waiting {self.seconds:.0f} s for {self.waiting_for}" + (f": {self.why}" if self.why else "")

    def __repr__(self) -> str:
        took = ", ".join(f"{s.what} {s.seconds:.1f} s" for s in self.steps if s.seconds is not None)
        return f"Status({self}{'; ' + took if took else ''})"


class Deadline:
    """Seconds that several waits share.

    Parameters
    ----------
    seconds : float
        From now.
    status : Status
        Says what was waited for when they are over.
    reserve : float
        How many of them are kept for removing what was made, should the waits be in vain.
    """

    def __init__(self, seconds: float, status: Status, *, reserve: float = 0.0) -> None:
        self.total = seconds - reserve
        self._reserve = reserve
        self._status = status
        self._end = time.monotonic() + self.total

    @classmethod
    def of_start(cls, seconds: float, status: Status) -> Deadline:
        """For a start: a failed one is removed again within the same seconds."""
        return cls(seconds, status, reserve=min(REMOVAL_SECONDS, seconds / 3))

    @property
    def left(self) -> float:
        """Seconds left, never less than 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def left_for_removal(self) -> float:
        """Seconds left with the reserve, never less than 1."""
        return max(1.0, self._end + self._reserve - time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Pause, or raise if that is past the deadline."""
        if self.left <= 0:
            raise TimeoutError(f"waited {self.total:.0f} s; {self._status}")
        time.sleep(min(seconds, self.left))

    def error(self, remedy: str | None = None) -> ComputeError:
        """The error to raise when they are over."""
        return ComputeError(f"waited {self.total:.0f} s in all for the Kubernetes cluster; {self._status}", remedy)


def show(status: Status, file: IO[str] | None = None) -> None:
    """Print every change as a line, with what the step before took."""
    said: dict[str, str] = {}

    def line(now: Status) -> None:
        text = now.waiting_for or now.state
        if said.get(text) == now.why:
            return
        said[text] = now.why
        after = time.monotonic() - now.began
        reason = f": {now.why}" if now.why and now.waiting_for else ""
        say(f"cluster: {'waiting for ' if now.waiting_for else ''}{text}{reason} ({after:.0f} s)", file)

    status.listen(line)

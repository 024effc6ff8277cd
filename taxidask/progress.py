"""What a long read shows while it works: rows, bytes, rejects, speed and time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

from taxidask.credentials import hidden
from taxidask.words import escaped

WINDOW_SECONDS = 30.0
"""The speed shown is that of this long a while: the first seconds, with their compiling, do not haunt the rest."""

COMPILING = "compiling, once"


class Progress:
    """A line that grows with every finished block.

    On a terminal it is a bar; in a notebook a line that is replaced; elsewhere a plain line every few seconds, so that
    a log stays readable. A first call waits for functions to be compiled: while they are, here or on a worker, the line
    says so. It goes to stderr and, if not `enabled`, nowhere.

    Parameters
    ----------
    enabled : bool
        False shows nothing.
    label : str
        What is going on, one word.
    file : file, optional
        Where to write; stderr by default.
    every : float
        Seconds between plain lines.
    clock : callable
        Seconds, as `time.monotonic`.

    Examples
    --------
    >>> import sys
    >>> with Progress(label="ingest", file=sys.stdout, clock=iter([0.0, 2.0, 4.0, 4.0]).__next__) as show:
    ...     show({"rows": 1000, "rejected": 10, "bytes": 4_000_000, "total_bytes": 8_000_000})
    ...     show({"rows": 1000, "rejected": 20, "bytes": 4_000_000, "total_bytes": 8_000_000})
    ingest: 8.0 MB, 2,000 rows, 30 rejected, 2.0 MB/s, done in 4 s
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        label: str = "ingest",
        file: IO[str] | None = None,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = sys.stderr if file is None else file
        self.enabled, self.label, self.every = enabled and self._file is not None, label, every
        self._clock = clock
        self.rows = self.rejected = self.bytes = self.total_bytes = 0
        self._compiling: set[str] = set()  # the processes that do
        self._told = False
        self._screen: _Screen = _Lines(self._file)

    def __enter__(self) -> Progress:
        self._began = self._shown = self._clock()
        self._past: deque[tuple[float, int]] = deque([(self._began, 0)])
        if self.enabled:
            from taxidask.compiled import follow

            self._screen = _screen(self._file, self.label)
            follow(self._hear)
        return self

    def __call__(self, block: Mapping[str, Any]) -> None:
        """Take in a finished block: its ``rows``, ``rejected`` (a number, or by reason), ``bytes``, ``total_bytes``."""
        rejected = block["rejected"]
        self.rows += block["rows"]
        self.rejected += sum(rejected.values()) if isinstance(rejected, Mapping) else rejected
        self.bytes += block["bytes"]
        self.total_bytes = block["total_bytes"]
        now = self._clock()
        self._past.append((now, self.bytes))
        while len(self._past) > 2 and self._past[1][0] < now - WINDOW_SECONDS:
            self._past.popleft()
        if self.enabled and (self._screen.live or now - self._shown >= self.every):
            self._shown = now
            self._screen.show(self._text(now), self.bytes / max(self.total_bytes, self.bytes, 1))

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if not self.enabled:
            return
        from taxidask.compiled import unfollow

        unfollow(self._hear)
        seconds = self._clock() - self._began
        rate = f", {_size(self.bytes / seconds)}/s" if seconds > 0 and self.bytes else ""
        what = "done in" if kind is None else "stopped after"
        self._screen.close(f"{self.label}: {self._counts()}{rate}, {what} {_time(seconds)}" if self.rows else "")

    def _hear(self, where: str, busy: bool) -> None:
        """Say so while a process that works for this call compiles: it is what a first call waits for."""
        (self._compiling.add if busy else self._compiling.discard)(where)
        if self._screen.live:
            share = self.bytes / max(self.total_bytes, self.bytes, 1)
            self._screen.show(self._text(self._clock()) if self.rows else COMPILING if busy else "starting", share)
        elif busy and not self._told:
            self._told = True
            self._screen.show(COMPILING, 0.0)

    @property
    def speed(self) -> float:
        """Bytes a second, lately."""
        (then, had), (now, has) = self._past[0], self._past[-1]
        return (has - had) / (now - then) if now > then else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take at this speed; None if nothing is known yet."""
        return max(self.total_bytes - self.bytes, 0) / self.speed if self.speed else None

    def _counts(self) -> str:
        return f"{_size(self.bytes)}, {self.rows:,} rows, {self.rejected:,} rejected"

    def _text(self, now: float) -> str:
        left = self.seconds_left
        share = f"{min(self.bytes / self.total_bytes, 1):.0%} of {_size(self.total_bytes)}" if self.total_bytes else ""
        parts = [share, f"{self.rows:,} rows", f"{self.rejected:,} rejected", f"{_size(self.speed)}/s"]
        parts.append(f"{_time(left)} left" if left is not None else f"{_time(now - self._began)} so far")
        if self._compiling:
            parts.append(COMPILING)
        return ", ".join(part for part in parts if part)


class _Screen:
    """Where the line appears."""

    live = True
    """Whether it may be redrawn for every block."""

    def show(self, text: str, share: float) -> None:
        """Replace what is there; `share` of the work, 0 to 1, is done."""
        raise NotImplementedError

    def close(self, text: str) -> None:
        """Leave `text`, if any, as the last word."""
        raise NotImplementedError


class _Lines(_Screen):
    live = False

    def __init__(self, file: IO[str], label: str = "") -> None:
        self._file, self._label = file, label

    def show(self, text: str, share: float) -> None:  # noqa: ARG002 - the text says it
        say(f"{self._label}: {text}", self._file)

    def close(self, text: str) -> None:
        if text:
            say(text, self._file)


class _Terminal(_Screen):
    def __init__(self, console: Any, label: str) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = console
        columns = TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}")
        self._bars = Bars(*columns, console=console, transient=True)
        self._task = self._bars.add_task(label, total=None, text="starting")
        self._bars.start()

    def show(self, text: str, share: float) -> None:
        self._bars.update(self._task, completed=share, total=1.0, text=text)

    def close(self, text: str) -> None:
        self._bars.stop()
        if text:
            self._console.print(text, highlight=False, markup=False)


class _Notebook(_Screen):
    """One output that is replaced, as text: it needs no widgets and stays readable in a saved notebook."""

    def __init__(self, label: str) -> None:
        from IPython.display import display

        self._label, self._last = label, 0.0
        self._output = display({"text/plain": f"{label}: starting"}, raw=True, display_id=True)

    def show(self, text: str, share: float) -> None:  # noqa: ARG002 - the text says it
        if time.monotonic() - self._last > 0.2:
            self._last = time.monotonic()
            self._output.update({"text/plain": f"{self._label}: {text}"}, raw=True)

    def close(self, text: str) -> None:
        self._output.update({"text/plain": text}, raw=True)


def _screen(file: IO[str], label: str) -> _Screen:
    if file is sys.stderr and _in_notebook():
        return _Notebook(label)
    from rich.console import Console

    console = Console(file=file, soft_wrap=True)
    return _Terminal(console, label) if console.is_terminal and not console.is_dumb_terminal else _Lines(file, label)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and shell.has_trait("kernel")


def _size(count: float) -> str:
    """Bytes in the unit people read.

    >>> _size(1_230_000), _size(2.5e9), _size(999)
    ('1.2 MB', '2.50 GB', '0.0 MB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    """A length of time.

    >>> _time(4.2), _time(125), _time(7300)
    ('4 s', '2 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def say(text: str, file: IO[str] | None = None) -> None:
    """Say a line to whoever watches (by default on stderr); that nobody can be told is no reason to stop the work."""
    out = sys.stderr if file is None else file
    if out is None:  # stderr was closed; print would take stdout, which is for results
        return
    with contextlib.suppress(OSError, ValueError):
        print(escaped(hidden(text), lines=True), file=out, flush=True)

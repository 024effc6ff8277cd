"""The `taxidask` command, a module a subject; each adds its commands to the app of `base`.

Only for itself: __main__, ahead, base, clusters, command, lakes, models, regions, runs, services, trips, watch.
Tests: tests/test_cli.py.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with something left out (named on standard error), 130 interrupted.
Results go to standard output, everything said on the way to standard error.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from typing import NoReturn

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command; ends the process with the exit code."""
    before = signal.getsignal(signal.SIGINT)
    # Importing takes a second, in which nothing has been begun: whoever interrupts it gets no traceback.
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    from taxidask.cli.command import run

    signal.signal(signal.SIGINT, before)
    # Kubernetes ends a pod so, whose process 1 this may be: what is under way is left as after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = run(arguments)
        if arguments is None:  # the process is the command's own
            _end(code)
        sys.exit(code)
    except KeyboardInterrupt:  # before the command itself minds it
        _leave()


def _end(code: int) -> NoReturn:
    """End this process as Python does, but for taking the interpreter down.

    A thread of Arrow may let go of a Python file only after its answer has been used. Where it asks for the interpreter
    that is being taken down, Python before 3.14 unwinds it through C++ that does not allow it: the process would abort
    with its work done.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for those that are no daemons
    atexit._run_exitfuncs()
    gc.collect()  # closes what was left open, as a store's file
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    os._exit(code)


def _leave(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt

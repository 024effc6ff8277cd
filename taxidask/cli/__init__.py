"""The `taxidask` command, a module a subject; each adds its commands to the app of `base`.

Only for itself: __main__, ahead, base, clusters, lakes, models, regions, runs, services, trips, watch.
Tests: tests/test_cli.py.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with something left out (named on standard error), 130 interrupted.
Results go to standard output, everything said on the way to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cyclopts

from taxidask.cli import (  # noqa: F401  (each adds its commands)
    clusters,
    lakes,
    models,
    regions,
    runs,
    services,
    trips,
    watch,
)
from taxidask.cli.base import DONE, FAILED, INTERRUPTED, WRONG_USE, app
from taxidask.errors import SettingsError, TaxidaskError
from taxidask.progress import say
from taxidask.storage.errors import explained


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command; ends the process with the exit code."""
    # Kubernetes ends a pod so, whose process 1 this may be: what is under way is left as after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError:
        sys.exit(WRONG_USE)  # cyclopts has printed what was wrong
    except SettingsError as error:
        say(f"error: {error}")
        sys.exit(WRONG_USE)
    except TaxidaskError as error:
        say(f"error: {error}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # the reader of a pipe, e.g. head, has what it wanted
        sys.stderr.close()
        sys.exit(DONE)
    except OSError as error:
        # What the package reads and writes is explained where it happens; this is what a command does besides.
        name = str(Path(error.filename).absolute()) if isinstance(error.filename, str) else "the standard output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written there is not tried again at the end
        say(f"error: {explained(error, 'use', name, needs=0, attempts=1)}")
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else DONE)


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt

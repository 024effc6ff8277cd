"""Running one command: its exit code, and what is said where it fails."""

from __future__ import annotations

import os
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


def run(arguments: list[str] | None = None) -> int:
    """Run the command that is named, and return its exit code."""
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError:
        return WRONG_USE  # cyclopts has printed what was wrong
    except SettingsError as error:
        say(f"error: {error}")
        return WRONG_USE
    except TaxidaskError as error:
        say(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of a pipe, e.g. head, has what it wanted
        sys.stderr.close()
        return DONE
    except OSError as error:
        # What the package reads and writes is explained where it happens; this is what a command does besides.
        name = str(Path(error.filename).absolute()) if isinstance(error.filename, str) else "the standard output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written there is not tried again at the end
        say(f"error: {explained(error, 'use', name, needs=0, attempts=1)}")
        return FAILED
    return code if isinstance(code, int) else DONE

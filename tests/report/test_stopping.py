"""What a process does when it is told to stop is the same while a report is built and afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nbformat import v4

from taxidask.report.kernel import execute

TELL = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"


@pytest.fixture
def handler() -> Iterator[Callable[..., Any]]:
    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    yield terminate
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("code", ["1 + 1", TELL], ids=["after it", "within it"])
def test_sigterm_does_what_the_process_says(handler: Callable[..., Any], code: str) -> None:
    notebook = v4.new_notebook(cells=[v4.new_code_cell(code)])
    if code == TELL:
        with pytest.raises(KeyboardInterrupt):
            execute(notebook)
    else:
        execute(notebook)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

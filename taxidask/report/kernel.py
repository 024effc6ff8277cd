"""A run's notebook, executed in a kernel of its own."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxidask.errors import ReportError
from taxidask.storage.requests import Requests, add

if TYPE_CHECKING:
    from nbclient import NotebookClient
    from nbformat import NotebookNode


RUN = "TAXIDASK_RUN"
FROM = "TAXIDASK_FROM"  # the folder relative paths of the settings start from; the kernel may run elsewhere
FETCH_SECONDS = 10.0
_REQUESTS = "[*m.take()] if (m := __import__('sys').modules.get('taxidask.storage.requests')) else [0, 0]"


def execute(
    notebook: NotebookNode,
    *,
    variables: dict[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    timeout: float = 600,
) -> NotebookNode:
    """Execute a notebook in a kernel of this Python and return it with its outputs.

    Parameters
    ----------
    notebook : NotebookNode
        It is changed in place.
    variables : dict of str to str, optional
        Environment variables for the kernel, besides this process's own.
    folder : path, optional
        The kernel's working directory (default: an empty temporary one).
    timeout : float, default 600
        Seconds one cell may take.

    Raises
    ------
    ReportError
        With the number and code of the cell that failed and its error.
    """
    import sys

    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    with tempfile.TemporaryDirectory(prefix="taxidask-report-") as scratch:
        environment = os.environ | {
            FROM: os.environ.get(FROM, str(Path.cwd())),
            # neither a user's start-up files nor a read-only home directory matter to a report
            "IPYTHONDIR": str(Path(scratch, "ipython")),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            **(variables or {}),
        }
        kernel = AsyncKernelManager(kernel_name="python3", connection_file=str(Path(scratch, "kernel.json")))
        if os.name == "posix" and len(scratch) < 90:  # a socket's path has 107 characters at most
            kernel.transport, kernel.ip = "ipc", str(Path(scratch, "kernel"))  # nothing listens on the network
        # this very Python, whatever kernel of that name a user has registered
        kernel._kernel_spec = KernelSpec(
            # at its end it is interrupted, which it would call an error
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"],
            language="python",
        )
        client = NotebookClient(
            notebook,
            km=kernel,
            timeout=max(1, round(timeout)),
            startup_timeout=120,
            shutdown_kernel="immediate",  # it has nothing left to write, and to ask it takes a second
            resources={"metadata": {"path": str(folder or scratch)}},
        )
        client.on_notebook_complete = lambda **_: _fetch_requests(client)
        handlers = _handlers()
        client.on_notebook_start = lambda **_: _handle(handlers)
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            told = f"{error.ename}: {error.evalue}"
            raise ReportError(f"the report failed in {_running(notebook)}: {told}") from error
        except CellTimeoutError as error:
            raise ReportError(
                f"a cell of the report took longer than {timeout:.0f} s: {_running(notebook)}",
                "give it more time with timeout=, or look at the size of the lake",
            ) from error
        except DeadKernelError as error:
            raise ReportError(
                f"the report's kernel died in {_running(notebook)}", "most likely it ran out of memory"
            ) from error
        except RuntimeError as error:
            raise ReportError(f"the report's kernel did not start: {error}", "is ipykernel installed?") from error
        finally:
            _handle(handlers)
            with contextlib.suppress(Exception):
                client._cleanup_kernel()
    return client.nb


def _handlers() -> dict[int, Any]:
    """What this process does when it is told to stop; of a thread, which nbclient leaves alone, nothing."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in known.items() if handler is not None}  # None: not Python's


def _handle(handlers: dict[int, Any]) -> None:
    """Do that again: nbclient ends the kernel instead, and afterwards leaves the system's default."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


async def _fetch_requests(client: NotebookClient) -> None:
    """Count what the kernel asked S3 for as this process's; a notebook that fails does not tell."""
    with contextlib.suppress(Exception):  # the report is worth more than its count
        kernel: Any = client.kc  # an asynchronous one, whose replies can be awaited
        reply = await kernel.execute(
            "", silent=True, user_expressions={"sent": _REQUESTS}, reply=True, timeout=FETCH_SECONDS
        )
        add(Requests(*ast.literal_eval(reply["content"]["user_expressions"]["sent"]["data"]["text/plain"])))


def _running(notebook: NotebookNode) -> str:
    """Name the cell that failed, or the last one that was started."""
    chosen: tuple[int, Any] | None = None
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            chosen = number, cell
            break
        if "execution" in cell.metadata or chosen is None:
            chosen = number, cell
    if chosen is None:
        return "a cell"
    number, cell = chosen
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first.strip()})"

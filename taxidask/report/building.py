"""Execute the report notebook about one run and write it as PDF."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from taxidask.report.kernel import RUN, execute
from taxidask.storage import absolute, default_storage
from taxidask.storage.regions import regions_in_use

if TYPE_CHECKING:
    from taxidask.lake import Lake
    from taxidask.results import Store


def build(
    *,
    store: Store | str,
    lake: Lake | str | os.PathLike[str],
    run_id: str | None = None,
    out: str | os.PathLike[str] = "report.pdf",
    timeout: float = 600,
) -> str:
    """Build the report of a run: execute the notebook, export it to PDF, write it.

    Parameters
    ----------
    store : Store or str
        Where the run published its results.
    lake : Lake or str
        The run's lake.
    run_id : str, optional
        The run (default: ``last``, the one the store shows as latest).
    out : path or URL
        Where the PDF goes; it is replaced at once when it is complete.
    timeout : float, default 600
        Seconds one cell of the notebook may take.

    Returns
    -------
    str
        The PDF's absolute path or URL.

    Raises
    ------
    ReportError
        When there is no such run; with the cell that failed and its error, or the time it was given.
    """
    from taxidask.report.data import open_run
    from taxidask.report.pdf.exporter import TypstPDFExporter, asset

    target = absolute(os.fspath(out))
    variables = {
        "TAXIDASK_STORE": store if isinstance(store, str) else store.url,
        "TAXIDASK_LAKE": os.fspath(lake) if isinstance(lake, str | os.PathLike) else lake.url,
    }
    if (regions := regions_in_use()) is not None:
        variables["TAXIDASK_REGIONS"] = json.dumps([region.model_dump() for region in regions.regions])
    # Said here, a wrong run or an empty lake needs no kernel to be found out
    chosen = open_run(store=variables["TAXIDASK_STORE"], lake=variables["TAXIDASK_LAKE"], run=run_id)
    variables[RUN] = chosen.id
    notebook = nbformat.read(asset("report.ipynb"), as_version=4)
    executed = execute(notebook, variables=variables, timeout=timeout)
    _say_what_was_logged(executed)
    pdf, _ = TypstPDFExporter(execute_if_needed=False).from_notebook_node(executed)
    if "://" not in target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    default_storage().write(target, pdf)
    return target


def _say_what_was_logged(notebook: nbformat.NotebookNode) -> None:
    """Pass on what the kernel logged, as of a region that is dark: it is for who builds the report, not for readers."""
    for cell in notebook.cells:
        logged = [out for out in cell.get("outputs", ()) if out.get("name") == "stderr"]
        for out in logged:
            sys.stderr.write(str(out["text"]))
            cell["outputs"].remove(out)

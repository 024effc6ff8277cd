"""The notebooks, as they are handed out and run anew."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from taxidask.report.building import execute

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))

ON_PODS = {path for path in NOTEBOOKS if path.stem == "02-on-pods"}
"""Run where there are pods: kube/test_lab.py."""


def test_there_are_notebooks() -> None:
    assert set(NOTEBOOKS) > ON_PODS > set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path not in ON_PODS], ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    """`execute` raises with the cell that failed."""
    done = execute(nbformat.read(path, as_version=4), folder=tmp_path, timeout=300)
    errors = [
        output.text for cell in done.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]
    assert errors == []
    assert list(tmp_path.iterdir()) == [], "a notebook leaves nothing behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_handed_out_with_its_outputs(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    for machine in ("/tmp", "/root", "/home", "/work"):
        assert machine not in path.read_text(), "a path of the machine it was run on"

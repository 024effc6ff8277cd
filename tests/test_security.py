"""What docs/security.md says, as far as no room's own tests show it; and that those it names are there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from taxidask.report.kernel import execute

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    missing = []
    for file, name in sorted(set(NAMED.findall(PAGE))):
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
        if name not in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_line_of_its_tables_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    forbidden = {
        "eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput", "yaml.load", "joblib.load",
        *(f"{module}.{name}" for module in ("pickle", "cloudpickle", "dill", "marshal") for name in ("load", "loads")),
    }  # fmt: skip
    found = []
    for path in sorted((ROOT / "taxidask").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            shell = any(word.arg == "shell" for word in node.keywords)
            allow = [ast.unparse(word.value) for word in node.keywords if word.arg == "allow_pickle"]
            if ast.unparse(node.func) in forbidden or shell or allow not in ([], ["False"]):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert found == []


LIBRARY = """
import json, sys
import psutil
import taxidask as td
files = td.make_sample(sys.argv[1], start="2015-03", trips_per_month=3000)
lake = td.Lake(sys.argv[1] + "/lake")
lake.ingest(files)
td.count_trips(files)
lake.trips(limit=5)
me = psutil.Process()
family = [me, *me.children(recursive=True)]
inet = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
print(json.dumps([len(family) - 1, inet]))
"""


def test_library_calls_listen_nowhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, str(tmp_path)], check=True, capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


LISTENING = """
import ipykernel.kernelapp, psutil
app = ipykernel.kernelapp.IPKernelApp.instance()
inet = [c for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
pipe = {app.iopub_thread._pipe_port}
print([app.transport, [c.laddr.ip for c in inet], {c.laddr.port for c in inet} <= pipe])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kernels talk over socket files where there are such")
def test_the_report_s_kernel_is_asked_over_socket_files() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LISTENING)])
    told = ast.literal_eval(execute(notebook).cells[0].outputs[0].text)
    assert told in (["ipc", ["127.0.0.1"], True], ["ipc", [], True])


@pytest.mark.parametrize("given", ["'); raise SystemExit(1); ('", "{{7*7}}\n!touch here", '"""\nimport os\n"""'])
def test_parameters_of_a_report_are_no_code(given: str, tmp_path: Path) -> None:
    code = "import os; print(repr(os.environ['TAXIDASK_RUN']), os.listdir())"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    done = execute(notebook, variables={"TAXIDASK_RUN": given}, folder=tmp_path)
    assert done.cells[0].source == code
    assert done.cells[0].outputs[0].text.strip() == f"{given!r} []"

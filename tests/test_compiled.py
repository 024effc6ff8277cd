from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taxidask.compiled import HERE, follow, sources, tell, unfollow

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "taxidask"
_spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)

OUTER = """
from taxidask.compiled import kernel
from taxidask.inner import inside
from taxidask.table import TABLE

@kernel
def outside(x):
    return 100 * inside(x) + TABLE[0]
"""
INNER = "from taxidask.compiled import kernel\n\n@kernel\ndef inside(x):\n    return x + 1\n"
ASK = """
from taxidask.outer import inside, outside
print(outside(2), sum(sum(one.stats.cache_misses.values()) for one in (inside, outside)))
"""


class Small:
    """A package of three small files in the place of this one, compiled and kept by the true one's means."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.package = folder / "taxidask"
        self.package.mkdir()
        shutil.copy(PACKAGE / "compiled.py", self.package)
        (self.package / "__init__.py").touch()
        (self.package / "outer.py").write_text(OUTER)
        (self.package / "inner.py").write_text(INNER)
        (self.package / "table.py").write_text("TABLE = (7,)\n")

    def change(self, file: str, old: str, new: str) -> None:
        path = self.package / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def ask(self, **variables: str) -> tuple[int, int, str]:
        """In a process of its own: the answer, how many functions were compiled for it, and what was said."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        environment |= {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"} | variables
        done = subprocess.run(
            [sys.executable, "-c", ASK], cwd=self.home, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        answer, compiled = map(int, done.stdout.split())
        return answer, compiled, done.stderr

    def kept(self) -> list[Path]:
        return sorted((self.package / "__pycache__").glob("*.nb?"))


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_a_kernel_is_compiled_anew_when_what_it_takes_from_another_file_has_changed(small: Small) -> None:
    assert small.ask() == (307, 2, "")
    assert small.ask() == (307, 0, "")
    small.change("inner.py", "x + 1", "x + 5")
    assert small.ask() == (707, 2, "")
    small.change("table.py", "7", "8")
    assert small.ask() == (708, 1, "")
    # what was kept of the other versions is gone, and of functions that are
    small.change("inner.py", "@kernel\ndef inside(", "\n\n@kernel\ndef elsewhere(")
    small.change("outer.py", "import inside", "import elsewhere as inside")
    assert small.ask() == (708, 2, "")
    assert [path.name.split("-")[0] for path in small.kept()] == ["inner.elsewhere", "outer.outside"]


def test_what_was_cut_short_on_disk_is_compiled_anew(small: Small) -> None:
    small.ask()
    for path in small.kept():
        path.write_bytes(path.read_bytes()[:100])
    assert small.ask() == (307, 2, "")


def test_where_nothing_can_be_written_it_is_compiled_and_said_once(small: Small) -> None:
    (small.package / "__pycache__").touch()
    answer, compiled, said = small.ask(HOME="/dev/null", XDG_CACHE_HOME="/dev/null")
    assert (answer, compiled) == (307, 2)
    assert said.count("set NUMBA_CACHE_DIR") == 1


def kernel_files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if re.search(r"^@kernel\b", path.read_text(), re.MULTILINE)]


def test_nothing_is_compiled_by_other_means() -> None:
    compilers = {"jit", "njit", "vectorize", "guvectorize", "stencil", "cfunc", "jitclass", "generated_jit"}
    named = {
        (path.name, name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))
        if name in compilers
    }
    assert named == {("compiled.py", "njit")}


def test_all_that_a_file_of_kernels_imports_is_among_its_sources() -> None:
    """Found in the syntax tree; `sources` reads lines, which takes a tenth of the time."""
    modules, edges = house.modules(), house.imports()
    files = kernel_files()
    assert {path.name for path in files} >= {"parser.py", "columns.py", "kernel.py", "blockcounts.py", "rows.py"}
    for file in files:
        [name] = [name for name, path in modules.items() if path == file]
        reached, left = set(), {name}
        while left:
            reached |= left
            left = set().union(*(edges[one] for one in left)) - reached
        assert {modules[one] for one in reached} <= sources(file), file


def test_the_image_compiles_with_all_of_these_sources() -> None:
    """Without one of them, or before it is there, a kernel gets another name than it has in the image."""
    stage = (ROOT / "Dockerfile").read_text().partition(" AS kernels\n")[2].partition("\nFROM ")[0]
    copied = {
        ROOT / word for line in re.findall(r"^COPY (taxidask.*) \S+$", stage, re.MULTILINE) for word in line.split()
    }
    needed = set().union(*map(sources, kernel_files()))
    assert [path for path in needed if not copied & {path, *path.parents}] == []


def test_a_thread_that_is_no_workers_may_compile_in_a_process_with_one() -> None:
    from taxidask.compute.workers import _report

    follow(_report)
    try:
        tell(HERE, True)
        tell(HERE, False)
    finally:
        unfollow(_report)


def test_an_import_compiles_nothing(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, taxidask
for module in pkgutil.walk_packages(taxidask.__path__, "taxidask."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, timeout=120)
    assert [path.name for path in tmp_path.rglob("*.nbc")] == []

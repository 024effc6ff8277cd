"""Who may import whom: a room only rooms below it, nothing in a circle, nothing too large to be understood."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)

# fmt: off
FROM_THE_GROUND = (
    "credentials", "words", "errors", "lazy", "units", "clock", "compiled", "progress", "tariff", "counterparts",
    "settings", "storage",
    "space", "sample", "models", "cube", "compute", "trips", "lake", "demand", "fare", "backtests", "results",
    "replicas", "asking", "report", "runs", "doctor", "app", "cli",
)
# fmt: on
LONGEST_FILE = 450
LARGEST_ROOM = 18


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return house.imports()


def test_files_do_not_import_each_other_in_a_circle(edges):
    assert not house.circle(edges), " -> ".join(house.circle(edges))


def test_a_room_imports_only_rooms_below_it(edges):
    rooms = house.room_imports(edges)
    assert sorted(rooms) == sorted(FROM_THE_GROUND)
    place = {name: number for number, name in enumerate(FROM_THE_GROUND)}
    upwards = [f"{name} -> {other}" for name, others in rooms.items() for other in others if place[other] > place[name]]
    assert not upwards


def test_a_circle_and_an_import_upwards_would_be_seen(tmp_path):
    package = tmp_path / "taxidask"
    (package / "b" / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '1'\n")
    (package / "a.py").write_text("def f():\n    from taxidask.b.inner import x\n")
    (package / "b" / "__init__.py").write_text("from .c import y\n")
    (package / "b" / "c.py").write_text(
        "from typing import TYPE_CHECKING\nfrom taxidask import __version__, a\n"
        "if TYPE_CHECKING:\n    from . import inner\n"
    )
    (package / "b" / "inner" / "__init__.py").write_text("from ..c import y\n")
    edges = house.imports(package)
    assert edges["taxidask.b.c"] == {"taxidask.a"}
    assert house.room_imports(edges) == {"a": {"b"}, "b": {"a"}}
    assert set(house.circle(edges)) == {"taxidask.a", "taxidask.b.inner", "taxidask.b.c"}


def test_files_and_rooms_are_not_too_large():
    files = list(house.PACKAGE.rglob("*.py"))
    long = {str(file): lines for file in files if (lines := len(file.read_text().splitlines())) > LONGEST_FILE}
    assert not long
    folders = {file.parent for file in files}
    assert not {str(folder) for folder in folders if len(list(folder.glob("*.py"))) > LARGEST_ROOM}


@pytest.mark.parametrize("path", sorted(house.PACKAGE.glob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_a_room_says_what_it_is_for(path, edges):
    said = ast.get_docstring(ast.parse(path.read_text()))
    about = re.match(
        r"(?P<purpose>[^\n]+\.)\n\n(?:Only for itself: (?P<own>[\w,\s]+)\.\s)?Tests:\s(?P<tests>\S+)\.(?:\n\n|$)", said
    )
    assert about, said
    assert (ROOT / about["tests"]).exists()
    room = path.parent.name
    own = re.split(r",\s", about["own"]) if about["own"] else []
    outside = {target for name, targets in edges.items() if house.room(name) != room for target in targets}
    inside = {name.split(".")[2] for name in edges if name.startswith(f"taxidask.{room}.")}
    used = {target.split(".")[2] for target in outside if target.startswith(f"taxidask.{room}.")}
    assert own == sorted(inside - used), "modules that no other room imports"


def test_the_readme_has_the_map():
    assert f"```\n{house.draw()}\n```" in (ROOT / "README.md").read_text()

"""The house: which room of the package imports which, drawn from the sources' own imports.

``python benchmarks/house.py`` prints the map that is in the README. A room is a package or a module directly under
taxidask/, with all that is in it. Imports inside functions count, those under ``if TYPE_CHECKING`` do not.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "taxidask"


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module by its name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """The modules of the package that each of them imports, anywhere in its code."""
    known = modules(package)
    edges = {}
    for name, path in known.items():
        home = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = set(_imported(ast.parse(path.read_text(encoding="utf-8")), home, known))
        edges[name] = found - {name}
    return edges


def _imported(node: ast.AST, home: str, known: dict[str, Path]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in known)
        elif isinstance(child, ast.ImportFrom):
            base = home.split(".")[: len(home.split(".")) - child.level + 1] if child.level else []
            module = ".".join([*base, *([child.module] if child.module else [])])
            for alias in child.names:
                if module == "taxidask" and alias.name == "__version__":
                    continue
                inner = f"{module}.{alias.name}"
                yield from (name for name in ([inner] if inner in known else [module]) if name in known)
        yield from _imported(child, home, known)


def room(module: str) -> str:
    """The room that a module is in; the package itself is the roof."""
    return module.partition(".")[2].partition(".")[0]


def room_imports(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    rooms: dict[str, set[str]] = {room(name): set() for name in edges if room(name)}
    for name, targets in edges.items():
        if room(name):
            rooms[room(name)] |= {room(target) for target in targets} - {room(name), ""}
    return rooms


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Names that import each other in a circle, the first found; empty if there is none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """How high a room lies, from the ground up: one above the highest that it imports."""
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(rooms).static_order():
        height[name] = 1 + max((height[one] for one in rooms[name]), default=-1)
    return height


def draw() -> str:
    """The map: a line a room, from the roof down, with the rooms that it imports and reaches through no other one."""
    rooms = room_imports(imports())
    height = floors(rooms)
    reach: dict[str, set[str]] = {}
    for name in height:
        reach[name] = rooms[name].union(*(reach[below] for below in rooms[name]))
    lines = []
    for floor in range(max(height.values()), -1, -1):
        for name in sorted(name for name in rooms if height[name] == floor):
            direct = rooms[name] - set().union(*(reach[below] for below in rooms[name]))
            above = sorted(direct, key=lambda one: (-height[one], one))
            lines.append(f"{floor:>2}  {name:<10}" + (f"  on {', '.join(above)}" if above else ""))
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.stdout.write(draw() + "\n")

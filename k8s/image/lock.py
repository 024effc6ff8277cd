"""Print the part of requirements.lock, hashes included, that some packages and all they depend on make up.

requirements.lock pins everything, tests' and linters' tools too. The image needs what the package needs and no more:

    python lock.py                 the dependencies of the package itself
    python lock.py --without kubernetes
                                   the same without that one, and what only it brings in
    python lock.py hatchling       hatchling and its own, to build it
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def normal(name: str) -> str:
    """A distribution's name as an index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, tuple[str, set[str]]]:
    """Each distribution's lines, of every version where that depends on Python's, and the names after its `# via`."""
    found: dict[str, tuple[str, set[str]]] = {}
    for text in re.split(r"\n(?=[A-Za-z0-9])", "\n" + lock)[1:]:
        body = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        via = re.findall(r"^ +#(?: via|  )(?: +)?(\S+)", text, flags=re.MULTILINE)
        name = normal(re.split(r"[=\[ ;]", text, maxsplit=1)[0])
        lines, parents = found.get(name, ("", set()))
        found[name] = (lines + "\n".join(body).rstrip() + "\n", parents | set(map(normal, via)))
    return found


def part(lock: str, roots: list[str], without: Iterable[str] = ()) -> str:
    """The entries of `roots` and of everything they brought in, but for those `without`."""
    known = entries(lock)
    children: dict[str, set[str]] = {}
    for name, (_, via) in known.items():
        for parent in via:
            children.setdefault(parent, set()).add(name)
    left_out = set(map(normal, without))
    wanted, waiting = set(), [normal(re.split(r"[\[<>=!~; ]", root, maxsplit=1)[0]) for root in roots]
    while waiting:
        name = waiting.pop()
        if name not in wanted | left_out:
            if name not in known:
                raise SystemExit(f"{name} is not in requirements.lock: compile it again")
            wanted.add(name)
            waiting += children.get(name, ())
    return "".join(known[name][0] for name in sorted(wanted))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("roots", nargs="*")
    parser.add_argument("--without", action="append", default=[])
    given = parser.parse_args()
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lines = part(Path("requirements.lock").read_text(), given.roots or project["dependencies"], given.without)
    sys.stdout.write(lines)

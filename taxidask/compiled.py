"""How numba functions are compiled and kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba

_PACKAGE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.+)", re.MULTILINE)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function without the GIL and keep it on disk.

    numba takes a kept function for good as long as its own file has not changed, even where one that it calls or a
    table that it looks at, in another file, has: here it is good as long as no file of the package has changed that
    its own imports, directly or not.
    """
    if function is None:
        return lambda it: kernel(it, **options)
    compiled = numba.njit(cache=True, nogil=True, **options)(function)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = stamp(Path(function.__code__.co_filename))
    return compiled


@cache
def stamp(file: Path) -> str:
    """A hash of a file's source and of all files of the package that it imports, directly or not."""
    found: set[Path] = set()
    left = [file.resolve()]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(_imports(one))
    return sha256(b"\0".join(_source(one) for one in sorted(found))).hexdigest()


@cache
def _source(file: Path) -> bytes:
    return file.read_bytes()


@cache
def _imports(file: Path) -> list[Path]:
    """The package's files that a file names in its imports."""
    return list(_named(file))


def _named(file: Path) -> Iterator[Path]:
    for dots, module, names in _IMPORT.findall(_source(file).decode()):
        if dots:
            base = file.parents[len(dots) - 1]
        elif module.split(".")[0] == _PACKAGE.name:
            base = _PACKAGE.parent
        else:
            continue
        place = base.joinpath(*module.split(".")) if module else base
        inside = [place / word for word in re.findall(r"\w+", names)]
        yield from (
            path for one in (place, *inside) for path in (one.with_suffix(".py"), one / "__init__.py") if path.is_file()
        )

"""How numba functions are compiled and kept.

numba keeps what it compiled for as long as the function's own file stays the same, whatever becomes of the functions
and tables of other files that went into it. Here it is kept under a name that changes with each file of the package
that the function's file imports, directly or not.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

HERE = "this process"
_PACKAGE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.+)", re.MULTILINE)


_followers: set[Callable[[str, bool], None]] = set()


def follow(hook: Callable[[str, bool], None]) -> None:
    """Have ``hook(where, busy)`` called as a process begins and ends to compile; not where a kept function is read."""
    _followers.add(hook)


def unfollow(hook: Callable[[str, bool], None]) -> None:
    """Call it no more."""
    _followers.discard(hook)


def tell(where: str, busy: bool) -> None:
    """Say that a process compiles, or has done: this one does so by itself, for another one whoever heard of it."""
    for hook in tuple(_followers):
        hook(where, busy)


class _Watch(event.Listener):
    """numba compiles what a function calls meanwhile, and one function at a time: only the outermost are told of."""

    depth = 0

    def on_start(self, event: Any) -> None:  # noqa: ARG002
        self.depth += 1
        if self.depth == 1:
            tell(HERE, True)

    def on_end(self, event: Any) -> None:  # noqa: ARG002
        self.depth -= 1
        if self.depth == 0:
            tell(HERE, False)


event.register("numba:compile", _Watch())


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function without the GIL and keep it on disk.

    Where no folder can be written to, it is compiled anew in each process, and a warning is logged.
    """
    if function is None:
        return lambda it: kernel(it, **options)
    compiled = numba.njit(nogil=True, **options)(function)
    try:
        compiled._cache = _Kept(function)
    except RuntimeError:  # numba tried NUMBA_CACHE_DIR, __pycache__ and the user's folder for such things
        _warn()
    return compiled


@cache
def _warn() -> None:
    logging.getLogger(__name__).warning(
        "there is no folder to keep compiled code in, so each process makes it anew: "
        "set NUMBA_CACHE_DIR to one that can be written to"
    )


class _Kept(FunctionCache):
    """Where a function is kept: in the folder that numba chooses, in files of its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        source = stamp(Path(function.__code__.co_filename))
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, source)


class _Files(IndexDataCacheFile):
    """A file for each signature and processor, named by the sources too.

    numba has an index that numbers them, and writes it first. Who reads before the file is written, or after a crash
    that left it so, takes what an older version has under that number; and two processes may give one number to two
    signatures.
    """

    def __init__(self, folder: str, name: str, source: str) -> None:
        super().__init__(folder, name, source)
        self._function = name
        self._source = sha256(f"{source} {numba.__version__} {llvmlite.__version__}".encode()).hexdigest()[:16]

    def load(self, key: Any) -> Any:
        try:
            kept, data = self._load_data(self._name(key))
        except Exception:  # there is none, or the machine went down before all of it was on disk
            return None
        return data if kept == key else None

    def save(self, key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # on a full disk it is used without being kept
            self._save_data(self._name(key), (key, data))
            self._sweep()

    def _name(self, key: Any) -> str:
        return f"{self._function}.{self._source}.{sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _sweep(self) -> None:
        """Delete what other versions of the function's file left, at whatever line and by whatever name."""
        module, *_, python = self._function.split(".")
        for kept in Path(self._cache_path).glob(f"{module}.*.{python}*.nb[ci]"):
            if self._source not in kept.name:
                kept.unlink(missing_ok=True)


@cache
def stamp(file: Path) -> str:
    """A hash of all that `sources` finds."""
    return sha256(b"\0".join(_source(one) for one in sorted(sources(file)))).hexdigest()


def sources(file: Path) -> set[Path]:
    """A file and all files of the package that it imports, directly or not.

    Imports inside functions and of types count too: a room that imports on first use has no others.
    """
    found: set[Path] = set()
    left = [file.resolve()]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(_imports(one))
    return found


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

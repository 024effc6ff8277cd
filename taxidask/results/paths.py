"""Names of a run's attributes: with dots, of an entry inside a dict."""

from __future__ import annotations

from taxidask.errors import StoreError
from taxidask.results.keys import RESERVED
from taxidask.results.values import plain


def top_level(name: str) -> None:
    """Refuse what no attribute of a run may be called."""
    if name in RESERVED or "." in name:
        raise StoreError(
            f"a run has an attribute called {name!r}", f"names have no dots and are not {', '.join(RESERVED)}"
        )


def path_of(name: str) -> tuple[str, ...]:
    """The path that a name with dots in it means."""
    if not isinstance(name, str) or name != plain(name):
        raise StoreError(f"{name!r:.100} names no attribute of a run", "write it as state, or stages.ingest")
    path = tuple(name.split("."))
    if not all(path):
        raise StoreError(f"{name!r} names no attribute of a run", "write it as state, or stages.ingest")
    top_level(path[0])
    return path


def no_overlap(paths: list[tuple[str, ...]]) -> None:
    """Refuse an update of a dict and of an entry in it at once."""
    for a in paths:
        for b in paths:
            if a is not b and b[: len(a)] == a:
                raise StoreError(f"an update sets both {'.'.join(a)} and {'.'.join(b)}", "set the one or the other")

"""What a caller gives to a store, looked at before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from taxidask.errors import StoreError
from taxidask.results.keys import RESERVED
from taxidask.results.values import plain
from taxidask.units import is_whole

_FORECAST = ("times", "mean", "low", "high", "slot", "space")
_CUBE = ("counts", "times", "slot", "space")


def forecast_of(given: Any) -> Any:
    """A forecast, or what has all of one."""
    return _with(given, _FORECAST, "a forecast", "give what DemandModel.forecast returns")


def totals_of(given: Any) -> Any:
    """What a forecast's city totals can be taken of."""
    return _with(given, ("total", "slot", "space"), "a forecast", "give what DemandModel.forecast returns")


def cube_of(given: Any) -> Any:
    """A cube, or what has all of one."""
    return _with(given, _CUBE, "a cube", "give a Cube, as lake.cube() returns it")


def _with(given: Any, names: Iterable[str], what: str, remedy: str) -> Any:
    missing = [name for name in names if not hasattr(given, name)]
    if missing:
        raise StoreError(f"a {type(given).__name__} is not {what}: it has no {', '.join(missing)}", remedy)
    return given


def text_of(given: Any, name: str) -> str:
    """A name, as stores take it."""
    if not isinstance(given, str) or not given:
        raise StoreError(f"{name} is {given!r:.100}", "give it as text")
    return str(plain(given))


def mapping_of(given: Any, name: str) -> dict[Any, Any]:
    """A dict, or a dataclass as one."""
    if is_dataclass(given) and not isinstance(given, type):
        return asdict(given)
    if not isinstance(given, Mapping):
        raise StoreError(f"{name} is a {type(given).__name__}", "give a dict")
    return dict(given)


def table_of(given: Any, name: str) -> pd.DataFrame:
    """A table."""
    if not isinstance(given, pd.DataFrame):
        raise StoreError(f"{name} is a {type(given).__name__}", "give a pandas DataFrame")
    return given


def sources_of(given: Any) -> list[dict[str, Any]]:
    """Summaries of sources, each with its URL."""
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise StoreError(f"the sources of an ingest are a {type(given).__name__}", "give a list of dicts, one a source")
    bodies = [plain(mapping_of(source, "a source's ingest summary")) for source in given]
    for body in bodies:
        if not isinstance(body.get("url"), str) or not body["url"]:
            raise StoreError(f"an ingest summary has no url; it has {', '.join(body)}", "name the source it is about")
    return bodies


def cells_of(given: Any, cells: int) -> np.ndarray:
    """Numbers of a cube's cells; all by default."""
    if given is None:
        return np.arange(cells)
    wanted = list(given) if isinstance(given, Iterable) else None
    if wanted is None or not all(is_whole(cell, 0) and cell < cells for cell in wanted):
        raise StoreError(f"cells are {given!r:.100}", f"give a list of cells, the cube's go from 0 to {cells - 1}")
    return np.array(wanted, dtype=np.int64)


def days_of(given: Any) -> int:
    """A number of days."""
    if not is_whole(given):
        raise StoreError(f"days is {given!r:.100}", "give a number of days from 1, or None for all of them")
    return min(int(given), 100_000)


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

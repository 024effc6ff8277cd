"""Where tasks run: threads of this process, a cluster on this machine, or a Dask scheduler elsewhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxidask.compute.connection import connect
    from taxidask.compute.count import count_trips
    from taxidask.compute.executors import Executor, executor
    from taxidask.compute.progress import Progress

# On first use: a command that only asks for threads need not pay for importing distributed.
_MODULE = {
    "Executor": "executors",
    "Progress": "progress",
    "connect": "connection",
    "count_trips": "count",
    "executor": "executors",
}

__all__ = ["Executor", "Progress", "connect", "count_trips", "executor"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.compute' has no attribute {name!r}")
    value = getattr(import_module(f"taxidask.compute.{_MODULE[name]}"), name)
    globals()[name] = value
    return value

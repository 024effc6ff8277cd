"""Where tasks run: threads of this process, a cluster on this machine, or a Dask scheduler elsewhere.

Only for itself: base, connection, local, node. Tests: tests/compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .base import Executor
    from .connection import connect
    from .executors import executor

_MODULE = {
    "Executor": "base",
    "connect": "connection",
    "executor": "executors",
}

__all__ = ["Executor", "connect", "executor"]
__getattr__, __dir__ = lazy(__name__, _MODULE)

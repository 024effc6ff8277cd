"""Runs: stages in order, the ledger that makes them resumable, and what they cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxidask.runs.ledger import driver_state
    from taxidask.runs.pipeline import Run, run

# Names are imported on first use: the app looks at runs without loading the models that a run needs.
_MODULE = {
    "Run": "taxidask.runs.pipeline",
    "driver_state": "taxidask.runs.ledger",
    "run": "taxidask.runs.pipeline",
}

__all__ = ["Run", "driver_state", "run"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.runs' has no attribute {name!r}")
    value = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value
    return value

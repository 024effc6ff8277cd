"""Runs: stages in order, the ledger that makes them resumable, and what they cost.

Only for itself: drift, former, meter, moving, pipeline, waking, watching. Tests: tests/runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .ledger import driver_state
    from .pipeline import Run, run
    from .watching import watch

# The app looks at runs without loading the models that a run needs.
_MODULE = {
    "Run": "pipeline",
    "driver_state": "ledger",
    "run": "pipeline",
    "watch": "watching",
}

__all__ = ["Run", "driver_state", "run", "watch"]
__getattr__, __dir__ = lazy(__name__, _MODULE)

"""Clean trips, rejects and counts of many sources as one table that never shows half of anything.

Only for itself: cube, ingest, lake, listing, recount, sampling, sweeping, tally, tasks. Tests: tests/lake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .lake import Lake

_MODULE = {
    "Lake": "lake",
}

__all__ = ["Lake"]
__getattr__, __dir__ = lazy(__name__, _MODULE)

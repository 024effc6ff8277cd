"""Trips counted by slot, cell and direction.

Only for itself: adding, slots. Tests: tests/cube.
"""

from __future__ import annotations

from .adding import MAX_COUNT, add_counts
from .cube import Cube

__all__ = ["MAX_COUNT", "Cube", "add_counts"]

"""Cells: a regular `Grid` or TLC `Zones`; which cell a point lies in, shapes and neighbours, counting by cell."""

from __future__ import annotations

from taxidask.space.base import Space
from taxidask.space.counting import MAX_COUNT, OVERFLOW, add_counts, count_into
from taxidask.space.grid import Grid
from taxidask.space.kernel import Kernel, locate_id, locate_ids, locate_point, locate_points

__all__ = [
    "MAX_COUNT",
    "OVERFLOW",
    "Grid",
    "Kernel",
    "Space",
    "add_counts",
    "count_into",
    "locate_id",
    "locate_ids",
    "locate_point",
    "locate_points",
]

"""How many trips begin and end where and when: the cube, and the model that forecasts it."""

from __future__ import annotations

from taxidask.demand.cube import Cube

__all__ = ["Cube"]

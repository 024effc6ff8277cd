"""How many trips begin and end where and when: the cube, and the model that forecasts it."""

from __future__ import annotations

from taxidask.demand.backtest import backtest_demand
from taxidask.demand.cube import Cube
from taxidask.demand.forecast import Forecast
from taxidask.demand.model import DemandModel

__all__ = ["Cube", "DemandModel", "Forecast", "backtest_demand"]

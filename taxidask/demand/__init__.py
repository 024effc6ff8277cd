"""How many trips will begin and end where and when: the model that forecasts a cube.

Only for itself: backtest, bands, calendar, features, forecast, gaps, model, tasks, training, weather.
Tests: tests/demand.
"""

from __future__ import annotations

from taxidask.demand.backtest import backtest_demand, folds_of
from taxidask.demand.forecast import Forecast
from taxidask.demand.model import DemandModel

__all__ = ["DemandModel", "Forecast", "backtest_demand", "folds_of"]

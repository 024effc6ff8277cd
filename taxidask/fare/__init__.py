"""What a ride costs: the city's tariff on the straight line, and the model that tells a price before the trip.

Only for itself: backtests, bands, doubts, features, landmarks, model, naive, quote, rides, surcharges, tasks, told,
training. Tests: tests/fare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .backtests import backtest_fare, fit_and_backtest
    from .model import FareModel
    from .naive import tariff_fare
    from .quote import Quote

_MODULE = {
    "FareModel": "model",
    "Quote": "quote",
    "backtest_fare": "backtests",
    "fit_and_backtest": "backtests",
    "tariff_fare": "naive",
}

__all__ = ["FareModel", "Quote", "backtest_fare", "fit_and_backtest", "tariff_fare"]
__getattr__, __dir__ = lazy(__name__, _MODULE)

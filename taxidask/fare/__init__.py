"""What a ride costs: the city's tariff, and the model that tells a price before the trip."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxidask.fare.backtests import backtest, backtest_fare
    from taxidask.fare.model import FareModel
    from taxidask.fare.quote import Quote
    from taxidask.fare.tariff import tariff_fare

# On first use: a look at the tariff need not load LightGBM. No module has the name of a function, because importing it
# would put the module in the function's place.
_MODULE = {
    "FareModel": "model",
    "Quote": "quote",
    "backtest": "backtests",
    "backtest_fare": "backtests",
    "tariff_fare": "tariff",
}

__all__ = ["FareModel", "Quote", "backtest", "backtest_fare", "tariff_fare"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.fare' has no attribute {name!r}")
    value = getattr(import_module(f"taxidask.fare.{_MODULE[name]}"), name)
    globals()[name] = value
    return value

"""New York taxi trips: exact demand cubes, demand and fare models, on Dask from a laptop to EKS."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are imported on first use: `import taxidask` itself stays well under half a second.
_ROOM = {
    "Cube": "taxidask.demand",
    "DemandModel": "taxidask.demand",
    "FareModel": "taxidask.fare",
    "Forecast": "taxidask.demand",
    "Grid": "taxidask.space",
    "Lake": "taxidask.trips",
    "Quote": "taxidask.fare",
    "Run": "taxidask.runs",
    "Settings": "taxidask.settings",
    "TaxidaskError": "taxidask.errors",
    "Zones": "taxidask.space",
    "backtest": "taxidask.fare",
    "connect": "taxidask.compute",
    "count_trips": "taxidask.compute",
    "load_settings": "taxidask.settings",
    "make_sample": "taxidask.trips",
    "open_store": "taxidask.results",
    "read_trips": "taxidask.trips",
    "run": "taxidask.runs",
}

__all__ = ["__version__", *sorted(_ROOM)]


def __getattr__(name: str) -> Any:
    if name not in _ROOM:
        raise AttributeError(f"module 'taxidask' has no attribute {name!r}")
    value = getattr(import_module(_ROOM[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

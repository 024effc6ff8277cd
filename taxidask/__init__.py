"""New York taxi trips: exact demand cubes, demand and fare models, on Dask from a laptop to EKS."""

from __future__ import annotations

from taxidask.lazy import lazy

__version__ = "0.1.0"

# `import taxidask` itself stays well under half a second.
_MODULE = {
    "Cube": "cube",
    "DemandModel": "demand",
    "FareModel": "fare",
    "Forecast": "demand",
    "Grid": "space",
    "Lake": "lake",
    "Quote": "fare",
    "Run": "runs",
    "Settings": "settings",
    "TaxidaskError": "errors",
    "Zones": "space",
    "backtest": "backtests",
    "connect": "compute",
    "count_trips": "trips",
    "load_settings": "settings",
    "make_sample": "sample",
    "open_store": "results",
    "read_trips": "trips",
    "run": "runs",
}

__all__ = ["__version__", *sorted(_MODULE)]
__getattr__, __dir__ = lazy(__name__, _MODULE)

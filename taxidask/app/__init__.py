"""The app: one Overview page out of the store."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Names are imported on first use: Panel takes a second to load.
_MODULE = {"overview_page": "taxidask.app.overview", "serve": "taxidask.app.server"}

__all__ = ["overview_page", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.app' has no attribute {name!r}")
    value = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value
    return value

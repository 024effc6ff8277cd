"""Trips: schema eras, the CSV parser, row rules, the lake, queries and the sample generator."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Names are imported on first use, so that looking at a schema does not load compiled kernels.
_MODULE = {
    "ERAS": "eras",
    "Era": "eras",
    "detect": "eras",
    "REASONS": "schema",
    "REJECT_SCHEMA": "schema",
    "TRIP_SCHEMA": "schema",
    "Rules": "rules",
    "Block": "sources",
    "Source": "sources",
    "find_sources": "sources",
    "BlockCounts": "reader",
    "BlockResult": "reader",
    "count_block": "reader",
    "read_block": "reader",
    "read_trips": "reader",
    "make_sample": "sample",
    "Ingest": "ingest",
    "SourceIngest": "ingest",
    "Lake": "lake",
}

__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.trips' has no attribute {name!r}")
    value = getattr(import_module(f"taxidask.trips.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

"""What a trip is and how it is read: eras, the compiled parser, rules, a source's rows, many sources' counts.

Only for itself: blockcounts, count, kernels, parquet, streams, tables, unpack. Tests: tests/trips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .blockcounts import BlockCounts
    from .count import count_trips
    from .eras import ERAS, Era, detect
    from .outcome import Ingest, SourceIngest
    from .read import BlockResult, count_block, read_block, read_trips
    from .rules import Rules
    from .schema import REASONS, REJECT_SCHEMA, TRIP_SCHEMA
    from .sources import Block, Source, find_sources

_MODULE = {
    "Block": "sources",
    "BlockCounts": "blockcounts",
    "BlockResult": "read",
    "ERAS": "eras",
    "Era": "eras",
    "Ingest": "outcome",
    "REASONS": "schema",
    "REJECT_SCHEMA": "schema",
    "Rules": "rules",
    "Source": "sources",
    "SourceIngest": "outcome",
    "TRIP_SCHEMA": "schema",
    "count_block": "read",
    "count_trips": "count",
    "detect": "eras",
    "find_sources": "sources",
    "read_block": "read",
    "read_trips": "read",
}

__all__ = [
    "ERAS",
    "REASONS",
    "REJECT_SCHEMA",
    "TRIP_SCHEMA",
    "Block",
    "BlockCounts",
    "BlockResult",
    "Era",
    "Ingest",
    "Rules",
    "Source",
    "SourceIngest",
    "count_block",
    "count_trips",
    "detect",
    "find_sources",
    "read_block",
    "read_trips",
]
__getattr__, __dir__ = lazy(__name__, _MODULE)

"""What is published: one store interface, DynamoDB for the cloud and SQLite for one machine.

Only for itself: batch, changes, given, items, opening, regional, sqlite, store, watches. Tests: tests/results.

Examples
--------
>>> import tempfile
>>> store = open_store(f"sqlite:///{tempfile.mkdtemp()}/taxidask.db")
>>> store.put_card("demand", {"metrics": {"mae": 1.25}})
>>> store.get_card("demand")
{'metrics': {'mae': 1.25}}
>>> store.close()
"""

from __future__ import annotations

from taxidask.results.opening import open_store
from taxidask.results.store import LAYOUT, Store

__all__ = ["LAYOUT", "Store", "open_store"]

"""URLs to bytes: local paths, ``s3://`` and ``memory://`` behind one small interface with conditional writes.

Only for itself: backends, failover, store, urls. Tests: tests/storage.
"""

from __future__ import annotations

from taxidask.storage.errors import ChangedError, MissingError, told
from taxidask.storage.regions import Regions, RegionStatus, regions_of
from taxidask.storage.store import RangeFile, Stat, Storage, counted, default_storage
from taxidask.storage.urls import absolute, join, scheme

__all__ = [
    "ChangedError",
    "MissingError",
    "RangeFile",
    "RegionStatus",
    "Regions",
    "Stat",
    "Storage",
    "absolute",
    "counted",
    "default_storage",
    "join",
    "regions_of",
    "scheme",
    "told",
]

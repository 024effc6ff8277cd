"""Counting a lake's trips again in another space or slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from taxidask.storage import Storage

from .layout import load_space
from .manifest import Manifest, Manifests
from .names import cube_url
from .parts import DamagedError, GoneError
from .tally import read_tally
from .tasks import count_parts


@dataclass(frozen=True)
class RecountTask:
    """Count the trips of one source in a space and slot."""

    lake: str
    storage: Storage
    url: str
    space_key: str
    slot_seconds: int


def recount_source(task: RecountTask) -> dict[str, Any]:
    """Write the counts of one source, unless an earlier attempt did."""
    manifests = Manifests(task.lake, task.storage)
    manifest = manifests.get(task.url)
    if manifest is None:  # removed meanwhile
        return {"url": task.url, "trips": 0, "outside_pickups": 0, "outside_dropoffs": 0}
    url = cube_url(task.lake, f"{task.space_key}-{task.slot_seconds}s", manifest.id)
    space = load_space(task.lake, task.space_key, task.storage)
    try:
        counts = read_tally(
            task.storage, url, task.url, kept=manifest.kept, slot_seconds=task.slot_seconds, cells=space.cells, last=-1
        )
    except DamagedError:  # or not there yet
        parts = list(manifest.parts)
        try:
            counts = count_parts(task.lake, task.storage, parts, space, task.slot_seconds, manifest.locations, task.url)
        except GoneError:
            if manifests.get(task.url) == manifest:
                raise
            return recount_source(task)  # it was replaced meanwhile
        task.storage.write(url, counts.to_bytes())
    pickups, dropoffs = counts.outside
    return {"url": task.url, "trips": manifest.kept, "outside_pickups": pickups, "outside_dropoffs": dropoffs}


def recount(
    lake: str, storage: Storage, manifests: Sequence[Manifest], space_key: str, slot_seconds: int, *, client: Any = None
) -> pd.DataFrame:
    """Count every source again, one task each; the lake's own counts stay what they are."""
    from taxidask.compute import executor

    tasks = [RecountTask(lake, storage, manifest.url, space_key, slot_seconds) for manifest in manifests]
    results = executor(client).map_unordered(recount_source, tasks, describe=lambda task: task.url)
    rows = {task.url: row for task, row in results}
    names = ["url", "trips", "outside_pickups", "outside_dropoffs"]
    return pd.DataFrame([rows[url] for url in sorted(rows)], columns=names)

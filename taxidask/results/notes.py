"""What is told of a run and would not fit into its item, which may have 400 KB: in tables of its own beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from taxidask.words import shortened

if TYPE_CHECKING:
    from taxidask.results.store import Store

LISTED = 20  # notes or sources that the item itself shows
LONGEST = 2_000  # characters of one of them, and of a run's error
_SOURCES = "sources"


def keep_notes(store: Store, run: str, stage: str, notes: Sequence[str]) -> dict[str, Any]:
    """What a stage's record says of what it left out; where there is more, a table has all of it."""
    shown = [shortened(note, LONGEST) for note in notes]
    if len(shown) <= LISTED:
        return {"left_out": shown, "left_out_run": None}
    store.put_metrics(run, _kind(stage), pd.DataFrame({"note": shown}))
    more = f"and {len(shown) - LISTED:,} more"
    return {"left_out": [*shown[:LISTED], more], "left_out_run": run}


def keep_sources(store: Store, run: dict[str, Any]) -> dict[str, Any]:
    """A new run whose settings list some sources only where they are many; a table has all of them."""
    sources = run["settings"]["sources"]
    if len(sources) <= LISTED:
        return run
    store.put_metrics(run["id"], _SOURCES, pd.DataFrame({"source": sources}))
    return {**run, "settings": {**run["settings"], "sources": sources[:LISTED]}, "sources_count": len(sources)}


def whole(store: Store, run: dict[str, Any]) -> dict[str, Any]:
    """A run with all of its sources and notes, wherever they are."""
    settings, stages = dict(run.get("settings") or {}), {}
    if run.get("sources_count"):
        settings["sources"] = store.get_metrics(run["id"], _SOURCES)["source"].tolist()
    for stage, record in (run.get("stages") or {}).items():
        stages[stage] = dict(record)
        if record.get("left_out_run"):
            table = store.get_metrics(record["left_out_run"], _kind(stage))
            if len(table):  # it is kept no longer than the run that made it
                stages[stage]["left_out"] = table["note"].tolist()
    return {**run, "settings": settings, "stages": stages}


def _kind(stage: str) -> str:
    return f"left-out-{stage}"

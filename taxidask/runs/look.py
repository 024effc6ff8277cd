"""Looking at runs from outside: tables, descriptions, and the request to stop."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from taxidask.results import Store
from taxidask.results.notes import whole
from taxidask.results.summary import lasted, seconds_between
from taxidask.runs.cost import Cost
from taxidask.runs.ledger import LIVELY, STAGES, driver_state, told, unknown_run
from taxidask.words import escaped, quantity


def _timeout(item: dict[str, Any]) -> float:
    return float((item.get("settings") or {}).get("heartbeat_timeout", 60.0))


def find(store: Store, run_id: str) -> dict[str, Any]:
    """The run's item, its state as a reader should see it (``dead`` without a heartbeat); ``last`` is the newest."""
    item = next(iter(store.list_runs(limit=1)), None) if run_id == "last" else store.get_run(run_id)
    if item is None:
        raise unknown_run(store, run_id)
    return {**whole(store, item), "state": driver_state(item, _timeout(item), time.time())}


def is_watching(told: dict[str, Any]) -> bool:
    """Whether a watch for new files has been heard of lately."""
    return told["state"] != "stopped" and time.time() - float(told["heartbeat"]) <= float(told["timeout"])


RUN_COLUMNS = ["id", "state", "created", "took", "stage", "trips", "lake", "error"]


def runs_table(items: list[dict[str, Any]], *, now: float | None = None) -> pd.DataFrame:
    """Runs as a table for a reader; a running one whose driver is silent shows as dead.

    Parameters
    ----------
    items : list of dict
        Runs as the store lists them, newest first.
    now : float, optional
        Seconds since 1970, to tell a living driver from a dead one (default: the clock's).
    """
    rows = []
    for item in items:
        stages: dict[str, Any] = item.get("stages") or {}
        begun = [name for name in STAGES if (stages.get(name) or {}).get("started")]
        begun.sort(key=lambda name: stages[name]["started"])  # of those of one second the later stage is last
        ended = [record["ended"] for record in stages.values() if record.get("ended")]
        progress = item.get("progress") or {}
        rows.append(
            {
                "id": item["id"],
                "state": driver_state(item, _timeout(item), time.time() if now is None else now),
                "created": item.get("created") or "",
                "took": lasted(seconds_between(item.get("created"), max(ended, default=None))),
                "stage": begun[-1] if begun else "",
                "trips": int((stages.get("ingest") or {}).get("kept") or progress.get("kept") or 0),
                "lake": (item.get("settings") or {}).get("lake") or "",
                "error": item.get("error") or "",
            }
        )
    return pd.DataFrame(rows, columns=RUN_COLUMNS)


def describe(item: dict[str, Any]) -> str:
    """A run in a few lines for a person."""
    lines = [f"run {item['id']}: {item['state']}", f"  created  {item['created']}", f"  driver   {item['owner']}"]
    for name in STAGES:
        record = item["stages"].get(name)
        if record:
            span = f"{record.get('started') or ''} – {record.get('ended') or ''}"
            if record.get("attempts", 1) > 1:
                span += f", attempt {record['attempts']}"
            if record.get("unchanged_since"):
                span += f", unchanged since run {record['unchanged_since']}"
            if record.get("repeated"):
                span += f", {quantity(record['repeated'], 'task')} run again"
            lines.append(f"  {name:<8} {record['state']:<10} {span}  {record.get('detail') or ''}".rstrip())
    lines += [f"  region   {item['region']}"] if item.get("region") else []
    lines += [f"  fault    {escaped(fault)}" for fault in item.get("faults") or []]
    notes = [note for name in STAGES for note in item["stages"].get(name, {}).get("left_out") or []]
    lines += [f"  left out {escaped(note)}" for note in notes]
    lines += [f"  {name:<8} {Cost(**item[name])}" for name in ("estimate", "cost") if item.get(name)]
    if item.get("error"):
        lines.append(f"  error    {item['error']}")
    if item["state"] in ("dead", "failed", "interrupted", "cancelled"):
        lines.append(f"  go on    {told('resume', item)}")
    return "\n".join(lines)


def request_cancel(store: Store, run_id: str) -> str:
    """Ask the driver of a run to stop; what was done, in a sentence."""
    item = find(store, run_id)
    run_id = item["id"]
    if item["state"] in LIVELY:
        if not store.ask_to_stop(run_id, item):
            return f"run {run_id} ended at this moment"
        return f"run {run_id} will stop before its next block"
    if item["state"] == "dead":
        store.update_run(run_id, {"state": "cancelled"}, expect={"owner": item["owner"]})
        return f"run {run_id} had no living driver: it is marked cancelled"
    return f"run {run_id} is {item['state']}: nothing to cancel"


COMPARED = ["model", "measure", "one", "other", "difference"]


def compare_metrics(store: Store, one: str, other: str) -> pd.DataFrame:
    """How well the models of two runs did in their backtests: means over the folds, side by side.

    Parameters
    ----------
    store : Store
    one, other : str
        Ids of runs; of a run that found nothing new the metrics are those of the run that it names.

    Returns
    -------
    DataFrame
        model, measure, one, other, difference (the other minus the one); NaN where a run has no such measure.
    """
    sums = [_means(store, find(store, run)) for run in (one, other)]
    rows = [
        {"model": model, "measure": measure, "one": first, "other": second, "difference": second - first}
        for model, measure in dict.fromkeys([*sums[0], *sums[1]])
        for first, second in [[each.get((model, measure), float("nan")) for each in sums]]
    ]
    return pd.DataFrame(rows, columns=COMPARED)


def _means(store: Store, item: dict[str, Any]) -> dict[tuple[str, str], float]:
    """The means over the folds, by model and measure; of demand those over the whole horizon, by direction."""
    means: dict[tuple[str, str], float] = {}
    for kind in ("demand", "fare"):
        record = (item.get("stages") or {}).get(kind) or {}
        frame = store.get_metrics(record.get("unchanged_since") or item["id"], kind)
        parts = {kind: frame}
        if "direction" in frame:
            whole = (frame["first_lead"] == frame["first_lead"].min()) & (
                frame["last_lead"] == frame["last_lead"].max()
            )
            parts = {f"{kind}, {direction}s": part for direction, part in frame[whole].groupby("direction", sort=False)}
        for name, part in parts.items():
            numbers = part.select_dtypes("number").drop(
                columns=["fold", "first_lead", "last_lead", "slots"], errors="ignore"
            )
            means |= {(name, str(measure)): float(value) for measure, value in numbers.mean().items()}
    return means

"""What a former run made, and which of it another need not make again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from taxidask.results import Store
from taxidask.runs.ledger import settings_key
from taxidask.runs.stages import PIPELINE, Job, Stage
from taxidask.settings import Settings


class Former:
    """The run that published last: what it made is another's too, where that would make the same."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.id: str = item["id"]
        self._stages: dict[str, dict[str, Any]] = item["stages"]

    def stage(self, name: str) -> dict[str, Any]:
        return dict(self._stages.get(name, {}))


def former_run(store: Store, settings: Settings) -> Former | None:
    """The run that published last, if it did the same job."""
    latest = store.get_latest().get("run")
    item = store.get_run(latest) if latest else None
    if item is None or item["state"] != "done" or item["settings_key"] != settings_key(settings):
        return None
    age = datetime.now(UTC) - datetime.fromisoformat(item["created"])
    if store.ttl_days and age.days >= store.ttl_days / 2:
        return None  # what it published is soon forgotten
    return Former(item)


def is_there(job: Job, stage: Stage, inputs: str) -> bool:
    """Whether the job's ledger has that stage as done, for these inputs, and what it made is there."""
    record = job.ledger.stage(stage.name)
    return (
        record.get("state") == "done"
        and record.get("inputs") == inputs
        and stage.ready(job, record.get("outputs") or {})
    )


def held(inputs: str) -> str:
    """What a stage notes as inputs whose model was kept over these, and not fitted to them."""
    return f"{inputs}, held"


def unchanged(job: Job, former: Former, *, also_held: bool = False) -> set[str]:
    """The stages of a former run that need not be done again: models and what is published of them, all or none."""
    past = replace(job, ledger=former)  # type: ignore[arg-type]
    there = set()
    for stage in PIPELINE:
        inputs = stage.inputs(past)
        if any(is_there(past, stage, one) for one in (inputs, held(inputs))[: 1 + also_held]):
            there.add(stage.name)
    return there if there >= {"demand", "fare", "publish"} else there & {"ingest"}

"""Whether a demand model still earns its place: what it last forecast beside what came in since."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from taxidask.cube import Cube
from taxidask.demand.baselines import same_slot_last_week
from taxidask.models.metrics import coverage, rmse
from taxidask.results import Store
from taxidask.runs.former import Former
from taxidask.runs.stages import Job, model_ready

ALLOWED = 1.5
"""How many times the error of its backtest a model's forecasts may be off: one day differs from another by less."""


@dataclass(frozen=True)
class Drift:
    """Published forecasts beside the counts that came in after them: all cells, both directions.

    Attributes
    ----------
    start, end : str
        From the first slot compared to the end of the last.
    slots : int
        How many there are; those without data are left out.
    rmse : float
        Root of the mean square error of the forecasts, trips a slot and cell.
    last_week : float or None
        The same of the counts a week before; None where there are none.
    tested : float or None
        The same of the backtest when the model was fitted; None where it had none.
    coverage : float
        Share of counts inside the 80 % band.
    """

    start: str
    end: str
    slots: int
    rmse: float
    last_week: float | None
    tested: float | None
    coverage: float

    @property
    def earns(self) -> bool:
        """Whether the model is kept: better than last week's counts, and about as good as when it was tested."""
        better = self.last_week is None or self.rmse <= self.last_week
        return better and (self.tested is None or self.rmse <= ALLOWED * self.tested)

    def __str__(self) -> str:
        beside = [f"last week's counts {self.last_week:.2f}"] if self.last_week is not None else []
        beside += [f"its backtest {self.tested:.2f}"] if self.tested is not None else []
        return (
            f"forecasts from {self.start[:16]} to {self.end[:16]} were off by {self.rmse:.2f} trips a slot and cell"
            f" ({', '.join([*beside, f'band held {self.coverage:.0%}'.replace('%', ' %')])}): the demand model"
            f" {'earns its place' if self.earns else 'has to be fitted anew'}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "earns": self.earns}


def _tested(metrics: pd.DataFrame) -> float | None:
    """The error of a backtest over all folds, leads and both directions; None where there was none."""
    if not {"rmse", "first_lead", "last_lead"} <= set(metrics):
        return None
    whole = metrics[(metrics["first_lead"] == 1) & (metrics["last_lead"] == metrics["last_lead"].max())]
    square = float((whole["rmse"] ** 2).mean())
    return square**0.5 if np.isfinite(square) else None


def look_for_drift(store: Store, cube: Cube, metrics: pd.DataFrame) -> Drift | None:
    """Compare what the store last forecast with a cube that has come further since.

    Parameters
    ----------
    store : Store
    cube : Cube
    metrics : DataFrame
        The backtest of the model, from when it was fitted; may be empty.

    Returns
    -------
    Drift or None
        None where nothing that was forecast has come in, or it was forecast for other cells or slots.
    """
    latest = store.get_latest()
    if not latest.get("forecast_start") or latest.get("space") != cube.space.key:
        return None
    slot, begin = pd.Timedelta(latest["slot"]), pd.Timestamp(latest["forecast_start"])
    end = min(pd.Timestamp(latest["forecast_end"]), cube.end)
    if slot != cube.slot or begin >= end:
        return None
    times, known = pd.DatetimeIndex(cube.times), ~np.asarray(cube.missing)
    slots: list[int] = []
    bands: list[np.ndarray] = []
    for day in pd.date_range(begin.normalize(), end, freq="D"):
        foreseen = store.get_map(cube.space.key, day, "forecast", slot=slot)
        if foreseen is None or foreseen.backtest:
            continue
        at = times.get_indexer(foreseen.times)
        good = (at >= 0) & (foreseen.times >= begin) & (foreseen.times < end)
        good &= known[np.maximum(at, 0)]
        slots += at[good].tolist()
        bands.append(np.stack([foreseen.numbers[name][good] for name in ("mean", "low", "high")]))
    if not slots:
        return None
    mean, low, high = np.concatenate(bands, axis=1)
    chosen = np.array(slots)
    counted = np.asarray(cube.counts)[chosen]
    lead = chosen - times.searchsorted(begin) + 1
    before = same_slot_last_week(np.asarray(cube.counts), ~known, chosen, lead, week=round(pd.Timedelta(days=7) / slot))
    there = np.isfinite(before).all(axis=(1, 2))
    return Drift(
        start=times[chosen[0]].isoformat(),
        end=(times[chosen[-1]] + slot).isoformat(),
        slots=len(chosen),
        rmse=rmse(counted, mean),
        last_week=rmse(counted[there], before[there]) if there.any() else None,
        tested=_tested(metrics),
        coverage=coverage(counted, low, high),
    )


def hold(job: Job, former: Former) -> set[str]:
    """Take a former run's models for this one's, with what is told of them; the stages that this spares."""
    for kind in ("demand", "fare"):
        record = former.stage(kind)
        outputs = record.get("outputs") or {}
        if record.get("state") != "done" or outputs.get("too_few") or not model_ready(job, kind, outputs):
            return set()
    for kind in ("demand", "fare"):
        if card := job.store.get_card(kind, run=former.id):
            job.store.put_card(kind, card, run=job.ledger.id)
    for table in ("demand", "fare", "fare-prices", "fare-errors"):
        metrics = job.store.get_metrics(former.id, table)
        if len(metrics):
            job.store.put_metrics(job.ledger.id, table, metrics)
    return {"demand", "fare"}


def publish_counts(job: Job) -> None:
    """Publish what was counted before anything is fitted, where results are published already."""
    cube, latest = job.cube, job.store.get_latest()
    if latest.get("space") != cube.space.key or latest.get("slot") != job.settings.slot:
        return
    job.store.put_demand(cube)
    job.store.put_demand_map(cube)
    spans = {"cube_start": cube.start.isoformat(), "cube_end": cube.end.isoformat()}
    job.store.put_latest({**latest, **spans, "trips": int(job.lake.sources()["kept"].sum())})

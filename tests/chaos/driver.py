"""What a driver process does: `td.run` of tiny months, as its order says.

An order is data: settings, `resume`, `start` (when it begins, seconds since 1970), `workers` (processes of a local
cluster; 0: threads of the driver), `clock` (steps of its clock: after how many seconds, by how many), and the
environment.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from pathlib import Path
from typing import Any

RANGE = 1 << 16
"""Bytes that contents are told by: blocks are multiples of it, and a tiny month is to have several."""
HERE = Path(__file__).parent


def lighten(stages_wanted: int | None = None) -> None:
    """Small models, no report: what is tried is whether anything is lost, not how well it forecasts."""
    import taxidask.runs.pipeline as pipeline
    import taxidask.runs.stages as stages
    from taxidask.demand import DemandModel
    from taxidask.fare import FareModel

    DemandModel.__init__.__kwdefaults__.update(rounds=3, max_rows=10_000)
    FareModel.__init__.__kwdefaults__.update(rounds=3, max_rows=10_000)
    stages.BACKTEST_FOLDS = 1
    pipeline.PIPELINE = stages.PIPELINE = stages.PIPELINE[:stages_wanted]


def in_threads() -> None:
    """Tasks run in this process, and no cluster is started for them."""
    import taxidask.runs.pipeline as pipeline

    pipeline.connect = lambda settings: contextlib.nullcontext(None)


def step_clock(steps: list[tuple[float, float]]) -> None:
    """Have this process's clock jump."""
    from taxidask.results.wire import stamps

    began, told = time.monotonic(), time.time

    def stepped() -> float:
        return told() + sum(by for after, by in steps if time.monotonic() - began >= after)

    time.time = stepped
    stamps._clock = lambda: int(stepped() * 1e9)


def drive(order: dict[str, Any]) -> dict[str, Any]:
    """Run as ordered; how it ended."""
    os.environ.update(order.get("environment", {}))
    lighten(order.get("stages", 4))
    if order.get("workers"):
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE / "worker"), os.environ["PYTHONPATH"]])
    else:
        in_threads()
    if order.get("clock"):
        step_clock([tuple(step) for step in order["clock"]])
    from taxidask.errors import TaxidaskError
    from taxidask.runs import run
    from taxidask.settings import Settings

    settings = Settings(**order["settings"], block_size=f"{order['block']}B")
    time.sleep(max(0.0, order.get("start", 0.0) - time.time()))
    try:
        done = run(settings, resume=order.get("resume"))
    except TaxidaskError as error:
        return {"code": 1, "error": str(error), "kind": type(error).__name__}
    except BaseException as error:
        traceback.print_exc()
        return {"code": 2, "error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
    return {"code": 0, "run": done.id, "state": done.state, "left_out": done.left_out}

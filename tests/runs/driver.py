"""A driver process for the run tests: `python driver.py JSON`.

JSON: settings (dict), resume, die_in (a stage in which the process kills itself as `kill -9` would), slow (seconds that
every block takes longer; the blocks then run in this process's threads).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from typing import Any


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def after(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        die()

    return call


def arm(stage: str | None) -> None:
    """Die at the worst moment of a stage: work done, not yet noted."""
    import taxidask.runs.ledger as ledger
    import taxidask.runs.stages as stages
    from taxidask.results import Store

    if stage == "ingest":
        ledger.Ledger.progress = after(ledger.Ledger.progress)  # the first finished block
    elif stage == "demand":
        stages.DemandModel.save = after(stages.DemandModel.save)
    elif stage == "fare":
        stages.fit_and_backtest = die
    elif stage == "publish":
        Store.put_forecast = after(Store.put_forecast)
    elif stage == "report":
        report = importlib.import_module("taxidask.report.building")
        report.build = after(report.build)


def lighten() -> None:
    """Small models: what is tested here is the ledger, not how well they forecast."""
    from taxidask.demand import DemandModel
    from taxidask.fare import FareModel

    DemandModel.__init__.__kwdefaults__.update(rounds=10, max_rows=20_000)
    FareModel.__init__.__kwdefaults__.update(rounds=20, max_rows=20_000)


def slow_down(seconds: float) -> None:
    """Every block waits; tasks run in this process, where the wait can be put."""
    import taxidask.lake.lake as lake
    import taxidask.lake.tasks as blocks
    import taxidask.runs.pipeline as pipeline

    read = blocks.ingest_block

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return read(*args, **kwargs)

    for module in (blocks, lake):
        if hasattr(module, "ingest_block"):
            module.ingest_block = slow
    pipeline.connect = lambda settings: contextlib.nullcontext(None)


def main() -> None:
    order = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs that a shell starts in the background ignore it
    from taxidask.cli.base import finish
    from taxidask.errors import TaxidaskError
    from taxidask.runs import run
    from taxidask.settings import Settings

    lighten()
    arm(order.get("die_in"))
    if order.get("slow"):
        slow_down(order["slow"])
    try:
        sys.exit(finish(run(Settings(**order["settings"]), resume=order.get("resume")), as_json=True))
    except TaxidaskError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Runs: stages in order, the ledger that makes them resumable, and what they cost."""

from taxidask.runs.ledger import driver_state
from taxidask.runs.pipeline import Run, run

__all__ = ["Run", "driver_state", "run"]

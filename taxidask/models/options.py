"""Options that both models take, checked alike."""

from __future__ import annotations

from numbers import Real
from typing import Any

from taxidask.errors import ModelError
from taxidask.units import is_whole


def check_common(options: Any, *, usual_rate: float) -> None:
    """Raise ModelError where seed, num_threads, interval or learning_rate cannot be meant."""
    seed, threads = options.seed, options.num_threads
    interval: float = options.interval
    rate: float = options.learning_rate
    if not (is_whole(seed, 0) and seed < 2**31):
        raise ModelError(f"seed={seed!r:.100} is no seed", "give a whole number from 0 to 2,147,483,647")
    if threads is not None and not is_whole(threads):
        raise ModelError(f"num_threads={threads!r:.100} is no number", "give one from 1, or None")
    if not (isinstance(interval, Real) and 0 < interval < 1):
        raise ModelError(f"interval={interval!r:.100} is not between 0 and 1", "0.8 is a band of 80 %")
    if not (isinstance(rate, Real) and 0 < rate <= 1):
        raise ModelError(f"learning_rate={rate!r:.100} is not between 0 and 1", f"{usual_rate} is usual")

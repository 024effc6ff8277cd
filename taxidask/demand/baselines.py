"""Forecasts that need no model: what every metric is reported beside."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

WEEKS = 4

__all__ = ["WEEKS", "mean_four_weeks", "naive", "same_slot_last_week"]


def _weeks_back(
    counts: NDArray[np.generic], seen: NDArray[np.bool_], target: ArrayLike, lead: ArrayLike, week: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The same slot of the four nearest weeks that a forecast at `lead` may see (4, n), and which hold data."""
    at = np.asarray(target, np.int64), np.asarray(lead, np.int64)
    nearest = -(-at[1] // week)
    slots = at[0] - (nearest + np.arange(WEEKS)[:, None]) * week
    return np.maximum(slots, 0), (slots >= 0) & seen[np.maximum(slots, 0)] & (slots < len(counts))


def same_slot_last_week(
    counts: NDArray[np.generic], missing: NDArray[np.bool_], target: ArrayLike, lead: ArrayLike, *, week: int
) -> NDArray[np.float32]:
    """What was counted in the same slot a week before each target.

    Parameters
    ----------
    counts : array (slots, ...)
    missing : bool array (slots,)
        Slots without data. Where last week's slot is one, the nearest earlier of four weeks stands in; NaN where none
        of them holds data.
    target : int array (n,)
        Slots to forecast; they may lie after the last one.
    lead : int array (n,)
        How many slots before its target each forecast is made; a lead over a week looks further back.
    week : int
        Slots in a week.

    Examples
    --------
    >>> import numpy as np
    >>> counts, missing = np.arange(20.0), np.zeros(20, bool)
    >>> same_slot_last_week(counts, missing, [19, 20], [1, 8], week=7)
    array([12.,  6.], dtype=float32)
    """
    slots, known = _weeks_back(counts, ~missing, target, lead, week)
    first = known.argmax(0)
    chosen = counts[slots[first, np.arange(slots.shape[1])]].astype(np.float32)
    chosen[~known.any(0)] = np.nan
    return chosen


def mean_four_weeks(
    counts: NDArray[np.generic], missing: NDArray[np.bool_], target: ArrayLike, lead: ArrayLike, *, week: int
) -> NDArray[np.float32]:
    """The mean of the same slot over the last four weeks, over as many of them as hold data.

    Parameters are those of `same_slot_last_week`.

    Examples
    --------
    >>> import numpy as np
    >>> counts, missing = np.arange(20.0), np.zeros(20, bool)
    >>> mean_four_weeks(counts, missing, [19], [1], week=7)
    array([8.5], dtype=float32)
    """
    slots, known = _weeks_back(counts, ~missing, target, lead, week)
    shape = (-1,) + (1,) * (counts.ndim - 1)
    total = np.zeros((slots.shape[1], *counts.shape[1:]), np.float32)
    for at, ok in zip(slots, known, strict=True):
        total += np.where(ok.reshape(shape), counts[at], 0).astype(np.float32)
    weeks = known.sum(0).astype(np.float32).reshape(shape)
    return np.where(weeks > 0, total / np.maximum(weeks, 1), np.float32(np.nan))


def naive(
    counts: NDArray[np.generic],
    missing: NDArray[np.bool_],
    target: ArrayLike,
    lead: ArrayLike,
    *,
    day: int,
    weekly: bool,
) -> dict[str, NDArray[np.float32]]:
    """The baselines by name, that to compare with first: last week's slot, or yesterday's beside a model of days.

    Parameters are those of `same_slot_last_week`, with `day` for slots in a day.
    """
    found = {} if weekly else {"yesterday": same_slot_last_week(counts, missing, target, lead, week=day)}
    return {
        **found,
        "last_week": same_slot_last_week(counts, missing, target, lead, week=7 * day),
        "four_weeks": mean_four_weeks(counts, missing, target, lead, week=7 * day),
    }

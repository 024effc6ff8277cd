"""Long gaps in the data, shortened: years between two months are neither held nor walked through.

A gap is shortened by whole weeks, so that weekdays and the slots of days stay where they are, and only so far that
whatever looks back from after it meets what it met before: slots without data, or the same slots from before the gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BASE_WEEKS = 9  # what a base looks back on besides the weeks that a forecast steps over, see `demand.features`


def reach(day: int, horizon: int) -> int:
    """How many slots before a target are looked at, unless data is looked for in vain.

    >>> reach(48, 48) / 48
    77.0
    """
    week = 7 * day
    return (-(-(horizon + 1) // week) + _BASE_WEEKS + 1) * week


def kept_slots(missing: NDArray[np.bool_], day: int, horizon: int) -> NDArray[np.int64]:
    """The slots that remain: of each gap, what reaches up to its end.

    >>> missing = np.zeros(200, bool)
    >>> missing[3:190] = True
    >>> kept_slots(missing, 1, 1).tolist() == [0, 1, 2, *range(3 + 15 * 7, 200)]
    True
    """
    edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
    keep = np.ones(len(missing), bool)
    for first, stop in edges.reshape(-1, 2).tolist():
        weeks = max(0, stop - first - reach(day, horizon)) // (7 * day)
        keep[first : first + weeks * 7 * day] = False
    return np.flatnonzero(keep)

"""Counting in int32 that never wraps: one trip end at a time, and whole arrays."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from taxidask.errors import CubeError

MAX_COUNT = 2**31 - 1
OVERFLOW = -1


@njit(cache=True, nogil=True)
def count_into(counts, seconds, cells, direction, start_second, slot_seconds):
    """Count trip ends into a cube's array; the compiled loop behind every cube.

    Parameters
    ----------
    counts : int32 array (slots, cells, 2)
        Counted into.
    seconds : int64 array
        Time of each end in seconds since 1970, wall clock.
    cells : int32 array
        Cell of each end, -1 for none.
    direction : int
        0 pickup, 1 dropoff.
    start_second, slot_seconds : int
        Start of slot 0 and length of a slot.

    Returns
    -------
    int
        How many ends were counted (the others lie in no cell or in no slot of `counts`), or -1 if a count is full:
        then the counts are unusable.
    """
    slots, n_cells, _ = counts.shape
    counted = 0
    for i in range(cells.size):
        cell = cells[i]
        since = seconds[i] - start_second
        if 0 <= cell < n_cells and since >= 0:
            slot = since // slot_seconds
            if slot < slots:
                if counts[slot, cell, direction] == MAX_COUNT:
                    return OVERFLOW
                counts[slot, cell, direction] += 1
                counted += 1
    return counted


def add_counts(into: NDArray[np.int32], part: NDArray[np.int32], first_slot: int = 0) -> None:
    """Add the counts of `part` to those of `into`, from slot `first_slot` on.

    Parameters
    ----------
    into : int32 array (slots, cells, 2)
        Changed in place.
    part : int32 array (fewer slots, cells, 2)
        Added.
    first_slot : int
        Slot of `into` that gets slot 0 of `part`.

    Raises
    ------
    CubeError
        When `part` does not fit, or a sum exceeds int32: then `into` is unusable.

    Examples
    --------
    >>> into = np.zeros((3, 2, 2), np.int32)
    >>> add_counts(into, np.ones((1, 2, 2), np.int32), first_slot=1)
    >>> into.sum(axis=(1, 2))
    array([0, 4, 0])
    """
    stop = first_slot + part.shape[0]
    if part.shape[1:] != into.shape[1:] or first_slot < 0 or stop > into.shape[0]:
        raise CubeError(f"counts of shape {part.shape} do not fit at slot {first_slot} of counts of shape {into.shape}")
    target = into[first_slot:stop]
    np.add(target, part, out=target)
    if target.size and target.min() < 0:  # two counts of at most 2**31 - 1 that overflow end below zero, always
        slot, cell, direction = np.argwhere(target < 0)[0]
        place = f"slot {first_slot + slot}, cell {cell}, {('pickups', 'dropoffs')[direction]}"
        raise CubeError(
            f"{place}: the sum is above {MAX_COUNT:,}, the most a cube can hold",
            "use shorter slots or smaller cells, and check that no source is added many times",
        )

"""Adding counts in int32 without ever wrapping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taxidask.errors import CubeError

MAX_COUNT = 2**31 - 1


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

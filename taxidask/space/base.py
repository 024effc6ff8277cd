"""What every space can do, whatever its cells look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taxidask.errors import SpaceError
from taxidask.space.kernel import Kernel, locate_points

Ring = list[tuple[float, float]]


class Space(ABC):
    """Cells numbered 0 … `cells` - 1: a regular `Grid` or TLC `Zones`.

    Spaces are values: equal when every point lies in the same cell of both, hashable, picklable, never changed.

    Attributes
    ----------
    cells : int
        Number of cells.
    key : str
        Short and stable: equal keys mean equal spaces, on any machine.
    label : str
        What kind of space it is, for people.
    bounds : tuple of float
        West, south, east and north of all cells, in degrees.
    """

    cells: int
    key: str
    label: str
    bounds: tuple[float, float, float, float]

    @abstractmethod
    def _make_kernel(self) -> Kernel: ...

    @cached_property
    def _kernel(self) -> Kernel:
        return self._make_kernel()

    def kernel(self) -> Kernel:
        """Return the tables that `taxidask.space.locate_points` and other compiled code take; made once."""
        return self._kernel

    def locate(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int32]:
        """Return the cell of each point.

        Parameters
        ----------
        lon, lat : array-like of float
            Degrees, of the same shape.

        Returns
        -------
        int32 array
            Cells, in the shape of `lon`; -1 where a point lies in no cell or is NaN.

        Examples
        --------
        >>> import taxidask as td
        >>> td.Grid.new_york().locate([-73.99, 0.0], [40.75, 0.0])
        array([330,  -1], dtype=int32)
        """
        try:
            x = np.ascontiguousarray(lon, dtype=np.float64)
            y = np.ascontiguousarray(lat, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise SpaceError(f"these are no longitudes and latitudes: {error}", "give numbers, in degrees") from error
        shape = np.shape(lon)
        if shape != np.shape(lat):
            raise SpaceError(
                f"longitudes have the shape {shape} and latitudes {np.shape(lat)}", "give one latitude per longitude"
            )
        out = np.empty(x.size, np.int32)
        locate_points(self.kernel(), _writable(x.reshape(-1)), _writable(y.reshape(-1)), out)
        return out.reshape(shape)

    @abstractmethod
    def locate_ids(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Return the cell of each TLC LocationID, -1 for one that is no cell."""

    @abstractmethod
    def center(self, cell: int) -> tuple[float, float]:
        """Return a point in the middle of a cell, as (longitude, latitude)."""

    @abstractmethod
    def polygons(self) -> list[list[Ring]]:
        """Return each cell's outline as closed rings of (longitude, latitude), for maps; holes are rings too."""

    @abstractmethod
    def neighbours(self, cell: int) -> NDArray[np.int32]:
        """Return the cells that touch a cell, if only in a corner, in ascending order."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description from which `space_from_dict` makes an equal space."""

    def centers(self) -> NDArray[np.float64]:
        """Return every cell's centre: an array (cells, 2) of longitude and latitude."""
        return np.array([self.center(cell) for cell in range(self.cells)])

    def _check_cell(self, cell: int) -> int:
        if not 0 <= cell < self.cells:
            raise SpaceError(f"there is no cell {cell} in {self!r}", f"cells are 0 to {self.cells - 1}")
        return int(cell)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Space) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self.key  # Dask would hash megabytes of polygons instead


def _writable(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read-only arrays (pandas hands them out) are another type to numba: copy them and compile once."""
    return array if array.flags.writeable else array.copy()

"""Prices that were told before the trip beside those that were paid, counted: small, whatever the number of trips."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_TOP_SHARE, _TOP = 0.995, 200.0  # the share of prices below the last cell, and USD where it is at most
_BAR_SHARE, _BARS = 0.98, 20  # the share of errors between the last bars, and bars on either side
_WIDTHS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # USD of a bar


def count_prices(
    paid: NDArray[np.float64], price: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> pd.DataFrame:
    """Trips by what was paid and what had been told, in cells of 1 USD.

    Returns
    -------
    DataFrame
        paid and price (USD, the lower edge of a cell; the last one, which 0.5 % reach, holds all above), trips, and how
        many of them were paid within their band (held). Cells without trips are left out.

    Examples
    --------
    >>> import numpy as np
    >>> paid, price = np.array([8.5, 8.0, 12.0]), np.array([9.2, 9.9, 10.0])
    >>> count_prices(paid, price, price - 1, price + 1).to_dict("list")
    {'paid': [8, 12], 'price': [9, 10], 'trips': [2, 1], 'held': [1, 0]}
    """
    if not len(paid):
        return pd.DataFrame({name: np.empty(0, np.int64) for name in ("paid", "price", "trips", "held")})
    top = int(np.clip(np.ceil(np.quantile(paid, _TOP_SHARE) / 10) * 10, 10, _TOP))
    cells = [np.clip(np.floor(usd), 0, top - 1).astype(np.int64) for usd in (paid, price)]
    found, which, trips = np.unique(cells[0] * top + cells[1], return_inverse=True, return_counts=True)
    held = np.bincount(which[(paid >= low) & (paid <= high)], minlength=len(found))
    return pd.DataFrame({"paid": found // top, "price": found % top, "trips": trips, "held": held})


def count_errors(paid: NDArray[np.float64], price: NDArray[np.float64]) -> pd.DataFrame:
    """Trips by how far the price told was above what was paid, in bars of one width.

    Returns
    -------
    DataFrame
        from and to (USD, the edges of a bar; the outermost hold all errors beyond, at most 2 % unless those are over
        100 USD), and trips.

    Examples
    --------
    >>> import numpy as np
    >>> bars = count_errors(np.full(100, 8.0), np.linspace(7.0, 9.0, 100))
    >>> float(bars["from"].min()), float(bars["to"].max()), int(bars["trips"].sum())
    (-1.0, 1.0, 100)
    """
    error = price - paid
    span = float(np.quantile(np.abs(error), _BAR_SHARE)) if len(error) else 0.0
    width = next((usd for usd in _WIDTHS if usd * _BARS >= span), _WIDTHS[-1])
    edges = width * np.arange(-_BARS, _BARS + 1)
    trips, _ = np.histogram(np.clip(error, edges[0], edges[-1]), edges)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "trips": trips})
